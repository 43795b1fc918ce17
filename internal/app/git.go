package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/git/githttp"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/project"
)

// gitService is what git is called where an endpoint lists it.
const gitService = "git"

// openGit opens the repositories. The jobs and projects are there before.
func (in *Instance) openGit() {
	c := &in.Config.Git
	memory := int64(c.Memory)
	if memory == 0 {
		memory = -1
	}
	in.Git = git.New(in.DB, &in.Judge.Judge, in.Jobs, git.Options{
		Region: in.Config.Region, Path: c.Path, Now: in.now, Logger: in.Log, Program: c.Program,
		Limits: git.Limits{Push: int64(c.Push), Object: int64(c.File), Size: int64(c.Repository), Memory: memory,
			Programs: int64(c.Programs), Time: c.Time},
		OnPush: func(ctx context.Context, tx *meta.Tx, p git.Push) error {
			if in.onPush == nil {
				return nil
			}
			return in.onPush(ctx, tx, p)
		},
		OnChange: func(ctx context.Context, tx *meta.Tx, ch git.Change) error {
			return in.appendChange(ctx, tx, ch.Caller, ch.Action, ch.ARN, ch.Detail)
		},
		CheckProject: func(ctx context.Context, account, name string) error {
			_, err := in.Projects.Find(ctx, account, name)
			if errors.Is(err, project.ErrNotFound) {
				return fmt.Errorf("%w; make the project first", err)
			}
			return err
		},
		Credential: in.gitCredential, MirrorAllow: c.MirrorAllow, MirrorCA: c.MirrorCA,
	})
	in.close = append(in.close, in.Git.Close)
	in.lookups[project.KindRepository] = in.findRepository
}

// startGit has the queue work for git, and tells of pushes that a process which died had no time to tell of.
func (in *Instance) startGit(ctx context.Context) error {
	in.Git.Handle()
	if err := in.Git.Available(); err != nil {
		in.Log.Warn(err.Error())
		return nil
	}
	if err := in.Git.Start(ctx); err != nil {
		in.Log.Error("pushes from before the start are not told yet", "err", err)
	}
	return nil
}

// gitServer serves git's protocol.
func (in *Instance) gitServer() *githttp.Server {
	return &githttp.Server{Git: in.Git, Auth: in.IAM, Account: in.Account,
		Admit: func(c *iam.Caller, action string) error { return in.admit(c, gitService, action) }}
}

// gitCredential reads the credential of a mirror from a secret: JSON with username, and password or accessToken.
func (in *Instance) gitCredential(ctx context.Context, c *iam.Caller, name string) (user, password string, err error) {
	value, err := in.Secrets.Value(ctx, c, name)
	if err != nil {
		return "", "", err
	}
	var kept struct{ Username, Password, AccessToken string }
	if json.Unmarshal(value.Reveal(), &kept) != nil || kept.Password == "" && kept.AccessToken == "" { // the error could quote it
		return "", "", fmt.Errorf("the secret %s is not JSON with username, and password or accessToken", name)
	}
	if kept.Password == "" {
		kept.Password = kept.AccessToken
	}
	return kept.Username, kept.Password, nil
}

// findRepository finds a repository by id or <project>/<name>.
func (in *Instance) findRepository(ctx context.Context, account, name string) (id, arn string, err error) {
	var r *git.Repository
	if projectName, repo, ok := strings.Cut(name, "/"); ok {
		r, err = in.Git.Find(ctx, git.Name{Account: account, Project: projectName, Repo: repo})
	} else {
		r, err = in.Git.ByID(ctx, strings.ToLower(name))
	}
	if errors.Is(err, git.ErrOf(git.NotFound)) || err == nil && r.Account != account {
		arn = "arn:aws:git:" + in.Config.Region + ":" + account + ":" + name
		return "", arn, &project.Error{Kind: project.NotFound, Message: fmt.Sprintf("there is no repository %.80q; those of this server are named <project>/<repository>", name)}
	}
	if err != nil {
		return "", "", err
	}
	return r.ID, r.ARN, nil
}
