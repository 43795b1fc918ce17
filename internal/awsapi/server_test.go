package awsapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	sdkiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
)

const (
	region = "eu-west-1"
	keyID  = "AKIAIOSFODNN7EXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	prefix = "AmazonEC2ContainerRegistry_V20150921"
)

// keys has an access key, one of which a wrong secret is one too many, one that is always throttled, and temporary ones.
type keys struct{}

func (keys) SigningKey(_ context.Context, id, token string, _ netip.Addr) (iam.Secret, *iam.Principal, error) {
	switch {
	case token == "expired":
		return iam.Secret{}, nil, iam.ErrSessionExpired
	case strings.HasPrefix(id, "ASIA") && token == "good":
		return iam.NewSecret(secret), &iam.Principal{Account: "111122223333", ARN: "session", Type: iam.AssumedRole, AccessKeyID: id}, nil
	case token != "" || strings.HasPrefix(id, "ASIA"):
		return iam.Secret{}, nil, iam.ErrSessionToken
	}
	switch id {
	case "AKIAGUESSED":
		return iam.NewSecret(secret), &iam.Principal{}, nil
	case keyID:
		p := &iam.Principal{Account: "111122223333", ARN: iam.RootARN("111122223333"), Type: iam.Root, AccessKeyID: id}
		return iam.NewSecret(secret), p, nil
	case "AKIATHROTTLED":
		return iam.Secret{}, nil, iam.ErrThrottled
	}
	return iam.Secret{}, nil, iam.ErrUnknownKey
}

func (keys) WrongSecret(id string, _ netip.Addr) error {
	if id == "AKIAGUESSED" {
		return iam.ErrThrottled
	}
	return nil
}

var errSecretDetail = errors.New("a detail that is nobody's business")

// fullError returns the error of a database that can't grow.
func fullError(t *testing.T) error {
	t.Helper()
	err := metatest.Open(t, metatest.SQLite(t)).Update(t.Context(), func(tx *meta.Tx) error {
		for _, q := range []string{`PRAGMA max_page_count = 1`, `CREATE TABLE fat (data BLOB)`, `INSERT INTO fat (data) VALUES (zeroblob(1000000))`} {
			if _, err := tx.Exec(t.Context(), q); err != nil {
				return err
			}
		}
		return nil
	})
	if !meta.IsFull(err) {
		t.Fatalf("error %v, want full", err)
	}
	return err
}

