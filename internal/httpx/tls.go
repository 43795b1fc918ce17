package httpx

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// Source has certificates. It returns nil where it has none for a handshake.
type Source func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// TLSOptions are those of [NewTLS].
type TLSOptions struct {
	// Files are certificates for certain names. The first is also for those who ask
	// for a name that nothing here has, or for none.
	Files []*Certificate
	// Sources are asked in their order for what is not in Files.
	Sources []Source
	// Challenge, if not nil, answers an ACME authority that proves a name
	// (tls-alpn-01, RFC 8737). It is asked about nothing else.
	Challenge Source
	// Clients, if not nil, has the authorities of certificates that clients show.
	Clients *ClientCA
	// ClientRequired says that a client without a certificate is turned away.
	ClientRequired bool
}

const acmeProtocol = "acme-tls/1"

// NewTLS returns a configuration of TLS 1.2 and later.
func NewTLS(o TLSOptions) *tls.Config {
	c := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: o.certificate,
		NextProtos:     []string{"h2", "http/1.1"},
	}
	if o.Challenge == nil && o.Clients == nil {
		return c
	}
	// Connections for a challenge end with the handshake.
	challenge := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{acmeProtocol}, GetCertificate: o.Challenge}
	outer := c.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		switch {
		case o.Challenge != nil && slices.Equal(hello.SupportedProtos, challenge.NextProtos):
			return challenge, nil
		case o.Clients != nil:
			return o.Clients.config(c, o.ClientRequired), nil
		}
		return c, nil
	}
	return outer
}

// certificate finds the certificate for a handshake.
func (o *TLSOptions) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	for _, f := range o.Files {
		if pair, err := f.get(hello); err == nil && isFor(pair, hello) {
			return pair, nil
		}
	}
	for _, source := range o.Sources {
		if pair, err := source(hello); pair != nil || err != nil {
			return pair, err
		}
	}
	if len(o.Files) > 0 {
		return o.Files[0].get(hello)
	}
	return nil, fmt.Errorf("there is no certificate for %.100q", hello.ServerName)
}

// isFor reports whether a certificate is for the name that the client asks for, or, if
// it asks for none, for the address that it calls; and of a kind that it knows.
func isFor(pair *tls.Certificate, hello *tls.ClientHelloInfo) bool {
	if hello.SupportsCertificate(pair) != nil {
		return false
	}
	if hello.ServerName != "" {
		return true
	}
	addr, ok := hello.Conn.LocalAddr().(*net.TCPAddr)
	return ok && pair.Leaf != nil && slices.ContainsFunc(pair.Leaf.IPAddresses, addr.IP.Equal)
}

// ClientCA is a PEM file of authorities, read again when it changes.
type ClientCA struct {
	file string
	log  *slog.Logger
	now  func() time.Time

	mu      sync.Mutex
	stamp   fileStamp      // guarded by mu
	checked time.Time      // guarded by mu
	pool    *x509.CertPool // guarded by mu
	made    *tls.Config    // from pool; guarded by mu
}

// LoadClientCA reads the file; now is time.Now outside tests.
func LoadClientCA(file string, log *slog.Logger, now func() time.Time) (*ClientCA, error) {
	c := &ClientCA{file: file, log: log, now: now, checked: now()}
	if _, err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// config returns base with the authorities as they are now. Sessions are not resumed:
// a resumed one has been checked against those of then.
func (c *ClientCA) config(base *tls.Config, required bool) *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		switch changed, err := c.load(); {
		case err != nil:
			c.log.Error("client authorities not renewed, taking the old ones", "err", err)
		case changed:
			c.log.Info("client authorities renewed", "file", c.file)
		}
	}
	if c.made == nil {
		c.made = base.Clone()
		c.made.ClientCAs = c.pool
		c.made.SessionTicketsDisabled = true
		c.made.ClientAuth = tls.VerifyClientCertIfGiven
		if required {
			c.made.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	return c.made
}

// load reads the file if it changed since it was last read.
func (c *ClientCA) load() (changed bool, err error) {
	info, err := os.Stat(c.file)
	if err != nil {
		return false, fmt.Errorf("read client authorities: %w", err)
	}
	stamp := fileStamp{info.ModTime(), info.Size()}
	if stamp == c.stamp {
		return false, nil
	}
	text, err := os.ReadFile(c.file)
	if err != nil {
		return false, fmt.Errorf("read client authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return false, fmt.Errorf("read client authorities: %s has no certificate in PEM", c.file)
	}
	c.pool, c.stamp, c.made = pool, stamp, nil
	return true, nil
}
