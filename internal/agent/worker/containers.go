package worker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/agent/task"
	"github.com/sekisho/sekisho/internal/agent/work"
)

// engine runs the containers of a job, with the docker or podman command. The job's folders have the same paths inside.
type engine struct {
	bin      string // of the command
	podman   bool
	rootless bool
	network  string
	running  map[string]string // alias → id, of those that steps run in
	services map[string]string // name → id
}

// keepAlive is what a container runs that steps run in.
const keepAlive = "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"

// containers starts the containers that the job's steps and services need.
func (j *job) containers(ctx context.Context, s *step) error {
	var aliases []string
	need := func(alias string) {
		if alias != "" && !strings.EqualFold(alias, "host") && !slices.Contains(aliases, alias) {
			aliases = append(aliases, alias)
		}
	}
	need(j.Container)
	for _, st := range j.Job.Steps {
		if st.Enabled && st.Target != nil {
			need(st.Target.Container)
		}
	}
	if len(aliases) == 0 && len(j.Services) == 0 {
		return nil
	}
	e, err := findEngine(ctx, j)
	if err != nil {
		return err
	}
	j.engine = e
	s.Line(fmt.Sprintf("Containers are run by %s.", e.bin))
	// One that an agent that was killed left behind is in nobody's way: names are new each time.
	e.network = "sekisho-" + j.marker
	if _, err := j.engineCall(ctx, nil, "network", "create", "--label", "sekisho.job="+j.marker, e.network); err != nil {
		return err
	}
	for _, alias := range aliases {
		if err := j.startContainer(ctx, s, alias); err != nil {
			return err
		}
	}
	names := make([]string, 0, len(j.Services))
	for name := range j.Services {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := j.startService(ctx, s, name, j.Services[name]); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := j.healthy(ctx, s, name); err != nil {
			return err
		}
	}
	return nil
}

func findEngine(ctx context.Context, j *job) (*engine, error) {
	names := []string{"docker", "podman"}
	if j.opts.Engine != "" {
		names = []string{j.opts.Engine}
	}
	var why []string
	for _, n := range names {
		path, err := look(n, j.opts.Env)
		if err != nil {
			why = append(why, n+" is not on the PATH")
			continue
		}
		e := &engine{bin: path, running: map[string]string{}, services: map[string]string{}}
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			why = append(why, fmt.Sprintf("%s --version: %v", n, err))
			continue
		}
		e.podman = bytes.Contains(bytes.ToLower(out), []byte("podman"))
		j.engine = e
		if e.podman {
			out, err := j.engineCall(ctx, nil, "info", "--format", "{{.Host.Security.Rootless}}")
			if err != nil {
				why = append(why, err.Error())
				continue
			}
			e.rootless = strings.TrimSpace(out) == "true"
		} else if _, err := j.engineCall(ctx, nil, "version", "--format", "{{.Server.Version}}"); err != nil {
			why = append(why, err.Error())
			continue
		}
		return e, nil
	}
	j.engine = nil
	return nil, fmt.Errorf("the job has containers and this agent can't run any: %s", strings.Join(why, "; "))
}

// engineCall runs the command and returns what it prints. Nothing secret is among the arguments.
func (j *job) engineCall(ctx context.Context, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, j.engine.bin, args...)
	cmd.Env = append(j.base[:len(j.base):len(j.base)], env...)
	cmd.Dir = j.dirs.Pipeline
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	separate(cmd)
	cmd.Cancel = func() error { signalGroup(cmd.Process.Pid, syscall.SIGKILL); return nil }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return "", err
	}
	j.procs.ours(cmd.Process.Pid)
	err := cmd.Wait()
	j.procs.done(cmd.Process.Pid)
	if err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		text := strings.TrimSpace(errs.String())
		if i := strings.LastIndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		}
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(j.engine.bin), args[0], err, j.masker.String(text))
	}
	return out.String(), nil
}

