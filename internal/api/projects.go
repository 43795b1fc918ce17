package api

import (
	"context"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/project"
)

// ProjectRef names a project, by its name or id.
type ProjectRef struct{ Project string }

// ItemRef names something in a project, by names or ids.
type ItemRef struct{ Project, Name string }

// ItemQuery asks for a page of what a project has.
type ItemQuery struct {
	Project string
	After   string
	Limit   int
}

// Edited is a change of something in a project.
type Edited[E any] struct {
	Project, Name string
	Edit          E
}

// Made is something to be made in a project.
type Made[N any] struct {
	Project string
	New     N
}

// List is a page of a list. Next is for the next page; "" if there is none.
type List[T any] struct {
	Items []T
	Next  string
}

// VariableRef names a variable of a pipeline or of a variable group.
type VariableRef struct{ Project, Name, Variable string }

// VariableSet is a variable with its new value.
type VariableSet struct {
	Project, Name string
	Variable      project.Variable
}

// Permission says that a pipeline may use something; "" is all of the project's.
type Permission struct {
	Project  string
	Use      project.Use
	Pipeline string
}

// ImageAccess is what the jobs of a project may do with a repository of images.
type ImageAccess struct {
	Project    string
	Repository string
	Access     project.Access
}

// TrustRequest says which jobs of a project a role is to trust.
type TrustRequest struct {
	Project string
	project.Trusted
}

// TrustDocument is a role's trust policy.
type TrustDocument struct{ Document string }

// IssuerProvider is the OIDC provider of the server's own issuer in an account.
type IssuerProvider struct{ ARN, URL string }

// Deletion is of a project.
type Deletion struct {
	Project string
	// All says to delete also what is in it.
	All bool
}

// items adds the five operations of a kind of thing that projects have.
func items[T, N, E any](s *Server, kind, kinds string,
	create func(context.Context, *iam.Caller, string, N) (*T, error),
	describe func(context.Context, *iam.Caller, string, string) (*T, error),
	update func(context.Context, *iam.Caller, string, string, E) (*T, error),
	remove func(context.Context, *iam.Caller, string, string) error,
	list func(context.Context, *iam.Caller, string, project.Page) ([]T, string, error),
) {
	Handle(s, "Create"+kind, "pipelines:Create"+kind, func(ctx context.Context, c *iam.Caller, in *Made[N]) (*T, error) {
		return create(ctx, c, in.Project, in.New)
	})
	Handle(s, "Describe"+kind, "pipelines:Describe"+kind, func(ctx context.Context, c *iam.Caller, in *ItemRef) (*T, error) {
		return describe(ctx, c, in.Project, in.Name)
	})
	Handle(s, "Update"+kind, "pipelines:Update"+kind, func(ctx context.Context, c *iam.Caller, in *Edited[E]) (*T, error) {
		return update(ctx, c, in.Project, in.Name, in.Edit)
	})
	Handle(s, "Delete"+kind, "pipelines:Delete"+kind, func(ctx context.Context, c *iam.Caller, in *ItemRef) (Nothing, error) {
		return Nothing{}, remove(ctx, c, in.Project, in.Name)
	})
	Handle(s, "List"+kinds, "pipelines:List"+kinds, func(ctx context.Context, c *iam.Caller, in *ItemQuery) (List[T], error) {
		all, next, err := list(ctx, c, in.Project, project.Page{After: in.After, Limit: in.Limit})
		return List[T]{all, next}, err
	})
}

