package httpx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// ServerOptions are those of [NewServer]. Logger is required; zero means the
// default for the rest.
type ServerOptions struct {
	Logger *slog.Logger
	Limits Limits // the same as the handler's

	HeaderTimeout  time.Duration // from the first byte of a request to the end of its header; default 10 s
	KeepAlive      time.Duration // between requests of a connection; default 2 minutes
	MaxHeaderBytes int           // default 64 KiB: a signed request with a session token fits several times
	MaxConns       int           // served at once over all addresses, more wait; default unlimited

	TLS *tls.Config // nil: plain HTTP; see [Certificate]
}

func (o *ServerOptions) setDefaults() {
	o.Limits.setDefaults()
	if o.HeaderTimeout <= 0 {
		o.HeaderTimeout = 10 * time.Second
	}
	if o.KeepAlive <= 0 {
		o.KeepAlive = 2 * time.Minute
	}
	if o.MaxHeaderBytes <= 0 {
		o.MaxHeaderBytes = 64 << 10
	}
}

// Server serves one handler on any number of addresses. Listen, Serve and Shutdown
// are called once each, in this order; Listen may be repeated before Serve.
type Server struct {
	http      *http.Server
	tls       bool
	log       *slog.Logger
	limit     chan struct{} // a slot a connection; nil: unlimited
	listeners []net.Listener
	running   atomic.Int64       // handlers
	stop      context.CancelFunc // ends the contexts of all requests
}

// NewServer returns a server that listens nowhere yet.
func NewServer(h http.Handler, o ServerOptions) *Server {
	o.setDefaults()
	base, stop := context.WithCancel(context.Background())
	s := &Server{stop: stop, tls: o.TLS != nil, log: o.Logger}
	if o.MaxConns > 0 {
		s.limit = make(chan struct{}, o.MaxConns)
	}
	s.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.running.Add(1)
			defer s.running.Add(-1)
			h.ServeHTTP(w, r)
		}),
		TLSConfig:         o.TLS,
		ReadHeaderTimeout: o.HeaderTimeout,
		// Of the response's first byte; Response moves it with progress. Bodies of
		// requests have no ReadTimeout for the same reason.
		WriteTimeout:   o.Limits.Idle,
		IdleTimeout:    o.KeepAlive,
		MaxHeaderBytes: o.MaxHeaderBytes,
		// Else net/http answers OPTIONS * by itself, without an id and a log event.
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return base },
		ConnContext:                  connContext,
		// What net/http has to say: handshakes that fail, and its own faults.
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
	}
	return s
}

// Listen opens addr, host:port, where port 0 takes a free one.
func (s *Server) Listen(ctx context.Context, addr string) error {
	return s.ListenWith(ctx, addr, ListenOptions{})
}

// ListenWith is Listen for an address that is a way in of its own.
func (s *Server) ListenWith(ctx context.Context, addr string, o ListenOptions) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	if s.limit != nil {
		l = &limitListener{TCPListener: l.(*net.TCPListener), slots: s.limit, closed: make(chan struct{})}
	}
	switch {
	case len(o.Senders) > 0:
		l = &proxyListener{Listener: l, o: o, log: s.log, timeout: s.http.ReadHeaderTimeout}
	case o.Endpoint != nil:
		l = &endpointListener{Listener: l, in: &way{endpoint: o.Endpoint}}
	}
	s.listeners = append(s.listeners, l)
	return nil
}

// Addrs returns the addresses opened, with their ports.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.listeners))
	for i, l := range s.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// Serve answers on every address until Shutdown, and then returns nil at once
// while Shutdown drains. When one address fails it closes all and returns why.
func (s *Server) Serve() error {
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for _, l := range s.listeners {
		wg.Go(func() {
			var err error
			if s.tls {
				err = s.http.ServeTLS(l, "", "")
			} else {
				err = s.http.Serve(l)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				once.Do(func() {
					first = fmt.Errorf("serve %s: %w", l.Addr(), err)
					_ = s.http.Close()
				})
			}
		})
	}
	wg.Wait()
	return first
}

// handlersGrace is what handlers get to return after their request was cut off.
const handlersGrace = 5 * time.Second

// Shutdown stops accepting and waits for the requests that are running. When ctx
// ends first, it cuts them off: their contexts are cancelled, their connections
// closed. On return no handler runs, unless the error says so.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.stop()
	err := s.http.Shutdown(ctx)
	for _, l := range s.listeners { // those that Serve never took over
		_ = l.Close()
	}
	if err == nil {
		return nil
	}
	cut := s.running.Load()
	s.stop()
	_ = s.http.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(handlersGrace); s.running.Load() > 0; <-tick.C {
		if time.Now().After(deadline) {
			return fmt.Errorf("drain requests: %w, and %d do not end", err, s.running.Load())
		}
	}
	return fmt.Errorf("drain requests: %w, %d cut off", err, cut)
}

// OnShutdown has f called, in its own goroutine, when Shutdown begins: for streams
// that would otherwise not end.
func (s *Server) OnShutdown(f func()) { s.http.RegisterOnShutdown(f) }

// limitListener accepts as long as there are slots. Its connections embed
// *net.TCPConn rather than net.Conn, so that sendfile still finds the socket.
type limitListener struct {
	*net.TCPListener
	slots  chan struct{}
	once   sync.Once
	closed chan struct{}
}

// Accept takes the slot after the connection: else addresses that nobody calls would
// hold one each.
func (l *limitListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		_ = c.Close()
		return nil, net.ErrClosed
	}
	return &limitedConn{TCPConn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}

type limitedConn struct {
	*net.TCPConn
	release func()
}

func (c *limitedConn) Close() error {
	err := c.TCPConn.Close()
	c.release()
	return err
}
