package scale

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/agent"
)

// Template makes agents. Its methods are called at the same time for different agents, never for one.
type Template interface {
	// Start starts an agent, and returns when it is under way: that it joins the pool is seen there. The id, which may be empty, is
	// what Remove is to know about it. Errors: [ErrLater].
	Start(ctx context.Context, l *agent.Launch) (id string, err error)
	// List returns which agents of this scaler there are, those too that an earlier process of it started. [ErrUnlisted]: it can't tell.
	List(ctx context.Context) ([]Found, error)
	// Remove ends an agent, if it is still there, and takes away all that is left of it. Again, it does nothing.
	Remove(ctx context.Context, name, id string) error
	// Describe says what it is, for people.
	Describe() string
}

// Found is an agent that a template has.
type Found struct {
	Name  string
	ID    string
	Ended bool   // it is over, and only leftovers are there
	Last  string // the last that it said, for people; may be empty
}

var (
	// ErrLater means that there is no room for another agent now.
	ErrLater = errors.New("there is no room for another agent now")
	// ErrUnlisted means that a template can't say which agents there are.
	ErrUnlisted = errors.New("the template doesn't list its agents")
)

// Kinds are the kinds of templates.
const (
	KindProcess = "process"
	KindDocker  = "docker"
	KindPodman  = "podman"
	KindExec    = "exec"
)

// ParseTemplate reads the kind of a template and, of exec:, what comes after the colon.
func ParseTemplate(text string) (kind, argument string, err error) {
	kind, argument, _ = strings.Cut(text, ":")
	switch strings.ToLower(kind) {
	case KindProcess:
		if argument != "" {
			return "", "", fmt.Errorf("the template process takes nothing: %q", text)
		}
	case KindDocker, KindPodman:
	case KindExec:
		if !strings.HasPrefix(argument, "/") {
			return "", "", fmt.Errorf("the template exec: names a program by its whole path, such as exec:/usr/local/lib/start-vm, not %q", argument)
		}
	case "kubernetes", "k8s", "kubernetes-job", "job":
		return "", "", errors.New("there is no template for Kubernetes jobs yet: run agents as a Deployment, or start jobs with a plug-in, exec:/path")
	case "":
		return "", "", errors.New("a template is needed: process, docker:IMAGE, podman:IMAGE or exec:/path/to/plug-in")
	default:
		return "", "", fmt.Errorf("there is no template %q; there are process, docker:IMAGE, podman:IMAGE and exec:/path/to/plug-in", text)
	}
	return strings.ToLower(kind), argument, nil
}

// lastLine returns the last line of a text that says something, without what would move a cursor.
func lastLine(text string) string {
	const most = 300
	lines := strings.Split(strings.TrimSpace(text), "\n")
	last := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.TrimSpace(lines[len(lines)-1]))
	if len(last) > most {
		last = strings.ToValidUTF8(last[:most], "") + "…"
	}
	return last
}

// secrets are variables that agents are not given: what the scaler proves itself with is not theirs.
var secrets = []string{
	"SEKISHO_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN",
	"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
}

// plain returns an environment without the scaler's own secrets.
func plain(env []string) []string {
	var kept []string
	for _, pair := range env {
		name, _, _ := strings.Cut(pair, "=")
		mine := strings.HasPrefix(name, agent.InputPrefix) && name != agent.TasksInput
		for _, s := range secrets {
			mine = mine || strings.EqualFold(name, s)
		}
		if !mine {
			kept = append(kept, pair)
		}
	}
	return kept
}
