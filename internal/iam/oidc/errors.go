package oidc

import "fmt"

// ErrorKind is what is wrong with a token.
type ErrorKind string

// The kinds of errors, by the codes of AWS's Security Token Service.
const (
	Invalid       ErrorKind = "InvalidIdentityToken"
	Expired       ErrorKind = "ExpiredTokenException"
	Communication ErrorKind = "IDPCommunicationError" // the issuer can't be asked
)

// Error is why a token is refused.
type Error struct {
	Kind    ErrorKind
	Message string // for whoever sent the token
	Err     error  // for the log, if there is more to say: it can tell of the network that this process is in
}

// Error returns the message and what is behind it.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns what is behind the error.
func (e *Error) Unwrap() error { return e.Err }

func invalid(format string, args ...any) *Error {
	return &Error{Kind: Invalid, Message: fmt.Sprintf(format, args...)}
}

// clip returns s for a message, cut if it is long.
func clip(s string) string {
	const limit = 200
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
