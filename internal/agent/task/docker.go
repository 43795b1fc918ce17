package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/agent/builder"
	"github.com/sekisho/sekisho/internal/agent/work"
)

// Docker is Docker@2: build, push, buildAndPush, login, logout, over whichever builder is there; start and stop of
// containers, and any other command of docker, with docker alone.
func Docker(ctx context.Context, c *Context) error {
	command := c.Inputs.Get("command")
	if command == "" {
		command = "buildAndPush"
	}
	connection := c.Inputs.Get("containerRegistry")
	host := ""
	if connection != "" {
		r, err := c.registryOf(ctx, connection)
		if err != nil {
			return err
		}
		host = r.host
		if !strings.EqualFold(command, "logout") {
			if err := c.login(r); err != nil {
				return err
			}
		}
	}
	switch strings.ToLower(command) {
	case "login":
		if connection == "" {
			return errors.New("input required: containerRegistry: the service connection of the registry to log in to")
		}
		return nil
	case "logout":
		return c.logout(host)
	}
	b, err := c.builder(ctx)
	if err != nil {
		return err
	}
	d := &dockerStep{Context: c, builder: b, host: host}
	switch strings.ToLower(command) {
	case "build":
		more, err := arguments(c.Inputs["arguments"])
		if err != nil {
			return fmt.Errorf("arguments: %w", err)
		}
		return d.finish(d.build(ctx, more))
	case "push":
		more, err := arguments(c.Inputs["arguments"])
		if err != nil {
			return fmt.Errorf("arguments: %w", err)
		}
		return d.finish(d.push(ctx, more))
	case "buildandpush":
		if c.Inputs.Get("arguments") != "" {
			c.Log.Warning("arguments are ignored with the command buildAndPush, as they would be ambiguous: use the commands build and push, one step each")
		}
		if err := d.build(ctx, nil); err != nil {
			return err
		}
		return d.finish(d.push(ctx, nil))
	}
	return d.other(ctx, command)
}

// dockerStep is one Docker@2 step.
type dockerStep struct {
	*Context
	builder builder.Builder
	host    string // of containerRegistry, "" without
	told    []string
}

