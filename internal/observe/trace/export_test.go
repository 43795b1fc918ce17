package trace

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/sekisho/sekisho/internal/httpx"
)

func TestEnvironment(t *testing.T) {
	c := newCollector(t)
	for _, tt := range []struct {
		name     string
		endpoint string
		env      map[string]string
		path     string // "": no tracer
	}{
		{"nothing", "", nil, ""},
		{"option", c.URL, nil, "/v1/traces"},
		{"option with a path", c.URL + "/x/", nil, "/x/v1/traces"},
		{"base", "", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL + "/x"}, "/x/v1/traces"},
		{"whole", "", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.URL + "/y"}, "/y"},
		{"option before both", c.URL, map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": "http://nowhere.invalid", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://nowhere.invalid/y",
		}, "/v1/traces"},
		{"disabled", c.URL, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_SDK_DISABLED": "True"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			setenv(t, tt.env)
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b , X-Scope=1")
			t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
			c.paths = nil
			tracer, err := New(t.Context(), options(tt.endpoint))
			if err != nil || (tracer == nil) != (tt.path == "") {
				t.Fatalf("tracer %v, %v", tracer, err)
			}
			if tracer == nil {
				return
			}
			serve(t, tracer, func(*httpx.Response, *http.Request) error { return nil }, "")
			if !slices.Equal(c.paths, []string{tt.path}) {
				t.Errorf("sent to %v, want %s", c.paths, tt.path)
			}
			if c.header.Get("Api-Key") != "a b" || c.header.Get("X-Scope") != "1" || c.header.Get("Content-Encoding") != "gzip" {
				t.Errorf("sent with %v", c.header)
			}
		})
	}
}

func TestEndpointMalformed(t *testing.T) {
	setenv(t, nil)
	if tracer, err := New(t.Context(), options("http://collector:port")); err == nil {
		t.Errorf("tracer %v, no error", tracer)
	}
}

// What OpenTelemetry cannot read of its variables is said in the log, without what it
// is: somebody forgot the name before a credential.
func TestComplaints(t *testing.T) {
	c := newCollector(t)
	setenv(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL,
		"OTEL_EXPORTER_OTLP_HEADERS":  "secret-1,a key=secret-2,key=secret-3%zz",
		"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
	})
	var logged bytes.Buffer
	o := options("")
	o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	tracer, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, tracer, func(*httpx.Response, *http.Request) error { return nil }, "")
	for _, want := range []string{"missing '=", "invalid header key", "invalid URL escape", "grpc is not a valid protocol"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("%q is not in the log", want)
		}
	}
	if got := logged.String(); strings.Contains(got, "secret") || strings.Count(got, "\n") != 4 {
		t.Errorf("logged\n%s", got)
	}
	if len(c.batches) != 1 {
		t.Errorf("%d batches", len(c.batches))
	}
}

// It is said once when batches begin to fail, and once when they are sent again.
func TestCollectorFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int // 0: nobody listens
		reason string
	}{
		{"refuses", http.StatusBadRequest, "400 Bad Request"},
		{"quotes", http.StatusUnauthorized, "not like this"},
		{"down", 0, "Post"}, // refused, or the end of a connection that was kept
	} {
		t.Run(tt.name, func(t *testing.T) {
			setenv(t, nil)
			c := newCollector(t)
			var logged bytes.Buffer
			o := options(c.URL)
			o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
			x, err := newExporter(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			send := func(status int) {
				t.Helper()
				c.refuse = status
				if err := x.ExportSpans(t.Context(), recorded(t)); err != nil {
					t.Errorf("returned %v", err)
				}
			}
			send(0)
			if logged.Len() > 0 {
				t.Errorf("logged %s", &logged)
			}
			if tt.status == 0 {
				c.Close()
			}
			send(tt.status)
			send(tt.status)
			lost, again := strings.Count(logged.String(), "traces are lost"), strings.Count(logged.String(), "sent again")
			if lost != 1 || again != 0 || !strings.Contains(logged.String(), tt.reason) {
				t.Errorf("when it fails, logged\n%s", &logged)
			}
			if tt.status == 0 {
				return
			}
			send(0)
			send(0)
			send(tt.status)
			lost, again = strings.Count(logged.String(), "traces are lost"), strings.Count(logged.String(), "sent again")
			if lost != 2 || again != 1 {
				t.Errorf("when it fails again, logged\n%s", &logged)
			}
		})
	}
}

func TestReasonIsShort(t *testing.T) {
	setenv(t, nil)
	c := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, strings.Repeat("no ", 1<<20), http.StatusBadRequest)
	}))
	t.Cleanup(c.Close)
	var logged bytes.Buffer
	o := options(c.URL)
	o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	x, err := newExporter(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	_ = x.ExportSpans(t.Context(), recorded(t))
	if n := logged.Len(); n < maxReason || n > maxReason+200 {
		t.Errorf("logged %d bytes", n)
	}
}

// Shutdown ends with its context, and what it runs with it, whatever the collector does.
func TestShutdownInterrupts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request)
	}{
		{"asks to try again", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "20")
			w.WriteHeader(http.StatusServiceUnavailable)
		}},
		{"is silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			setenv(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			c := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = decode(r) // the server notices that a client leaves once it has read the body
				cancel()
				tt.answer(w, r)
			}))
			t.Cleanup(c.Close)
			var logged bytes.Buffer
			o := options(c.URL)
			o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
			tracer, err := New(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			_, end := tracer.Request(httptest.NewRequest("GET", "/", nil))
			end(&httpx.Event{})
			start := time.Now()
			if err := tracer.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took > 8*time.Second { // less than the exporter's own timeout
				t.Errorf("took %s", took)
			}
			if !strings.Contains(logged.String(), "traces are lost") {
				t.Errorf("logged %s", &logged)
			}
		})
	}
}

// setenv sets env, and none else of OpenTelemetry's variables.
func setenv(t *testing.T, env map[string]string) {
	t.Helper()
	for _, inherited := range os.Environ() {
		if name, _, _ := strings.Cut(inherited, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range env {
		t.Setenv(name, value)
	}
}

// recorded returns one span that has ended.
func recorded(t *testing.T) []sdk.ReadOnlySpan {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	_, s := sdk.NewTracerProvider(sdk.WithSpanProcessor(r)).Tracer(scope).Start(t.Context(), "one")
	s.End()
	return r.Ended()
}
