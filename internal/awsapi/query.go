package awsapi

import (
	"net/http"
	"reflect"

	"github.com/aws/smithy-go"

	"github.com/sekisho/sekisho/internal/httpx"
)

// queryWire is the Query protocol: a form in, XML out (https://smithy.io/2.0/aws/protocols/aws-query-protocol.html).
// Members are called as the SDK calls them, their first letter aside. Lists and maps have the protocol's names for what
// is in them: the models of the services here neither rename nor flatten any.
type queryWire struct{ version, namespace string }

func (*queryWire) faults() map[fault]called { return queryFaults }

var queryFaults = map[fault]called{
	faultUnsigned:         {"MissingAuthenticationToken", http.StatusForbidden},
	faultIncomplete:       {"IncompleteSignature", http.StatusBadRequest},
	faultSignature:        {"SignatureDoesNotMatch", http.StatusForbidden},
	faultUnknownKey:       {"InvalidClientTokenId", http.StatusForbidden},
	faultExpiredToken:     {"ExpiredToken", http.StatusForbidden},
	faultDenied:           {"AccessDenied", http.StatusForbidden},
	faultThrottled:        {"Throttling", http.StatusBadRequest},
	faultMalformed:        {"MalformedQueryString", http.StatusBadRequest},
	faultInput:            {"MalformedInput", http.StatusBadRequest},
	faultInvalid:          {"ValidationError", http.StatusBadRequest},
	faultUnknownOperation: {"InvalidAction", http.StatusBadRequest},
	faultUnsupported:      {"UnsupportedOperation", http.StatusBadRequest},
	faultTooLarge:         {"RequestEntityTooLarge", http.StatusRequestEntityTooLarge},
	faultTimeout:          {"RequestTimeout", http.StatusRequestTimeout},
}

// resultMetadata is a field of the SDK's outputs that is not a member.
const resultMetadata = "ResultMetadata"

func (*queryWire) check(in, out reflect.Type) error {
	if err := checkShape(in, false); err != nil {
		return err
	}
	return checkShape(out, true)
}

func (q *queryWire) writeResult(w *httpx.Response, _ *http.Request, op *operation, out any) error {
	var x xmlWriter
	x.start(op.name+"Response", q.namespace)
	if op.hasResult {
		x.start(op.name+"Result", "")
		x.members(reflect.ValueOf(out).Elem())
		x.end(op.name + "Result")
	}
	x.start("ResponseMetadata", "")
	x.element("RequestId", w.Event.RequestID)
	x.end("ResponseMetadata")
	x.end(op.name + "Response")
	return write(w, http.StatusOK, "text/xml", x.Bytes())
}

func (q *queryWire) writeError(w *httpx.Response, _ *http.Request, e smithy.APIError, status int) error {
	blame := "Sender"
	if status >= http.StatusInternalServerError {
		blame = "Receiver"
	}
	var x xmlWriter
	x.start("ErrorResponse", q.namespace)
	x.start("Error", "")
	x.element("Type", blame)
	x.element("Code", e.ErrorCode())
	x.element("Message", e.ErrorMessage())
	x.end("Error")
	x.element("RequestId", w.Event.RequestID)
	x.end("ErrorResponse")
	return write(w, status, "text/xml", x.Bytes())
}
