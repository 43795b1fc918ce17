package scale

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/agentapi"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	testAccount = "111122223333"
	testRegion  = "eu-west-1"
	testPool    = "builders"
	testName    = "test-host"
	roleEnv     = "SCALE_TEST_ROLE"
)

// TestMain is also an agent, and the worker of one.
func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "worker":
		if err := agent.Work(context.Background(), os.Stdin, scripted); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "agent":
		os.Exit(once(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// once does what sekisho agent once does.
func once(args []string) int {
	folder := ""
	for i := 0; i+1 < len(args); i++ {
		switch args[i] {
		case "--folder":
			folder = args[i+1]
		case "--alive":
			fd, _ := strconv.Atoi(args[i+1])
			KeepAlive(fd)
		}
	}
	l, err := agent.ReadLaunch(os.Stdin)
	if err == nil {
		self, _ := os.Executable()
		err = agent.Folder(folder).Launch(context.Background(), l, agent.RunOptions{
			Worker: []string{self}, WorkerEnv: []string{roleEnv + "=worker"}, Version: "1", Console: os.Stdout,
		})
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// scripted is the worker: a job ends when the server takes its log.
func scripted(ctx context.Context, _ *work.Job, server work.Server, _ agent.Place, _ <-chan struct{}) (work.Result, string, error) {
	return work.Succeeded, "", server.Update(ctx, []work.Record{{Step: "a", Sequence: 1, State: work.Completed, Result: work.Succeeded}})
}

// queue is a queue of jobs in memory, whose agents are busy in the pool.
type queue struct {
	db *meta.DB

	mu      sync.Mutex
	wake    chan struct{}             // guarded by mu; closed and replaced when something changes
	waiting []string                  // guarded by mu
	held    map[string]agentapi.Claim // guarded by mu; by job
	holders map[string]string         // guarded by mu; agents' names by job
	hold    map[string]chan struct{}  // guarded by mu; by job: it runs until that is closed
	results map[string]string         // guarded by mu; by job
	most    int                       // guarded by mu; jobs at the same time
}

func (q *queue) changedLocked() {
	close(q.wake)
	q.wake = make(chan struct{})
}

// add queues jobs that run until they are let go.
func (q *queue) add(jobs ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, job := range jobs {
		q.hold[job] = make(chan struct{})
	}
	q.waiting = append(q.waiting, jobs...)
	q.changedLocked()
}

func (q *queue) letGo(jobs ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, job := range jobs {
		close(q.hold[job])
	}
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
		wake := q.wake
		if len(q.waiting) > 0 {
			job := q.waiting[0]
			q.waiting = q.waiting[1:]
			err := q.db.Update(ctx, func(tx *meta.Tx) error { return pool.Begin(ctx, tx, a.ID, job, time.Now()) })
			if err != nil {
				q.waiting = append([]string{job}, q.waiting...)
				q.mu.Unlock()
				if errors.Is(err, pool.ErrGone) {
					return nil, nil
				}
				return nil, err
			}
			q.held[job], q.holders[job] = agentapi.Claim{Job: job, Attempt: 1, Agent: a.ID}, a.Name
			q.most = max(q.most, len(q.held))
			q.changedLocked()
			q.mu.Unlock()
			return &work.Job{ID: job, DisplayName: job, Attempt: 1}, nil
		}
		q.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *queue) Watch(string, string) (<-chan struct{}, func()) {
	out, end := make(chan struct{}), make(chan struct{})
	go func() {
		for {
			q.mu.Lock()
			wake := q.wake
			q.mu.Unlock()
			select {
			case <-wake:
			case <-end:
				return
			}
			select {
			case out <- struct{}{}:
			case <-end:
				return
			}
		}
	}()
	return out, sync.OnceFunc(func() { close(end) })
}

func (q *queue) end(ctx context.Context, c agentapi.Claim, result string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held[c.Job] != c {
		return work.ErrClaimLost
	}
	if err := q.db.Update(ctx, func(tx *meta.Tx) error { return pool.End(ctx, tx, c.Agent, c.Job, true) }); err != nil {
		return err
	}
	delete(q.held, c.Job)
	q.results[c.Job] = result
	q.changedLocked()
	return nil
}

func (q *queue) Acknowledge(context.Context, agentapi.Claim) error { return nil }

func (q *queue) Renew(_ context.Context, c agentapi.Claim) (agentapi.Lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held[c.Job] != c {
		return agentapi.Lease{}, work.ErrClaimLost
	}
	return agentapi.Lease{}, nil
}

func (q *queue) Complete(ctx context.Context, c agentapi.Claim, result work.Result, message string) error {
	return q.end(ctx, c, strings.TrimSpace(string(result)+" "+message))
}

func (q *queue) Release(ctx context.Context, c agentapi.Claim, cause string) error {
	return q.end(ctx, c, "released "+cause)
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

// Update ends when the job may.
func (s *queueServer) Update(ctx context.Context, _ []work.Record) error {
	s.q.mu.Lock()
	hold := s.q.hold[s.c.Job]
	s.q.mu.Unlock()
	select {
	case <-hold:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// world is a server with a pool and a queue.
type world struct {
	t      *testing.T
	pools  *pool.Service
	queue  *queue
	root   *iam.Caller
	key    *iam.AccessKey
	url    string
	folder string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := metatest.Open(t, metatest.SQLite(t))
	ring, err := seal.New(bytes.Repeat([]byte{5}, seal.MasterKeySize))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, folder: filepath.Join(t.TempDir(), "scale"), queue: &queue{
		db: db, wake: make(chan struct{}), held: map[string]agentapi.Claim{}, holders: map[string]string{}, hold: map[string]chan struct{}{}, results: map[string]string{},
	}}
	keys, err := iam.New(db, ring, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, w.key, err = keys.Bootstrap(t.Context(), testAccount); err != nil {
		t.Fatal(err)
	}
	w.root = &iam.Caller{Principal: iam.Principal{Account: testAccount, ARN: iam.RootARN(testAccount), Type: iam.Root}}
	w.pools = pool.New(db, &iam.Judge{Authorizer: iam.RootOnly{}, Note: func(*iam.Caller, *iam.Request, iam.Decision) {}}, pool.Options{Region: testRegion})
	if _, err := w.pools.CreatePool(t.Context(), w.root, pool.Draft{Name: testPool}); err != nil {
		t.Fatal(err)
	}
	api := agentapi.New(agentapi.Options{
		Pools: w.pools, Jobs: w.queue, Keys: keys, Secrets: [][]byte{bytes.Repeat([]byte{7}, 32)}, Region: testRegion, Account: testAccount, Version: "1",
		Watch: w.queue.Watch,
	})
	h := httpx.New(api.Serve, httpx.Options{Logger: slog.New(slog.DiscardHandler)})
	srv := httpx.NewServer(http.HandlerFunc(h.ServeHTTP), httpx.ServerOptions{Logger: slog.New(slog.DiscardHandler)})
	if err := srv.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	srv.OnShutdown(api.Stop)
	done := make(chan error, 1)
	go func() { done <- srv.Serve() }()
	w.url = "http://" + srv.Addrs()[0].String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
		<-done
	})
	return w
}

// agents returns the names of the agents in the pool.
func (w *world) agents() []string {
	w.t.Helper()
	list, err := w.pools.Agents(w.t.Context(), w.root, testPool)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, a := range list {
		names = append(names, a.Name)
	}
	return names
}

// folders returns the names of the agents that have folders.
func (w *world) folders() []string {
	w.t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.folder, agentsFolder))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// lines is what a scaler says.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer  // guarded by mu
	wake chan struct{} // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// until waits for a line with all of the texts.
func (l *lines) until(t *testing.T, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	for {
		l.mu.Lock()
		for line := range strings.Lines(l.text.String()) {
			if !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(line, s) }) {
				l.mu.Unlock()
				return
			}
		}
		if l.wake == nil {
			l.wake = make(chan struct{})
		}
		wake := l.wake
		l.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			t.Fatalf("the scaler does not say %q; it said:\n%s", texts, l)
		}
	}
}

// running is a scaler at work.
type running struct {
	said   *lines
	words  chan struct{}
	kill   context.CancelFunc
	result chan error
}

func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.result:
		return err
	case <-time.After(40 * time.Second):
		t.Fatalf("the scaler does not end; it said:\n%s", r.said)
		return nil
	}
}