// newServer serves a few operations that behave as the repository's name tells them to.
func newServer(t *testing.T) (*httptest.Server, *bytes.Buffer) {
	full := fullError(t)
	o := awsapi.ServiceOptions{
		Internal: "ServerException",
		Invalid: func(member, constraint string) smithy.APIError {
			return &types.InvalidParameterException{Message: aws.String(member + ": " + constraint)}
		},
		Explain: func(err error) smithy.APIError {
			if errors.Is(err, io.ErrNoProgress) {
				return &types.RepositoryNotFoundException{Message: aws.String("explained")}
			}
			return nil
		},
	}
	ecrService := awsapi.NewJSON("ecr", prefix, o)
	name := awsapi.Member{Path: "repositoryName", Required: true, Min: 2}
	awsapi.Handle(ecrService, awsapi.Op{Name: "DeleteRepository", Members: []awsapi.Member{name}},
		func(_ context.Context, c *awsapi.Call, in *ecr.DeleteRepositoryInput) (*ecr.DeleteRepositoryOutput, error) {
			switch *in.RepositoryName {
			case "explained":
				return nil, fmt.Errorf("wrapped: %w", io.ErrNoProgress)
			case "typed":
				return nil, &types.InvalidLayerPartException{Message: aws.String("part"), UploadId: aws.String("id"), LastValidByteReceived: aws.Int64(41)}
			case "denied":
				return nil, iam.Decision{Reason: "because of this test"}.Denied(c.Caller, iam.On(c.Caller, "ecr:DeleteRepository", "*"))
			case "internal":
				return nil, errSecretDetail
			case "full":
				return nil, fmt.Errorf("%w: %w", errSecretDetail, full)
			case "server":
				return nil, &types.ServerException{Message: aws.String("disk full")}
			case "panic":
				panic("in an operation")
			}
			at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
			return &ecr.DeleteRepositoryOutput{Repository: &types.Repository{
				RepositoryName: in.RepositoryName, RegistryId: &c.Account, CreatedAt: &at, RepositoryUri: aws.String("\u2028<&>\""),
				RepositoryArn: aws.String(c.SourceIP.String() + " " + c.UserAgent[:3] + " " + c.Origin.Host),
			}}, nil
		})
	awsapi.Handle(ecrService, awsapi.Op{Name: "UploadLayerPart", MaxBody: 4 << 20},
		func(_ context.Context, _ *awsapi.Call, in *ecr.UploadLayerPartInput) (*ecr.UploadLayerPartOutput, error) {
			return &ecr.UploadLayerPartOutput{LastByteReceived: aws.Int64(int64(len(in.LayerPartBlob)) - 1)}, nil
		})
	stsService := awsapi.NewQuery("sts", "2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/", awsapi.ServiceOptions{Internal: "InternalFailure"})
	awsapi.Handle(stsService, awsapi.Op{Name: "GetCallerIdentity"},
		func(_ context.Context, c *awsapi.Call, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
			return &sts.GetCallerIdentityOutput{Account: &c.Account, Arn: &c.ARN, UserId: aws.String("<&>")}, nil
		})
	awsapi.Handle(stsService, awsapi.Op{Name: "AssumeRoleWithWebIdentity", Unsigned: true, Members: []awsapi.Member{{Path: "RoleArn", Min: 20}}},
		func(_ context.Context, c *awsapi.Call, in *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error) {
			return &sts.AssumeRoleWithWebIdentityOutput{Provider: aws.String(c.Who() + " from " + c.SourceIP.String()), Audience: in.PolicyArns[0].Arn}, nil
		})
	awsapi.Unsupported(stsService, []string{"GetFederationToken"}, "Use AssumeRole.")
	awsapi.Unsupported(ecrService, []string{"StartImageScan"}, "Nothing scans.")
	iamService := awsapi.NewQuery("iam", "2010-05-08", "https://iam.amazonaws.com/doc/2010-05-08/", awsapi.ServiceOptions{Internal: "ServiceFailure", Global: true})
	awsapi.Handle(iamService, awsapi.Op{Name: "DeleteUser"}, func(_ context.Context, _ *awsapi.Call, in *sdkiam.DeleteUserInput) (*sdkiam.DeleteUserOutput, error) {
		return &sdkiam.DeleteUserOutput{}, nil
	})
	awsapi.Handle(iamService, awsapi.Op{Name: "UpdateRole", EmptyResult: true},
		func(_ context.Context, _ *awsapi.Call, in *sdkiam.UpdateRoleInput) (*sdkiam.UpdateRoleOutput, error) {
			return &sdkiam.UpdateRoleOutput{}, nil
		})
	s := awsapi.New(region, keys{}, time.Now, ecrService, stsService, iamService)
	var log bytes.Buffer
	srv := httptest.NewServer(httpx.New(func(w *httpx.Response, r *http.Request) error {
		if !s.Handles(r) {
			return &httpx.Error{Status: http.StatusNotFound, Message: "not for an AWS API"}
		}
		return s.Serve(w, r)
	}, httpx.Options{
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		Proxies: httpx.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	}))
	t.Cleanup(srv.Close)
	return srv, &log
}

func credentials(id, secret string) aws.CredentialsProviderFunc {
	return func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
	}
}

func ecrClient(srv *httptest.Server, region, id, secret string) *ecr.Client {
	return ecr.New(ecr.Options{Region: region, BaseEndpoint: &srv.URL, Credentials: credentials(id, secret), RetryMaxAttempts: 1})
}

// TestGoSDK calls with the client whose types the server uses.
func TestGoSDK(t *testing.T) {
	srv, _ := newServer(t)
	client := ecrClient(srv, region, keyID, secret)
	call := func(name string) (*ecr.DeleteRepositoryOutput, error) {
		return client.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: &name})
	}

	out, err := call("fine")
	if err != nil {
		t.Fatal(err)
	}
	r := out.Repository
	got := []string{*r.RepositoryName, *r.RegistryId, *r.RepositoryUri, *r.RepositoryArn, r.CreatedAt.UTC().String()}
	want := []string{"fine", "111122223333", "\u2028<&>\"", "127.0.0.1 aws " + strings.TrimPrefix(srv.URL, "http://"), "2026-01-02 03:04:05.678 +0000 UTC"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	part, err := client.UploadLayerPart(t.Context(), &ecr.UploadLayerPartInput{
		RepositoryName: aws.String("rr"), UploadId: aws.String("u"), PartFirstByte: aws.Int64(0), PartLastByte: aws.Int64(2999999), LayerPartBlob: make([]byte, 3e6),
	})
	if err != nil || *part.LastByteReceived != 2999999 {
		t.Errorf("part: %v, %v", part, err)
	}

	_, err = call("explained")
	if e, ok := errors.AsType[*types.RepositoryNotFoundException](err); !ok || *e.Message != "explained" {
		t.Errorf("explained: %v", err)
	}
	_, err = call("typed")
	if e, ok := errors.AsType[*types.InvalidLayerPartException](err); !ok || *e.LastValidByteReceived != 41 || *e.UploadId != "id" {
		t.Errorf("typed: %#v", err)
	}
	_, err = call("server")
	if e, ok := errors.AsType[*types.ServerException](err); !ok || *e.Message != "disk full" {
		t.Errorf("server: %#v", err)
	}
}