func (j *job) container(alias string) (*work.Container, error) {
	for i := range j.Job.Containers {
		if strings.EqualFold(j.Job.Containers[i].Alias, alias) {
			return &j.Job.Containers[i], nil
		}
	}
	return nil, fmt.Errorf("there is no container resource %q", alias)
}

// create makes and starts a container.
func (j *job) create(ctx context.Context, s *step, c *work.Container, name string, more []string, command []string) (string, error) {
	image := j.vars.expand(c.Image)
	s.Line("Container image: " + image)
	if err := j.pull(ctx, s, c, image); err != nil {
		return "", err
	}
	args := []string{"run", "--detach", "--name", "sekisho-" + uuid.NewString(), "--label", "sekisho.job=" + j.marker,
		"--network", j.engine.network, "--network-alias", name, "--pull", "never"}
	if !j.engine.podman {
		args = slices.DeleteFunc(args, func(a string) bool { return a == "--pull" || a == "never" })
	}
	// Values go by the command's environment: its arguments are for everybody to see.
	var env []string
	for _, p := range c.Env {
		args, env = passEnv(args, env, p.Name, j.vars.expand(p.Value))
	}
	for _, p := range c.Ports {
		args = append(args, "--publish", j.vars.expand(p))
	}
	for _, v := range c.Volumes {
		args = append(args, "--volume", j.vars.expand(v))
	}
	if c.MapDockerSocket {
		if _, err := os.Stat("/var/run/docker.sock"); err == nil {
			args = append(args, "--volume", "/var/run/docker.sock:/var/run/docker.sock")
		}
	}
	options, err := words(j.vars.expand(c.Options))
	if err != nil {
		return "", fmt.Errorf("the options of the container %s: %w", c.Alias, err)
	}
	args = append(append(append(args, options...), more...), image)
	args = append(args, command...)
	out, err := j.engineCall(ctx, env, args...)
	if err != nil {
		return "", err
	}
	fields := strings.Fields(out)
	if len(fields) == 0 {
		return "", errors.New("the container has no id")
	}
	return fields[len(fields)-1], nil
}

// passEnv has a command pass a variable on without its value among the arguments, but for those that the command itself
// heeds, which aren't secrets.
func passEnv(args, env []string, name, value string) ([]string, []string) {
	if heeded(name) {
		return append(args, "--env", name+"="+value), env
	}
	return append(args, "--env", name), append(env, name+"="+value)
}

// heeded reports whether docker or podman, or what runs them, take a variable for themselves.
func heeded(name string) bool {
	switch name {
	case "PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "SHELL":
		return true
	}
	for _, p := range []string{"DOCKER_", "CONTAINER_", "CONTAINERS_", "XDG_", "LD_", "GODEBUG", "BUILDAH_", "REGISTRY_AUTH_FILE", "DBUS_", "STORAGE_", "_CONTAINERS_"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

func (j *job) startContainer(ctx context.Context, s *step, alias string) error {
	c, err := j.container(alias)
	if err != nil {
		return err
	}
	var more []string
	mount := func(dir, what string) {
		v := dir + ":" + dir
		if slices.ContainsFunc(c.MountReadOnly, func(m string) bool { return strings.EqualFold(m, what) }) {
			v += ":ro"
		}
		more = append(more, "--volume", v)
	}
	mount(j.dirs.Pipeline, "work")
	mount(j.dirs.Temp, "")
	mount(j.dirs.Tools, "tools")
	mount(j.dirs.Tasks, "tasks")
	for _, dir := range j.opts.Tasks {
		more = append(more, "--volume", dir+":"+dir+":ro")
	}
	more = append(more, "--entrypoint", "sh")
	id, err := j.create(ctx, s, c, networkName(alias), more, []string{"-c", keepAlive})
	if err != nil {
		return fmt.Errorf("the container %s can't be started: %w", alias, err)
	}
	j.engine.running[strings.ToLower(alias)] = id
	state, err := j.engineCall(ctx, nil, "inspect", "--format", "{{.State.Running}}", id)
	if err != nil || strings.TrimSpace(state) != "true" {
		logs, _ := j.engineCall(ctx, nil, "logs", "--tail", "20", id)
		s.Line(logs)
		return fmt.Errorf("the container %s ended at once: its image needs sh and sleep for steps to run in it", alias)
	}
	return nil
}

func (j *job) startService(ctx context.Context, s *step, name, alias string) error {
	c, err := j.container(alias)
	if err != nil {
		return err
	}
	id, err := j.create(ctx, s, c, networkName(name), nil, nil)
	if err != nil {
		return fmt.Errorf("the service %s can't be started: %w", name, err)
	}
	j.engine.services[name] = id
	out, err := j.engineCall(ctx, nil, "port", id)
	if err != nil {
		return nil // a service without ports
	}
	// "5432/tcp -> 0.0.0.0:49153"
	for line := range strings.Lines(out) {
		inside, outside, ok := strings.Cut(strings.TrimSpace(line), " -> ")
		port, _, _ := strings.Cut(inside, "/")
		if !ok {
			continue
		}
		host := outside[strings.LastIndexByte(outside, ':')+1:]
		if err := j.vars.define(work.Variable{Name: "agent.services." + name + ".ports." + port, Value: host, From: "agent"}); err != nil {
			return err
		}
	}
	return nil
}

// networkName is a name as networks take it.
func networkName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, strings.ToLower(s))
}

