package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	agentwork "github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/agentapi"
	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/awsapi/ecr"
	awsiam "github.com/sekisho/sekisho/internal/awsapi/iam"
	"github.com/sekisho/sekisho/internal/awsapi/secretsmanager"
	"github.com/sekisho/sekisho/internal/awsapi/sts"
	"github.com/sekisho/sekisho/internal/git/githttp"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/issuer"
	"github.com/sekisho/sekisho/internal/observe/metrics"
	"github.com/sekisho/sekisho/internal/observe/trace"
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
	wg.Go(func() {
		in.IAM.Generation().Run(background, in.warn("changes that other processes make to identities are not noticed"))
	})
	in.startProjects(background, &wg)
	wg.Go(func() { in.Pools.Run(background, in.warn("which agents are there is not written")) })
	wg.Go(func() { in.Directory.Run(background, in.warn("the last uses of keys and roles are not written")) })
	if err := in.startGit(ctx); err != nil {
		return err
	}
	if err := in.startJobs(ctx); err != nil {
		return err
	}
	defer in.stopJobs(ctx)
	if err := in.Runs.Open(ctx); err != nil {
		return err
	}
	defer in.Runs.Close()

	tracer, err := trace.New(ctx, trace.Options{
		Endpoint: in.Config.Tracing.Endpoint, Sample: in.Config.Tracing.Sample, Version: version, Getenv: os.Getenv, Logger: in.Log,
	})
	if err != nil {
		return err
	}
	if tracer != nil {
		defer in.endTracing(ctx, tracer)
	}
	if err := in.openAgents(version); err != nil {
		return err
	}
	m, observer := in.measure(version)
	srv, acme, err := in.server(ctx, tracer, m, observer)
	if err != nil {
		return err
	}
	// beside serves something else on an address of its own, until the end.
	beside := func(what, addr string, h httpx.Handler) error {
		own := httpx.NewServer(httpx.New(h, httpx.Options{Logger: in.Log, Now: in.now}), httpx.ServerOptions{Logger: in.Log})
		if err := own.Listen(ctx, addr); err != nil {
			return errors.Join(err, srv.Shutdown(ctx))
		}
		wg.Go(func() {
			if err := own.Serve(); err != nil {
				in.Log.Error(what+" no longer served on the address of its own", "err", err)
			}
		})
		wg.Go(func() {
			<-background.Done()
			_ = own.Shutdown(background) // at once: what is asked there can be asked again
		})
		return nil
	}
	if addr := in.Config.Metrics.Listen; addr != "" {
		if err := beside("metrics are", addr, metricsPage(m)); err != nil {
			return err
		}
	}
	if acme != nil {
		if addr := in.Config.TLS.ACME.Listen; addr != "" {
			if err := beside("the challenge of ACME is", addr, acme.Handler()); err != nil {
				return err
			}
		}
		wg.Go(func() { acme.Run(background) })
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
	debug.FreeOSMemory() // what the start needed is not needed again
	releaseProgram()
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

// warn returns what tells that background work fails.
func (in *Instance) warn(message string) func(error) {
	return func(err error) { in.Log.Warn(message, "err", err) }
}

// endTracing sends the last spans, if the collector takes them soon.
func (in *Instance) endTracing(ctx context.Context, t *trace.Tracer) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := t.Shutdown(last); err != nil {
		in.Log.Warn("the last traces were not sent", "err", err)
	}
}

// metricsPage serves /metrics alone.
func metricsPage(m *metrics.Metrics) httpx.Handler {
	page := m.Handler(nil)
	return func(w *httpx.Response, r *http.Request) error {
		if r.URL.Path != "/metrics" {
			return &httpx.Error{Status: http.StatusNotFound, Message: "only /metrics is here"}
		}
		return page(w, r)
	}
}

