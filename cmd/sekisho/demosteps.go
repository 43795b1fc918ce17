package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/sekisho/sekisho/internal/app"
)

const (
	demoRepository = "demo/sekisho"
	demoTag        = "v1"
	demoLogLevel   = slog.LevelWarn
)

// demonstration does what a team's first hour with the registry would be, with clients that are not ours: the AWS SDK
// and go-containerregistry.
type demonstration struct {
	tell *teller
	in   *app.Instance
	host string

	endpoint string // host:port of the private endpoint

	ecr   *ecr.Client
	login authn.Basic // user name and password for /v2/
	image *demoImage
	raw   []byte // the index as it was pushed
	hash  v1.Hash

	ci      authn.Basic // access key and secret of a user
	refused string      // id of the request that was
}

type step struct {
	title string
	do    func(context.Context) (string, error)
}

func (d *demonstration) steps(ctx context.Context) error {
	return d.each(ctx, []step{
		{"Create a repository with the AWS SDK", d.createRepository},
		{"Sign in as at ECR, for 12 hours", d.signIn},
		{"Put this program into an image for two platforms", d.makeImage},
		{"Push it", d.push},
		{"Pull it by tag, with a new client", d.pullByTag},
		{"Pull it by digest", d.pullByDigest},
		{"Ask what the registry has", d.describe},
		{"Come without a credential", d.beRefused},
		{"Give a CI user leave to push here, and nothing else", d.addUser},
		{"Let pushes in through the private endpoint only", d.guard},
		{"Push with that user's key from outside", d.pushOutside},
		{"Ask why", d.why},
		{"Push the same through the endpoint", d.pushInside},
	})
}

func (d *demonstration) each(ctx context.Context, steps []step) error {
	for _, s := range steps {
		if err := d.tell.step(s.title, func() (string, error) { return s.do(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (d *demonstration) createRepository(ctx context.Context) (string, error) {
	root, err := d.in.ReadRootKey(ctx)
	if err != nil {
		return "", err
	}
	key := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: root.AccessKeyID, SecretAccessKey: root.SecretAccessKey}, nil
	})
	d.ecr = ecr.New(ecr.Options{BaseEndpoint: aws.String("http://" + d.host), Region: d.in.Config.Region, Credentials: key})
	out, err := d.ecr.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String(demoRepository)})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Repository.RepositoryUri) + ", request signed with Signature Version 4", nil
}

func (d *demonstration) signIn(ctx context.Context) (string, error) {
	out, err := d.ecr.GetAuthorizationToken(ctx, nil)
	if err != nil {
		return "", err
	}
	if len(out.AuthorizationData) != 1 {
		return "", fmt.Errorf("%d authorization data, there must be one", len(out.AuthorizationData))
	}
	data := out.AuthorizationData[0]
	pair, err := base64.StdEncoding.DecodeString(aws.ToString(data.AuthorizationToken))
	if err != nil {
		return "", fmt.Errorf("decode the authorization token: %w", err)
	}
	d.login.Username, d.login.Password, _ = strings.Cut(string(pair), ":")
	return fmt.Sprintf("user name %s, a token until %s, for %s", d.login.Username,
		aws.ToTime(data.ExpiresAt).Local().Format("15:04"), aws.ToString(data.ProxyEndpoint)), nil
}

func (d *demonstration) makeImage(context.Context) (string, error) {
	var err error
	if d.image, err = newDemoImage(); err != nil {
		return "", err
	}
	if d.raw, err = d.image.index.RawManifest(); err != nil {
		return "", err
	}
	if d.hash, err = d.image.index.Digest(); err != nil {
		return "", err
	}
	text := humanSize(len(d.image.program))
	if d.image.dynamic {
		text += " and its C library"
	}
	return text + ", for " + strings.Join(d.image.platforms, " and "), nil
}

func (d *demonstration) push(ctx context.Context) (string, error) {
	ref, err := d.reference(":" + demoTag)
	if err != nil {
		return "", err
	}
	start := time.Now()
	if err := remote.WriteIndex(ref, d.image.index, d.client(ctx)...); err != nil {
		return "", err
	}
	rate := float64(len(d.image.program)) / time.Since(start).Seconds()
	return fmt.Sprintf("%s, durable before it was acknowledged, %s/s", d.hash, humanSize(rate)), nil
}

func (d *demonstration) pullByTag(ctx context.Context) (string, error) {
	return d.pull(ctx, ":"+demoTag)
}

func (d *demonstration) pullByDigest(ctx context.Context) (string, error) {
	return d.pull(ctx, "@"+d.hash.String())
}