// healthy waits until a service that has a health check passes it.
func (j *job) healthy(ctx context.Context, s *step, name string) error {
	id := j.engine.services[name]
	for _, seconds := range []int{1, 2, 3, 5, 8, 13, 21, 34, 55} {
		out, err := j.engineCall(ctx, nil, "inspect", "--format", "{{json .State}}", id)
		if err != nil {
			return err
		}
		var state struct {
			Running             bool
			Health, Healthcheck struct{ Status string } // docker's name, and older podman's
		}
		if err := json.Unmarshal([]byte(out), &state); err != nil {
			return fmt.Errorf("the state of the service %s can't be read: %w", name, err)
		}
		status := cmp.Or(state.Health.Status, state.Healthcheck.Status)
		switch {
		case !state.Running:
			logs, _ := j.engineCall(ctx, nil, "logs", "--tail", "50", id)
			s.Line(logs)
			return fmt.Errorf("the service %s ended", name)
		case status == "" || status == "healthy" || status == "none":
			return nil
		case status == "unhealthy":
			return fmt.Errorf("the service %s is unhealthy", name)
		}
		s.Line(fmt.Sprintf("The service %s is %s; looking again in %d s.", name, status, seconds))
		if j.engine.podman {
			// Without systemd nobody else runs a podman container's check.
			_, _ = j.engineCall(ctx, nil, "healthcheck", "run", id)
		}
		c, stop := j.opts.Clock.After(time.Duration(seconds) * time.Second)
		select {
		case <-c:
		case <-ctx.Done():
			stop()
			return context.Cause(ctx)
		}
		stop()
	}
	return fmt.Errorf("the service %s did not become healthy", name)
}

// pull pulls an image, with credentials in a folder of its own that is gone when the pull is over.
func (j *job) pull(ctx context.Context, s *step, c *work.Container, image string) error {
	auth, err := j.registryAuth(c, image)
	if err != nil {
		return err
	}
	if strings.HasPrefix(image, "localhost/") {
		return nil // podman's own name for what is only on this machine
	}
	var env []string
	if auth != nil {
		dir, err := os.MkdirTemp(j.opts.Work, "_auth-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		text, err := json.Marshal(map[string]any{"auths": map[string]any{auth.host: map[string]string{
			"auth": base64.StdEncoding.EncodeToString([]byte(auth.user + ":" + auth.password)),
		}}})
		if err != nil {
			return err
		}
		file := filepath.Join(dir, "config.json")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
		env = []string{"DOCKER_CONFIG=" + dir, "REGISTRY_AUTH_FILE=" + file}
	}
	_, err = j.engineCall(ctx, env, "pull", "--quiet", image)
	if err != nil {
		// What is there already will do, as on a machine without a network.
		if _, missing := j.engineCall(ctx, nil, "image", "inspect", image); missing == nil && ctx.Err() == nil {
			s.Warning(fmt.Sprintf("%s can't be pulled, so the one on this machine is used: %v", image, err))
			return nil
		}
		return fmt.Errorf("%s can't be pulled: %w", image, err)
	}
	return nil
}