// post is a request that is signed and then, perhaps, changed.
type post struct {
	target  string
	body    string
	media   string
	service string
	region  string
	id      string
	secret  string
	token   string
	at      time.Duration
	change  func(*http.Request)
}

func (p post) send(t *testing.T, srv *httptest.Server) *http.Response {
	t.Helper()
	or := func(s, other string) string {
		if s == "" {
			return other
		}
		return s
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/", strings.NewReader(p.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", or(p.media, "application/x-amz-json-1.1"))
	if p.target != "" {
		r.Header.Set("X-Amz-Target", p.target)
	}
	hash := sha256.Sum256([]byte(p.body))
	creds := aws.Credentials{AccessKeyID: or(p.id, keyID), SecretAccessKey: or(p.secret, secret), SessionToken: p.token}
	err = v4.NewSigner().SignHTTP(t.Context(), creds, r, hex.EncodeToString(hash[:]), or(p.service, "ecr"), or(p.region, region), time.Now().Add(p.at))
	if err != nil {
		t.Fatal(err)
	}
	if p.change != nil {
		p.change(r)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestJSONErrors(t *testing.T) {
	srv, log := newServer(t)
	del := func(name string) post {
		return post{target: prefix + ".DeleteRepository", body: `{"repositoryName":"` + name + `"}`}
	}
	with := func(p post, f func(*post)) post { f(&p); return p }
	for _, tt := range []struct {
		name    string
		post    post
		status  int
		code    string
		message string // part of it
	}{
		{"denied", del("denied"), 400, "AccessDeniedException",
			"User: arn:aws:iam::111122223333:root is not authorized to perform: ecr:DeleteRepository on resource: * because of this test; more: sekisho why "},
		{"internal", del("internal"), 500, "ServerException", "the server's log has the reason under request id "},
		{"full", del("full"), 500, "ServerException", "database is full or fails: free space there and try again; the server's log has the reason under request id "},
		{"server", del("server"), 500, "ServerException", "disk full"},
		{"typed", del("typed"), 400, "InvalidLayerPartException", "part"},
		{"constraint", del("x"), 400, "InvalidParameterException", "repositoryName: Member must have length greater than or equal to 2"},
		{"no body", with(del(""), func(p *post) { p.body = "" }), 400, "InvalidParameterException", "repositoryName: Member must not be null"},
		{"no JSON", with(del(""), func(p *post) { p.body = "{" }), 400, "SerializationException", "not acceptable JSON"},
		{"wrong type", with(del(""), func(p *post) { p.body = `{"repositoryName":[]}` }), 400, "SerializationException", "repositoryName: ARRAY_VALUE"},
		{"too long", with(del(""), func(p *post) { p.body = strings.Repeat(" ", 1<<20+1) }), 413, "RequestEntityTooLargeException", "longer than this operation takes"},
		{"too long, unannounced", with(del(""), func(p *post) {
			p.body = strings.Repeat(" ", 1<<20+1)
			p.change = func(r *http.Request) { r.ContentLength = -1 }
		}), 413, "RequestEntityTooLargeException", "longer"},
		{"unknown operation", post{target: prefix + ".Fly"}, 400, "UnknownOperationException", "not supported"},
		{"unknown service", post{target: "Other.DeleteRepository"}, 400, "UnknownOperationException", "No service here"},
		{"no operation", post{target: prefix}, 400, "UnknownOperationException", "not supported"},
		{"unsupported operation", post{target: prefix + ".StartImageScan"}, 400, "UnsupportedOperationException",
			"The operation ecr:StartImageScan is not supported by this server. Nothing scans."},
		{"no target", post{body: "{}"}, 400, "UnknownOperationException", "neither"},
		{"unsigned", with(del("fine"), func(p *post) {
			p.change = func(r *http.Request) { r.Header.Del("Authorization") }
		}), 400, "MissingAuthenticationTokenException", "Missing Authentication Token"},
		{"incomplete", with(del("fine"), func(p *post) {
			p.change = func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x") }
		}), 400, "IncompleteSignatureException", "requires 'Signature'"},
		{"wrong secret", with(del("fine"), func(p *post) { p.secret = "x" }), 400, "InvalidSignatureException",
			"The Canonical String for this request should have been\n'POST\n/\n"},
		{"other body", with(del("fine"), func(p *post) {
			p.change = func(r *http.Request) {
				body := strings.Replace(p.body, "fine", "mine", 1)
				r.Body = io.NopCloser(strings.NewReader(body))
			}
		}), 400, "InvalidSignatureException", "does not match"},
		{"other operation", with(del("fine"), func(p *post) {
			p.change = func(r *http.Request) { r.Header.Set("X-Amz-Target", prefix+".UploadLayerPart") }
		}), 400, "InvalidSignatureException", "does not match"},
		{"second target", with(del("fine"), func(p *post) {
			p.change = func(r *http.Request) { r.Header.Add("X-Amz-Target", prefix+".UploadLayerPart") }
		}), 400, "IncompleteSignatureException", "more than one 'X-Amz-Target'"},
		{"other host", with(del("fine"), func(p *post) {
			p.change = func(r *http.Request) { r.Host = "other.example" }
		}), 400, "InvalidSignatureException", "host:other.example"},
		{"late", with(del("fine"), func(p *post) { p.at = -16 * time.Minute }), 400, "InvalidSignatureException", "Signature expired: "},
		{"early", with(del("fine"), func(p *post) { p.at = 16 * time.Minute }), 400, "InvalidSignatureException", "Signature not yet current: "},
		{"wrong region", with(del("fine"), func(p *post) { p.region = "us-east-1" }), 400, "InvalidSignatureException", "Credential should be scoped to a valid region, not 'us-east-1'."},
		{"wrong service", with(del("fine"), func(p *post) { p.service = "sts" }), 400, "InvalidSignatureException", "Credential should be scoped to correct service: 'ecr'"},
		{"unknown key", with(del("fine"), func(p *post) { p.id = "AKIAXXXXXXXXXXXXXXXX" }), 400, "InvalidSignatureException",
			"The Canonical String for this request should have been\n'POST\n/\n"},
		{"unknown key, too long", with(del("fine"), func(p *post) {
			p.id, p.body = "AKIAXXXXXXXXXXXXXXXX", strings.Repeat(" ", 1<<20+1)
			p.change = func(r *http.Request) { r.ContentLength = -1 }
		}), 413, "RequestEntityTooLargeException", "longer than this operation takes"},
		{"guessed too often", with(del("fine"), func(p *post) { p.id, p.secret = "AKIAGUESSED", "x" }), 400, "ThrottlingException", "Rate exceeded"},
		{"session token", with(del("fine"), func(p *post) { p.token = "x" }), 400, "UnrecognizedClientException", "The security token included in the request is invalid."},
		{"no session token", with(del("fine"), func(p *post) { p.id = "ASIAXXXXXXXXXXXXXXXX" }), 400, "UnrecognizedClientException", "The security token"},
		{"expired session", with(del("fine"), func(p *post) { p.id, p.token = "ASIAXXXXXXXXXXXXXXXX", "expired" }), 400,
			"ExpiredTokenException", "The security token included in the request is expired"},
		{"other session token", with(del("fine"), func(p *post) {
			p.id, p.token = "ASIAXXXXXXXXXXXXXXXX", "evil"
			p.change = func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "good") }
		}), 400, "InvalidSignatureException", "does not match"},
		{"throttled", with(del("fine"), func(p *post) { p.id = "AKIATHROTTLED" }), 400, "ThrottlingException", "Rate exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := tt.post.send(t, srv)
			var body struct {
				Type    string `json:"__type"`
				Message string `json:"message"`
			}
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			h := resp.Header
			if resp.StatusCode != tt.status || body.Type != tt.code || !strings.Contains(body.Message, tt.message) {
				t.Errorf("got %d %+v\nwant %d %s %q", resp.StatusCode, body, tt.status, tt.code, tt.message)
			}
			if id := h.Get("X-Amzn-RequestId"); id == "" || id != h.Get("X-Request-Id") || h.Get("X-Amzn-ErrorType") != tt.code || h.Get("Content-Type") != "application/x-amz-json-1.1" {
				t.Errorf("headers %v", h)
			}
			if strings.Contains(body.Message, errSecretDetail.Error()) {
				t.Errorf("the client is told %q", body.Message)
			}
		})
	}
	srv.Close()
	if text := log.String(); !strings.Contains(text, errSecretDetail.Error()) || strings.Contains(text, secret) || strings.Contains(text, "Canonical String") {
		t.Errorf("log:\n%s", text)
	}
}

