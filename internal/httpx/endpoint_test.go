package httpx_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pires/go-proxyproto"

	"github.com/sekisho/sekisho/internal/httpx"
)

var (
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	nobody   = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	build    = &httpx.Endpoint{ID: "vpce-0123456789abcdef0", VPC: "vpc-00000001"}
	deploy   = &httpx.Endpoint{ID: "vpce-00000002", Proxies: httpx.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16"), loopback[0]}}}
)

// ways starts a server with an address for each way in, which answers with where a request came from.
type ways struct {
	ordinary, endpoint, forwarded, balanced, building, own, strangers string
	log                                                               *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func startWays(t *testing.T, o httpx.ServerOptions) *ways {
	t.Helper()
	w := &ways{log: &syncBuffer{}}
	o.Logger = slog.New(slog.NewTextHandler(w.log, nil))
	h := httpx.New(func(w *httpx.Response, r *http.Request) error {
		o := w.Origin
		_, err := fmt.Fprintf(w, "%v secure=%v %q %q event=%q", o.Client, o.Secure, o.Endpoint, o.VPC, w.Event.Endpoint)
		return err
	}, httpx.Options{Logger: o.Logger, Proxies: httpx.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}})
	s := httpx.NewServer(h, o)
	known := map[string]*httpx.Endpoint{build.ID: build, deploy.ID: deploy}
	all := []httpx.ListenOptions{
		{},
		{Endpoint: build},
		{Endpoint: deploy},
		{Senders: []httpx.Sender{{Prefixes: loopback}}, Endpoints: known},
		{Senders: []httpx.Sender{{Prefixes: loopback, Endpoint: build}, {Prefixes: loopback}}, Endpoints: known},
		{Endpoint: deploy, Senders: []httpx.Sender{{Prefixes: loopback, Endpoint: deploy}}},
		{Senders: []httpx.Sender{{Prefixes: nobody}}, Endpoints: known},
	}
	for _, lo := range all {
		if err := s.ListenWith(t.Context(), "127.0.0.1:0", lo); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		_ = s.Shutdown(t.Context())
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	a := s.Addrs()
	for i, p := range []*string{&w.ordinary, &w.endpoint, &w.forwarded, &w.balanced, &w.building, &w.own, &w.strangers} {
		*p = a[i].String()
	}
	return w
}

// ask sends before, and then a request with more header fields. The answer is "" where the connection was closed.
func ask(t *testing.T, addr, before string, fields ...string) string {
	t.Helper()
	c := dial(t, addr, before+"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"+strings.Join(append(fields, "", ""), "\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		return resp.Status
	}
	return string(body)
}

// v2 makes a header of version 2 about a connection from 198.51.100.7.
func v2(fields ...proxyproto.TLV) string {
	return formatHeader(&proxyproto.Header{
		Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv4,
		SourceAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 4000}, DestinationAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 443},
	}, fields...)
}

func formatHeader(h *proxyproto.Header, fields ...proxyproto.TLV) string {
	if err := h.SetTLVs(fields); err != nil {
		panic(err)
	}
	b, err := h.Format()
	if err != nil {
		panic(err)
	}
	return string(b)
}

func through(id string) proxyproto.TLV {
	return proxyproto.TLV{Type: 0xEA, Value: append([]byte{1}, id...)}
}

const v1 = "PROXY TCP4 198.51.100.7 198.51.100.1 4000 443\r\n"

// TestWays: where a request came from is said by the address it arrived at and by senders that are trusted there, and by
// nothing else that a client can send.
func TestWays(t *testing.T) {
	w := startWays(t, httpx.ServerOptions{HeaderTimeout: time.Second})
	const (
		plain     = `127.0.0.1 secure=false "" "" event=""`
		inBuild   = ` secure=false "vpce-0123456789abcdef0" "vpc-00000001" event="vpce-0123456789abcdef0"`
		inDeploy  = ` secure=false "vpce-00000002" "" event="vpce-00000002"`
		told      = `198.51.100.7 secure=false "" "" event=""`
		overTLS   = `198.51.100.7 secure=true "" "" event=""`
		malformed = "400 Bad Request"
	)
	tlsField := proxyproto.TLV{Type: proxyproto.PP2_TYPE_SSL, Value: []byte("\x01\x00\x00\x00\x00\x21\x00\x07TLSv1.3")}
	local := formatHeader(&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}, through(build.ID))
	v6 := formatHeader(&proxyproto.Header{Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv6,
		SourceAddr: &net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 1}, DestinationAddr: &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 2}})
	udp := formatHeader(&proxyproto.Header{Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.UDPv4,
		SourceAddr: &net.UDPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 1}, DestinationAddr: &net.UDPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 2}})
	behindProxy := formatHeader(&proxyproto.Header{Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv4,
		SourceAddr: &net.TCPAddr{IP: net.IPv4(10, 1, 0, 5), Port: 4000}, DestinationAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 443}})
	behindForwarder := formatHeader(&proxyproto.Header{Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv4,
		SourceAddr: &net.TCPAddr{IP: net.IPv4(10, 9, 0, 5), Port: 4000}, DestinationAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 443}}, through(deploy.ID))
	huge := v2(through(build.ID), proxyproto.TLV{Type: 0xE0, Value: make([]byte, 5000)})
	lies := []string{"X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9;proto=https", "X-Forwarded-Proto: https", "X-Real-Ip: 203.0.113.9",
		"X-Amzn-Vpce-Id: vpce-00000002", "X-Amz-Vpce-Id: vpce-00000002", "X-Amzn-Vpce-Config: 1", "Via: vpce-00000002", "True-Client-Ip: 203.0.113.9"}

	for _, tt := range []struct {
		name, addr, before string
		fields             []string
		want               string
		log                string
	}{
		{name: "ordinary", addr: w.ordinary, want: plain},
		{name: "ordinary, lies", addr: w.ordinary, fields: lies, want: plain},
		{name: "ordinary, spoofed v1", addr: w.ordinary, before: v1, want: malformed},
		{name: "ordinary, spoofed v2", addr: w.ordinary, before: v2(through(build.ID)), want: malformed},

		{name: "endpoint", addr: w.endpoint, want: "127.0.0.1" + inBuild},
		{name: "endpoint, lies", addr: w.endpoint, fields: lies, want: "127.0.0.1" + inBuild},
		{name: "endpoint, spoofed v2", addr: w.endpoint, before: v2(through(deploy.ID)), want: malformed},
		{name: "endpoint with forwarders", addr: w.forwarded, fields: []string{"X-Forwarded-For: 203.0.113.9"}, want: "203.0.113.9" + inDeploy},

		{name: "v1", addr: w.balanced, before: v1, want: told},
		{name: "v1 unknown", addr: w.balanced, before: "PROXY UNKNOWN\r\n", want: plain},
		{name: "v2", addr: w.balanced, before: v2(), want: told},
		{name: "v2 over IPv6", addr: w.balanced, before: v6, want: `2001:db8::7 secure=false "" "" event=""`},
		{name: "v2 after TLS", addr: w.balanced, before: v2(tlsField), want: overTLS},
		{name: "v2 through an endpoint", addr: w.balanced, before: v2(through(build.ID)), want: "198.51.100.7" + inBuild},
		{name: "v2 through an endpoint, lies", addr: w.balanced, before: v2(through(build.ID)), fields: lies, want: "198.51.100.7" + inBuild},
		{name: "v2 through an unknown endpoint", addr: w.balanced, before: v2(through("vpce-0dead")), want: `198.51.100.7 secure=false "vpce-0dead" "" event="vpce-0dead"`},
		{name: "v2 local", addr: w.balanced, before: local, want: plain},
		{name: "v2 from a proxy", addr: w.balanced, before: behindProxy, fields: []string{"X-Forwarded-For: 203.0.113.9"}, want: `203.0.113.9 secure=false "" "" event=""`},
		{name: "v2 through an endpoint, from an address that is a proxy's outside", addr: w.balanced,
			before: strings.Replace(behindProxy, "\x00\x0c", "\x00\x25", 1) + "\xea\x00\x16\x01" + build.ID[:21], fields: []string{"X-Forwarded-For: 203.0.113.9"},
			want: `10.1.0.5 secure=false "vpce-0123456789abcdef" "" event="vpce-0123456789abcdef"`},
		{name: "v2 through an endpoint, from its forwarder", addr: w.balanced, before: behindForwarder, fields: []string{"X-Forwarded-For: 203.0.113.9"}, want: "203.0.113.9" + inDeploy},
		{name: "nothing", addr: w.balanced, log: "there is no PROXY header"},
		{name: "v1 cut short", addr: w.balanced, before: "PROXY TCP4 198.51.100.7\r\n", log: "read PROXY header"},
		{name: "v1 too long", addr: w.balanced, before: "PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", log: "read PROXY header"},
		{name: "v2 about UDP", addr: w.balanced, before: udp, log: "not about a TCP connection"},
		{name: "v2 too long", addr: w.balanced, before: huge, log: "read PROXY header"},
		{name: "v2 with a field cut short", addr: w.balanced, before: strings.Replace(v2(), "\x00\x0c", "\x00\x0f", 1) + "\xea\x00\xff", log: "read PROXY header"},
		{name: "v2 with two endpoints", addr: w.balanced, before: v2(through(build.ID), through(deploy.ID)), log: "malformed"},
		{name: "v2 with no id", addr: w.balanced, before: v2(through("")), log: "malformed"},
		{name: "v2 with what is no id", addr: w.balanced, before: v2(through("vpce-1\r\nx")), log: "malformed"},
		{name: "v2 with a long id", addr: w.balanced, before: v2(through("vpce-" + strings.Repeat("0", 100))), log: "malformed"},
		{name: "header twice", addr: w.balanced, before: v2() + v2(through(build.ID)), want: malformed},

		{name: "an endpoint's sender", addr: w.building, before: v1, want: "198.51.100.7" + inBuild},
		{name: "an endpoint's sender, named", addr: w.building, before: v2(through(build.ID)), want: "198.51.100.7" + inBuild},
		{name: "an endpoint's sender, local", addr: w.building, before: local, want: "127.0.0.1" + inBuild},
		{name: "an endpoint's sender names another", addr: w.building, before: v2(through(deploy.ID)), log: "names the private endpoint vpce-00000002, but its sender leads to vpce-0123456789abcdef0"},
		{name: "own address", addr: w.own, before: v2(), want: "198.51.100.7" + inDeploy},
		{name: "own address names another", addr: w.own, before: v2(through(build.ID)), log: "but its sender leads to vpce-00000002"},
		{name: "own address without header", addr: w.own, log: "there is no PROXY header"},

		{name: "stranger", addr: w.strangers, want: plain},
		{name: "stranger, lies", addr: w.strangers, fields: lies, want: plain},
		{name: "stranger, spoofed v1", addr: w.strangers, before: v1, log: "who is no trusted sender"},
		{name: "stranger, spoofed v2", addr: w.strangers, before: v2(through(build.ID)), log: "who is no trusted sender"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logged := len(w.log.String())
			if got := ask(t, tt.addr, tt.before, tt.fields...); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if log := w.log.String()[logged:]; tt.log != "" && (!strings.Contains(log, tt.log) || !strings.Contains(log, "peer=127.0.0.1:")) || tt.log == "" && strings.Contains(log, "refused") {
				t.Errorf("logged %s, want %s", log, tt.log)
			}
		})
	}
}

