package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// Bash is Bash@3: a script, inline or from a file, in bash.
func Bash(ctx context.Context, c *Context) error {
	s := script{shell: "bash", extension: ".sh", title: "Generating script."}
	if c.Inputs.Bool(false, "bashEnvValue") {
		return errors.New("bashEnvValue takes the path of a file, not true")
	}
	env := c.Env
	if v := c.Inputs.Get("bashEnvValue"); v != "" {
		env = append(env[:len(env):len(env)], "BASH_ENV="+v)
	}
	if strings.EqualFold(c.Inputs.Get("targetType"), "filePath") || c.Inputs.Get("targetType") == "" && c.Inputs.Get("script") == "" {
		path, err := s.file(c)
		if err != nil {
			return err
		}
		// The file itself is run by bash, whatever its mode is; its arguments are words of a command line.
		line := "exec bash " + quote(path)
		if v := c.Inputs.Get("arguments"); v != "" {
			line = "exec bash " + quote(path) + " " + v
		}
		s.text = line + "\n"
	} else {
		s.text = strings.ReplaceAll(c.Inputs["script"], "\r\n", "\n")
	}
	s.args = func(path string) []string { return []string{"--noprofile", "--norc", path} }
	return s.run(ctx, c, env)
}

// CmdLine is CmdLine@2: a script in the shell that the host has for it, which is bash, or sh where there is none.
func CmdLine(ctx context.Context, c *Context) error {
	s := script{shell: "bash", extension: ".sh", title: "Generating script.", text: strings.ReplaceAll(c.Inputs["script"], "\r\n", "\n")}
	s.args = func(path string) []string { return []string{"--noprofile", "--norc", path} }
	if _, err := c.Host.Look("bash"); err != nil {
		s.shell = "sh"
		s.args = func(path string) []string { return []string{path} }
	}
	return s.run(ctx, c, c.Env)
}

// PowerShell is PowerShell@2, in pwsh.
func PowerShell(ctx context.Context, c *Context) error {
	if _, err := c.Host.Look("pwsh"); err != nil {
		return errors.New("PowerShell@2 needs pwsh on the agent's PATH, and it is not there: install PowerShell 7, or write the step as a bash step")
	}
	s := script{shell: "pwsh", extension: ".ps1", title: "Generating script."}
	preference := c.Inputs.Get("errorActionPreference")
	if preference == "" {
		preference = "stop"
	}
	var text strings.Builder
	// A byte order mark makes PowerShell read the file as UTF-8.
	text.WriteString("\ufeff")
	fmt.Fprintf(&text, "$ErrorActionPreference = '%s'\n", strings.ReplaceAll(preference, "'", "''"))
	for _, p := range []string{"warningPreference", "informationPreference", "verbosePreference", "debugPreference", "progressPreference"} {
		if v := c.Inputs.Get(p); v != "" && !strings.EqualFold(v, "default") {
			fmt.Fprintf(&text, "$%s = '%s'\n", p, strings.ReplaceAll(v, "'", "''"))
		}
	}
	if t := c.Inputs.Get("targetType"); strings.EqualFold(t, "filePath") || t == "" && c.Inputs.Get("script") == "" {
		path, err := s.file(c)
		if err != nil {
			return err
		}
		if !strings.EqualFold(filepath.Ext(path), ".ps1") {
			return fmt.Errorf("filePath must name a .ps1 file, and %s is none", path)
		}
		fmt.Fprintf(&text, ". '%s' %s\n", strings.ReplaceAll(path, "'", "''"), c.Inputs.Get("arguments"))
	} else {
		text.WriteString(strings.ReplaceAll(c.Inputs["script"], "\r\n", "\n") + "\n")
	}
	if !c.Inputs.Bool(false, "ignoreLASTEXITCODE") {
		text.WriteString("if (!(Test-Path -LiteralPath variable:\\LASTEXITCODE)) {\n    Write-Host '##vso[task.debug]$LASTEXITCODE is not set.'\n} else {\n    exit $LASTEXITCODE\n}\n")
	}
	s.text = text.String()
	s.args = func(path string) []string {
		return []string{"-NoLogo", "-NoProfile", "-NonInteractive", "-Command", ". '" + strings.ReplaceAll(path, "'", "''") + "'"}
	}
	return s.run(ctx, c, c.Env)
}

