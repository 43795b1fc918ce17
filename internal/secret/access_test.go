package secret_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/secret"
)

// TestEveryCallIsDecided refuses each call, and checks that it was noted and that nothing was told or done.
func TestEveryCallIsDecided(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		x := w.create("a", "one")
		ctx := t.Context()
		w.noted, w.changes = nil, nil
		partial := x.ARN[:len(x.ARN)-7]
		for _, c := range []struct {
			action string
			call   func(id string) error
		}{
			{"CreateSecret", func(string) error { return third(w.Create(ctx, nobody, secret.Draft{Name: "a"})) }},
			{"UpdateSecret", func(id string) error { return third(w.Update(ctx, nobody, id, secret.Edit{Description: new("x")})) }},
			{"DescribeSecret", func(id string) error { return second(w.Describe(ctx, nobody, id)) }},
			{"GetSecretValue", func(id string) error { return second(w.Get(ctx, nobody, id, "", "")) }},
			{"GetSecretValue", func(id string) error { return second(w.Value(ctx, nobody, id)) }},
			{"PutSecretValue", func(id string) error { return fourth(w.Put(ctx, nobody, id, secret.Text("x"), "", nil)) }},
			{"UpdateSecretVersionStage", func(id string) error { return second(w.MoveStage(ctx, nobody, id, "x", "", token(1))) }},
			{"ListSecretVersionIds", func(id string) error { return fourth(w.Versions(ctx, nobody, id, true, 10, nil)) }},
			{"DeleteSecret", func(id string) error { return third(w.Delete(ctx, nobody, id, 7, false)) }},
			{"DeleteSecret", func(id string) error { return third(w.Delete(ctx, nobody, id, 0, true)) }},
			{"RestoreSecret", func(id string) error { return second(w.Restore(ctx, nobody, id)) }},
			{"TagResource", func(id string) error { return w.Tag(ctx, nobody, id, map[string]string{"k": "v"}) }},
			{"UntagResource", func(id string) error { return w.Untag(ctx, nobody, id, []string{"k"}) }},
			{"GetResourcePolicy", func(id string) error { return third(w.Policy(ctx, nobody, id)) }},
			{"PutResourcePolicy", func(id string) error { return second(w.PutPolicy(ctx, nobody, id, "{", false)) }},
			{"DeleteResourcePolicy", func(id string) error { return second(w.DeletePolicy(ctx, nobody, id)) }},
			{"ValidateResourcePolicy", func(id string) error { return second(w.ValidatePolicy(ctx, nobody, id, "{")) }},
			{"ListSecrets", func(string) error { return third(w.List(ctx, nobody, secret.Query{Limit: 1})) }},
			{"BatchGetSecretValue", func(id string) error { return second(w.Batch(ctx, nobody, []string{id})) }},
			{"BatchGetSecretValue", func(string) error { return third(w.BatchFiltered(ctx, nobody, secret.Query{Limit: 1})) }},
			{"GetRandomPassword", func(string) error { return second(w.Password(ctx, nobody, secret.PasswordRules{})) }},
		} {
			for _, id := range []string{"a", "missing", x.ARN, partial} {
				d := denied(t, c.action, c.call(id))
				if d.Action != "secretsmanager:"+c.action || d.Principal != nobody.ARN {
					t.Errorf("%s of %s: %v", c.action, id, d)
				}
				if id == partial && strings.Contains(d.Error(), x.ARN) {
					t.Errorf("%s: tells the whole ARN: %v", c.action, d)
				}
				if last := w.noted[len(w.noted)-1]; !strings.HasPrefix(last, "refused "+nobody.ARN+" secretsmanager:"+c.action+" ") {
					t.Errorf("%s of %s was noted as %s", c.action, id, last)
				}
			}
		}
		if len(w.changes) > 0 {
			t.Errorf("%+v", w.changes)
		}
		if got := w.value("a", "", ""); got != "one" {
			t.Error(got)
		}
		if _, err := w.Get(ctx, nil, "a", "", ""); err == nil {
			t.Error("anonymous")
		} else {
			denied(t, "anonymous", err)
		}
	})
}

