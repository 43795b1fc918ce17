package iam_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/awsapi/iam"
	"github.com/sekisho/sekisho/internal/httpx"
	domain "github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/decide"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	account = "111122223333"
	region  = "eu-west-1"
)

// server is an instance in a process: a real database and real decisions.
type server struct {
	*httptest.Server
	db     *meta.DB
	key    *domain.AccessKey
	client *sdk.Client
	api    *awsapi.Service
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{db: metatest.Open(t, metatest.SQLite(t))}
	s.start(t)
	return s
}

// restart is what a new process begins with: the database alone.
func (s *server) restart(t testing.TB) {
	t.Helper()
	s.Close()
	s.start(t)
}

func (s *server) start(t testing.TB) {
	t.Helper()
	ring, err := seal.New(bytes.Repeat([]byte{9}, seal.MasterKeySize))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := domain.New(s.db, ring, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := keys.Bootstrap(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	if key != nil { // the first time
		s.key = key
	}
	judge := &domain.Judge{Note: func(*domain.Caller, *domain.Request, domain.Decision) {}}
	dir := directory.New(s.db, keys, judge, directory.Options{})
	judge.Authorizer = decide.New(dir, keys.Generation(), decide.Options{Region: region})
	s.api = (&iam.API{Directory: dir}).Service()
	aws4 := awsapi.New(region, keys, time.Now, s.api)
	s.Server = httptest.NewServer(httpx.New(aws4.Serve, httpx.Options{Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(s.Close)
	s.client = s.as(s.key.ID, s.key.Secret.Reveal())
}

// as returns a client with an access key.
func (s *server) as(id, secret string) *sdk.Client {
	return sdk.New(sdk.Options{
		Region: region, BaseEndpoint: &s.URL, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
		}),
	})
}

// served returns the names of the operations that are not refused.
func (s *server) served() []string {
	var names []string
	for name, served := range s.api.Operations() {
		if served {
			names = append(names, name)
		}
	}
	return names
}