type registryAuth struct{ host, user, password string }

func (j *job) registryAuth(c *work.Container, image string) (*registryAuth, error) {
	host, _, _ := strings.Cut(image, "/")
	if c.Endpoint == "" {
		hosts := j.RegistryHosts
		if u, err := url.Parse(j.Server); err == nil && len(hosts) == 0 {
			hosts = []string{u.Host}
		}
		if slices.Contains(hosts, host) && j.Token != "" {
			return &registryAuth{host, "job", j.Token}, nil
		}
		return nil, nil
	}
	for _, e := range j.Endpoints {
		if e.ID != c.Endpoint && !strings.EqualFold(e.Name, c.Endpoint) {
			continue
		}
		get := func(name string) string {
			for k, v := range e.Auth {
				if strings.EqualFold(k, name) {
					return v
				}
			}
			return ""
		}
		if get("password") == "" {
			return nil, fmt.Errorf("the service connection %s of the container %s has no user and password: a registry's has", e.Name, c.Alias)
		}
		registry := cmp.Or(get("registry"), e.URL)
		if u, err := url.Parse(registry); err == nil && u.Host != "" {
			registry = u.Host
		}
		if registry == "" || strings.HasSuffix(registry, "docker.io") {
			registry = "https://index.docker.io/v1/"
		}
		return &registryAuth{registry, get("username"), get("password")}, nil
	}
	return nil, fmt.Errorf("the container %s uses a service connection that the job does not have", c.Alias)
}

// removeContainers takes away what containers starts. It is for the job's end, whatever its contexts say.
func (j *job) removeContainers(s *step) {
	if j.engine == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.hard), 2*time.Minute)
	defer cancel()
	out, err := j.engineCall(ctx, nil, "ps", "--all", "--quiet", "--no-trunc", "--filter", "label=sekisho.job="+j.marker)
	if err == nil {
		if ids := strings.Fields(out); len(ids) > 0 {
			args := []string{"rm", "--force", "--volumes"}
			if j.engine.podman {
				args = append(args, "--time", "0")
			}
			_, err = j.engineCall(ctx, nil, append(args, ids...)...)
		}
	}
	if err == nil && j.engine.network != "" {
		_, err = j.engineCall(ctx, nil, "network", "rm", j.engine.network)
	}
	if err != nil {
		s.Warning("The job's containers could not all be removed: " + err.Error())
		j.log.Warn("containers of a job are left", "job", j.Job.ID, "err", j.masker.String(err.Error()))
	}
}

// user is who steps are in a container, whatever the image says: with an engine that runs as root whoever the agent is, so that
// what they leave belongs to it. Where the engine runs as the agent's user, root in the container is that user.
func (e *engine) user() []string {
	switch {
	case runtime.GOOS == "windows":
		return nil
	case e.rootless:
		return []string{"--user", "0:0"}
	}
	return []string{"--user", strconv.Itoa(os.Getuid()) + ":" + strconv.Itoa(os.Getgid())}
}

// path is the PATH of the container that a step runs in.
func (e *engine) path(s *work.Step, j *job) string {
	const usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	alias := j.Container
	if s.Target != nil && s.Target.Container != "" {
		alias = s.Target.Container
	}
	if e == nil {
		return usual
	}
	out, err := j.engineCall(j.hard, nil, "exec", e.running[strings.ToLower(alias)], "sh", "-c", `printf %s "$PATH"`)
	if err != nil {
		return usual
	}
	return cmp.Or(strings.TrimSpace(out), usual)
}

