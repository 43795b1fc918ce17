package httpx_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/httpx"
)

// pair is a certificate with its key, signed by parent or by itself.
func pair(t *testing.T, parent *tls.Certificate, cn string, names ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	signer, by := template, any(key)
	if parent != nil {
		signer, by = parent.Leaf, parent.PrivateKey
	} else {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func certPEM(c *tls.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
}

// load writes a pair to files, and has them read.
func load(t *testing.T, c *tls.Certificate) *httpx.Certificate {
	t.Helper()
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "crt"), certPEM(c))
	write(t, filepath.Join(dir, "key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	loaded, err := httpx.LoadCertificate(filepath.Join(dir, "crt"), filepath.Join(dir, "key"), slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func source(c *tls.Certificate) httpx.Source {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName != "" && c.Leaf.VerifyHostname(hello.ServerName) != nil {
			return nil, nil
		}
		return c, nil
	}
}

// TestCertificateByName: the client gets the certificate for the name it asks for, or for the address it calls.
func TestCertificateByName(t *testing.T) {
	first, second, wild := load(t, pair(t, nil, "first", "a.example")), load(t, pair(t, nil, "second", "b.example", "127.0.0.1")), load(t, pair(t, nil, "wild", "*.c.example"))
	other := pair(t, nil, "other", "d.example")
	_, addrs := start(t, func(http.ResponseWriter, *http.Request) {}, httpx.ServerOptions{TLS: httpx.NewTLS(httpx.TLSOptions{
		Files: []*httpx.Certificate{first, second, wild}, Sources: []httpx.Source{func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName == "" {
				return nil, nil
			}
			return source(other)(hello)
		}},
	})})
	for name, want := range map[string]string{"a.example": "first", "A.Example": "first", "b.example": "second", "x.c.example": "wild", "c.example": "first", "d.example": "other", "e.example": "first", "": "second"} {
		c, err := tls.Dial("tcp", addrs[0], &tls.Config{InsecureSkipVerify: true, ServerName: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("%q got %s, want %s", name, got, want)
		}
		_ = c.Close()
	}
	if c, err := tls.Dial("tcp", addrs[0], &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		t.Errorf("TLS %x was spoken", c.ConnectionState().Version)
	}
	if c, err := tls.Dial("tcp", addrs[0], &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err != nil {
		t.Errorf("TLS 1.2: %v", err)
	} else {
		_ = c.Close()
	}

	_, addrs = start(t, func(http.ResponseWriter, *http.Request) {}, httpx.ServerOptions{TLS: httpx.NewTLS(httpx.TLSOptions{Sources: []httpx.Source{source(other)}})})
	if _, err := tls.Dial("tcp", addrs[0], &tls.Config{InsecureSkipVerify: true, ServerName: "nobody.example"}); err == nil {
		t.Error("a certificate for a name that nothing has")
	}
}

// TestClientCA: with authorities of clients, only those whom one of them vouches for are let in; and an authority that was
// taken away vouches for nobody any more, resumed sessions included.
func TestClientCA(t *testing.T) {
	ours, theirs := pair(t, nil, "our clients"), pair(t, nil, "their clients")
	file := filepath.Join(t.TempDir(), "clients.crt")
	now := time.Now()
	put := func(text []byte) {
		t.Helper()
		write(t, file, text)
		now = now.Add(time.Minute)
		if err := os.Chtimes(file, now, now); err != nil {
			t.Fatal(err)
		}
	}
	put([]byte("nothing"))
	if _, err := httpx.LoadClientCA(file, slog.Default(), time.Now); err == nil || !strings.Contains(err.Error(), "no certificate in PEM") {
		t.Errorf("a file without certificates: %v", err)
	}
	put(certPEM(ours))
	var log syncBuffer
	clients, err := httpx.LoadClientCA(file, slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	served := load(t, pair(t, nil, "server", "127.0.0.1"))
	ok := func(w http.ResponseWriter, r *http.Request) {}
	_, required := start(t, ok, httpx.ServerOptions{TLS: httpx.NewTLS(httpx.TLSOptions{Files: []*httpx.Certificate{served}, Clients: clients, ClientRequired: true})})
	optionally, err := httpx.LoadClientCA(file, slog.New(slog.DiscardHandler), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	_, optional := start(t, ok, httpx.ServerOptions{TLS: httpx.NewTLS(httpx.TLSOptions{Files: []*httpx.Certificate{served}, Clients: optionally})})
	sessions := map[string]tls.ClientSessionCache{}
	get := func(addr string, version uint16, cert *tls.Certificate) error {
		c := &tls.Config{InsecureSkipVerify: true, MaxVersion: version}
		if cert != nil {
			name := addr + cert.Leaf.Subject.CommonName
			if sessions[name] == nil {
				sessions[name] = tls.NewLRUClientSessionCache(10)
			}
			c.ClientSessionCache = sessions[name]
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil } // whatever the server wants
		}
		transport := &http.Transport{TLSClientConfig: c}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get("https://" + addr)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	known, stranger := pair(t, ours, "known"), pair(t, theirs, "stranger")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for range 2 {
			for name, tt := range map[string]struct {
				addr string
				cert *tls.Certificate
				ok   bool
			}{
				"required, known": {required[0], known, true}, "required, stranger": {required[0], stranger, false}, "required, none": {required[0], nil, false},
				"optional, known": {optional[0], known, true}, "optional, stranger": {optional[0], stranger, false}, "optional, none": {optional[0], nil, true},
			} {
				if err := get(tt.addr, version, tt.cert); (err == nil) != tt.ok {
					t.Errorf("%x, %s: %v", version, name, err)
				}
			}
		}
	}
	put([]byte("half written"))
	now = now.Add(time.Minute)
	if err := get(required[0], tls.VersionTLS13, known); err != nil || !strings.Contains(log.String(), "not renewed") {
		t.Errorf("while the file is unusable: %v, %s", err, log.String())
	}
	put(certPEM(theirs))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		now = now.Add(time.Minute)
		if err := get(required[0], version, known); err == nil {
			t.Errorf("%x: an authority that was taken away still vouches", version)
		}
		if err := get(required[0], version, stranger); err != nil {
			t.Errorf("%x: after the change: %v", version, err)
		}
	}
}

// TestChallenge: the answer to an ACME authority goes to nobody else, and needs no certificate of the client.
func TestChallenge(t *testing.T) {
	served, proof := load(t, pair(t, nil, "server", "a.example")), pair(t, nil, "proof", "a.example")
	file := filepath.Join(t.TempDir(), "clients.crt")
	write(t, file, certPEM(pair(t, nil, "clients")))
	clients, err := httpx.LoadClientCA(file, slog.Default(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, addrs := start(t, func(http.ResponseWriter, *http.Request) {}, httpx.ServerOptions{TLS: httpx.NewTLS(httpx.TLSOptions{
		Files: []*httpx.Certificate{served}, Challenge: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return proof, nil }, Clients: clients, ClientRequired: true,
	})})
	for _, tt := range []struct {
		protos []string
		want   string
	}{{[]string{"acme-tls/1"}, "proof"}, {[]string{"http/1.1"}, "server"}, {nil, "server"}, {[]string{"acme-tls/1", "h2"}, "server"}} {
		c, err := tls.Dial("tcp", addrs[0], &tls.Config{InsecureSkipVerify: true, ServerName: "a.example", NextProtos: tt.protos})
		if err != nil {
			t.Errorf("%v: %v", tt.protos, err)
			continue
		}
		if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != tt.want {
			t.Errorf("%v got %s", tt.protos, got)
		}
		_ = c.Close()
	}
}

func TestACMEOptions(t *testing.T) {
	o := httpx.ACMEOptions{Logger: slog.New(slog.DiscardHandler), Names: []string{"A.example"}, Directory: "https://127.0.0.1:1/directory", Folder: t.TempDir()}
	bad := o
	if bad.RootFile = filepath.Join(t.TempDir(), "none"); errOf(httpx.NewACME(bad)) == nil {
		t.Error("a root that is not there")
	}
	bad = o
	if bad.EABKeyID, bad.EABKey = "id", "secret!"; errOf(httpx.NewACME(bad)) == nil || strings.Contains(errOf(httpx.NewACME(bad)).Error(), "secret!") {
		t.Errorf("a key that is none: %v", errOf(httpx.NewACME(bad)))
	}
	var log bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	a, err := httpx.NewACME(o)
	if err != nil {
		t.Fatal(err)
	}
	for name, ours := range map[string]bool{"a.example": true, "b.example": false, "": false} {
		if c, err := a.Certificate(&tls.ClientHelloInfo{ServerName: name}); c != nil || (err != nil) != ours {
			t.Errorf("%q: %v, %v", name, c, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.Run(ctx) // ends with it
}

func errOf(_ *httpx.ACME, err error) error { return err }
