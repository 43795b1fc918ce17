package project

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
)

const (
	// TrustedService is the principal that the roles of projects trust: this server's pipelines. No credential is one of it.
	TrustedService = "pipelines.sekisho"

	rolePath    = "/pipelines/"
	projectTag  = "sekisho:project"
	ownPolicy   = "pipelines" // the inline policy that a role is made with
	longestRole = 12 * time.Hour
)

// RoleARN returns the ARN of the role that the jobs of a project act as.
func (p *Project) RoleARN() string {
	return "arn:aws:iam::" + p.Account + ":role" + rolePath + p.Name
}

const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + TrustedService + `"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`

// basis is what every job may: sign in to the registry, where it then may nothing, and, with the token of a job, read the
// source that this token is limited to. Credentials of a job have no such key and read none.
func (s *Service) basis(p *Project) string {
	return `{"Version":"2012-10-17","Statement":[` +
		`{"Sid":"login","Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"*"},` +
		`{"Sid":"source","Effect":"Allow","Action":"git:Pull","Resource":"arn:aws:git:` + s.o.Region + `:` + p.Account + `:*","Condition":{"Null":{"pipelines:job":"false"}}}]}`
}

// system returns the server as a caller, at work for a request of somebody's.
func system(c *iam.Caller, account string) *iam.Caller {
	sys := iam.SystemCaller(account, "pipelines")
	if c != nil {
		sys.RequestID, sys.SourceIP, sys.Endpoint, sys.VPC = c.RequestID, c.SourceIP, c.Endpoint, c.VPC
	}
	return sys
}

// ensureRole makes the role of a project that has none. Errors: [*Error] of kind Exists.
func (s *Service) ensureRole(ctx context.Context, c *iam.Caller, p *Project) error {
	if p.RoleID != "" {
		return nil
	}
	sys := system(c, p.Account)
	role, err := s.makeRole(ctx, sys, p)
	if err != nil {
		return fmt.Errorf("role of project %s: %w", p.Name, err)
	}
	if err := s.o.Directory.PutInlinePolicy(ctx, sys, directory.RoleNamed(p.Name), ownPolicy, s.basis(p)); err != nil {
		return fmt.Errorf("role of project %s: %w", p.Name, err)
	}
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		res, err := tx.Exec(ctx, `UPDATE projects SET role = $1 WHERE id = $2`, role.ID, p.ID)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, noSuch("project", p.Name))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("role of project %s: %w", p.Name, err)
	}
	p.RoleID = role.ID
	return nil
}

func (s *Service) makeRole(ctx context.Context, sys *iam.Caller, p *Project) (*directory.Role, error) {
	role, err := s.o.Directory.CreateRole(ctx, sys, directory.NewRole{
		Name: p.Name, Path: rolePath, Trust: trust, MaxSession: longestRole,
		Description: "What the jobs of the project " + p.Name + " act as: give it what they need.",
		Tags:        []directory.Tag{{Key: projectTag, Value: p.ID}},
	})
	if !isDirectory(err, directory.EntityAlreadyExists) {
		return role, err
	}
	// It is of this project, whose creation was cut off; or of one that is gone, whose deletion was; or somebody else's.
	role, err = s.o.Directory.Role(ctx, sys, p.Name)
	if err != nil && !isDirectory(err, directory.NoSuchEntity) {
		return nil, err
	}
	taken := errorf(Exists, "name", "jobs of the project would act as the role %s, and the account has another role of that name: choose another name, or remove that role", p.Name)
	if role == nil || role.Path != rolePath {
		return nil, taken
	}
	i := slices.IndexFunc(role.Tags, func(t directory.Tag) bool { return t.Key == projectTag })
	switch {
	case i < 0:
		return nil, taken
	case role.Tags[i].Value == p.ID:
		return role, nil
	}
	other, err := one(scanProject, s.db.QueryRow(ctx, `SELECT `+projectColumns+` FROM projects WHERE id = $1`, role.Tags[i].Value))
	if err != nil || other != nil {
		return nil, errors.Join(err, taken)
	}
	if err := s.deleteRole(ctx, sys, p.Name); err != nil {
		return nil, err
	}
	return s.o.Directory.CreateRole(ctx, sys, directory.NewRole{
		Name: p.Name, Path: rolePath, Trust: trust, MaxSession: longestRole,
		Description: "What the jobs of the project " + p.Name + " act as: give it what they need.",
		Tags:        []directory.Tag{{Key: projectTag, Value: p.ID}},
	})
}

