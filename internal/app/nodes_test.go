package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent"
	agentwork "github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/agent/worker"
	"github.com/sekisho/sekisho/internal/blob/blobtest/s3server"
	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/run"
)

// workerEnv has the test's program be an agent's worker.
const workerEnv = "SEKISHO_TEST_WORKER"

func workerChild() error {
	return agent.Work(context.Background(), os.Stdin, func(ctx context.Context, job *agentwork.Job, server agentwork.Server, at agent.Place, drop <-chan struct{}) (agentwork.Result, string, error) {
		message := ""
		result, err := worker.Run(ctx, job, server, worker.Options{
			Work: at.Work, Agent: worker.Agent{ID: at.ID, Name: at.Name, Version: at.Version, Home: at.Home}, Drop: drop, Message: func(text string) { message = text },
		})
		return result, message, err
	})
}

// nodes is an instance of several nodes behind something that takes each request to another one.
type nodes struct {
	t    *testing.T
	all  []*whole
	root *iam.Caller
	url  string

	mu   sync.Mutex
	r    *rand.Rand // guarded by mu
	down []bool     // guarded by mu
}

func serveNodes(t *testing.T, n int) *nodes {
	s := &nodes{t: t, r: rand.New(rand.NewPCG(1, 2)), down: make([]bool, n)}
	dsn, bucket, shared := metatest.PostgreSQL(t), s3server.Start(t), t.TempDir()
	var to []*url.URL
	transport := &http.Transport{}
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			s.mu.Lock()
			defer s.mu.Unlock()
			k := s.r.IntN(n)
			for s.down[k] {
				k = (k + 1) % n
			}
			r.SetURL(to[k])
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	front := httptest.NewServer(proxy)
	s.url = front.URL
	for range n {
		w := serveWhole(t, filepath.Join(t.TempDir(), "data"), "SEKISHO_DATABASE_URL="+dsn, "SEKISHO_MASTER_KEY="+strings.Repeat("5", 64), "SEKISHO_GIT_PATH="+shared,
			"SEKISHO_PUBLIC_URL="+front.URL, "SEKISHO_BLOBS_URL=s3://"+bucket.Bucket, "SEKISHO_BLOBS_S3_ENDPOINT="+bucket.Endpoint, "SEKISHO_BLOBS_S3_REGION="+bucket.Region,
			"SEKISHO_BLOBS_S3_PATH_STYLE=true", "SEKISHO_BLOBS_S3_ACCESS_KEY_ID="+bucket.AccessKeyID, "SEKISHO_BLOBS_S3_SECRET_ACCESS_KEY="+bucket.SecretAccessKey)
		u, err := url.Parse("http://" + w.addr)
		if err != nil {
			t.Fatal(err)
		}
		s.all, to = append(s.all, w), append(to, u)
	}
	t.Cleanup(func() { // before the nodes end
		front.Close()
		transport.CloseIdleConnections()
	})
	account := s.all[0].in.Account
	s.root = (&iam.Principal{Account: account, ARN: iam.RootARN(account), Type: iam.Root, ID: account}).Caller()
	return s
}

// stop ends a node; nothing is sent there from then on.
func (s *nodes) stop(k int) {
	s.t.Helper()
	s.mu.Lock()
	s.down[k] = true
	s.mu.Unlock()
	if err := s.all[k].end(); err != nil {
		s.t.Error(err)
	}
}

// push commits a pipeline and pushes it, which starts a run.
func (s *nodes) push(dir, pipeline string) {
	s.t.Helper()
	writeAll(s.t, filepath.Join(dir, "azure-pipelines.yml"), pipeline)
	remote, err := url.Parse(s.url + "/git/web/app")
	if err != nil {
		s.t.Fatal(err)
	}
	remote.User = url.UserPassword(s.all[0].user, s.all[0].pass)
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"commit", "-q", "-m", "change"}, {"push", "-q", remote.String(), "main"}} {
		if out, ok := gitProgram(s.t, dir, args...); !ok {
			s.t.Fatalf("git %v: %s", args, out)
		}
	}
}

