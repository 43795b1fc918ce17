package httpx_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/httpx"
)

// start serves h until the test ends, and returns the server and its addresses.
func start(t *testing.T, h http.HandlerFunc, o httpx.ServerOptions, addrs ...string) (*httpx.Server, []string) {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := httpx.NewServer(h, o)
	for _, a := range append(addrs, "127.0.0.1:0") {
		if err := s.Listen(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	var bound []string
	for _, a := range s.Addrs() {
		bound = append(bound, a.String())
	}
	return s, bound
}

func TestServerAddresses(t *testing.T) {
	ok := func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") }
	_, addrs := start(t, ok, httpx.ServerOptions{}, "127.0.0.1:0", "localhost:0")
	if len(addrs) != 3 {
		t.Fatal(addrs)
	}
	for _, a := range addrs {
		resp, err := http.Get("http://" + a)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	s := httpx.NewServer(http.HandlerFunc(ok), httpx.ServerOptions{Logger: slog.New(slog.DiscardHandler)})
	if err := s.Listen(t.Context(), addrs[0]); err == nil || !strings.Contains(err.Error(), "listen on "+addrs[0]) {
		t.Errorf("listen on a taken address: %v", err)
	}
}

func TestServerBoundsHeaders(t *testing.T) {
	_, addrs := start(t, func(w http.ResponseWriter, r *http.Request) {},
		httpx.ServerOptions{MaxHeaderBytes: 8 << 10, HeaderTimeout: 50 * time.Millisecond})
	for name, tt := range map[string]struct {
		raw  string
		want string // of the answer
	}{
		"large":     {"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 16<<10) + "\r\n\r\n", "HTTP/1.1 431 "},
		"slow":      {"GET / HTTP/1.1\r\nHost: x\r\n", ""},
		"malformed": {"GET / HTTP/1.1\r\nHost x\r\n\r\n", "HTTP/1.1 400 "},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := io.ReadAll(dial(t, addrs[0], tt.raw))
			if !strings.HasPrefix(string(got), tt.want) || (tt.want == "" && len(got) > 0) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestMaxConns(t *testing.T) {
	_, addrs := start(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") }, httpx.ServerOptions{MaxConns: 1})
	const req = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	first := dial(t, addrs[0], req)
	if status, _ := readResponse(t, first); status != 200 {
		t.Fatal(status)
	}
	second := dial(t, addrs[0], req) // in the backlog
	answered := make(chan int)
	go func() {
		status, _ := readResponse(t, second)
		answered <- status
	}()
	select {
	case <-answered:
		t.Fatal("a second connection was served")
	case <-time.After(50 * time.Millisecond):
	}
	_ = first.Close()
	if status := <-answered; status != 200 {
		t.Error(status)
	}
}

func TestShutdownDrains(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s, addrs := start(t, func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "ok")
	}, httpx.ServerOptions{})
	stopping := make(chan struct{})
	s.OnShutdown(sync.OnceFunc(func() { close(stopping) }))
	c := dial(t, addrs[0], "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	done := make(chan error)
	go func() { done <- s.Shutdown(context.Background()) }()
	<-stopping
	close(release)
	if status, body := readResponse(t, c); status != 200 || body != "ok" {
		t.Errorf("%d %q", status, body)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsOff(t *testing.T) {
	entered := make(chan struct{})
	var returned bool
	s, addrs := start(t, func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		returned = true
	}, httpx.ServerOptions{})
	dial(t, addrs[0], "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err := s.Shutdown(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 cut off") {
		t.Errorf("Shutdown: %v", err)
	}
	if !returned {
		t.Error("Shutdown returned before the handler")
	}
}

func TestCertificateReload(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	now := time.Now()
	writePair := func(name string) {
		cert, key := newPair(t, name)
		for file, b := range map[string][]byte{certFile: cert, keyFile: key} {
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, now, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := httpx.LoadCertificate(certFile, keyFile, slog.Default(), time.Now); err == nil {
		t.Error("no error for files that are missing")
	}
	writePair("one")
	var logged bytes.Buffer
	cert, err := httpx.LoadCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(&logged, nil)), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	_, addrs := start(t, func(http.ResponseWriter, *http.Request) {}, httpx.ServerOptions{TLS: httpx.NewTLS(httpx.TLSOptions{Files: []*httpx.Certificate{cert}})})
	served := func() string {
		c, err := tls.Dial("tcp", addrs[0], &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	want := func(name string) {
		t.Helper()
		if got := served(); got != name {
			t.Errorf("served %q, want %q", got, name)
		}
	}
	want("one")
	now = now.Add(time.Minute)
	writePair("two")
	want("two")
	now = now.Add(time.Minute)
	if err := os.WriteFile(keyFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("two")
	if !strings.Contains(logged.String(), "not renewed") {
		t.Errorf("logged %s", &logged)
	}
	now = now.Add(time.Minute)
	writePair("three")
	want("three")
}

func newPair(t *testing.T, name string) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	template.Subject.CommonName = name
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}
