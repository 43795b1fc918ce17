package worker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/task"
	"github.com/sekisho/sekisho/internal/agent/work"
)

const checkoutID = "6d15af64-176c-496d-b583-fd2ae21d4df4"

func isCheckout(ref string) bool {
	name, _, _ := strings.Cut(ref, "@")
	return strings.EqualFold(name, "checkout") || strings.EqualFold(name, checkoutID)
}

// defaultDepth is how many commits a checkout that does not say fetches.
const defaultDepth = 1

// checkout is the checkout step. It runs git on the host, also where steps run in a container: the container need not have it.
func (j *job) checkout(ctx context.Context, c *task.Context) error {
	alias := cmp.Or(c.Inputs.Get("repository"), "self")
	if strings.EqualFold(alias, "none") {
		return task.ErrSkipped
	}
	repo, err := j.repository(alias)
	if err != nil {
		return err
	}
	dir, err := j.checkoutDir(c, repo)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	g := &git{j: j, c: c, dir: dir, repo: repo}
	if local := j.opts.Checkout[strings.ToLower(repo.Alias)]; local != "" {
		return g.local(ctx, local)
	}
	if err := g.prepare(); err != nil {
		return err
	}
	return g.run(ctx)
}

func (j *job) repository(alias string) (*work.Repository, error) {
	for i := range j.Repositories {
		if strings.EqualFold(j.Repositories[i].Alias, alias) {
			return &j.Repositories[i], nil
		}
	}
	return nil, fmt.Errorf("checkout: there is no repository resource %q", alias)
}

// checkoutDir says where a repository goes, and sets the variables that say so.
func (j *job) checkoutDir(c *task.Context, repo *work.Repository) (string, error) {
	steps := 0
	for _, s := range j.Job.Steps {
		if s.Enabled && isCheckout(s.Task) && !strings.EqualFold(inputOf(s.Inputs, "repository"), "none") {
			steps++
		}
	}
	dir := j.dirs.Sources
	given := c.Inputs.Get("path")
	switch {
	case given != "":
		dir = filepath.Join(j.dirs.Pipeline, given)
		if filepath.IsAbs(given) || !within(j.dirs.Pipeline, dir) || dir == j.dirs.Pipeline {
			return "", fmt.Errorf("path: %s leads out of $(Pipeline.Workspace): it must name a folder below it", given)
		}
		// A link that an earlier step made must not lead out either.
		if real, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil && !within(j.dirs.Pipeline, real) {
			root, rootErr := filepath.EvalSymlinks(j.dirs.Pipeline)
			if rootErr != nil || !within(root, real) {
				return "", fmt.Errorf("path: %s leads out of $(Pipeline.Workspace) by a link", given)
			}
		}
	case steps > 1:
		name := repo.Name
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			name = name[i+1:]
		}
		if name = strings.TrimSuffix(name, ".git"); name == "" || name == "." || name == ".." {
			name = "self"
		}
		dir = filepath.Join(j.dirs.Sources, name)
	}
	set := func(name, value string) {
		_ = j.vars.define(work.Variable{Name: name, Value: value, ReadOnly: true, From: "checkout"})
	}
	if strings.EqualFold(repo.Alias, "self") {
		set("Build.Repository.LocalPath", dir)
	}
	if steps == 1 || c.Inputs.Bool(false, "workspaceRepo") {
		j.dirs.Sources = dir
		set("Build.SourcesDirectory", dir)
		set("System.DefaultWorkingDirectory", dir)
	}
	return dir, nil
}

