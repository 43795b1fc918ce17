package httpx

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
)

// Endpoint is a private endpoint: a named way into the server. Requests through it
// have its id in their [Origin].
type Endpoint struct {
	ID  string // vpce-…
	VPC string // vpc-…, or empty
	// Proxies says who is believed about the clients in the endpoint's network. Those
	// of [Options] are not: addresses there are not those of the network outside.
	Proxies Proxies
}

// EndpointError says that a request came through a private endpoint that doesn't lead
// where it goes. Protocols answer it with 403.
type EndpointError struct {
	Endpoint string // its id
	Service  string // as it is named in the configuration; empty: there is no such endpoint
}

func (e *EndpointError) Error() string {
	if e.Service == "" {
		return "This server has no private endpoint " + e.Endpoint + "."
	}
	return "The private endpoint " + e.Endpoint + " does not lead to the service " + e.Service + "."
}

// way is how a connection came in. It doesn't change once the first request is read.
type way struct {
	endpoint *Endpoint // nil: none
	secure   bool      // a load balancer in front took TLS off
}

type wayKey struct{}

// wayOf returns how the connection of r came in, nil for the ordinary way.
func wayOf(r *http.Request) *way {
	w, _ := r.Context().Value(wayKey{}).(*way)
	return w
}

// origin reports where r came from.
func (o *Options) origin(r *http.Request) Origin {
	w := wayOf(r)
	if w == nil {
		return o.Proxies.origin(r, false)
	}
	proxies := &o.Proxies
	if w.endpoint != nil {
		proxies = &w.endpoint.Proxies
	}
	from := proxies.origin(r, w.secure)
	if w.endpoint != nil {
		from.Endpoint, from.VPC = w.endpoint.ID, w.endpoint.VPC
	}
	return from
}

// socket is what a listener accepts: a TCP connection, or what embeds one.
type socket interface {
	net.Conn
	io.ReaderFrom // sendfile
	CloseWrite() error
}

// wayConn is a connection with a way.
type wayConn interface {
	net.Conn
	way() *way
}

// connContext gives the requests of a connection its way.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		c = t.NetConn()
	}
	if c, ok := c.(wayConn); ok {
		return context.WithValue(ctx, wayKey{}, c.way())
	}
	return ctx
}

// endpointConn is a connection to an address that is an endpoint's.
type endpointConn struct {
	socket
	in *way
}

func (c *endpointConn) way() *way { return c.in }

// endpointListener gives what it accepts a way.
type endpointListener struct {
	net.Listener
	in *way
}

func (l *endpointListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &endpointConn{c.(socket), l.in}, nil
}

// peerAddr returns the address of a connection's other end.
func peerAddr(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
