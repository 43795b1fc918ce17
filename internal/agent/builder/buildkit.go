package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/uuid"
)

// buildkit is buildctl with a buildkitd. It keeps no images by itself: each build's result is an OCI image layout in the
// job's store, and a file there says which references are which.
type buildkit struct {
	*tool
	address             string
	describe, isolation string
}

func openBuildKit(ctx context.Context, o Options) (Builder, error) {
	address := o.Runner.Getenv("BUILDKIT_HOST")
	if address == "" {
		return nil, errors.New("BUILDKIT_HOST does not name a buildkitd")
	}
	t, err := look(o, "buildctl")
	if err != nil {
		return nil, err
	}
	b := &buildkit{tool: t, address: address}
	text, err := t.read(ctx, "--addr", address, "debug", "info")
	if err != nil {
		return nil, fmt.Errorf("buildkitd at %s does not answer: %w", address, err)
	}
	b.describe = "BuildKit " + strings.Join(strings.Fields(strings.TrimPrefix(firstLine(text), "BuildKit:")), " ") + " at " + address
	b.isolation = "steps run in containers of the buildkitd at " + address + ", in its process sandbox unless it was started without"
	return b, nil
}

func (b *buildkit) Kind() Kind        { return BuildKit }
func (b *buildkit) Describe() string  { return b.describe }
func (b *buildkit) Isolation() string { return b.isolation }

func (b *buildkit) Build(ctx context.Context, build Build) (string, error) {
	folder := filepath.Join(b.Store, uuid.NewString())
	if err := os.MkdirAll(b.Store, 0o700); err != nil {
		return "", err
	}
	args := []string{"--addr", b.address, "build", "--frontend", "dockerfile.v0", "--progress", "rawjson",
		"--local", "context=" + build.Context, "--local", "dockerfile=" + filepath.Dir(build.Dockerfile),
		"--opt", "filename=" + filepath.Base(build.Dockerfile), "--output", "type=oci,tar=false,dest=" + folder}
	for _, l := range build.Labels {
		args = append(args, "--opt", "label:"+l[0]+"="+l[1])
	}
	more, err := buildctlArguments(build.Arguments)
	if err != nil {
		return "", err
	}
	p := &progress{log: b.Log}
	err = b.Runner.Run(ctx, Command{Path: b.path, Args: append(args, more...), Env: b.env(), Stderr: p})
	p.finish()
	if err != nil {
		if p.failed != "" && ctx.Err() == nil {
			err = fmt.Errorf("the build failed in %s: %w", p.failed, err)
		}
		return "", errors.Join(err, os.RemoveAll(folder))
	}
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return "", fmt.Errorf("what buildctl wrote: %w", err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		return "", fmt.Errorf("what buildctl wrote is not one image: %w", err)
	}
	image := kept{Folder: filepath.Base(folder), Digest: m.Manifests[0].Digest.String()}
	for _, tag := range build.Tags {
		if err := b.keep(tag, image); err != nil {
			return "", err
		}
	}
	return image.Digest, nil
}

// optional maps options of docker build to those of the Dockerfile frontend.
var optional = map[string]string{
	"--build-arg": "build-arg:", "--label": "label:", "--target": "target=", "--platform": "platform=", "--build-context": "context:",
	"--network": "force-network-mode=", "--add-host": "add-hosts=", "--shm-size": "shm-size=", "--ulimit": "ulimit=", "--cgroup-parent": "cgroup-parent=",
}

// direct are options of docker build that buildctl has too.
var direct = map[string]string{"--secret": "--secret", "--ssh": "--ssh", "--cache-from": "--import-cache", "--cache-to": "--export-cache", "--allow": "--allow"}

// buildctlArguments translates arguments of docker build. What cannot be translated is an error, so that no build is other
// than was asked for.
func buildctlArguments(arguments []string) ([]string, error) {
	var out []string
	for i := 0; i < len(arguments); i++ {
		a := arguments[i]
		switch a {
		case "--no-cache":
			out = append(out, "--no-cache")
			continue
		case "--pull", "--pull=true":
			out = append(out, "--opt", "image-resolve-mode=pull")
			continue
		case "-q", "--quiet", "--load", "--rm", "--force-rm":
			continue // nothing that it would change here
		}
		name, value, ok := strings.Cut(a, "=")
		if !ok {
			if optional[name] == "" && direct[name] == "" {
				return nil, fmt.Errorf("arguments: BuildKit's builder has nothing for %q of docker build", a)
			}
			if i++; i == len(arguments) {
				return nil, fmt.Errorf("arguments: %s needs a value", name)
			}
			value = arguments[i]
		}
		switch {
		case optional[name] != "":
			out = append(out, "--opt", optional[name]+value)
		case direct[name] != "":
			if strings.HasPrefix(name, "--cache") && !strings.Contains(value, "=") {
				value = "type=registry,ref=" + value
			}
			out = append(out, direct[name], value)
		default:
			return nil, fmt.Errorf("arguments: BuildKit's builder has nothing for %q of docker build", name)
		}
	}
	return out, nil
}

// kept is an image in the store.
type kept struct{ Folder, Digest string }

func (b *buildkit) refs() string { return filepath.Join(b.Store, "references.json") }