// newest waits for the newest run, of at least n.
func (s *nodes) newest(k, n int) *run.Run {
	s.t.Helper()
	var r *run.Run
	until(s.t, func() error {
		list, _, err := s.all[k].in.Runs.List(s.t.Context(), s.root, run.Query{Project: "web"})
		if err == nil && len(list) < n {
			err = fmt.Errorf("there are %d runs", len(list))
		}
		if err == nil {
			r = list[0]
		}
		return err
	})
	return r
}

// end follows a run on a node, and returns how it ended.
func (s *nodes) end(k int, id int64) *run.Tree {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	runs := s.all[k].in.Runs
	for _, err := range runs.Watch(ctx, s.root, id, 0) {
		if err != nil {
			tree, _ := runs.Tree(s.t.Context(), s.root, id)
			s.t.Fatalf("run %d: %v: %+v", id, err, tree)
		}
	}
	tree, err := runs.Tree(s.t.Context(), s.root, id)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, g := range tree.Stages {
		for _, p := range g.Jobs {
			for _, l := range p.Legs {
				if len(l.Attempts) != 1 {
					s.t.Errorf("%s took %d attempts: %+v", l.ID, len(l.Attempts), l.Attempts[0])
				}
			}
		}
	}
	return tree
}

// log returns what the steps of a job logged.
func (s *nodes) log(k int, id int64, job string) string {
	s.t.Helper()
	runs, ctx := s.all[k].in.Runs, s.t.Context()
	list, err := runs.Logs(ctx, s.root, id, job, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	var all bytes.Buffer
	for _, l := range list {
		for offset := int64(0); ; {
			part, err := runs.ReadLog(ctx, s.root, id, run.LogRef{Job: job, Log: l.Log}, offset, 1<<20)
			if err != nil {
				s.t.Fatal(err)
			}
			if len(part.Data) == 0 {
				break
			}
			all.Write(part.Data)
			offset += int64(len(part.Data))
		}
	}
	return all.String()
}

var stamp = regexp.MustCompile(`(?m)^\S+Z `)

// counted checks that a log has lines from 1 to n, each once and in their order.
func (s *nodes) counted(k int, id int64, job, format string, n int) {
	s.t.Helper()
	var want bytes.Buffer
	for i := range n {
		fmt.Fprintf(&want, format+"\n", i+1)
	}
	if got := stamp.ReplaceAllString(s.log(k, id, job), ""); strings.Count(got, want.String()) != 1 {
		s.t.Errorf("node %d: the log of %s has %d bytes, and not these %d in it", k, job, len(got), want.Len())
	}
}

const counting = `
trigger: [main]
pool: builders
stages:
- stage: A
  jobs:
  - job: Count
    steps:
    - bash: |
        for i in $(seq 1 4000); do echo "line $i of it"; done
        echo "##vso[task.setvariable variable=sum;isOutput=true]4000"
        echo hello > $(Build.ArtifactStagingDirectory)/hello.txt
      name: count
    - publish: $(Build.ArtifactStagingDirectory)
      artifact: drop
- stage: B
  jobs:
  - job: Read
    variables: {sum: "$[ stageDependencies.A.Count.outputs['count.sum'] ]"}
    steps:
    - checkout: none
    - download: current
      artifact: drop
    - bash: echo "the sum is $(sum), the file says $(cat $(Pipeline.Workspace)/drop/hello.txt)"
`

const waiting = `
trigger: [main]
pool: builders
steps:
- bash: echo waiting; sleep 300
`

const slow = `
trigger: [main]
pool: builders
steps:
- bash: for i in $(seq 1 2000); do echo "slow $i of it"; test $((i % 20)) -ne 0 || sleep 0.02; done
`

// TestNodes has an agent work for two nodes over PostgreSQL and S3, each of its calls going to any of them; one of them is stopped while
// a job runs.
func TestNodes(t *testing.T) {
	s := serveNodes(t, 2)
	ctx := t.Context()
	a, b := s.all[0].in, s.all[1].in
	if _, err := a.Projects.CreateProject(ctx, s.root, project.NewProject{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Git.Create(ctx, s.root, git.Draft{Name: git.Name{Account: a.Account, Project: "web", Repo: "app"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Projects.CreatePipeline(ctx, s.root, "web", project.NewPipeline{Name: "build", Repository: "web/app"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Pools.CreatePool(ctx, s.root, pool.Draft{Name: "builders", Open: true}); err != nil {
		t.Fatal(err)
	}
	folder := agent.Folder(t.TempDir())
	said := &lines{}
	err := folder.Configure(ctx, agent.ConfigureOptions{
		Answers:    agent.Answers{License: true, URL: s.url, Auth: agent.AuthPAT, Token: s.all[0].user + ":" + s.all[0].pass, Pool: "builders", Name: "one"},
		Unattended: true, Version: "1", Out: said, Environ: []string{"PATH=/usr/bin:/bin"},
	})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	signals, done := make(chan struct{}, 4), make(chan error, 1)
	go func() {
		done <- folder.Run(context.Background(), agent.RunOptions{
			Worker: []string{self}, WorkerEnv: []string{workerEnv + "=1"}, Version: "1", Console: said, Signals: signals, Environ: []string{"PATH=/usr/bin:/bin"},
		})
	}()
	t.Cleanup(func() {
		for range 3 {
			signals <- struct{}{}
		}
		if err := <-done; err != nil {
			t.Errorf("the agent: %v", err)
		}
		if t.Failed() {
			t.Log(said.String())
		}
	})
	dir := t.TempDir()

	s.push(dir, counting)
	tree := s.end(1, s.newest(1, 1).ID)
	if tree.Result != agentwork.Succeeded {
		t.Errorf("the first run %s", tree.Result)
	}
	for k := range s.all { // packed by one of them, read by both
		s.counted(k, tree.ID, tree.Stages[0].Jobs[0].Legs[0].ID, "line %d of it", 4000)
		if got := s.log(k, tree.ID, tree.Stages[1].Jobs[0].Legs[0].ID); !strings.Contains(got, "the sum is 4000, the file says hello") {
			t.Errorf("node %d: the second job says %s", k, got)
		}
	}

	// Cancelled at each of the nodes, whichever the agent is in touch with.
	for k := range s.all {
		s.push(dir, waiting+fmt.Sprintf("# %d\n", k))
		r := s.newest(1-k, 2+k)
		until(t, func() error {
			tree, err := s.all[1-k].in.Runs.Tree(ctx, s.root, r.ID)
			if err == nil && (len(tree.Stages) == 0 || !strings.Contains(s.log(1-k, r.ID, tree.Stages[0].Jobs[0].Legs[0].ID), "waiting\n")) {
				err = errors.New("the job does not begin")
			}
			return err
		})
		if err := s.all[k].in.Runs.Cancel(ctx, s.root, r.ID, run.CancelRequest{}); err != nil {
			t.Fatal(err)
		}
		if tree := s.end(1-k, r.ID); tree.Result != agentwork.Canceled {
			t.Errorf("cancelled, the run %s", tree.Result)
		}
	}

	s.push(dir, slow)
	r := s.newest(1, 4)
	until(t, func() error {
		tree, err := b.Runs.Tree(ctx, s.root, r.ID)
		if err == nil && (len(tree.Stages) == 0 || !strings.Contains(s.log(1, r.ID, tree.Stages[0].Jobs[0].Legs[0].ID), "slow 100 of it\n")) {
			err = errors.New("the job does not go on")
		}
		return err
	})
	s.stop(0)
	tree = s.end(1, r.ID)
	if tree.Result != agentwork.Succeeded {
		t.Errorf("the last run %s", tree.Result)
	}
	s.counted(1, tree.ID, tree.Stages[0].Jobs[0].Legs[0].ID, "slow %d of it", 2000)
}
