package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// installed is a version of a tool on the agent.
type installed struct {
	path    string
	version *semver.Version
}

// versionText finds a version in what a tool prints.
var versionText = regexp.MustCompile(`\d+(\.\d+){1,2}`)

// candidates runs programs by their names and returns those that are there, the newest first. Nothing is downloaded: an
// agent's tools are what its image or its operator installed.
func (c *Context) candidates(ctx context.Context, names ...string) []installed {
	var all []installed
	var seen []string
	for _, name := range names {
		path, err := c.Host.Look(name)
		if err != nil {
			continue
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			if slices.Contains(seen, real) {
				continue
			}
			seen = append(seen, real)
		}
		var out, bad strings.Builder
		if err := c.Host.Run(ctx, &Process{Path: path, Args: []string{"--version"}, Stdout: &out, Stderr: &bad, Quiet: true}); err != nil {
			continue
		}
		v, err := semver.NewVersion(versionText.FindString(out.String() + bad.String()))
		if err == nil {
			all = append(all, installed{path, v})
		}
	}
	slices.SortStableFunc(all, func(a, b installed) int { return b.version.Compare(a.version) })
	return all
}

// cached returns what the folder of tools has of one, laid out as <tool>/<version>/<arch>.
func (c *Context) cached(tool, program string) []string {
	found, err := filepath.Glob(filepath.Join(c.Host.Outside(c.Dirs.Tools), tool, "*", "*", program))
	if err != nil || c.Host.Container() {
		return nil
	}
	return found
}

// choose takes the newest version that is as wanted.
func choose(tool, spec string, all []installed) (installed, error) {
	want, err := semver.NewConstraint(strings.TrimPrefix(spec, "v"))
	if err != nil {
		return installed{}, fmt.Errorf("%q is no version of %s: write 20.x, 3.11 or >=18 <21", spec, tool)
	}
	var there []string
	for _, i := range all {
		if want.Check(i.version) {
			return i, nil
		}
		there = append(there, i.version.String())
	}
	if len(there) == 0 {
		there = []string{"none"}
	}
	return installed{}, fmt.Errorf("%s %s is not installed on this agent (there is %s), and tools are not downloaded: install it, or run the job on an agent that has it, with a demand",
		tool, spec, strings.Join(there, ", "))
}

// use puts the folder of a tool before the others of PATH.
func (c *Context) use(tool string, i installed) error {
	c.Log.Line(fmt.Sprintf("Found %s %s at %s", tool, i.version, i.path))
	if c.Prepend == nil {
		return errors.New("the PATH of later steps can't be changed here")
	}
	c.Prepend(filepath.Dir(i.path))
	return nil
}

// UsePythonVersion is UsePythonVersion@0, a check of what is installed.
func UsePythonVersion(ctx context.Context, c *Context) error {
	spec := c.Inputs.Get("versionSpec")
	if spec == "" {
		spec = "3.x"
	}
	names := c.cached("Python", filepath.Join("bin", "python3"))
	names = append(names, "python3", "python")
	for minor := 20; minor >= 6; minor-- {
		names = append(names, fmt.Sprintf("python3.%d", minor))
	}
	i, err := choose("Python", spec, c.candidates(ctx, names...))
	if err != nil {
		return err
	}
	if err := c.Vars.Set(work.Variable{Name: "pythonLocation", Value: filepath.Dir(i.path)}, true); err != nil {
		return err
	}
	if !c.Inputs.Bool(true, "addToPath") {
		return nil
	}
	return c.use("Python", i)
}

// UseNode is UseNode@1 and NodeTool@0, a check of what is installed.
func UseNode(ctx context.Context, c *Context) error {
	spec := c.Inputs.Get("version", "versionSpec")
	if strings.EqualFold(c.Inputs.Get("versionSource"), "fromFile") {
		file, err := c.Inputs.Require("versionFilePath")
		if err != nil {
			return err
		}
		if !filepath.IsAbs(file) {
			file = filepath.Join(c.Dirs.Sources, file)
		}
		text, err := os.ReadFile(c.Host.Outside(file))
		if err != nil || len(text) > maxMessage {
			return fmt.Errorf("versionFilePath: %s can't be read, or is no version", file)
		}
		spec = strings.TrimSpace(string(text))
	}
	if spec == "" {
		return errors.New("input required: version")
	}
	names := append(c.cached("node", filepath.Join("bin", "node")), "node", "nodejs")
	i, err := choose("Node.js", spec, c.candidates(ctx, names...))
	if err != nil {
		return err
	}
	return c.use("Node.js", i)
}
