package githttp

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
)

// codes is the one table from the domain's errors to statuses. What isn't in it is an internal error.
var codes = map[git.Kind]int{
	git.NotFound:    http.StatusNotFound,
	git.Exists:      http.StatusConflict,
	git.Invalid:     http.StatusBadRequest,
	git.Conflict:    http.StatusConflict,
	git.TooLarge:    http.StatusRequestEntityTooLarge,
	git.Refused:     http.StatusForbidden,
	git.Unavailable: http.StatusServiceUnavailable,
}

var errNoCredential = errors.New("no credential was sent; log in with an access key id as user and its secret as password, or with a token as password")

// methodError is the answer to a method that a path doesn't have.
type methodError struct{ allow string }

func (e *methodError) Error() string { return "this method is not supported here, use " + e.allow }

// fail answers err as plain text, which git shows after "remote:", and returns it for the log.
func (s *Server) fail(w *httpx.Response, err error) error {
	if w.Written() {
		return err
	}
	status, text := explain(err, w.Event.RequestID)
	h := w.Header()
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Basic realm="sekisho", charset="UTF-8"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", "10")
	}
	if e, ok := errors.AsType[*methodError](err); ok {
		h.Set("Allow", e.allow)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	if errors.Is(err, errLFS) { // its clients read JSON
		h.Set("Content-Type", "application/vnd.git-lfs+json")
		text = `{"message":"` + text + `"}`
	} else {
		h.Set("Content-Type", "text/plain; charset=utf-8") // what git shows
	}
	w.WriteHeader(status)
	if _, werr := w.WriteString(text + "\n"); werr != nil {
		return errors.Join(err, werr)
	}
	return err
}

func explain(err error, requestID string) (int, string) {
	if e, ok := errors.AsType[*httpx.Error](err); ok {
		return e.Status, e.Message
	}
	if e, ok := errors.AsType[*methodError](err); ok {
		return http.StatusMethodNotAllowed, e.Error()
	}
	if e, ok := errors.AsType[*iam.DeniedError](err); ok {
		return http.StatusForbidden, e.Message(requestID)
	}
	if e, ok := errors.AsType[*git.Error](err); ok {
		if status, ok := codes[e.Kind]; ok {
			return status, e.Message
		}
	}
	if e, ok := errors.AsType[*httpx.BodyError](err); ok {
		return e.Status, e.Error()
	}
	switch {
	case errors.Is(err, iam.ErrTokenExpired):
		return http.StatusUnauthorized, iam.ErrTokenExpired.Error()
	case errors.Is(err, iam.ErrTemporaryKey):
		return http.StatusUnauthorized, iam.ErrTemporaryKey.Error()
	case errors.Is(err, iam.ErrBearerExpired):
		return http.StatusUnauthorized, iam.ErrBearerExpired.Error()
	case errors.Is(err, iam.ErrInvalidCredentials):
		return http.StatusUnauthorized, "the credentials are not valid: the access key or token is wrong, or no longer in use"
	case errors.Is(err, iam.ErrThrottled):
		return http.StatusTooManyRequests, err.Error()
	case errors.Is(err, errNoCredential):
		return http.StatusUnauthorized, err.Error()
	case durable.IsFull(err):
		return http.StatusInsufficientStorage, "there is no room left on the server's disk"
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "it took longer than the server gives one request (git.time)"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return http.StatusBadRequest, "the request ended before its body was whole"
	}
	return http.StatusInternalServerError, "internal error; the server's log has the reason under request id " + requestID
}
