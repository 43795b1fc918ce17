package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/agentapi"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/iam/oidc/oidctest"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	testAccount = "111122223333"
	testRegion  = "eu-west-1"
	workerEnv   = "AGENT_TEST_WORKER"
)

// TestMain is also the worker's process, and the agent's.
func TestMain(m *testing.M) {
	switch os.Getenv(workerEnv) {
	case "worker":
		if err := Work(context.Background(), os.Stdin, scripted); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "agent":
		_ = os.Setenv(workerEnv, "")
		err := Folder(os.Args[1]).Run(context.Background(), RunOptions{Worker: []string{os.Args[0]}, WorkerEnv: []string{workerEnv + "=worker"}, Console: os.Stdout, Version: "1"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Asking all tools that a developer has for their versions takes longer than the tests.
	_ = os.Setenv("PATH", "/usr/bin:/bin")
	os.Exit(m.Run())
}

// scripted runs a job whose steps say what to do, in place of a worker.
func scripted(ctx context.Context, job *work.Job, server work.Server, at Place, _ <-chan struct{}) (work.Result, string, error) {
	for i, step := range job.Steps {
		n, _ := strconv.Atoi(step.Inputs["n"])
		switch step.Task {
		case "log": // n lines
			offset := int64(0)
			for k := range n {
				line := fmt.Appendf(nil, "%s line %d\n", step.ID, k)
				_, _ = os.Stdout.Write(line)
				size, err := server.AppendLog(ctx, step.ID, offset, line)
				if err != nil {
					return work.Failed, "", err
				}
				offset = size
			}
		case "wait": // until it is cancelled
			if _, err := server.AppendLog(ctx, step.ID, 0, []byte("waiting\n")); err != nil {
				return work.Failed, "", err
			}
			<-ctx.Done()
			return work.Canceled, context.Cause(ctx).Error(), nil
		case "hang": // whatever it is told
			if _, err := server.AppendLog(ctx, step.ID, 0, []byte("hanging\n")); err != nil {
				return work.Failed, "", err
			}
			select {}
		case "crash":
			os.Exit(3)
		case "panic":
			panic("a fault")
		case "file":
			text := strings.Repeat("x", n)
			if err := server.PutFile(ctx, "drop", "pipeline", "a/b.txt", int64(n), io.MultiReader(strings.NewReader(text))); err != nil {
				return work.Failed, "", err
			}
			if err := server.FinishArtifact(ctx, "drop", "pipeline", map[string]string{"k": "v"}); err != nil {
				return work.Failed, "", err
			}
			f, err := server.GetFile(ctx, 0, "drop", "a/b.txt")
			if err != nil {
				return work.Failed, "", err
			}
			back, err := io.ReadAll(f)
			_ = f.Close()
			if err != nil || string(back) != text {
				return work.Failed, "", fmt.Errorf("read back %d bytes of %d: %v", len(back), n, err)
			}
		case "place":
			if _, err := server.AppendLog(ctx, step.ID, 0, []byte(at.Name+" "+job.Server+"\n")); err != nil {
				return work.Failed, "", err
			}
		}
		if err := server.Update(ctx, []work.Record{{Step: step.ID, Sequence: int64(i + 1), State: work.Completed, Result: work.Succeeded}}); err != nil {
			return work.Failed, "", err
		}
	}
	return work.Succeeded, "", nil
}

// queue is a queue of jobs in memory.
type queue struct {
	mu        sync.Mutex
	wake      chan struct{}                // guarded by mu; closed and replaced when something changes
	waiting   []*work.Job                  // guarded by mu
	claims    map[agentapi.Claim]string    // guarded by mu; state: offered, held, done, released, lost
	results   map[string]string            // guarded by mu; by job
	logs      map[string][]byte            // guarded by mu; by job and log
	records   map[string][]work.Record     // guarded by mu; by job
	files     map[string][]byte            // guarded by mu
	cancelled map[string]bool              // guarded by mu
	finished  map[string]map[string]string // guarded by mu; artifacts
}

func newQueue() *queue {
	return &queue{
		wake: make(chan struct{}), claims: map[agentapi.Claim]string{}, results: map[string]string{}, logs: map[string][]byte{},
		records: map[string][]work.Record{}, files: map[string][]byte{}, cancelled: map[string]bool{}, finished: map[string]map[string]string{},
	}
}

func (q *queue) changedLocked() {
	close(q.wake)
	q.wake = make(chan struct{})
}

func (q *queue) add(job *work.Job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, job)
	q.changedLocked()
}

// until waits for a condition, which is asked with mu held.
func (q *queue) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	for {
		q.mu.Lock()
		ok, wake := is(), q.wake
		q.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-wake:
		case <-ctx.Done():
			t.Fatalf("%s: it does not happen", what)
		}
	}
}