func inputOf(inputs map[string]string, name string) string {
	for k, v := range inputs {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// git checks out one repository.
type git struct {
	j    *job
	c    *task.Context
	dir  string
	repo *work.Repository
	url  string
	env  []string
	head string // the header that authenticates, for persistCredentials
}

// prepare finds the address and the credentials. Those go to git by its environment, and only for that address.
func (g *git) prepare() error {
	r := g.repo
	g.url = r.URL
	var user, password string
	if r.Type == "git" && r.Endpoint == "" {
		base, err := url.Parse(g.j.Server)
		if err != nil || base.Host == "" {
			return fmt.Errorf("the address of the server, %q, is none", g.j.Server)
		}
		if u, err := url.Parse(g.url); err != nil || !u.IsAbs() {
			g.url = strings.TrimSuffix(base.String(), "/") + "/" + strings.TrimPrefix(g.url, "/")
		}
		user, password = "job", g.j.Token
	}
	if r.Endpoint != "" {
		found := false
		for _, e := range g.j.Endpoints {
			if e.ID != r.Endpoint && !strings.EqualFold(e.Name, r.Endpoint) {
				continue
			}
			found = true
			get := func(names ...string) string {
				for _, n := range names {
					if v := inputOf(e.Auth, n); v != "" {
						return v
					}
				}
				return ""
			}
			user, password = get("username"), get("password", "apitoken", "accessToken", "pat")
			g.url = cmp.Or(g.url, e.URL)
		}
		if !found {
			return fmt.Errorf("the repository %s uses a service connection that the job does not have", r.Alias)
		}
	}
	u, err := url.Parse(g.url)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("the repository %s is at %q: only http and https addresses can be checked out", r.Alias, g.url)
	}
	if u.User != nil {
		p, _ := u.User.Password()
		user, password = cmp.Or(user, u.User.Username()), cmp.Or(password, p)
		u.User = nil
		g.url = u.String()
	}
	config := [][2]string{
		{"credential.helper", ""}, {"core.hooksPath", os.DevNull}, {"core.fsmonitor", "false"}, {"protocol.ext.allow", "never"},
		{"protocol.file.allow", "never"}, {"gc.auto", "0"}, {"advice.detachedHead", "false"}, {"safe.directory", "*"}, {"http.followRedirects", "initial"},
		// What an earlier job may have left in the repository's own configuration does not run programs.
		{"core.sshCommand", "false"}, {"core.askPass", ""}, {"core.gitProxy", ""}, {"core.pager", "cat"},
	}
	base := g.j.base
	if ca := g.j.opts.CAFile; ca != "" && strings.HasPrefix(g.url, strings.TrimSuffix(g.j.Server, "/")+"/") {
		const variable = "GIT_SSL_CAINFO" // it would win over what is said of this server alone
		if others := lookEnv(base, variable); others != "" {
			base = slices.DeleteFunc(slices.Clone(base), func(e string) bool { return strings.HasPrefix(e, variable+"=") })
			config = append(config, [2]string{"http.sslCAInfo", others})
		}
		config = append(config, [2]string{"http." + g.j.Server + ".sslCAInfo", ca})
	}
	if password != "" {
		g.head = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
		if err := g.j.masker.Add(password, strings.TrimPrefix(g.head, "Authorization: Basic ")); err != nil {
			return err
		}
		config = append(config, [2]string{g.headerKey(), g.head})
	}
	g.env = append(base[:len(base):len(base)], "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "GCM_INTERACTIVE=never",
		"GIT_ALLOW_PROTOCOL=http:https", "GIT_CONFIG_COUNT="+strconv.Itoa(len(config)))
	for i, kv := range config {
		g.env = append(g.env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, kv[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, kv[1]))
	}
	return nil
}

// headerKey is for which addresses the credentials are: all of our own server, which has the submodules too; else the
// repository's alone.
func (g *git) headerKey() string {
	if g.repo.Type == "git" && g.repo.Endpoint == "" {
		if u, err := url.Parse(g.url); err == nil {
			return "http." + u.Scheme + "://" + u.Host + "/.extraHeader"
		}
	}
	return "http." + g.url + ".extraHeader"
}

func (g *git) git(ctx context.Context, args ...string) error {
	return g.in(ctx, nil, args...)
}

func (g *git) in(ctx context.Context, out *bytes.Buffer, args ...string) error {
	p := &task.Process{Path: "git", Args: args, Dir: g.dir, Env: g.env}
	if out != nil {
		p.Stdout, p.Quiet = out, true
	}
	return g.c.Host.Run(ctx, p)
}

var commitID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

func (g *git) run(ctx context.Context) error {
	in, log := g.c.Inputs, g.c.Log
	version := strings.ToLower(g.repo.Version)
	if version != "" && !commitID.MatchString(version) {
		return fmt.Errorf("the version %q of the repository %s is no commit", g.repo.Version, g.repo.Alias)
	}
	if version == "" && g.repo.Ref == "" {
		return fmt.Errorf("the repository %s has no ref and no commit to check out", g.repo.Alias)
	}
	if strings.HasPrefix(g.repo.Ref, "-") || strings.ContainsAny(g.repo.Ref, " :*?[\\^~\n") {
		return fmt.Errorf("%q is no ref", g.repo.Ref)
	}
	depth, err := g.depth()
	if err != nil {
		return err
	}
	submodules := strings.ToLower(in.Get("submodules"))
	switch submodules {
	case "", "false", "true", "recursive":
	default:
		return fmt.Errorf("submodules must be true, false or recursive, not %q", submodules)
	}
	if _, err := g.c.Host.Look("git"); err != nil {
		return errors.New("checkout needs git on the agent's PATH, and it is not there")
	}
	lfs := in.Bool(false, "lfs")
	if lfs {
		if _, err := g.c.Host.Look("git-lfs"); err != nil {
			return errors.New("lfs: true needs git-lfs on the agent's PATH, and it is not there")
		}
	}
	log.Section("Syncing repository: " + g.repo.Name + " (" + g.repo.Alias + ")")
	if err := g.clean(ctx, in.Bool(false, "clean")); err != nil {
		return err
	}
	if err := g.fetch(ctx, version, depth); err != nil {
		return err
	}
	if err := g.sparse(ctx); err != nil {
		return err
	}
	if lfs {
		if err := g.git(ctx, "lfs", "install", "--local", "--skip-repo"); err != nil {
			return err
		}
		if err := g.git(ctx, "lfs", "fetch", "origin", cmp.Or(version, "FETCH_HEAD")); err != nil {
			return err
		}
	}
	if err := g.git(ctx, "checkout", "--force", "--detach", cmp.Or(version, "FETCH_HEAD")); err != nil {
		return err
	}
	if lfs {
		if err := g.git(ctx, "lfs", "checkout"); err != nil {
			return err
		}
	}
	if submodules == "true" || submodules == "recursive" {
		args := []string{"submodule", "update", "--init", "--force"}
		if depth > 0 {
			args = append(args, fmt.Sprintf("--depth=%d", depth))
		}
		sync := []string{"submodule", "sync"}
		if submodules == "recursive" {
			args, sync = append(args, "--recursive"), append(sync, "--recursive")
		}
		if err := g.git(ctx, sync...); err != nil {
			return err
		}
		if err := g.git(ctx, args...); err != nil {
			return err
		}
	}
	return g.persist(ctx)
}

func (g *git) depth() (int, error) {
	text := cmp.Or(g.c.Inputs.Get("fetchDepth"), g.j.vars.value("agent.source.git.shallowFetchDepth"))
	if text == "" {
		return defaultDepth, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("fetchDepth must be a number, 0 for all commits, not %q", text)
	}
	return n, nil
}

// clean leaves a repository in the folder that can be fetched into: the one that is there, cleaned if that was asked for, or
// a new one.
func (g *git) clean(ctx context.Context, clean bool) error {
	usable := func() bool {
		// The folder itself must be the top of a repository, not just lie in one.
		info, err := os.Lstat(filepath.Join(g.dir, ".git"))
		if err != nil || !info.IsDir() {
			return false
		}
		var out bytes.Buffer
		return g.in(ctx, &out, "config", "--local", "--get", "remote.origin.url") == nil && strings.TrimSpace(out.String()) == g.url
	}
	if _, err := os.Stat(g.dir); err == nil && usable() {
		for _, lock := range []string{"index.lock", "shallow.lock", "HEAD.lock", "config.lock"} {
			_ = os.Remove(filepath.Join(g.dir, ".git", lock)) // of a job that was killed
		}
		// Nothing that an earlier job configured there acts on this one: not by files that lead elsewhere either.
		for _, name := range []string{"commondir", "config", "config.worktree", "hooks", "info/attributes", "objects/info/alternates"} {
			if err := os.RemoveAll(filepath.Join(g.dir, ".git", name)); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(g.dir, ".git", "config"), []byte("[core]\n\trepositoryformatversion = 0\n\tbare = false\n[remote \"origin\"]\n\turl = "+g.url+"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"), 0o644); err != nil {
			return err
		}
		if !clean {
			return nil
		}
		if g.git(ctx, "clean", "-ffdx") == nil && (g.git(ctx, "reset", "--hard", "HEAD") == nil) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		g.c.Log.Warning("The folder can't be cleaned by git: it is made anew.")
	}
	if err := removeAll(g.dir); err != nil {
		return fmt.Errorf("the folder %s can't be emptied: %w", g.dir, err)
	}
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		return err
	}
	if err := g.git(ctx, "init", "--quiet", "--template=", "."); err != nil {
		return err
	}
	return g.git(ctx, "remote", "add", "origin", g.url)
}

