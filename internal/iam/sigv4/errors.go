package sigv4

import "fmt"

// Kind is what is wrong with a signature. AWS has a code for each, spelt
// differently by its protocols, which is why the codes are not here.
type Kind uint8

const (
	// Missing: the request is not signed. MissingAuthenticationToken.
	Missing Kind = iota + 1
	// Incomplete: the signature has not the form it must have. IncompleteSignature.
	Incomplete
	// Invalid: the signature is of another time, scope, secret or request.
	// SignatureDoesNotMatch, or InvalidSignatureException.
	Invalid
)

// Error is the refusal of a signature.
type Error struct {
	Kind    Kind
	Message string // as AWS words it, where AWS says it

	// Detail follows the message in the answer to the client, when not empty:
	// what the client should have signed. It can repeat a session token that
	// the client sent and so is not for logs.
	Detail string
}

// Error returns the message without the detail.
func (e *Error) Error() string { return e.Message }

func incomplete(format string, args ...any) *Error {
	return &Error{Kind: Incomplete, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *Error {
	return &Error{Kind: Invalid, Message: fmt.Sprintf(format, args...)}
}

// brief returns s for a message, cut if it is long.
func brief(s string) string {
	const limit = 128
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
