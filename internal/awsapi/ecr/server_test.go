package ecr_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/awsapi/ecr"
	"github.com/sekisho/sekisho/internal/awsapi/sts"
	"github.com/sekisho/sekisho/internal/blob/mem"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/session"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/registry"
	"github.com/sekisho/sekisho/internal/registry/ociserver"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	account = "111122223333"
	region  = "eu-west-1"
)

// server is an instance in a process: a real database, authorisation, and the OCI endpoints beside the API.
type server struct {
	*httptest.Server
	key    *iam.AccessKey
	client *sdk.Client
	api    *ecr.API
}

func newServer(t testing.TB) *server {
	t.Helper()
	key32 := bytes.Repeat([]byte{9}, 32)
	db := metatest.Open(t, metatest.SQLite(t))
	local, err := registry.NewLocal(db, mem.New(time.Now), registry.Options{UploadKey: key32})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := seal.New(key32)
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
	judge := &registry.Judge{Judge: iam.Judge{Authorizer: iam.RootOnly{}, Note: func(*iam.Caller, *iam.Request, iam.Decision) {}}, Region: region}
	served := registry.Authorize(local, judge)
	links := &ociserver.Links{Key: key32, Keys: keys, Now: time.Now}
	s := &server{
		key: key,
		api: &ecr.API{Registry: served, Control: registry.NewControl(local, judge), Judge: judge, Tokens: keys, Links: links, Addresses: ecr.Addresses{Account: account, Region: region}},
	}
	whoami := &sts.API{Sessions: session.New(keys, &judge.Judge, nil, nil, session.Options{})}
	aws4 := awsapi.New(region, keys, time.Now, s.api.Service(), ecr.PublicService(), whoami.Service())
	oci := &ociserver.Server{Registry: served, Auth: keys, Links: links, Account: account, Region: region}
	s.Server = httptest.NewServer(httpx.New(func(w *httpx.Response, r *http.Request) error {
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			return oci.Serve(w, r)
		}
		return aws4.Serve(w, r)
	}, httpx.Options{Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(s.Close)
	s.client = s.as(key.ID, key.Secret.Reveal())
	return s
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

func (s *server) host(t testing.TB) string {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func (s *server) createRepository(t testing.TB, name string) {
	t.Helper()
	if _, err := s.client.CreateRepository(t.Context(), &sdk.CreateRepositoryInput{RepositoryName: &name}); err != nil {
		t.Fatal(err)
	}
}

// putLayer uploads bytes through the API in parts and returns their digest.
func (s *server) putLayer(t testing.TB, repo string, data []byte, part int) digest.Digest {
	t.Helper()
	started, err := s.client.InitiateLayerUpload(t.Context(), &sdk.InitiateLayerUploadInput{RepositoryName: &repo})
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(data); at += part {
		chunk := data[at:min(at+part, len(data))]
		last := int64(at + len(chunk) - 1)
		out, err := s.client.UploadLayerPart(t.Context(), &sdk.UploadLayerPartInput{
			RepositoryName: &repo, UploadId: started.UploadId, PartFirstByte: new(int64(at)), PartLastByte: &last, LayerPartBlob: chunk,
		})
		if err != nil {
			t.Fatal(err)
		}
		if *out.LastByteReceived != last {
			t.Fatalf("last byte received %d, want %d", *out.LastByteReceived, last)
		}
	}
	d := digest.FromBytes(data)
	done, err := s.client.CompleteLayerUpload(t.Context(), &sdk.CompleteLayerUploadInput{
		RepositoryName: &repo, UploadId: started.UploadId, LayerDigests: []string{string(d)},
	})
	var there *types.LayerAlreadyExistsException
	if errors.As(err, &there) { // as clients take it
		return d
	}
	if err != nil {
		t.Fatal(err)
	}
	if *done.LayerDigest != string(d) {
		t.Fatalf("layer digest %s, want %s", *done.LayerDigest, d)
	}
	return d
}

const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

type descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int           `json:"size"`
}

// putImage pushes an image of one random layer, with a tag if not empty, and returns its digest and manifest.
func (s *server) putImage(t testing.TB, repo, tag string) (digest.Digest, string) {
	t.Helper()
	config, layer := []byte("{}"), make([]byte, 100)
	_, _ = rand.Read(layer)
	manifest := render(t, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest,
		"config": descriptor{typeConfig, s.putLayer(t, repo, config, 100), len(config)},
		"layers": []descriptor{{typeLayer, s.putLayer(t, repo, layer, 100), len(layer)}},
	})
	return s.putManifest(t, repo, tag, manifest), manifest
}

func (s *server) putIndex(t testing.TB, repo, tag string, manifests ...string) (digest.Digest, string) {
	t.Helper()
	var children []descriptor
	for _, m := range manifests {
		children = append(children, descriptor{typeManifest, digest.FromString(m), len(m)})
	}
	index := render(t, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": children})
	return s.putManifest(t, repo, tag, index), index
}

func (s *server) putManifest(t testing.TB, repo, tag, manifest string) digest.Digest {
	t.Helper()
	in := &sdk.PutImageInput{RepositoryName: &repo, ImageManifest: &manifest}
	if tag != "" {
		in.ImageTag = &tag
	}
	out, err := s.client.PutImage(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	d := digest.FromString(manifest)
	if *out.Image.ImageId.ImageDigest != string(d) || *out.Image.ImageManifest != manifest {
		t.Fatalf("put %s, want %s", *out.Image.ImageId.ImageDigest, d)
	}
	return d
}

func render(t testing.TB, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "   ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
