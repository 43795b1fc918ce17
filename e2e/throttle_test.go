package e2e

import (
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// proxy passes connections on to the server, what clients send at a limited rate, so that a script can act in the
// middle of an upload.
type proxy struct {
	listener net.Listener
	upstream string
	rate     int64 // bytes a second, of all connections together
	tokens   chan int64
	stop     chan struct{}
	running  sync.WaitGroup

	mu     sync.Mutex
	passed int64         // bytes sent by clients
	target int64         // passed at which reached is closed
	reach  chan struct{} // nil when nobody waits
	conns  map[net.Conn]struct{}
}

// cmdThrottle puts a slow way to the server at $SLOW_REGISTRY: throttle MiB-per-second.
func cmdThrottle(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg || len(args) != 1 || w.proxy != nil || !w.server.running() {
		ts.Fatalf("usage: throttle MiB-per-second, once, while the server runs")
	}
	mib, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	w.proxy = &proxy{
		listener: listener,
		upstream: w.server.address,
		rate:     mib << 20,
		tokens:   make(chan int64),
		stop:     make(chan struct{}),
		conns:    make(map[net.Conn]struct{}),
	}
	w.proxy.running.Go(w.proxy.mint)
	w.proxy.running.Go(w.proxy.accept)
	ts.Setenv("SLOW_REGISTRY", listener.Addr().String())
}

func (p *proxy) close() {
	if p == nil {
		return
	}
	close(p.stop)
	p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// mint hands out permissions to pass bytes, a hundred times a second.
func (p *proxy) mint() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		select {
		case <-p.stop:
			return
		case p.tokens <- p.rate / 100:
		}
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.upstream)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		end := sync.OnceFunc(func() {
			client.Close()
			server.Close()
			p.mu.Lock()
			delete(p.conns, client)
			delete(p.conns, server)
			p.mu.Unlock()
		})
		p.running.Go(func() { defer end(); p.slow(server, client) })
		p.running.Go(func() { defer end(); io.Copy(client, server) })
	}
}

// slow copies as fast as permissions come.
func (p *proxy) slow(dst io.Writer, src io.Reader) {
	for {
		var n int64
		select {
		case <-p.stop:
			return
		case n = <-p.tokens:
		}
		n, err := io.CopyN(dst, src, n)
		p.count(n)
		if err != nil {
			return
		}
	}
}

func (p *proxy) count(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed += n
	if p.reach != nil && p.passed >= p.target {
		close(p.reach)
		p.reach = nil
	}
}

// wait returns when n more bytes have been passed.
func (p *proxy) wait(n int64, limit time.Duration) error {
	reached := make(chan struct{})
	p.mu.Lock()
	p.target, p.reach = p.passed+n, reached
	p.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-reached:
		return nil
	case <-timer.C:
		return errors.New("not passed in time")
	}
}
