package git

import "fmt"

// Kind says what went wrong, for a protocol to translate into its own code.
type Kind int

// The kinds of errors that a caller can do something about.
const (
	NotFound    Kind = iota + 1
	Exists           // the name is taken
	Invalid          // a name, a path, a request
	Conflict         // a ref is not what the caller took it for
	TooLarge         // over a limit
	Refused          // by a rule of the repository
	Unavailable      // no git program, or too much to do
)

// Error is an error that a caller can do something about.
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
