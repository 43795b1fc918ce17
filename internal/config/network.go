package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Services are what a private endpoint can lead to.
var Services = []string{"ecr.api", "ecr.dkr", "sts", "iam", "secretsmanager", "git", "agents", "api", "console"}

var (
	endpointForm = regexp.MustCompile(`^vpce-[0-9a-f]{8,17}$`)
	vpcForm      = regexp.MustCompile(`^vpc-[0-9a-f]{8,17}$`)
	// A host name as certificates have it; for one label, also the wildcard.
	nameForm = regexp.MustCompile(`^(\*\.)?[a-zA-Z0-9_]([a-zA-Z0-9_-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]*[a-zA-Z0-9])?)*$`)
)

// Enabled reports whether the server speaks TLS.
func (t *TLS) Enabled() bool {
	return t.Cert != "" || len(t.Certificates) > 0 || t.Auto || len(t.ACME.Names) > 0
}

// Pairs returns all pairs of files, that of Cert first.
func (t *TLS) Pairs() []KeyPair {
	var pairs []KeyPair
	if t.Cert != "" {
		pairs = append(pairs, KeyPair{t.Cert, t.Key})
	}
	return append(pairs, t.Certificates...)
}

// Addresses returns every address to serve on, in the order of listen, proxy_protocol
// and the endpoints.
func (c *Config) Addresses() []string {
	addrs := slices.Concat(c.Listen, c.ProxyProtocol.Listen)
	for _, e := range c.Endpoints {
		addrs = append(addrs, e.Listen...)
	}
	return addrs
}

func (l *loader) tls() {
	t := &l.Config.TLS
	switch {
	case t.Cert == "" && t.Key != "":
		l.check("tls.cert", false, "missing: tls.key alone serves nothing")
	case t.Cert != "" && t.Key == "":
		l.check("tls.key", false, "missing: name the file with the key of tls.cert")
	}
	type file struct{ key, name string }
	files := []file{{"tls.cert", t.Cert}, {"tls.key", t.Key}, {"tls.client_ca", t.ClientCA}, {"tls.acme.ca", t.ACME.CA}}
	for i, pair := range t.Certificates {
		key := fmt.Sprintf("tls.certificates[%d]", i)
		l.check(key+".cert", pair.Cert != "", "missing: name the file with the certificate")
		l.check(key+".key", pair.Key != "", "missing: name the file with the certificate's key")
		files = append(files, file{key + ".cert", pair.Cert}, file{key + ".key", pair.Key})
	}
	for _, f := range files {
		if f.name != "" {
			l.checkErr(f.key, readable(f.name))
		}
	}
	for _, name := range t.Names {
		_, err := netip.ParseAddr(name)
		l.check("tls.names", err == nil || isHostName(name), "%q is neither a host name nor an address", name)
		l.check("tls.names", t.Auto, "has no effect without tls.auto, whose certificate they are for")
	}
	l.check("tls.client_auth", slices.Contains([]string{"require", "optional"}, t.ClientAuth), "%q is none of require, optional", t.ClientAuth)
	l.check("tls.client_ca", t.ClientCA == "" || t.Enabled(), "has no effect without TLS: set tls.cert, tls.auto or tls.acme.names")
	l.acme()
}

func (l *loader) acme() {
	a := &l.Config.TLS.ACME
	for _, name := range a.Names {
		_, err := netip.ParseAddr(name)
		l.check("tls.acme.names", err != nil && isHostName(name) && !strings.HasPrefix(name, "*") && strings.Contains(name, "."),
			"%q can't be had: give full host names, without wildcards; tls.auto serves addresses and any name", name)
	}
	u, err := url.Parse(a.Directory)
	l.check("tls.acme.directory", err == nil && u.Scheme == "https" && u.Host != "", "%q is not an https URL, such as https://ca.example.com/acme/acme/directory", a.Directory)
	l.check("tls.acme.listen", a.Listen == "" || isListenAddr(a.Listen), "%q is not host:port, such as :80", a.Listen)
	l.check("tls.acme.listen", a.Listen == "" || len(a.Names) > 0, "has no effect without tls.acme.names")
	switch {
	case a.EABKeyID != "" && a.EABKey.IsZero():
		l.check("tls.acme.eab_key", false, "missing: tls.acme.eab_key_id needs it")
	case a.EABKeyID == "" && !a.EABKey.IsZero():
		l.check("tls.acme.eab_key_id", false, "missing: tls.acme.eab_key needs it")
	}
}

func (l *loader) endpoints() {
	c := &l.Config
	pp := &c.ProxyProtocol
	for _, addr := range pp.Listen {
		l.check("proxy_protocol.listen", isListenAddr(addr), "%q is not host:port, such as :5443", addr)
	}
	senders := len(pp.Trusted) > 0
	ids := map[string]int{}
	type sender struct {
		prefix netip.Prefix
		at     int
	}
	var all []sender
	for i, e := range c.Endpoints {
		key := fmt.Sprintf("endpoints[%d]", i)
		l.check(key+".id", endpointForm.MatchString(e.ID), "%q is not the id of a private endpoint: vpce- and 8 to 17 hexadecimal digits, such as vpce-0123456789abcdef0", e.ID)
		if first, ok := ids[e.ID]; ok && e.ID != "" {
			l.check(key+".id", false, "%s is the id of endpoints[%d] already", e.ID, first)
		}
		ids[e.ID] = i
		l.check(key+".vpc", e.VPC == "" || vpcForm.MatchString(e.VPC), "%q is not the id of a network: vpc- and 8 to 17 hexadecimal digits", e.VPC)
		for _, addr := range e.Listen {
			l.check(key+".listen", isListenAddr(addr), "%q is not host:port, such as 10.0.1.5:443", addr)
		}
		l.check(key+".listen", len(e.Listen) > 0 || len(pp.Listen) > 0, "missing: nothing leads here. Give it addresses of its own, or a load balancer with proxy_protocol.listen")
		l.check(key+".senders", len(e.Listen) > 0 || len(pp.Listen) == 0 || len(e.Senders) > 0 || len(pp.Trusted) > 0,
			"missing: nothing leads here. Name the load balancers, here or in proxy_protocol.trusted")
		senders = senders || len(e.Senders) > 0
		for _, p := range e.Senders {
			for _, s := range all {
				l.check(key+".senders", s.at == i || !s.prefix.Overlaps(p),
					"%s is among the senders of endpoints[%d]: a sender leads to one endpoint, or, in proxy_protocol.trusted, says which", p, s.at)
			}
			all = append(all, sender{p, i})
		}
		for _, s := range e.Services {
			l.check(key+".services", slices.Contains(Services, s), "%q is none of %s", s, strings.Join(Services, ", "))
		}
	}
	l.check("proxy_protocol.listen", len(pp.Listen) == 0 || senders, "has no effect without senders: name them in proxy_protocol.trusted or in an endpoint's senders")
	l.check("proxy_protocol.trusted", len(pp.Trusted) == 0 || len(pp.Listen) > 0, "has no effect without proxy_protocol.listen")

	seen := map[string]bool{}
	for _, addr := range c.Addresses() {
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "0" {
			continue
		}
		l.check("listen", !seen[addr], "%s is given twice, there or in proxy_protocol.listen or an endpoint's listen", addr)
		seen[addr] = true
	}
}

func isHostName(s string) bool { return len(s) <= 253 && nameForm.MatchString(s) }
