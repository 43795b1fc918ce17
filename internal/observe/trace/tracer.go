package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/sekisho/sekisho/internal/httpx"
)

// Options are those of [New].
type Options struct {
	Endpoint string              // OTLP/HTTP; empty: from the environment
	Sample   float64             // part of the requests to trace whose caller has not decided, 0 to 1
	Version  string              // of this program
	Getenv   func(string) string // os.Getenv
	Logger   *slog.Logger
}

// Tracer makes spans and sends them.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	parent   propagation.TraceContext
}

// New returns nil when neither the options nor the environment name an endpoint.
//
// Of OpenTelemetry's variables it knows OTEL_SDK_DISABLED, OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_*, and OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS and
// _TIMEOUT with their _TRACES_ forms.
// See https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
func New(ctx context.Context, o Options) (*Tracer, error) {
	x, err := newExporter(o)
	if x == nil || err != nil {
		return nil, err
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "sekisho"),
		attribute.String("service.version", o.Version),
	), resource.WithHost(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("trace: %w", err)
	}
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(x),
		sdk.WithResource(about),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(o.Sample))))
	return &Tracer{provider: provider, tracer: provider.Tracer(scope)}, nil
}

// Shutdown sends what is left, as long as ctx lasts.
func (t *Tracer) Shutdown(ctx context.Context) error { return t.provider.Shutdown(ctx) }

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

// newExporter reads where to send to; nil: nowhere.
func newExporter(o Options) (*exporter, error) {
	getenv := func(name string) string {
		const general, traces = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"
		if v := o.Getenv(traces + name); v != "" {
			return v
		}
		return o.Getenv(general + name)
	}
	target, err := endpoint(o)
	if target == "" || err != nil {
		return nil, err
	}
	x := &exporter{url: target, log: o.Logger, client: &http.Client{}, header: http.Header{}, timeout: 10 * time.Second, backoff: time.Second}
	if ms := getenv("TIMEOUT"); ms != "" {
		n, err := strconv.ParseUint(ms, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("trace: OTEL_EXPORTER_OTLP_TIMEOUT: %q is not a number of milliseconds", ms)
		}
		x.timeout = time.Duration(n) * time.Millisecond
	}
	for pair := range strings.SplitSeq(getenv("HEADERS"), ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil { // not repeated: it may hold a credential
			return nil, errors.New("trace: OTEL_EXPORTER_OTLP_HEADERS is not name=value,name=value")
		}
		x.header.Set(strings.TrimSpace(name), value)
	}
	return x, nil
}

// endpoint returns the URL to post to. The variable for traces is that URL; the
// others are the base of it.
func endpoint(o Options) (string, error) {
	base, name := o.Endpoint, "tracing.endpoint"
	if base == "" {
		if strings.EqualFold(o.Getenv("OTEL_SDK_DISABLED"), "true") {
			return "", nil
		}
		if whole := o.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); whole != "" {
			return whole, checkURL("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", whole)
		}
		name = "OTEL_EXPORTER_OTLP_ENDPOINT"
		if base = o.Getenv(name); base == "" {
			return "", nil
		}
	}
	if err := checkURL(name, base); err != nil {
		return "", err
	}
	return strings.TrimRight(base, "/") + "/v1/traces", nil
}

func checkURL(name, s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("trace: %s: %q is not a URL such as http://collector:4318", name, s)
	}
	return nil
}