func isDirectory(err error, kind directory.ErrorKind) bool {
	e, ok := errors.AsType[*directory.Error](err)
	return ok && e.Kind == kind
}

// removeRole deletes the role of a project that is gone, if it still is the same.
func (s *Service) removeRole(ctx context.Context, c *iam.Caller, p *Project) error {
	sys := system(c, p.Account)
	role, err := s.o.Directory.Role(ctx, sys, p.Name)
	if isDirectory(err, directory.NoSuchEntity) || err == nil && role.ID != p.RoleID {
		return nil
	}
	if err == nil {
		err = s.deleteRole(ctx, sys, p.Name)
	}
	if err != nil {
		return fmt.Errorf("the project %s is deleted, and its role is not: %w", p.Name, err)
	}
	return nil
}

// deleteRole deletes a role with the policies that it was given.
func (s *Service) deleteRole(ctx context.Context, sys *iam.Caller, name string) error {
	role, d := directory.RoleNamed(name), s.o.Directory
	for {
		names, more, err := d.InlinePolicies(ctx, sys, role, directory.Page{})
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := d.DeleteInlinePolicy(ctx, sys, role, n); err != nil && !isDirectory(err, directory.NoSuchEntity) {
				return err
			}
		}
		if !more {
			break
		}
	}
	for {
		attached, more, err := d.AttachedPolicies(ctx, sys, role, "", directory.Page{})
		if err != nil {
			return err
		}
		for _, p := range attached {
			if err := d.DetachPolicy(ctx, sys, role, p.ARN); err != nil && !isDirectory(err, directory.NoSuchEntity) {
				return err
			}
		}
		if !more {
			break
		}
	}
	return d.DeleteRole(ctx, sys, name)
}

// trusted checks that the role of a project is the one it was made with, and that its trust policy still lets jobs act as
// it. So an administrator takes it away, or makes conditions: the tags of the session are aws:RequestTag/….
func (s *Service) trusted(ctx context.Context, p *Project, who *iam.Caller, tags map[string]string) error {
	role, t, err := s.o.Directory.Trusting(ctx, p.RoleARN())
	if err != nil {
		return err
	}
	if role == nil || role.ID != p.RoleID {
		return errorf(Conflict, "", "the role %s of project %s is gone, or another one has its name: delete that and call RestoreRole, with: sekisho project restore-role %s", p.RoleARN(), p.Name, p.Name)
	}
	keys := policy.MapContext{"sts:rolesessionname": {who.Name}}
	for key, value := range tags {
		keys["aws:requesttag/"+strings.ToLower(key)] = []string{value}
		keys["aws:tagkeys"] = append(keys["aws:tagkeys"], key)
	}
	r := &iam.Request{Action: "sts:AssumeRole", Resource: iam.Resource{ARN: role.ARN, Account: p.Account}}
	d := policy.Decide(&policy.Request{
		Principal: policy.Principal{Type: policy.Service, ARN: TrustedService}, Action: r.Action, Resource: role.ARN, ResourceAccount: p.Account, Context: keys,
	}, &policy.Policies{Resource: []policy.Named{t}})
	if d.Outcome == policy.Allowed {
		return nil
	}
	refusal := iam.Decision{Explicit: d.Outcome == policy.ExplicitDeny, Reason: "because the role's trust policy does not let " + TrustedService + " assume it for this job"}
	s.judge.Note(who, r, refusal)
	return refusal.Denied(who, r)
}

// RestoreRole makes the role of a project again, after it was deleted, with nothing but what every role of a project has; of
// one that is there it restores that.
// Errors: *iam.DeniedError; [*Error] of kind NotFound, Exists, Conflict.
func (s *Service) RestoreRole(ctx context.Context, c *iam.Caller, ref string) (*Project, error) {
	c = orNobody(c)
	p, err := s.on(ctx, c, "UpdateProject", ref)
	if err != nil {
		return nil, err
	}
	role, _, err := s.o.Directory.Trusting(ctx, p.RoleARN())
	if err != nil {
		return nil, err
	}
	if role != nil && role.ID == p.RoleID {
		return p, s.o.Directory.PutInlinePolicy(ctx, system(c, p.Account), directory.RoleNamed(p.Name), ownPolicy, s.basis(p))
	}
	p.RoleID = ""
	return p, s.ensureRole(ctx, c, p)
}

