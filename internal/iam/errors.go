package iam

import "errors"

var (
	// ErrInvalidCredentials means that a credential is malformed, unknown,
	// wrong, or of a key that is gone or inactive. Which of them is not told.
	ErrInvalidCredentials = errors.New("the credentials are not valid")

	// ErrTokenExpired means that an authorization token was good and is too
	// old. The text is ECR's: clients show it.
	//
	//lint:ignore ST1005 the wording is ECR's
	ErrTokenExpired = errors.New("Your authorization token has expired. Reauthenticate and try again.")

	// ErrUnknownKey means that no usable access key has the id.
	ErrUnknownKey = errors.New("no such access key")

	// ErrUnknownAccount means that the instance has no such account.
	ErrUnknownAccount = errors.New("no such account")

	// ErrThrottled means that too many wrong credentials came from the same
	// address; the credential was not looked at.
	ErrThrottled = errors.New("too many failed sign-in attempts, try again later")
)
