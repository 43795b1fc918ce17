package awsapi

import (
	"net/http"
	"reflect"
	"strconv"

	"github.com/aws/smithy-go"

	"github.com/sekisho/sekisho/internal/httpx"
)

// wire is how a protocol writes. Both kinds of answer are whole before the first byte goes out.
type wire interface {
	// check reports why an operation of these types can't be served.
	check(in, out reflect.Type) error
	writeResult(w *httpx.Response, r *http.Request, op *operation, out any) error
	writeError(w *httpx.Response, r *http.Request, e smithy.APIError, status int) error
	faults() map[fault]called
}

func write(w *httpx.Response, status int, mediaType string, body []byte) error {
	h := w.Header()
	h["Content-Type"] = []string{mediaType}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}