// Access is what a project may do with a repository of images.
type Access string

// The accesses.
const (
	Push Access = "push"
	Pull Access = "pull"
)

// accessActions are those that clients need, and no more.
var accessActions = map[Access]string{
	Push: `"ecr:CompleteLayerUpload","ecr:UploadLayerPart","ecr:InitiateLayerUpload","ecr:BatchCheckLayerAvailability","ecr:PutImage","ecr:BatchGetImage"`,
	Pull: `"ecr:BatchCheckLayerAvailability","ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"`,
}

var errAccess = errorf(Invalid, "access", "it is neither %s nor %s", Push, Pull)

// Grant lets the jobs of a project push to or pull from a repository of images of their account, by an inline policy on the
// project's role. It takes the caller's own permission to write that, iam:PutRolePolicy. Errors: *iam.DeniedError; [*Error] of
// kind NotFound, Invalid; [*directory.Error].
func (s *Service) Grant(ctx context.Context, c *iam.Caller, projectRef, repository string, access Access) error {
	c = orNobody(c)
	p, name, err := s.granting(ctx, c, projectRef, repository, access)
	if err != nil {
		return err
	}
	document := `{"Version":"2012-10-17","Statement":[{"Sid":"` + string(access) + `","Effect":"Allow","Action":[` + accessActions[access] +
		`],"Resource":"arn:aws:ecr:` + s.o.Region + `:` + p.Account + `:repository/` + repository + `"}]}`
	return s.o.Directory.PutInlinePolicy(ctx, c, directory.RoleNamed(p.Name), name, document)
}

// Revoke takes back what Grant gave. It takes iam:DeleteRolePolicy. Errors: as those of Grant.
func (s *Service) Revoke(ctx context.Context, c *iam.Caller, projectRef, repository string, access Access) error {
	c = orNobody(c)
	p, name, err := s.granting(ctx, c, projectRef, repository, access)
	if err != nil {
		return err
	}
	err = s.o.Directory.DeleteInlinePolicy(ctx, c, directory.RoleNamed(p.Name), name)
	if isDirectory(err, directory.NoSuchEntity) {
		return errorf(NotFound, "", "the project %s was not granted to %s %s%s", p.Name, access, repository, s.otherGrant(ctx, c, p, repository, access))
	}
	return err
}

// otherGrant says that the access which was not asked for is granted, if the caller may know.
func (s *Service) otherGrant(ctx context.Context, c *iam.Caller, p *Project, repository string, access Access) string {
	other, how := Push, ", but it was to push it: take that away with --push"
	if access == Push {
		other, how = Pull, ", but it was to pull it: take that away without --push"
	}
	if _, err := s.o.Directory.InlinePolicy(ctx, c, directory.RoleNamed(p.Name), policyName(other, repository)); err != nil {
		return "" // it is not there, or not for the caller to know
	}
	return how
}

func (s *Service) granting(ctx context.Context, c *iam.Caller, projectRef, repository string, access Access) (*Project, string, error) {
	p, err := s.on(ctx, c, "DescribeProject", projectRef)
	if err != nil {
		return nil, "", err
	}
	if accessActions[access] == "" {
		return nil, "", errAccess
	}
	if len(repository) > 256 || !repositoryForm.MatchString(repository) {
		return nil, "", errorf(Invalid, "repository", "%.80q is no name of a repository of images", repository)
	}
	return p, policyName(access, repository), s.ensureRole(ctx, c, p)
}

// policyName names the policy of a grant: no repository has an equals sign, and a policy no slash.
func policyName(access Access, repository string) string {
	name := string(access) + "=" + strings.ReplaceAll(repository, "/", "=")
	if len(name) > 128 {
		sum := sha256.Sum256([]byte(repository))
		name = name[:95] + "=" + hex.EncodeToString(sum[:16])
	}
	return name
}
