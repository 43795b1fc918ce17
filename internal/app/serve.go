package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/registry"
	"github.com/sekisho/sekisho/internal/registry/ociserver"
)

// Run serves until ctx ends, then drains and returns. version is what /metrics says runs; ready is called with the
// addresses once requests are answered.
func (in *Instance) Run(ctx context.Context, version string, ready func(addrs []string)) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { in.Local.Run(background) })
	wg.Go(func() { in.Audit.Run(background) })

	srv, err := in.server(ctx, version)
	if err != nil {
		return err
	}
	addrs := make([]string, 0, len(in.Config.Listen))
	for _, a := range srv.Addrs() {
		addrs = append(addrs, a.String())
	}
	if err := writeFile(in.path(addressFile), []byte(strings.Join(addrs, "\n")+"\n")); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	ready(addrs)
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	in.Log.Info("stopping: running requests may end", "grace", in.Config.ShutdownGrace)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.Config.ShutdownGrace)
	defer cancel()
	err = srv.Shutdown(grace)
	return errors.Join(err, <-served)
}

// server wires what answers and opens the addresses.
func (in *Instance) server(ctx context.Context, version string) (*httpx.Server, error) {
	c := in.Config
	limits := httpx.Limits{Idle: c.Limits.Idle, MinRate: int64(c.Limits.MinRate)}
	if limits.MinRate == 0 {
		limits.MinRate = -1
	}
	m, counted := in.measure(version)
	h := httpx.New(in.route(m.Handler(c.Metrics.Allow)), httpx.Options{
		Logger:   in.Log,
		Proxies:  httpx.Proxies{Trusted: c.Proxies.Trusted, Forwarded: c.Proxies.Header == "forwarded"},
		Limits:   limits,
		Observer: counted,
		Now:      in.now,
	})
	var tlsConfig *tls.Config
	if c.TLS.Cert != "" {
		cert, err := httpx.LoadCertificate(c.TLS.Cert, c.TLS.Key, in.Log, in.now)
		if err != nil {
			return nil, err
		}
		tlsConfig = cert.TLSConfig()
	}
	srv := httpx.NewServer(h, httpx.ServerOptions{
		Logger: in.Log, Limits: limits, HeaderTimeout: c.Limits.Header, KeepAlive: c.Limits.KeepAlive, MaxConns: c.Limits.Connections, TLS: tlsConfig,
	})
	for _, addr := range c.Listen {
		if err := srv.Listen(ctx, addr); err != nil {
			return nil, errors.Join(err, srv.Shutdown(ctx))
		}
	}
	return srv, nil
}

// Served is the registry as clients see it.
func (in *Instance) Served() registry.Registry {
	return registry.CreateOnPush(registry.Authorize(in.Local, in.Judge), in.Local)
}

// route returns the handler of all requests: one port for everything, told apart by path.
func (in *Instance) route(metrics httpx.Handler) httpx.Handler {
	oci := &ociserver.Server{
		Registry: in.Served(),
		Auth:     in.IAM,
		Links:    &ociserver.Links{Key: in.linkKey, Now: in.now},
		Account:  in.Account,
		Region:   in.Config.Region,
		Domain:   in.Config.Domain,
	}
	health := in.health()
	return func(w *httpx.Response, r *http.Request) error {
		path := r.URL.Path
		switch {
		case strings.HasPrefix(path, "/v2/"):
			return oci.Serve(w, r)
		case path == "/v2":
			r.URL.Path = "/v2/"
			return oci.Serve(w, r)
		case path == "/healthz" || path == "/readyz":
			return health(w, r)
		case path == "/metrics":
			return metrics(w, r)
		}
		return &httpx.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is nothing at %q; the registry is at /v2/", path)}
	}
}

// health answers /healthz, which is fine while the process answers, and /readyz, which asks the database and the store.
func (in *Instance) health() httpx.Handler {
	return func(w *httpx.Response, r *http.Request) error {
		w.Event.Operation = "Health"
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return &httpx.Error{Status: http.StatusMethodNotAllowed, Message: "use GET"}
		}
		if r.URL.Path == "/readyz" {
			var one int
			if err := in.DB.QueryRow(r.Context(), `SELECT 1`).Scan(&one); err != nil {
				return &httpx.Error{Status: http.StatusServiceUnavailable, Message: "the metadata database can't be read", Err: err}
			}
			if err := in.Blobs.Check(r.Context()); err != nil {
				return &httpx.Error{Status: http.StatusServiceUnavailable, Message: "the blob store can't be written and read", Err: err}
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, err := w.WriteString("ok\n")
		return err
	}
}