func (q *queue) Acquire(ctx context.Context, a *pool.Agent) (*work.Job, error) {
	for {
		q.mu.Lock()
		if len(q.waiting) > 0 {
			job := *q.waiting[0]
			q.waiting = q.waiting[1:]
			job.Attempt++
			for k := range q.claims {
				if k.Job == job.ID && k.Attempt >= job.Attempt {
					job.Attempt = k.Attempt + 1
				}
			}
			q.claims[agentapi.Claim{Job: job.ID, Attempt: job.Attempt, Agent: a.ID}] = "offered"
			q.changedLocked()
			q.mu.Unlock()
			return &job, nil
		}
		wake := q.wake
		q.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *queue) set(c agentapi.Claim, state string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.claims[c]; s != "offered" && s != "held" {
		return work.ErrClaimLost
	}
	q.claims[c] = state
	q.changedLocked()
	return nil
}

func (q *queue) Acknowledge(_ context.Context, c agentapi.Claim) error { return q.set(c, "held") }

func (q *queue) Renew(_ context.Context, c agentapi.Claim) (agentapi.Lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.claims[c] != "held" {
		return agentapi.Lease{}, work.ErrClaimLost
	}
	return agentapi.Lease{Cancel: q.cancelled[c.Job], Reason: "root cancelled it"}, nil
}

func (q *queue) Complete(_ context.Context, c agentapi.Claim, result work.Result, message string) error {
	if err := q.set(c, "done"); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if before := q.results[c.Job]; before != "" {
		return fmt.Errorf("%s has the result %s already", c.Job, before)
	}
	q.results[c.Job] = strings.TrimSpace(string(result) + " " + message)
	q.changedLocked()
	return nil
}

func (q *queue) Release(_ context.Context, c agentapi.Claim, cause string) error {
	if err := q.set(c, "released"); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.results[c.Job] = "released " + cause
	q.changedLocked()
	return nil
}

func (q *queue) Queued(context.Context, string, string) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting), nil
}

func (q *queue) Server(c agentapi.Claim) work.Server { return &queueServer{q: q, c: c} }

// queueServer is the queue to a job.
type queueServer struct {
	work.Server // what is not here is not asked
	q           *queue
	c           agentapi.Claim
}

func (s *queueServer) claimed() error {
	if s.q.claims[s.c] != "held" {
		return work.ErrClaimLost
	}
	return nil
}

func (s *queueServer) Update(_ context.Context, records []work.Record) error {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	if err := s.claimed(); err != nil {
		return err
	}
	s.q.records[s.c.Job] = append(s.q.records[s.c.Job], records...)
	s.q.changedLocked()
	return nil
}

func (s *queueServer) AppendLog(_ context.Context, log string, offset int64, data []byte) (int64, error) {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	if err := s.claimed(); err != nil {
		return 0, err
	}
	key := s.c.Job + "/" + log
	have := s.q.logs[key]
	if offset > int64(len(have)) {
		return 0, &agentapi.GapError{Size: int64(len(have))}
	}
	over := min(int64(len(have))-offset, int64(len(data)))
	if !bytes.Equal(have[offset:offset+over], data[:over]) {
		return 0, &agentapi.GapError{Size: int64(len(have))}
	}
	s.q.logs[key] = append(have, data[over:]...)
	s.q.changedLocked()
	return int64(len(s.q.logs[key])), nil
}

func (s *queueServer) PutFile(_ context.Context, artifact, _, name string, size int64, r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	if err := s.claimed(); err != nil {
		return err
	}
	if int64(len(text)) != size {
		return errors.New("another size")
	}
	s.q.files[artifact+"/"+name] = text
	return nil
}

func (s *queueServer) FinishArtifact(_ context.Context, artifact, _ string, properties map[string]string) error {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	s.q.finished[artifact] = properties
	return s.claimed()
}