// TestOtherAccountsLearnNothing compares what they are told of a secret that is there and of one that is not.
func TestOtherAccountsLearnNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		x := w.create("a", "one")
		y := w.create("b", "two")
		// One more whose policy denies in its own words.
		policy := `{"Version":"2012-10-17","Statement":[{"Sid":"Told","Effect":"Deny","Principal":{"AWS":"` + other + `"},"Action":"secretsmanager:GetSecretValue","Resource":"*"},
			{"Effect":"Allow","Principal":{"AWS":"` + other + `"},"Action":"secretsmanager:DescribeSecret","Resource":"*"}]}`
		if _, err := w.PutPolicy(t.Context(), root, "b", policy, false); err != nil {
			t.Fatal(err)
		}
		missing := strings.Replace(x.ARN, ":a-", ":c-", 1)
		said := map[string]bool{}
		for _, id := range []string{x.ARN, y.ARN, missing, x.ARN[:len(x.ARN)-7], y.ARN[:len(y.ARN)-7], missing[:len(missing)-7]} {
			d := denied(t, id, second(w.Get(t.Context(), alien, id, "", "")))
			if d.Resource != id {
				t.Errorf("%s: %v", id, d)
			}
			said[d.Reason] = true
		}
		if len(said) != 1 {
			t.Errorf("they are told apart: %v", said)
		}
		// By name it is their own that is meant.
		is(t, "by name", second(w.Get(t.Context(), alien, "a", "", "")), secret.NotFound)
		if _, _, err := w.Create(t.Context(), alien, secret.Draft{Name: "a", Value: secret.Text("theirs")}); err != nil {
			t.Error(err)
		}
		if list, _, err := w.List(t.Context(), alien, secret.Query{Limit: 10, Deleted: true}); err != nil || len(list) != 1 || list[0].Account != other {
			t.Errorf("%+v, %v", list, err)
		}
		if _, err := w.Describe(t.Context(), alien, y.ARN); err != nil {
			t.Errorf("what the policy allows: %v", err)
		}
	})
}

func TestResourcePolicies(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		x := w.create("a", "one")
		ctx := t.Context()
		w.identity[visitor.ARN] = allow("secretsmanager:GetSecretValue", "*")
		get := func() error { return second(w.Get(ctx, visitor, x.ARN, "", "")) }
		denied(t, "before", get())
		grant := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + visitor.ARN + `"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}}`
		if _, err := w.PutPolicy(ctx, root, "a", grant, true); err != nil {
			t.Fatal(err)
		}
		if err := get(); err != nil {
			t.Error(err)
		}
		if _, document, err := w.Policy(ctx, root, "a"); err != nil || document != grant {
			t.Error(document, err)
		}
		for name, c := range map[string]struct {
			document string
			kind     secret.Kind
		}{
			"no JSON":     {"{", secret.MalformedPolicy},
			"unknown":     {`{"Version":"2012-10-17","Statement":{"Effect":"Maybe"}}`, secret.MalformedPolicy},
			"everybody":   {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"}}`, secret.PublicPolicy},
			"all but one": {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","NotPrincipal":{"AWS":"` + visitor.ARN + `"},"Action":"secretsmanager:*","Resource":"*"}}`, secret.PublicPolicy},
			"not from": {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}}`,
				secret.PublicPolicy},
			"lock-out": {`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"secretsmanager:*","Resource":"*"}}`, secret.InvalidParameter},
			"too long": {grant + strings.Repeat(" ", 20_480), secret.InvalidParameter},
		} {
			_, err := w.PutPolicy(ctx, root, "a", c.document, true)
			is(t, name, err, c.kind)
			if problems, err := w.ValidatePolicy(ctx, root, "a", c.document); name != "too long" && (err != nil || len(problems) == 0) {
				t.Errorf("%s: validated: %v, %v", name, problems, err)
			}
		}
		if _, document, err := w.Policy(ctx, root, "a"); err != nil || document != grant {
			t.Errorf("a policy that was refused is there: %s, %v", document, err)
		}
		bounded := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}}}`
		if _, err := w.PutPolicy(ctx, root, "a", bounded, true); err != nil {
			t.Errorf("with a condition: %v", err)
		}
		if problems, err := w.ValidatePolicy(ctx, root, "", bounded); err != nil || len(problems) != 0 {
			t.Error(problems, err)
		}
		if _, err := w.DeletePolicy(ctx, root, "a"); err != nil {
			t.Fatal(err)
		}
		denied(t, "after", get())
	})
}

