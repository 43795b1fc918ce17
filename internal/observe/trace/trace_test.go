package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/httpx"
)

// collector takes batches, after refusing as many as it is told.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	refuse  []int // statuses, one a request
	paths   []string
	batches []string
	header  http.Header
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.header = r.Header
		c.paths = append(c.paths, r.URL.Path)
		if len(c.refuse) > 0 {
			status := c.refuse[0]
			c.refuse = c.refuse[1:]
			http.Error(w, "not now", status)
			return
		}
		zip, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(zip)
		if err != nil {
			t.Error(err)
		}
		c.batches = append(c.batches, string(body))
	}))
	t.Cleanup(c.Close)
	return c
}

func none(string) string { return "" }

func newTracer(t *testing.T, o Options) *Tracer {
	t.Helper()
	if o.Getenv == nil {
		o.Getenv = none
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	tracer, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tracer
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
	c := newCollector(t)
	tracer := newTracer(t, Options{Endpoint: c.URL, Sample: 0, Version: "v1"})
	serve(t, tracer, func(w *httpx.Response, r *http.Request) error {
		w.Event.Operation, w.Event.Repo = "GetManifest", "app"
		ctx, s := Start(r.Context(), "registry.Manifest")
		_, inner := Start(ctx, "meta.Query")
		inner.End(nil)
		err := errors.New("GET https://s3/k?X-Amz-Signature=secret: EOF")
		s.End(err)
		return err
	}, parentSampled)
	if len(c.batches) != 1 || c.paths[0] != "/v1/traces" || c.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d batches to %v, %v", len(c.batches), c.paths, c.header)
	}
	if strings.Contains(c.batches[0], "secret") {
		t.Error("a secret was sent")
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(c.batches[0]), &got); err != nil {
		t.Fatal(err)
	}
	// Ids, times and sizes differ each time; their forms do not.
	forms := []struct{ key, form string }{
		{"spanId", "^[0-9a-f]{16}$"}, {"startTimeUnixNano", "^[0-9]{19}$"}, {"endTimeUnixNano", "^[0-9]{19}$"},
	}
	spans := got["resourceSpans"].([]any)[0].(map[string]any)["scopeSpans"].([]any)[0].(map[string]any)["spans"].([]any)
	ids := map[string]string{"b7ad6b7169203331": "caller"}
	for _, s := range spans {
		s := s.(map[string]any)
		ids[s["spanId"].(string)] = s["name"].(string)
		for _, f := range forms {
			if !regexp.MustCompile(f.form).MatchString(s[f.key].(string)) {
				t.Errorf("%s is %v", f.key, s[f.key])
			}
			if f.key != "spanId" {
				delete(s, f.key)
			}
		}
	}
	for _, s := range spans {
		s := s.(map[string]any)
		s["parentSpanId"] = ids[s["parentSpanId"].(string)]
		delete(s, "spanId")
	}
	const parent = `"traceId": "0af7651916cd43dd8448eb211c80319c"`
	want := []string{
		`{` + parent + `, "parentSpanId": "registry.Manifest", "name": "meta.Query", "kind": 1, "flags": 257, "status": {}}`,
		`{` + parent + `, "parentSpanId": "GetManifest", "name": "registry.Manifest", "kind": 1, "flags": 257,
			"status": {"code": 2, "message": "GET https://s3/k?X-Amz-Signature=REDACTED EOF"}}`,
		`{` + parent + `, "parentSpanId": "caller", "name": "GetManifest", "kind": 2, "flags": 769,
			"status": {"code": 2, "message": "GET https://s3/k?X-Amz-Signature=REDACTED EOF"}, "attributes": [
			{"key": "http.request.method", "value": {"stringValue": "GET"}},
			{"key": "url.path", "value": {"stringValue": "/v2/app/manifests/v1"}},
			{"key": "http.response.status_code", "value": {"intValue": "500"}},
			{"key": "http.request.body.size", "value": {"intValue": "0"}},
			{"key": "http.response.body.size", "value": {"intValue": "54"}},
			{"key": "client.address", "value": {"stringValue": "192.0.2.1"}},
			{"key": "sekisho.repo", "value": {"stringValue": "app"}}]}`,
	}
	for i := range spans {
		if a, ok := spans[i].(map[string]any)["attributes"].([]any); ok {
			spans[i].(map[string]any)["attributes"] = slices.DeleteFunc(a, func(kv any) bool { return kv.(map[string]any)["key"] == "sekisho.request_id" })
		}
		var w any
		if err := json.Unmarshal([]byte(want[i]), &w); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w, spans[i]); diff != "" {
			t.Errorf("span %d: -want +got:\n%s", i, diff)
		}
	}
	resource := fmt.Sprint(got["resourceSpans"].([]any)[0].(map[string]any)["resource"])
	if !strings.Contains(resource, "key:service.name value:map[stringValue:sekisho]") || !strings.Contains(resource, "key:service.version value:map[stringValue:v1]") {
		t.Error(resource)
	}
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
			c := newCollector(t)
			serve(t, newTracer(t, Options{Endpoint: c.URL + "/", Sample: tt.sample}), func(w *httpx.Response, r *http.Request) error {
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

func TestEnvironment(t *testing.T) {
	c := newCollector(t)
	for _, tt := range []struct {
		name string
		env  map[string]string
		path string // "": no tracer
	}{
		{"nothing", nil, ""},
		{"base", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL + "/x"}, "/x/v1/traces"},
		{"whole", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://nowhere.invalid", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.URL + "/y"}, "/y"},
		{"disabled", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_SDK_DISABLED": "true"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.paths = nil
			getenv := func(name string) string {
				if name == "OTEL_EXPORTER_OTLP_HEADERS" {
					return "api-key=a%20b , X-Scope=1"
				}
				return tt.env[name]
			}
			tracer := newTracer(t, Options{Sample: 1, Getenv: getenv})
			if (tracer == nil) != (tt.path == "") {
				t.Fatalf("tracer %v", tracer)
			}
			if tracer == nil {
				return
			}
			serve(t, tracer, func(*httpx.Response, *http.Request) error { return nil }, "")
			if !slices.Equal(c.paths, []string{tt.path}) || c.header.Get("Api-Key") != "a b" || c.header.Get("X-Scope") != "1" {
				t.Errorf("sent to %v with %v", c.paths, c.header)
			}
		})
	}
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "/x",
		"OTEL_EXPORTER_OTLP_TIMEOUT": "10s", "OTEL_EXPORTER_OTLP_HEADERS": "secret",
	} {
		o := Options{Logger: slog.New(slog.DiscardHandler), Getenv: func(n string) string {
			if n == name {
				return value
			}
			return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL}[n]
		}}
		if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}

func TestCollectorRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refuse  []int
		posts   int
		arrives bool
		logged  string
	}{
		{"once", []int{503}, 2, true, ""},
		{"for good", []int{400, 400}, 1, false, "400 Bad Request: not now"},
		{"too often", []int{429, 429, 429, 429, 429}, tries, false, "429 Too Many Requests: not now"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCollector(t)
			c.refuse = tt.refuse
			var logged bytes.Buffer
			o := Options{Endpoint: c.URL, Getenv: none, Logger: slog.New(slog.NewTextHandler(&logged, nil))}
			x, err := newExporter(o)
			if err != nil {
				t.Fatal(err)
			}
			x.backoff = time.Millisecond
			spans := recorded(t)
			if err := x.ExportSpans(t.Context(), spans); err != nil {
				t.Fatal(err)
			}
			if len(c.paths) != tt.posts || (len(c.batches) == 1) != tt.arrives || !strings.Contains(logged.String(), tt.logged) {
				t.Errorf("%d posts, %d batches, logged %s", len(c.paths), len(c.batches), &logged)
			}
			// It is said once when it begins and once when it ends.
			c.refuse = []int{400}
			_ = x.ExportSpans(t.Context(), spans)
			_ = x.ExportSpans(t.Context(), spans)
			if lost, again := strings.Count(logged.String(), "traces are lost"), strings.Count(logged.String(), "sent again"); lost != 1 || again != 1 {
				t.Errorf("logged %s", &logged)
			}
		})
	}
}

func TestCollectorDown(t *testing.T) {
	c := newCollector(t)
	c.Close()
	var logged bytes.Buffer
	x, err := newExporter(Options{Endpoint: c.URL, Logger: slog.New(slog.NewTextHandler(&logged, nil)), Getenv: func(name string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_TIMEOUT": "50"}[name]
	}})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_ = x.ExportSpans(t.Context(), recorded(t))
	if took := time.Since(start); took > 5*time.Second || !strings.Contains(logged.String(), "refused") {
		t.Errorf("after %s: %s", took, &logged)
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