// script is text that a shell runs from a file below the job's temporary folder.
type script struct {
	shell, extension, title, text string
	args                          func(path string) []string
}

// file returns the file that the input filePath names, absolute as the shell sees it.
func (s *script) file(c *Context) (string, error) {
	path, err := c.Inputs.Require("filePath")
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Dirs.Sources, path)
	}
	info, err := os.Stat(c.Host.Outside(path))
	if err != nil || info.IsDir() {
		return "", fmt.Errorf("filePath: there is no file %s", path)
	}
	return path, nil
}

func (s *script) run(ctx context.Context, c *Context, env []string) error {
	if strings.TrimSpace(s.text) == "" {
		return errors.New("input required: script")
	}
	dir := c.Inputs.Get("workingDirectory", "cwd")
	if dir == "" {
		dir = c.Dirs.Sources
	} else if !filepath.IsAbs(dir) {
		dir = filepath.Join(c.Dirs.Sources, dir)
	}
	if info, err := os.Stat(c.Host.Outside(dir)); err != nil || !info.IsDir() {
		return fmt.Errorf("workingDirectory: there is no folder %s", dir)
	}
	c.Log.Line(s.title)
	if lines := strings.Split(strings.Trim(s.text, "\ufeff\n"), "\n"); len(lines) == 1 {
		c.Log.Line("Script contents:")
		c.Log.Line(lines[0])
	}
	path := filepath.Join(c.Dirs.Temp, uuid.NewString()+s.extension)
	// The file may hold secrets that macros brought in: nobody else reads it, and it goes with the step. In a container the
	// steps run as the same user.
	if err := os.WriteFile(c.Host.Outside(path), []byte(s.text), 0o600); err != nil {
		return err
	}
	defer os.Remove(c.Host.Outside(path))
	if _, err := c.Host.Look(s.shell); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("%s is not on the PATH of the place where this step runs", s.shell)
		}
		return err
	}
	c.Log.Line("========================== Starting Command Output ===========================")
	p := &Process{Path: s.shell, Args: s.args(path), Dir: dir, Env: env}
	var loud *loudWriter
	if c.Inputs.Bool(false, "failOnStderr") {
		loud = &loudWriter{log: c.Log}
		p.Stderr = loud
	}
	err := c.Host.Run(ctx, p)
	if loud != nil {
		loud.flush()
	}
	var exit *ExitError
	switch {
	case errors.As(err, &exit):
		c.Log.Error(fmt.Sprintf("%s exited with code '%d'.", strings.ToUpper(s.shell[:1])+s.shell[1:], exit.Code))
		return err
	case err != nil:
		return err
	case loud != nil && loud.wrote:
		return fmt.Errorf("%s wrote to standard error, and failOnStderr is set", s.shell)
	}
	return nil
}

// loudWriter logs what is written to it as errors, line by line.
type loudWriter struct {
	log   Log
	rest  []byte
	wrote bool
}

const loudLine = 64 << 10 // bytes of a line that are kept together

func (w *loudWriter) Write(b []byte) (int, error) {
	w.wrote = w.wrote || len(b) > 0
	w.rest = append(w.rest, b...)
	for {
		i := strings.IndexByte(string(w.rest), '\n')
		if i < 0 && len(w.rest) > loudLine {
			i = len(w.rest) - 1
		}
		if i < 0 {
			return len(b), nil
		}
		w.log.Error(strings.TrimRight(string(w.rest[:i]), "\r"))
		w.rest = w.rest[i+1:]
	}
}

func (w *loudWriter) flush() {
	if len(w.rest) > 0 {
		w.log.Error(string(w.rest))
		w.rest = nil
	}
}

// quote makes a text one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
