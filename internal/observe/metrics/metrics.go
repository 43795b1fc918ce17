// Package metrics counts for Prometheus: requests as they pass, and, at each
// scrape, what others know about themselves.
//
// Invariants: labels come from small fixed sets, never from names of accounts,
// repositories or clients. Counting a request takes no lock and builds no label:
// its counters are resolved when the server starts.
//
// Names follow Prometheus' rules: base units, and _total for what only grows.
package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sekisho/sekisho/internal/httpx"
)

// Metrics is a set of metrics and its page.
type Metrics struct {
	registry *prometheus.Registry
	log      *slog.Logger
}

// New returns the metrics of this process: Go's, the operating system's, and the
// version it runs.
func New(version string, log *slog.Logger) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), log: log}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "sekisho_build_info",
		Help:        "1, with the version that runs.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// scrapeTimeout bounds what one family may take to read.
const scrapeTimeout = 5 * time.Second

// Family is a metric that is read when it is asked for.
type Family struct {
	Name    string // begins with sekisho_
	Help    string
	Labels  []string
	Counter bool // it only grows; else it is a gauge
	// Read calls set once for each combination of labels there is. Families are read
	// in parallel, and by more than one scrape at a time.
	Read func(ctx context.Context, set func(value float64, labels ...string)) error
}

// Add adds a family. When its Read fails it is left out of that scrape, and why is
// logged.
func (m *Metrics) Add(f Family) {
	kind := prometheus.GaugeValue
	if f.Counter {
		kind = prometheus.CounterValue
	}
	m.registry.MustRegister(&pulled{Family: f, kind: kind, log: m.log, desc: prometheus.NewDesc(f.Name, f.Help, f.Labels, nil)})
}

// Func adds a metric without labels that cannot fail to be read.
func (m *Metrics) Func(name, help string, counter bool, read func() float64) {
	m.Add(Family{Name: name, Help: help, Counter: counter, Read: func(_ context.Context, set func(float64, ...string)) error {
		set(read())
		return nil
	}})
}

// pulled is a Family as Prometheus collects it.
type pulled struct {
	Family
	kind prometheus.ValueType
	desc *prometheus.Desc
	log  *slog.Logger
}

func (p *pulled) Describe(ch chan<- *prometheus.Desc) { ch <- p.desc }

func (p *pulled) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var got []prometheus.Metric
	err := p.Read(ctx, func(value float64, labels ...string) {
		got = append(got, prometheus.MustNewConstMetric(p.desc, p.kind, value, labels...))
	})
	if err != nil {
		p.log.Warn("metric not read", "metric", p.Name, "err", err)
		return
	}
	for _, metric := range got {
		ch <- metric
	}
}

// Handler answers with all metrics to clients within allow, and to others as if it
// were not there. Without allow it answers everybody.
func (m *Metrics) Handler(allow []netip.Prefix) httpx.Handler {
	page := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            scrapeLog{m.log},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	})
	return func(w *httpx.Response, r *http.Request) error {
		w.Event.Operation = "Metrics"
		if len(allow) > 0 && !contains(allow, w.Origin.Client) {
			return &httpx.Error{Status: http.StatusNotFound, Message: "not found"}
		}
		page.ServeHTTP(w, r)
		return nil
	}
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// scrapeLog takes promhttp's complaints.
type scrapeLog struct{ log *slog.Logger }

func (l scrapeLog) Println(v ...any) { l.log.Warn("metrics page", "err", fmt.Sprint(v...)) }
