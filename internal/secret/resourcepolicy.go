package secret

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
)

const (
	// policyName is what reasons call a secret's policy.
	policyName = "resource policy"
	maxPolicy  = 20_480 // characters
)

// Policy returns a secret and its resource policy, "" for none. Errors: *iam.DeniedError, and an [*Error] of kind
// NotFound, InvalidRequest, InvalidName or InvalidParameter.
func (s *Store) Policy(ctx context.Context, c *iam.Caller, id string) (*Secret, string, error) {
	x, err := s.allowed(ctx, c, "GetResourcePolicy", id, nil)
	if err != nil {
		return nil, "", err
	}
	if !x.Deleted.IsZero() {
		return nil, "", errDeleted
	}
	return x, x.policy, nil
}

// PutPolicy sets a secret's resource policy. One that would keep the caller from setting another is refused, and with
// blockPublic one that lets everybody in. Errors: *iam.DeniedError, and an [*Error] of kind NotFound, InvalidRequest,
// InvalidParameter, MalformedPolicy or PublicPolicy.
func (s *Store) PutPolicy(ctx context.Context, c *iam.Caller, id, document string, blockPublic bool) (*Secret, error) {
	x, err := s.allowed(ctx, c, "PutResourcePolicy", id, map[string][]string{"secretsmanager:blockpublicpolicy": {fmt.Sprint(blockPublic)}})
	if err != nil {
		return nil, err
	}
	p, err := parsePolicy(document)
	if err != nil {
		return nil, err
	}
	if blockPublic && public(p, x) {
		return nil, errorf(PublicPolicy, "The resource policy lets everybody in, or all of another account that it does not name: BlockPublicPolicy refuses that.")
	}
	if err := s.lockout(ctx, c, x, p); err != nil {
		return nil, err
	}
	return x, s.setPolicy(ctx, c, x, "PutResourcePolicy", document)
}

// DeletePolicy removes a secret's resource policy, if it has one. Errors: as those of Policy.
func (s *Store) DeletePolicy(ctx context.Context, c *iam.Caller, id string) (*Secret, error) {
	x, err := s.allowed(ctx, c, "DeleteResourcePolicy", id, nil)
	if err != nil {
		return nil, err
	}
	return x, s.setPolicy(ctx, c, x, "DeleteResourcePolicy", "")
}

func (s *Store) setPolicy(ctx context.Context, c *iam.Caller, x *Secret, action, document string) error {
	return s.update(ctx, x, false, func(tx *meta.Tx, now *Secret) error {
		if document != "" && s.o.UnknownPrincipal != nil {
			who, err := s.o.UnknownPrincipal(ctx, tx, document)
			if err == nil && who != "" {
				err = errorf(MalformedPolicy, "This resource policy contains an invalid principal: there is no %s.", who)
			}
			if err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE secrets SET policy = $1 WHERE id = $2`, document, now.id); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, action, x.ARN, "")
	})
}

// PolicyProblem is why a policy would be refused.
type PolicyProblem struct {
	Check   string
	Message string
}

// ValidatePolicy says what speaks against a policy, for a secret unless id is "". Errors: *iam.DeniedError, and an
// [*Error] of kind NotFound, InvalidName or InvalidParameter.
func (s *Store) ValidatePolicy(ctx context.Context, c *iam.Caller, id, document string) ([]PolicyProblem, error) {
	var x *Secret
	var err error
	if id == "" {
		err = s.anywhere(ctx, c, "ValidateResourcePolicy")
		x = &Secret{Account: accountOf(c), ARN: s.arn(accountOf(c), "any-000000")}
	} else {
		x, err = s.allowed(ctx, c, "ValidateResourcePolicy", id, nil)
	}
	if err != nil {
		return nil, err
	}
	p, err := parsePolicy(document)
	if err != nil {
		return []PolicyProblem{{"SYNTAX", err.Error()}}, nil
	}
	var problems []PolicyProblem
	if public(p, x) {
		problems = append(problems, PolicyProblem{"PUBLIC_POLICY", "The policy lets everybody in, or all of another account that it does not name."})
	}
	err = s.lockout(ctx, c, x, p)
	if locked, ok := errors.AsType[*Error](err); ok {
		return append(problems, PolicyProblem{"LOCKOUT", locked.Message}), nil
	}
	return problems, err
}

func parsePolicy(document string) (*policy.Policy, error) {
	if len([]rune(document)) > maxPolicy {
		return nil, errorf(InvalidParameter, "The resource policy has more than %d characters.", maxPolicy)
	}
	if strings.Contains(document, "\x00") {
		return nil, errorf(MalformedPolicy, "This resource policy contains a syntax error.")
	}
	p, err := policy.Parse([]byte(document), policy.Resource)
	if err != nil {
		return nil, errorf(MalformedPolicy, "This resource policy contains a syntax error: %s", err)
	}
	return p, nil
}

// lockout refuses a policy after which the caller, from where it calls now, could set no other.
func (s *Store) lockout(ctx context.Context, c *iam.Caller, x *Secret, p *policy.Policy) error {
	req := iam.Request{
		Action:   "secretsmanager:PutResourcePolicy",
		Resource: iam.Resource{ARN: x.ARN, Account: x.Account, Tags: x.Tags, Policies: []policy.Named{{Name: policyName, Policy: p}}},
		Keys:     x.keys(nil),
	}
	d := s.judge.Authorizer.Authorize(ctx, c, &req)
	if d.Err != nil {
		return fmt.Errorf("decide on %s by %s: %w", req.Action, c.Who(), d.Err)
	}
	if !d.Allowed {
		return errorf(InvalidParameter, "The resource policy would lock its author out: %s could not call %s again, %s. Except yourself from the statement that decides.",
			c.Who(), req.Action, d.Reason)
	}
	return nil
}

// readActions are those that tell something of a secret or change it.
var readActions = []string{"secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret", "secretsmanager:PutSecretValue",
	"secretsmanager:UpdateSecret", "secretsmanager:DeleteSecret", "secretsmanager:PutResourcePolicy"}

// public reports whether a policy lets in those whom it does not name and who bring nothing that it could know them by:
// somebody without a credential, or of an account that nobody has.
func public(p *policy.Policy, x *Secret) bool {
	const nobody = "000000000000"
	for _, who := range []policy.Principal{
		{Type: policy.Anonymous},
		{Type: policy.User, ARN: "arn:aws:iam::" + nobody + ":user/nobody", Account: nobody},
	} {
		for _, action := range readActions {
			d := policy.Decide(&policy.Request{Principal: who, Action: action, Resource: x.ARN, ResourceAccount: x.Account, Context: policy.MapContext{}},
				&policy.Policies{
					Resource: []policy.Named{{Name: policyName, Policy: p}},
					Identity: []policy.Named{{Name: "any", Policy: anything}},
				})
			if d.Outcome == policy.Allowed {
				return true
			}
		}
	}
	return false
}

// anything allows everything; it is a constant.
var anything = func() *policy.Policy {
	p, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`), policy.Identity)
	if err != nil {
		panic(err)
	}
	return p
}()
