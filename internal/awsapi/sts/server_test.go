package sts_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/go-jose/go-jose/v4"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/awsapi/sts"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/decide"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/iam/oidc/oidctest"
	"github.com/sekisho/sekisho/internal/iam/session"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	region  = "eu-west-1"
	account = "111122223333"
	builder = "arn:aws:iam::" + account + ":role/builder"
)

// server serves the API for an account with a user alice, who may assume the role builder, which an issuer's tokens may as well.
type server struct {
	*httptest.Server
	issuer      *oidctest.Issuer
	root, alice *iam.AccessKey
	log         *bytes.Buffer
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{issuer: oidctest.New(t), log: &bytes.Buffer{}}
	db := metatest.Open(t, metatest.SQLite(t))
	ring, err := seal.New(bytes.Repeat([]byte{7}, seal.MasterKeySize))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := iam.New(db, ring, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, s.root, err = keys.Bootstrap(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	judge := &iam.Judge{Note: func(*iam.Caller, *iam.Request, iam.Decision) {}}
	d := directory.New(db, keys, judge, directory.Options{})
	judge.Authorizer = decide.New(d, keys.Generation(), decide.Options{Region: region})
	tokens, err := oidc.New(oidc.Options{Roots: s.issuer.Roots(), Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	_, p, err := keys.Secret(t.Context(), s.root.ID, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	s.fill(t, d, p.Caller())
	api := &sts.API{Sessions: session.New(keys, judge, d, tokens, session.Options{})}
	aws4 := awsapi.New(region, keys, time.Now, api.Service())
	s.Server = httptest.NewServer(httpx.New(aws4.Serve, httpx.Options{Logger: slog.New(slog.NewTextHandler(s.log, nil))}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) fill(t testing.TB, d *directory.Service, root *iam.Caller) {
	t.Helper()
	host := strings.TrimPrefix(s.issuer.URL, "https://")
	_, err := d.CreateProvider(t.Context(), root, directory.NewProvider{URL: s.issuer.URL, ClientIDs: []string{"sts.amazonaws.com"}})
	if err == nil {
		_, err = d.CreateUser(t.Context(), root, directory.NewUser{Name: "alice"})
	}
	if err == nil {
		s.alice, err = d.CreateAccessKey(t.Context(), root, "alice")
	}
	if err == nil {
		_, err = d.CreateRole(t.Context(), root, directory.NewRole{Name: "builder", MaxSession: 2 * time.Hour, Trust: `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account + `:user/alice"},"Action":["sts:AssumeRole","sts:TagSession"]},
			{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::` + account + `:oidc-provider/` + host + `"},"Action":"sts:AssumeRoleWithWebIdentity",
			 "Condition":{"StringEquals":{"` + host + `:sub":"repo:a/b"}}}]}`})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// token is one of the issuer for a subject.
func (s *server) token(t testing.TB, subject string) string {
	t.Helper()
	return s.issuer.Sign(t, "1", jose.ES256, map[string]any{
		"iss": s.issuer.URL, "sub": subject, "aud": "sts.amazonaws.com", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
}

func (s *server) client(id, secret, token string) *sdk.Client {
	return sdk.New(sdk.Options{
		Region: region, BaseEndpoint: &s.URL, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, nil
		}),
	})
}

func (s *server) as(k *iam.AccessKey) *sdk.Client { return s.client(k.ID, k.Secret.Reveal(), "") }
