package httpx

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// ListenOptions say what comes in at an address. The zero value is the ordinary way.
type ListenOptions struct {
	// Endpoint, if not nil, is what everything comes through that arrives there.
	Endpoint *Endpoint
	// Senders begin each connection with a PROXY header (haproxy.org, "The PROXY
	// protocol", versions 1 and 2). The first that an address is of counts. From
	// anybody else a header is refused.
	Senders []Sender
	// Endpoints, by id, are those that headers may name.
	Endpoints map[string]*Endpoint
}

// Sender is a load balancer that speaks the PROXY protocol.
type Sender struct {
	Prefixes []netip.Prefix
	// Endpoint, if not nil, is what everything from it comes through. Otherwise its
	// headers say through which one of ListenOptions.Endpoints a connection came, in
	// AWS's field for it, or through none.
	Endpoint *Endpoint
}

// proxyListener accepts connections that may begin with a PROXY header. It does not
// read it, so that Accept waits for nobody.
type proxyListener struct {
	net.Listener
	o       ListenOptions
	log     *slog.Logger
	timeout time.Duration // for the header
}

func (l *proxyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	peer := peerAddr(c)
	for i := range l.o.Senders {
		if s := &l.o.Senders[i]; contains(s.Prefixes, peer) {
			return &headedConn{socket: c.(socket), listener: l, sender: s}, nil
		}
	}
	return &strangerConn{socket: c.(socket), listener: l, in: &way{endpoint: l.o.Endpoint}}, nil
}

// refuse ends a connection. Its error is one that net/http takes for a broken
// connection: nothing is answered.
func (l *proxyListener) refuse(c socket, err error) error {
	l.log.Warn("connection refused", "peer", c.RemoteAddr().String(), "address", l.Addr().String(), "err", err)
	_ = c.Close()
	return &net.OpError{Op: "read", Net: "tcp", Addr: c.RemoteAddr(), Err: err}
}

// headedConn is a connection from a sender. The header is read by the goroutine that
// serves it, which first asks for RemoteAddr.
type headedConn struct {
	socket
	listener *proxyListener
	sender   *Sender

	once   sync.Once
	err    error
	remote net.Addr
	in     way
	rest   *bufio.Reader // what was read with the header; nil: nothing is left
}

func (c *headedConn) way() *way { return &c.in }

// RemoteAddr returns the client's address as the header has it.
func (c *headedConn) RemoteAddr() net.Addr {
	_ = c.header()
	return c.remote
}

func (c *headedConn) Read(p []byte) (int, error) {
	if err := c.header(); err != nil {
		return 0, err
	}
	if c.rest != nil {
		if c.rest.Buffered() > 0 {
			return c.rest.Read(p)
		}
		c.rest = nil
	}
	return c.socket.Read(p)
}

func (c *headedConn) header() error {
	c.once.Do(func() {
		c.remote = c.socket.RemoteAddr()
		_ = c.SetReadDeadline(time.Now().Add(c.listener.timeout))
		c.rest = bufio.NewReaderSize(c.socket, 512)
		if _, err := c.rest.Peek(1); errors.Is(err, io.EOF) { // a health check that only connects
			c.err = err
			return
		}
		h, err := proxyproto.Read(c.rest)
		_ = c.SetReadDeadline(time.Time{})
		if err == nil {
			err = c.take(h)
		} else if errors.Is(err, proxyproto.ErrNoProxyProtocol) {
			err = errors.New("there is no PROXY header, which a load balancer at this address must send")
		} else {
			err = fmt.Errorf("read PROXY header: %w", err)
		}
		if err != nil {
			c.remote = c.socket.RemoteAddr()
			c.err = c.listener.refuse(c.socket, err)
		}
	})
	return c.err
}

// take learns from a header. LOCAL (in version 1, UNKNOWN) is the sender's own
// connection, such as a health check: the rest of it means nothing.
func (c *headedConn) take(h *proxyproto.Header) error {
	c.in.endpoint = c.sender.Endpoint
	if c.in.endpoint == nil {
		c.in.endpoint = c.listener.o.Endpoint
	}
	if h.Command.IsLocal() {
		return nil
	}
	addr, ok := h.SourceAddr.(*net.TCPAddr)
	if !ok {
		return errors.New("read PROXY header: it is not about a TCP connection")
	}
	c.remote = addr
	if h.Version == 1 { // has nothing else
		return nil
	}
	tlvs, err := h.TLVs()
	if err != nil {
		return fmt.Errorf("read PROXY header: %w", err)
	}
	f, err := readFields(tlvs)
	if err != nil {
		return fmt.Errorf("read PROXY header: %w", err)
	}
	c.in.secure = f.secure
	switch {
	case f.endpoint == "":
	case c.in.endpoint != nil:
		if f.endpoint != c.in.endpoint.ID {
			return fmt.Errorf("the PROXY header names the private endpoint %s, but its sender leads to %s", f.endpoint, c.in.endpoint.ID)
		}
	default:
		if c.in.endpoint = c.listener.o.Endpoints[f.endpoint]; c.in.endpoint == nil {
			c.in.endpoint = &Endpoint{ID: f.endpoint} // is refused, by name, with the request
		}
	}
	return nil
}

// headerFields are what is of use in the fields of a header of version 2.
type headerFields struct {
	endpoint string // vpce-…
	secure   bool
}

// readFields reads AWS's field 0xEA with its subtype 1, the id of the private endpoint
// (Elastic Load Balancing's documentation, "Proxy protocol"), and section 2.2.6 of the
// protocol, TLS. What is written wrong, or twice, is refused.
func readFields(tlvs []proxyproto.TLV) (f headerFields, err error) {
	for _, tlv := range tlvs {
		switch {
		case tlv.Type == proxyproto.PP2_TYPE_SSL:
			ssl, err := tlvparse.SSL(tlv)
			if err != nil {
				return f, fmt.Errorf("field of TLS: %w", err)
			}
			f.secure = ssl.ClientSSL()
		case tlvparse.IsAWSVPCEndpointID(tlv):
			id := string(tlv.Value[1:])
			if !isEndpointID(id) || f.endpoint != "" {
				return headerFields{}, errors.New("the field of the private endpoint is malformed")
			}
			f.endpoint = id
		}
	}
	return f, nil
}

// isEndpointID reports whether id is safe to show and not too long. It need not exist.
func isEndpointID(id string) bool {
	if len(id) <= len("vpce-") || len(id) > 64 || id[:len("vpce-")] != "vpce-" {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < '0' || '9' < c) && (c < 'a' || 'z' < c) && (c < 'A' || 'Z' < c) && c != '-' {
			return false
		}
	}
	return true
}

// strangerConn is a connection from who is no sender. A header from it would be no
// HTTP and no TLS in any case; this says in the log what is wrong.
type strangerConn struct {
	socket
	listener *proxyListener
	in       *way
	looked   bool
}

func (c *strangerConn) way() *way { return c.in }

func (c *strangerConn) Read(p []byte) (int, error) {
	n, err := c.socket.Read(p)
	if n > 0 && !c.looked {
		c.looked = true
		if bytes.HasPrefix(p[:n], []byte("PROXY ")) || bytes.HasPrefix(p[:n], proxyproto.SIGV2) {
			return 0, c.listener.refuse(c.socket, errors.New("a PROXY header from who is no trusted sender"))
		}
	}
	return n, err
}
