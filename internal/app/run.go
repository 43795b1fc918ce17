package app

import (
	"context"
	"errors"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/run"
)

// openRuns opens the runs of pipelines. Projects, pools, git and the queue of jobs are there before.
func (in *Instance) openRuns() {
	in.Runs = run.New(in.DB, in.Blobs, in.Seal, &in.Judge.Judge, run.Options{
		Region: in.Config.Region, Now: in.now, Logger: in.Log, Projects: in.Projects, Pools: in.Pools, Repositories: repositories{in.Git}, Jobs: in.Jobs,
		URL: func() string {
			url, err := in.URL()
			if err != nil {
				return "" // it is not known before the server listens
			}
			return url
		},
		OnChange: func(ctx context.Context, tx *meta.Tx, ch run.Change) error {
			return in.appendChange(ctx, tx, ch.Caller, ch.Action, ch.ARN, ch.Detail)
		},
		Note: func(ch run.Change) {
			e := event(ch.Caller, ch.Action, ch.ARN)
			e.Reason, e.Detail = ch.Refused, ch.Detail
			in.Audit.Record(e)
		},
	})
	in.onPush = func(ctx context.Context, tx *meta.Tx, p git.Push) error {
		push := run.Push{Repository: p.Repository.ID, Account: p.Repository.Account, By: p.Principal, At: p.Time, Options: p.Options}
		if p.Principal != "" {
			push.For = p.Principal[strings.LastIndexAny(p.Principal, ":/")+1:]
		}
		for _, u := range p.Updates {
			push.Updates = append(push.Updates, run.RefUpdate{Ref: u.Ref, Old: u.Old, New: u.New})
		}
		return in.Runs.OnPush(ctx, tx, push)
	}
}

// repositories is git as runs need it.
type repositories struct{ git *git.Service }

// translate makes what is not there be that to package run.
func translate(err error, missing error) error {
	if errors.Is(err, git.ErrOf(git.NotFound)) || errors.Is(err, git.ErrOf(git.Invalid)) {
		return errors.Join(missing, err)
	}
	return err
}

func (r repositories) Resolve(ctx context.Context, id, ref string) (full, commit string, err error) {
	full, commit, err = r.git.ResolveRef(ctx, id, ref)
	return full, commit, translate(err, work.ErrNotFound)
}

func (r repositories) Contains(ctx context.Context, id, tip, commit string) (bool, error) {
	base, err := r.git.MergeBase(ctx, id, tip, commit)
	return base != "" && base == commit, translate(err, work.ErrNotFound)
}

func (r repositories) Commit(ctx context.Context, id, commit string) (*run.Commit, error) {
	list, err := r.git.Commits(ctx, id, git.LogQuery{From: commit, Limit: 1})
	if err == nil && len(list) == 0 {
		err = work.ErrNotFound
	}
	if err != nil {
		return nil, translate(err, work.ErrNotFound)
	}
	c := list[0]
	return &run.Commit{ID: c.Hash, Message: strings.TrimSpace(c.Subject + "\n\n" + c.Body), Author: c.Author.Name, Time: c.Committer.Time}, nil
}

// maxPipelineFile is how large a file of a pipeline can be at all; the language has its own limit.
const maxPipelineFile = 10 << 20

func (r repositories) File(ctx context.Context, id, commit, path string) ([]byte, error) {
	f, err := r.git.ReadFile(ctx, id, commit, strings.TrimPrefix(path, "/"), maxPipelineFile)
	if err != nil {
		return nil, translate(err, pipeline.ErrNoFile)
	}
	return f.Data, nil
}

// maxChanged is how many paths of a push are looked at; beyond that any filter of paths matches.
const maxChanged = 10_000

func (r repositories) Changed(ctx context.Context, id, from, to string) ([]string, error) {
	paths, complete, err := r.git.ChangedPaths(ctx, id, from, to, maxChanged)
	if err != nil || !complete {
		return nil, translate(err, work.ErrNotFound)
	}
	if paths == nil {
		paths = []string{}
	}
	return paths, nil
}

func (r repositories) Find(ctx context.Context, account, project, name string) (*run.Repository, error) {
	x, err := r.git.Find(ctx, git.Name{Account: account, Project: project, Repo: name})
	if err != nil {
		return nil, translate(err, work.ErrNotFound)
	}
	return repository(x), nil
}

func (r repositories) Describe(ctx context.Context, id string) (*run.Repository, error) {
	x, err := r.git.ByID(ctx, id)
	if err != nil {
		return nil, translate(err, work.ErrNotFound)
	}
	return repository(x), nil
}

func repository(x *git.Repository) *run.Repository {
	return &run.Repository{ID: x.ID, Account: x.Account, Project: x.Project, Name: x.Name, DefaultBranch: "refs/heads/" + x.DefaultBranch}
}

// maxBranches is at how many branches a pipeline's file is read for its schedules.
const maxBranches = 500

func (r repositories) Branches(ctx context.Context, id string) (map[string]string, error) {
	refs, err := r.git.Refs(ctx, id, "refs/heads/", "", maxBranches)
	if err != nil {
		return nil, translate(err, work.ErrNotFound)
	}
	out := map[string]string{}
	for _, ref := range refs {
		if ref.Commit != "" {
			out[ref.Name] = ref.Commit
		}
	}
	return out, nil
}