// host is where steps run that have a container as their target.
func (e *engine) host(j *job, s *step, alias string, env []string) (task.Host, error) {
	if e == nil || e.running[strings.ToLower(alias)] == "" {
		return nil, fmt.Errorf("the container %q is not there", alias)
	}
	return &containerHost{j: j, step: s, id: e.running[strings.ToLower(alias)], env: env}, nil
}

// containerHost is the task.Host of steps that run in a container.
type containerHost struct {
	j    *job
	step *step
	id   string
	env  []string
}

func (h *containerHost) Container() bool            { return true }
func (h *containerHost) Outside(path string) string { return path }

func (h *containerHost) Look(name string) (string, error) {
	args := append([]string{"exec"}, h.j.engine.user()...)
	if p := lookEnv(h.env, "PATH"); p != "" {
		args = append(args, "--env", "PATH="+p)
	}
	out, err := h.j.engineCall(h.j.hard, nil, append(args, h.id, "sh", "-c", `command -v -- "$1"`, "sh", name)...)
	if err != nil || strings.TrimSpace(out) == "" {
		return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
	}
	return strings.TrimSpace(out), nil
}

func (h *containerHost) Run(ctx context.Context, p *task.Process) error {
	j := h.j
	env := p.Env
	if env == nil {
		env = h.env
	}
	args := append([]string{"exec", "--interactive"}, j.engine.user()...)
	args = append(args, "--workdir", cmp.Or(p.Dir, j.dirs.Sources))
	client := j.base[:len(j.base):len(j.base)]
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if heeded(name) && j.masker.Contains(value) {
			return fmt.Errorf("the variable %s holds a secret and can't be passed into a container: give it another name", name)
		}
		args, client = passEnv(args, client, name, value)
	}
	// The shell says its process id, and becomes the program: so it can be asked to end, which signals to the command here don't.
	pid := filepath.Join(j.dirs.Temp, "pid-"+uuid.NewString())
	defer os.Remove(pid)
	args = append(args, h.id, "sh", "-c", `echo $$ >"$0"; exec "$@"`, pid, p.Path)
	args = append(args, p.Args...)
	if !p.Quiet {
		h.step.Command(commandLine(p.Path, p.Args))
	}
	cmd := exec.Command(j.engine.bin, args...)
	cmd.Env, cmd.Dir = append(client, marker+"="+j.marker), j.dirs.Pipeline
	in := func(script string, arguments ...string) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(j.hard), 20*time.Second)
		defer cancel()
		_, _ = j.engineCall(ctx, nil, append([]string{"exec", h.id, "sh", "-c", script, "sh"}, arguments...)...)
	}
	err := j.run(ctx, h.step, cmd, p, func(sig syscall.Signal) {
		name := "INT"
		if sig == syscall.SIGTERM {
			name = "TERM"
		}
		in(`pid=$(cat "$1") && { kill -s "$2" -- "-$pid" 2>/dev/null || kill -s "$2" "$pid"; }`, pid, name)
	}, func() { in("kill -s KILL -- -1") })
	var exit *task.ExitError
	if errors.As(err, &exit) && (exit.Code == 126 || exit.Code == 127) {
		return fmt.Errorf("%w: is it in the image?", err)
	}
	return err
}

// words takes a command line apart as a shell does, quotes and backslashes only.
func words(line string) ([]string, error) {
	var all []string
	var word strings.Builder
	open, quote, escaped := false, rune(0), false
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			open, escaped = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			open, quote = true, r
		case r == ' ' || r == '\t' || r == '\n':
			if open {
				all = append(all, word.String())
				word.Reset()
				open = false
			}
		default:
			open = true
			word.WriteRune(r)
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote is not closed")
	}
	if open {
		all = append(all, word.String())
	}
	return all, nil
}
