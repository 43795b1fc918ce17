package httpx

import (
	"net/http"
	"net/netip"
	"strings"
)

// Origin is how a request came in as its sender sees it.
type Origin struct {
	Client netip.Addr // not valid for a peer without an address, such as a Unix socket
	Secure bool       // over TLS
	Host   string     // with the port, where the client named one

	// Endpoint is the id of the private endpoint that the request came through, and VPC
	// that of its network; empty: none. An id need not be one that there is: see
	// [EndpointError].
	Endpoint, VPC string
}

// BaseURL returns scheme and host, without a slash at the end.
func (o Origin) BaseURL() string {
	if o.Secure {
		return "https://" + o.Host
	}
	return "http://" + o.Host
}

// Proxies says which peers are believed about where a request came from, and in
// which form. The zero value believes nobody.
//
// There is one form, not both, because a proxy that writes one header passes the
// other through as the client sent it.
type Proxies struct {
	Trusted   []netip.Prefix
	Forwarded bool // the Forwarded header (RFC 7239) instead of X-Forwarded-For, -Proto and -Host
}

// maxHops bounds how far back a chain of proxies is followed.
const maxHops = 16

func (p *Proxies) trusts(a netip.Addr) bool { return contains(p.Trusted, a) }

// origin reports where r came from. Of the addresses its proxies name, the client
// is the last that is not itself a trusted proxy: what stands left of it was
// written by the client and means nothing. secured says that TLS was taken off before
// the nearest of them.
func (p *Proxies) origin(r *http.Request, secured bool) Origin {
	o := Origin{Secure: r.TLS != nil || secured, Host: r.Host}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		o.Client = peer.Addr().Unmap().WithZone("")
	}
	if len(p.Trusted) == 0 || !p.trusts(o.Client) {
		return o
	}
	if p.Forwarded {
		p.forwarded(r.Header.Values("Forwarded"), &o)
		return o
	}
	hops := 0
	for field := range backwards(r.Header.Values("X-Forwarded-For"), ',') {
		addr, ok := parseHop(field)
		if hops++; !ok || hops > maxHops {
			break
		}
		if o.Client = addr; !p.trusts(addr) {
			break
		}
	}
	for proto := range backwards(r.Header.Values("X-Forwarded-Proto"), ',') {
		setProto(&o, proto)
		break // the nearest proxy's
	}
	for host := range backwards(r.Header.Values("X-Forwarded-Host"), ',') {
		setHost(&o, host)
		break
	}
	return o
}

// forwarded follows RFC 7239 section 4: elements are separated by commas, the last
// was added by the nearest proxy, and each describes what that proxy saw.
func (p *Proxies) forwarded(lines []string, o *Origin) {
	hops := 0
	for element := range backwards(lines, ',') {
		if hops++; hops > maxHops {
			return
		}
		var addr netip.Addr
		for pair := range backwards([]string{element}, ';') {
			name, value, _ := strings.Cut(pair, "=")
			value = strings.Trim(value, `"`)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "for":
				addr, _ = parseHop(value)
			case "proto":
				setProto(o, value)
			case "host":
				setHost(o, value)
			}
		}
		if !addr.IsValid() { // "unknown" or an obfuscated name: no further
			return
		}
		if o.Client = addr; !p.trusts(addr) {
			return
		}
	}
}

// backwards yields the parts of a header's lines, last first, trimmed.
func backwards(lines []string, sep byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := len(lines) - 1; i >= 0; i-- {
			rest := lines[i]
			for more := true; more; {
				var part string
				if at := strings.LastIndexByte(rest, sep); at >= 0 {
					rest, part = rest[:at], rest[at+1:]
				} else {
					part, more = rest, false
				}
				if !yield(strings.TrimSpace(part)) {
					return
				}
			}
		}
	}
}

// parseHop reads an address with or without a port.
func parseHop(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, false
	}
	return a.Unmap().WithZone(""), true
}

func setProto(o *Origin, s string) {
	switch strings.ToLower(s) {
	case "https":
		o.Secure = true
	case "http":
		o.Secure = false
	}
}

// setHost takes a host only if it is one: it ends up in URLs that clients follow.
func setHost(o *Origin, s string) {
	if s == "" || len(s) > 255+len(":65535") {
		return
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte(".-_:[]", c) >= 0:
		default:
			return
		}
	}
	o.Host = s
}
