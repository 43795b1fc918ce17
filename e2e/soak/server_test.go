package soak

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sekisho/sekisho/internal/api/client"
)

// patience is how long anything may take that is waited for. Nothing is faster or slower for it: it ends a test that hangs.
const patience = 10 * time.Minute

// built is the folder of the program that was built, if it was.
var built string

// program builds the program under test, once for all tests.
var program = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("SEKISHO_E2E_BINARY"); path != "" {
		return path, nil
	}
	var err error
	if built, err = os.MkdirTemp("", "soak"); err != nil {
		return "", err
	}
	path := filepath.Join(built, "sekisho")
	args := []string{"build", "-o", path}
	if raceDetector {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "../../cmd/sekisho")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// server is a `sekisho serve` that is killed and comes back at its address with its data.
type server struct {
	t       testing.TB
	program string
	data    string
	args    []string
	log     string

	api *client.Client

	mu      sync.Mutex
	address string        // guarded by mu; host:port, "" before the first start
	life    int           // guarded by mu; how often it was started
	up      chan struct{} // guarded by mu; closed while it runs
	cmd     *exec.Cmd     // guarded by mu
	exited  chan error    // guarded by mu; has the result of Wait, once
}

func newServer(t testing.TB, dir string, args ...string) *server {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, program: path, data: filepath.Join(dir, "data"), args: args, log: filepath.Join(dir, "server.log"), up: make(chan struct{})}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			text, _ := os.ReadFile(s.log)
			t.Logf("the end of the server's log:\n%s", text[max(0, len(text)-20_000):])
		}
	})
	s.start()
	s.api = s.newClient()
	return s
}

// plainEnv is the environment without what would configure the program.
func plainEnv() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SEKISHO_") })
	return append(env, "GORACE=halt_on_error=1")
}

// start starts it and returns when it is ready.
func (s *server) start() {
	s.t.Helper()
	addressFile := filepath.Join(s.data, "address")
	if err := os.Remove(addressFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	listen := s.address
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	cmd := exec.Command(s.program, append([]string{"serve", "--data", s.data, "--listen", listen, "--log-level", "warn"}, s.args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, plainEnv()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd, s.exited = cmd, make(chan error, 1)
	go func(exited chan<- error) { exited <- cmd.Wait() }(s.exited)
	if s.address, err = ready(addressFile, s.exited); err != nil {
		s.t.Fatalf("start the server: %v", err)
	}
	s.life++
	close(s.up)
}

// ready waits for the address file, and for a 200 of /readyz there.
func ready(addressFile string, exited chan error) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(addressFile); err == nil && len(text) > 0 {
			address := strings.Fields(string(text))[0]
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
			if err != nil {
				return "", err
			}
			if resp, err := http.DefaultClient.Do(req); err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					return address, nil
				}
			}
		}
		select {
		case err := <-exited:
			exited <- err // for kill
			return "", fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return "", ctx.Err()
		case <-tick.C:
		}
	}
}

// kill ends it the hard way, if it runs.
func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	s.up = make(chan struct{})
	select {
	case err := <-s.exited:
		s.t.Errorf("the server ended by itself: %v", err)
	default:
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	s.cmd = nil
	if s.api != nil {
		s.api.HTTP.CloseIdleConnections()
	}
}

// await waits until the server runs, and returns which life of it that is.
func (s *server) await(ctx context.Context) (life int, err error) {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	select {
	case <-up:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life, nil
}

// alive reports whether a life of the server goes on.
func (s *server) alive(life int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd != nil && s.life == life
}

func (s *server) url() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "http://" + s.address
}

// newClient returns a client with the root access key.
func (s *server) newClient() *client.Client {
	s.t.Helper()
	cmd := exec.Command(s.program, append([]string{"env", "--data", s.data}, s.args...)...)
	cmd.Env = plainEnv()
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("sekisho env: %v", err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if assignment, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
			key, value, _ := strings.Cut(assignment, "=")
			env[key] = strings.Trim(value, `'"`)
		}
	}
	return &client.Client{
		Server: s.url(), Region: env["AWS_REGION"], HTTP: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}},
		Credentials: aws.Credentials{AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"]},
	}
}

// call calls an operation that must succeed.
func (s *server) call(operation string, in, out any) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.api.Call(ctx, operation, in, out); err != nil {
		s.t.Fatalf("%s: %v", operation, err)
	}
}
