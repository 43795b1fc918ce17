package builder

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/uuid"
)

// Push sends an image of the store to its registry, from here and not from the buildkitd.
func (b *buildkit) Push(ctx context.Context, ref string, arguments []string) (string, error) {
	if len(arguments) > 0 {
		return "", fmt.Errorf("arguments: %q are for docker push; with BuildKit there are none", arguments)
	}
	image, err := b.find(ref)
	if err != nil {
		return "", err
	}
	to, err := b.reference(ref)
	if err != nil {
		return "", err
	}
	options, err := b.remote(ctx)
	if err != nil {
		return "", err
	}
	path, err := layout.FromPath(filepath.Join(b.Store, image.Folder))
	if err != nil {
		return "", err
	}
	index, err := path.ImageIndex()
	if err != nil {
		return "", err
	}
	digest, err := v1.NewHash(image.Digest)
	if err != nil {
		return "", err
	}
	b.Log.Line("pushing " + image.Digest + " to " + ref)
	if list, err := index.ImageIndex(digest); err == nil {
		if m, err := list.IndexManifest(); err == nil && m.MediaType.IsIndex() {
			return image.Digest, remote.WriteIndex(to, list, options...)
		}
	}
	single, err := index.Image(digest)
	if err != nil {
		return "", err
	}
	return image.Digest, remote.Write(to, single, options...)
}

// Pull fetches an image, for all its platforms, into the store.
func (b *buildkit) Pull(ctx context.Context, ref string) error {
	from, err := b.reference(ref)
	if err != nil {
		return err
	}
	options, err := b.remote(ctx)
	if err != nil {
		return err
	}
	got, err := remote.Get(from, options...)
	if err != nil {
		return err
	}
	folder := filepath.Join(b.Store, uuid.NewString())
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	if got.MediaType.IsIndex() {
		list, err := got.ImageIndex()
		if err != nil {
			return err
		}
		err = path.AppendIndex(list)
		if err != nil {
			return err
		}
	} else {
		image, err := got.Image()
		if err != nil {
			return err
		}
		if err := path.AppendImage(image); err != nil {
			return err
		}
	}
	b.Log.Line("pulled " + ref + " " + got.Digest.String())
	return b.keep(ref, kept{Folder: filepath.Base(folder), Digest: got.Digest.String()})
}

func (b *buildkit) reference(ref string) (name.Reference, error) {
	var options []name.Option
	if b.Plain(Host(ref)) {
		options = append(options, name.Insecure)
	}
	return name.ParseReference(ref, options...)
}

// remote returns how to talk to registries: with the job's credentials, as the agent trusts them.
func (b *buildkit) remote(ctx context.Context) ([]remote.Option, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if b.CAFile != "" {
		text, err := os.ReadFile(b.CAFile)
		if err != nil {
			return nil, err
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate in PEM form", b.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return []remote.Option{remote.WithContext(ctx), remote.WithTransport(transport), remote.WithAuthFromKeychain(keychain(b.Auth))}, nil
}

// keychain finds credentials in a docker configuration in a folder.
type keychain string

func (k keychain) Resolve(to authn.Resource) (authn.Authenticator, error) {
	if k == "" {
		return authn.Anonymous, nil
	}
	text, err := os.ReadFile(filepath.Join(string(k), authFile))
	if errors.Is(err, os.ErrNotExist) {
		return authn.Anonymous, nil
	}
	if err != nil {
		return nil, err
	}
	var c struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, errors.New("the job's registry credentials are not readable") // without the text: it is secret
	}
	if a, ok := c.Auths[to.RegistryStr()]; ok {
		return authn.FromConfig(a), nil
	}
	return authn.Anonymous, nil
}
