package httpx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACMEOptions are those of [NewACME]. Logger, Names, Directory and Folder are required.
type ACMEOptions struct {
	Logger    *slog.Logger
	Names     []string // host names; each gets a certificate of its own
	Directory string   // URL
	Folder    string   // keeps the account's key, and certificates with theirs
	RootFile  string   // PEM, of the directory's own certificate; empty: the system's
	Email     string
	EABKeyID  string
	EABKey    string // base64url
}

// ACME gets certificates for certain names from an authority (RFC 8555), and renews
// them when a third of their time is left.
type ACME struct {
	manager *autocert.Manager
	names   []string
	log     *slog.Logger
}

// acmeAnswer bounds how long the authority takes to answer one request.
const acmeAnswer = 30 * time.Second

// NewACME asks nobody for anything yet.
func NewACME(o ACMEOptions) (*ACME, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if o.RootFile != "" {
		text, err := os.ReadFile(o.RootFile)
		if err != nil {
			return nil, fmt.Errorf("read the root of the ACME authority: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read the root of the ACME authority: %s has no certificate in PEM", o.RootFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	a := &ACME{log: o.Logger}
	for _, name := range o.Names {
		a.names = append(a.names, strings.ToLower(name))
	}
	a.manager = &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(o.Folder),
		HostPolicy: autocert.HostWhitelist(a.names...),
		Client:     &acme.Client{DirectoryURL: o.Directory, HTTPClient: &http.Client{Transport: transport, Timeout: acmeAnswer}, UserAgent: "sekisho"},
		Email:      o.Email,
	}
	if o.EABKeyID != "" {
		key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(o.EABKey, "="))
		if err != nil {
			return nil, fmt.Errorf("the key of the external account is not base64url")
		}
		a.manager.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: o.EABKeyID, Key: key}
	}
	return a, nil
}

// Certificate is a [Source]. The first handshake for a name waits for the authority.
func (a *ACME) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if !slices.Contains(a.names, strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))) {
		return nil, nil
	}
	return a.manager.GetCertificate(hello)
}

// Challenge answers the authority: see [TLSOptions].
func (a *ACME) Challenge(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return a.manager.GetCertificate(hello)
}

// Handler answers the authority over HTTP (http-01, RFC 8555 section 8.3), and sends
// everything else on to HTTPS. Once it was asked for, names are proved this way too.
func (a *ACME) Handler() Handler {
	h := a.manager.HTTPHandler(nil)
	return func(w *Response, r *http.Request) error {
		named := *r
		if host, _, err := net.SplitHostPort(r.Host); err == nil { // an authority may call another port than 80, and say so
			named.Host = host
		}
		h.ServeHTTP(w, &named)
		return nil
	}
}

// Run gets the certificates that are missing, so that no client has to wait for them,
// until all are there or ctx ends. The server must be serving: the authority calls it.
func (a *ACME) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, name := range a.names {
		wg.Go(func() { a.get(ctx, name) })
	}
	wg.Wait()
}

func (a *ACME) get(ctx context.Context, name string) {
	for wait := time.Minute; ; wait = min(2*wait, time.Hour) {
		// It takes no context, but ends within minutes.
		got := make(chan error, 1)
		go func() {
			_, err := a.manager.GetCertificate(helloFor(name))
			got <- err
		}()
		select {
		case err := <-got:
			if err == nil {
				a.log.Info("TLS certificate ready", "name", name)
				return
			}
			a.log.Error("no TLS certificate from the ACME authority", "name", name, "again_in", wait, "err", err)
		case <-ctx.Done():
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// helloFor is the handshake of a client of today.
func helloFor(name string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		ServerName:        name,
		SignatureSchemes:  []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		SupportedCurves:   []tls.CurveID{tls.CurveP256},
		CipherSuites:      []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		SupportedVersions: []uint16{tls.VersionTLS13, tls.VersionTLS12},
	}
}
