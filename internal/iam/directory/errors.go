package directory

import "fmt"

// ErrorKind says what is wrong with a call, in AWS's words: they are the error codes of its API without "Exception".
type ErrorKind string

// The kinds of errors.
const (
	NoSuchEntity            ErrorKind = "NoSuchEntity"
	EntityAlreadyExists     ErrorKind = "EntityAlreadyExists"
	DeleteConflict          ErrorKind = "DeleteConflict"
	LimitExceeded           ErrorKind = "LimitExceeded"
	MalformedPolicyDocument ErrorKind = "MalformedPolicyDocument"
	InvalidInput            ErrorKind = "InvalidInput"
	ValidationError         ErrorKind = "ValidationError" // a parameter that has not the form it must have
	UnmodifiableEntity      ErrorKind = "UnmodifiableEntity"
	PolicyNotAttachable     ErrorKind = "PolicyNotAttachable"
	ConcurrentModification  ErrorKind = "ConcurrentModification"

	EntityTemporarilyChanged ErrorKind = "EntityTemporarilyUnmodifiable"
)

// Error is a call that can't be done as it was asked for. The message is for whoever asked, worded as AWS words it.
type Error struct {
	Kind    ErrorKind
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

func errf(kind ErrorKind, format string, args ...any) *Error {
	return &Error{kind, fmt.Sprintf(format, args...)}
}
