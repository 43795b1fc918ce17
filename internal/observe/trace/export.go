package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// exporter sends spans by OTLP/HTTP, https://opentelemetry.io/docs/specs/otlp/#otlphttp.
type exporter struct {
	url     string
	header  http.Header
	client  *http.Client
	timeout time.Duration // of one batch, with what it takes to try again
	backoff time.Duration // before the second try, doubled before each further one
	log     *slog.Logger
	failing atomic.Bool // the last batch was not sent, and that was logged
}

const (
	tries      = 4
	maxRefusal = 1 << 10 // of what a collector says against a batch
)

// ExportSpans sends a batch or gives it up. It says so itself, once, and returns nil:
// what it returned would go to a global handler.
func (x *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	err := x.send(ctx, spans)
	switch {
	case err == nil && x.failing.Swap(false):
		x.log.Info("traces are sent again")
	case err != nil && !x.failing.Swap(true):
		x.log.Warn("traces are lost: they cannot be sent", "endpoint", x.url, "err", err)
	}
	return nil
}

// Shutdown implements sdk.SpanExporter.
func (x *exporter) Shutdown(context.Context) error {
	x.client.CloseIdleConnections()
	return nil
}

func (x *exporter) send(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	var body bytes.Buffer
	zip := gzip.NewWriter(&body)
	if err := json.NewEncoder(zip).Encode(encode(spans)); err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	if err := zip.Close(); err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	wait := x.backoff
	for try := 1; ; try++ {
		after, err := x.post(ctx, body.Bytes())
		if err == nil || after < 0 || try == tries {
			return err
		}
		select {
		case <-time.After(max(wait, after)):
			wait *= 2
		case <-ctx.Done():
			return err
		}
	}
}

// post tries once. When it fails, retry says how long to wait before the next try at
// least; negative: there is no use in one.
func (x *exporter) post(ctx context.Context, body []byte) (retry time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.url, bytes.NewReader(body))
	if err != nil {
		return -1, err
	}
	req.Header = x.header.Clone()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("User-Agent", "sekisho")
	resp, err := x.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	switch {
	case resp.StatusCode/100 == 2:
		return 0, nil
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusBadGateway,
		resp.StatusCode == http.StatusServiceUnavailable, resp.StatusCode == http.StatusGatewayTimeout:
		if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16); err == nil {
			retry = time.Duration(s) * time.Second
		}
	default:
		retry = -1
	}
	return retry, fmt.Errorf("the collector answers %s: %s", resp.Status, bytes.TrimSpace(said))
}
