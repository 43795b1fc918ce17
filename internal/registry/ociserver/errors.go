package ociserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/registry"
)

type codeStatus struct {
	code   string
	status int
}

// codes is the one table from the domain's errors to those of the specification ("Error Codes"). What isn't in it is an
// internal error.
var codes = map[registry.Kind]codeStatus{
	registry.RepositoryUnknown: {"NAME_UNKNOWN", http.StatusNotFound},
	registry.NameInvalid:       {"NAME_INVALID", http.StatusBadRequest},
	registry.ManifestUnknown:   {"MANIFEST_UNKNOWN", http.StatusNotFound},
	registry.ImageArchived:     {"MANIFEST_UNKNOWN", http.StatusNotFound}, // so that a client that means to push goes on
	registry.ManifestInvalid:   {"MANIFEST_INVALID", http.StatusBadRequest},
	registry.BlobUnknown:       {"BLOB_UNKNOWN", http.StatusNotFound},
	registry.BlobsMissing:      {"MANIFEST_BLOB_UNKNOWN", http.StatusNotFound},
	registry.ManifestsMissing:  {"MANIFEST_BLOB_UNKNOWN", http.StatusNotFound},
	registry.TagImmutable:      {"TAG_INVALID", http.StatusBadRequest},
	registry.DigestMismatch:    {"DIGEST_INVALID", http.StatusBadRequest},
	registry.UploadUnknown:     {"BLOB_UPLOAD_UNKNOWN", http.StatusNotFound},
	registry.UploadBusy:        {"BLOB_UPLOAD_INVALID", http.StatusConflict},
	registry.RangeInvalid:      {"BLOB_UPLOAD_INVALID", http.StatusRequestedRangeNotSatisfiable},
	registry.LengthMismatch:    {"SIZE_INVALID", http.StatusBadRequest},
	registry.TooLarge:          {"SIZE_INVALID", http.StatusRequestEntityTooLarge},
	registry.Referenced:        {"UNSUPPORTED", http.StatusConflict},
	registry.TooManyUploads:    {"TOOMANYREQUESTS", http.StatusTooManyRequests},
	registry.Full:              {"UNAVAILABLE", http.StatusInsufficientStorage},
	registry.Busy:              {"UNAVAILABLE", http.StatusServiceUnavailable},
}

// answer is an error as the client sees it.
type answer struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// fail answers err and returns it for the log.
func (s *Server) fail(w *httpx.Response, r *http.Request, err error) error {
	if w.Written() {
		return err
	}
	status, a := explain(err, w.Event.RequestID)
	h := w.Header()
	if status == http.StatusUnauthorized {
		h["Www-Authenticate"] = []string{`Basic realm="` + w.Origin.BaseURL() + `/",service="ecr.amazonaws.com"`}
	}
	if status == http.StatusTooManyRequests {
		h["Retry-After"] = []string{"10"}
	}
	if e, ok := errors.AsType[*methodError](err); ok {
		h["Allow"] = []string{e.allow}
	}
	for _, k := range []string{"Content-Length", "Etag", "Accept-Ranges", "Sekisho-Mount-Error"} {
		h.Del(k)
	}
	// A HEAD has no body, so the reason is in a header too.
	h["Sekisho-Error"] = []string{printable(a.Code + ": " + a.Message)}
	body, merr := json.Marshal(map[string][]answer{"errors": {a}})
	if merr != nil {
		return errors.Join(err, merr)
	}
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		if _, werr := w.Write(body); werr != nil {
			return errors.Join(err, werr)
		}
	}
	return err
}

func explain(err error, requestID string) (int, answer) {
	if e, ok := errors.AsType[*protocolError](err); ok {
		return e.status, answer{Code: e.code, Message: e.message}
	}
	if e, ok := errors.AsType[*methodError](err); ok {
		return http.StatusMethodNotAllowed, answer{Code: "UNSUPPORTED", Message: e.Error()}
	}
	if e, ok := errors.AsType[*iam.DeniedError](err); ok {
		return http.StatusForbidden, answer{Code: "DENIED", Message: e.Message(requestID)}
	}
	if e, ok := errors.AsType[*registry.Error](err); ok {
		if c, ok := codes[e.Kind]; ok {
			return c.status, answer{Code: c.code, Message: e.Message, Detail: e.Detail}
		}
	}
	if e, ok := errors.AsType[*httpx.BodyError](err); ok {
		return e.Status, answer{Code: "SIZE_INVALID", Message: e.Error()}
	}
	switch {
	case errors.Is(err, iam.ErrTokenExpired):
		return http.StatusForbidden, answer{Code: "DENIED", Message: iam.ErrTokenExpired.Error()}
	case errors.Is(err, iam.ErrTemporaryKey):
		return http.StatusUnauthorized, answer{Code: "UNAUTHORIZED", Message: iam.ErrTemporaryKey.Error()}
	case errors.Is(err, iam.ErrBearerExpired):
		return http.StatusUnauthorized, answer{Code: "UNAUTHORIZED", Message: iam.ErrBearerExpired.Error()}
	case errors.Is(err, iam.ErrInvalidCredentials):
		return http.StatusUnauthorized, answer{Code: "UNAUTHORIZED", Message: "the credentials are not valid: the access key or token is wrong, or no longer in use"}
	case errors.Is(err, iam.ErrThrottled):
		return http.StatusTooManyRequests, answer{Code: "TOOMANYREQUESTS", Message: err.Error()}
	case errors.Is(err, errNoCredential), errors.Is(err, errBadLink):
		return http.StatusUnauthorized, answer{Code: "UNAUTHORIZED", Message: err.Error()}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return http.StatusBadRequest, answer{Code: "BLOB_UPLOAD_INVALID", Message: "the request ended before its body was whole; what arrived is kept for a chunked upload to go on"}
	}
	return http.StatusInternalServerError, answer{Code: "UNKNOWN", Message: "internal error; the server's log has the reason under request id " + requestID}
}

// printable makes s fit for a header: one line of ASCII, not long.
func printable(s string) string {
	if len(s) > 1024 {
		s = s[:1024]
	}
	return strings.Map(func(c rune) rune {
		if notPrintable(c) {
			return '?'
		}
		return c
	}, s)
}

// notPrintable reports whether c is outside ASCII's printable characters; bytes that are no UTF-8 are.
func notPrintable(c rune) bool { return c < ' ' || c > '~' }