func (s *queueServer) Files(_ context.Context, _ int64, artifact string) iter.Seq2[work.File, error] {
	return func(yield func(work.File, error) bool) {
		s.q.mu.Lock()
		names := slices.Sorted(maps.Keys(s.q.files))
		s.q.mu.Unlock()
		for _, name := range names {
			if rest, ok := strings.CutPrefix(name, artifact+"/"); ok && !yield(work.File{Name: rest}, nil) {
				return
			}
		}
	}
}

func (s *queueServer) GetFile(_ context.Context, _ int64, artifact, name string) (io.ReadCloser, error) {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	text, ok := s.q.files[artifact+"/"+name]
	if !ok {
		return nil, work.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}

// world is a server with pools and a queue.
type world struct {
	t      *testing.T
	db     *meta.DB
	keys   *iam.Service
	root   *iam.Caller
	secret string // id:secret of root
	pools  *pool.Service
	queue  *queue
	issuer *oidctest.Issuer
	users  *directory.Service

	mu      sync.Mutex
	skew    time.Duration // guarded by mu; of the server's clock
	changes []string      // guarded by mu

	addr   string
	server *agentapi.Server
	stop   func()
	wrap   func(http.Handler) http.Handler
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.skew)
}

// userKey makes an access key of a user.
func (w *world) userKey(name string) (id, secret string) {
	w.t.Helper()
	if w.users == nil {
		w.users = directory.New(w.db, w.keys, &iam.Judge{Authorizer: iam.RootOnly{}, Note: func(*iam.Caller, *iam.Request, iam.Decision) {}}, directory.Options{Now: w.now})
	}
	if _, err := w.users.CreateUser(w.t.Context(), w.root, directory.NewUser{Name: name}); err != nil {
		w.t.Fatal(err)
	}
	key, err := w.users.CreateAccessKey(w.t.Context(), w.root, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return key.ID, key.Secret.Reveal()
}

func newWorld(t *testing.T) *world { return newWorldOn(t, metatest.Open(t, metatest.SQLite(t))) }

func newWorldOn(t *testing.T, db *meta.DB) *world {
	t.Helper()
	ring, err := seal.New(bytes.Repeat([]byte{5}, seal.MasterKeySize))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, queue: newQueue(), issuer: oidctest.New(t)}
	if w.keys, err = iam.New(db, ring, w.now); err != nil {
		t.Fatal(err)
	}
	_, key, err := w.keys.Bootstrap(t.Context(), testAccount)
	if err != nil {
		t.Fatal(err)
	}
	w.secret = key.ID + ":" + key.Secret.Reveal()
	w.root = &iam.Caller{Principal: iam.Principal{Account: testAccount, ARN: iam.RootARN(testAccount), Type: iam.Root}}
	tokens, err := oidc.New(oidc.Options{Roots: w.issuer.Roots(), Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	w.pools = pool.New(db, &iam.Judge{Authorizer: iam.RootOnly{}, Note: func(*iam.Caller, *iam.Request, iam.Decision) {}}, pool.Options{
		Region: testRegion, Now: w.now, Tokens: tokens,
		OnChange: func(_ context.Context, tx *meta.Tx, ch pool.Change) error {
			tx.OnCommit(func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.changes = append(w.changes, ch.Action+" "+ch.ARN+" "+ch.Detail)
			})
			return nil
		},
	})
	if _, err := w.pools.CreatePool(t.Context(), w.root, pool.Draft{Name: "builders"}); err != nil {
		t.Fatal(err)
	}
	w.start("127.0.0.1:0")
	t.Cleanup(func() { w.stop() })
	return w
}

// start serves; again, after stop, it is another process as far as agents can tell.
func (w *world) start(addr string) {
	w.t.Helper()
	w.server = agentapi.New(agentapi.Options{
		Pools: w.pools, Jobs: w.queue, Keys: w.keys, Secrets: [][]byte{bytes.Repeat([]byte{7}, 32)}, Region: testRegion, Account: testAccount,
		Version: "1", Now: w.now,
	})
	h := httpx.New(w.server.Serve, httpx.Options{Logger: slog.New(slog.DiscardHandler)})
	dated := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Date", w.now().UTC().Format(http.TimeFormat))
		if w.wrap != nil {
			w.wrap(h).ServeHTTP(rw, r)
			return
		}
		h.ServeHTTP(rw, r)
	})
	srv := httpx.NewServer(dated, httpx.ServerOptions{Logger: slog.New(slog.DiscardHandler)})
	if err := srv.Listen(w.t.Context(), addr); err != nil {
		w.t.Fatal(err)
	}
	w.addr = srv.Addrs()[0].String()
	srv.OnShutdown(w.server.Stop)
	done := make(chan error, 1)
	go func() { done <- srv.Serve() }()
	w.stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
		<-done
	}
}