// pull fetches everything the reference leads to and compares it with what was pushed.
func (d *demonstration) pull(ctx context.Context, ref string) (string, error) {
	r, err := d.reference(ref)
	if err != nil {
		return "", err
	}
	got, err := remote.Get(r, d.client(ctx)...)
	if err != nil {
		return "", err
	}
	if got.Digest != d.hash || !bytes.Equal(got.Manifest, d.raw) {
		return "", fmt.Errorf("pulled the index %s, pushed was %s", got.Digest, d.hash)
	}
	index, err := got.ImageIndex()
	if err != nil {
		return "", err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return "", err
	}
	seen := map[v1.Hash]bool{} // the images share layers
	var total int64
	for _, m := range manifest.Manifests {
		image, err := index.Image(m.Digest)
		if err != nil {
			return "", err
		}
		layers, err := image.Layers()
		if err != nil {
			return "", err
		}
		for i, layer := range layers {
			hash, err := layer.Digest()
			if err != nil {
				return "", err
			}
			if seen[hash] {
				continue
			}
			seen[hash] = true
			n, err := d.compare(layer, i == len(layers)-1)
			if err != nil {
				return "", fmt.Errorf("layer %s: %w", hash, err)
			}
			total += n
		}
	}
	return fmt.Sprintf("the same index byte for byte, %d images, %s of layers, the program in them identical",
		len(manifest.Manifests), humanSize(total)), nil
}

// compare reads a layer, whose digest the client checks at its end, and compares the program that is in it, if it is.
func (d *demonstration) compare(layer v1.Layer, hasProgram bool) (n int64, err error) {
	content, err := layer.Compressed()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	if hasProgram {
		files := tar.NewReader(content)
		if _, err := files.Next(); err != nil {
			return 0, err
		}
		program := &comparer{d.image.program}
		if n, err = io.Copy(program, files); err != nil {
			return 0, err
		}
		if len(program.rest) > 0 {
			return 0, errNotTheProgram
		}
	}
	rest, err := io.Copy(io.Discard, content)
	return n + rest, err
}

var errNotTheProgram = errors.New("the program in it is not the one that was pushed")

// comparer is a writer that takes only what it was made with.
type comparer struct{ rest []byte }

func (c *comparer) Write(p []byte) (int, error) {
	if !bytes.HasPrefix(c.rest, p) {
		return 0, errNotTheProgram
	}
	c.rest = c.rest[len(p):]
	return len(p), nil
}

func (d *demonstration) describe(ctx context.Context) (string, error) {
	out, err := d.ecr.DescribeImages(ctx, &ecr.DescribeImagesInput{
		RepositoryName: aws.String(demoRepository),
		ImageIds:       []types.ImageIdentifier{{ImageTag: aws.String(demoTag)}},
	})
	if err != nil {
		return "", err
	}
	if len(out.ImageDetails) != 1 {
		return "", fmt.Errorf("%d images have the tag, there must be one", len(out.ImageDetails))
	}
	image := out.ImageDetails[0]
	if got := aws.ToString(image.ImageDigest); got != d.hash.String() {
		return "", fmt.Errorf("it says the digest is %s", got)
	}
	return fmt.Sprintf("tags %s, %s, pushed at %s", strings.Join(image.ImageTags, ", "),
		humanSize(aws.ToInt64(image.ImageSizeInBytes)), aws.ToTime(image.ImagePushedAt).Local().Format("15:04:05")), nil
}

// beRefused shows what somebody without a credential learns.
func (d *demonstration) beRefused(ctx context.Context) (string, error) {
	s := server{host: d.host}
	client := &http.Client{Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	answer, err := s.get(ctx, client, "http", "/v2/"+demoRepository+"/manifests/"+demoTag, nil)
	if err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusUnauthorized {
		return "", fmt.Errorf("the answer is %s", answer.Status)
	}
	return answer.Status + ": " + answer.reason, nil
}

func (d *demonstration) reference(tagOrDigest string) (name.Reference, error) {
	return name.ParseReference(d.host+"/"+demoRepository+tagOrDigest, name.StrictValidation, name.Insecure)
}

// client returns the options of a client that has no connection yet.
func (d *demonstration) client(ctx context.Context) []remote.Option {
	transport := new(http.Transport) // no proxy: the registry is in this process
	return []remote.Option{remote.WithContext(ctx), remote.WithAuth(&d.login), remote.WithTransport(transport)}
}

// suggestions says what to try by hand. program is how to start this one.
func (d *demonstration) suggestions(program, dir string) []suggestion {
	image := d.host + "/" + demoRepository
	list := []suggestion{
		{"Ask it with the aws command", []string{
			`eval "$(` + program + ` env --data ` + dir + `)"`,
			"aws ecr describe-images --repository-name " + demoRepository,
			"aws ecr get-login-password | docker login --username AWS --password-stdin " + d.host,
		}},
		{"Sign in, pull and push with docker", []string{
			program + " login --data " + dir,
			"docker pull " + image + ":" + demoTag,
			"docker tag " + image + ":" + demoTag + " " + image + ":mine",
			"docker push " + image + ":mine",
		}},
		{"The same with podman", []string{
			program + " login --client podman --data " + dir,
			"podman pull --tls-verify=false " + image + "@" + d.hash.String(),
		}},
		{"See who did what, and why it was refused", []string{program + " audit --data " + dir, program + " why --data " + dir + " " + d.refused}},
	}
	if runtime.GOOS == "linux" {
		list[1].commands = append(list[1].commands, "docker run --rm "+image+":"+demoTag)
		list[2].commands = append(list[2].commands, "podman run --rm --tls-verify=false "+image+":"+demoTag)
	}
	if d.in.Git.Available() == nil {
		list = append(list, suggestion{"Run the pipeline again, and watch it", []string{program + " run start --data " + dir + " -p " + demoProject + " " + demoPipeline + " --watch"}})
	}
	return list
}
