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

	// ErrSessionToken means that a session token is missing where one must be, is there where none can be, is not one of
	// ours, or is of a session that is over before its time.
	ErrSessionToken = errors.New("the session token is not valid")

	// ErrSessionExpired means that temporary credentials were good and are too old.
	ErrSessionExpired = errors.New("the session has expired")

	// ErrTemporaryKey is an [ErrInvalidCredentials]: temporary credentials as user name and password. They would leave out
	// the session token.
	ErrTemporaryKey error = temporaryKey{}

	// ErrBearerExpired is an [ErrInvalidCredentials]: a personal access token that was good and is too old.
	ErrBearerExpired error = expiredBearer{}

	// ErrPrincipalGone means that who temporary credentials are for was deleted meanwhile.
	ErrPrincipalGone = errors.New("the principal is gone")

	// ErrTooManySessions means that an account, or an access key, has as many temporary credentials as it can have.
	ErrTooManySessions = errors.New("the account or the access key has too many sessions that have not expired")

	// ErrThrottled means that too many wrong credentials came from the same
	// address; the credential was not looked at.
	ErrThrottled = errors.New("too many failed sign-in attempts, try again later")
)

type temporaryKey struct{}

func (temporaryKey) Error() string {
	return "temporary credentials can't be a user name and a password: log in with the user name AWS and the password that " +
		"'aws ecr get-login-password' prints with them"
}

func (temporaryKey) Is(target error) bool { return target == ErrInvalidCredentials }

type expiredBearer struct{}

func (expiredBearer) Error() string {
	return "the personal access token has expired: make another one, and give it to the program that shows it"
}

func (expiredBearer) Is(target error) bool { return target == ErrInvalidCredentials }
