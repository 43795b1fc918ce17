package iam

import "github.com/sekisho/sekisho/internal/awsapi"

// Constraints are those that inputs are held against, by operation.
func Constraints() map[string][]awsapi.Member { return constraints }

// Explain is what errors are to clients, with its status, 500 for those that are none of their business.
func Explain(err error) (code string, status int) {
	e, ok := explain(err).(*awsapi.Error)
	if !ok {
		return "", 500
	}
	return e.Code, e.Status
}

// Page reads a marker as operations do.
var Page = page
