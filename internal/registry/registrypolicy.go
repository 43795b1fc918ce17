package registry

import (
	"context"
	"slices"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
)

const (
	registryPolicyName = "registry policy" // as reasons call it
	// maxRegistryPolicy is ECR's limit of a registry policy's characters.
	maxRegistryPolicy = 10_240
)

// RegistryPolicy returns the policy as it was put. Errors: RegistryPolicyUnknown.
func (k *Control) RegistryPolicy(ctx context.Context, c *iam.Caller, account string) (string, error) {
	if err := k.authorize(ctx, c, "ecr:GetRegistryPolicy", account); err != nil {
		return "", err
	}
	text, err := document(ctx, k.l.db, account, documentPolicy)
	if err == nil && text == "" {
		err = errRegistryPolicyUnknown(account)
	}
	return text, err
}

// PutRegistryPolicy replaces the policy. It holds for the next request, on every node.
//
// Like ECR it keeps a policy that locks its own author out, for there is no parameter to insist by; the record of the
// change then says so. Errors: SettingInvalid; PolicyInvalid where it names a principal that is not there.
func (k *Control) PutRegistryPolicy(ctx context.Context, c *iam.Caller, account, text string) error {
	const action = "ecr:PutRegistryPolicy"
	if err := k.authorize(ctx, c, action, account); err != nil {
		return err
	}
	p, err := parseRegistryPolicy(text)
	if err != nil {
		return err
	}
	detail := ""
	if reason, err := k.lockedOut(ctx, c, account, p); err != nil {
		return err
	} else if reason != "" {
		detail = "locks its author out: " + reason
		k.l.log.Warn("a registry policy locks its author out", "account", account, "principal", c.Who(), "reason", reason)
	}
	return k.putDocumentNoted(ctx, c, action, account, documentPolicy, text, detail)
}

// DeleteRegistryPolicy deletes the policy and returns it. Errors: RegistryPolicyUnknown.
func (k *Control) DeleteRegistryPolicy(ctx context.Context, c *iam.Caller, account string) (string, error) {
	const action = "ecr:DeleteRegistryPolicy"
	if err := k.authorize(ctx, c, action, account); err != nil {
		return "", err
	}
	return k.deleteDocument(ctx, c, action, account, documentPolicy, errRegistryPolicyUnknown(account))
}

func errRegistryPolicyUnknown(account string) error {
	return errorf(RegistryPolicyUnknown, "Registry policy does not exist in the registry with id '%s'", account)
}

func parseRegistryPolicy(text string) (*policy.Policy, error) {
	const member = "PolicyText" // in capitals in ECR's messages
	if n := len([]rune(text)); n > maxRegistryPolicy {
		return nil, errParameter(member, "Invalid registry policy provided: it has %d characters, at most %d are allowed", n, maxRegistryPolicy)
	}
	p, err := policy.Parse([]byte(text), policy.Resource)
	if err != nil {
		return nil, errParameter(member, "Invalid registry policy provided: %v", err)
	}
	return p, nil
}

// lockedOut returns why c could not change the policy again if it were p, or "" if it could.
func (k *Control) lockedOut(ctx context.Context, c *iam.Caller, account string, p *policy.Policy) (reason string, err error) {
	a, err := k.l.account(ctx, account)
	if err != nil {
		return "", err
	}
	r := iam.Request{Action: "ecr:PutRegistryPolicy", Resource: iam.Resource{ARN: k.j.RegistryARN(account), Account: account}}
	if !a.narrow {
		r.Resource.Policies = []policy.Named{{Name: registryPolicyName, Policy: p}}
	}
	d := k.j.Authorizer.Authorize(ctx, c, &r)
	if d.Allowed || d.Err != nil {
		return "", d.Err
	}
	return d.Reason, nil
}

// registryPolicies returns the policy of an account's registry, if there is one: among those for all actions or, when its
// scope is V1, among those for actions that bring something in.
func (l *Local) registryPolicies(ctx context.Context, account string) (all, bringing []policy.Named, err error) {
	a, err := l.account(ctx, account)
	if err != nil {
		return nil, nil, err
	}
	if a.narrow {
		return nil, a.policy, nil
	}
	return slices.Clip(a.policy), nil, nil
}
