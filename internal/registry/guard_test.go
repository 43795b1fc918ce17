package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/registry"
)

// policyFor is a policy that lets one account do something.
func policyFor(account, action string) string {
	return fmt.Sprintf(`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": "%s"}, "Action": "ecr:%s"}}`, account, action)
}

// guardNodes are nodes of one instance, as they run.
func guardNodes(t *testing.T, dsn string) []*registry.Local {
	t.Helper()
	n := 1
	if strings.HasPrefix(dsn, "postgres") {
		n = nodesOnPostgreSQL
	}
	store := memory(t)
	var nodes []*registry.Local
	for range n {
		db := metatest.Open(t, dsn)
		nodes = append(nodes, local(t, db, store, registry.Options{UploadKey: uploadKey, Generation: iam.NewGeneration(db)}))
	}
	return nodes
}

func documents(g *registry.Guard) (all []string) {
	for _, n := range g.Policies {
		all = append(all, n.Name+" "+n.Policy.Document())
	}
	return all
}

// TestGuard: what decides changes with the answer to whoever changed it, on every node.
func TestGuard(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		nodes := guardNodes(t, dsn)
		calls := 0
		next := func() *registry.Local { calls++; return nodes[calls%len(nodes)] }
		want := func(repo registry.Repo, tags map[string]string, policies ...string) {
			t.Helper()
			for range 2 * len(nodes) {
				g, err := next().Guard(t.Context(), nil, repo)
				if err != nil {
					t.Fatal(err)
				}
				var named []string
				for _, p := range policies {
					named = append(named, "repository policy "+p)
				}
				if diff := cmp.Diff(named, documents(g)); diff != "" {
					t.Errorf("%s: policies %s", repo.Name, diff)
				}
				if len(tags) != len(g.Tags) || len(tags) > 0 && !cmp.Equal(tags, g.Tags) {
					t.Errorf("%s: tags %v, want %v", repo.Name, g.Tags, tags)
				}
			}
		}
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		a, b := policyFor("444455556666", "BatchGetImage"), policyFor("444455556666", "PutImage")
		for range 3 {
			want(app, nil)
			want(registry.Repo{Account: account}, nil)
			ok(second(next().CreateRepository(t.Context(), nil, app, registry.RepositorySettings{}, map[string]string{"team": "x"})))
			want(app, map[string]string{"team": "x"})
			ok(next().SetRepositoryPolicy(t.Context(), nil, app, a, false))
			want(app, map[string]string{"team": "x"}, a)
			ok(next().TagRepository(t.Context(), nil, app, map[string]string{"team": "y"}, nil))
			want(app, map[string]string{"team": "y"}, a)
			ok(next().SetRepositoryPolicy(t.Context(), nil, app, b, false))
			want(app, map[string]string{"team": "y"}, b)
			ok(second(next().DeleteRepositoryPolicy(t.Context(), nil, app)))
			want(app, map[string]string{"team": "y"})
			ok(next().TagRepository(t.Context(), nil, app, nil, []string{"team"}))
			want(app, nil)
			ok(next().SetRepositoryPolicy(t.Context(), nil, app, a, false))
			want(app, nil, a)
			want(registry.Repo{Account: account}, nil)
			ok(second(next().DeleteRepository(t.Context(), nil, app, true)))
		}
	})
}