// TestSlowHeader: who is slow with the PROXY header keeps nobody else waiting, and not for long.
func TestSlowHeader(t *testing.T) {
	w := startWays(t, httpx.ServerOptions{HeaderTimeout: 500 * time.Millisecond, MaxConns: 4})
	silent := dial(t, w.balanced, "")
	partly := dial(t, w.balanced, v2()[:20])
	if got := ask(t, w.balanced, v2()); !strings.HasPrefix(got, "198.51.100.7 ") {
		t.Errorf("beside a slow one: %s", got)
	}
	for name, c := range map[string]net.Conn{"silent": silent, "partly": partly} {
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("%s: %q", name, b)
		}
	}
	for range 8 { // the slots are free again
		if got := ask(t, w.balanced, v2()); !strings.HasPrefix(got, "198.51.100.7 ") {
			t.Errorf("after the slow ones: %s", got)
		}
	}
}

// TestConnectOnly: who connects and leaves, as the simplest health checks do, is no news.
func TestConnectOnly(t *testing.T) {
	w := startWays(t, httpx.ServerOptions{})
	c := dial(t, w.balanced, "")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
	if log := w.log.String(); log != "" {
		t.Errorf("logged %s", log)
	}
}

// TestTLSAfterHeader: the PROXY header comes before TLS, in clear, in one segment with it or not; and it is read once a
// connection, whatever HTTP version follows.
func TestTLSAfterHeader(t *testing.T) {
	dir := t.TempDir()
	cert, key := newPair(t, "h")
	for name, b := range map[string][]byte{"crt": cert, "key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := httpx.LoadCertificate(filepath.Join(dir, "crt"), filepath.Join(dir, "key"), slog.Default(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	w := startWays(t, httpx.ServerOptions{TLS: httpx.NewTLS(httpx.TLSOptions{Files: []*httpx.Certificate{pair}})})
	for _, version := range []int{1, 2} {
		transport := &http.Transport{
			ForceAttemptHTTP2: version == 2,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
				c, err := net.Dial(network, addr)
				if err == nil {
					_, err = io.WriteString(c, v2(through(build.ID)))
				}
				return c, err
			},
		}
		defer transport.CloseIdleConnections()
		for range 3 {
			resp, err := (&http.Client{Transport: transport}).Get("https://" + w.balanced)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			want := `198.51.100.7 secure=true "vpce-0123456789abcdef0" "vpc-00000001" event="vpce-0123456789abcdef0"`
			if diff := cmp.Diff(want, string(body)); diff != "" || resp.ProtoMajor != version {
				t.Errorf("HTTP/%d: %s", resp.ProtoMajor, diff)
			}
		}
	}
}

// FuzzHeader: no header from a trusted sender makes a panic, an answer before the header is whole, or an endpoint whose id
// could not be shown.
func FuzzHeader(f *testing.F) {
	f.Add([]byte(v1))
	f.Add([]byte(v2(through(build.ID), proxyproto.TLV{Type: proxyproto.PP2_TYPE_SSL, Value: []byte("\x01\x00\x00\x00\x00\x21\x00\x07TLSv1.3")})))
	f.Add([]byte(v2(through("vpce-\x00"))))
	short := []byte(v2())
	binary.BigEndian.PutUint16(short[14:], 3)
	f.Add(short)
	f.Fuzz(func(t *testing.T, header []byte) {
		o, ok := httpx.ReadHeader(t, header)
		if !ok {
			return
		}
		if !o.Client.IsValid() || o.Client.Zone() != "" {
			t.Errorf("client %v", o.Client)
		}
		if o.Endpoint != "" && (!strings.HasPrefix(o.Endpoint, "vpce-") || len(o.Endpoint) > 64 || strings.ContainsAny(o.Endpoint, "\x00\r\n\" <>%")) {
			t.Errorf("endpoint %q", o.Endpoint)
		}
	})
}
