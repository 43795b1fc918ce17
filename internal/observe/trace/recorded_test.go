package trace

import (
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// recorded returns one span that has ended.
func recorded(t *testing.T) []sdk.ReadOnlySpan {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	_, s := sdk.NewTracerProvider(sdk.WithSpanProcessor(r)).Tracer(scope).Start(t.Context(), "one")
	s.End()
	return r.Ended()
}
