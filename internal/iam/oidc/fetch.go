package oidc

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	fetchTimeout = 10 * time.Second // for both documents
	dialTimeout  = 5 * time.Second
	maxDiscovery = 64 << 10
	maxKeySet    = 512 << 10
	maxHeader    = 32 << 10
)

// fetch reads the keys of an issuer: its discovery document (Discovery 1.0 section 4), and the key set that this names.
func (v *Verifier) fetch(ctx context.Context, issuer string, thumbprints []string) ([]jose.JSONWebKey, error) {
	if err := v.fetches.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer v.fetches.Release(1)
	transport := v.transport(thumbprints)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

	text, err := get(ctx, client, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", maxDiscovery)
	if err != nil {
		return nil, err
	}
	var d struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("discovery document of %s: %w", issuer, err)
	}
	if issuerID(d.Issuer) != issuerID(issuer) {
		return nil, fmt.Errorf("discovery document of %s: it is of %s", issuer, clip(d.Issuer))
	}
	if text, err = get(ctx, client, d.JWKS, maxKeySet); err != nil {
		return nil, err
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("key set of %s: %w", issuer, err)
	}
	return keys, nil
}

var errAddress = errors.New("it is not an https address, or has a user or a fragment")

// get reads a document of at most limit bytes.
func get(ctx context.Context, client *http.Client, address string, limit int64) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("read %q: %w", clip(address), errAddress)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "sekisho")
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read %s: status %d", clip(address), resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", clip(address), err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("read %s: it is longer than %d bytes", clip(address), limit)
	}
	return text, nil
}

// transport returns one that connects only where it may, and trusts as an account does.
func (v *Verifier) transport(thumbprints []string) *http.Transport {
	guarded := &net.Dialer{Timeout: dialTimeout, Control: v.control}
	return &http.Transport{
		Proxy: v.proxy,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if _, ok := v.proxies.Load(address); ok {
				return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
			}
			return guarded.DialContext(ctx, network, address)
		},
		TLSClientConfig:        v.tlsConfig(thumbprints),
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  dialTimeout,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true,
	}
}

// proxy returns the configured proxy for a request, and has it be connected to wherever it is.
func (v *Verifier) proxy(r *http.Request) (*url.URL, error) {
	if v.o.Proxy == nil {
		return nil, nil
	}
	u, err := v.o.Proxy(r)
	if err != nil || u == nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	v.proxies.Store(net.JoinHostPort(u.Hostname(), port), true)
	return u, nil
}

// control refuses addresses, after names were resolved, that no issuer can be at.
func (v *Verifier) control(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", address, err)
	}
	ip := a.Addr().Unmap()
	switch {
	case ip.IsLoopback() && v.o.Loopback:
		return nil
	case ip.IsLoopback():
		return fmt.Errorf("connect to %s: issuers on this machine are not allowed; see oidc.loopback in the configuration", address)
	case !ip.IsGlobalUnicast() || ip.IsLinkLocalUnicast():
		return fmt.Errorf("connect to %s: no issuer can be there", address)
	}
	return nil
}

// tlsConfig returns a configuration that takes a certificate as usual or, where it would be refused, by a thumbprint.
func (v *Verifier) tlsConfig(thumbprints []string) *tls.Config {
	c := &tls.Config{RootCAs: v.o.Roots, MinVersion: tls.VersionTLS12}
	if len(thumbprints) == 0 {
		return c
	}
	c.InsecureSkipVerify = true // verified below
	c.VerifyConnection = func(s tls.ConnectionState) error {
		return verifyChain(s, v.o.Roots, thumbprints)
	}
	return c
}

// verifyChain verifies the certificates of a server by authorities, or else by one among them whose thumbprint is trusted:
// the server's own, or one that vouches for it. That they are SHA-1 is AWS's definition; it takes a second preimage, which
// is not to be had, to pass for one.
func verifyChain(s tls.ConnectionState, roots *x509.CertPool, thumbprints []string) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server has no certificate")
	}
	o := x509.VerifyOptions{DNSName: s.ServerName, Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	leaf := s.PeerCertificates[0]
	_, unknown := leaf.Verify(o)
	if unknown == nil {
		return nil
	}
	o.Roots = x509.NewCertPool()
	found := false
	for _, c := range s.PeerCertificates {
		sum := sha1.Sum(c.Raw)
		if slices.ContainsFunc(thumbprints, func(p string) bool { return strings.EqualFold(p, hex.EncodeToString(sum[:])) }) {
			o.Roots.AddCert(c)
			found = true
		}
	}
	if !found {
		return fmt.Errorf("OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint: %w", unknown)
	}
	_, err := leaf.Verify(o)
	return err
}
