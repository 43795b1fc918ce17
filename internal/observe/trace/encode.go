package trace

import (
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// The JSON of OTLP's ExportTraceServiceRequest: the protobuf JSON mapping, except that
// ids are in hex and enumerations are numbers, as
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding says.
type (
	exportRequest struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource struct {
			Attributes []keyValue `json:"attributes"`
		} `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	scopeSpans struct {
		Scope struct {
			Name string `json:"name"`
		} `json:"scope"`
		Spans []span `json:"spans"`
	}
	span struct {
		TraceID           string     `json:"traceId"`
		SpanID            string     `json:"spanId"`
		TraceState        string     `json:"traceState,omitempty"`
		ParentSpanID      string     `json:"parentSpanId,omitempty"`
		Flags             uint32     `json:"flags"`
		Name              string     `json:"name"`
		Kind              int        `json:"kind"`
		StartTimeUnixNano string     `json:"startTimeUnixNano"`
		EndTimeUnixNano   string     `json:"endTimeUnixNano"`
		Attributes        []keyValue `json:"attributes,omitempty"`
		Status            status     `json:"status"`
	}
	status struct {
		Message string `json:"message,omitempty"`
		Code    int    `json:"code,omitempty"`
	}
	keyValue struct {
		Key   string   `json:"key"`
		Value anyValue `json:"value"`
	}
	anyValue struct {
		String *string  `json:"stringValue,omitempty"`
		Bool   *bool    `json:"boolValue,omitempty"`
		Int    *string  `json:"intValue,omitempty"`
		Double *float64 `json:"doubleValue,omitempty"`
	}
)

// encode takes spans of one provider: they share its resource and scope.
func encode(spans []sdk.ReadOnlySpan) exportRequest {
	var r resourceSpans
	r.Resource.Attributes = encodeAttributes(spans[0].Resource().Attributes())
	r.ScopeSpans = []scopeSpans{{Spans: make([]span, len(spans))}}
	r.ScopeSpans[0].Scope.Name = scope
	for i, s := range spans {
		r.ScopeSpans[0].Spans[i] = encodeSpan(s)
	}
	return exportRequest{[]resourceSpans{r}}
}

// Flags of a span beside those of W3C: whether it is known that its parent was remote,
// and whether it was.
const (
	flagKnowsRemote = 0x100
	flagRemote      = 0x200
)

func encodeSpan(s sdk.ReadOnlySpan) span {
	sc, parent := s.SpanContext(), s.Parent()
	out := span{
		TraceID:           sc.TraceID().String(),
		SpanID:            sc.SpanID().String(),
		TraceState:        sc.TraceState().String(),
		Flags:             uint32(sc.TraceFlags()) | flagKnowsRemote,
		Name:              s.Name(),
		Kind:              int(s.SpanKind()), // the same numbers: internal 1, server 2, …
		StartTimeUnixNano: nanos(s.StartTime()),
		EndTimeUnixNano:   nanos(s.EndTime()),
		Attributes:        encodeAttributes(s.Attributes()),
	}
	if parent.HasSpanID() {
		out.ParentSpanID = parent.SpanID().String()
	}
	if parent.IsRemote() {
		out.Flags |= flagRemote
	}
	switch st := s.Status(); st.Code { // numbered differently
	case codes.Ok:
		out.Status.Code = 1
	case codes.Error:
		out.Status = status{Message: st.Description, Code: 2}
	}
	return out
}

var _ = [1]struct{}{}[trace.SpanKindServer-2] // encodeSpan relies on the numbers

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

func encodeAttributes(attrs []attribute.KeyValue) []keyValue {
	out := make([]keyValue, len(attrs))
	for i, a := range attrs {
		out[i] = keyValue{string(a.Key), encodeValue(a.Value)}
	}
	return out
}

// encodeValue writes lists, which only resources from the environment could have, as
// text.
func encodeValue(v attribute.Value) (out anyValue) {
	switch v.Type() {
	case attribute.BOOL:
		b := v.AsBool()
		out.Bool = &b
	case attribute.INT64:
		n := strconv.FormatInt(v.AsInt64(), 10)
		out.Int = &n
	case attribute.FLOAT64:
		f := v.AsFloat64()
		out.Double = &f
	case attribute.STRING:
		s := v.AsString()
		out.String = &s
	default:
		s := v.String()
		out.String = &s
	}
	return out
}
