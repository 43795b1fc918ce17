package httpx_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/sekisho/sekisho/internal/httpx"
)

// findPebble looks for pebble, the test authority of Let's Encrypt, in SEKISHO_TEST_TOOLS and PATH.
func findPebble(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("SEKISHO_TEST_TOOLS"); dir != "" {
		if path, err := exec.LookPath(filepath.Join(dir, "pebble")); err == nil {
			return path
		}
	}
	path, err := exec.LookPath("pebble")
	if err != nil && os.Getenv("SEKISHO_REQUIRE_TOOLS") != "" {
		t.Fatalf("SEKISHO_REQUIRE_TOOLS is set: %v", err)
	}
	if err != nil {
		t.Skipf("SKIPPED, NO CERTIFICATE WAS GOT BY ACME: %v; see .ci/install", err)
	}
	return path
}

// localDNS answers, over TCP, that every name is here.
func localDNS(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				var length [2]byte // RFC 1035 section 4.2.2
				for {
					if _, err := io.ReadFull(c, length[:]); err != nil {
						return
					}
					question := make([]byte, binary.BigEndian.Uint16(length[:]))
					if _, err := io.ReadFull(c, question); err != nil {
						return
					}
					answer := isHere(question)
					if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

// isHere answers 127.0.0.1 to a question about an address, and nothing to others.
func isHere(question []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeSuccess, nil
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
		}}
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}

// freeAddr is an address that is free now.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startPebble returns the directory of an authority that proves names at two addresses, and the file with its root.
func startPebble(t *testing.T, tlsAddr, httpAddr string, more map[string]any) (directory, root string) {
	t.Helper()
	tool, dir := findPebble(t), t.TempDir()
	own := pair(t, nil, "directory", "127.0.0.1")
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	root = filepath.Join(dir, "crt")
	write(t, root, certPEM(own))
	write(t, filepath.Join(dir, "key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	addr := freeAddr(t)
	config := map[string]any{
		"listenAddress": addr, "certificate": root, "privateKey": filepath.Join(dir, "key"), "tlsPort": port(t, tlsAddr), "httpPort": port(t, httpAddr),
	}
	for k, v := range more {
		config[k] = v
	}
	text, err := json.Marshal(map[string]any{"pebble": config})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "config.json"), text)
	var log syncBuffer
	cmd := exec.Command(tool, "-config", filepath.Join(dir, "config.json"), "-dnsserver", localDNS(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("pebble's log: %s", log.String())
		}
	})
	pool := x509.NewCertPool()
	pool.AddCert(own.Leaf)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	directory = "https://" + addr + "/dir"
	until(t, func() error {
		resp, err := (&http.Client{Transport: transport}).Get(directory)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	})
	return directory, root
}

func port(t *testing.T, addr string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

func until(t *testing.T, is func() error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestACME gets certificates from an authority, both ways, and finds them again after a restart.
func TestACME(t *testing.T) {
	if testing.Short() {
		t.Skip("an authority takes seconds")
	}
	for _, way := range []string{"tls-alpn-01", "http-01"} {
		t.Run(way, func(t *testing.T) {
			tlsAddr, httpAddr := freeAddr(t), freeAddr(t)
			validated, account := tlsAddr, map[string]any(nil)
			if way == "http-01" {
				validated = "127.0.0.1:1" // nobody is there: the proof must come over HTTP
				account = map[string]any{"externalAccountBindingRequired": true, "externalAccountMACKeys": map[string]string{"kid": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}}
			}
			directory, root := startPebble(t, validated, httpAddr, account)
			folder := filepath.Join(t.TempDir(), "acme")
			var log syncBuffer
			o := httpx.ACMEOptions{Logger: slog.New(slog.NewTextHandler(&log, nil)), Names: []string{"Registry.example.com", "b.example.com"}, Directory: directory, Folder: folder, RootFile: root, Email: "a@example.com"}
			if account != nil {
				o.EABKeyID, o.EABKey = "kid", "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA=="
			}
			serve := func() (*httpx.ACME, func()) {
				a, err := httpx.NewACME(o)
				if err != nil {
					t.Fatal(err)
				}
				h := httpx.New(func(w *httpx.Response, r *http.Request) error { _, err := io.WriteString(w, "ok"); return err }, httpx.Options{Logger: o.Logger})
				own := pair(t, nil, "own", "localhost")
				s := httpx.NewServer(h, httpx.ServerOptions{Logger: o.Logger, TLS: httpx.NewTLS(httpx.TLSOptions{Sources: []httpx.Source{a.Certificate, source(own)}, Challenge: a.Challenge})})
				servers := []*httpx.Server{s}
				if err := s.Listen(t.Context(), tlsAddr); err != nil {
					t.Fatal(err)
				}
				if way == "http-01" {
					beside := httpx.NewServer(httpx.New(a.Handler(), httpx.Options{Logger: o.Logger}), httpx.ServerOptions{Logger: o.Logger})
					if err := beside.Listen(t.Context(), httpAddr); err != nil {
						t.Fatal(err)
					}
					servers = append(servers, beside)
				}
				ended := make(chan error, len(servers))
				for _, s := range servers {
					go func() { ended <- s.Serve() }()
				}
				return a, func() {
					for _, s := range servers {
						_ = s.Shutdown(context.Background())
						if err := <-ended; err != nil {
							t.Error(err)
						}
					}
				}
			}
			issuer := func(name string) (string, error) {
				c, err := tls.Dial("tcp", tlsAddr, &tls.Config{InsecureSkipVerify: true, ServerName: name})
				if err != nil {
					return "", err
				}
				defer c.Close()
				leaf := c.ConnectionState().PeerCertificates[0]
				return leaf.Issuer.CommonName + " " + leaf.SerialNumber.String(), leaf.VerifyHostname(name)
			}
			a, stop := serve()
			limit, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			a.Run(limit) // until both are there
			first, err := issuer("registry.example.com")
			if err != nil || !strings.HasPrefix(first, "Pebble Intermediate") {
				t.Errorf("%s, %v\n%s", first, err, log.String())
			}
			if second, err := issuer("b.example.com"); err != nil || second == first {
				t.Errorf("%s, %v", second, err)
			}
			if own, err := issuer("localhost"); err != nil || !strings.HasPrefix(own, "own ") {
				t.Errorf("a name that is not for ACME: %s, %v", own, err)
			}
			if way == "http-01" {
				client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
				defer client.CloseIdleConnections()
				resp, err := client.Get("http://" + httpAddr + "/v2/")
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if to, err := url.Parse(resp.Header.Get("Location")); err != nil || to.Scheme != "https" || to.Path != "/v2/" {
					t.Errorf("%s: %v", resp.Status, resp.Header)
				}
			}
			stop()
			entries, err := os.ReadDir(folder)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
				}
			}

			o.Directory = "https://127.0.0.1:1/dir" // nobody has to be asked
			_, stop = serve()
			if again, err := issuer("registry.example.com"); again != first {
				t.Errorf("after a restart: %s, %v", again, err)
			}
			stop()
			if strings.Contains(log.String(), "PRIVATE") || strings.Contains(log.String(), "c2VjcmV0") {
				t.Errorf("a secret is in the log: %s", log.String())
			}
		})
	}
}
