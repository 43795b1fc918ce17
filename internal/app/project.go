package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/issuer"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/project"
)

// lookup finds what pipelines are authorised for and other packages than project keep, by name or id.
type lookup func(ctx context.Context, account, name string) (id, arn string, err error)

// openProjects opens projects and what they stand on: the issuer, personal access tokens.
func (in *Instance) openProjects() {
	in.Tokens = in.IAM.PersonalTokens(&in.Judge.Judge, in.appendChange)
	in.lookups = map[project.Kind]lookup{}
	in.lookups[project.KindPipeline] = in.findPipeline
	in.Projects = project.New(in.DB, in.Seal, &in.Judge.Judge, project.Options{
		Region: in.Config.Region, Directory: in.Directory, Keys: in.IAM, Issuer: in.Issuer, Secrets: in.Secrets, Now: in.now, Logger: in.Log,
		OnChange: func(ctx context.Context, tx *meta.Tx, ch project.Change) error {
			return in.appendChange(ctx, tx, ch.Caller, ch.Action, ch.Resource, ch.Detail)
		},
		Lookup: func(ctx context.Context, account string, kind project.Kind, name string) (id, arn string, err error) {
			if find := in.lookups[kind]; find != nil {
				return find(ctx, account, name)
			}
			return "", "", fmt.Errorf("find %s %q: %w", kind, name, project.ErrNotFound)
		},
		HasSource: func(ctx context.Context, account, name string) (bool, error) {
			list, err := in.Git.List(ctx, iam.SystemCaller(account, "pipelines"), account, name, nil, 1)
			return len(list) > 0, err
		},
		SourceName: func(ctx context.Context, id string) (string, error) {
			r, err := in.Git.ByID(ctx, id)
			if err != nil {
				return "", translate(err, project.ErrNotFound)
			}
			return r.Project + "/" + r.Name, nil
		},
		OnDelete: func(ctx context.Context, tx *meta.Tx, c *iam.Caller, p *project.Project) error {
			return in.Git.DeleteProject(ctx, tx, c, p.Account, p.Name)
		},
	})
}

// findPipeline finds a pipeline by <project>/<name>.
func (in *Instance) findPipeline(ctx context.Context, account, name string) (id, arn string, err error) {
	owner, pipeline, ok := strings.Cut(name, "/")
	arn = "arn:aws:pipelines:" + in.Config.Region + ":" + account + ":project/" + owner + "/pipeline/" + pipeline
	if !ok {
		return "", arn, fmt.Errorf("%w: %.80q is no pipeline of another project, which is PROJECT/NAME", project.ErrNotFound, name)
	}
	p, err := in.Projects.Find(ctx, account, owner)
	if err != nil {
		return "", arn, err
	}
	l, err := in.Projects.FindPipeline(ctx, p.ID, pipeline)
	if err != nil {
		return "", arn, err
	}
	return l.ID, l.ARN(in.Config.Region), nil
}

// openIssuer opens the issuer of identity tokens. It is there before what verifies them.
func (in *Instance) openIssuer() {
	in.Issuer = issuer.New(in.DB, in.Seal, issuer.Options{Now: in.now, URL: in.URL})
}

// startProjects begins the background work of projects, until ctx ends.
func (in *Instance) startProjects(ctx context.Context, wg *sync.WaitGroup) {
	wg.Go(func() { in.Issuer.Run(ctx, in.warn("the keys of the issuer of identity tokens are not rotated")) })
	wg.Go(func() { in.IAM.RunTokens(ctx, in.warn("the last uses of personal access tokens are not written")) })
}

// agents is the service of what agents call, as endpoints have it.
const agents = "agents"

// oidc serves the documents of the issuer. They are public; through an endpoint they are for the jobs of its agents, and for
// whoever takes their tokens to this server.
func (in *Instance) oidc(w *httpx.Response, r *http.Request) error {
	if err := in.leads(w.Origin.Endpoint, agents); err != nil && in.leads(w.Origin.Endpoint, "sts") != nil {
		return &httpx.Error{Status: http.StatusForbidden, Message: err.Error()}
	}
	return in.Issuer.Serve(w, r)
}
