package pool_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/pool"
)

const account = "111122223333"

var (
	root   = &iam.Caller{Principal: iam.Principal{Account: account, ARN: iam.RootARN(account), Type: iam.Root}}
	alien  = &iam.Caller{Principal: iam.Principal{Account: "444455556666", ARN: iam.RootARN("444455556666"), Type: iam.Root}}
	nobody = &iam.Caller{Principal: iam.Principal{Account: account, ARN: "arn:aws:iam::" + account + ":user/nobody", Type: iam.User}}
)

// world is a service over a real database, with a clock of its own.
type world struct {
	*pool.Service
	t  *testing.T
	db *meta.DB

	mu      sync.Mutex
	at      time.Time // guarded by mu
	changes []string  // guarded by mu
	noted   []string  // guarded by mu
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		w := &world{t: t, db: db, at: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)}
		judge := &iam.Judge{Authorizer: iam.RootOnly{}, Note: func(c *iam.Caller, r *iam.Request, d iam.Decision) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.noted = append(w.noted, fmt.Sprint(c.Who(), " ", r.Action, " ", r.Resource.ARN, " ", d.Allowed))
		}}
		w.Service = pool.New(db, judge, pool.Options{Region: "eu-west-1", Now: w.now, OnChange: func(_ context.Context, tx *meta.Tx, ch pool.Change) error {
			tx.OnCommit(func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.changes = append(w.changes, ch.Action+" "+ch.ARN)
			})
			return nil
		}})
		test(t, w)
	})
}

