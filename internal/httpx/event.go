package httpx

import (
	"context"
	"encoding/base32"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// Event is the one log event of a request. The server fills what it sees itself;
// handlers fill the rest as they learn it, with values they have already parsed.
type Event struct {
	// Filled before the handler runs.
	RequestID string // 26 characters, 128 random bits; sent as X-Request-Id
	Method    string
	Path      string // without the query
	Client    netip.Addr
	Endpoint  string // id of the private endpoint it came through; empty: none
	Start     time.Time

	// Filled by handlers; empty ones are not logged.
	Operation string // a name from a small fixed set: the label of metrics and spans
	Principal string // ARN
	Action    string // as authorised, such as ecr:BatchGetImage
	Repo      string
	Digest    string
	Tag       string

	// Filled as the request goes and when it ends.
	Status   int
	BytesIn  int64 // of the body, as far as it was read
	BytesOut int64 // of the body, as far as it was written
	Duration time.Duration
	Err      error // what the handler returned, or else why the response could not be written

	query string // raw
	stack []byte // of a panic
}

// maxLogged bounds the strings of an event that come from the client.
const maxLogged = 512

// eventAttrs is the most attributes an event has.
const eventAttrs = 18

// log writes e to h as one record. attrs is scratch space that h does not keep:
// attributes are passed as an inlined group so that a record of this size costs
// no allocation.
func (e *Event) log(ctx context.Context, h slog.Handler, attrs *[eventAttrs]slog.Attr, now time.Time) error {
	level := slog.LevelInfo
	if e.Status >= 500 {
		level = slog.LevelError
	}
	if !h.Enabled(ctx, level) {
		return nil
	}
	a := append(attrs[:0],
		slog.String("request_id", e.RequestID),
		slog.String("method", clip(e.Method)),
		slog.String("path", clip(e.Path)))
	text := func(key, value string) {
		if value != "" {
			a = append(a, slog.String(key, clip(value)))
		}
	}
	if e.query != "" {
		text("query", Redact(e.query))
	}
	if e.Client.IsValid() {
		a = append(a, slog.String("client", e.Client.String()))
	}
	text("endpoint", e.Endpoint)
	text("principal", e.Principal)
	text("action", e.Action)
	text("repo", e.Repo)
	text("digest", e.Digest)
	text("tag", e.Tag)
	a = append(a,
		slog.Int("status", e.Status),
		slog.Int64("bytes_in", e.BytesIn),
		slog.Int64("bytes_out", e.BytesOut),
		slog.Duration("dur", e.Duration))
	if e.Err != nil {
		a = append(a, slog.String("err", Redact(e.Err.Error())))
	}
	if e.stack != nil {
		a = append(a, slog.String("stack", string(e.stack)))
	}
	rec := slog.NewRecord(now, level, "request", 0) // no caller: it would cost a stack walk to say "here"
	rec.AddAttrs(slog.Attr{Value: slog.GroupValue(a...)})
	err := h.Handle(ctx, rec)
	clear(a)
	return err
}

// clip shortens what a client could make long.
func clip(s string) string {
	if len(s) <= maxLogged {
		return s
	}
	return strings.ToValidUTF8(s[:maxLogged], "") + "…"
}

// secretParam matches the query parameters that grant something to whoever reads
// them: AWS's presigned signatures and session tokens, bearer tokens, secrets and passwords.
var secretParam = regexp.MustCompile(`(?i)((?:x-amz-signature|x-amz-security-token|x-amz-credential|signature|token|access_token|id_token|secret|password|passwd|code)=)[^&\s"']*`)

// Redact strikes out the values of secret query parameters in s, which is a query
// or a text that may quote one, such as the error of an HTTP client.
func Redact(s string) string {
	if !strings.Contains(s, "=") {
		return s
	}
	return secretParam.ReplaceAllString(s, "${1}REDACTED")
}

var requestIDEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newRequestID returns 128 random bits as 26 characters. They identify and need
// not be secret, so they come from the runtime's generator (ChaCha8, seeded by
// the system) rather than from a system call a request.
func newRequestID() string {
	var raw [16]byte
	for i := 0; i < len(raw); i += 8 {
		v := rand.Uint64()
		for j := range 8 {
			raw[i+j] = byte(v >> (8 * j))
		}
	}
	var text [26]byte
	requestIDEncoding.Encode(text[:], raw[:])
	return string(text[:])
}
