package session

import "fmt"

// ErrorKind says what is wrong with a call, in AWS's words: they are the error codes of its API.
type ErrorKind string

// The kinds of errors.
const (
	AccessDenied         ErrorKind = "AccessDenied"
	ValidationError      ErrorKind = "ValidationError"
	InvalidParameter     ErrorKind = "InvalidParameterValue"
	MalformedPolicy      ErrorKind = "MalformedPolicyDocument"
	PackedPolicyTooLarge ErrorKind = "PackedPolicyTooLarge"
	InvalidIdentityToken ErrorKind = "InvalidIdentityToken"
	InvalidMessage       ErrorKind = "InvalidAuthorizationMessageException"
	TooManySessions      ErrorKind = "LimitExceeded"
)

// Error is a call that can't be done as it was asked for. The message is for whoever asked.
type Error struct {
	Kind    ErrorKind
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

func errf(kind ErrorKind, format string, args ...any) *Error {
	return &Error{kind, fmt.Sprintf(format, args...)}
}