func TestJSONVersion(t *testing.T) {
	srv, _ := newServer(t)
	resp := post{target: prefix + ".DeleteRepository", body: `{"repositoryName":"fine"}`, media: "application/x-amz-json-1.0"}.send(t, srv)
	if got := resp.Header.Get("Content-Type"); got != "application/x-amz-json-1.0" || resp.StatusCode != 200 {
		t.Errorf("%s, %s", resp.Status, got)
	}
}

// TestProxy has a proxy in front that rewrites the host and says so.
func TestProxy(t *testing.T) {
	srv, _ := newServer(t)
	front := post{target: prefix + ".DeleteRepository", body: `{"repositoryName":"fine"}`}
	front.change = func(r *http.Request) {
		r.Header.Set("X-Forwarded-Host", r.URL.Host)
		r.Host = "backend.internal"
	}
	if resp := front.send(t, srv); resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		t.Errorf("%s %s", resp.Status, text)
	}
}

func TestPanic(t *testing.T) {
	srv, _ := newServer(t)
	if resp := (post{target: prefix + ".DeleteRepository", body: `{"repositoryName":"panic"}`}).send(t, srv); resp.StatusCode != http.StatusInternalServerError {
		t.Error(resp.Status)
	}
}

func TestQuery(t *testing.T) {
	srv, _ := newServer(t)
	client := sts.New(sts.Options{Region: region, BaseEndpoint: &srv.URL, Credentials: credentials(keyID, secret)})
	out, err := client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if *out.Account != "111122223333" || *out.Arn != "arn:aws:iam::111122223333:root" || *out.UserId != "<&>" {
		t.Errorf("%+v", out)
	}

	// A presigned GET, as vault and EKS use to prove an identity.
	presigned, err := sts.NewPresignClient(client).PresignGetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		url    string
		status int
	}{{presigned.URL, 200}, {presigned.URL + "&Action=Other", 403}, {srv.URL, 404}} {
		resp, err := http.Get(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("GET %s: %s", tt.url, resp.Status)
		}
	}

	unsigned := func(r *http.Request) { r.Header.Del("Authorization") }
	const form = "application/x-www-form-urlencoded; charset=utf-8"
	const action = "Action=GetCallerIdentity&Version=2011-06-15"
	for _, tt := range []struct {
		name   string
		post   post
		status int
		code   string
	}{
		{"unsigned", post{body: action, change: unsigned}, 403, "MissingAuthenticationToken"},
		{"incomplete", post{body: action, change: func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x") }}, 400, "IncompleteSignature"},
		{"wrong secret", post{body: action, secret: "x"}, 403, "SignatureDoesNotMatch"},
		{"late", post{body: action, at: -time.Hour}, 403, "SignatureDoesNotMatch"},
		{"wrong service", post{body: action, service: "ecr"}, 403, "SignatureDoesNotMatch"},
		{"unknown key", post{body: action, id: "AKIAX"}, 403, "SignatureDoesNotMatch"},
		{"no session token", post{body: action, id: "ASIAX"}, 403, "InvalidClientTokenId"},
		{"expired session", post{body: action, id: "ASIAX", token: "expired"}, 403, "ExpiredToken"},
		{"throttled", post{body: action, id: "AKIATHROTTLED"}, 400, "Throttling"},
		{"unknown action", post{body: "Action=Fly&Version=2011-06-15"}, 400, "InvalidAction"},
		{"unsupported action", post{body: "Action=GetFederationToken&Version=2011-06-15"}, 400, "UnsupportedOperation"},
		{"unreadable", post{body: "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&DurationSeconds=x"}, 400, "MalformedInput"},
		{"invalid", post{body: "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=x"}, 400, "ValidationError"},
		{"wrong region", post{body: action, region: "us-east-1"}, 403, "SignatureDoesNotMatch"},
		{"unsigned, long", post{body: "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&x=" + strings.Repeat("a", 64<<10), change: unsigned}, 413, "RequestEntityTooLarge"},
		{"unsigned, invalid", post{body: "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=x", change: unsigned}, 400, "ValidationError"},
		{"unsigned, no form", post{body: "%zz", change: unsigned}, 400, "MalformedQueryString"},
		{"unsigned, other version", post{body: "Action=AssumeRoleWithWebIdentity&Version=2010-05-08", change: unsigned}, 403, "MissingAuthenticationToken"},
		{"signed wrong though it need not be", post{body: "Action=AssumeRoleWithWebIdentity&Version=2011-06-15", secret: "x"}, 403, "SignatureDoesNotMatch"},
		{"unknown version", post{body: "Action=GetCallerIdentity"}, 400, "InvalidAction"},
		{"no form", post{body: "%zz"}, 400, "MalformedQueryString"},
		{"too long", post{body: strings.Repeat("a", 1<<20+1)}, 413, "RequestEntityTooLarge"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.post.media = form
			if tt.post.service == "" {
				tt.post.service = "sts"
			}
			resp := tt.post.send(t, srv)
			var body struct {
				XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
				Error   struct{ Type, Code, Message string }
				ID      string `xml:"RequestId"`
			}
			if err := xml.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || body.Error.Code != tt.code || body.Error.Type != "Sender" || body.Error.Message == "" || body.ID != resp.Header.Get("X-Request-Id") {
				t.Errorf("got %d %+v, want %d %s", resp.StatusCode, body, tt.status, tt.code)
			}
		})
	}
}

