package task

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/builder"
	"github.com/sekisho/sekisho/internal/agent/work"
)

// dockerHub is what docker calls the registry of names without a host.
const dockerHub = "https://index.docker.io/v1/"

// registryLogin is a credential for a registry.
type registryLogin struct {
	host           string
	user, password string
}

// logins is the part of a docker configuration that holds credentials.
type logins struct {
	Auths map[string]loginEntry `json:"auths"`
}

type loginEntry struct {
	Auth string `json:"auth"`
}

func (c *Context) loginFile() string {
	return c.Host.Outside(filepath.Join(c.dockerConfig(), "config.json"))
}

func (c *Context) logins() (*logins, error) {
	l := &logins{Auths: map[string]loginEntry{}}
	text, err := os.ReadFile(c.loginFile())
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(text, l) != nil {
		return nil, fmt.Errorf("%s is not a docker configuration any more: a step has changed it", c.loginFile())
	}
	if l.Auths == nil {
		l.Auths = map[string]loginEntry{}
	}
	return l, nil
}

func (c *Context) saveLogins(l *logins) error {
	text, err := json.MarshalIndent(l, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.loginFile()), 0o700); err != nil {
		return err
	}
	return os.WriteFile(c.loginFile(), append(text, '\n'), 0o600)
}

// login writes a credential where the tools of this job's steps look for it, and has it taken away at the job's end. The
// registry itself judges it when it is used.
func (c *Context) login(r registryLogin) error {
	c.Log.Secret(r.password)
	auth := base64.StdEncoding.EncodeToString([]byte(r.user + ":" + r.password))
	c.Log.Secret(auth)
	l, err := c.logins()
	if err != nil {
		return err
	}
	key := r.host
	if key == "docker.io" {
		key = dockerHub
	}
	l.Auths[key] = loginEntry{auth}
	if err := c.saveLogins(l); err != nil {
		return err
	}
	if at, ok := c.Vars.Get("DOCKER_CONFIG"); !ok || at != c.dockerConfig() {
		for name, value := range map[string]string{"DOCKER_CONFIG": c.dockerConfig(), "REGISTRY_AUTH_FILE": filepath.Join(c.dockerConfig(), "config.json")} {
			if err := c.Vars.Set(work.Variable{Name: name, Value: value}, false); err != nil {
				return err
			}
		}
		if c.After != nil {
			c.After("Log out of registries", func(_ context.Context, c *Context) error {
				c.Log.Line("Removing the registry credentials of this job.")
				return os.RemoveAll(c.Host.Outside(c.dockerConfig()))
			})
		}
	}
	c.Log.Line("Logged in to " + r.host + " as " + r.user + ", for this job.")
	return nil
}

// logout takes the credential of one registry away; of all, when host is empty.
func (c *Context) logout(host string) error {
	l, err := c.logins()
	if err != nil {
		return err
	}
	if host == "docker.io" {
		host = dockerHub
	}
	if host == "" {
		clear(l.Auths)
	}
	delete(l.Auths, host)
	return c.saveLogins(l)
}

// registries returns the hosts that the job is logged in to.
func (c *Context) registries() ([]string, error) {
	l, err := c.logins()
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, h := range slices.Sorted(maps.Keys(l.Auths)) {
		if h == dockerHub {
			h = "docker.io"
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// registryOf returns the credential of a service connection for a registry.
func (c *Context) registryOf(ctx context.Context, ref string) (registryLogin, error) {
	e, err := c.Endpoint(ref)
	if err != nil {
		return registryLogin{}, fmt.Errorf("containerRegistry: %w", err)
	}
	switch strings.ToLower(e.Type) {
	case "dockerregistry":
		r := registryLogin{host: registryHost(e), user: e.Auth["username"], password: e.Auth["password"]}
		switch {
		case r.host == "":
			return r, fmt.Errorf("the service connection %s does not say which registry it is for: give it a URL", e.Name)
		case r.user == "" || r.password == "":
			return r, fmt.Errorf("the service connection %s has no user name or no password", e.Name)
		}
		return r, nil
	case "aws", "sekisho":
		a, err := c.aws(ctx, ref)
		if err != nil {
			return registryLogin{}, err
		}
		return a.registry(ctx)
	}
	return registryLogin{}, fmt.Errorf("the service connection %s is of type %s: a registry's is dockerregistry, aws or sekisho", e.Name, e.Type)
}

// registryHost is the registry that a connection of type dockerregistry is for.
func registryHost(e *work.Endpoint) string {
	for _, address := range []string{e.Auth["registry"], e.Data["registry"], e.URL} {
		if address == "" {
			continue
		}
		host := builder.HostOf(address)
		if host == "index.docker.io" || host == "hub.docker.com" || host == "registry-1.docker.io" {
			return "docker.io"
		}
		return host
	}
	return ""
}