// TestConditionKeys uses each key in a policy that allows only what it says.
func TestConditionKeys(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		x, _, err := w.Create(ctx, root, secret.Draft{Name: "a", Value: secret.Text("v"), Token: token(1), Tags: map[string]string{"Team": "blue"}})
		if err != nil {
			t.Fatal(err)
		}
		when := func(operator, key, value string) string {
			return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"` + operator + `":{"` + key + `":"` + value + `"}}}}`
		}
		get := func(version, stage string) func() error {
			return func() error { return second(w.Get(ctx, app, "a", version, stage)) }
		}
		for name, c := range map[string]struct {
			policy string
			may    func() error
			not    func() error
		}{
			"SecretId":     {when("StringEquals", "secretsmanager:SecretId", x.ARN), get("", ""), nil},
			"VersionStage": {when("StringEquals", "secretsmanager:VersionStage", "AWSCURRENT"), get("", ""), get(token(1), "")},
			"VersionId":    {when("StringEquals", "secretsmanager:VersionId", token(1)), get(token(1), ""), get("", "")},
			"ResourceTag":  {when("StringEquals", "secretsmanager:ResourceTag/Team", "blue"), get("", ""), nil},
			"aws tag":      {when("StringEquals", "aws:ResourceTag/Team", "blue"), get("", ""), nil},
			"other tag":    {when("StringEquals", "aws:ResourceTag/Team", "red"), nil, get("", "")},
			"Name": {when("StringLike", "secretsmanager:Name", "dev/*"),
				func() error { return third(w.Create(ctx, app, secret.Draft{Name: "dev/x"})) },
				func() error { return third(w.Create(ctx, app, secret.Draft{Name: "prod/x"})) }},
			"RequestTag": {when("StringEquals", "aws:RequestTag/Team", "blue"),
				func() error { return w.Tag(ctx, app, "a", map[string]string{"Team": "blue"}) },
				func() error { return w.Tag(ctx, app, "a", map[string]string{"Team": "red"}) }},
			"TagKeys": {when("ForAllValues:StringEquals", "aws:TagKeys", "x"),
				func() error { return w.Untag(ctx, app, "a", []string{"x"}) },
				func() error { return w.Untag(ctx, app, "a", []string{"x", "Team"}) }},
			"Recovery": {when("NumericGreaterThan", "secretsmanager:RecoveryWindowInDays", "10"), nil,
				func() error { return third(w.Delete(ctx, app, "a", 7, false)) }},
			"Force": {when("Bool", "secretsmanager:ForceDeleteWithoutRecovery", "false"), nil,
				func() error { return third(w.Delete(ctx, app, "a", 0, true)) }},
			"Block": {when("Bool", "secretsmanager:BlockPublicPolicy", "true"), nil,
				func() error { return second(w.PutPolicy(ctx, app, "a", allow("*", "*"), false)) }},
		} {
			w.identity[app.ARN] = c.policy
			if c.may != nil {
				if err := c.may(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if c.not != nil {
				denied(t, name, c.not())
			}
		}
		// Tags at creation are an action of their own.
		w.identity[app.ARN] = allow("secretsmanager:CreateSecret", "*")
		d := denied(t, "tags", third(w.Create(ctx, app, secret.Draft{Name: "tagged", Tags: map[string]string{"k": "v"}})))
		if d.Action != "secretsmanager:TagResource" {
			t.Error(d)
		}
		// What is there and what is not are the same to whom a pattern allows nothing.
		w.identity[app.ARN] = allow("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:a-??????")
		if err := get("", "")(); err != nil {
			t.Error(err)
		}
		denied(t, "another", second(w.Get(ctx, app, "b", "", "")))
	})
}

func TestBatch(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		for _, name := range []string{"a", "b", "c"} {
			w.create(name, "value of "+name)
		}
		w.identity[app.ARN] = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["secretsmanager:BatchGetSecretValue","secretsmanager:ListSecrets"],"Resource":"*"},
			{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:*:secret:?-??????"},{"Effect":"Deny","Action":"*","Resource":"arn:aws:secretsmanager:*:*:secret:b-*"}]}`
		show := func(items []secret.BatchItem) []string {
			var out []string
			for _, i := range items {
				if i.Err != nil {
					out = append(out, i.ID[max(0, len(i.ID)-8):]+" error")
					continue
				}
				out = append(out, i.Read.Secret.Name+" "+string(i.Read.Value.Reveal()))
			}
			return out
		}
		items, err := w.Batch(ctx, app, []string{"a", "b", "nope", "bad name"})
		if diff := cmp.Diff([]string{"a value of a", "b error", "nope error", "bad name error"}, show(items)); err != nil || diff != "" {
			t.Error(err, diff)
		}
		items, next, err := w.BatchFiltered(ctx, root, secret.Query{Limit: 2})
		if diff := cmp.Diff([]string{"a value of a", "b value of b"}, show(items)); err != nil || diff != "" || next == nil {
			t.Error(err, diff, next)
		}
	})
}
