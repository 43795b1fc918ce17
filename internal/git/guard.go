package git

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// guard is the only way out of a program that fetches from outside: a proxy on the loopback address, for one fetch and with
// a password of its own. Every connection, also one that a redirect leads to, is looked at after its name was resolved, and
// the bytes that come are counted. What a name resolves to can't be changed in between: the address that was looked at is
// the one that is called.
type guard struct {
	allow     []string
	listener  net.Listener
	user      string
	dialer    net.Dialer
	transport *http.Transport

	ctx    context.Context
	cancel context.CancelCauseFunc
	conns  sync.WaitGroup

	mu      sync.Mutex
	left    int64 // bytes that may still come; guarded by mu
	refused error // why something was refused; guarded by mu
}

var errGuardBytes = errors.New("over the limit")

// newGuard begins to serve. most bounds the bytes that come in.
func newGuard(ctx context.Context, allow []string, most int64) (*guard, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &guard{allow: allow, listener: l, user: rand.Text(), left: most}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	g.dialer = net.Dialer{Timeout: 15 * time.Second}
	g.transport = &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return g.dial(ctx, addr) },
		DisableCompression: true, DisableKeepAlives: true, ResponseHeaderTimeout: 2 * time.Minute}
	g.conns.Go(g.serve)
	return g, nil
}

// url is the proxy's, with its password.
func (g *guard) url() string { return "http://" + g.user + ":x@" + g.listener.Addr().String() }

// close ends it and returns why it refused something, if it did.
func (g *guard) close() error {
	g.cancel(nil)
	_ = g.listener.Close()
	g.conns.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
}

func (g *guard) refuse(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refused == nil {
		g.refused = err
	}
	return err
}

func (g *guard) serve() {
	for {
		c, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.conns.Go(func() {
			stop := context.AfterFunc(g.ctx, func() { _ = c.Close() })
			defer stop()
			defer c.Close()
			g.one(c)
		})
	}
}

// one answers one request of a connection.
func (g *guard) one(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(g.user+":x"))
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Proxy-Authorization")), []byte(want)) != 1 {
		_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"sekisho\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	if r.Method == http.MethodConnect {
		g.tunnel(c, in, r.Host)
		return
	}
	g.forward(c, r)
}

func (g *guard) tunnel(c net.Conn, in *bufio.Reader, addr string) {
	up, err := g.dial(g.ctx, addr)
	if err != nil {
		answerProxy(c, err)
		return
	}
	defer up.Close()
	stop := context.AfterFunc(g.ctx, func() { _ = up.Close() })
	defer stop()
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(up, in)
		if t, ok := up.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
	}()
	_, _ = io.Copy(c, &counted{g, up})
	_ = c.Close()
	_ = up.Close()
	<-done
}

func (g *guard) forward(c net.Conn, r *http.Request) {
	if r.URL.Scheme != "http" || r.URL.Host == "" {
		answerProxy(c, errors.New("only http and https are fetched from"))
		return
	}
	r.RequestURI = ""
	for _, h := range []string{"Proxy-Authorization", "Proxy-Connection", "Connection"} {
		r.Header.Del(h)
	}
	if r.Header.Get("Expect") != "" {
		_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		r.Header.Del("Expect")
	}
	res, err := g.transport.RoundTrip(r.WithContext(g.ctx))
	if err != nil {
		answerProxy(c, err)
		return
	}
	defer res.Body.Close()
	res.Body = struct {
		io.Reader
		io.Closer
	}{&counted{g, res.Body}, res.Body}
	res.Close = true
	_ = res.Write(c)
}

func answerProxy(c net.Conn, err error) {
	text := oneLine(err.Error())
	_, _ = fmt.Fprintf(c, "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
}

// counted is a reader whose bytes count.
type counted struct {
	g *guard
	r io.Reader
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.g.mu.Lock()
	c.g.left -= int64(n)
	over := c.g.left < 0
	c.g.mu.Unlock()
	if over {
		_ = c.g.refuse(errGuardBytes)
		c.g.cancel(errGuardBytes)
		return 0, errGuardBytes
	}
	return n, err
}

// dial calls an address that may be called.
func (g *guard) dial(ctx context.Context, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	d := g.dialer
	d.Control = func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return g.check(host, to.Addr())
	}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// special are networks, beside those that package netip knows, that are not the public internet.
var special = func() (all []netip.Prefix) {
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10",
	} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}()

// check refuses an address that is not public, unless it, or the host that was asked for, is allowed.
func (g *guard) check(host string, ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	public := ip.IsGlobalUnicast() && !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() &&
		!slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip) })
	if public || slices.ContainsFunc(g.allow, func(a string) bool { return allows(a, host, ip) }) {
		return nil
	}
	return g.refuse(fmt.Errorf("%s is at %s, which is not a public address; an administrator can allow it with git.mirror_allow", host, ip))
}

// allows reports whether an entry of git.mirror_allow is about a host or its address.
func allows(entry, host string, ip netip.Addr) bool {
	if p, err := netip.ParsePrefix(entry); err == nil {
		return p.Contains(ip)
	}
	if a, err := netip.ParseAddr(entry); err == nil {
		return a.Unmap() == ip
	}
	return strings.EqualFold(entry, strings.TrimSuffix(host, "."))
}

// checkMirrorURL returns the URL of an outside repository, in its form without doubt.
func checkMirrorURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case len(text) > 2048 || err != nil || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return nil, errorf(Invalid, "the URL of a mirror is not a URL")
	case u.Scheme == "ssh" || u.Scheme == "git+ssh" || u.Scheme == "" && strings.Contains(text, "@"):
		return nil, errorf(Invalid, "mirrors are not fetched over ssh; take the repository's https URL, with a credential where it needs one")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errorf(Invalid, "the URL of a mirror begins with https:// or http://, not %s:", clip(u.Scheme, 20))
	case u.User != nil:
		return nil, errorf(Invalid, "the URL of a mirror has no user and password in it; name a credential")
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || u.Path == "" || u.Path == "/":
		return nil, errorf(Invalid, "the URL of a mirror is scheme, host and path alone")
	}
	return u, nil
}