// server wires what answers and opens the addresses.
func (in *Instance) server(ctx context.Context, tracer *trace.Tracer, m *metrics.Metrics, observer httpx.Observer) (*httpx.Server, *httpx.ACME, error) {
	c := in.Config
	limits := httpx.Limits{Idle: c.Limits.Idle, MinRate: int64(c.Limits.MinRate)}
	if limits.MinRate == 0 {
		limits.MinRate = -1
	}
	o := httpx.Options{
		Logger:   in.Log,
		Proxies:  httpx.Proxies{Trusted: c.Proxies.Trusted, Forwarded: c.Proxies.Header == "forwarded"},
		Limits:   limits,
		Observer: observer,
		Now:      in.now,
	}
	if tracer != nil {
		o.Trace = tracer.Request
	}
	h := httpx.New(in.route(m.Handler(c.Metrics.Allow)), o)
	tlsConfig, acme, err := in.certificates()
	if err != nil {
		return nil, nil, err
	}
	srv := httpx.NewServer(h, httpx.ServerOptions{
		Logger: in.Log, Limits: limits, HeaderTimeout: c.Limits.Header, KeepAlive: c.Limits.KeepAlive, MaxConns: c.Limits.Connections, TLS: tlsConfig,
	})
	addrs, options := ways(c)
	srv.OnShutdown(in.agents.Stop)
	srv.OnShutdown(in.api.Stop)
	for i, addr := range addrs {
		if err := srv.ListenWith(ctx, addr, options[i]); err != nil {
			return nil, nil, errors.Join(err, srv.Shutdown(ctx))
		}
	}
	return srv, acme, nil
}

// Served is the registry as clients see it.
func (in *Instance) Served() registry.Registry {
	return registry.CreateOnPush(registry.Authorize(in.Local, in.Judge), in.Local)
}

// route returns the handler of all requests: one port for everything, told apart by path.
func (in *Instance) route(metrics httpx.Handler) httpx.Handler {
	served := in.Served()
	links := &ociserver.Links{Key: in.linkKeys[0], OldKeys: in.linkKeys[1:], Keys: in.IAM, Now: in.now}
	oci := &ociserver.Server{
		Registry: served,
		Auth:     in.IAM,
		Links:    links,
		Account:  in.Account,
		Region:   in.Config.Region,
		Domain:   in.Config.Domain,
		Admit:    func(c *iam.Caller, action string) error { return in.admit(c, dkr, action) },
	}
	ecrAPI := &ecr.API{Registry: served, Control: registry.NewControl(in.Local, in.Judge), Judge: in.Judge, Tokens: in.IAM, Links: links, Addresses: in.addresses()}
	secretsAPI := &secretsmanager.API{Secrets: in.Secrets}
	aws := awsapi.New(in.Config.Region, in.IAM, in.now, ecrAPI.Service(), ecr.PublicService(), secretsAPI.Service(),
		(&sts.API{Sessions: in.Sessions}).Service(), (&awsiam.API{Directory: in.Directory}).Service())
	aws.Admit = func(c *iam.Caller, service, action string) error {
		return in.admit(c, endpointService(service), action)
	}
	repositories := in.gitServer()
	downloads := in.agentDownloads()
	health := in.health()
	people := in.people(aws)
	jobs := in.api.JobIdentity(in.Runs, agents)
	return func(w *httpx.Response, r *http.Request) error {
		path := r.URL.Path
		switch {
		case strings.HasPrefix(path, "/v2/"):
			return oci.Serve(w, r)
		case path == "/v2":
			r.URL.Path = "/v2/"
			return oci.Serve(w, r)
		case strings.HasPrefix(path, githttp.Prefix):
			return repositories.Serve(w, r)
		case agentapi.Handles(path):
			return in.agents.Serve(w, r)
		case strings.HasPrefix(path, agentapi.DownloadPath):
			return downloads(w, r)
		case aws.Handles(r):
			return aws.Serve(w, r)
		case strings.HasPrefix(path, api.Prefix):
			return people(w, r)
		case path == agentwork.IdentityPath:
			return jobs(w, r)
		case strings.HasPrefix(path, issuer.Path+"/"):
			return in.oidc(w, r)
		case w.Origin.Endpoint != "" && in.endpoint(w.Origin.Endpoint) == nil:
			e := httpx.EndpointError{Endpoint: w.Origin.Endpoint}
			return &httpx.Error{Status: http.StatusForbidden, Message: e.Error()}
		case path == "/healthz" || path == "/readyz":
			return health(w, r)
		case path == "/metrics" && w.Origin.Endpoint == "": // addresses elsewhere are not those of metrics.allow
			return metrics(w, r)
		}
		return &httpx.Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is nothing at %q; the registry is at /v2/", path)}
	}
}

// addresses says how answers name this instance.
func (in *Instance) addresses() ecr.Addresses {
	a := ecr.Addresses{Account: in.Account, Region: in.Config.Region, Domain: in.Config.Domain}
	if in.Config.PublicURL != "" {
		a.PublicURL, _ = url.Parse(in.Config.PublicURL) // it was checked with the configuration
	}
	return a
}
