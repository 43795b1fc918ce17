package decide_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/decide"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// TestAtOnce: what is taken away on one node is refused by the next request on another.
func TestAtOnce(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		one := start(t, db, decide.Options{})
		two := one
		if db.Dialect() == meta.PostgreSQL {
			two = newNode(t, db, decide.Options{})
		}
		ctx := t.Context()
		manage := func(err error) {
			t.Helper()
			one.must(err)
		}
		user := directory.UserNamed("alice")
		alice := one.user("alice", allow("ecr:PutImage", ""))
		expect := func(when string, want bool) {
			t.Helper()
			for i, n := range []*node{two, one} {
				if d := n.ask(alice, on("ecr:PutImage", app)); d.Allowed != want {
					t.Errorf("%s, node %d: %+v", when, 2-i, d)
				}
			}
		}
		expect("at first", true)
		manage(one.dir.PutInlinePolicy(ctx, root(account), user, "never", statement("Deny", "ecr:PutImage", "")))
		expect("denied", false)
		manage(one.dir.DeleteInlinePolicy(ctx, root(account), user, "never"))
		expect("no longer denied", true)
		manage(one.dir.DeleteInlinePolicy(ctx, root(account), user, "own"))
		expect("policy deleted", false)
		p, err := one.dir.CreatePolicy(ctx, root(account), directory.NewPolicy{Name: "push", Document: allow("ecr:PutImage", "")})
		manage(err)
		manage(one.dir.AttachPolicy(ctx, root(account), user, p.ARN))
		expect("attached", true)
		_, err = one.dir.CreatePolicyVersion(ctx, root(account), p.ARN, allow("ecr:ListImages", ""), true)
		manage(err)
		expect("another version", false)
		manage(one.dir.SetDefaultPolicyVersion(ctx, root(account), p.ARN, "v1"))
		expect("the old version", true)
		manage(one.dir.DetachPolicy(ctx, root(account), user, p.ARN))
		expect("detached", false)
		_, err = one.dir.CreateGroup(ctx, root(account), "g", "")
		manage(err)
		manage(one.dir.AttachPolicy(ctx, root(account), directory.GroupNamed("g"), p.ARN))
		manage(one.dir.AddUserToGroup(ctx, root(account), "g", "alice"))
		expect("in a group", true)
		manage(one.dir.RemoveUserFromGroup(ctx, root(account), "g", "alice"))
		expect("out of the group", false)

		// The key ends with the user, and a new user of that name has none of it.
		if _, _, err := two.keys.Secret(ctx, alice.AccessKeyID, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
		manage(one.dir.DeleteAccessKey(ctx, root(account), "alice", alice.AccessKeyID))
		if _, _, err := two.keys.Secret(ctx, alice.AccessKeyID, netip.Addr{}); err == nil {
			t.Error("the key of a deleted user can be used")
		}
		manage(one.dir.DeleteUser(ctx, root(account), "alice"))
		one.user("alice", allow("ecr:PutImage", ""))
		expect("deleted and made again", false)
	})
}

// TestUnreadable: what can't be read is an error, and allows nothing.
func TestUnreadable(t *testing.T) {
	db := metatest.Open(t, metatest.PostgreSQL(t))
	n := start(t, db, decide.Options{})
	alice := n.user("alice", allow("ecr:*", ""))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.must(db.Close())
	d := n.auth.Authorize(ctx, alice, on("ecr:PutImage", app))
	if d.Allowed || d.Err == nil {
		t.Errorf("%+v", d)
	}
	if err := n.judge.Check(ctx, alice, on("ecr:PutImage", app)); err == nil {
		t.Error("allowed")
	} else if _, denied := err.(*iam.DeniedError); denied {
		t.Errorf("refused: %v", err)
	}
}