// Projects adds the operations on projects and what is in them.
func (s *Server) Projects(p *project.Service) {
	Handle(s, "CreateProject", "pipelines:CreateProject", func(ctx context.Context, c *iam.Caller, in *project.NewProject) (*project.Project, error) {
		return p.CreateProject(ctx, c, *in)
	})
	Handle(s, "DescribeProject", "pipelines:DescribeProject", func(ctx context.Context, c *iam.Caller, in *ProjectRef) (*project.Project, error) {
		return p.DescribeProject(ctx, c, in.Project)
	})
	Handle(s, "UpdateProject", "pipelines:UpdateProject", func(ctx context.Context, c *iam.Caller, in *Edited[project.ProjectEdit]) (*project.Project, error) {
		return p.UpdateProject(ctx, c, in.Project, in.Edit)
	})
	Handle(s, "DeleteProject", "pipelines:DeleteProject", func(ctx context.Context, c *iam.Caller, in *Deletion) (Nothing, error) {
		return Nothing{}, p.DeleteProject(ctx, c, in.Project, in.All)
	})
	Handle(s, "ListProjects", "pipelines:ListProjects", func(ctx context.Context, c *iam.Caller, in *ItemQuery) (List[project.Project], error) {
		all, next, err := p.ListProjects(ctx, c, project.Page{After: in.After, Limit: in.Limit})
		return List[project.Project]{all, next}, err
	})
	Handle(s, "RestoreRole", "pipelines:UpdateProject", func(ctx context.Context, c *iam.Caller, in *ProjectRef) (*project.Project, error) {
		return p.RestoreRole(ctx, c, in.Project)
	})
	Handle(s, "TrustIssuer", "iam:CreateOpenIDConnectProvider", func(ctx context.Context, c *iam.Caller, _ *Nothing) (*IssuerProvider, error) {
		made, err := p.TrustIssuer(ctx, c)
		if err != nil {
			return nil, err
		}
		return &IssuerProvider{made.ARN, made.URL}, nil
	})
	Handle(s, "DescribeTrustPolicy", "pipelines:DescribeProject", func(ctx context.Context, c *iam.Caller, in *TrustRequest) (*TrustDocument, error) {
		text, err := p.TrustPolicy(ctx, c, in.Project, in.Trusted)
		if err != nil {
			return nil, err
		}
		return &TrustDocument{text}, nil
	})

	items(s, "Pipeline", "Pipelines", p.CreatePipeline, p.DescribePipeline, p.UpdatePipeline, p.DeletePipeline, p.ListPipelines)
	items(s, "VariableGroup", "VariableGroups", p.CreateGroup, p.DescribeGroup, p.UpdateGroup, p.DeleteGroup, p.ListGroups)
	items(s, "Connection", "Connections", p.CreateConnection, p.DescribeConnection, p.UpdateConnection, p.DeleteConnection, p.ListConnections)
	items(s, "Environment", "Environments", p.CreateEnvironment, p.DescribeEnvironment, p.UpdateEnvironment, p.DeleteEnvironment, p.ListEnvironments)

	Handle(s, "ListConnectionTypes", "", func(context.Context, *iam.Caller, *Nothing) (List[project.ConnectionType], error) {
		return List[project.ConnectionType]{Items: project.ConnectionTypes()}, nil
	})
	Handle(s, "ListPipelineVariables", "pipelines:DescribePipeline", func(ctx context.Context, c *iam.Caller, in *ItemRef) (List[project.Variable], error) {
		all, err := p.PipelineVariables(ctx, c, in.Project, in.Name)
		return List[project.Variable]{Items: all}, err
	})
	Handle(s, "SetPipelineVariable", "pipelines:UpdatePipeline", func(ctx context.Context, c *iam.Caller, in *VariableSet) (Nothing, error) {
		return Nothing{}, p.SetPipelineVariable(ctx, c, in.Project, in.Name, in.Variable)
	})
	Handle(s, "DeletePipelineVariable", "pipelines:UpdatePipeline", func(ctx context.Context, c *iam.Caller, in *VariableRef) (Nothing, error) {
		return Nothing{}, p.DeletePipelineVariable(ctx, c, in.Project, in.Name, in.Variable)
	})
	Handle(s, "SetGroupVariable", "pipelines:UpdateVariableGroup", func(ctx context.Context, c *iam.Caller, in *VariableSet) (Nothing, error) {
		return Nothing{}, p.SetGroupVariable(ctx, c, in.Project, in.Name, in.Variable)
	})
	Handle(s, "DeleteGroupVariable", "pipelines:UpdateVariableGroup", func(ctx context.Context, c *iam.Caller, in *VariableRef) (Nothing, error) {
		return Nothing{}, p.DeleteGroupVariable(ctx, c, in.Project, in.Name, in.Variable)
	})
	Handle(s, "AuthorizePipeline", "pipelines:AuthorizePipeline", func(ctx context.Context, c *iam.Caller, in *Permission) (Nothing, error) {
		return Nothing{}, p.Authorize(ctx, c, in.Project, in.Use, in.Pipeline)
	})
	Handle(s, "DeauthorizePipeline", "pipelines:AuthorizePipeline", func(ctx context.Context, c *iam.Caller, in *Permission) (Nothing, error) {
		return Nothing{}, p.Deauthorize(ctx, c, in.Project, in.Use, in.Pipeline)
	})
	Handle(s, "ListAuthorizations", "pipelines:DescribeProject", func(ctx context.Context, c *iam.Caller, in *Permission) (List[project.Authorization], error) {
		all, err := p.Authorizations(ctx, c, in.Project, in.Use)
		return List[project.Authorization]{Items: all}, err
	})
	Handle(s, "GrantImages", "iam:PutRolePolicy", func(ctx context.Context, c *iam.Caller, in *ImageAccess) (Nothing, error) {
		return Nothing{}, p.Grant(ctx, c, in.Project, in.Repository, in.Access)
	})
	Handle(s, "RevokeImages", "iam:PutRolePolicy", func(ctx context.Context, c *iam.Caller, in *ImageAccess) (Nothing, error) {
		return Nothing{}, p.Revoke(ctx, c, in.Project, in.Repository, in.Access)
	})
}
