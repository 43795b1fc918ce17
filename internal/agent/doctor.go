package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
)

// Verdict is how a check came out.
type Verdict string

// The verdicts. Warn is something that some jobs need.
const (
	Good    Verdict = "ok"
	Warn    Verdict = "warning"
	Bad     Verdict = "failed"
	Omitted Verdict = "skipped" // because of another one
)

// Finding is a check of the doctor's.
type Finding struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail"`
	Fix     string  `json:"fix,omitempty"` // what to do
}

// DoctorOptions are those of [Folder.Doctor].
type DoctorOptions struct {
	Route   // used where no agent is configured
	Version string
	Report  func(Finding) // is told each finding as soon as there is one
}

// doctor is an examination.
type doctor struct {
	o      DoctorOptions
	folder Folder
	failed bool
}

func (d *doctor) find(check string, v Verdict, detail, fix string) {
	if v == Bad {
		d.failed = true
	}
	d.o.Report(Finding{check, v, detail, fix})
}

const lookTime = 10 * time.Second

// Doctor examines what an agent needs, and reports whether all that must be is.
func (f Folder) Doctor(ctx context.Context, o DoctorOptions) bool {
	d := &doctor{o: o, folder: f}
	settings, key, err := f.Load()
	route := o.Route
	switch {
	case err == nil:
		d.find("configuration", Good, fmt.Sprintf("agent %s of pool %s at %s, in %s", settings.Name, settings.Pool, settings.URL, f), "")
		route = Route{URL: settings.URL, Proxy: settings.Proxy, CAFile: settings.CAFile}
	case errors.Is(err, ErrNotConfigured) && o.URL != "":
		d.find("configuration", Omitted, "none here; the server is the one that was named", "")
	default:
		d.find("configuration", Bad, err.Error(), "sekisho agent config, or name a server with --url")
	}
	if route.URL != "" && d.network(ctx, &route) && settings != nil && err == nil {
		d.agent(ctx, &route, settings, &signer{key: key, agent: settings.AgentID, userAgent: "sekisho-agent/" + o.Version})
	}
	if settings != nil {
		d.disk(f.Work(settings))
	} else {
		d.disk(string(f))
	}
	d.tools(ctx)
	return !d.failed
}

// network follows the way to the server, and reports whether it leads there.
func (d *doctor) network(ctx context.Context, route *Route) bool {
	u, err := url.Parse(route.URL)
	if err != nil || u.Host == "" {
		d.find("server URL", Bad, fmt.Sprintf("%q is no URL", route.URL), "one is https://sekisho.example.com")
		return false
	}
	t, err := route.transport()
	if err != nil {
		d.find("connection settings", Bad, err.Error(), "see --proxy and --ca-file of sekisho agent config")
		return false
	}
	defer t.CloseIdleConnections()
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	host := u.Hostname()
	proxy, err := t.Proxy(&http.Request{URL: u})
	if err != nil {
		d.find("proxy", Bad, "the proxy of the environment is no URL", "HTTPS_PROXY=http://proxy.example.com:3128")
		return false
	}
	through := net.JoinHostPort(host, port)
	if proxy != nil {
		d.find("proxy", Good, "calls go through "+proxy.Host, "")
		host, port = proxy.Hostname(), proxy.Port()
		if port == "" {
			port = map[string]string{"https": "443", "http": "80"}[proxy.Scheme]
		}
	} else {
		d.find("proxy", Good, "none", "")
	}
	look, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(look, host)
	if err != nil {
		d.find("DNS", Bad, err.Error(), "give "+host+" an address: in private DNS, or in /etc/hosts")
		return false
	}
	d.find("DNS", Good, host+" is "+strings.Join(addrs, ", "), "")
	conn, err := (&net.Dialer{}).DialContext(look, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		d.find("TCP", Bad, err.Error(), "let this machine call "+host+" on port "+port+": routes, firewalls, and the security group of the endpoint")
		return false
	}
	_ = conn.Close()
	d.find("TCP", Good, "port "+port+" of "+host+" answers", "")
	if u.Scheme == "https" && proxy == nil && !d.tls(look, t, u.Hostname(), through) {
		return false
	}
	if u.Scheme == "http" {
		d.find("TLS", Warn, "the server is called without TLS", "whoever is in between sees the jobs' secrets; take https://")
	}
	return d.hello(ctx, t, route)
}

func (d *doctor) tls(ctx context.Context, t *http.Transport, name, addr string) bool {
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: t.TLSClientConfig.RootCAs, ServerName: name, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		fix := "see the server's log"
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
			fix = "the server's certificate is from an authority that this machine doesn't know: configure the agent with --ca-file"
		} else if _, ok := errors.AsType[x509.HostnameError](err); ok {
			fix = "the server's certificate is for another name: call it by that name, or give it one for this name"
		} else if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
			fix = "the certificate is out of its time, or this machine's clock is wrong"
		}
		d.find("TLS", Bad, err.Error(), fix)
		return false
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	d.find("TLS", Good, fmt.Sprintf("%s, the certificate is good until %s", tls.VersionName(state.Version), state.PeerCertificates[0].NotAfter.UTC().Format(time.DateOnly)), "")
	return true
}

