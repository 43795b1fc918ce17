package api

import (
	"context"
	"time"

	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/iam"
)

// RepositoryRef names a git repository of the caller's account.
type RepositoryRef struct{ Project, Repository string }

func (r RepositoryRef) in(c *iam.Caller) git.Name {
	return git.Name{Account: c.Account, Project: r.Project, Repo: r.Repository}
}

// NewRepository is a git repository to be made.
type NewRepository struct {
	RepositoryRef
	Description   string
	DefaultBranch string
	Mirror        *git.Mirror
}

// RepositoryQuery asks for repositories of a project, or of all, after the one named.
type RepositoryQuery struct {
	Project string
	After   RepositoryRef
	Limit   int
}

// RuleRef names a branch rule.
type RuleRef struct {
	RepositoryRef
	Pattern string
}

// RefQuery asks for the branches, or the tags, of a repository.
type RefQuery struct {
	RepositoryRef
	Prefix string // default "refs/heads/"
	After  string
	Limit  int
}

// FileRef names a file at a branch, a tag or a commit.
type FileRef struct {
	RepositoryRef
	Ref  string // "": the default branch
	Path string
}

// FileText is a file with the commit it was read from.
type FileText struct {
	Commit string
	Data   []byte // base64 in JSON
}

// NewCommit is a commit to be made on a branch.
type NewCommit struct {
	RepositoryRef
	git.NewCommit
}

// maxFile bounds the files that are read and written here, in bytes.
const maxFile = 512 << 10

// Git adds the operations on git repositories.
func (s *Server) Git(g *git.Service) {
	type repository = git.Repository
	Handle(s, "CreateRepository", "git:CreateRepository", func(ctx context.Context, c *iam.Caller, in *NewRepository) (*repository, error) {
		return g.Create(ctx, c, git.Draft{Name: in.in(c), Description: in.Description, DefaultBranch: in.DefaultBranch, Mirror: in.Mirror})
	})
	Handle(s, "DescribeRepository", "git:DescribeRepository", func(ctx context.Context, c *iam.Caller, in *RepositoryRef) (*repository, error) {
		return g.Describe(ctx, c, in.in(c))
	})
	Handle(s, "UpdateRepository", "git:UpdateRepository", func(ctx context.Context, c *iam.Caller, in *struct {
		RepositoryRef
		Edit git.Edit
	}) (*repository, error) {
		return g.Update(ctx, c, in.in(c), in.Edit)
	})
	Handle(s, "DeleteRepository", "git:DeleteRepository", func(ctx context.Context, c *iam.Caller, in *RepositoryRef) (Nothing, error) {
		return Nothing{}, g.Delete(ctx, c, in.in(c))
	})
	Handle(s, "ListRepositories", "git:ListRepositories", func(ctx context.Context, c *iam.Caller, in *RepositoryQuery) (List[*repository], error) {
		limit := limited(in.Limit)
		var after *git.Name
		if in.After != (RepositoryRef{}) {
			n := in.After.in(c)
			after = &n
		}
		all, err := g.List(ctx, c, c.Account, in.Project, after, limit)
		l := List[*repository]{Items: all}
		if len(all) == limit {
			last := all[limit-1]
			l.Next = last.Project + "/" + last.Name
		}
		return l, err
	})
	Handle(s, "ListBranchRules", "git:DescribeRepository", func(ctx context.Context, c *iam.Caller, in *RepositoryRef) (List[git.Rule], error) {
		all, err := g.Rules(ctx, c, in.in(c))
		return List[git.Rule]{Items: all}, err
	})
	Handle(s, "PutBranchRule", "git:UpdateRepository", func(ctx context.Context, c *iam.Caller, in *struct {
		RepositoryRef
		Rule git.Rule
	}) (Nothing, error) {
		return Nothing{}, g.PutRule(ctx, c, in.in(c), in.Rule)
	})
	Handle(s, "DeleteBranchRule", "git:UpdateRepository", func(ctx context.Context, c *iam.Caller, in *RuleRef) (Nothing, error) {
		return Nothing{}, g.DeleteRule(ctx, c, in.in(c), in.Pattern)
	})
	Handle(s, "DescribeMirror", "git:DescribeRepository", func(ctx context.Context, c *iam.Caller, in *RepositoryRef) (*git.MirrorState, error) {
		return g.MirrorState(ctx, c, in.in(c))
	})
	Handle(s, "PutMirror", "git:UpdateRepository", func(ctx context.Context, c *iam.Caller, in *struct {
		RepositoryRef
		Mirror git.Mirror
	}) (Nothing, error) {
		return Nothing{}, g.PutMirror(ctx, c, in.in(c), in.Mirror)
	})
	Handle(s, "FetchMirror", "git:UpdateRepository", func(ctx context.Context, c *iam.Caller, in *RepositoryRef) (Nothing, error) {
		return Nothing{}, g.FetchMirror(ctx, c, in.in(c))
	})
	Handle(s, "StopMirror", "git:UpdateRepository", func(ctx context.Context, c *iam.Caller, in *RepositoryRef) (Nothing, error) {
		return Nothing{}, g.StopMirror(ctx, c, in.in(c))
	})
	Handle(s, "ListRefs", "git:Pull", func(ctx context.Context, c *iam.Caller, in *RefQuery) (List[git.Ref], error) {
		r, err := g.MayRead(ctx, c, in.in(c))
		if err != nil {
			return List[git.Ref]{}, err
		}
		prefix, limit := in.Prefix, limited(in.Limit)
		if prefix == "" {
			prefix = "refs/heads/"
		}
		all, err := g.Refs(ctx, r.ID, prefix, in.After, limit)
		l := List[git.Ref]{Items: all}
		if len(all) == limit {
			l.Next = all[limit-1].Name
		}
		return l, err
	})
	Handle(s, "ReadFile", "git:Pull", func(ctx context.Context, c *iam.Caller, in *FileRef) (FileText, error) {
		r, err := g.MayRead(ctx, c, in.in(c))
		if err != nil {
			return FileText{}, err
		}
		commit, err := g.Resolve(ctx, r.ID, in.Ref)
		if err != nil {
			return FileText{}, err
		}
		f, err := g.ReadFile(ctx, r.ID, commit, in.Path, maxFile)
		if err != nil {
			return FileText{}, err
		}
		return FileText{commit, f.Data}, nil
	})
	Handle(s, "CommitFiles", "git:Push", func(ctx context.Context, c *iam.Caller, in *NewCommit) (struct{ Commit string }, error) {
		commit, err := g.CommitFiles(ctx, c, in.in(c), in.NewCommit)
		return struct{ Commit string }{commit}, err
	})
}

// limited is how many items a page has.
func limited(asked int) int {
	if asked <= 0 {
		return 100
	}
	return min(asked, 1000)
}

// seconds makes a duration of a number of seconds.
func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
