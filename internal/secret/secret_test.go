package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/secret"
)

func token(n int) string { return fmt.Sprintf("%032d", n) }

// value returns the value of a version, or why there is none.
func (w *world) value(id, version, stage string) string {
	w.t.Helper()
	r, err := w.Get(w.t.Context(), root, id, version, stage)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(r.Value.Reveal())
}

func (w *world) put(id, value string, n int, stages ...string) []string {
	w.t.Helper()
	_, version, labels, err := w.Put(w.t.Context(), root, id, secret.Text(value), token(n), stages)
	if err != nil || version != token(n) {
		w.t.Fatalf("put %s: %q, %v", value, version, err)
	}
	return labels
}

func TestLifeOfASecret(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		x, version, err := w.Create(t.Context(), root, secret.Draft{
			Name: "prod/db", Description: "the database", KMSKeyID: "alias/mine", Tags: map[string]string{"team": "a"},
			Value: secret.Text("one"), Token: token(1),
		})
		if err != nil || version != token(1) {
			t.Fatal(version, err)
		}
		if !regexp.MustCompile(`^arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-[A-Za-z0-9]{6}$`).MatchString(x.ARN) {
			t.Errorf("ARN %s", x.ARN)
		}
		for _, id := range []string{"prod/db", x.ARN, strings.TrimSuffix(x.ARN, x.ARN[len(x.ARN)-7:])} {
			if got := w.value(id, "", ""); got != "one" {
				t.Errorf("%s: %s", id, got)
			}
		}
		if labels := w.put("prod/db", "two", 2); !cmp.Equal(labels, []string{"AWSCURRENT"}) {
			t.Error(labels)
		}
		if labels := w.put("prod/db", "three", 3, "AWSPENDING", "mine"); !cmp.Equal(labels, []string{"AWSPENDING", "mine"}) {
			t.Error(labels)
		}
		for _, c := range []struct{ version, stage, want string }{
			{"", "", "two"}, {"", "AWSCURRENT", "two"}, {"", "AWSPREVIOUS", "one"}, {"", "AWSPENDING", "three"}, {token(1), "", "one"},
			{token(3), "mine", "three"},
			{token(3), "AWSCURRENT", "error: You provided a VersionStage that is not associated to the provided VersionId."},
			{token(9), "", "error: Secrets Manager can't find the specified secret value for VersionId: " + token(9)},
			{"", "none", "error: Secrets Manager can't find the specified secret value for staging label: none"},
		} {
			if got := w.value("prod/db", c.version, c.stage); got != c.want {
				t.Errorf("%+v: %s", c, got)
			}
		}
		got, err := w.Describe(t.Context(), root, x.ARN)
		if err != nil {
			t.Fatal(err)
		}
		want := &secret.Secret{
			Account: account, Name: "prod/db", ARN: x.ARN, Description: "the database", KMSKeyID: "alias/mine", Tags: map[string]string{"team": "a"},
			Created: x.Created, Changed: got.Changed, Accessed: time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC),
			Stages: map[string][]string{token(1): {"AWSPREVIOUS"}, token(2): {"AWSCURRENT"}, token(3): {"AWSPENDING", "mine"}},
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(secret.Secret{})); diff != "" || !got.Changed.After(x.Created) {
			t.Error(diff)
		}
		if _, _, err := w.Update(t.Context(), root, "prod/db", secret.Edit{Description: new("")}); err != nil {
			t.Fatal(err)
		}
		if _, version, err := w.Update(t.Context(), root, "prod/db", secret.Edit{Value: secret.Binary([]byte{0, 255}), Token: token(4)}); err != nil || version != token(4) {
			t.Fatal(version, err)
		}
		r, err := w.Get(t.Context(), root, "prod/db", "", "")
		if err != nil || !r.Value.IsBinary() || !bytes.Equal(r.Value.Reveal(), []byte{0, 255}) || r.Secret.Description != "" || r.Secret.KMSKeyID != "alias/mine" {
			t.Errorf("%+v, %v", r, err)
		}
		if got := w.value("prod/db", "", "AWSPREVIOUS"); got != "two" {
			t.Error(got)
		}
		var did []string
		for _, ch := range w.changes {
			did = append(did, ch.Action+" "+ch.Detail)
			if ch.Caller != root || ch.ARN != x.ARN {
				t.Errorf("%+v", ch)
			}
		}
		if diff := cmp.Diff([]string{
			"secretsmanager:CreateSecret version " + token(1) + ", string",
			"secretsmanager:PutSecretValue version " + token(2) + ", string, AWSCURRENT",
			"secretsmanager:PutSecretValue version " + token(3) + ", string, AWSPENDING mine",
			"secretsmanager:UpdateSecret ",
			"secretsmanager:UpdateSecret version " + token(4) + ", binary",
		}, did); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRepeatedRequests(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d := secret.Draft{Name: "a", Value: secret.Text("one"), Token: token(1)}
		first, _, err := w.Create(t.Context(), root, d)
		if err != nil {
			t.Fatal(err)
		}
		again, version, err := w.Create(t.Context(), root, d)
		if err != nil || again.ARN != first.ARN || version != token(1) {
			t.Errorf("%+v, %q, %v", again, version, err)
		}
		d.Value = secret.Text("two")
		_, _, err = w.Create(t.Context(), root, d)
		is(t, "another value", err, secret.Exists)
		d.Token = token(2)
		_, _, err = w.Create(t.Context(), root, d)
		if m := is(t, "another token", err, secret.Exists); m != "The operation failed because the secret a already exists." {
			t.Error(m)
		}
		w.put("a", "two", 2)
		if labels := w.put("a", "two", 2); !cmp.Equal(labels, []string{"AWSCURRENT"}) {
			t.Error(labels)
		}
		w.put("a", "three", 3)
		if labels := w.put("a", "two", 2); !cmp.Equal(labels, []string{"AWSPREVIOUS"}) { // it does not come back
			t.Error(labels)
		}
		_, _, _, err = w.Put(t.Context(), root, "a", secret.Text("other"), token(2), nil)
		is(t, "put another value", err, secret.Exists)
		_, _, _, err = w.Put(t.Context(), root, "a", secret.Binary([]byte("two")), token(2), nil)
		is(t, "put another type", err, secret.Exists)
		if strings.Contains(fmt.Sprint(err), "two") || strings.Contains(fmt.Sprint(err), "other") {
			t.Errorf("tells a value: %v", err)
		}
	})
}

