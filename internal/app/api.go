package app

import (
	"context"
	"errors"

	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/project"
)

// people serves the interface of the command line and the console. signed verifies signatures.
func (in *Instance) people(signed *awsapi.Server) httpx.Handler {
	s := api.New(api.Options{Auth: in.IAM, Signed: signed, Admit: func(c *iam.Caller, service, action string) error { return in.admit(c, service, action) }})
	s.Projects(in.Projects)
	s.Git(in.Git)
	s.Pools(in.Pools, in.Runs, func(ctx context.Context, account, id string) (string, error) {
		p, err := in.Projects.Pipeline(ctx, id)
		if errors.Is(err, project.ErrNotFound) || err == nil && p.Account != account {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		return p.Project + "/" + p.Name, nil
	})
	s.Runs(in.Runs)
	s.Tokens(in.Tokens)
	in.api = s
	return s.Handler()
}
