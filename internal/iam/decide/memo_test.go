package decide_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/decide"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// What is remembered is what would be decided: an Authorizer that has answered thousands of questions answers the next as one that
// has answered none, whichever fact of them is another.
func TestMemo(t *testing.T) {
	n := start(t, metatest.Open(t, metatest.SQLite(t)), decide.Options{Endpoints: map[string]policy.Named{}})
	documents := []string{
		allow("ecr:*", ""),
		allow("ecr:*", `{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`),
		allow("ecr:*", `{"StringEquals":{"aws:SourceVpce":"vpce-0a1b2c3d"}}`),
		allow("ecr:*", `{"StringEquals":{"aws:ResourceTag/team":"a"}}`),
		allow("ecr:*", `{"StringEquals":{"ecr:ResourceTag/team":"a"}}`),
		allow("ecr:*", `{"StringEquals":{"aws:RequestTag/team":"a"}}`),
		allow("ecr:*", `{"StringLike":{"aws:UserAgent":"docker*"}}`),
		allow("ecr:*", `{"Bool":{"aws:SecureTransport":"true"}}`),
		allow("ecr:Put*", `{"StringEquals":{"aws:PrincipalTag/Team":"role"}}`),
	}
	var callers []*iam.Caller
	for i, d := range documents {
		callers = append(callers, n.user(fmt.Sprint("u", i), d, directory.Tag{Key: "Team", Value: []string{"role", "x"}[i%2]}), n.role(fmt.Sprint("r", i), d))
	}
	var resources [][]policy.Named
	for _, d := range []string{"", `{"Statement":[{"Effect":"Deny","Principal":"*","Action":"ecr:PutImage","Condition":{"Null":{"aws:SourceVpce":"true"}}}]}`,
		`{"Statement":[{"Effect":"Deny","Principal":"*","Action":"ecr:*","Condition":{"StringNotEquals":{"aws:ResourceTag/team":"a"}}}]}`} {
		var list []policy.Named
		if d != "" {
			p, err := policy.Parse([]byte(d), policy.Resource)
			n.must(err)
			list = []policy.Named{{Name: "repository policy", Policy: p}}
		}
		resources = append(resources, list)
	}
	full, err := decide.FullAccess()
	n.must(err)
	o := decide.Options{Now: func() time.Time { return t0 }, Region: "eu-west-1", Endpoints: map[string]policy.Named{"vpce-0a1b2c3d": full}}
	old := decide.New(n.dir, n.keys.Generation(), o)
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(of int) int { return random.IntN(of) }
	allowed := 0
	for range 20_000 {
		c := *callers[pick(len(callers))]
		c.SourceIP = []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("192.0.2.1"), {}}[pick(3)]
		c.Endpoint = []string{"", "vpce-0a1b2c3d", "vpce-00000000"}[pick(3)]
		c.SecureTransport = pick(2) == 0
		c.UserAgent = []string{"docker/28", "curl/8"}[pick(2)]
		r := iam.Request{Action: []string{"ecr:PutImage", "ecr:BatchGetImage", "iam:GetUser"}[pick(3)], Resource: iam.Resource{
			ARN: []string{app, app + "2"}[pick(2)], Account: account, Policies: resources[pick(len(resources))],
			Tags: []map[string]string{nil, {"team": "a"}, {"team": "b"}}[pick(3)],
		}, Keys: []map[string][]string{nil, {"aws:requesttag/team": {"a"}}, {"aws:requesttag/team": {"b"}}}[pick(3)]}
		got := old.Authorize(t.Context(), &c, &r)
		want := decide.New(n.dir, n.keys.Generation(), o).Authorize(t.Context(), &c, &r)
		if got.Allowed != want.Allowed || got.Reason != want.Reason {
			t.Fatalf("remembered: %+v; decided: %+v, for %+v asking %+v", got, want, c, r)
		}
		if got.Allowed {
			allowed++
		}
	}
	if allowed < 1000 {
		t.Errorf("only %d were allowed: this tests nothing", allowed)
	}
	// A change to a policy is not outlived by what was remembered.
	c, r := callers[0], &iam.Request{Action: "ecr:PutImage", Resource: iam.Resource{ARN: app, Account: account}}
	if !old.Authorize(t.Context(), c, r).Allowed {
		t.Fatal("refused")
	}
	n.must(n.dir.DeleteInlinePolicy(t.Context(), root(account), directory.UserNamed("u0"), "own"))
	if old.Authorize(t.Context(), c, r).Allowed {
		t.Error("still allowed")
	}
}

// What is remembered keeps no policies in memory that nobody will ask by again.
func TestMemoForgets(t *testing.T) {
	n := start(t, metatest.Open(t, metatest.SQLite(t)), decide.Options{})
	alice := n.user("alice", allow("*", ""))
	var kept atomic.Int64
	for range 50 {
		p := parse(t, policy.Resource, "policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`)
		kept.Add(1)
		runtime.AddCleanup(p.Policy, func(int) { kept.Add(-1) }, 0)
		r := on("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-west-1:"+account+":secret:a-123456")
		r.Resource.Policies = []policy.Named{p} // as read for this request
		if !n.ask(alice, r).Allowed {
			t.Fatal("refused")
		}
		guard := parse(t, policy.Resource, "policy", p.Policy.Document())
		kept.Add(1)
		runtime.AddCleanup(guard.Policy, func(int) { kept.Add(-1) }, 0)
		r = on("ecr:PutImage", app)
		r.Resource.Policies = []policy.Named{guard} // as read for this generation
		if !n.ask(alice, r).Allowed {
			t.Fatal("refused")
		}
		n.must(n.dir.SetTags(t.Context(), root(account), directory.UserNamed("alice"), []directory.Tag{{Key: "a", Value: "b"}}))
	}
	for deadline := time.Now().Add(10 * time.Second); kept.Load() > 10; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatalf("%d policies of 100 are still there", kept.Load())
		}
		runtime.Gosched()
	}
	runtime.KeepAlive(n)
}

func BenchmarkMemo(b *testing.B) { // with nothing remembered: each question is another
	n, alice, r := pusher(b, metatest.Open(b, metatest.SQLite(b)))
	requests := make([]iam.Request, 40_000)
	for i := range requests {
		requests[i] = *r
		requests[i].Resource.ARN = fmt.Sprint(r.Resource.ARN, i)
	}
	i := 0
	for b.Loop() {
		n.auth.Authorize(b.Context(), alice, &requests[i%len(requests)])
		i++
	}
}
