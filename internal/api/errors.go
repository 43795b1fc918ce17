package api

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/issuer"
	"github.com/sekisho/sekisho/internal/iam/sigv4"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/run"
)

// Codes tell errors apart for programs.
const (
	CodeInvalid          = "InvalidInput"
	CodeUnknownOperation = "UnknownOperation"
	CodeUnauthenticated  = "Unauthenticated"
	CodeDenied           = "AccessDenied"
	CodeNotFound         = "NotFound"
	CodeConflict         = "Conflict"
	CodeLimit            = "LimitExceeded"
	CodeThrottled        = "Throttled"
	CodeTooLarge         = "TooLarge"
	CodeUnavailable      = "Unavailable"
	CodeInternal         = "InternalError"
)

// Error is an error as it is answered.
type Error struct {
	Status    int       `json:"-"`
	Code      string    `json:"code"`
	Message   string    `json:"message"`
	Field     string    `json:"field,omitempty"` // of the input
	Details   []Problem `json:"details,omitempty"`
	RequestID string    `json:"requestId,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Problem is something wrong at a place in a file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

// String is "file:line:column: message".
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

var errNoCredential = &Error{Status: http.StatusUnauthorized, Code: CodeUnauthenticated,
	Message: "no credential was sent: sign with an access key, or send one, or a personal access token"}

// explain is the table from errors to answers. What is not in it is a 500 with the request's id, and the reason is in the
// log alone.
func explain(err error, requestID string) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*iam.DeniedError](err); ok {
		return &Error{Status: http.StatusForbidden, Code: CodeDenied, Message: e.Message(requestID)}
	}
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		return &Error{Status: http.StatusUnauthorized, Code: CodeUnauthenticated, Message: e.Error()}
	}
	if e, ok := errors.AsType[*httpx.EndpointError](err); ok {
		return &Error{Status: http.StatusForbidden, Code: CodeDenied, Message: e.Error()}
	}
	if e, ok := errors.AsType[*httpx.BodyError](err); ok {
		return &Error{Status: e.Status, Code: CodeTooLarge, Message: e.Error()}
	}
	switch {
	case errors.Is(err, iam.ErrBearerExpired):
		return &Error{Status: http.StatusUnauthorized, Code: CodeUnauthenticated, Message: iam.ErrBearerExpired.Error()}
	case errors.Is(err, iam.ErrThrottled):
		return &Error{Status: http.StatusTooManyRequests, Code: CodeThrottled, Message: err.Error()}
	case errors.Is(err, iam.ErrInvalidCredentials), errors.Is(err, iam.ErrTokenExpired), errors.Is(err, iam.ErrUnknownKey),
		errors.Is(err, iam.ErrSessionToken), errors.Is(err, iam.ErrSessionExpired):
		return &Error{Status: http.StatusUnauthorized, Code: CodeUnauthenticated, Message: err.Error()}
	}
	if e := domain(err); e != nil {
		return e
	}
	return &Error{Status: http.StatusInternalServerError, Code: CodeInternal, Message: "internal error; the log has the reason under the request's id"}
}

// fail answers an error and returns it for the log.
func (s *Server) fail(w *httpx.Response, err error) error {
	e := *explain(err, w.Event.RequestID)
	e.RequestID = w.Event.RequestID
	if werr := write(w, e.Status, struct {
		Error *Error `json:"error"`
	}{&e}); werr != nil {
		return errors.Join(err, werr)
	}
	return err
}

// domain is the part of the table that is about the domain's own errors.
func domain(err error) *Error {
	if e, ok := errors.AsType[*project.Error](err); ok {
		kinds := map[project.ErrorKind]outcome{project.NotFound: missing, project.Exists: taken, project.Invalid: invalid, project.Conflict: conflict, project.Limit: limit}
		return kinds[e.Kind].answer(err.Error(), e.Field)
	}
	if e, ok := errors.AsType[*project.NotAuthorizedError](err); ok {
		return conflict.answer(e.Error(), "")
	}
	if e, ok := errors.AsType[*git.Error](err); ok {
		kinds := map[git.Kind]outcome{git.NotFound: missing, git.Exists: taken, git.Invalid: invalid, git.Conflict: conflict, git.TooLarge: tooLarge, git.Refused: conflict, git.Unavailable: unavailable}
		return kinds[e.Kind].answer(err.Error(), "")
	}
	if e, ok := errors.AsType[*pool.Error](err); ok {
		kinds := map[pool.Kind]outcome{pool.NotFound: missing, pool.Exists: taken, pool.Invalid: invalid, pool.InUse: conflict, pool.LimitExceeded: limit, pool.Refused: refused}
		return kinds[e.Kind].answer(err.Error(), "")
	}
	if e, ok := errors.AsType[*run.Error](err); ok {
		kinds := map[run.Kind]outcome{run.NotFound: missing, run.Invalid: invalid, run.Conflict: conflict, run.Limit: limit}
		a := kinds[e.Kind].answer(err.Error(), "")
		for _, p := range e.Problems {
			a.Details = append(a.Details, Problem{p.File, p.Line, p.Column, p.Message})
		}
		return a
	}
	if e, ok := errors.AsType[*directory.Error](err); ok {
		kinds := map[directory.ErrorKind]outcome{directory.NoSuchEntity: missing, directory.EntityAlreadyExists: taken, directory.LimitExceeded: limit,
			directory.MalformedPolicyDocument: invalid, directory.InvalidInput: invalid, directory.ValidationError: invalid}
		if o, ok := kinds[e.Kind]; ok {
			return o.answer(err.Error(), "")
		}
		return conflict.answer(err.Error(), "")
	}
	if e, ok := errors.AsType[*issuer.AudienceError](err); ok {
		return invalid.answer(e.Error(), "audience")
	}
	switch e, ok := errors.AsType[*iam.TokenError](err); {
	case ok:
		return invalid.answer(e.Error(), "")
	case errors.Is(err, project.ErrUntrusted), errors.Is(err, run.ErrNoJob):
		return refused.answer(err.Error(), "")
	case errors.Is(err, work.ErrClaimLost):
		return conflict.answer(err.Error(), "")
	case errors.Is(err, iam.ErrNoToken), errors.Is(err, work.ErrNotFound):
		return missing.answer(err.Error(), "")
	case errors.Is(err, iam.ErrPrincipalGone):
		return &Error{Status: http.StatusUnauthorized, Code: CodeUnauthenticated, Message: err.Error()}
	}
	return nil
}

// outcome is a status with its code.
type outcome struct {
	status int
	code   string
}

var (
	missing     = outcome{http.StatusNotFound, CodeNotFound}
	taken       = outcome{http.StatusConflict, CodeConflict}
	invalid     = outcome{http.StatusBadRequest, CodeInvalid}
	conflict    = outcome{http.StatusConflict, CodeConflict}
	limit       = outcome{http.StatusConflict, CodeLimit}
	tooLarge    = outcome{http.StatusRequestEntityTooLarge, CodeTooLarge}
	unavailable = outcome{http.StatusServiceUnavailable, CodeUnavailable}
	refused     = outcome{http.StatusForbidden, CodeDenied}
)

// answer is an error as it is answered; one of a kind that is not in the table is internal.
func (o outcome) answer(message, field string) *Error {
	if o.status == 0 {
		return nil
	}
	return &Error{Status: o.status, Code: o.code, Message: message, Field: field}
}
