package project

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
)

// STSAudience is whom identity tokens are for that are exchanged for credentials.
const STSAudience = "sts.amazonaws.com"

// TrustIssuer makes this server's own issuer of identity tokens known in the caller's account, as an OIDC provider like any
// other, so that roles can trust jobs. It may be there already. It takes the caller's own permission to make providers,
// iam:CreateOpenIDConnectProvider. Errors: *iam.DeniedError; [*Error] of kind Invalid if the server has no https address;
// [*directory.Error].
func (s *Service) TrustIssuer(ctx context.Context, c *iam.Caller) (*directory.Provider, error) {
	c = orNobody(c)
	url, err := s.issuerURL()
	if err != nil {
		return nil, err
	}
	made, err := s.o.Directory.CreateProvider(ctx, c, directory.NewProvider{URL: url, ClientIDs: []string{STSAudience}})
	if !isDirectory(err, directory.EntityAlreadyExists) {
		return made, err
	}
	arn := "arn:aws:iam::" + c.Account + ":oidc-provider/" + strings.TrimPrefix(url, "https://")
	there, err := s.o.Directory.Provider(ctx, c, arn)
	if err == nil && !slices.Contains(there.ClientIDs, STSAudience) {
		if err = s.o.Directory.AddClientID(ctx, c, arn, STSAudience); err == nil {
			there.ClientIDs = append(there.ClientIDs, STSAudience)
		}
	}
	return there, err
}

func (s *Service) issuerURL() (string, error) {
	url, err := s.o.Issuer.URL()
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(url, "https://") {
		return "", errorf(Invalid, "", "accounts trust issuers with an https address alone, and this server's is %s: set public_url to its https address", url)
	}
	return url, nil
}

// Trusted is which jobs a role is to trust.
type Trusted struct {
	Pipeline    string // name or id; "" for all of the project
	Ref         string // "refs/heads/main", with * for any part; "" for any; not with Environment
	Environment string // name; "" for jobs that deploy to none
}

// TrustPolicy returns the trust policy of a role that jobs of a project may assume with their identity tokens, by ids, so that
// it means the same project and pipeline whatever becomes of their names. Errors: *iam.DeniedError; [*Error] of kind
// NotFound, Invalid.
func (s *Service) TrustPolicy(ctx context.Context, c *iam.Caller, projectRef string, t Trusted) (string, error) {
	c = orNobody(c)
	p, err := s.on(ctx, c, "DescribeProject", projectRef)
	if err != nil {
		return "", err
	}
	url, err := s.issuerURL()
	if err != nil {
		return "", err
	}
	subject := "project:" + p.ID + ":pipeline:"
	if t.Pipeline == "" {
		subject += "*"
	} else {
		l, err := s.DescribePipeline(ctx, c, projectRef, t.Pipeline)
		if err != nil {
			return "", err
		}
		subject += l.ID
	}
	switch {
	case t.Environment != "" && t.Ref != "":
		return "", errorf(Invalid, "ref", "the token of a job that deploys to an environment is about that and no ref: the environment's own checks say which branches may")
	case t.Environment != "":
		if err := checkItemName(environmentItem, t.Environment); err != nil {
			return "", err
		}
		h, err := locate(ctx, s.db, p, environmentItem, t.Environment)
		if err != nil {
			return "", err
		}
		if h == nil { // the first job that deploys there would make it, without checks, and be trusted
			return "", errorf(NotFound, "environment", "there is no environment %q in project %s: make it first, with its checks", t.Environment, p.Name)
		}
		subject += ":environment:" + h.name
	case t.Ref == "":
		subject += ":ref:*"
	case !validRef(strings.ReplaceAll(t.Ref, "*", "x")):
		return "", errorf(Invalid, "ref", "%.80q is no ref such as refs/heads/main", t.Ref)
	default:
		subject += ":ref:" + t.Ref
	}
	name := strings.TrimPrefix(url, "https://")
	operator := "StringEquals"
	if strings.Contains(subject, "*") {
		operator = "StringLike"
	}
	type statement struct {
		Effect    string
		Principal map[string]string
		Action    string
		Condition map[string]map[string]string
	}
	conditions := map[string]map[string]string{"StringEquals": {name + ":aud": STSAudience}}
	if conditions[operator] == nil {
		conditions[operator] = map[string]string{}
	}
	conditions[operator][name+":sub"] = subject
	document, err := json.MarshalIndent(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{{
		Effect: "Allow", Principal: map[string]string{"Federated": "arn:aws:iam::" + p.Account + ":oidc-provider/" + name},
		Action: "sts:AssumeRoleWithWebIdentity", Condition: conditions,
	}}}, "", "  ")
	return string(document), err
}

// gone explains a role that is gone.
func (s *Service) gone(err error, p *Project) error {
	if errors.Is(err, iam.ErrPrincipalGone) {
		return errorf(Conflict, "", "the role %s of project %s is gone; make it again with: sekisho project restore-role %s", p.RoleARN(), p.Name, p.Name)
	}
	return err
}