func (w *world) create(name string, d pool.Draft) *pool.Pool {
	w.t.Helper()
	d.Name = name
	p, err := w.CreatePool(w.t.Context(), root, d)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func key(t *testing.T) []byte {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (w *world) register(p, name string, change func(j *pool.Join)) (*pool.Agent, error) {
	w.t.Helper()
	j := pool.Join{Pool: p, Name: name, PublicKey: key(w.t), Facts: pool.Facts{Version: "1.2", OS: "linux", Arch: "amd64", System: map[string]string{"git": "/usr/bin/git"}}}
	if change != nil {
		change(&j)
	}
	return w.Register(w.t.Context(), root, j)
}

func is(t *testing.T, what string, err error, kind pool.Kind) {
	t.Helper()
	if !errors.Is(err, pool.ErrOf(kind)) {
		t.Errorf("%s: %v, want an error of kind %d", what, err, kind)
	}
}

func TestPools(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.create("Builders", pool.Draft{Description: "for images", Cleanup: time.Hour})
		if p.ARN != "arn:aws:agents:eu-west-1:"+account+":pool/Builders" {
			t.Errorf("its ARN is %s", p.ARN)
		}
		_, err := w.CreatePool(ctx, root, pool.Draft{Name: "builders"})
		is(t, "the same name", err, pool.Exists)
		for _, name := range []string{"", " a", "a/b", "-a", strings.Repeat("a", 64), "a\n", "ä"} {
			_, err := w.CreatePool(ctx, root, pool.Draft{Name: name})
			is(t, fmt.Sprintf("the name %q", name), err, pool.Invalid)
		}
		other := w.create("other", pool.Draft{Open: true})
		_, err = w.UpdatePool(ctx, root, "other", pool.Edit{Name: new("BUILDERS")})
		is(t, "renamed to one that is there", err, pool.Exists)
		if got, err := w.UpdatePool(ctx, root, "OTHER", pool.Edit{Name: new("others"), Open: new(false)}); err != nil || got.Name != "others" || got.Open {
			t.Errorf("renamed: %+v, %v", got, err)
		}
		if _, err := w.UpdatePool(ctx, root, "builders", pool.Edit{Name: new("builders")}); err != nil {
			t.Errorf("another case of the same name: %v", err)
		}
		all, err := w.Pools(ctx, root)
		if err != nil || len(all) != 2 || all[0].Name != "builders" || all[0].Cleanup != time.Hour || all[1].ID != other.ID {
			t.Errorf("listed: %v %v", all, err)
		}

		// Pipelines.
		const pipeline = "0f5e1c1e-8f0b-4a55-9d34-0d3e3a9f3b11"
		may := func(name, id string) bool {
			ok, err := w.MayUse(ctx, account, name, id)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}
		if may("others", pipeline) || may("none", pipeline) {
			t.Error("nobody was permitted")
		}
		if err := w.PermitPipeline(ctx, root, "others", pipeline); err != nil {
			t.Fatal(err)
		}
		if err := w.PermitPipeline(ctx, root, "others", strings.ToUpper(pipeline)); err != nil {
			t.Fatal(err)
		}
		is(t, "no id", w.PermitPipeline(ctx, root, "others", "x"), pool.Invalid)
		if got, err := w.DescribePool(ctx, root, "others"); err != nil || !cmp.Equal(got.Pipelines, []string{pipeline}) || !may("OTHERS", pipeline) {
			t.Errorf("permitted: %+v %v", got, err)
		}
		if err := w.ForbidPipeline(ctx, root, "others", pipeline); err != nil || may("others", pipeline) {
			t.Errorf("forbidden: %v", err)
		}

		// Who may not.
		for what, call := range map[string]func(c *iam.Caller) error{
			"create": func(c *iam.Caller) error { _, err := w.CreatePool(ctx, c, pool.Draft{Name: "x"}); return err },
			"list":   func(c *iam.Caller) error { _, err := w.Pools(ctx, c); return err },
			"describe": func(c *iam.Caller) error {
				_, err := w.DescribePool(ctx, c, "builders")
				return err
			},
			"absent":   func(c *iam.Caller) error { _, err := w.DescribePool(ctx, c, "absent"); return err },
			"update":   func(c *iam.Caller) error { _, err := w.UpdatePool(ctx, c, "builders", pool.Edit{}); return err },
			"delete":   func(c *iam.Caller) error { return w.DeletePool(ctx, c, "builders") },
			"permit":   func(c *iam.Caller) error { return w.PermitPipeline(ctx, c, "builders", pipeline) },
			"agents":   func(c *iam.Caller) error { _, err := w.Agents(ctx, c, "builders"); return err },
			"code":     func(c *iam.Caller) error { _, err := w.CreateCode(ctx, c, "builders", "", false); return err },
			"rule":     func(c *iam.Caller) error { _, err := w.AddRule(ctx, c, "builders", pool.Rule{}); return err },
			"rules":    func(c *iam.Caller) error { _, err := w.Rules(ctx, c, "builders"); return err },
			"register": func(c *iam.Caller) error { _, err := w.Register(ctx, c, pool.Join{Pool: "builders"}); return err },
			"enable":   func(c *iam.Caller) error { return w.EnableAgent(ctx, c, "builders", "a", true) },
			"remove":   func(c *iam.Caller) error { return w.DeleteAgent(ctx, c, "builders", "a", true) },
			"demand":   func(c *iam.Caller) error { _, err := w.Demand(ctx, c, "builders", nil); return err },
		} {
			if _, ok := errors.AsType[*iam.DeniedError](call(nobody)); !ok {
				t.Errorf("%s by nobody: it is not refused", what)
			}
		}
		_, err = w.DescribePool(ctx, alien, "builders")
		is(t, "another account's", err, pool.NotFound)

		if err := w.DeletePool(ctx, root, "Others"); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Find(ctx, account, "others"); got != nil || err != nil {
			t.Errorf("deleted: %v %v", got, err)
		}
		if !slices.Contains(w.changes, "agents:DeletePool arn:aws:agents:eu-west-1:"+account+":pool/others") {
			t.Errorf("the record has %v", w.changes)
		}
	})
}

