package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/durable"
)

// LaunchVersion is the version of [Launch].
const LaunchVersion = 1

// Launch is all that an agent of one job needs to begin. It has a secret in it, and so goes through standard input or a file that nobody
// else can read.
type Launch struct {
	Version   int       `json:"version"`             // LaunchVersion
	Server    string    `json:"server"`              // URL
	Pool      string    `json:"pool"`                //
	Agent     string    `json:"agent"`               // name
	Code      string    `json:"code"`                // good once, for this name, until Expires
	Expires   time.Time `json:"expires"`             //
	Proxy     string    `json:"proxy,omitempty"`     // URL; empty: as the environment says
	CA        string    `json:"ca,omitempty"`        // PEM, authorities beside the system's
	AllowHTTP bool      `json:"allowHttp,omitempty"` // no TLS, over a network that one trusts
}

const maxLaunch = 1 << 20

// ReadLaunch reads one, and no more than that: what it reads from may stay open.
func ReadLaunch(r io.Reader) (*Launch, error) {
	l := &Launch{}
	if err := json.NewDecoder(io.LimitReader(r, maxLaunch)).Decode(l); err != nil {
		return nil, errors.New("there is no launch document; it is JSON, as sekisho agent scale gives it to what it starts") // the rest may be a secret
	}
	if l.Version != LaunchVersion {
		return nil, fmt.Errorf("the launch document has version %d, and this program knows %d: the scaler and its agents must be of the same version", l.Version, LaunchVersion)
	}
	if l.Server == "" || l.Code == "" || l.Agent == "" {
		return nil, errors.New("the launch document must have server, pool, agent and code")
	}
	return l, nil
}

// Launch makes the folder an agent of one job, and runs it. A folder that is one already, because what it is in was started again,
// goes on. Errors: [ErrGone], also when the agent is not needed any more.
func (f Folder) Launch(ctx context.Context, l *Launch, o RunOptions) error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return fmt.Errorf("make the agent's folder: %w", err)
	}
	if !f.Configured() {
		c := ConfigureOptions{
			Answers:    Answers{License: true, URL: l.Server, Auth: AuthCode, Token: l.Code, Pool: l.Pool, Name: l.Agent, Work: DefaultWork},
			Unattended: true, OneJob: true, Proxy: l.Proxy, AllowHTTP: l.AllowHTTP, Version: o.Version, Environ: o.Environ, Out: o.Console,
		}
		for _, pair := range o.Environ { // whoever made the image, or started the scaler, knows where tasks are
			if dirs, ok := strings.CutPrefix(pair, TasksInput+"="); ok {
				c.Tasks = filepath.SplitList(dirs)
			}
		}
		if l.CA != "" {
			c.CAFile = f.path("ca.pem")
			if err := durable.WriteFile(durable.OS{}, c.CAFile, []byte(l.CA), 0o600); err != nil {
				return fmt.Errorf("write authorities: %w", err)
			}
		}
		if err := f.Configure(ctx, c); err != nil {
			return err
		}
	}
	return f.Run(ctx, o)
}

// RemoveFolder removes an agent's folder with all that is in it, also what containers of this user wrote there as somebody else.
func RemoveFolder(dir string) error { return removeTree(dir) }
