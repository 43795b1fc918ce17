package trace

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// newExporter returns nil when there is nowhere to send to.
func newExporter(ctx context.Context, o Options) (sdk.SpanExporter, error) {
	var opts []otlptracehttp.Option
	switch {
	case strings.EqualFold(o.Getenv("OTEL_SDK_DISABLED"), "true"):
		return nil, nil
	case o.Endpoint != "":
		u, err := url.Parse(o.Endpoint)
		if err != nil {
			return nil, err
		}
		opts = append(opts, otlptracehttp.WithEndpointURL(u.JoinPath("v1/traces").String()))
	case o.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" && o.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "":
		return nil, nil // the exporter would take one on localhost
	}
	// OpenTelemetry has no other way to say where its complaints go than the whole
	// process's; left alone, they go to standard error with the values they are about.
	otel.SetLogger(logr.New(complaints{o.Logger}))
	x, err := otlptracehttp.New(ctx, opts...)
	if err != nil {
		return nil, err
	}
	return &reporting{SpanExporter: x, log: o.Logger}, nil
}

// reporting logs when batches begin to fail and when they are sent again, rather than
// each of them.
type reporting struct {
	sdk.SpanExporter
	log     *slog.Logger
	failing atomic.Bool // the last batch was not sent, and that was logged
}

const maxReason = 1000 // characters; the exporter quotes up to 4 MiB of an answer

// ExportSpans sends a batch or gives it up. It says so itself and returns nil: what it
// returned would go to a global handler.
func (x *reporting) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := x.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err == nil && x.failing.Swap(false):
		x.log.Info("traces are sent again")
	case err != nil && !x.failing.Swap(true):
		x.log.Warn("traces are lost: they cannot be sent", "err", fmt.Sprintf("%.*s", maxReason, err))
	}
	return nil
}

// complaints is a logr.LogSink for what OpenTelemetry has against its configuration.
// It leaves out the values that go with a message: they quote headers, which hold
// credentials.
type complaints struct{ log *slog.Logger }

func (complaints) Init(logr.RuntimeInfo) {}

// Enabled lets warnings pass, which have level 1, and nothing of less weight.
func (complaints) Enabled(level int) bool { return level <= 1 }

func (c complaints) Info(_ int, msg string, _ ...any) {
	c.log.Warn("OpenTelemetry: " + msg)
}

func (c complaints) Error(err error, msg string, _ ...any) {
	c.log.Warn("OpenTelemetry: "+msg, "err", err)
}

func (c complaints) WithValues(...any) logr.LogSink { return c }

func (c complaints) WithName(string) logr.LogSink { return c }
