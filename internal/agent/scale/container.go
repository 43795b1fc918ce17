package scale

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent"
)

// Container makes agents that are containers of docker or podman, by its command. A container is named as its agent, has the
// label sekisho.scaler, and is removed after its job. The launch document goes to its standard input.
type Container struct {
	children
	o      ContainerOptions
	engine string // path of the command
	logs   string // folder
}

// ContainerOptions are those of [NewContainer].
type ContainerOptions struct {
	Engine  string   // docker or podman
	Image   string   //
	Run     []string // options of its run command
	Command []string // in the container; empty: sekisho agent once. It reads a launch document from its standard input
	Scaler  string   // its name
	Folder  string   // the scaler's
	Env     []string // "NAME=value", of the engine's command
	Changed func()   // is called when an agent has ended
}

const (
	scalerLabel = "sekisho.scaler"
	engineTime  = time.Minute
)

// taken are options of run that the scaler decides on.
var taken = []string{"-d", "--detach", "-t", "--tty", "-it", "-ti", "-i", "--interactive", "--name", "--restart", "--rm", "--sig-proxy", "-a", "--attach"}

// image is a reference that can't be taken for an option.
var image = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,511}$`)

// NewContainer returns the template.
func NewContainer(o ContainerOptions) (*Container, error) {
	if !image.MatchString(o.Image) {
		return nil, fmt.Errorf("a template of containers needs an image, as in %s:registry.example.com/build-agent:1, not %q", o.Engine, o.Image)
	}
	for _, option := range o.Run {
		name, _, _ := strings.Cut(option, "=")
		if slices.Contains(taken, name) {
			return nil, fmt.Errorf("the option %s is the scaler's: containers run as long as their agents, with the launch document on their standard input", name)
		}
		if !strings.HasPrefix(option, "-") {
			return nil, fmt.Errorf("%q is no option of %s run: write it as one word, such as --memory=4g", option, o.Engine)
		}
	}
	engine, err := exec.LookPath(o.Engine)
	if err != nil {
		return nil, fmt.Errorf("there is no %s on this machine: %w", o.Engine, err)
	}
	if len(o.Command) == 0 {
		o.Command = []string{"sekisho", "agent", "once"}
	}
	return &Container{o: o, engine: engine, logs: filepath.Join(o.Folder, agentsFolder), children: children{changed: o.Changed}}, nil
}

// Describe implements [Template].
func (c *Container) Describe() string { return c.o.Engine + " containers of " + c.o.Image }

// call runs the engine's command.
func (c *Container) call(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, engineTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.engine, args...)
	cmd.Env, cmd.WaitDelay = c.o.Env, time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", fmt.Errorf("%s %s: %w: %s", c.o.Engine, args[0], err, lastLine(errs.String()))
	}
	return out.String(), nil
}

func (c *Container) log(name string) string { return filepath.Join(c.logs, name+".log") }

// Start implements [Template].
func (c *Container) Start(_ context.Context, l *agent.Launch) (string, error) {
	if err := os.MkdirAll(c.logs, 0o700); err != nil {
		return "", fmt.Errorf("make folder for logs: %w", err)
	}
	args := []string{"run", "--interactive", "--rm", "--sig-proxy=false", "--name=" + l.Agent, "--label=" + scalerLabel + "=" + c.o.Scaler}
	args = append(append(append(args, c.o.Run...), c.o.Image), c.o.Command...)
	cmd := exec.Command(c.engine, args...)
	cmd.Env = c.o.Env
	// It is the engine's command that runs, until the container ends; the container doesn't need it.
	_, err := c.start(l, cmd, c.log(l.Agent))
	return l.Agent, err
}

// List implements [Template].
func (c *Container) List(ctx context.Context) ([]Found, error) {
	out, err := c.call(ctx, "ps", "--all", "--filter=label="+scalerLabel+"="+c.o.Scaler, "--format={{.Names}}\t{{.State}}")
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	var found []Found
	for line := range strings.Lines(out) {
		name, state, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok {
			return nil, fmt.Errorf("%s ps: %q is not what it is known to say", c.o.Engine, lastLine(line))
		}
		name, _, _ = strings.Cut(name, ",")
		there[name] = true
		ended := !c.alive(name) && slices.Contains([]string{"exited", "dead", "stopped", "removing"}, strings.ToLower(state))
		found = append(found, Found{Name: name, ID: name, Ended: ended, Last: c.last(name)})
	}
	logs, err := os.ReadDir(c.logs)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("look for logs of agents: %w", err)
	}
	for _, log := range logs { // its image is on its way, or it is gone
		if name, ok := strings.CutSuffix(log.Name(), ".log"); ok && !there[name] {
			found = append(found, Found{Name: name, ID: name, Ended: !c.alive(name), Last: c.last(name)})
		}
	}
	return found, nil
}

func (c *Container) last(name string) string { return lastLine(tail(c.log(name))) }

// Remove implements [Template].
func (c *Container) Remove(ctx context.Context, name, _ string) error {
	c.kill(name)                     // before, so that it makes no container any more
	_, _ = c.call(ctx, "kill", name) // rather than waiting for it to end: it has no job
	if _, err := c.call(ctx, "rm", "--force", "--volumes", name); err != nil {
		out, lerr := c.call(ctx, "ps", "--all", "--quiet", "--filter=name=^"+regexp.QuoteMeta(name)+"$")
		if lerr != nil || strings.TrimSpace(out) != "" {
			return err
		}
	}
	if err := os.Remove(c.log(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove log of agent %s: %w", name, err)
	}
	return nil
}
