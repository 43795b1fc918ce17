package secretsmanager_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/awsapi/bototest"
	"github.com/sekisho/sekisho/internal/awsapi/secretsmanager"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/seal"
	"github.com/sekisho/sekisho/internal/secret"
)

const (
	account = "111122223333"
	region  = "eu-west-1"
)

// server is the API in a process, over a real database.
type server struct {
	*httptest.Server
	key    *iam.AccessKey
	client *sdk.Client
	log    *logBuffer
}

// logBuffer is what was logged, by several.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newServer(t testing.TB, db *meta.DB, out secret.Outward) *server {
	t.Helper()
	ring, err := seal.New(bytes.Repeat([]byte{9}, seal.MasterKeySize))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := iam.New(db, ring, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := keys.Bootstrap(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{key: key, log: &logBuffer{}}
	logger := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	judge := &iam.Judge{Authorizer: iam.RootOnly{}, Note: func(*iam.Caller, *iam.Request, iam.Decision) {}}
	api := &secretsmanager.API{Secrets: secret.New(db, ring, judge, secret.Options{Region: region, Logger: logger, Outward: out})}
	aws4 := awsapi.New(region, keys, time.Now, api.Service())
	s.Server = httptest.NewServer(httpx.New(func(w *httpx.Response, r *http.Request) error {
		return aws4.Serve(w, r)
	}, httpx.Options{Logger: logger}))
	t.Cleanup(s.Close)
	s.client = sdk.New(sdk.Options{
		Region: region, BaseEndpoint: &s.URL, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret.Reveal()}, nil
		}),
	})
	return s
}

func TestValues(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		s := newServer(t, db, secret.Outward{})
		ctx := t.Context()
		text := "caf\u00e9 \x01\u2028 \U0001f600 " + strings.Repeat("\\\"", 30_000)
		if _, err := s.client.CreateSecret(ctx, &sdk.CreateSecretInput{Name: new("text"), SecretString: &text}); err != nil {
			t.Fatal(err)
		}
		got, err := s.client.GetSecretValue(ctx, &sdk.GetSecretValueInput{SecretId: new("text")})
		if err != nil || *got.SecretString != text || got.SecretBinary != nil {
			t.Errorf("%v", err)
		}
		data := bytes.Repeat([]byte{0, 255}, secret.MaxValue/2)
		if _, err := s.client.CreateSecret(ctx, &sdk.CreateSecretInput{Name: new("data"), SecretBinary: data}); err != nil {
			t.Fatal(err)
		}
		got, err = s.client.GetSecretValue(ctx, &sdk.GetSecretValueInput{SecretId: new("data")})
		if err != nil || !bytes.Equal(got.SecretBinary, data) || got.SecretString != nil {
			t.Errorf("%v", err)
		}
		batch, err := s.client.BatchGetSecretValue(ctx, &sdk.BatchGetSecretValueInput{SecretIdList: []string{"text", "data", "nope"}})
		if err != nil || len(batch.SecretValues) != 2 || len(batch.Errors) != 1 || *batch.Errors[0].ErrorCode != "ResourceNotFoundException" {
			t.Errorf("%+v, %v", batch, err)
		}
	})
}

