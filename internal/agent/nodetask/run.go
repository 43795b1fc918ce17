package nodetask

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/task"
	"github.com/sekisho/sekisho/internal/agent/work"
)

// Lister is what the variables of a context must be too: tasks get all of them.
type Lister interface {
	All() []work.Variable
	TaskVariables() []work.Variable
}

// compatible is what tasks are told as the agent's version: they ask for the version of the agent they were made
// for, and check that it can what they need.
const compatible = "4.260.0"

// Main, Before and After are the functions of the task: what its step does, and what it does at the job's beginning and end.
func (t *Task) Main(ctx context.Context, c *task.Context) error   { return t.run(ctx, c, t.def.Main) }
func (t *Task) Before(ctx context.Context, c *task.Context) error { return t.run(ctx, c, t.def.Before) }
func (t *Task) After(ctx context.Context, c *task.Context) error  { return t.run(ctx, c, t.def.After) }

func (t *Task) run(ctx context.Context, c *task.Context, all map[string]execution) error {
	d := &t.def
	for _, line := range []string{
		"==============================================================================",
		"Task         : " + cmp.Or(d.Title, d.Name), "Description  : " + d.About,
		fmt.Sprintf("Version      : %d.%d.%d", d.Version.Major, d.Version.Minor, d.Version.Patch),
		"Author       : " + d.Author, "Help         : " + d.Help,
		"==============================================================================",
	} {
		c.Log.Line(line)
	}
	major, err := nodeVersion(ctx, c)
	if err != nil {
		return err
	}
	e, err := pick(all, major)
	if err != nil {
		return fmt.Errorf("%s@%d: %w", d.Name, d.Version.Major, err)
	}
	target := filepath.Join(t.Folder, filepath.FromSlash(strings.ReplaceAll(e.Target, `\`, "/")))
	if rel, err := filepath.Rel(t.Folder, target); err != nil || !filepath.IsLocal(rel) {
		return fmt.Errorf("the target %q of the task leads out of its folder", e.Target)
	}
	if _, err := os.Stat(target); err != nil {
		return fmt.Errorf("the task is incomplete: %s is not there", target)
	}
	inputs, endpoints, err := t.inputs(c)
	if err != nil {
		return err
	}
	for i, e := range endpoints {
		if endpoints[i], err = withKeys(ctx, c, e); err != nil {
			return err
		}
	}
	env, err := environment(c, inputs, endpoints)
	if err != nil {
		return err
	}
	dir := e.WorkingDirectory
	switch {
	case strings.EqualFold(dir, "$(currentDirectory)"):
		dir = t.Folder
	case dir != "":
		dir = c.Vars.Expand(dir)
	default:
		dir = c.Dirs.Sources
	}
	err = c.Host.Run(ctx, &task.Process{Path: "node", Args: []string{target}, Dir: dir, Env: env, Quiet: true})
	var exit *task.ExitError
	if errors.As(err, &exit) {
		// A task says that it failed by a command, and ends with 0: another code means that it broke.
		return fmt.Errorf("the task broke: %w", err)
	}
	return err
}

// nodeVersion is the major version of the node that the step would run.
func nodeVersion(ctx context.Context, c *task.Context) (int, error) {
	if _, err := c.Host.Look("node"); err != nil {
		return 0, errors.New("published tasks need node on the PATH of the place where the step runs, and it is not there: install Node.js 20 or later")
	}
	var out bytes.Buffer
	if err := c.Host.Run(ctx, &task.Process{Path: "node", Args: []string{"--version"}, Dir: c.Dirs.Temp, Stdout: &out, Quiet: true}); err != nil {
		return 0, err
	}
	version := strings.TrimSpace(out.String())
	c.Log.Line("Node.js      : " + version)
	first, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	major, err := strconv.Atoi(first)
	if err != nil {
		return 0, fmt.Errorf("node --version says %q, which is no version", version)
	}
	return major, nil
}

// inputs are the step's inputs by their own names, with defaults, and the service connections among them.
func (t *Task) inputs(c *task.Context) (map[string]string, []*work.Endpoint, error) {
	values := map[string]string{}
	known := map[string]bool{}
	for _, in := range t.def.Inputs {
		key := strings.ToLower(strings.TrimSpace(in.Name))
		v, ok := c.Inputs[key]
		known[key] = true
		for _, a := range in.Aliases {
			a = strings.ToLower(a)
			known[a] = true
			if w, given := c.Inputs[a]; given && !ok {
				v, ok = w, true
			}
		}
		if !ok {
			v = c.Vars.Expand(strings.TrimSpace(string(in.Default)))
		}
		values[key] = v
	}
	for k, v := range c.Inputs {
		if !known[k] {
			values[k] = v
		}
	}
	var endpoints []*work.Endpoint
	for _, in := range t.def.Inputs {
		key := strings.ToLower(strings.TrimSpace(in.Name))
		kind := strings.ToLower(in.Type)
		if values[key] == "" && bool(in.Required) && visible(in.Visible, values) && kind != "filepath" {
			return nil, nil, fmt.Errorf("input required: %s", in.Name)
		}
		switch {
		case kind == "filepath":
			// A path that is not given is the sources', by which tasks see that it is not.
			if p := values[key]; p == "" || !filepath.IsAbs(p) {
				values[key] = filepath.Join(c.Dirs.Sources, filepath.FromSlash(strings.ReplaceAll(p, `\`, "/")))
			}
		case strings.HasPrefix(kind, "connectedservice:") && values[key] != "":
			var ids []string
			for ref := range strings.SplitSeq(values[key], ",") {
				e, err := c.Endpoint(strings.TrimSpace(ref))
				if err != nil {
					return nil, nil, fmt.Errorf("input %s: %w", in.Name, err)
				}
				endpoints = append(endpoints, e)
				ids = append(ids, e.ID)
			}
			values[key] = strings.Join(ids, ",")
		case kind == "securefile" && values[key] != "":
			return nil, nil, fmt.Errorf("input %s: there are no secure files here: keep it as a secret variable, or in the repository", in.Name)
		}
	}
	return values, endpoints, nil
}

// withKeys gives a connection to AWS that has a role and no keys the keys that the job gets for it: tasks ask for identity tokens
// where only Azure has them.
func withKeys(ctx context.Context, c *task.Context, e *work.Endpoint) (*work.Endpoint, error) {
	if !strings.EqualFold(e.Type, "AWS") || !strings.EqualFold(e.Scheme, "WorkloadIdentityFederation") {
		return e, nil
	}
	keys, err := c.Keys(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	with := *e
	with.Scheme = "UsernamePassword"
	with.Auth = map[string]string{"username": keys.AccessKeyID, "password": keys.SecretAccessKey, "sessionToken": keys.SessionToken}
	return &with, nil
}

// visible decides a visibleRule, such as "a = b && c != d". What it can't read is not visible, and so not required.
func visible(rule string, values map[string]string) bool {
	if strings.TrimSpace(rule) == "" {
		return true
	}
	for alternative := range strings.SplitSeq(rule, "||") {
		all := true
		for term := range strings.SplitSeq(alternative, "&&") {
			all = all && holds(strings.TrimSpace(term), values)
		}
		if all {
			return true
		}
	}
	return false
}

func holds(term string, values map[string]string) bool {
	get := func(name string) string { return values[strings.ToLower(strings.TrimSpace(name))] }
	clean := func(v string) string { return strings.Trim(strings.TrimSpace(v), `"'`) }
	if a, b, ok := strings.Cut(term, "!="); ok {
		return !strings.EqualFold(get(a), clean(b))
	}
	if a, b, ok := strings.Cut(strings.Replace(term, "==", "=", 1), "="); ok {
		return strings.EqualFold(get(a), clean(b))
	}
	f := strings.Fields(term)
	if len(f) < 3 {
		return false
	}
	v, w := strings.ToLower(get(f[0])), strings.ToLower(clean(strings.Join(f[2:], " ")))
	switch strings.ToLower(f[1]) {
	case "contains":
		return strings.Contains(v, w)
	case "notcontains":
		return !strings.Contains(v, w)
	case "startswith":
		return strings.HasPrefix(v, w)
	case "notstartswith":
		return !strings.HasPrefix(v, w)
	case "endswith":
		return strings.HasSuffix(v, w)
	case "notendswith":
		return !strings.HasSuffix(v, w)
	}
	return false
}

// environment is what a task's program finds its inputs, variables and service connections in.
func environment(c *task.Context, inputs map[string]string, endpoints []*work.Endpoint) ([]string, error) {
	env := c.Env[:len(c.Env):len(c.Env)]
	var err error
	add := func(name, value string) {
		if strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			err = fmt.Errorf("%s can't be an environment variable: it holds a zero byte or an equals sign", name)
			return
		}
		env = append(env, name+"="+value)
	}
	object := func(name string, v any) {
		b, jerr := json.Marshal(v)
		if jerr != nil {
			err = jerr
		}
		add(name, string(b))
	}
	l, ok := c.Vars.(Lister)
	if !ok {
		return nil, errors.New("the step's variables can't be listed")
	}
	public, secret := []string{}, []string{}
	for _, v := range l.All() {
		if v.Secret {
			secret = append(secret, v.Name)
			add("SECRET_"+envName(v.Name), v.Value)
			continue
		}
		public = append(public, v.Name)
	}
	object("VSTS_PUBLIC_VARIABLES", public)
	object("VSTS_SECRET_VARIABLES", secret)
	for _, v := range l.TaskVariables() {
		add("VSTS_TASKVARIABLE_"+envName(v.Name), v.Value)
	}
	for name, v := range inputs {
		add("INPUT_"+envName(name), v)
	}
	get := func(name string) string {
		i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		if i < 0 {
			return ""
		}
		return env[i][len(name)+1:]
	}
	if file, _ := c.Vars.Get("Agent.CAInfo"); file != "" && get("NODE_EXTRA_CA_CERTS") == "" {
		add("NODE_EXTRA_CA_CERTS", file) // Node.js asks neither the system nor git
	}
	for _, e := range endpoints {
		url := e.URL
		if url == "" && (strings.EqualFold(e.Type, "AWS") || strings.EqualFold(e.Type, "sekisho")) {
			// It is for this server. SDKs that know the variable go there; others go where their region's names lead.
			if url = c.Job.Server; get("AWS_ENDPOINT_URL") == "" {
				add("AWS_ENDPOINT_URL", url)
			}
		}
		add("ENDPOINT_URL_"+e.ID, url)
		object("ENDPOINT_AUTH_"+e.ID, map[string]any{"scheme": e.Scheme, "parameters": e.Auth})
		add("ENDPOINT_AUTH_SCHEME_"+e.ID, e.Scheme)
		for k, v := range e.Auth {
			add("ENDPOINT_AUTH_PARAMETER_"+e.ID+"_"+envName(k), v)
		}
		object("ENDPOINT_DATA_"+e.ID, e.Data)
		for k, v := range e.Data {
			add("ENDPOINT_DATA_"+e.ID+"_"+envName(k), v)
		}
	}
	if c.Job.Token != "" {
		const id = "SYSTEMVSSCONNECTION"
		auth := map[string]string{"AccessToken": c.Job.Token}
		add("ENDPOINT_URL_"+id, c.Job.Server)
		object("ENDPOINT_AUTH_"+id, map[string]any{"scheme": "OAuth", "parameters": auth})
		add("ENDPOINT_AUTH_SCHEME_"+id, "OAuth")
		add("ENDPOINT_AUTH_PARAMETER_"+id+"_ACCESSTOKEN", c.Job.Token)
	}
	add("AGENT_VERSION", compatible)
	add("TASK_DISPLAYNAME", c.Step.DisplayName)
	add("SYSTEM_TASKINSTANCEID", c.Step.ID)
	add("SYSTEM_TASKDISPLAYNAME", c.Step.DisplayName)
	add("SYSTEM_TASKINSTANCENAME", c.Step.Name)
	return env, err
}

// envName is the name under which tasks look for a variable or an input.
func envName(name string) string {
	return strings.ToUpper(strings.NewReplacer(".", "_", " ", "_").Replace(name))
}