// TestUnsigned calls an operation that needs no signature, as the SDK does.
func TestUnsigned(t *testing.T) {
	srv, _ := newServer(t)
	client := sts.New(sts.Options{Region: region, BaseEndpoint: &srv.URL})
	out, err := client.AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String("arn:aws:iam::111122223333:role/r"), RoleSessionName: aws.String("s"), WebIdentityToken: aws.String("token"),
		PolicyArns: []ststypes.PolicyDescriptorType{{Arn: aws.String("arn:p")}},
	})
	if err != nil || *out.Provider != "anonymous from 127.0.0.1" || *out.Audience != "arn:p" {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestGlobal has clients of a service that they think is in us-east-1.
func TestGlobal(t *testing.T) {
	srv, _ := newServer(t)
	for _, r := range []string{region, "us-east-1"} {
		client := sdkiam.New(sdkiam.Options{Region: r, BaseEndpoint: &srv.URL, Credentials: credentials(keyID, secret), RetryMaxAttempts: 1})
		if _, err := client.DeleteUser(t.Context(), &sdkiam.DeleteUserInput{UserName: aws.String("ann")}); err != nil {
			t.Errorf("%s: %v", r, err)
		}
		if _, err := client.UpdateRole(t.Context(), &sdkiam.UpdateRoleInput{RoleName: aws.String("r")}); err != nil {
			t.Errorf("%s: %v", r, err)
		}
	}
	other := sdkiam.New(sdkiam.Options{Region: "us-west-2", BaseEndpoint: &srv.URL, Credentials: credentials(keyID, secret), RetryMaxAttempts: 1})
	if _, err := other.DeleteUser(t.Context(), &sdkiam.DeleteUserInput{UserName: aws.String("ann")}); err == nil {
		t.Error("a signature for another region was accepted")
	}
}

// TestResult compares answers, to the byte, with the form of AWS's.
func TestResult(t *testing.T) {
	srv, _ := newServer(t)
	for _, tt := range []struct{ action, result string }{
		{"DeleteUser&UserName=a", ""}, {"UpdateRole&RoleName=r", "<UpdateRoleResult></UpdateRoleResult>"},
	} {
		resp := post{body: "Version=2010-05-08&Action=" + tt.action, service: "iam", media: "application/x-www-form-urlencoded"}.send(t, srv)
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(tt.action, "&")
		want := "<" + name + `Response xmlns="https://iam.amazonaws.com/doc/2010-05-08/">` + tt.result + "<ResponseMetadata><RequestId>" +
			resp.Header.Get("X-Amzn-RequestId") + "</RequestId></ResponseMetadata></" + name + "Response>"
		if string(got) != want || resp.Header.Get("Content-Type") != "text/xml" {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
