package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

const (
	serverLog  = "server.log"
	startLimit = 30 * time.Second
	stopLimit  = 30 * time.Second
)

// server is a running `sekisho serve`.
type server struct {
	address string // host:port, kept when it is started again; the first one if there are several
	cmd     *exec.Cmd
	exited  chan error // has the result of Wait, once
}

func (s *server) running() bool { return s != nil && s.cmd != nil }

// died returns an error if the process ended without having been told to.
func (s *server) died() error {
	if !s.running() {
		return nil
	}
	select {
	case err := <-s.exited:
		s.cmd = nil
		return fmt.Errorf("the server ended by itself: %w", err)
	default:
		return nil
	}
}

// kill ends the process the hard way, if it runs, and waits for it.
func (s *server) kill() {
	if !s.running() {
		return
	}
	s.cmd.Process.Kill()
	<-s.exited
	s.cmd = nil
}

// cmdServe starts the server, waits until it answers and tells the script where and with which credentials:
// serve [flag...]. A server that was stopped or killed comes back at its old address with its old data. Further addresses
// that the flags open are in ADDRESS2, ADDRESS3 and so on. With tls.auto, CA is the file with the root.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg || w.server.running() {
		ts.Fatalf("usage: serve [flag...], once until it is stopped")
	}
	if w.server == nil {
		w.server = &server{address: "127.0.0.1:0"}
	}
	s := w.server
	data := ts.Getenv("DATA")
	addressFile := filepath.Join(data, "address")
	if err := os.Remove(addressFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		ts.Fatalf("%v", err)
	}
	log, err := os.OpenFile(ts.MkAbs(serverLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	cmd := exec.Command(w.sekisho, append([]string{"serve", "--data", data, "--listen", s.address}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(serverEnv(), "HOME="+ts.Getenv("HOME"))
	ts.Check(cmd.Start())
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }() // owned by kill and stop, which receive
	s.cmd, s.exited = cmd, exited

	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	root := ""
	if slices.Contains(args, "tls.auto=true") {
		root = filepath.Join(data, "ca", "ca.crt")
	}
	addresses, err := ready(ctx, addressFile, root, exited)
	if err != nil {
		s.kill()
		ts.Fatalf("starting the server: %v", err)
	}
	s.address = addresses[0]
	for i, address := range addresses[1:] {
		ts.Setenv("ADDRESS"+strconv.Itoa(i+2), address)
	}
	_, port, err := net.SplitHostPort(s.address)
	ts.Check(err)
	ts.Setenv("REGISTRY", s.address)
	ts.Setenv("LOCAL_REGISTRY", "localhost:"+port) // docker login speaks HTTP to this name only
	env := credentials(ts, w.sekisho, data, args)
	for key, value := range env {
		ts.Setenv(key, value)
	}
	ts.Setenv("CA", env["AWS_CA_BUNDLE"])
	ts.Setenv("SEKISHO_URL", env["AWS_ENDPOINT_URL"])
	ts.Setenv("ACCESS_KEY", ts.Getenv("AWS_ACCESS_KEY_ID"))
	ts.Setenv("SECRET", ts.Getenv("AWS_SECRET_ACCESS_KEY"))
	plain := []string{s.address, "localhost:" + port}
	if strings.HasPrefix(env["AWS_ENDPOINT_URL"], "https:") {
		plain = nil
	}
	ts.Check(configureContainers(ts.Getenv("HOME"), ts.Getenv("XDG_RUNTIME_DIR"), append(plain, addresses[1:]...)...))
}

// serverEnv is the environment without what would configure the server, and with a race being its end, so that no
// script succeeds in spite of one.
func serverEnv() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SEKISHO_") })
	return append(env, "GORACE=halt_on_error=1")
}

// ready waits for the address file and then for a 200 of /readyz at the first address, by TLS if there is a root to trust.
func ready(ctx context.Context, addressFile, root string, exited chan error) ([]string, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last := errors.New("no address was written")
	for {
		if b, err := os.ReadFile(addressFile); err == nil && len(b) > 0 {
			addresses := strings.Fields(string(b))
			client, scheme := http.DefaultClient, "http"
			if text, err := os.ReadFile(root); err == nil {
				pool := x509.NewCertPool()
				pool.AppendCertsFromPEM(text)
				client, scheme = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}, "https"
				defer client.CloseIdleConnections()
			}
			if last = get(ctx, client, scheme+"://"+addresses[0]+"/readyz"); last == nil {
				return addresses, nil
			}
		}
		select {
		case err := <-exited:
			exited <- err // for kill
			return nil, fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), last)
		case <-tick.C:
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// credentials reads what `sekisho env` prints for a shell. It is given the server's flags too: they may say how to reach it.
func credentials(ts *testscript.TestScript, sekisho, data string, flags []string) map[string]string {
	out, err := exec.Command(sekisho, append([]string{"env", "--data", data}, flags...)...).Output()
	ts.Check(err)
	env := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		assignment, ok := strings.CutPrefix(strings.TrimSpace(line), "export ")
		if !ok {
			continue
		}
		key, value, _ := strings.Cut(assignment, "=")
		if len(value) >= 2 && (value[0] == '\'' || value[0] == '"') && value[0] == value[len(value)-1] {
			value = value[1 : len(value)-1]
		}
		env[key] = value
	}
	for _, key := range []string{"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"} {
		if env[key] == "" {
			ts.Fatalf("sekisho env prints no %s:\n%s", key, out)
		}
	}
	return env
}

// cmdStop asks the server to end and wants it to, with status 0.
func cmdStop(ts *testscript.TestScript, neg bool, args []string) {
	s := worldOf(ts).server
	if neg || len(args) != 0 || !s.running() {
		ts.Fatalf("usage: stopserver, while it runs")
	}
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	select {
	case err := <-s.exited:
		s.cmd = nil
		if err != nil {
			ts.Fatalf("the server ended with %v", err)
		}
	case <-limit.C:
		s.kill()
		ts.Fatalf("the server had not ended after %v", stopLimit)
	}
}

// cmdKill9 kills the server: kill9 [MiB], the latter when so many have gone through the throttle from now on.
func cmdKill9(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg || len(args) > 1 || !w.server.running() {
		ts.Fatalf("usage: kill9 [MiB], while the server runs")
	}
	if len(args) == 1 {
		mib, err := strconv.ParseInt(args[0], 10, 64)
		ts.Check(err)
		if w.proxy == nil {
			ts.Fatalf("kill9 with an amount needs a throttle")
		}
		if err := w.proxy.wait(mib<<20, startLimit); err != nil {
			ts.Fatalf("waiting for %d MiB: %v", mib, err)
		}
	}
	w.server.kill()
}
