package githttp_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"log/slog"

	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/git/githttp"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
)

const childEnv = "SEKISHO_TEST_GIT_CHILD"

// TestCrashChild is the server that TestCrash kills.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		t.Skip("it is for TestCrash")
	}
	ctx := t.Context()
	db, err := meta.Open(ctx, "sqlite:"+filepath.Join(dir, "meta.db"), meta.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `CREATE TABLE IF NOT EXISTS test_told (ref TEXT, old TEXT, new TEXT)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, path: filepath.Join(dir, "git"), identity: map[string]string{"root": policyOf(`{"Effect":"Allow","Action":"*","Resource":"*"}`)}}
	s := git.New(db, &iam.Judge{Authorizer: w, Note: func(*iam.Caller, *iam.Request, iam.Decision) {}}, job.New(db, job.Options{}), git.Options{
		Region: "eu-west-1", Path: w.path,
		OnPush: func(ctx context.Context, tx *meta.Tx, p git.Push) error {
			for _, u := range p.Updates {
				if _, err := tx.Exec(ctx, `INSERT INTO test_told (ref, old, new) VALUES ($1, $2, $3)`, u.Ref, u.Old, u.New); err != nil {
					return err
				}
			}
			return nil
		},
	})
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find(ctx, app); err != nil {
		if _, err := s.Create(ctx, caller("root"), git.Draft{Name: app}); err != nil {
			t.Fatal(err)
		}
	}
	server := &githttp.Server{Git: s, Auth: w, Account: account}
	srv := httptest.NewServer(httpx.New(server.Serve, httpx.Options{Logger: slog.New(slog.DiscardHandler)}))
	fmt.Println("listening " + srv.URL)
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the end of the test
}

func startChild(t *testing.T, dir string) (cmd *exec.Cmd, url string) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), "listening "); ok {
			return cmd, rest
		}
		printed.WriteString(lines.Text() + "\n")
	}
	_ = cmd.Wait()
	t.Fatalf("the server did not start: %s", printed.String())
	return nil, ""
}

// TestCrash kills the server while three clients push. What was acknowledged is there afterwards, and was told; and what was
// told last is what is there.
func TestCrash(t *testing.T) {
	needGit(t)
	dir := t.TempDir()
	const pushers = 3
	rounds := 4
	if soak, err := time.ParseDuration(os.Getenv("SEKISHO_SOAK")); err == nil {
		rounds = max(rounds, int(soak.Seconds()/3))
	} else if testing.Short() || raceDetector {
		rounds = 1
	}
	trees := make([]string, pushers)
	for i := range trees {
		trees[i] = t.TempDir()
		must(t, trees[i], "init", "-q")
		commit(t, trees[i], "f", "0")
	}
	acked := make([]string, pushers) // the last acknowledged commits
	var all []string                 // "ref hash" of all; guarded by mu
	var mu sync.Mutex
	for round := range rounds {
		cmd, url := startChild(t, dir)
		kill := make(chan struct{})
		var once sync.Once
		var wg sync.WaitGroup
		acks := 0
		for i := range pushers {
			wg.Go(func() {
				w := &world{t: t, url: url}
				ref := fmt.Sprintf("refs/heads/b%d", i)
				for n := 0; ; n++ {
					hash := commit(t, trees[i], "f", fmt.Sprint(round, " ", n))
					if _, ok := run(t, trees[i], "push", "-q", w.remote("root", "team/app"), "HEAD:"+ref); !ok {
						return
					}
					mu.Lock()
					acked[i] = hash
					all = append(all, ref+" "+hash)
					if acks++; acks == 4+round*3 { // somewhere in the others' pushes
						once.Do(func() { close(kill) })
					}
					mu.Unlock()
				}
			})
		}
		<-kill
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		wg.Wait()
	}
	cmd, url := startChild(t, dir)
	w := &world{t: t, url: url}
	refs := map[string]string{}
	for line := range strings.Lines(must(t, trees[0], "ls-remote", w.remote("root", "team/app"), "refs/heads/*")) {
		hash, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		refs[name] = hash
	}
	for i, hash := range acked {
		must(t, trees[i], "fetch", "-q", w.remote("root", "team/app"), fmt.Sprintf("b%d", i))
		if _, ok := run(t, trees[i], "merge-base", "--is-ancestor", hash, "FETCH_HEAD"); !ok {
			t.Errorf("b%d: an acknowledged push is lost: %s", i, hash)
		}
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Wait()
	db, err := meta.Open(t.Context(), "sqlite:"+filepath.Join(dir, "meta.db"), meta.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(t.Context(), `SELECT ref, old, new FROM test_told ORDER BY rowid`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	told, last := map[string]bool{}, map[string]string{}
	for rows.Next() {
		var ref, before, now string
		if err := rows.Scan(&ref, &before, &now); err != nil {
			t.Fatal(err)
		}
		if known := last[ref]; known != "" && known != before {
			t.Errorf("%s: told %s after %s", ref, before, known)
		}
		told[ref+" "+now], last[ref] = true, now
	}
	for _, push := range all {
		if !told[push] {
			t.Errorf("it was not told of %s", push)
		}
	}
	for name, hash := range refs {
		if last[name] != hash {
			t.Errorf("%s is %s, and was told to be %s", name, hash, last[name])
		}
	}
	t.Logf("%d pushes in %d lives", len(all), rounds)
	if matches, _ := filepath.Glob(filepath.Join(dir, "git", "*.git")); len(matches) == 1 {
		must(t, matches[0], "fsck", "--full", "--no-dangling")
	}
}

// A client that goes takes what runs for it along.
func TestDisconnect(t *testing.T) {
	w := newWorld(t, nil)
	w.create(app)
	started := make(chan struct{})
	body := &stalling{head: []byte("00820000000000000000000000000000000000000000 1111111111111111111111111111111111111111 refs/heads/main\x00 report-status side-band-64k"), started: started, stop: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", w.url+"/git/team/app/git-receive-pack", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-git-receive-pack-request")
	req.SetBasicAuth("root", "secret")
	done := make(chan error, 1)
	go func() {
		res, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			_ = res.Body.Close()
		}
		done <- err
	}()
	<-started
	cancel()
	close(body.stop)
	if err := <-done; err == nil {
		t.Error("it was answered")
	}
}

type stalling struct {
	head    []byte
	once    sync.Once
	started chan struct{}
	stop    chan struct{}
}

func (s *stalling) Read(p []byte) (int, error) {
	if len(s.head) > 0 {
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	s.once.Do(func() { close(s.started) })
	<-s.stop
	return 0, context.Canceled
}
