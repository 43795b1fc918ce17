package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"
)

// cmdLayout makes an OCI image layout: layout [-mib N] DIR. The layout's tags are
//
//	app     an index of a linux/amd64 and a linux/arm64 image that print their platform
//	nested  an index of app and of another index
//
// With -mib every image has a further layer of so many incompressible megabytes.
// The bytes are the same every time, as far as the Go compiler's are.
// It sets APP_DIGEST (APP_HEX without the algorithm), NESTED_DIGEST, AMD64_DIGEST, ARM64_DIGEST and LAYER_HEX, the
// arm64 image's last layer, and leaves docker's build context in DIR/build.
func cmdLayout(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("layout", flag.ContinueOnError)
	mib := flags.Int("mib", 0, "")
	if err := flags.Parse(args); err != nil || neg || flags.NArg() != 1 {
		ts.Fatalf("usage: layout [-mib N] DIR")
	}
	l := layout{dir: ts.MkAbs(flags.Arg(0))}
	hello := worldOf(ts).hello
	ts.Check(os.MkdirAll(filepath.Join(l.dir, "blobs", "sha256"), 0o755))
	ts.Check(os.WriteFile(filepath.Join(l.dir, v1.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))

	shared := []file{{"etc/motd", 0o644, []byte("through the checkpoint\n")}}
	var images []v1.Descriptor
	for i, arch := range []string{"amd64", "arm64"} {
		program, err := os.ReadFile(hello[arch])
		ts.Check(err)
		layers := [][]file{shared, {{"hello", 0o755, program}}}
		if *mib > 0 {
			noise := make([]byte, *mib<<20)
			rand.NewChaCha8([32]byte{byte(i)}).Read(noise)
			layers = append(layers, []file{{"noise", 0o644, noise}})
		}
		image, err := l.image(arch, layers)
		ts.Check(err)
		images = append(images, image)
	}
	app, err := l.index(images, nil)
	ts.Check(err)
	other, err := l.index(images[:1], map[string]string{"org.example.part": "one platform"})
	ts.Check(err)
	nested, err := l.index([]v1.Descriptor{app, other}, nil)
	ts.Check(err)
	ts.Check(l.tags([]string{"app", "nested"}, []v1.Descriptor{app, nested}))

	ts.Setenv("APP_DIGEST", app.Digest.String())
	ts.Setenv("APP_HEX", app.Digest.Encoded())
	ts.Setenv("NESTED_DIGEST", nested.Digest.String())
	ts.Setenv("AMD64_DIGEST", images[0].Digest.String())
	ts.Setenv("LAYER_HEX", l.last.Encoded())
	ts.Setenv("ARM64_DIGEST", images[1].Digest.String())
	ts.Check(buildContext(filepath.Join(l.dir, "build"), hello))
}

func buildContext(dir string, hello map[string]string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for arch, path := range hello {
		program, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "hello-"+arch), program, 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "Dockerfile"),
		[]byte("FROM scratch\nARG ARCH\nCOPY hello-${ARCH} /hello\nENTRYPOINT [\"/hello\"]\n"), 0o644)
}

type file struct {
	name string
	mode int64
	data []byte
}

// layout writes the blobs of an OCI image layout.
type layout struct {
	dir  string
	last digest.Digest // the layer written last
}

func (l *layout) blob(mediaType string, data []byte) (v1.Descriptor, error) {
	d := digest.FromBytes(data)
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))},
		os.WriteFile(filepath.Join(l.dir, "blobs", "sha256", d.Encoded()), data, 0o644)
}

func (l *layout) json(mediaType string, v any) (v1.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return l.blob(mediaType, data)
}

func (l *layout) image(arch string, layers [][]file) (v1.Descriptor, error) {
	config := v1.Image{
		Platform: v1.Platform{OS: "linux", Architecture: arch},
		Config:   v1.ImageConfig{Entrypoint: []string{"/hello"}},
		RootFS:   v1.RootFS{Type: "layers"},
	}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, files := range layers {
		plain, packed, err := archive(files)
		if err != nil {
			return v1.Descriptor{}, err
		}
		layer, err := l.blob(v1.MediaTypeImageLayerGzip, packed)
		if err != nil {
			return v1.Descriptor{}, err
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(plain))
		manifest.Layers = append(manifest.Layers, layer)
		l.last = layer.Digest
	}
	var err error
	if manifest.Config, err = l.json(v1.MediaTypeImageConfig, config); err != nil {
		return v1.Descriptor{}, err
	}
	d, err := l.json(v1.MediaTypeImageManifest, manifest)
	d.Platform = &config.Platform
	return d, err
}

func (l *layout) index(manifests []v1.Descriptor, annotations map[string]string) (v1.Descriptor, error) {
	return l.json(v1.MediaTypeImageIndex, v1.Index{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   v1.MediaTypeImageIndex,
		Manifests:   manifests,
		Annotations: annotations,
	})
}

// tags writes index.json, the entry to the layout.
func (l *layout) tags(tags []string, manifests []v1.Descriptor) error {
	entry := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for i, d := range manifests {
		d.Annotations = map[string]string{v1.AnnotationRefName: tags[i]}
		entry.Manifests = append(entry.Manifests, d)
	}
	data, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir, v1.ImageIndexFile), data, 0o644)
}

// archive returns the files as a tar and as a gzipped tar.
func archive(files []file) (plain, packed []byte, err error) {
	var buf, zipped bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			return nil, nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, nil, err
	}
	z, err := gzip.NewWriterLevel(&zipped, gzip.BestSpeed)
	if err != nil {
		return nil, nil, err
	}
	if _, err := z.Write(buf.Bytes()); err != nil {
		return nil, nil, err
	}
	if err := z.Close(); err != nil {
		return nil, nil, err
	}
	return buf.Bytes(), zipped.Bytes(), nil
}