func (b *buildkit) all() (map[string]kept, error) {
	all := map[string]kept{}
	text, err := os.ReadFile(b.refs())
	if errors.Is(err, os.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", b.refs(), err)
	}
	return all, nil
}

// keep says which image a reference is from here on; the zero image takes the reference away.
func (b *buildkit) keep(ref string, image kept) error {
	all, err := b.all()
	if err != nil {
		return err
	}
	if all[complete(ref)] = image; image.Folder == "" {
		delete(all, complete(ref))
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return os.WriteFile(b.refs(), text, 0o600)
}

func (b *buildkit) find(ref string) (kept, error) {
	all, err := b.all()
	if err != nil {
		return kept{}, err
	}
	if image, ok := all[complete(ref)]; ok {
		return image, nil
	}
	for _, image := range all { // by its id
		if image.Digest == ref || len(ref) >= 12 && strings.HasPrefix(image.Digest, "sha256:"+ref) {
			return image, nil
		}
	}
	return kept{}, fmt.Errorf("there is no image %s: with BuildKit, only what earlier steps of this job built or pulled is there", ref)
}

// complete is a reference with its tag.
func complete(ref string) string {
	if repository(ref) == ref && !strings.Contains(ref, "@") {
		return ref + ":latest"
	}
	return ref
}

func (b *buildkit) Tag(_ context.Context, source, target string) error {
	image, err := b.find(source)
	if err != nil {
		return err
	}
	return b.keep(target, image)
}

func (b *buildkit) Remove(_ context.Context, ref string) error {
	image, err := b.find(ref)
	if err != nil {
		return err
	}
	if err := b.keep(ref, kept{}); err != nil {
		return err
	}
	all, err := b.all()
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Folder == image.Folder {
			return nil
		}
	}
	return os.RemoveAll(filepath.Join(b.Store, image.Folder))
}

// progress reads buildctl's progress, a JSON object a line, and tells it as groups.
type progress struct {
	log    Log
	rest   []byte
	known  map[string]*vertex
	focus  *vertex
	end    func()
	failed string
	done   int
}

type vertex struct {
	Digest    string
	Name      string
	Started   *string
	Completed *string
	Cached    bool
	Error     string
	number    int
	told      bool
	partial   []byte
}

func (p *progress) Write(text []byte) (int, error) {
	p.rest = append(p.rest, text...)
	for {
		i := bytes.IndexByte(p.rest, '\n')
		if i < 0 {
			return len(text), nil
		}
		p.line(p.rest[:i])
		p.rest = append(p.rest[:0], p.rest[i+1:]...)
	}
}

func (p *progress) line(text []byte) {
	var s struct {
		Vertexes []vertex
		Logs     []struct {
			Vertex string
			Data   []byte
		}
		Warnings []struct{ Short []byte }
	}
	if err := json.Unmarshal(text, &s); err != nil {
		if t := strings.TrimSpace(string(text)); t != "" {
			p.log.Line(t) // an error of buildctl itself
		}
		return
	}
	for _, v := range s.Vertexes {
		p.vertex(v)
	}
	for _, l := range s.Logs {
		v := p.known[l.Vertex]
		if v == nil {
			continue
		}
		v.partial = append(v.partial, l.Data...)
		for {
			i := bytes.IndexByte(v.partial, '\n')
			if i < 0 && len(v.partial) < maxLine {
				break
			}
			if i < 0 {
				i = len(v.partial) - 1
			}
			p.at(v)
			p.log.Line(strings.TrimRight(string(v.partial[:i]), "\r"))
			v.partial = append(v.partial[:0], v.partial[i+1:]...)
		}
	}
	for _, w := range s.Warnings {
		p.log.Warning(string(w.Short))
	}
}

// at makes v the step whose group is open.
func (p *progress) at(v *vertex) {
	if p.focus == v {
		return
	}
	if p.end != nil {
		p.end()
	}
	title := fmt.Sprintf("#%d %s", v.number, v.Name)
	if v.told {
		title += " (continued)"
	}
	p.focus, v.told = v, true
	p.end = p.log.Group(title)
}

func (p *progress) vertex(n vertex) {
	if p.known == nil {
		p.known = map[string]*vertex{}
	}
	v := p.known[n.Digest]
	if v == nil {
		v = &vertex{Digest: n.Digest, Name: n.Name, number: len(p.known) + 1}
		p.known[n.Digest] = v
	}
	if n.Started != nil && v.Started == nil {
		v.Started = n.Started
		p.at(v)
		p.log.Progress(min(100*p.done/len(p.known), 99), v.Name)
	}
	if n.Completed == nil || v.Completed != nil {
		return
	}
	v.Completed = n.Completed
	p.done++
	p.at(v)
	if len(v.partial) > 0 {
		p.log.Line(string(v.partial))
		v.partial = nil
	}
	switch {
	case n.Error != "":
		p.failed = v.Name
		p.log.Error(n.Error)
	case n.Cached:
		p.log.Line("CACHED")
	}
}

func (p *progress) finish() {
	if len(p.rest) > 0 {
		p.line(p.rest)
		p.rest = nil
	}
	if p.end != nil {
		p.end()
		p.end, p.focus = nil, nil
	}
}
