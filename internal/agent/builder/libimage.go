package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// libimage is podman or buildah: they take the same options for images; where they differ stands below.
type libimage struct {
	*tool
	kind                Kind
	describe, isolation string
	buildOptions        []string
}

func openPodman(ctx context.Context, o Options) (Builder, error) {
	t, err := look(o, "podman")
	if err != nil {
		return nil, err
	}
	text, err := t.read(ctx, "info", "--format", "{{.Version.Version}} {{.Host.Security.Rootless}} {{.Host.OCIRuntime.Name}}")
	if err != nil {
		return nil, err
	}
	var release, rootless, runtime string
	_, _ = fmt.Sscan(text, &release, &rootless, &runtime)
	p := &libimage{tool: t, kind: Podman, describe: "podman " + release}
	p.isolation = "steps run in containers of " + runtime + ", started as root"
	if rootless == "true" {
		p.isolation = "steps run in rootless containers of " + runtime
	}
	return p, nil
}

func openBuildah(ctx context.Context, o Options) (Builder, error) {
	t, err := look(o, "buildah")
	if err != nil {
		return nil, err
	}
	text, err := t.read(ctx, "version", "--json")
	if err != nil {
		return nil, err
	}
	var v struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return nil, fmt.Errorf("its version: %w", err)
	}
	b := &libimage{tool: t, kind: Buildah, describe: "buildah " + v.Version, isolation: "steps run in containers of an OCI runtime"}
	switch mode := o.Isolation; {
	case mode == "chroot" || mode == "" && o.Runner.Getenv("BUILDAH_ISOLATION") == "chroot":
		b.isolation = "NONE to speak of (chroot): the steps of a build see every process of this machine, and its network"
		b.buildOptions = []string{"--isolation", "chroot"}
		if mode == "" {
			return nil, errors.New(`BUILDAH_ISOLATION is chroot, which does not isolate; to build all the same, set the variable sekisho.buildah.isolation to chroot`)
		}
	case mode == "oci" || mode == "rootless":
		b.isolation += " (" + mode + ")"
		b.buildOptions = []string{"--isolation", mode}
	case mode != "":
		return nil, fmt.Errorf("the isolation %q is none of oci, rootless, chroot", mode)
	}
	return b, nil
}

func (l *libimage) Kind() Kind        { return l.kind }
func (l *libimage) Describe() string  { return l.describe }
func (l *libimage) Isolation() string { return l.isolation }

func (l *libimage) Build(ctx context.Context, b Build) (string, error) {
	if l.kind == Buildah && slices.Contains(l.buildOptions, "chroot") {
		l.Log.Warning("isolation: " + l.isolation)
	}
	args := append([]string{"build"}, l.buildOptions...)
	args = append(args, l.trust("")...)
	if len(platforms(b.Arguments)) < 2 {
		args = append(args, buildArgs(b, true)...)
		if err := l.tool.build(ctx, args, b.Context, l.env()); err != nil {
			return "", err
		}
		return l.inspect(ctx, b.Tags)
	}
	// Several platforms become a list of images, which is made anew for each tag.
	if len(b.Tags) == 0 {
		return "", errors.New("an image for several platforms needs a tag: give the step a repository")
	}
	for _, tag := range b.Tags {
		_, _ = l.read(ctx, "manifest", "rm", tag)
	}
	// Without the cache: podman 4 takes the layers of one platform for those of another.
	args = append(append(args, "--layers=false", "--manifest", b.Tags[0]), buildArgs(b, false)...)
	if err := l.tool.build(ctx, args, b.Context, l.env()); err != nil {
		return "", err
	}
	for _, tag := range b.Tags[1:] {
		if err := l.Tag(ctx, b.Tags[0], tag); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (l *libimage) inspect(ctx context.Context, tags []string) (string, error) {
	if l.kind == Podman || len(tags) == 0 {
		return l.id(ctx, tags)
	}
	id, err := l.read(ctx, "inspect", "--type", "image", "--format", "{{.FromImageID}}", tags[0])
	if err != nil {
		return "", err
	}
	return "sha256:" + strings.TrimPrefix(id, "sha256:"), nil
}

// trust returns the options for a registry; "" is for those that a Dockerfile names.
func (l *libimage) trust(host string) []string {
	if host != "" && l.Plain(host) {
		return []string{"--tls-verify=false"}
	}
	if l.CAFile == "" {
		return nil
	}
	folder, err := l.certificates()
	if err != nil {
		l.Log.Warning("the root certificates of the agent are not used: " + err.Error())
		return nil
	}
	return []string{"--cert-dir", folder}
}

// certificates returns a folder as containers' tools take it, with the agent's roots.
func (l *libimage) certificates() (string, error) {
	text, err := os.ReadFile(l.CAFile)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(l.Store, "certs")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	return folder, os.WriteFile(filepath.Join(folder, "ca.crt"), text, 0o600)
}

func (l *libimage) Tag(ctx context.Context, source, target string) error {
	return l.run(ctx, "tag", source, target)
}

func (l *libimage) Push(ctx context.Context, ref string, arguments []string) (string, error) {
	if err := os.MkdirAll(l.Store, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(l.Store, "digest")
	if err != nil {
		return "", err
	}
	name := f.Name()
	defer os.Remove(name)
	if err := f.Close(); err != nil {
		return "", err
	}
	args := []string{"push"}
	target := []string{ref}
	if _, err := l.read(ctx, "manifest", "exists", ref); err == nil {
		args = []string{"manifest", "push", "--all"}
		target = []string{ref, "docker://" + ref}
	}
	args = append(args, "--digestfile", name)
	args = append(args, l.trust(Host(ref))...)
	args = append(append(args, arguments...), target...)
	if err := l.run(ctx, args...); err != nil {
		return "", err
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}

func (l *libimage) Pull(ctx context.Context, ref string) error {
	args := append([]string{"pull"}, l.trust(Host(ref))...)
	return l.run(ctx, append(args, ref)...)
}

func (l *libimage) Remove(ctx context.Context, ref string) error {
	return l.run(ctx, "rmi", "-f", ref)
}
