// Package trace sends OpenTelemetry spans, when somebody is configured to get them:
// one for each request, which continues the trace its traceparent header names, and
// under it those of the operations that call [Start].
//
// Invariants: without a collector, and in requests that are not sampled, a span costs
// a look into the context. With one, requests never wait for it: spans are sent in
// the background, and dropped when it does not keep up. Spans hold nothing that the
// log would not.
//
// The exporter and its environment variables are OpenTelemetry's, over OTLP/HTTP.
package trace

import (
	"context"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/sekisho/sekisho/internal/httpx"
)

// scope is the name of the instrumentation.
const scope = "github.com/sekisho/sekisho"

// Span is an operation that is being timed. The zero value is none.
type Span struct{ span trace.Span }

// Start begins a span under the one in ctx. Without one, or when it is not sampled,
// it does nothing. The name is from a small fixed set: registry.PutManifest.
func Start(ctx context.Context, name string) (context.Context, Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, Span{}
	}
	ctx, span := parent.TracerProvider().Tracer(scope).Start(ctx, name)
	return ctx, Span{span}
}

// End ends the span; err, when not nil, is why the operation failed.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	fail(s.span, err)
	s.span.End()
}

func fail(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, httpx.Redact(err.Error()))
	}
}