// owner returns who scales, with root's key.
func (w *world) owner(auth string) *agent.Owner {
	w.t.Helper()
	o, err := agent.NewOwner(agent.OwnerOptions{
		Route: agent.Route{URL: w.url}, Auth: auth, Version: "1", Token: func() (string, error) { return w.key.ID + ":" + w.key.Secret.Reveal(), nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(o.Close)
	return o
}

// scale starts a scaler; by default its agents are processes of the test's program.
func (w *world) scale(change func(o *Options)) *running {
	w.t.Helper()
	r := &running{said: &lines{}, words: make(chan struct{}, 4), result: make(chan error, 1)}
	changed := make(chan struct{}, 1)
	o := Options{
		Server: w.owner(agent.AuthPAT), Template: w.processes(func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		}),
		Kind: KindProcess, Folder: w.folder, Name: testName, Launch: agent.Launch{Server: w.url, Pool: testPool}, Limits: Limits{Max: 2},
		StartWithin: 3 * time.Minute, Log: slog.New(slog.NewTextHandler(r.said, nil)), Status: r.said, Changed: changed, Stop: r.words,
	}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.kill = cancel
	go func() { r.result <- Run(ctx, o); close(r.result) }()
	w.t.Cleanup(func() {
		cancel()
		for range r.result { //nolint:revive // until it has ended
		}
	})
	return r
}

// processes is the template whose agents are processes of the test's program.
func (w *world) processes(changed func()) *Process {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := NewProcess(ProcessOptions{
		Folder: w.folder, Command: []string{self}, Changed: changed,
		// No tools are looked for, and nothing of the scaler is there.
		Env: []string{roleEnv + "=agent", "PATH=/nonexistent", "SEKISHO_TOKEN=secret", "HOME=" + w.t.TempDir()},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { // of a test that failed
		for _, name := range w.folders() {
			if text, err := os.ReadFile(filepath.Join(w.folder, agentsFolder, name, pidFile)); err == nil && p.runs(name) {
				if pid, err := strconv.Atoi(string(text)); err == nil {
					_ = syscall.Kill(-pid, syscall.SIGKILL)
				}
			}
		}
	})
	return p
}

var _ io.Writer = (*lines)(nil)