func TestFirstVersionIsCurrent(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		x, version, err := w.Create(t.Context(), root, secret.Draft{Name: "empty"})
		if err != nil || version != "" {
			t.Fatal(version, err)
		}
		if got := w.value("empty", "", ""); got != "error: Secrets Manager can't find the specified secret value for staging label: AWSCURRENT" {
			t.Error(got)
		}
		if labels := w.put(x.ARN, "v", 1, "AWSPENDING"); !cmp.Equal(labels, []string{"AWSCURRENT", "AWSPENDING"}) {
			t.Error(labels)
		}
	})
}

func TestMoveStage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.create("a", "zero")
		for i := 1; i <= 3; i++ {
			w.put("a", fmt.Sprint(i), i)
		}
		move := func(stage, from, to string) error {
			_, err := w.MoveStage(t.Context(), root, "a", stage, from, to)
			return err
		}
		is(t, "nothing", move("x", "", ""), secret.InvalidParameter)
		is(t, "current removed", move("AWSCURRENT", token(3), ""), secret.InvalidParameter)
		if m := is(t, "without from", move("AWSCURRENT", "", token(1)), secret.InvalidParameter); m != "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version "+token(3)+", so you must explicitly reference that version in RemoveFromVersionId." {
			t.Error(m)
		}
		is(t, "from another", move("AWSCURRENT", token(2), token(1)), secret.InvalidParameter)
		is(t, "to nothing", move("x", "", token(8)), secret.NotFound)
		for _, err := range []error{move("AWSCURRENT", token(3), token(1)), move("mine", "", token(2)), move("mine", token(2), token(3))} {
			if err != nil {
				t.Error(err)
			}
		}
		x, err := w.Describe(t.Context(), root, "a")
		if diff := cmp.Diff(map[string][]string{token(1): {"AWSCURRENT"}, token(3): {"AWSPREVIOUS", "mine"}}, x.Stages); err != nil || diff != "" {
			t.Error(err, diff)
		}
		if err := move("mine", token(3), ""); err != nil {
			t.Error(err)
		}
		if got := w.value("a", "", "mine"); !strings.HasPrefix(got, "error") {
			t.Error(got)
		}
	})
}