// TestGuardCoherent: while many ask all the time, nobody is told of a policy after its deletion was answered.
func TestGuardCoherent(t *testing.T) {
	metatest.EachDSN(t, func(t *testing.T, dsn string) {
		nodes := guardNodes(t, dsn)
		if _, err := nodes[0].CreateRepository(t.Context(), nil, app, registry.RepositorySettings{}, nil); err != nil {
			t.Fatal(err)
		}
		var done, stop atomic.Int64 // number of policies set and answered
		var wg sync.WaitGroup
		read := func(l *registry.Local) {
			least := done.Load()
			g, err := l.Guard(t.Context(), nil, app)
			if err != nil || len(g.Policies) > 1 {
				t.Errorf("Guard = %v, %v", g, err)
				return
			}
			var n int64
			for _, p := range g.Policies {
				if _, err := fmt.Sscanf(p.Policy.Document(), `{"Id": "%d"`, &n); err != nil {
					t.Error(err)
				}
			}
			if n < least {
				t.Errorf("policy %d after %d was answered", n, least)
			}
		}
		for _, l := range nodes {
			wg.Go(func() {
				for stop.Load() == 0 && !t.Failed() {
					read(l)
				}
			})
		}
		for n := range int64(30) {
			p := fmt.Sprintf(`{"Id": "%d", "Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}}`, n+1)
			if err := nodes[int(n)%len(nodes)].SetRepositoryPolicy(t.Context(), nil, app, p, false); err != nil {
				t.Error(err)
			}
			done.Store(n + 1)
			for _, l := range nodes {
				read(l)
			}
		}
		stop.Store(1)
		wg.Wait()
	})
}

// engine is an Authorizer over the policies of resources, and identity policies by ARN.
type engine map[string]string

func (e engine) Authorize(_ context.Context, c *iam.Caller, r *iam.Request) iam.Decision {
	q := &policy.Request{Action: r.Action, Resource: r.Resource.ARN, ResourceAccount: r.Resource.Account}
	keys := policy.MapContext{}
	if c != nil {
		q.Principal = policy.Principal{Type: policy.User, ARN: c.ARN, Account: c.Account}
		if c.Endpoint != "" {
			keys["aws:sourcevpce"] = []string{c.Endpoint}
		} else if c.SourceIP.IsValid() {
			keys["aws:sourceip"] = []string{c.SourceIP.String()}
		}
	}
	for k, v := range r.Keys {
		keys[k] = v
	}
	for k, v := range r.Resource.Tags {
		keys["aws:resourcetag/"+strings.ToLower(k)] = []string{v}
	}
	q.Context = keys
	p := &policy.Policies{Resource: r.Resource.Policies}
	if c != nil && e[c.ARN] != "" {
		own, err := policy.Parse([]byte(e[c.ARN]), policy.Identity)
		if err != nil {
			panic(err)
		}
		p.Identity = []policy.Named{{Name: "own", Policy: own}}
	}
	d := policy.Decide(q, p)
	return iam.Decision{Allowed: d.Outcome == policy.Allowed, Explicit: d.Outcome == policy.ExplicitDeny,
		Reason: fmt.Sprintf("because of %v in %s, statement %s", d.Outcome, d.Policy, d.Statement)}
}

func user(account, name string) *iam.Caller {
	return (&iam.Principal{Account: account, ARN: "arn:aws:iam::" + account + ":user/" + name, Type: iam.User}).Caller()
}

// guarded is a registry behind the choke point, with policies.
func guarded(t *testing.T, e engine) (*registry.Local, registry.Registry) {
	t.Helper()
	db := metatest.Open(t, metatest.SQLite(t))
	l := local(t, db, memory(t), registry.Options{UploadKey: bytes.Repeat([]byte("k"), 32), Generation: iam.NewGeneration(db)})
	j := judge(e, new(notes).note)
	j.Guard = l.Guard
	return l, registry.Authorize(l, j)
}

func BenchmarkGuard(b *testing.B) {
	db := metatest.Open(b, metatest.SQLite(b))
	l := local(b, db, memory(b), registry.Options{UploadKey: uploadKey, Generation: iam.NewGeneration(db)})
	c := user(account, "someone")
	c.Arrived = time.Now()
	if _, err := l.CreateRepository(b.Context(), nil, app, registry.RepositorySettings{}, map[string]string{"a": "b"}); err != nil {
		b.Fatal(err)
	}
	if err := l.SetRepositoryPolicy(b.Context(), nil, app, policyFor(account, "*"), false); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if g, err := l.Guard(b.Context(), c, app); err != nil || len(g.Policies) != 1 {
			b.Fatal(g, err)
		}
	}
}
