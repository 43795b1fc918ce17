package project

import (
	"context"
	"maps"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// Endpoints returns service connections as the tasks of a job see them, with their secrets, by name or id. Each use is
// recorded. It is for a job that is handed out. Errors: [ErrNotFound], [*NotAuthorizedError], [ErrUntrusted].
func (s *Service) Endpoints(ctx context.Context, j Job, names ...string) ([]work.Endpoint, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if j.Untrusted {
		return nil, ErrUntrusted
	}
	all := make([]work.Endpoint, 0, len(names))
	seen := map[string]bool{}
	for _, name := range names {
		h, err := s.usable(ctx, j.Identity.PipelineID, Use{Kind: KindConnection, Name: name})
		if err != nil {
			return nil, err
		}
		if seen[h.id] {
			continue
		}
		seen[h.id] = true
		x, err := s.connection(ctx, h.id)
		if err != nil {
			return nil, err
		}
		e, err := s.endpoint(ctx, j, x)
		if err != nil {
			return nil, err
		}
		if err := s.used(ctx, j, "UseConnection", h); err != nil {
			return nil, err
		}
		all = append(all, *e)
	}
	return all, nil
}

func (s *Service) endpoint(ctx context.Context, j Job, x *Connection) (*work.Endpoint, error) {
	secrets, err := s.openSecrets(ctx, x.ID)
	if err != nil {
		return nil, err
	}
	e := &work.Endpoint{ID: x.ID, Name: x.Name, Type: x.Type, URL: x.URL, Scheme: x.Scheme, Auth: maps.Clone(x.Parameters), Data: maps.Clone(x.Data)}
	t := connectionType(x.Type)
	if t != nil && t.scheme(x.Scheme) != nil {
		for _, f := range t.scheme(x.Scheme).Parameters {
			if value := secrets[fold(f.Name)]; f.Secret && value != "" {
				e.Auth[f.Name] = value
			}
		}
	}
	switch {
	case x.Type == TypeDockerRegistry:
		e.Auth["registry"] = x.URL
		if e.Data["registrytype"] == "" {
			e.Data["registrytype"] = "Others"
		}
	case x.Type == TypeAWS && x.Scheme == SchemeIdentity:
		e.Auth["useOIDC"] = "true"
	case x.Type == TypeSekisho:
		// In the form of a connection to AWS, so that tasks made for that work with no key stored.
		made, err := s.Credentials(ctx, j)
		if err != nil {
			return nil, err
		}
		e.Scheme = SchemeUsernamePassword
		e.Auth = map[string]string{"username": made.AccessKeyID, "password": made.SecretAccessKey, "sessionToken": made.SessionToken}
		e.Data["region"] = s.o.Region
	}
	return e, nil
}
