package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sekisho/sekisho/internal/httpx"
)

// HTTP counts requests: an httpx.Observer.
type HTTP struct {
	inFlight   prometheus.Gauge
	operations map[string]*operation // never written after NewHTTP
	other      *operation
}

// operation has the counters of one operation.
type operation struct {
	requests [classes]prometheus.Counter
	in, out  prometheus.Counter
	seconds  prometheus.Histogram
}

// classes of status: 1xx to 5xx at their digit; 0 for a connection that was broken
// before there was one.
const classes = 6

var classNames = [classes]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// other is the operation of requests that say none of the known ones.
const other = "other"

// buckets, in seconds, reach from what memory answers to what an upload takes.
var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60}

// HTTP adds the metrics of requests to m. operations are the names that
// httpx.Event.Operation may have; any other is counted as "other".
func (m *Metrics) HTTP(operations ...string) *HTTP {
	label := []string{"operation"}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sekisho_http_requests_total", Help: "Requests answered, by operation and class of status.",
	}, []string{"operation", "status"})
	in := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sekisho_http_request_bytes_total", Help: "Bytes of request bodies read.",
	}, label)
	out := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sekisho_http_response_bytes_total", Help: "Bytes of response bodies written.",
	}, label)
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "sekisho_http_request_duration_seconds", Help: "Time from a request's header to the end of its response.",
		Buckets: buckets,
	}, label)
	h := &HTTP{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sekisho_http_requests_in_flight", Help: "Requests being answered.",
		}),
		operations: make(map[string]*operation, len(operations)),
	}
	m.registry.MustRegister(requests, in, out, seconds, h.inFlight)
	resolve := func(name string) *operation {
		o := &operation{in: in.WithLabelValues(name), out: out.WithLabelValues(name), seconds: seconds.WithLabelValues(name).(prometheus.Histogram)}
		for class, status := range classNames {
			o.requests[class] = requests.WithLabelValues(name, status)
		}
		return o
	}
	for _, name := range operations {
		h.operations[name] = resolve(name)
	}
	h.other = resolve(other)
	return h
}

// RequestStarted implements httpx.Observer.
func (h *HTTP) RequestStarted() { h.inFlight.Inc() }

// RequestDone implements httpx.Observer.
func (h *HTTP) RequestDone(e *httpx.Event) {
	h.inFlight.Dec()
	o := h.operations[e.Operation]
	if o == nil {
		o = h.other
	}
	class := e.Status / 100
	if class < 0 || class >= classes {
		class = 0
	}
	o.requests[class].Inc()
	if e.BytesIn > 0 {
		o.in.Add(float64(e.BytesIn))
	}
	if e.BytesOut > 0 {
		o.out.Add(float64(e.BytesOut))
	}
	o.seconds.Observe(e.Duration.Seconds())
}
