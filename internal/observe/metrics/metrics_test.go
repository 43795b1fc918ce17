package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/observe/metrics"
)

// scrape returns the lines of sekisho's own metrics, without zeros and buckets.
func scrape(t *testing.T, m *metrics.Metrics) []string {
	t.Helper()
	rec := httptest.NewRecorder()
	httpx.New(m.Handler(nil), httpx.Options{Logger: slog.New(slog.DiscardHandler)}).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if body := rec.Body.String(); !strings.Contains(body, "go_goroutines ") || !strings.Contains(body, "process_") {
		t.Errorf("no metrics of the process in %s", body)
	}
	var lines []string
	for line := range strings.Lines(rec.Body.String()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "sekisho_") && !strings.HasSuffix(line, " 0") && !strings.Contains(line, "_bucket") {
			lines = append(lines, line)
		}
	}
	return slices.DeleteFunc(lines, regexp.MustCompile(`^sekisho_build_info\{go="go1.*",version="v1"\} 1$`).MatchString)
}

func TestRequests(t *testing.T) {
	m := metrics.New("v1", slog.New(slog.DiscardHandler))
	h := m.HTTP("GetManifest", "PutBlob")
	for _, e := range []httpx.Event{
		{Operation: "GetManifest", Status: 200, BytesOut: 10, Duration: 250 * time.Millisecond},
		{Operation: "GetManifest", Status: 206, BytesOut: 5, Duration: 250 * time.Millisecond},
		{Operation: "GetManifest", Status: 404},
		{Operation: "PutBlob", Status: 201, BytesIn: 7},
		{Operation: "no such", Status: 500},
		{Status: 0},
		{Status: -5000},
	} {
		h.RequestStarted()
		h.RequestDone(&e)
	}
	h.RequestStarted()
	want := []string{
		`sekisho_http_request_bytes_total{operation="PutBlob"} 7`,
		`sekisho_http_request_duration_seconds_count{operation="GetManifest"} 3`,
		`sekisho_http_request_duration_seconds_count{operation="PutBlob"} 1`,
		`sekisho_http_request_duration_seconds_count{operation="other"} 3`,
		`sekisho_http_request_duration_seconds_sum{operation="GetManifest"} 0.5`,
		`sekisho_http_requests_in_flight 1`,
		`sekisho_http_requests_total{operation="GetManifest",status="2xx"} 2`,
		`sekisho_http_requests_total{operation="GetManifest",status="4xx"} 1`,
		`sekisho_http_requests_total{operation="PutBlob",status="2xx"} 1`,
		`sekisho_http_requests_total{operation="other",status="5xx"} 1`,
		`sekisho_http_requests_total{operation="other",status="none"} 2`,
		`sekisho_http_response_bytes_total{operation="GetManifest"} 15`,
	}
	got := scrape(t, m)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFamilies(t *testing.T) {
	var logged bytes.Buffer
	m := metrics.New("v1", slog.New(slog.NewTextHandler(&logged, nil)))
	m.Func("sekisho_stored_bytes", "b", false, func() float64 { return 42 })
	m.Add(metrics.Family{Name: "sekisho_jobs", Help: "j", Labels: []string{"kind", "state"},
		Read: func(ctx context.Context, set func(float64, ...string)) error {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("no deadline")
			}
			set(1, "gc", "ready")
			set(2, "gc", "dead")
			return nil
		}})
	m.Add(metrics.Family{Name: "sekisho_broken", Help: "b", Read: func(_ context.Context, set func(float64, ...string)) error {
		set(1)
		return errors.New("database is closed")
	}})
	want := []string{`sekisho_jobs{kind="gc",state="dead"} 2`, `sekisho_jobs{kind="gc",state="ready"} 1`, `sekisho_stored_bytes 42`}
	if diff := cmp.Diff(want, scrape(t, m)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !strings.Contains(logged.String(), "metric=sekisho_broken") {
		t.Errorf("logged %s", &logged)
	}
}

func TestAllow(t *testing.T) {
	m := metrics.New("v1", slog.New(slog.DiscardHandler))
	h := httpx.New(m.Handler([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}), httpx.Options{Logger: slog.New(slog.DiscardHandler)})
	for peer, want := range map[string]int{"127.0.0.1:9": 200, "192.0.2.1:9": 404, "@": 404} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.RemoteAddr = peer
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != want {
			t.Errorf("%s: %d, want %d", peer, rec.Code, want)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	h := metrics.New("v1", slog.New(slog.DiscardHandler)).HTTP("GetManifest", "HeadManifest", "GetBlob", "HeadBlob", "PutManifest")
	e := &httpx.Event{Operation: "GetManifest", Status: 200, BytesOut: 500, Duration: 80 * time.Microsecond}
	b.ReportAllocs()
	for b.Loop() {
		h.RequestStarted()
		h.RequestDone(e)
	}
}