// TestErrors has one request for each error, with its code and the beginning of its text.
func TestErrors(t *testing.T) {
	s := newServer(t, metatest.Open(t, metatest.SQLite(t)), secret.Outward{})
	ctx := t.Context()
	const value = "correct-horse-battery"
	for _, name := range []string{"a", "gone"} {
		if _, err := s.client.CreateSecret(ctx, &sdk.CreateSecretInput{Name: &name, SecretString: new(value)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.client.DeleteSecret(ctx, &sdk.DeleteSecretInput{SecretId: new("gone"), RecoveryWindowInDays: new(int64(7))}); err != nil {
		t.Fatal(err)
	}
	foreign := "arn:aws:secretsmanager:eu-west-1:444455556666:secret:x-abcdef"
	for name, c := range map[string]struct {
		err        error
		code, text string
	}{
		"unknown":     {second(s.client.GetSecretValue(ctx, &sdk.GetSecretValueInput{SecretId: new("nope")})), "ResourceNotFoundException", "Secrets Manager can't find the specified secret."},
		"no version":  {second(s.client.GetSecretValue(ctx, &sdk.GetSecretValueInput{SecretId: new("a"), VersionStage: new("X")})), "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: X"},
		"deleted":     {second(s.client.GetSecretValue(ctx, &sdk.GetSecretValueInput{SecretId: new("gone")})), "InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion."},
		"exists":      {second(s.client.CreateSecret(ctx, &sdk.CreateSecretInput{Name: new("a")})), "ResourceExistsException", "The operation failed because the secret a already exists."},
		"scheduled":   {second(s.client.CreateSecret(ctx, &sdk.CreateSecretInput{Name: new("gone")})), "InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion."},
		"name":        {second(s.client.CreateSecret(ctx, &sdk.CreateSecretInput{Name: new("a b")})), "ValidationException", "Invalid name. Must be a valid name"},
		"long value":  {second(s.client.CreateSecret(ctx, &sdk.CreateSecretInput{Name: new("b"), SecretString: new(strings.Repeat(value, 4000))})), "ValidationException", "1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536"},
		"long bytes":  {second(s.client.CreateSecret(ctx, &sdk.CreateSecretInput{Name: new("b"), SecretBinary: bytes.Repeat([]byte(value), 4000)})), "ValidationException", "1 validation error detected: Value at 'secretBinary'"},
		"wide value":  {second(s.client.CreateSecret(ctx, &sdk.CreateSecretInput{Name: new("b"), SecretString: new(strings.Repeat("é", 40_000))})), "InvalidParameterException", "The value has more than 65536 bytes."},
		"both":        {second(s.client.CreateSecret(ctx, &sdk.CreateSecretInput{Name: new("b"), SecretString: new(value), SecretBinary: []byte(value)})), "InvalidParameterException", "You can't specify both"},
		"neither":     {second(s.client.PutSecretValue(ctx, &sdk.PutSecretValueInput{SecretId: new("a")})), "InvalidRequestException", "You must provide either SecretString or SecretBinary."},
		"short token": {second(s.client.PutSecretValue(ctx, &sdk.PutSecretValueInput{SecretId: new("a"), SecretString: new(value), ClientRequestToken: new("x")})), "ValidationException", "1 validation error detected"},
		"replicas": {second(s.client.CreateSecret(ctx, &sdk.CreateSecretInput{Name: new("b"), AddReplicaRegions: []types.ReplicaRegionType{{Region: new("us-east-2")}}})),
			"InvalidParameterException", "AddReplicaRegions: "},
		"window":    {second(s.client.DeleteSecret(ctx, &sdk.DeleteSecretInput{SecretId: new("a"), RecoveryWindowInDays: new(int64(0))})), "InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."},
		"huge":      {second(s.client.DeleteSecret(ctx, &sdk.DeleteSecretInput{SecretId: new("a"), RecoveryWindowInDays: new(int64(1) << 62)})), "InvalidParameterException", "The RecoveryWindowInDays value"},
		"force":     {second(s.client.DeleteSecret(ctx, &sdk.DeleteSecretInput{SecretId: new("a"), RecoveryWindowInDays: new(int64(7)), ForceDeleteWithoutRecovery: new(true)})), "InvalidParameterException", "You can't use ForceDeleteWithoutRecovery"},
		"token":     {second(s.client.ListSecrets(ctx, &sdk.ListSecretsInput{NextToken: new("e30x")})), "InvalidNextTokenException", ""},
		"policy":    {second(s.client.PutResourcePolicy(ctx, &sdk.PutResourcePolicyInput{SecretId: new("a"), ResourcePolicy: new("{")})), "MalformedPolicyDocumentException", "This resource policy contains a syntax error"},
		"public":    {second(s.client.PutResourcePolicy(ctx, &sdk.PutResourcePolicyInput{SecretId: new("a"), BlockPublicPolicy: new(true), ResourcePolicy: new(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"secretsmanager:*","Resource":"*"}}`)})), "PublicPolicyException", ""},
		"tags":      {second(s.client.TagResource(ctx, &sdk.TagResourceInput{SecretId: new("a"), Tags: []types.Tag{{Key: new("k")}, {Key: new("k")}}})), "InvalidParameterException", "Duplicate tag keys found: k"},
		"filter":    {second(s.client.ListSecrets(ctx, &sdk.ListSecretsInput{Filters: []types.Filter{{Key: "colour", Values: []string{"x"}}}})), "ValidationException", "1 validation error detected"},
		"batch":     {second(s.client.BatchGetSecretValue(ctx, &sdk.BatchGetSecretValueInput{})), "InvalidParameterException", "Either 'SecretIdList' or 'Filters'"},
		"password":  {second(s.client.GetRandomPassword(ctx, &sdk.GetRandomPasswordInput{PasswordLength: new(int64(2))})), "InvalidParameterException", "Password length is too short"},
		"foreign":   {second(s.client.GetSecretValue(ctx, &sdk.GetSecretValueInput{SecretId: &foreign})), "AccessDeniedException", "User: arn:aws:iam::111122223333:root is not authorized to perform: secretsmanager:GetSecretValue on resource: " + foreign + " because"},
		"rotate":    {second(s.client.RotateSecret(ctx, &sdk.RotateSecretInput{SecretId: new("a")})), "UnsupportedOperationException", "The operation secretsmanager:RotateSecret is not supported"},
		"replicate": {second(s.client.ReplicateSecretToRegions(ctx, &sdk.ReplicateSecretToRegionsInput{SecretId: new("a"), AddReplicaRegions: []types.ReplicaRegionType{{Region: new("us-east-2")}}})), "UnsupportedOperationException", "The operation secretsmanager:Repl"},
		"reference": {second(s.client.PutSecretValue(ctx, &sdk.PutSecretValueInput{SecretId: new("a"), SecretString: new(`{"sekisho:ref":"file:/etc/passwd"}`)})), "InvalidParameterException", "The value refers to file:/etc/passwd, to which the configuration (secrets.file_roots)"},
	} {
		e, ok := errors.AsType[smithy.APIError](c.err)
		if !ok || e.ErrorCode() != c.code || !strings.HasPrefix(e.ErrorMessage(), c.text) {
			t.Errorf("%s: %v", name, c.err)
		}
		if c.err != nil && strings.Contains(c.err.Error(), value) {
			t.Errorf("%s: tells a value: %v", name, c.err)
		}
	}
	if strings.Contains(s.log.String(), value) || strings.Contains(s.log.String(), "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5") || s.log.String() == "" {
		t.Error("the log tells a value, or nothing")
	}
}

func second[A any](_ A, err error) error { return err }

// TestMalformedTellsNothing sends bodies that can't be decoded and have a value in them.
func TestMalformedTellsNothing(t *testing.T) {
	s := newServer(t, metatest.Open(t, metatest.SQLite(t)), secret.Outward{})
	for name, body := range map[string]string{
		"twice":      `{"Name":"a","SecretString":"hunter2","SecretString":"hunter2"}`,
		"no base64":  `{"Name":"a","SecretBinary":"hunter2 hunter2!"}`,
		"cut off":    `{"Name":"a","SecretString":"hunter2`,
		"wrong type": `{"Name":"a","SecretString":["hunter2"]}`,
		"a number":   `{"Name":["hunter2"],"SecretString":77777777}`,
		"bad UTF-8":  "{\"Name\":\"a\",\"SecretString\":\"hunter2\xff\"}",
	} {
		out := s.post(t, "CreateSecret", body)
		if !strings.Contains(out, "SerializationException") || strings.Contains(out, "hunter2") || strings.Contains(out, "77777777") {
			t.Errorf("%s: %s", name, out)
		}
	}
	if strings.Contains(s.log.String(), "hunter2") {
		t.Errorf("%s", s.log.String())
	}
}

// post sends a signed body as it is.
func (s *server) post(t *testing.T, operation, body string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bototest.Python(t, "botocore"), "-c", `
import sys, urllib.request, urllib.error
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
url, key, secret, region, operation = sys.argv[1:]
body = sys.stdin.buffer.read()
r = AWSRequest('POST', url, data=body, headers={'X-Amz-Target': 'secretsmanager.' + operation, 'Content-Type': 'application/x-amz-json-1.1'})
SigV4Auth(Credentials(key, secret), 'secretsmanager', region).add_auth(r)
try: print(urllib.request.urlopen(urllib.request.Request(url, data=body, headers=dict(r.headers))).read())
except urllib.error.HTTPError as e: print(e.read())
`, s.URL+"/", s.key.ID, s.key.Secret.Reveal(), region, operation)
	cmd.Stdin = strings.NewReader(body)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestBoto3 calls every operation that is served, and holds the answers against the service's model.
func TestBoto3(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/password", []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, metatest.Open(t, metatest.SQLite(t)), secret.Outward{Files: []secret.Allowed{{Account: account, Name: dir}}})
	args := []string{"-B", "testdata/client.py", dir}
	for operation, served := range (&secretsmanager.API{}).Service().Operations() {
		if served {
			args = append(args, operation)
		}
	}
	bototest.Run(t, bototest.Env(s.URL, region, s.key.ID, s.key.Secret.Reveal()), args...)
}

// TestModel holds the operations and their constraints against the model that botocore ships.
func TestModel(t *testing.T) {
	operations := bototest.Model(t, "secretsmanager")
	var got []string
	for name := range (&secretsmanager.API{}).Service().Operations() {
		got = append(got, name)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(operations)), got); diff != "" {
		t.Errorf("operations (-model +ours):\n%s", diff)
	}
	for name, members := range secretsmanager.Constraints() {
		got := bototest.Constraints(members)
		want := operations[name]
		maps.DeleteFunc(want, func(path string, _ bototest.Constraint) bool { return strings.HasPrefix(path, "AddReplicaRegions[]") }) // they are refused
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-model +ours):\n%s", name, diff)
		}
	}
}
