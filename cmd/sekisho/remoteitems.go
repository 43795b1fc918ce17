package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/api"
)

// inProject are the flags of commands on something in a project.
type inProject struct{ project string }

func (p *inProject) flag(c *cli, cmd *cobra.Command) {
	cmd.PersistentFlags().StringVarP(&p.project, "project", "p", c.getenv("SEKISHO_PROJECT"), "the project (default: SEKISHO_PROJECT)")
}

// name returns the project, or an error that says how to name one.
func (p *inProject) name() (string, error) {
	if p.project == "" {
		return "", usage("which project? Name it with --project, or set SEKISHO_PROJECT")
	}
	return p.project, nil
}

// column is a column of a table: its title, and what a row has there.
type column[T any] struct {
	title string
	cell  func(T) string
}

// tableOf lays items out.
func tableOf[T any](items []T, columns []column[T]) *table {
	t := &table{}
	for _, c := range columns {
		t.header = append(t.header, c.title)
	}
	for _, item := range items {
		var cells []string
		for _, c := range columns {
			cells = append(cells, c.cell(item))
		}
		t.add(cells...)
	}
	return t
}

// printOne prints one item, as a table with a row for each column that has something, and more rows below.
func printOne[T any](c *cli, cmd *cobra.Command, item T, columns []column[T], more ...[]string) error {
	t := &table{}
	for _, col := range columns {
		if text := col.cell(item); text != "" {
			t.add(strings.ToLower(col.title), text)
		}
	}
	t.rows = append(t.rows, more...)
	return c.print(cmd, item, t)
}

// printAll calls an operation that lists until there is no more, and prints it. next puts the place to go on from into the
// input.
func printAll[T any](c *cli, cmd *cobra.Command, operation string, input any, next func(after string), columns []column[T]) error {
	all, err := readAll[T](c, cmd, operation, input, next)
	if err != nil {
		return err
	}
	return c.print(cmd, all, tableOf(all, columns))
}

func readAll[T any](c *cli, cmd *cobra.Command, operation string, input any, next func(after string)) ([]T, error) {
	all := []T{}
	for {
		var page api.List[T]
		if err := c.call(cmd, operation, input, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" || next == nil {
			return all, nil
		}
		next(page.Next)
	}
}

// done tells, for people, what was done.
func (c *cli) done(cmd *cobra.Command, format string, args ...any) {
	if c.output == asTable {
		fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
	}
}

// secretSource is where a secret value comes from: never the command line, which others can read.
type secretSource struct {
	env, file string
}

func (s *secretSource) flags(cmd *cobra.Command, what string) {
	cmd.Flags().StringVar(&s.env, "from-env", "", "take "+what+" from this environment variable")
	cmd.Flags().StringVar(&s.file, "from-file", "", "take "+what+" from this file")
}

// maxSecret bounds what is read of a secret, in bytes.
const maxSecret = 64 << 10

// read returns the value: of the variable, the file, or standard input, without a line end.
func (s *secretSource) read(c *cli, cmd *cobra.Command, what string) (string, error) {
	switch {
	case s.env != "" && s.file != "":
		return "", usage("--from-env and --from-file exclude each other")
	case s.env != "":
		v := c.getenv(s.env)
		if v == "" {
			return "", usage("--from-env: %s is not set", s.env)
		}
		return v, nil
	case s.file != "":
		f, err := os.Open(s.file)
		if err != nil {
			return "", usage("--from-file: %w", err)
		}
		defer f.Close()
		return readSecret(f, what)
	}
	if isTerminal(cmd.InOrStdin()) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s, then Enter and Ctrl-D: ", what)
	}
	return readSecret(cmd.InOrStdin(), what)
}

func readSecret(r io.Reader, what string) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", what, err)
	}
	value := strings.TrimRight(string(text), "\r\n")
	if value == "" || len(text) > maxSecret {
		return "", usage("%s is empty or longer than %d bytes", what, maxSecret)
	}
	return value, nil
}

// pairs makes a map of words name=value.
func pairs(flag string, words []string) (map[string]string, error) {
	m := map[string]string{}
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		if !ok || name == "" {
			return nil, usage("--%s %q is not name=value", flag, w)
		}
		m[name] = value
	}
	return m, nil
}

// slashed takes project/name apart.
func slashed(arg string) (api.RepositoryRef, error) {
	p, name, ok := strings.Cut(arg, "/")
	if !ok || p == "" || name == "" || strings.Contains(name, "/") {
		return api.RepositoryRef{}, usage("%q is not <project>/<repository>", arg)
	}
	return api.RepositoryRef{Project: p, Repository: name}, nil
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