// names are the image's names without tags: at the registry of the connection, else at all that the job is logged in to, else
// just the repository.
func (d *dockerStep) names() ([]string, error) {
	repository := strings.ToLower(d.Inputs.Get("repository"))
	if repository == "" {
		return nil, nil
	}
	hosts := []string{d.host}
	if d.host == "" {
		all, err := d.registries()
		if err != nil {
			return nil, err
		}
		if hosts = all; len(hosts) == 0 {
			return []string{repository}, nil
		}
	}
	var names []string
	for _, h := range hosts {
		switch {
		case strings.HasPrefix(repository, h+"/"), h == "docker.io":
			names = append(names, repository)
		default:
			names = append(names, h+"/"+repository)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// references are names with the tags.
func (d *dockerStep) references() ([]string, error) {
	names, err := d.names()
	if err != nil {
		return nil, err
	}
	text, given := d.Inputs["tags"]
	if !given {
		text = d.Vars.Expand("$(Build.BuildId)")
	}
	var refs []string
	for _, name := range names {
		tagged := false
		for _, tag := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' || r == '\r' }) {
			if tag = strings.TrimSpace(tag); tag != "" {
				refs, tagged = append(refs, name+":"+tag), true
			}
		}
		if !tagged {
			refs = append(refs, name)
		}
	}
	return refs, nil
}

func (d *dockerStep) build(ctx context.Context, more []string) error {
	file, err := d.dockerfile()
	if err != nil {
		return err
	}
	folder := filepath.Dir(file)
	if given := d.Inputs.Get("buildContext"); given != "" && given != "**" {
		if folder = given; !filepath.IsAbs(folder) {
			folder = filepath.Join(d.Dirs.Sources, folder)
		}
		if info, err := os.Stat(d.Host.Outside(folder)); err != nil || !info.IsDir() {
			return fmt.Errorf("buildContext: there is no folder %s", folder)
		}
	}
	refs, err := d.references()
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		d.Log.Warning("the image gets no name, because the input repository is empty")
	}
	id, err := d.builder.Build(ctx, builder.Build{Context: folder, Dockerfile: file, Tags: refs, Labels: d.labels(file), Arguments: more})
	if err != nil {
		return err
	}
	d.told = append(d.told, "built "+id+" "+strings.Join(refs, " "))
	d.Log.Line("Built " + strings.TrimSpace(strings.Join(refs, ", ")+" "+id))
	return nil
}

// dockerfile finds the first file that the input's pattern is of.
func (d *dockerStep) dockerfile() (string, error) {
	pattern := d.Inputs.Get("Dockerfile")
	if pattern == "" {
		pattern = "**/Dockerfile"
	}
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(d.Dirs.Sources, pattern)
	}
	if !strings.ContainsAny(pattern, "*?[") {
		if info, err := os.Stat(d.Host.Outside(pattern)); err != nil || info.IsDir() {
			return "", fmt.Errorf("input Dockerfile: there is no file %s", pattern)
		}
		return pattern, nil
	}
	base, rest := doublestar.SplitPattern(filepath.ToSlash(pattern))
	matches, err := doublestar.Glob(os.DirFS(d.Host.Outside(base)), rest, doublestar.WithFilesOnly(), doublestar.WithNoFollow())
	if err != nil {
		return "", fmt.Errorf("input Dockerfile: the pattern %s: %w", pattern, err)
	}
	if len(matches) == 0 {
		return "", fmt.Errorf("input Dockerfile: no file is like %s", pattern)
	}
	slices.SortFunc(matches, func(a, b string) int { // the least deep one first
		if n := strings.Count(a, "/") - strings.Count(b, "/"); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	if len(matches) > 1 {
		d.Log.Line(fmt.Sprintf("%d files are like %s: taking the first one", len(matches), pattern))
	}
	return filepath.Join(base, filepath.FromSlash(matches[0])), nil
}

// labels say in the image where it comes from, under the names that Azure Pipelines uses and OCI's own.
func (d *dockerStep) labels(dockerfile string) [][2]string {
	var all [][2]string
	add := func(name, variable string) {
		if v, ok := d.Vars.Get(variable); ok && v != "" {
			all = append(all, [2]string{name, v})
		}
	}
	if d.Inputs.Bool(true, "addPipelineData") {
		add("com.azure.dev.image.system.teamfoundationcollectionuri", "System.CollectionUri")
		add("com.azure.dev.image.system.teamproject", "System.TeamProject")
		add("com.azure.dev.image.build.repository.name", "Build.Repository.Name")
		add("com.azure.dev.image.build.sourceversion", "Build.SourceVersion")
		add("com.azure.dev.image.build.repository.uri", "Build.Repository.Uri")
		add("com.azure.dev.image.build.sourcebranchname", "Build.SourceBranchName")
		add("com.azure.dev.image.build.definitionname", "Build.DefinitionName")
		add("com.azure.dev.image.build.buildnumber", "Build.BuildNumber")
		add("com.azure.dev.image.build.builduri", "Build.BuildUri")
		add("org.opencontainers.image.revision", "Build.SourceVersion")
		add("org.opencontainers.image.source", "Build.Repository.Uri")
	}
	if d.Inputs.Bool(true, "addBaseImageData") {
		if base := baseImage(d.Host.Outside(dockerfile)); base != "" {
			all = append(all, [2]string{"image.base.ref.name", base})
		}
	}
	return all
}

// maxDockerfile bounds what is read to find the base image, in bytes.
const maxDockerfile = 1 << 20

// baseImage returns what the last stage of a Dockerfile starts from, "" where that can't be told.
func baseImage(file string) string {
	info, err := os.Stat(file)
	if err != nil || info.Size() > maxDockerfile {
		return ""
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	base, stages := "", map[string]string{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || !strings.EqualFold(words[0], "FROM") {
			continue
		}
		words = slices.DeleteFunc(words[1:], func(w string) bool { return strings.HasPrefix(w, "--") })
		if len(words) == 0 {
			continue
		}
		if base = words[0]; stages[base] != "" {
			base = stages[base]
		}
		if len(words) == 3 && strings.EqualFold(words[1], "as") {
			stages[words[2]] = base
		}
	}
	if base == "scratch" || strings.Contains(base, "$") {
		return ""
	}
	return base
}

func (d *dockerStep) push(ctx context.Context, more []string) error {
	refs, err := d.references()
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		d.Log.Warning("no repository is given: nothing is pushed")
		return nil
	}
	for i, ref := range refs {
		d.Log.Progress(100*i/len(refs), "push "+ref)
		digest, err := d.builder.Push(ctx, ref, more)
		if err != nil {
			return fmt.Errorf("push %s: %w", ref, err)
		}
		d.told = append(d.told, "pushed "+ref+" "+digest)
		d.Log.Line(strings.TrimSpace("Pushed " + ref + " " + digest))
	}
	return nil
}

// finish leaves what was done in a file, the output variable DockerOutput.
func (d *dockerStep) finish(err error) error {
	if err != nil {
		return err
	}
	folder := filepath.Join(d.Dirs.Temp, "task_outputs")
	if err := os.MkdirAll(d.Host.Outside(folder), 0o755); err != nil {
		return err
	}
	name := filepath.Join(folder, "docker_"+uuid.NewString()+".txt")
	if err := os.WriteFile(d.Host.Outside(name), []byte(strings.Join(d.told, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	return d.Vars.Set(work.Variable{Name: "DockerOutput", Value: name}, true)
}

// other runs a command of docker as it is.
func (d *dockerStep) other(ctx context.Context, command string) error {
	if k := d.builder.Kind(); k != builder.Docker && k != builder.Podman {
		return fmt.Errorf("the command %s needs docker or podman, and what is here is %s", command, d.builder.Describe())
	}
	words, err := arguments(command)
	if err != nil {
		return fmt.Errorf("command: %w", err)
	}
	if low := strings.ToLower(command); low == "start" || low == "stop" {
		container, err := d.Inputs.Require("container")
		if err != nil {
			return err
		}
		words = append(words, container)
	}
	more, err := arguments(d.Inputs["arguments"])
	if err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	env := append(d.Env[:len(d.Env):len(d.Env)], "DOCKER_CONFIG="+d.dockerConfig(), "REGISTRY_AUTH_FILE="+filepath.Join(d.dockerConfig(), "config.json"))
	return d.Host.Run(ctx, &Process{Path: string(d.builder.Kind()), Args: append(words, more...), Env: env})
}
