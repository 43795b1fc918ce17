// Package sts is the one operation of the AWS Security Token Service that clients call before anything else:
// GetCallerIdentity. Nobody needs a permission for it.
package sts

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sekisho/sekisho/internal/awsapi"
)

// The version and namespace of the service's model.
const (
	version   = "2011-06-15"
	namespace = "https://sts.amazonaws.com/doc/2011-06-15/"
)

// Service returns the operations, to be served.
func Service() *awsapi.Service {
	s := awsapi.NewQuery("sts", version, namespace, awsapi.ServiceOptions{Internal: "InternalFailure", Global: true})
	awsapi.Handle(s, awsapi.Op{Name: "GetCallerIdentity"}, getCallerIdentity)
	return s
}

// getCallerIdentity says who signed. A root principal's user id is its account.
func getCallerIdentity(_ context.Context, c *awsapi.Call, _ *sdk.GetCallerIdentityInput) (*sdk.GetCallerIdentityOutput, error) {
	return &sdk.GetCallerIdentityOutput{Account: &c.Account, Arn: &c.ARN, UserId: &c.Account}, nil
}