func TestAgents(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.create("builders", pool.Draft{})
		a, err := w.register("builders", "One", nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.Online || a.Refuses() != "offline" || !a.Enabled || a.Pool != "builders" {
			t.Errorf("made: %+v", a)
		}
		get := func() *pool.Agent {
			t.Helper()
			got, err := w.DescribeAgent(ctx, root, "builders", "ONE")
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		w.Heard(a.ID)
		if got := get(); !got.Online || got.Refuses() != "" {
			t.Errorf("heard of: %q", got.Refuses())
		}
		if err := w.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		w.advance(pool.OnlineWithin - time.Second)
		if !get().Online {
			t.Error("it is offline too soon")
		}
		w.advance(2 * time.Second)
		if get().Online {
			t.Error("it is online for too long")
		}
		w.Heard(a.ID)
		if err := w.EnableAgent(ctx, root, "builders", "one", false); err != nil || get().Refuses() != "disabled" {
			t.Errorf("disabled: %v", err)
		}
		if err := w.EnableAgent(ctx, root, "builders", "one", true); err != nil {
			t.Fatal(err)
		}
		if err := w.SetCapabilities(ctx, root, "builders", "one", map[string]string{"gpu": "a100"}); err != nil {
			t.Fatal(err)
		}
		if missing := get().Matches([]string{"GPU -equals A100", "git", "agent.os -equals Linux", "Agent.Version -gtVersion 1.1"}); missing != nil {
			t.Errorf("it lacks %v", missing)
		}
		is(t, "too long", w.SetCapabilities(ctx, root, "builders", "one", map[string]string{"x": strings.Repeat("x", 5000)}), pool.Invalid)

		// A job.
		update := func(f func(tx *meta.Tx) error) {
			t.Helper()
			if err := w.db.Update(ctx, f); err != nil {
				t.Fatal(err)
			}
		}
		update(func(tx *meta.Tx) error { return pool.Begin(ctx, tx, a.ID, "7.a", w.now()) })
		if got := get(); got.Job != "7.a" || got.Refuses() != "busy" {
			t.Errorf("with a job: %+v", got)
		}
		d, err := w.Demand(ctx, root, "builders", func(context.Context, *pool.Pool) (int, error) { return 3, nil })
		if err != nil || *d != (pool.Demand{Queued: 3, Busy: 1, Idle: 0, Desired: 4}) {
			t.Errorf("the demand is %+v, %v", d, err)
		}
		is(t, "deleted while it works", w.DeleteAgent(ctx, root, "builders", "one", false), pool.InUse)
		is(t, "removed while it works", w.Remove(ctx, root, a), pool.InUse)
		is(t, "its pool deleted", w.DeletePool(ctx, root, "builders"), pool.InUse)
		_, err = w.register("builders", "one", func(j *pool.Join) { j.Replace = true })
		is(t, "replaced while it works", err, pool.InUse)
		update(func(tx *meta.Tx) error { return pool.End(ctx, tx, a.ID, "other", true) })
		if !get().Busy() {
			t.Error("the end of another job ended this one")
		}
		update(func(tx *meta.Tx) error { return pool.End(ctx, tx, a.ID, "7.a", true) })
		if got := get(); got.Busy() || got.JobSince.IsZero() {
			t.Errorf("after the job: %+v", got)
		}

		// Reasons and goodbyes.
		if err := w.SetReason(ctx, a.ID, "disk: full"); err != nil || get().Refuses() != "disk: full" {
			t.Errorf("with a reason: %q, %v", get().Refuses(), err)
		}
		if err := w.Goodbye(ctx, a); err != nil || get().Online {
			t.Errorf("after goodbye: %v", err)
		}
		w.advance(time.Millisecond)
		w.Heard(a.ID)
		if !get().Online {
			t.Error("it came back and is offline")
		}
		_, err = w.register("builders", "one", nil)
		is(t, "a name that is taken", err, pool.Exists)
		again, err := w.register("builders", "one", func(j *pool.Join) { j.Replace = true })
		if err != nil || again.ID == a.ID {
			t.Errorf("replaced: %v %v", again, err)
		}
		if got, err := w.Agent(ctx, a.ID); got != nil || err != nil {
			t.Errorf("the one before: %v %v", got, err)
		}
		same, err := w.register("builders", "one", func(j *pool.Join) { j.PublicKey = again.PublicKey })
		if err != nil || same.ID != again.ID {
			t.Errorf("repeated: %v %v", same, err)
		}
		_, err = w.register("builders", "two", func(j *pool.Join) { j.PublicKey = again.PublicKey })
		is(t, "a key that is taken", err, pool.Exists)
		_, err = w.register("builders", "two", func(j *pool.Join) { j.PublicKey = []byte("x") })
		is(t, "a key that is none", err, pool.Invalid)
		_, err = w.register("none", "two", nil)
		is(t, "no pool", err, pool.NotFound)
		if !strings.Contains(err.Error(), "builders") {
			t.Errorf("it doesn't say which pools there are: %v", err)
		}
		if err := w.DeleteAgent(ctx, root, "builders", "one", false); err != nil {
			t.Error(err)
		}
		if err := w.DeletePool(ctx, root, "builders"); err != nil {
			t.Error(err)
		}
	})
}