// fetch gets the commit. The ref may have moved on since the run was started, or be gone; so the commit itself is asked
// for first, and its ref where the server gives no bare commits.
func (g *git) fetch(ctx context.Context, version string, depth int) error {
	in := g.c.Inputs
	args := []string{"fetch", "--force", "--no-recurse-submodules"}
	tags := "--no-tags"
	if in.Bool(depth == 0, "fetchTags") {
		tags = "--tags"
	}
	args = append(args, tags)
	if f := in.Get("fetchFilter"); f != "" {
		args = append(args, "--filter="+f)
	}
	if depth > 0 {
		args = append(args, fmt.Sprintf("--depth=%d", depth))
	} else if _, err := os.Stat(filepath.Join(g.dir, ".git", "shallow")); err == nil {
		args = append(args, "--unshallow")
	}
	args = append(args, "origin")
	var specs []string
	if depth == 0 {
		specs = append(specs, "+refs/heads/*:refs/remotes/origin/*")
		args = append(args[:len(args)-1], "--prune", "origin")
	}
	if version == "" {
		return g.git(ctx, append(append(args, specs...), g.repo.Ref)...)
	}
	err := g.git(ctx, append(append(args, specs...), version)...)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if g.repo.Ref == "" {
		return fmt.Errorf("the commit %s can't be fetched: %w", version, err)
	}
	g.c.Log.Line("The server does not give the commit by itself: its ref is fetched.")
	if err := g.git(ctx, append(append(args, specs...), "+"+g.repo.Ref+":refs/remotes/pipeline/ref")...); err != nil {
		return err
	}
	var out bytes.Buffer
	if g.in(ctx, &out, "cat-file", "-e", version+"^{commit}") == nil {
		return nil
	}
	// The ref moved: the commit is among its ancestors, if anywhere.
	g.c.Log.Line("The ref moved since the run was started: all its commits are fetched.")
	full := []string{"fetch", "--force", "--no-recurse-submodules", tags}
	if _, err := os.Stat(filepath.Join(g.dir, ".git", "shallow")); err == nil {
		full = append(full, "--unshallow")
	}
	if err := g.git(ctx, append(full, "origin", "+"+g.repo.Ref+":refs/remotes/pipeline/ref")...); err != nil {
		return err
	}
	if err := g.in(ctx, &out, "cat-file", "-e", version+"^{commit}"); err != nil {
		return fmt.Errorf("the commit %s is no longer in the repository: its branch was overwritten", version)
	}
	return nil
}

