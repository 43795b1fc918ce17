package task

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/builder"
)

// Variables that choose a builder. They may be set anywhere in a pipeline, or as the agent's capabilities.
const (
	builderVariable   = "sekisho.builder"           // "auto", "buildkit", "docker", "podman", "buildah"
	isolationVariable = "sekisho.buildah.isolation" // "oci", "rootless", "chroot"
)

// dockerConfig is the folder of the job's registry credentials, as docker takes it. Logging in sets the variable
// DOCKER_CONFIG to it, so that scripts of later steps are logged in too, and it goes with the job.
func (c *Context) dockerConfig() string { return filepath.Join(c.Dirs.Temp, ".docker") }

// builder returns what builds images here, and tells of it.
func (c *Context) builder(ctx context.Context) (builder.Builder, error) {
	use, _ := c.Vars.Get(builderVariable)
	if use = strings.ToLower(strings.TrimSpace(use)); use == "auto" {
		use = ""
	}
	isolation, _ := c.Vars.Get(isolationVariable)
	roots, _ := c.Vars.Get("Agent.CAInfo")
	b, err := builder.Find(ctx, builder.Options{
		Runner: runner{c}, Log: c.Log, Use: builder.Kind(use), Auth: c.dockerConfig(),
		Store: filepath.Join(c.Dirs.Temp, ".images"), Plain: c.plain, CAFile: roots, Isolation: isolation,
	})
	if err != nil {
		return nil, err
	}
	c.Log.Line("Builder: " + b.Describe())
	c.Log.Line("Isolation: " + b.Isolation())
	return b, nil
}

// plain reports whether a registry speaks plain HTTP: if it is this server, and the agent reaches that so, or if a
// connection says so.
func (c *Context) plain(host string) bool {
	if scheme, rest, _ := strings.Cut(c.Job.Server, "://"); scheme == "http" {
		if at, _, _ := strings.Cut(rest, "/"); strings.EqualFold(at, host) {
			return true
		}
		for _, h := range c.Job.RegistryHosts {
			if strings.EqualFold(h, host) {
				return true
			}
		}
	}
	for _, e := range c.Job.Endpoints {
		for _, address := range []string{e.URL, e.Auth["registry"]} {
			if strings.HasPrefix(address, "http://") && strings.EqualFold(builder.HostOf(address), host) {
				return true
			}
		}
	}
	return false
}

// runner lets a builder run programs in the step's place.
type runner struct{ c *Context }

func (r runner) Look(name string) (string, error) { return r.c.Host.Look(name) }

func (r runner) Getenv(name string) string {
	for i := len(r.c.Env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(r.c.Env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

func (r runner) Run(ctx context.Context, p builder.Command) error {
	env := append(r.c.Env[:len(r.c.Env):len(r.c.Env)], p.Env...)
	return r.c.Host.Run(ctx, &Process{Path: p.Path, Args: p.Args, Dir: p.Dir, Env: env, Stdin: p.Stdin, Stdout: p.Stdout, Stderr: p.Stderr, Quiet: p.Quiet})
}

// arguments splits a text into words as a shell does: at white space, with quotes and backslashes. Line ends are white space.
func arguments(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	in, quote, escaped := false, rune(0), false
	for _, r := range text {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune(`"\$`+"`", r) {
				word.WriteRune('\\')
			}
			if r != '\n' || quote != 0 {
				word.WriteRune(r)
			}
			escaped = false
		case quote == '\'' && r != '\'', quote == '"' && r != '"' && r != '\\':
			word.WriteRune(r)
		case r == '\\':
			in, escaped = true, true
		case quote != 0: // its end
			quote = 0
		case r == '\'' || r == '"':
			in, quote = true, r
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		default:
			in = true
			word.WriteRune(r)
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quotation mark, %c, is not closed", quote)
	}
	if escaped {
		return nil, errors.New("a backslash is the last character")
	}
	if in {
		words = append(words, word.String())
	}
	return words, nil
}
