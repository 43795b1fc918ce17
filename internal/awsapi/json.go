package awsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"

	"github.com/sekisho/sekisho/internal/httpx"
)

// jsonWire is AWS JSON 1.0 and 1.1, which differ in their media type alone
// (https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html).
type jsonWire struct{ prefix string }

func (*jsonWire) faults() map[fault]called { return jsonFaults }

var jsonFaults = map[fault]called{
	faultUnsigned:         {"MissingAuthenticationTokenException", http.StatusBadRequest},
	faultIncomplete:       {"IncompleteSignatureException", http.StatusBadRequest},
	faultSignature:        {"InvalidSignatureException", http.StatusBadRequest},
	faultUnknownKey:       {"UnrecognizedClientException", http.StatusBadRequest},
	faultExpiredToken:     {"ExpiredTokenException", http.StatusBadRequest},
	faultDenied:           {"AccessDeniedException", http.StatusBadRequest},
	faultThrottled:        {"ThrottlingException", http.StatusBadRequest},
	faultMalformed:        {"SerializationException", http.StatusBadRequest},
	faultInput:            {"SerializationException", http.StatusBadRequest},
	faultInvalid:          {"ValidationException", http.StatusBadRequest},
	faultUnsupported:      {"UnsupportedOperationException", http.StatusBadRequest},
	faultUnknownOperation: {"UnknownOperationException", http.StatusBadRequest},
	faultTooLarge:         {"RequestEntityTooLargeException", http.StatusRequestEntityTooLarge},
	faultTimeout:          {"RequestTimeoutException", http.StatusRequestTimeout},
}

func (*jsonWire) check(_, out reflect.Type) error {
	if !out.Implements(reflect.TypeFor[smithy.Serializable]()) {
		return fmt.Errorf("%v is not a smithy.Serializable", out)
	}
	return nil
}

func (j *jsonWire) writeResult(w *httpx.Response, r *http.Request, op *operation, out any) error {
	body, err := encodeJSON(r.Context(), complete{out.(smithy.Serializable), op.zeroes})
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, jsonType(r), body)
}

func (j *jsonWire) writeError(w *httpx.Response, r *http.Request, e smithy.APIError, status int) error {
	code, err := json.Marshal(e.ErrorCode())
	if err != nil {
		return err
	}
	var members []byte
	if typed, ok := e.(smithy.Serializable); ok {
		members, err = encodeJSON(r.Context(), typed)
	} else {
		members, err = json.Marshal(map[string]string{"message": e.ErrorMessage()})
	}
	if err != nil {
		return err
	}
	body := append([]byte(`{"__type":`), code...)
	if rest := members[1:]; len(rest) > 1 { // members are "{…}"
		body = append(append(body, ','), rest...)
	} else {
		body = append(body, '}')
	}
	w.Header()["X-Amzn-Errortype"] = []string{e.ErrorCode()}
	return write(w, status, jsonType(r), body)
}

// jsonType answers in the version that the client speaks.
func jsonType(r *http.Request) string {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-amz-json-1.0") {
		return "application/x-amz-json-1.0"
	}
	return "application/x-amz-json-1.1"
}

// encodeJSON returns the JSON of an SDK type. The SDK serialises for requests only, so the output is written as if it
// were an input. Its schema is not looked at but for whether there is one.
func encodeJSON(ctx context.Context, v smithy.Serializable) ([]byte, error) {
	schema := smithy.NewSchema(smithy.ShapeID{}, smithy.ShapeTypeStructure, 0)
	req, ok := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	if !ok {
		return nil, errors.New("smithy made no HTTP request")
	}
	protocol := awsjson.New11(smithy.NewServiceSchema(schema, ""))
	if err := protocol.SerializeRequest(ctx, smithy.NewOperationSchema(schema, schema, nil), v, req); err != nil {
		return nil, fmt.Errorf("serialise %T: %w", v, err)
	}
	body, err := io.ReadAll(req.GetStream())
	if err != nil {
		return nil, fmt.Errorf("serialise %T: %w", v, err)
	}
	return body, nil
}

// decodeJSON reads a body into an SDK type. Members are matched whatever their case, null is absent and unknown members
// are ignored, as SDKs newer than this server may send them.
func decodeJSON(body []byte, in any) error {
	if len(body) == 0 {
		return nil // as botocore's tests have it: operations without members may have none
	}
	if err := checkJSON(body); err != nil {
		return &malformed{message: "The body is not acceptable JSON: " + err.Error()}
	}
	err := json.Unmarshal(body, in)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		value, _, _ := strings.Cut(e.Value, " ") // "number 1.5": what was in it is not repeated
		return &malformed{message: fmt.Sprintf("%s: %s can not be converted to %s", lowerFirst(e.Field), strings.ToUpper(value)+"_VALUE", typeName(e.Type))}
	}
	return &malformed{message: "The body is not acceptable JSON: " + err.Error()}
}

// typeName is a type's name in the words of JSON.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a String"
	case reflect.Bool:
		return "a Boolean"
	case reflect.Slice:
		return "a List"
	case reflect.Struct:
		return "a Structure"
	case reflect.Int32, reflect.Int64:
		return "an Integer"
	default:
		return "what it must be"
	}
}