func (g *git) sparse(ctx context.Context) error {
	dirs, patterns := g.c.Inputs.Get("sparseCheckoutDirectories"), g.c.Inputs.Get("sparseCheckoutPatterns")
	switch {
	case dirs != "":
		return g.git(ctx, append([]string{"sparse-checkout", "set", "--cone", "--"}, strings.Fields(dirs)...)...)
	case patterns != "":
		return g.git(ctx, append([]string{"sparse-checkout", "set", "--no-cone", "--"}, strings.Fields(patterns)...)...)
	}
	if _, err := os.Stat(filepath.Join(g.dir, ".git", "info", "sparse-checkout")); err == nil {
		return g.git(ctx, "sparse-checkout", "disable")
	}
	return nil
}

// persist leaves the credentials in the repository's configuration, where that was asked for, until the job ends.
func (g *git) persist(ctx context.Context) error {
	if !g.c.Inputs.Bool(false, "persistCredentials") || g.head == "" {
		return nil
	}
	// Written by hand: the value would be among git's arguments.
	file := filepath.Join(g.dir, ".git", "config")
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	key := strings.TrimSuffix(strings.TrimPrefix(g.headerKey(), "http."), ".extraHeader")
	_, err = fmt.Fprintf(f, "[http %q]\n\textraHeader = %s\n", key, g.head)
	if err = errors.Join(err, f.Close(), os.Chmod(file, 0o600)); err != nil {
		return err
	}
	g.c.After("Remove the credentials of "+g.repo.Alias, func(ctx context.Context, c *task.Context) error {
		err := c.Host.Run(ctx, &task.Process{Path: "git", Args: []string{"config", "--local", "--unset-all", "http." + key + ".extraHeader"}, Dir: g.dir, Env: g.env})
		if _, gone := os.Stat(file); gone != nil {
			return nil
		}
		return err
	})
	return nil
}
