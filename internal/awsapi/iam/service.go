// Package iam is AWS Identity and Access Management's API over the directory: users, groups, roles, policies, access keys,
// OIDC providers, instance profiles, and the simulation of policies.
//
// Operations translate and no more: what may be done, and what is right, the directory knows. Operations of IAM that have
// no place here, such as passwords for a console of AWS, are refused by name; those that only ask for such things answer
// as AWS does where there are none, because clients ask before they delete a user.
package iam

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/smithy-go"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

// The version and namespace of the service's model.
const (
	version   = "2010-05-08"
	namespace = "https://iam.amazonaws.com/doc/2010-05-08/"
)

// API is the service.
type API struct {
	Directory *directory.Service
}

// Service returns the operations, to be served.
func (a *API) Service() *awsapi.Service {
	s := awsapi.NewQuery("iam", version, namespace, awsapi.ServiceOptions{
		Explain: explain, Internal: "ServiceFailure", Global: true,
	})
	a.users(s)
	a.accessKeys(s)
	a.groups(s)
	a.roles(s)
	a.managedPolicies(s)
	a.policiesOn(s)
	a.tags(s)
	a.providers(s)
	a.instanceProfiles(s)
	a.account(s)
	a.absent(s)
	a.simulation(s)
	for _, r := range refused {
		awsapi.Unsupported(s, r.operations, r.reason)
	}
	return s
}

// handle registers an operation with its constraints. It panics if it has none on record, not even none.
func handle[In, Out any](s *awsapi.Service, name string, fn func(context.Context, *awsapi.Call, *In) (*Out, error)) {
	members, ok := constraints[name]
	if !ok {
		panic(fmt.Sprintf("iam: the constraints of %s are not known", name))
	}
	// Of those without members in their output, this one alone has a result.
	awsapi.Handle(s, awsapi.Op{Name: name, Members: members, EmptyResult: name == "UpdateRole"}, fn)
}

// does registers an operation that answers nothing.
func does[In, Out any](s *awsapi.Service, name string, fn func(context.Context, *awsapi.Call, *In) error) {
	handle(s, name, func(ctx context.Context, c *awsapi.Call, in *In) (*Out, error) {
		if err := fn(ctx, c, in); err != nil {
			return nil, err
		}
		return new(Out), nil
	})
}

// statuses has the HTTP status of each kind of error, as the service's model says.
var statuses = map[directory.ErrorKind]int{
	directory.NoSuchEntity:             404,
	directory.EntityAlreadyExists:      409,
	directory.DeleteConflict:           409,
	directory.LimitExceeded:            409,
	directory.ConcurrentModification:   409,
	directory.EntityTemporarilyChanged: 409,
	directory.MalformedPolicyDocument:  400,
	directory.InvalidInput:             400,
	directory.ValidationError:          400,
	directory.UnmodifiableEntity:       400,
	directory.PolicyNotAttachable:      400,
}

func explain(err error) smithy.APIError {
	e, ok := errors.AsType[*directory.Error](err)
	if !ok {
		return nil
	}
	status, ok := statuses[e.Kind]
	if !ok {
		return nil
	}
	return &awsapi.Error{Code: string(e.Kind), Message: e.Message, Status: status}
}