func TestLimits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.create("a", "0")
		put := func(n int, stages ...string) error {
			_, _, _, err := w.Put(t.Context(), root, "a", secret.Text("x"), token(n), stages)
			return err
		}
		for i := 1; i < 100; i++ {
			if err := put(i); err != nil {
				t.Fatal(i, err)
			}
		}
		is(t, "version 101 within a day", put(100), secret.LimitExceeded)
		w.advance(25 * time.Hour)
		for i := 100; i < 103; i++ {
			if err := put(i); err != nil {
				t.Fatal(i, err)
			}
		}
		var all []secret.Version
		var after *secret.VersionCursor
		for {
			_, page, next, err := w.Versions(t.Context(), root, "a", true, 33, after)
			if err != nil {
				t.Fatal(err)
			}
			if all = append(all, page...); next == nil {
				break
			}
			after = next
		}
		if len(all) != 100 || all[0].ID != token(102) || all[99].ID != token(3) {
			t.Errorf("%d versions, from %s to %s", len(all), all[0].ID, all[len(all)-1].ID)
		}
		if _, page, next, err := w.Versions(t.Context(), root, "a", false, 100, nil); err != nil || len(page) != 2 || next != nil {
			t.Errorf("%v %v %v", page, next, err)
		}
		var stages []string
		for i := range 18 {
			stages = append(stages, fmt.Sprintf("s%d", i))
		}
		if err := put(200, stages...); err != nil { // with AWSCURRENT and AWSPREVIOUS these are 20
			t.Error(err)
		}
		is(t, "a label too many", put(201, "more"), secret.LimitExceeded)

		big := strings.Repeat("x", secret.MaxValue)
		w.create("big", big)
		if got := w.value("big", "", ""); got != big {
			t.Error("not the whole value")
		}
		for name, d := range map[string]secret.Draft{
			"value too long":       {Name: "b", Value: secret.Text(big + "x")},
			"bytes too long":       {Name: "b", Value: secret.Binary([]byte(big + "x"))},
			"value empty":          {Name: "b", Value: secret.Text("")},
			"description too long": {Name: "b", Description: strings.Repeat("x", 2049)},
			"token short":          {Name: "b", Token: "short"},
			"zero in description":  {Name: "b", Description: "a\x00"},
			"zero in token":        {Name: "b", Token: token(1)[1:] + "\x00"},
			"reserved tag":         {Name: "b", Tags: map[string]string{"AWS:x": "y"}},
			"tag key too long":     {Name: "b", Tags: map[string]string{strings.Repeat("k", 129): "y"}},
			"zero in tag":          {Name: "b", Tags: map[string]string{"k": "\x00"}},
		} {
			_, _, err := w.Create(t.Context(), root, d)
			is(t, name, err, secret.InvalidParameter)
		}
		for _, name := range []string{"", "a b", "a\x00", "ä", strings.Repeat("n", 513), "a:b", "a*"} {
			_, _, err := w.Create(t.Context(), root, secret.Draft{Name: name})
			is(t, fmt.Sprintf("name %q", name), err, secret.InvalidName)
		}
		tags := map[string]string{}
		for i := range 51 {
			tags[fmt.Sprint("k", i)] = "v"
		}
		is(t, "51 tags", w.Tag(t.Context(), root, "a", tags), secret.LimitExceeded)
	})
}

