package decide_test

import (
	"strconv"
	"testing"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/decide"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

// pusher returns a user as a build has it: five policies with 16 statements, in part from a group, a repository policy that
// asks where the request comes from.
func pusher(b testing.TB, db *meta.DB) (*node, *iam.Caller, *iam.Request) {
	n := start(b, db, decide.Options{})
	ctx := b.Context()
	alice := n.user("alice", "", directory.Tag{Key: "team", Value: "team"})
	for i := range 2 {
		document := `{"Version":"2012-10-17","Statement":[`
		for j := range 4 {
			document += `{"Sid":"S` + strconv.Itoa(j) + `","Effect":"Allow","Action":["ecr:BatchGetImage","ecr:PutImage","ecr:UploadLayer*"],"Resource":"arn:aws:ecr:*:*:repository/other` +
				strconv.Itoa(4*i+j) + `/*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"team"}}},`
		}
		document += `{"Effect":"Deny","Action":"ecr:DeleteRepository","Resource":"*"}]}`
		n.must(n.dir.PutInlinePolicy(ctx, root(account), directory.UserNamed("alice"), "p"+strconv.Itoa(i), document))
	}
	_, err := n.dir.CreatePolicy(ctx, root(account), directory.NewPolicy{Name: "team", Document: `{"Version":"2012-10-17","Statement":[
		{"Effect":"Deny","Action":"ecr:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"},"NotIpAddress":{"aws:SourceIp":["192.0.2.0/24","10.0.0.0/8"]}}},
		{"Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"*"},
		{"Effect":"Allow","Action":["ecr:*Layer*","ecr:PutImage","ecr:BatchGetImage"],"Resource":"arn:aws:ecr:*:111122223333:repository/${aws:PrincipalTag/team}/*"}]}`})
	n.must(err)
	n.must(n.dir.AttachPolicy(ctx, root(account), directory.UserNamed("alice"), "arn:aws:iam::"+account+":policy/team"))
	_, err = n.dir.CreateGroup(ctx, root(account), "g", "")
	n.must(err)
	n.must(n.dir.AddUserToGroup(ctx, root(account), "g", "alice"))
	for _, name := range []string{"AmazonEC2ContainerRegistryReadOnly", "IAMReadOnlyAccess"} {
		n.must(n.dir.AttachPolicy(ctx, root(account), directory.GroupNamed("g"), "arn:aws:iam::aws:policy/"+name))
	}
	r := on("ecr:UploadLayerPart", app)
	r.Resource.Policies = []policy.Named{parse(b, policy.Resource, "repository policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"ecr:*",
		"Condition":{"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"},"StringNotEquals":{"aws:SourceVpce":"vpce-1"}}}]}`)}
	return n, sourced(alice, "192.0.2.7"), r
}

func BenchmarkAuthorize(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchAuthorize(b, metatest.SQLite(b)) })
	b.Run("postgresql", func(b *testing.B) { benchAuthorize(b, metatest.PostgreSQL(b)) })
}

func benchAuthorize(b *testing.B, dsn string) {
	n, alice, r := pusher(b, metatest.Open(b, dsn))
	ctx := b.Context()
	if d := n.ask(alice, r); !d.Allowed {
		b.Fatal(d.Reason)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !n.auth.Authorize(ctx, alice, r).Allowed {
				b.Error("refused")
			}
		}
	})
}
