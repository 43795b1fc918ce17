package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/registry"
)

func newFsck(c *cli) *cobra.Command {
	var o registry.FsckOptions
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Check every digest and every reference",
		Long: `Read all layers and manifests, compare them with their digests, and compare the
references between them with what the database says; then all git repositories.
Beside a running server this is safe, and what is pushed meanwhile may not be looked at.

With --repair the database is made to match the bytes; bytes are never changed.
The server must be stopped for that, unless the database is PostgreSQL.

The exit code is 1 if something is wrong and was not repaired.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.fsck(cmd, o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.Repair, "repair", false, "make the database match the bytes")
	f.BoolVar(&o.Forget, "forget", false, "with --repair: say of lost layers that they are not there, so that clients push them again")
	f.IntVar(&o.Workers, "workers", 2, "layers to read at a time")
	return cmd
}

// shownProblem is a problem as JSON and YAML show it.
type shownProblem struct {
	Kind       registry.ProblemKind `json:"kind"`
	Account    string               `json:"account,omitempty"`
	Repository string               `json:"repository,omitempty"`
	Digest     digest.Digest        `json:"digest,omitempty"`
	Location   string               `json:"location,omitempty"`
	Detail     string               `json:"detail"`
	Advice     string               `json:"advice,omitempty"`
	Harmless   bool                 `json:"harmless"`
	Repaired   bool                 `json:"repaired"`
}

// checked is what fsck prints.
type checked struct {
	Blobs     int64 `json:"blobs"`
	Bytes     int64 `json:"bytes"`
	Manifests int64 `json:"manifests"`
	Objects   int64 `json:"objects"`

	Repositories int64 `json:"repositories"` // of git

	Repaired   int64          `json:"repaired"`
	Harmful    int64          `json:"harmful"`
	Incomplete bool           `json:"incomplete"`
	Problems   []shownProblem `json:"problems"`
}

func (c *cli) fsck(cmd *cobra.Command, o registry.FsckOptions) error {
	if o.Forget && !o.Repair {
		return usage("--forget goes with --repair")
	}
	if o.Workers < 1 {
		return usage("--workers must be at least 1")
	}
	loaded, err := c.config()
	if err != nil {
		return err
	}
	mode := app.Shared
	if o.Repair && strings.HasPrefix(loaded.Config.Database.URL.Reveal(), "sqlite:") {
		mode = app.Exclusive // the server remembers what it has read, and would not know
	}
	in, err := app.Open(cmd.Context(), &loaded.Config, slog.New(slog.DiscardHandler), mode)
	if err != nil {
		return err
	}
	defer in.Close()

	out, t := checked{Problems: []shownProblem{}}, &table{header: []string{"WHAT", "REPOSITORY", "DIGEST", "LOCATION", "STATE", "DETAIL", "ADVICE"}}
	o.Report = func(p registry.Problem) error {
		out.Problems = append(out.Problems, shownProblem{p.Kind, p.Repo.Account, p.Repo.Name, p.Digest, p.Location, p.Detail, p.Advice, p.Harmless, p.Repaired})
		t.add(string(p.Kind), p.Repo.Name, string(p.Digest), p.Location, stateOf(&p), p.Detail, p.Advice)
		return nil
	}
	progress := progressOn(cmd.ErrOrStderr())
	o.Progress = func(p registry.FsckProgress) {
		progress(fmt.Sprintf("%s: %d blobs, %s, %d manifests, %d problems", p.Phase, p.Blobs, humanSize(p.Bytes), p.Manifests, p.Problems))
	}
	r, err := in.Local.Fsck(cmd.Context(), o)
	if err != nil {
		progress("")
		return err
	}
	progress("git repositories")
	out.Repositories, err = in.Git.Fsck(cmd.Context(), func(f git.Fault) error {
		r.Harmful++
		name := f.Project + "/" + f.Repo
		out.Problems = append(out.Problems, shownProblem{Kind: "git", Account: f.Account, Repository: name, Location: f.ID, Detail: f.Detail, Advice: gitAdvice})
		t.add("git", name, "", f.ID, "wrong", f.Detail, gitAdvice)
		return nil
	})
	progress("")
	if err != nil {
		return err
	}
	out.Blobs, out.Bytes, out.Manifests, out.Objects = r.Blobs, r.Bytes, r.Manifests, r.Objects
	out.Repaired, out.Harmful, out.Incomplete = r.Repaired, r.Harmful, r.Incomplete
	if c.output == asTable && len(t.rows) == 0 {
		t = &table{rows: [][]string{{fmt.Sprintf("No problems: %d blobs (%s), %d manifests, %d objects, %d git repositories",
			r.Blobs, humanSize(r.Bytes), r.Manifests, r.Objects, out.Repositories)}}}
	}
	err = c.print(cmd, out, t)
	if r.Incomplete {
		err = errors.Join(err, errors.New("there were too many problems to look for all lost layers at once; run it again after the repair"))
	}
	if r.Harmful > 0 {
		err = errors.Join(err, fmt.Errorf("problems left: %d", r.Harmful))
	}
	return err
}

// gitAdvice is what to do about a damaged git repository: what is lost can't be made up.
const gitAdvice = "take it from a backup, or push it again from a whole clone"

func stateOf(p *registry.Problem) string {
	switch {
	case p.Repaired:
		return "repaired"
	case p.Harmless:
		return "harmless"
	}
	return "wrong"
}
