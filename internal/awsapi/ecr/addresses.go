package ecr

import (
	"net/url"
	"strings"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/registry"
)

// Addresses makes the addresses that answers name, such that whoever called can reach them.
type Addresses struct {
	Account string // whose repositories a host name without an account means
	Region  string
	// Domain, if not empty, gives each account the host name <account>.dkr.ecr.<region>.<domain>.
	Domain string
	// PublicURL is how clients reach the server; nil: as the one who asks does.
	PublicURL *url.URL
}

// base returns scheme and host of the server.
func (a *Addresses) base(o httpx.Origin) (scheme, host string) {
	if a.PublicURL != nil {
		return a.PublicURL.Scheme, a.PublicURL.Host
	}
	if o.Secure {
		return "https", o.Host
	}
	return "http", o.Host
}

// host returns scheme and host to reach an account by, and whether they are enough to name it.
func (a *Addresses) host(account string, o httpx.Origin) (scheme, host string, names bool) {
	scheme, host = a.base(o)
	if a.Domain == "" {
		return scheme, host, account == a.Account
	}
	port := ""
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		port = host[i:]
	}
	return scheme, account + ".dkr.ecr." + a.Region + "." + a.Domain + port, true
}

// repository returns the repositoryUri: what clients pull and push by, without a scheme.
func (a *Addresses) repository(r registry.Repo, o httpx.Origin) string {
	_, host, names := a.host(r.Account, o)
	if !names {
		host += "/" + r.Account
	}
	return host + "/" + r.Name
}

// endpoint returns the proxyEndpoint: what clients log in to.
func (a *Addresses) endpoint(account string, o httpx.Origin) string {
	scheme, host, _ := a.host(account, o)
	return scheme + "://" + host
}

// link returns the address of a path on the server.
func (a *Addresses) link(pathAndQuery string, o httpx.Origin) string {
	scheme, host := a.base(o)
	return scheme + "://" + host + pathAndQuery
}
