package awsapi

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"reflect"

	"github.com/aws/smithy-go"

	"github.com/sekisho/sekisho/internal/httpx"
)

// queryWire is the Query protocol: a form in, XML out (https://smithy.io/2.0/aws/protocols/aws-query-protocol.html). So
// far it has what GetCallerIdentity needs: no members in, strings out.
type queryWire struct{ version, namespace string }

func (*queryWire) faults() map[fault]called { return queryFaults }

var queryFaults = map[fault]called{
	faultUnsigned:         {"MissingAuthenticationToken", http.StatusForbidden},
	faultIncomplete:       {"IncompleteSignature", http.StatusBadRequest},
	faultSignature:        {"SignatureDoesNotMatch", http.StatusForbidden},
	faultUnknownKey:       {"InvalidClientTokenId", http.StatusForbidden},
	faultDenied:           {"AccessDenied", http.StatusForbidden},
	faultThrottled:        {"Throttling", http.StatusBadRequest},
	faultMalformed:        {"MalformedQueryString", http.StatusBadRequest},
	faultUnknownOperation: {"InvalidAction", http.StatusBadRequest},
	faultTooLarge:         {"RequestEntityTooLarge", http.StatusRequestEntityTooLarge},
	faultTimeout:          {"RequestTimeout", http.StatusRequestTimeout},
}

// resultMetadata is a field of the SDK's outputs that is not a member.
const resultMetadata = "ResultMetadata"

func (*queryWire) check(in, out reflect.Type) error {
	for i := range in.NumField() {
		if f := in.Field(i); f.IsExported() {
			return fmt.Errorf("%v.%s: members of inputs are not supported", in, f.Name)
		}
	}
	out = out.Elem()
	for i := range out.NumField() {
		f := out.Field(i)
		if f.IsExported() && f.Name != resultMetadata && f.Type != reflect.TypeFor[*string]() {
			return fmt.Errorf("%v.%s: only strings are supported", out, f.Name)
		}
	}
	return nil
}

func (q *queryWire) writeResult(w *httpx.Response, _ *http.Request, op *operation, out any) error {
	var x xmlWriter
	x.start(op.name+"Response", q.namespace)
	x.start(op.name+"Result", "")
	v := reflect.ValueOf(out).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.IsExported() && f.Name != resultMetadata && !v.Field(i).IsNil() {
			x.element(f.Name, v.Field(i).Elem().String())
		}
	}
	x.end(op.name + "Result")
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

// xmlWriter writes elements whose names are known to need no escaping.
type xmlWriter struct{ bytes.Buffer }

func (x *xmlWriter) start(name, namespace string) {
	x.WriteString("<" + name)
	if namespace != "" {
		x.WriteString(` xmlns="` + namespace + `"`)
	}
	x.WriteByte('>')
}

func (x *xmlWriter) end(name string) { x.WriteString("</" + name + ">") }

func (x *xmlWriter) element(name, text string) {
	x.start(name, "")
	_ = xml.EscapeText(x, []byte(text)) // a buffer takes everything
	x.end(name)
}
