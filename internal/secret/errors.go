package secret

import "fmt"

// Kind says what went wrong, for a protocol to translate into its own code.
type Kind int

// The kinds of errors that a caller can do something about.
const (
	NotFound Kind = iota + 1
	Exists
	InvalidRequest   // not in the state that the secret is in
	InvalidParameter // not at all
	InvalidName
	InvalidCursor // of another list
	LimitExceeded
	MalformedPolicy
	PublicPolicy
)

// Error is an error that a caller can do something about. It never has a value in it.
type Error struct {
	Kind    Kind
	Message string
}

func (e *Error) Error() string { return e.Message }

// Is lets errors.Is compare with [ErrOf] a kind.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Kind == e.Kind
}

// ErrOf returns an error that every error of the kind is, for errors.Is.
func ErrOf(k Kind) error { return &Error{Kind: k} }

func errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// The texts are AWS's where clients match on them.
var (
	errNotFound = &Error{NotFound, "Secrets Manager can't find the specified secret."}
	errDeleted  = &Error{InvalidRequest, "You can't perform this operation on the secret because it was marked for deletion."}
)
