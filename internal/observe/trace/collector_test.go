package trace

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector takes what an OTLP exporter sends.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	refuse  int // status of the answer; 0: take it
	paths   []string
	header  http.Header // of the last request
	batches []*coltracepb.ExportTraceServiceRequest
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.paths, c.header = append(c.paths, r.URL.Path), r.Header
		if c.refuse != 0 {
			http.Error(w, "not like this", c.refuse)
			return
		}
		batch, err := decode(r)
		if err != nil {
			t.Error(err)
		}
		c.batches = append(c.batches, batch)
	}))
	t.Cleanup(c.Close)
	return c
}

func decode(r *http.Request) (*coltracepb.ExportTraceServiceRequest, error) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		zip, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		body = zip
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	batch := &coltracepb.ExportTraceServiceRequest{}
	return batch, proto.Unmarshal(raw, batch)
}