func TestDeletion(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		x := w.create("a", "one")
		for _, days := range []int{-1, 1, 6, 31} {
			_, _, err := w.Delete(t.Context(), root, "a", days, false)
			is(t, fmt.Sprint(days), err, secret.InvalidParameter)
		}
		_, _, err := w.Delete(t.Context(), root, "a", 7, true)
		is(t, "force and days", err, secret.InvalidParameter)
		start := w.now()
		_, gone, err := w.Delete(t.Context(), root, "a", 7, false)
		if err != nil || gone.Before(start.Add(7*24*time.Hour)) || gone.After(start.Add(7*24*time.Hour+time.Second)) {
			t.Fatal(gone, err)
		}
		ctx := t.Context()
		for name, err := range map[string]error{
			"get":     second(w.Get(ctx, root, "a", "", "")),
			"value":   second(w.Value(ctx, root, "a")),
			"put":     fourth(w.Put(ctx, root, "a", secret.Text("x"), "", nil)),
			"update":  third(w.Update(ctx, root, "a", secret.Edit{Description: new("x")})),
			"tag":     w.Tag(ctx, root, "a", map[string]string{"k": "v"}),
			"untag":   w.Untag(ctx, root, "a", []string{"k"}),
			"policy":  third(w.Policy(ctx, root, "a")),
			"delete":  third(w.Delete(ctx, root, "a", 7, false)),
			"stage":   second(w.MoveStage(ctx, root, "a", "x", "", token(1))),
			"put pol": second(w.PutPolicy(ctx, root, "a", allow("*", "*")[:0]+`{"Version":"2012-10-17","Statement":[]}`, false)),
		} {
			if err == nil {
				t.Errorf("%s of a deleted secret is allowed", name)
			} else if name != "put pol" {
				is(t, name, err, secret.InvalidRequest)
			}
		}
		_, _, err = w.Create(ctx, root, secret.Draft{Name: "a"})
		if m := is(t, "create", err, secret.InvalidRequest); m != "You can't create this secret because a secret with this name is already scheduled for deletion." {
			t.Error(m)
		}
		if d, err := w.Describe(ctx, root, x.ARN); err != nil || d.Deleted.IsZero() || !d.Removed.Equal(gone) {
			t.Errorf("%+v, %v", d, err)
		}
		if n, err := w.RemoveDue(ctx); n != 0 || err != nil {
			t.Error(n, err)
		}
		if _, err := w.Restore(ctx, root, "a"); err != nil {
			t.Fatal(err)
		}
		if got := w.value("a", "", ""); got != "one" {
			t.Error(got)
		}
		if _, _, err := w.Delete(ctx, root, "a", 0, false); err != nil {
			t.Fatal(err)
		}
		w.create("b", "kept")
		w.advance(29 * 24 * time.Hour)
		if n, err := w.RemoveDue(ctx); n != 0 || err != nil {
			t.Error(n, err)
		}
		w.advance(25 * time.Hour)
		if n, err := w.RemoveDue(ctx); n != 1 || err != nil {
			t.Error(n, err)
		}
		if last := w.changes[len(w.changes)-1]; last.Action != "secretsmanager:DeleteSecret" || last.ARN != x.ARN || last.Caller.ARN != "arn:aws:iam::"+account+":system/secrets" {
			t.Errorf("%+v", last)
		}
		_, err = w.Get(ctx, root, x.ARN, "", "")
		is(t, "get what is gone", err, secret.NotFound)
		if got := w.value("b", "", ""); got != "kept" {
			t.Error(got)
		}
		if y := w.create("a", "new"); y.ARN == x.ARN {
			t.Error("the same ARN again")
		}
		_, err = w.Get(ctx, root, x.ARN, "", "")
		is(t, "the old ARN", err, secret.NotFound)
		if _, _, err := w.Delete(ctx, root, "a", 7, false); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.Delete(ctx, root, "a", 0, true); err != nil {
			t.Errorf("force what is scheduled: %v", err)
		}
		w.create("a", "newer")
		if y, _, err := w.Delete(ctx, root, "never", 0, true); err != nil || y.Name != "never" {
			t.Errorf("force what is not there: %v", err)
		}
		var left int
		if err := w.db.QueryRow(ctx, `SELECT (SELECT count(*) FROM secret_versions) + (SELECT count(*) FROM secret_stages)`).Scan(&left); err != nil || left != 4 {
			t.Errorf("%d rows are left of two secrets, %v", left, err)
		}
	})
}