func TestSweep(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.create("kept", pool.Draft{})
		w.create("tidy", pool.Draft{Cleanup: 24 * time.Hour})
		var ids []string
		for _, x := range []struct {
			pool, name string
			oneJob     bool
		}{{"kept", "long", false}, {"kept", "fresh", true}, {"kept", "used", true}, {"tidy", "old", false}, {"tidy", "here", false}} {
			a, err := w.register(x.pool, x.name, func(j *pool.Join) { j.OneJob = x.oneJob })
			if err != nil {
				t.Fatal(err)
			}
			w.Heard(a.ID)
			ids = append(ids, a.ID)
		}
		if err := w.db.Update(ctx, func(tx *meta.Tx) error { return pool.Begin(ctx, tx, ids[2], "j", w.now()) }); err != nil {
			t.Fatal(err)
		}
		names := func() (left []string) {
			for _, p := range []string{"kept", "tidy"} {
				agents, err := w.Agents(ctx, root, p)
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range agents {
					left = append(left, a.Name)
				}
			}
			return left
		}
		sweep := func(what string, after time.Duration, want ...string) {
			t.Helper()
			w.advance(after)
			w.Heard(ids[4])
			if _, err := w.Sweep(ctx); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, names()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		sweep("at once", 0, "fresh", "long", "used", "here", "old")
		sweep("one has a job", 5*time.Minute, "fresh", "long", "used", "here", "old")
		if err := w.db.Update(ctx, func(tx *meta.Tx) error { return pool.End(ctx, tx, ids[2], "j", true) }); err != nil {
			t.Fatal(err)
		}
		sweep("its job is over", 0, "fresh", "long", "here", "old")
		sweep("one for one job did not come back", 6*time.Minute, "long", "here", "old")
		sweep("a day later", 24*time.Hour, "long", "here")
		if !slices.Contains(w.changes, "agents:DeleteAgent arn:aws:agents:eu-west-1:"+account+":pool/tidy") {
			t.Errorf("the record has %v", w.changes)
		}
	})
}

// TestCodeOnce has many use one code at the same time.
func TestCodeOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.create("builders", pool.Draft{})
		code, err := w.CreateCode(ctx, root, "builders", "", false)
		if err != nil {
			t.Fatal(err)
		}
		if s := fmt.Sprintf("%v %+v", code, code); strings.Contains(s, code.Secret.Reveal()) {
			t.Error("a code prints itself")
		}
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			j := pool.Join{Name: fmt.Sprint("a", i), PublicKey: key(t)}
			wg.Go(func() { _, errs[i] = w.RegisterByCode(ctx, &iam.Caller{}, code.Secret.Reveal(), j) })
		}
		wg.Wait()
		good := 0
		for _, err := range errs {
			if err == nil {
				good++
			} else {
				is(t, "the others", err, pool.Refused)
			}
		}
		agents, err := w.Agents(ctx, root, "builders")
		if good != 1 || len(agents) != 1 || err != nil {
			t.Errorf("%d joined, there are %d: %v", good, len(agents), err)
		}
	})
}

func TestDemands(t *testing.T) {
	a := &pool.Agent{Name: "box", OS: "linux", Arch: "amd64", Version: "2.10.0", System: map[string]string{"docker": "/usr/bin/docker", "java": "17.0.2"}, Custom: map[string]string{"Zone": "a b"}}
	for _, x := range []struct {
		demand string
		met    bool
	}{
		{"docker", true}, {"DOCKER", true}, {"podman", false}, {"zone -equals a b", true}, {"zone -equals a", false}, {"Agent.OS -equals linux", true},
		{"Agent.OSArchitecture -equals X64", true}, {"Agent.Version -gtVersion 2.9", true}, {"Agent.Version -gtVersion 2.10.0", false},
		{"java -gtVersion 17", true}, {"docker -gtVersion 1", false}, {"docker -like x", false}, {"", false}, {"a b", false},
	} {
		if got := a.Matches([]string{x.demand}) == nil; got != x.met {
			t.Errorf("%q: met %t", x.demand, got)
		}
	}
	if pool.CheckDemand("a -equals b") != nil || pool.CheckDemand("a b") == nil {
		t.Error("demands are not told from others")
	}
}

func FuzzDemand(f *testing.F) {
	f.Add("docker", "x")
	f.Add("a -equals b", "b")
	f.Add("a -gtVersion 1.2", "1.3")
	f.Fuzz(func(t *testing.T, demand, value string) {
		a := &pool.Agent{System: map[string]string{"a": value}}
		missing := a.Matches([]string{demand})
		if pool.CheckDemand(demand) != nil && len(missing) == 0 {
			t.Errorf("%q is no demand and is met", demand)
		}
	})
}
