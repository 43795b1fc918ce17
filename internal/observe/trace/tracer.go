package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/sekisho/sekisho/internal/httpx"
)

// Options are those of [New].
type Options struct {
	Endpoint string              // base URL of OTLP/HTTP, to which /v1/traces is added; empty: from the environment
	Sample   float64             // part of the requests to trace whose caller has not decided, 0 to 1
	Version  string              // of this program
	Getenv   func(string) string // os.Getenv; says whether to trace, OpenTelemetry reads the rest by itself
	Logger   *slog.Logger        // also of what OpenTelemetry complains about, in the whole process
}

// Tracer makes spans and sends them.
type Tracer struct {
	exporter sdk.SpanExporter
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	parent   propagation.TraceContext
}

// New returns nil when neither the options nor OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
// OTEL_EXPORTER_OTLP_ENDPOINT name an endpoint, or when OTEL_SDK_DISABLED is true.
//
// OpenTelemetry's other variables are as it describes them: OTEL_EXPORTER_OTLP_* at
// https://opentelemetry.io/docs/specs/otel/protocol/exporter/, OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES and OTEL_BSP_* at
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
func New(ctx context.Context, o Options) (*Tracer, error) {
	x, err := newExporter(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("trace: make the exporter: %w", err)
	}
	if x == nil {
		return nil, nil
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "sekisho"),
		attribute.String("service.version", o.Version),
	), resource.WithHost(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("trace: describe this process: %w", err)
	}
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(x),
		sdk.WithResource(about),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(o.Sample))))
	return &Tracer{exporter: x, provider: provider, tracer: provider.Tracer(scope)}, nil
}

// Shutdown sends what is left, as long as ctx lasts. When it returns, nothing is being
// sent any more: the end of ctx interrupts the exporter, and the provider, which would
// rather leave it running, waits for that.
func (t *Tracer) Shutdown(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = t.exporter.Shutdown(ctx) })
	defer stop()
	return t.provider.Shutdown(context.WithoutCancel(ctx))
}

// Request is httpx.Options.Trace.
func (t *Tracer) Request(r *http.Request) (*http.Request, func(*httpx.Event)) {
	ctx := t.parent.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	return r.WithContext(ctx), func(e *httpx.Event) { endRequest(span, e) }
}

// endRequest names attributes by the semantic conventions for HTTP servers, where
// they have a name.
func endRequest(span trace.Span, e *httpx.Event) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	if e.Operation != "" {
		span.SetName(e.Operation)
	}
	span.SetAttributes(
		attribute.String("http.request.method", e.Method),
		attribute.String("url.path", e.Path),
		attribute.Int("http.response.status_code", e.Status),
		attribute.Int64("http.request.body.size", e.BytesIn),
		attribute.Int64("http.response.body.size", e.BytesOut),
		attribute.String("sekisho.request_id", e.RequestID))
	if e.Client.IsValid() {
		span.SetAttributes(attribute.String("client.address", e.Client.String()))
	}
	for key, value := range map[string]string{
		"sekisho.principal": e.Principal, "sekisho.action": e.Action, "sekisho.repo": e.Repo, "sekisho.digest": e.Digest, "sekisho.tag": e.Tag,
	} {
		if value != "" {
			span.SetAttributes(attribute.String(key, value))
		}
	}
	if e.Status >= 500 { // the conventions: a client's mistake is not the server's
		err := e.Err
		if err == nil {
			err = errors.New(http.StatusText(e.Status))
		}
		fail(span, err)
	}
}
