package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// docker is the docker command with the engine that it talks to, whoever's engine that is.
type docker struct {
	*tool
	describe, isolation string
	buildx              bool
}

func openDocker(ctx context.Context, o Options) (Builder, error) {
	t, err := look(o, "docker")
	if err != nil {
		return nil, err
	}
	text, err := t.read(ctx, "version", "--format", "{{json .}}")
	if err != nil {
		return nil, fmt.Errorf("its engine does not answer: %w", err)
	}
	var v struct {
		Client struct{ Version string }
		Server *struct {
			Version    string
			Components []struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil || v.Server == nil {
		return nil, errors.New("its engine does not answer")
	}
	engine := "engine"
	if len(v.Server.Components) > 0 && v.Server.Components[0].Name != "" {
		engine = v.Server.Components[0].Name
	}
	d := &docker{tool: t, describe: fmt.Sprintf("docker %s, %s %s", v.Client.Version, engine, v.Server.Version)}
	if host := o.Runner.Getenv("DOCKER_HOST"); host != "" {
		d.describe += " at " + host
	}
	d.isolation = "steps run in containers of the engine, which runs as root: whoever may build with it is root on its machine"
	if options, err := t.read(ctx, "info", "--format", "{{json .SecurityOptions}}"); err == nil && strings.Contains(options, "rootless") {
		d.isolation = "steps run in containers of the engine, which is rootless"
	}
	_, err = t.read(ctx, "buildx", "version")
	d.buildx = err == nil
	return d, nil
}

func (d *docker) Kind() Kind        { return Docker }
func (d *docker) Describe() string  { return d.describe }
func (d *docker) Isolation() string { return d.isolation }

func (d *docker) Build(ctx context.Context, b Build) (string, error) {
	if len(platforms(b.Arguments)) > 1 && !d.buildx {
		return "", errors.New("docker builds for several platforms with its buildx plug-in only, and that is not installed on this agent")
	}
	args := append([]string{"build"}, buildArgs(b, true)...)
	if err := d.tool.build(ctx, args, b.Context, d.env()); err != nil {
		return "", err
	}
	return d.id(ctx, b.Tags)
}

// build runs a build whose steps are told by the lines it prints.
func (t *tool) build(ctx context.Context, args []string, folder string, env []string) error {
	out := &steps{log: t.Log}
	// One writer for both: the lines of a step belong together, whichever stream they are on.
	err := t.Runner.Run(ctx, Command{Path: t.path, Args: append(args, folder), Env: env, Stdout: out, Stderr: out})
	step := out.finish()
	if err != nil && step != "" && ctx.Err() == nil {
		return fmt.Errorf("the build failed in %s: %w", step, err)
	}
	return err
}

// id returns the id of an image by one of its tags.
func (t *tool) id(ctx context.Context, tags []string) (string, error) {
	if len(tags) == 0 {
		return "", nil
	}
	id, err := t.read(ctx, "image", "inspect", "--format", "{{.Id}}", tags[0])
	if err != nil {
		return "", nil // the image of a builder that keeps its images elsewhere
	}
	return "sha256:" + strings.TrimPrefix(id, "sha256:"), nil
}

// buildArgs are the arguments that docker, podman and buildah have in common.
func buildArgs(b Build, withTags bool) []string {
	args := []string{"-f", b.Dockerfile}
	for _, l := range b.Labels {
		args = append(args, "--label", l[0]+"="+l[1])
	}
	if withTags {
		for _, tag := range b.Tags {
			args = append(args, "-t", tag)
		}
	}
	return append(args, b.Arguments...)
}

// platforms returns what --platform in arguments lists.
func platforms(arguments []string) []string {
	var all []string
	for i, a := range arguments {
		value, ok := strings.CutPrefix(a, "--platform=")
		if !ok && a == "--platform" && i+1 < len(arguments) {
			value, ok = arguments[i+1], true
		}
		if ok {
			all = append(all, strings.Split(value, ",")...)
		}
	}
	return all
}

func (d *docker) Tag(ctx context.Context, source, target string) error {
	return d.run(ctx, "tag", source, target)
}

// pushedDigest is how docker tells what it pushed.
var pushedDigest = regexp.MustCompile(`\bdigest: (sha256:[0-9a-f]{64})\b`)

func (d *docker) Push(ctx context.Context, ref string, arguments []string) (string, error) {
	out := &tee{log: d.Log}
	args := append(append([]string{"push"}, arguments...), ref)
	err := d.Runner.Run(ctx, Command{Path: d.path, Args: args, Env: d.env(), Stdout: out, Stderr: out})
	out.finish()
	if err != nil {
		if d.Plain(Host(ref)) && ctx.Err() == nil && strings.Contains(out.text.String(), "HTTPS client") {
			err = fmt.Errorf("%w; %s speaks plain HTTP, and the engine must be told so: insecure-registries in its daemon.json", err, Host(ref))
		}
		return "", err
	}
	if m := pushedDigest.FindStringSubmatch(out.text.String()); m != nil {
		return m[1], nil
	}
	return d.digest(ctx, ref), nil
}

// digest returns the digest that an engine remembers for a reference that it pushed or pulled.
func (t *tool) digest(ctx context.Context, ref string) string {
	text, err := t.read(ctx, "image", "inspect", "--format", "{{json .RepoDigests}}", ref)
	if err != nil {
		return ""
	}
	var all []string
	if json.Unmarshal([]byte(text), &all) != nil {
		return ""
	}
	name := repository(ref)
	for _, d := range slices.Backward(all) { // the newest is the last one
		if repo, digest, ok := strings.Cut(d, "@"); ok && repo == name {
			return digest
		}
	}
	return ""
}

// repository is a reference without its tag or digest.
func repository(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i]
	}
	return ref
}

func (d *docker) Pull(ctx context.Context, ref string) error   { return d.run(ctx, "pull", ref) }
func (d *docker) Remove(ctx context.Context, ref string) error { return d.run(ctx, "rmi", "-f", ref) }

// tee writes lines to the log and keeps them. Both streams of a program may write to it.
type tee struct {
	mu   sync.Mutex
	log  Log
	rest []byte
	text limited
}

func (t *tee) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = t.text.Write(p)
	t.rest = append(t.rest, p...)
	for {
		i := slices.Index(t.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		t.log.Line(strings.TrimRight(string(t.rest[:i]), "\r"))
		t.rest = append(t.rest[:0], t.rest[i+1:]...)
	}
}

func (t *tee) finish() {
	if len(t.rest) > 0 {
		t.log.Line(string(t.rest))
		t.rest = nil
	}
}
