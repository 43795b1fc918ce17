package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/ca"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/httpx"
)

// acmeFolder keeps, in the data folder, the account with the ACME authority and its certificates.
const acmeFolder = "acme"

// certificates returns how TLS is spoken, nil for not at all, and what gets certificates by ACME, if anything does.
func (in *Instance) certificates() (*tls.Config, *httpx.ACME, error) {
	c := &in.Config.TLS
	if !c.Enabled() {
		return nil, nil, nil
	}
	o := httpx.TLSOptions{ClientRequired: c.ClientAuth == "require"}
	for _, pair := range c.Pairs() {
		cert, err := httpx.LoadCertificate(pair.Cert, pair.Key, in.Log, in.now)
		if err != nil {
			return nil, nil, err
		}
		o.Files = append(o.Files, cert)
	}
	var authority *httpx.ACME
	if len(c.ACME.Names) > 0 {
		folder := in.path(acmeFolder)
		if err := durable.MkdirAll(durable.OS{}, folder, 0o700); err != nil {
			return nil, nil, err
		}
		var err error
		if authority, err = httpx.NewACME(httpx.ACMEOptions{
			Logger: in.Log, Names: c.ACME.Names, Directory: c.ACME.Directory, Folder: folder, RootFile: c.ACME.CA,
			Email: c.ACME.Email, EABKeyID: c.ACME.EABKeyID, EABKey: c.ACME.EABKey.Reveal(),
		}); err != nil {
			return nil, nil, err
		}
		o.Challenge = authority.Challenge
		o.Sources = append(o.Sources, authority.Certificate)
	}
	if c.Auto {
		serving, err := in.ownCertificate()
		if err != nil {
			return nil, nil, err
		}
		o.Sources = append(o.Sources, serving.Certificate)
	}
	if c.ClientCA != "" {
		var err error
		if o.Clients, err = httpx.LoadClientCA(c.ClientCA, in.Log, in.now); err != nil {
			return nil, nil, err
		}
	}
	return httpx.NewTLS(o), authority, nil
}

// ownCertificate has the private authority issue for the instance's names. The first start makes it.
func (in *Instance) ownCertificate() (*ca.Serving, error) {
	folder := in.Config.TLS.CA
	a, err := ca.Open(folder, in.now)
	if errors.Is(err, fs.ErrNotExist) {
		if a, err = ca.Create(folder, nil, in.now); err == nil {
			in.Log.Info("made a private authority; clients need its root", "file", filepath.Join(folder, ca.CertFile))
		}
	}
	if err != nil {
		return nil, err
	}
	names := Names(in.Config)
	if left := slices.DeleteFunc(slices.Clone(names), a.Permits); len(left) > 0 {
		in.Log.Warn("the private authority was made to issue for other names only", "left_out", left)
		names = slices.DeleteFunc(names, func(name string) bool { return !a.Permits(name) })
	}
	return a.Serve(names)
}

// Names returns the names and addresses that clients may call an instance by, as its configuration has them: those of
// public_url, of the domain, of tls.names and of the addresses to listen on. Where these are all of the machine, that is
// its host name and addresses.
func Names(c *config.Config) []string {
	var names []string
	if u, err := url.Parse(c.PublicURL); err == nil && u.Host != "" {
		names = append(names, u.Hostname())
	}
	if c.Domain != "" {
		regional := c.Region + "." + c.Domain
		names = append(names, "*.dkr.ecr."+regional, "api.ecr."+regional, "ecr."+regional, "sts."+regional, "secretsmanager."+regional,
			"sts."+c.Domain, "iam."+c.Domain)
	}
	names = append(names, c.TLS.Names...)
	all := false
	for _, addr := range c.Addresses() {
		host, _, _ := net.SplitHostPort(addr)
		ip, err := netip.ParseAddr(host)
		switch {
		case host == "" || err == nil && ip.IsUnspecified():
			all = true
		case err == nil:
			names = append(names, ip.WithZone("").String())
		default:
			names = append(names, host)
		}
	}
	if all {
		names = append(names, machine()...)
	}
	names = append(names, "localhost", "127.0.0.1", "::1")
	seen := map[string]bool{}
	return slices.DeleteFunc(names, func(name string) bool {
		again := seen[strings.ToLower(name)]
		seen[strings.ToLower(name)] = true
		return again
	})
}

// machine returns this machine's host name and addresses, as far as it says.
func machine() []string {
	var names []string
	if name, err := os.Hostname(); err == nil && ca.IsName(name) {
		names = append(names, name)
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			names = append(names, n.IP.String())
		}
	}
	return names
}

// CAFile is the root that clients need to trust the instance's own certificate, empty if it has none.
func (in *Instance) CAFile() string {
	if !in.Config.TLS.Auto {
		return ""
	}
	return filepath.Join(in.Config.TLS.CA, ca.CertFile)
}

// IssueCertificate has the private authority of a configuration issue a certificate: for names, or, if there are none, for
// those of the instance. It returns certificate and key in PEM, and what it is for.
func IssueCertificate(c *config.Config, names []string, life time.Duration) (certPEM, keyPEM []byte, issued []string, err error) {
	a, err := ca.Open(c.TLS.CA, time.Now)
	if err != nil {
		return nil, nil, nil, err
	}
	if len(names) == 0 {
		names = slices.DeleteFunc(Names(c), func(name string) bool { return !a.Permits(name) })
	}
	certPEM, keyPEM, err = a.Issue(names, life)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", c.TLS.CA, err)
	}
	return certPEM, keyPEM, names, nil
}
