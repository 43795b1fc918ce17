// Package builder builds images with what a machine has: BuildKit, docker, podman or buildah; and tags, pushes, pulls and
// removes them with the same.
//
// It starts programs and reads what they print. It never starts a daemon, asks for no privilege, and says what stands
// between a build's steps and the machine. Credentials are in a folder of the job's own, never on a command line.
package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kind names a tool.
type Kind string

// The tools, in the order in which they are looked for.
const (
	BuildKit Kind = "buildkit"
	Docker   Kind = "docker"
	Podman   Kind = "podman"
	Buildah  Kind = "buildah"
)

// Kinds are all tools, in the order in which they are looked for.
var Kinds = []Kind{BuildKit, Docker, Podman, Buildah}

// Builder builds and moves images. References are complete, as docker takes them; an image that is built or pulled is
// there for later steps of the job, whichever step made it.
type Builder interface {
	Kind() Kind
	// Describe says which tool this is, for people: name, version, where it runs.
	Describe() string
	// Isolation says what stands between the steps of a build and the machine.
	Isolation() string
	// Build builds an image and gives it its tags. It returns the image's id.
	Build(ctx context.Context, b Build) (id string, err error)
	Tag(ctx context.Context, source, target string) error
	// Push pushes one reference and returns the digest it has there, empty where the tool does not tell.
	Push(ctx context.Context, ref string, arguments []string) (digest string, err error)
	Pull(ctx context.Context, ref string) error
	Remove(ctx context.Context, ref string) error
}

// Build says what to build.
type Build struct {
	Context    string // folder
	Dockerfile string // path
	Tags       []string
	Labels     [][2]string
	Arguments  []string // more, as docker build takes them
}

// Runner runs programs where the step runs.
type Runner interface {
	// Run runs a program to its end.
	Run(ctx context.Context, c Command) error
	// Look finds a program. Errors: exec.ErrNotFound.
	Look(name string) (string, error)
	// Getenv is of the step's environment.
	Getenv(name string) string
}

// Command is a program to run.
type Command struct {
	Path   string
	Args   []string
	Dir    string
	Env    []string // beside the step's
	Stdin  io.Reader
	Stdout io.Writer // nil: to the log
	Stderr io.Writer // nil: to the log
	Quiet  bool      // the command line is not logged
}

// Log is what a builder tells of its work.
type Log interface {
	Line(text string)
	Warning(text string)
	Error(text string)
	Group(title string) (end func())
	Progress(percent int, operation string)
}

// Options say how to find a builder and what it works with.
type Options struct {
	Runner Runner
	Log    Log
	// Use names the tool; empty: the first that is there.
	Use Kind
	// Auth is the folder of the job's registry credentials: a config.json as docker has it.
	Auth string
	// Store is a folder of the job for images, where the tool keeps none itself.
	Store string
	// Plain tells hosts that speak plain HTTP.
	Plain func(host string) bool
	// CAFile holds root certificates that registries may be under, in PEM; empty: the system's only.
	CAFile string
	// Isolation, for buildah: "", "oci", "rootless", "chroot".
	Isolation string
}

// NotFoundError says that no builder can be used, and why not, one by one.
type NotFoundError struct{ Reasons []string }

func (e *NotFoundError) Error() string {
	return "there is nothing here to build images with: " + strings.Join(e.Reasons, "; ") +
		". Install docker, podman or buildah on the agent, or set BUILDKIT_HOST"
}

// Find returns the builder to use. Errors: [*NotFoundError].
func Find(ctx context.Context, o Options) (Builder, error) {
	if o.Plain == nil {
		o.Plain = func(string) bool { return false }
	}
	kinds := Kinds
	if o.Use != "" {
		if !slices.Contains(Kinds, o.Use) {
			return nil, fmt.Errorf("the builder %q is none of buildkit, docker, podman, buildah", o.Use)
		}
		kinds = []Kind{o.Use}
	}
	if err := prepare(o.Auth); err != nil {
		return nil, err
	}
	missing := &NotFoundError{}
	for _, k := range kinds {
		b, err := open(ctx, k, o)
		if err == nil {
			return b, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		missing.Reasons = append(missing.Reasons, string(k)+": "+err.Error())
	}
	return nil, missing
}

// authFile is where credentials are in their folder.
const authFile = "config.json"

// prepare has the file of credentials be there: podman and buildah fail without it.
func prepare(folder string) error {
	if folder == "" {
		return nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(folder, authFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString("{}\n")
	return errors.Join(err, f.Close())
}

func open(ctx context.Context, k Kind, o Options) (Builder, error) {
	switch k {
	case BuildKit:
		return openBuildKit(ctx, o)
	case Docker:
		return openDocker(ctx, o)
	case Podman:
		return openPodman(ctx, o)
	}
	return openBuildah(ctx, o)
}

// tool is what builders share: a program with the job's credentials.
type tool struct {
	Options
	path string
}

func (t *tool) env(more ...string) []string {
	if t.Auth == "" {
		return more
	}
	return append(more, "DOCKER_CONFIG="+t.Auth, "REGISTRY_AUTH_FILE="+filepath.Join(t.Auth, authFile))
}

// run runs the tool; its output goes to the log.
func (t *tool) run(ctx context.Context, args ...string) error {
	return t.Runner.Run(ctx, Command{Path: t.path, Args: args, Env: t.env()})
}

// read runs the tool for what it prints.
func (t *tool) read(ctx context.Context, args ...string) (string, error) {
	var out, bad limited
	err := t.Runner.Run(ctx, Command{Path: t.path, Args: args, Env: t.env(), Stdout: &out, Stderr: &bad, Quiet: true})
	if err != nil {
		if line := firstLine(bad.String()); line != "" {
			err = errors.New(line)
		}
		return "", err
	}
	return strings.TrimSpace(out.String()), nil
}

// look finds the program of a tool.
func look(o Options, name string) (*tool, error) {
	path, err := o.Runner.Look(name)
	if err != nil {
		return nil, fmt.Errorf("%s is not on the PATH", name)
	}
	return &tool{o, path}, nil
}

// limited keeps the beginning of what is written to it.
type limited struct{ b []byte }

const maxRead = 1 << 20

func (l *limited) Write(p []byte) (int, error) {
	l.b = append(l.b, p[:min(len(p), maxRead-len(l.b))]...)
	return len(p), nil
}

func (l *limited) String() string { return string(l.b) }

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(line)
}

// Host returns the registry that a reference names, "docker.io" where it names none.
func Host(ref string) string {
	first, rest, ok := strings.Cut(ref, "/")
	if !ok || rest == "" || !strings.ContainsAny(first, ".:") && first != "localhost" {
		return "docker.io"
	}
	return first
}

// HostOf returns the registry that a URL, or a name as people write it, is of.
func HostOf(address string) string {
	if !strings.Contains(address, "://") {
		host, _, _ := strings.Cut(address, "/")
		return host
	}
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}
