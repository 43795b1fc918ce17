package httpx

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// ReadHeader has a connection begin with a header, and returns the origin of its requests unless it is refused.
func ReadHeader(t *testing.T, header []byte) (Origin, bool) {
	t.Helper()
	l := &proxyListener{Listener: addressed{}, log: slog.New(slog.DiscardHandler), timeout: time.Minute}
	c := &headedConn{socket: &memory{in: bytes.NewReader(header)}, listener: l, sender: &Sender{Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}}
	remote := c.RemoteAddr().String()
	if c.err != nil {
		return Origin{}, false
	}
	r := &http.Request{RemoteAddr: remote, Host: "h", Header: http.Header{}}
	return new(Options).origin(r.WithContext(connContext(t.Context(), c))), true
}

type addressed struct{ net.Listener }

func (addressed) Addr() net.Addr { return &net.TCPAddr{} }

// memory is a connection that has sent all it will.
type memory struct {
	*net.TCPConn
	in *bytes.Reader
}

func (m *memory) Read(p []byte) (int, error)      { return m.in.Read(p) }
func (m *memory) Close() error                    { return nil }
func (m *memory) SetReadDeadline(time.Time) error { return nil }
func (m *memory) RemoteAddr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
