package trace

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sekisho/sekisho/internal/httpx"
)

// options trace all requests to the collector at endpoint.
func options(endpoint string) Options {
	return Options{Endpoint: endpoint, Sample: 1, Getenv: os.Getenv, Logger: slog.New(slog.DiscardHandler)}
}

// serve answers one request with h, traced, and ends the tracer.
func serve(t *testing.T, tracer *Tracer, h httpx.Handler, traceparent string) {
	t.Helper()
	r := httptest.NewRequest("GET", "/v2/app/manifests/v1?token=secret", nil)
	r.RemoteAddr = "192.0.2.1:1"
	if traceparent != "" {
		r.Header.Set("Traceparent", traceparent)
	}
	httpx.New(h, httpx.Options{Logger: slog.New(slog.DiscardHandler), Trace: tracer.Request}).ServeHTTP(httptest.NewRecorder(), r)
	if err := tracer.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

const (
	parentSampled  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	parentDeclined = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func TestSpans(t *testing.T) {
	setenv(t, nil)
	c := newCollector(t)
	o := options(c.URL)
	o.Sample, o.Version = 0, "v1"
	tracer, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, tracer, func(w *httpx.Response, r *http.Request) error {
		w.Event.Operation, w.Event.Repo = "GetManifest", "app"
		ctx, s := Start(r.Context(), "registry.Manifest")
		_, inner := Start(ctx, "meta.Query")
		inner.End(nil)
		err := errors.New("GET https://s3/k?X-Amz-Signature=secret: EOF")
		s.End(err)
		return err
	}, parentSampled)
	if len(c.batches) != 1 {
		t.Fatalf("%d batches", len(c.batches))
	}
	if strings.Contains(c.batches[0].String(), "secret") {
		t.Error("a secret was sent")
	}
	of := c.batches[0].ResourceSpans[0]
	for _, want := range []*commonpb.KeyValue{text("service.name", "sekisho"), text("service.version", "v1")} {
		if !slices.ContainsFunc(of.Resource.Attributes, func(got *commonpb.KeyValue) bool {
			return cmp.Equal(want, got, protocmp.Transform())
		}) {
			t.Errorf("the resource has no %v: %v", want, of.Resource.Attributes)
		}
	}
	spans := of.ScopeSpans[0].Spans
	// Ids differ each time: a parent is told by its name.
	names := map[string]string{"\xb7\xad\x6b\x71\x69\x20\x33\x31": "caller"}
	for _, s := range spans {
		names[string(s.SpanId)] = s.Name
	}
	for _, s := range spans {
		s.ParentSpanId = []byte(names[string(s.ParentSpanId)])
		if len(s.SpanId) != 8 || s.StartTimeUnixNano == 0 || s.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("span %x from %d to %d", s.SpanId, s.StartTimeUnixNano, s.EndTimeUnixNano)
		}
		s.Attributes = slices.DeleteFunc(s.Attributes, func(a *commonpb.KeyValue) bool { return a.Key == "sekisho.request_id" })
	}
	const (
		local  = uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK) | 1
		remote = uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK) | local
	)
	traceID := []byte("\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c")
	failed := &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: "GET https://s3/k?X-Amz-Signature=REDACTED EOF"}
	want := []*tracepb.Span{
		{
			Name: "meta.Query", TraceId: traceID, ParentSpanId: []byte("registry.Manifest"), Flags: local,
			Kind: tracepb.Span_SPAN_KIND_INTERNAL, Status: &tracepb.Status{},
		},
		{
			Name: "registry.Manifest", TraceId: traceID, ParentSpanId: []byte("GetManifest"), Flags: local,
			Kind: tracepb.Span_SPAN_KIND_INTERNAL, Status: failed,
		},
		{
			Name: "GetManifest", TraceId: traceID, ParentSpanId: []byte("caller"), Flags: remote,
			Kind: tracepb.Span_SPAN_KIND_SERVER, Status: failed,
			Attributes: []*commonpb.KeyValue{
				text("http.request.method", "GET"),
				text("url.path", "/v2/app/manifests/v1"),
				number("http.response.status_code", 500),
				number("http.request.body.size", 0),
				number("http.response.body.size", 54),
				text("client.address", "192.0.2.1"),
				text("sekisho.repo", "app"),
			},
		},
	}
	if diff := cmp.Diff(want, spans, protocmp.Transform(),
		protocmp.IgnoreFields(&tracepb.Span{}, "span_id", "start_time_unix_nano", "end_time_unix_nano")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func number(key string, value int64) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: value}}}
}

func TestSampling(t *testing.T) {
	for _, tt := range []struct {
		name   string
		sample float64
		parent string
		want   int
	}{
		{"all", 1, "", 1},
		{"none", 0, "", 0},
		{"the caller wants it", 0, parentSampled, 1},
		{"the caller does not", 1, parentDeclined, 0},
		{"malformed", 1, "00-zz-b7ad6b7169203331-00", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			setenv(t, nil)
			c := newCollector(t)
			o := options(c.URL)
			o.Sample = tt.sample
			tracer, err := New(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			serve(t, tracer, func(_ *httpx.Response, r *http.Request) error {
				_, s := Start(r.Context(), "inner")
				s.End(nil)
				return nil
			}, tt.parent)
			if len(c.batches) != tt.want {
				t.Errorf("%d batches, want %d", len(c.batches), tt.want)
			}
		})
	}
}

// Without a span in the context there is nothing to pay.
func BenchmarkStartWithout(b *testing.B) {
	type key struct{}
	ctx := context.WithValue(context.WithValue(b.Context(), key{}, 1), key{}, 2)
	b.ReportAllocs()
	for b.Loop() {
		_, s := Start(ctx, "registry.Manifest")
		s.End(nil)
	}
}
