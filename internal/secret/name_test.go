package secret_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/secret"
)

// TestAmbiguousARNs has secrets whose names end as ARNs do.
func TestAmbiguousARNs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		short := w.create("a", "short")
		long := w.create("a-"+short.ARN[len(short.ARN)-6:], "long")
		for id, want := range map[string]string{
			"a": "short", short.ARN: "short", long.ARN: "long", long.Name: "long",
			short.ARN[:len(short.ARN)-7]: "short",
		} {
			if got := w.value(id, "", ""); got != want {
				t.Errorf("%s: %s", id, got)
			}
		}
	})
}

func TestBadIDs(t *testing.T) {
	w := newWorld(t, metatest.Open(t, metatest.SQLite(t)), secret.Outward{})
	for id, kind := range map[string]secret.Kind{
		"":                        secret.InvalidName,
		"a b":                     secret.InvalidName,
		"a\x00b":                  secret.InvalidName,
		"%":                       secret.InvalidName,
		strings.Repeat("n", 513):  secret.InvalidName,
		strings.Repeat("n", 4096): secret.InvalidName,
		"arn:":                    secret.InvalidParameter,
		"arn:aws:secretsmanager:eu-west-1:111122223333:secret":          secret.InvalidParameter,
		"arn:aws:secretsmanager:eu-west-1:1111:secret:a":                secret.InvalidParameter,
		"arn:aws-cn:secretsmanager:eu-west-1:111122223333:secret:a":     secret.InvalidParameter,
		"arn:aws:ecr:eu-west-1:111122223333:secret:a":                   secret.InvalidParameter,
		"arn:aws:secretsmanager:eu-west-1:111122223333:secret:a:b":      secret.InvalidName,
		"arn:aws:secretsmanager:eu-west-1:111122223333:secret:":         secret.InvalidName,
		"arn:aws:secretsmanager:us-east-1:111122223333:secret:a-abcdef": secret.NotFound,
	} {
		_, err := w.Get(t.Context(), root, id, "", "")
		is(t, id, err, kind)
	}
}

// FuzzSecretID checks that no id that is looked for finds another secret than the one that it names.
func FuzzSecretID(f *testing.F) {
	w := newWorld(f, metatest.Open(f, metatest.SQLite(f)), secret.Outward{})
	x := w.create("prod/db", "one")
	y, _, err := w.Create(f.Context(), alien, secret.Draft{Name: "prod/db", Value: secret.Text("theirs")})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"prod/db", x.ARN, y.ARN, x.ARN[:len(x.ARN)-7], y.ARN[:len(y.ARN)-7], "arn:aws:secretsmanager:::secret:x", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/%", "prod/db-??????"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		r, err := w.Get(t.Context(), root, id, "", "")
		if err == nil {
			if id != x.Name && id != x.ARN && id != x.ARN[:len(x.ARN)-7] {
				t.Errorf("%q names %s", id, r.Secret.ARN)
			}
			return
		}
		_, ours := errors.AsType[*secret.Error](err)
		_, refused := errors.AsType[*iam.DeniedError](err)
		if !ours && !refused {
			t.Errorf("%q: %v", id, err)
		}
	})
}
