package scale

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent"
)

// Plugin makes agents with a program of somebody else's. It is called with one word, and a document on its standard input:
//
//	start  the launch document, see [agent.Launch]. Prints {"id": "…"}, at most 1 KiB, as soon as the agent is under way.
//	list   {"scaler": "…"}. Prints a line {"agent": "…", "id": "…"} for each that there is, also for those that it only just starts.
//	stop   {"agent": "…", "id": "…"}. Ends it if it is there, and removes all that is left of it.
//
// It has the variables SEKISHO_SCALE_VERSION (1), SEKISHO_SCALE_ACTION, SEKISHO_SCALER, SEKISHO_POOL and, but for list, SEKISHO_AGENT,
// and those of the scaler but for its credentials. Exit codes: 0 done; 75 there is no room now (start), try later; 64 it doesn't know
// the word (list alone may not be known); all others failed, and the last line of the standard error says why.
type Plugin struct {
	o PluginOptions
}

// PluginOptions are those of [NewPlugin].
type PluginOptions struct {
	Path   string
	Scaler string // its name
	Pool   string
	Env    []string      // "NAME=value", the scaler's own
	Within time.Duration // how long a call may take
	Log    *slog.Logger
}

const (
	pluginLater   = 75 // EX_TEMPFAIL
	pluginUnknown = 64 // EX_USAGE
	maxPluginOut  = 4 << 20
	maxPluginErr  = 64 << 10
	maxID         = 512
)

// NewPlugin returns the template.
func NewPlugin(o PluginOptions) (*Plugin, error) {
	info, err := os.Stat(o.Path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the plug-in: %w", err)
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return nil, fmt.Errorf("the plug-in %s is no program", o.Path)
	case info.Mode().Perm()&0o002 != 0:
		return nil, fmt.Errorf("everybody can change the plug-in %s, which gets codes for agents: chmod o-w it", o.Path)
	}
	o.Env = plain(o.Env)
	return &Plugin{o}, nil
}

// Describe implements [Template].
func (p *Plugin) Describe() string { return "what " + p.o.Path + " makes" }

// limited keeps the first or the last of what is written.
type limited struct {
	bytes.Buffer
	most int
	over bool
}

func (l *limited) Write(b []byte) (int, error) {
	n := len(b)
	if room := l.most - l.Len(); len(b) > room {
		b, l.over = b[:room], true
	}
	l.Buffer.Write(b)
	return n, nil
}

// call calls the plug-in.
func (p *Plugin) call(ctx context.Context, word, name string, in any) ([]byte, error) {
	text, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Within)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.o.Path, word)
	ownSession(cmd)
	cmd.Cancel = func() error {
		killSession(cmd.Process.Pid)
		return nil
	}
	cmd.WaitDelay = time.Second
	cmd.Env = append(append([]string{}, p.o.Env...), "SEKISHO_SCALE_VERSION=1", "SEKISHO_SCALE_ACTION="+word, "SEKISHO_SCALER="+p.o.Scaler, "SEKISHO_POOL="+p.o.Pool)
	if name != "" {
		cmd.Env = append(cmd.Env, "SEKISHO_AGENT="+name)
	}
	out, errs := &limited{most: maxPluginOut}, &limited{most: maxPluginErr}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(text, '\n')), out, errs
	err = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); errors.Is(err, exec.ErrWaitDelay) && code == 0 { // something of its own goes on, with its output
		err = nil
	}
	said := lastLine(errs.String())
	if l, ok := in.(*agent.Launch); ok { // it may say what it was given
		said = strings.ReplaceAll(said, l.Code, "***")
	}
	exit, _ := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil && out.over:
		return nil, fmt.Errorf("the plug-in says more than %d bytes", maxPluginOut)
	case err == nil:
		if said != "" {
			p.o.Log.Info("the plug-in said", "action", word, "agent", name, "said", said)
		}
		return out.Bytes(), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("the plug-in's %s was ended after %s: %w; it should come back as soon as the agent is under way", word, p.o.Within, ctx.Err())
	case exit != nil && exit.ExitCode() == pluginLater && word == "start":
		return nil, fmt.Errorf("%w: %s", ErrLater, said)
	case exit != nil && exit.ExitCode() == pluginUnknown && word == "list":
		return nil, ErrUnlisted
	}
	return nil, fmt.Errorf("the plug-in's %s failed: %w: %s", word, err, said)
}

type pluginAgent struct {
	Agent string `json:"agent,omitempty"`
	ID    string `json:"id"`
}

// Start implements [Template].
func (p *Plugin) Start(ctx context.Context, l *agent.Launch) (string, error) {
	out, err := p.call(ctx, "start", l.Agent, l)
	if err != nil {
		return "", err
	}
	var a pluginAgent
	if err := json.Unmarshal(bytes.TrimSpace(out), &a); err != nil || a.Agent != "" || a.ID == "" || len(a.ID) > maxID {
		return "", fmt.Errorf(`the plug-in's start does not say {"id": "…"} and no more, but %q`, strings.ReplaceAll(lastLine(string(out)), l.Code, "***"))
	}
	return a.ID, nil
}

// List implements [Template].
func (p *Plugin) List(ctx context.Context) ([]Found, error) {
	out, err := p.call(ctx, "list", "", struct {
		Scaler string `json:"scaler"`
	}{p.o.Scaler})
	if err != nil {
		return nil, err
	}
	var found []Found
	d := json.NewDecoder(bytes.NewReader(out))
	for {
		var a pluginAgent
		err := d.Decode(&a)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil || a.Agent == "" || len(a.ID) > maxID || strings.ContainsAny(a.Agent, "\n\r\x00") {
			return nil, errors.New(`the plug-in's list does not say lines of {"agent": "…", "id": "…"}`)
		}
		found = append(found, Found{Name: a.Agent, ID: a.ID})
	}
}

// Remove implements [Template].
func (p *Plugin) Remove(ctx context.Context, name, id string) error {
	_, err := p.call(ctx, "stop", name, pluginAgent{Agent: name, ID: id})
	return err
}