// maxSkew is how far the clock of this machine may be off before somebody should see to it.
const maxSkew = time.Minute

func (d *doctor) hello(ctx context.Context, _ *http.Transport, route *Route) bool {
	c, err := newClient(route, &signer{userAgent: "sekisho-agent/" + d.o.Version})
	if err != nil {
		d.find("server", Bad, err.Error(), "")
		return false
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	out, err := c.Hello(ctx, connect.NewRequest(&agentv1.HelloRequest{Version: d.o.Version}))
	if err != nil {
		fix := "is it a Sekisho server that answers at " + route.URL + "?"
		if connect.CodeOf(err) == connect.CodePermissionDenied {
			fix = "let the private endpoint lead to the service agents: endpoints.services in the server's configuration"
		}
		d.find("server", Bad, message(err), fix)
		return false
	}
	d.find("server", Good, fmt.Sprintf("version %s in region %s", out.Msg.GetVersion(), out.Msg.GetRegion()), "")
	if v := out.Msg.GetVersion(); v != d.o.Version {
		d.find("version", Warn, fmt.Sprintf("this agent is version %s, the server %s", d.o.Version, v), "the server has its own at "+route.URL+"/agents/")
	}
	skew := time.Since(out.Msg.GetTime().AsTime()).Round(time.Second)
	if skew.Abs() > maxSkew {
		d.find("clock", Warn, fmt.Sprintf("this machine's clock is %s off the server's; the agent allows for that, other programs don't", skew), "run an NTP client")
	} else {
		d.find("clock", Good, "as the server's", "")
	}
	return true
}

// agent checks that the server knows the agent.
func (d *doctor) agent(ctx context.Context, route *Route, settings *Settings, s *signer) {
	c, err := newClient(route, s)
	if err != nil {
		d.find("token", Bad, err.Error(), "")
		return
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if _, err := s.current(ctx); err != nil {
		d.find("token", Bad, message(err), "configure the agent again: sekisho agent remove --force, sekisho agent config")
		return
	}
	d.find("token", Good, "the server knows the agent's key", "")
	out, err := c.Report(ctx, connect.NewRequest(&agentv1.ReportRequest{Facts: localFacts(d.o.Version, Capabilities(ctx, os.Environ()), "")}))
	switch {
	case err != nil:
		d.find("pool", Bad, message(err), "")
	case !out.Msg.GetEnabled():
		d.find("pool", Warn, "the agent is disabled in pool "+out.Msg.GetPool(), "enable it there: it gets no jobs")
	default:
		d.find("pool", Good, fmt.Sprintf("agent %s of pool %s", out.Msg.GetName(), out.Msg.GetPool()), "")
	}
}

func (d *doctor) disk(work string) {
	if err := os.MkdirAll(work, 0o755); err != nil {
		d.find("work folder", Bad, err.Error(), "let the agent's user write to "+filepath.Dir(work))
		return
	}
	probe, err := os.CreateTemp(work, ".probe-*")
	if err != nil {
		d.find("work folder", Bad, err.Error(), "let the agent's user write to "+work)
		return
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	free, err := freeSpace(work)
	switch {
	case err != nil:
		d.find("disk", Warn, err.Error(), "")
	case free < DefaultMinFree:
		d.find("disk", Bad, bytesText(free)+" free at "+work, "the agent takes no jobs below "+bytesText(DefaultMinFree))
	default:
		d.find("disk", Good, bytesText(free)+" free at "+work, "")
	}
}

// tools looks for the programs that jobs need.
func (d *doctor) tools(ctx context.Context) {
	if path, err := exec.LookPath("git"); err != nil {
		d.find("git", Bad, "there is none", "install git: jobs check out with it")
	} else {
		d.find("git", Good, versionOf(ctx, path, []string{"--version"})+" at "+path, "")
	}
	var builders []string
	for _, b := range []struct {
		name  string
		works []string // arguments of what a builder must be able to do
	}{{"buildctl", []string{"debug", "workers"}}, {"docker", []string{"version"}}, {"podman", []string{"info"}}, {"buildah", []string{"info"}}} {
		path, err := exec.LookPath(b.name)
		if err != nil {
			continue
		}
		look, cancel := context.WithTimeout(ctx, lookTime)
		cmd := exec.CommandContext(look, path, b.works...)
		cmd.WaitDelay = time.Second
		err = cmd.Run()
		cancel()
		if err == nil {
			builders = append(builders, b.name)
		}
	}
	if len(builders) == 0 {
		d.find("builders", Warn, "none of buildctl with its daemon, docker, podman and buildah works here", "install one of them, for jobs that build images")
	} else {
		d.find("builders", Good, strings.Join(builders, ", "), "")
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		d.find("cgroup", Good, "version 2", "")
	} else if _, err := os.Stat("/sys/fs/cgroup"); err == nil {
		d.find("cgroup", Warn, "version 1", "rootless builders limit nothing with it; start the machine with version 2")
	}
}