func second[A any](_ A, err error) error                 { return err }
func third[A, B any](_ A, _ B, err error) error          { return err }
func fourth[A, B, C any](_ A, _ B, _ C, err error) error { return err }

// TestNothingTells looks for a value everywhere where it must not be.
func TestNothingTells(t *testing.T) {
	const value = "correct-horse-battery"
	dsn := metatest.SQLite(t)
	w := newWorld(t, metatest.Open(t, dsn), secret.Outward{})
	w.create("a", value)
	v, err := w.Value(t.Context(), root, "a")
	if err != nil || string(v.Reveal()) != value {
		t.Fatal(err)
	}
	r, err := w.Get(t.Context(), root, "a", "", "")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%b"} {
		fmt.Fprintf(&out, verb+"\n", v)
		fmt.Fprintf(&out, verb+"\n", &v)
		fmt.Fprintf(&out, verb+"\n", *r)
		fmt.Fprintf(&out, verb+"\n", secret.Draft{Value: v})
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "value", v, "read", r)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "value", v, "read", *r)
	if err := json.NewEncoder(&out).Encode([]any{v, r, map[string]any{"v": &v}}); err != nil {
		t.Fatal(err)
	}
	for _, ch := range w.changes {
		fmt.Fprintf(&out, "%+v", ch)
	}
	fmt.Fprintln(&out, w.noted, w.log.String())
	for _, form := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value), fmt.Sprint([]byte(value)), "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5", fmt.Sprintf("%#v", []byte(value))} {
		if strings.Contains(out.String(), form) {
			t.Errorf("it is in: %s", out.String())
		}
	}
	if !strings.Contains(out.String(), "REDACTED") {
		t.Error("nothing was printed")
	}
	for _, suffix := range []string{"", "-wal"} {
		file, err := os.ReadFile(strings.TrimPrefix(dsn, "sqlite:") + suffix)
		if err != nil && suffix == "" {
			t.Fatal(err)
		}
		if bytes.Contains(file, []byte(value)) {
			t.Error("it is in the database as it is")
		}
	}
}

// TestExchangedRows checks that who can write to the database can't have one secret read as another.
func TestExchangedRows(t *testing.T) {
	for name, statement := range map[string]string{
		"value":   `UPDATE secret_versions SET value = (SELECT value FROM secret_versions WHERE secret_id LIKE '%/b-%') WHERE secret_id LIKE '%/a-%'`,
		"account": `UPDATE secrets SET account = '444455556666' WHERE name = 'a'`,
		"name":    `UPDATE secrets SET name = 'c' WHERE name = 'a'`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, metatest.Open(t, metatest.SQLite(t)), secret.Outward{})
			w.create("a", "one")
			w.create("b", "two")
			err := w.db.Update(t.Context(), func(tx *meta.Tx) error {
				_, err := tx.Exec(t.Context(), statement)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"a", "c"} {
				for _, who := range []string{"root", "alien"} {
					c := root
					if who == "alien" {
						c = alien
					}
					if v, err := w.Value(t.Context(), c, id); err == nil {
						t.Errorf("%s reads %q of %s", who, v.Reveal(), id)
					}
				}
			}
		})
	}
}