func (w *world) url() string { return "http://" + w.addr }

// configure makes an agent in a new folder.
func (w *world) configure(name string, change func(o *ConfigureOptions)) (Folder, error) {
	w.t.Helper()
	f := Folder(w.t.TempDir())
	o := ConfigureOptions{
		Answers:    Answers{License: true, URL: w.url(), Auth: AuthPAT, Token: w.secret, Pool: "builders", Name: name},
		Unattended: true, Version: "1", Out: io.Discard,
	}
	if change != nil {
		change(&o)
	}
	return f, f.Configure(w.t.Context(), o)
}

func (w *world) agent(name string) *pool.Agent {
	w.t.Helper()
	a, err := w.pools.DescribeAgent(w.t.Context(), w.root, "builders", name)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// console is what an agent shows.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer  // guarded by mu
	wake chan struct{} // guarded by mu
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
	return c.text.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func (c *console) until(t *testing.T, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	for {
		c.mu.Lock()
		if strings.Contains(c.text.String(), text) {
			c.mu.Unlock()
			return
		}
		if c.wake == nil {
			c.wake = make(chan struct{})
		}
		wake := c.wake
		c.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			t.Fatalf("the agent does not say %q; it said:\n%s", text, c)
		}
	}
}

// running is an agent at work in this process; its jobs have processes of their own.
type running struct {
	console *console
	signals chan struct{}
	done    chan error
}

func (w *world) run(f Folder, change func(o *RunOptions)) *running {
	w.t.Helper()
	r := &running{console: &console{}, signals: make(chan struct{}, 4), done: make(chan error, 1)}
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	o := RunOptions{
		Worker: []string{self}, WorkerEnv: []string{workerEnv + "=worker"}, Version: "1", Console: r.console, Signals: r.signals,
		renewEvery: 300 * time.Millisecond, wait: 5 * time.Second,
	}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		r.done <- f.Run(ctx, o)
		close(r.done)
	}()
	w.t.Cleanup(func() {
		cancel()
		close(r.signals)
		for range r.done { //nolint:revive // until it has ended
		}
	})
	return r
}

func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(40 * time.Second):
		t.Fatalf("the agent does not end; it said:\n%s", r.console)
		return nil
	}
}

// cutter passes connections on to the server, and cuts them as it is told.
type cutter struct {
	l  net.Listener
	to string

	mu    sync.Mutex
	conns map[net.Conn]bool // guarded by mu
	down  bool              // guarded by mu
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{l: l, to: to, conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		_ = l.Close()
		c.cut(true)
	})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go c.pass(in)
		}
	}()
	return c
}

func (c *cutter) pass(in net.Conn) {
	out, err := net.Dial("tcp", c.to)
	c.mu.Lock()
	if err != nil || c.down {
		c.mu.Unlock()
		_ = in.Close()
		if err == nil {
			_ = out.Close()
		}
		return
	}
	c.conns[in], c.conns[out] = true, true
	c.mu.Unlock()
	go func() {
		_, _ = io.Copy(out, in)
		_ = out.Close()
	}()
	_, _ = io.Copy(in, out)
	_ = in.Close()
	_ = out.Close()
	c.mu.Lock()
	delete(c.conns, in)
	delete(c.conns, out)
	c.mu.Unlock()
}

// cut ends all connections, and lets no others be made while down is set.
func (c *cutter) cut(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
	for conn := range c.conns {
		_ = conn.Close()
	}
}

func step(id, task string, n int) work.Step {
	return work.Step{ID: id, Task: task, Inputs: map[string]string{"n": strconv.Itoa(n)}}
}

func lines(id string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s line %d\n", id, i)
	}
	return b.String()
}

// nowIn is a clock that is ahead.
func nowIn(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
