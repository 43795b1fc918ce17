package registry

import (
	"context"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// maxPullThroughRules is ECR's limit of pull-through rules of a registry.
const maxPullThroughRules = 50

// PrefixRoot, as a prefix, stands for all repositories.
const PrefixRoot = "ROOT"

// PullThroughRule says which upstream's images appear under which prefix. It is kept; what acts on it is elsewhere.
type PullThroughRule struct {
	Prefix string // of repositories here, or PrefixRoot
	Upstream
	CreatedAt, UpdatedAt time.Time
}

// Upstream is where a rule's images come from.
type Upstream struct {
	URL    string `json:"url"`              // as it was given: a host, or http(s)://host[:port][/path]
	Kind   string `json:"kind,omitempty"`   // of the registries ECR knows, as ECR spells it; empty for others
	Prefix string `json:"prefix,omitempty"` // of repositories there, or PrefixRoot; empty means PrefixRoot
	Access
}

// Access is how a rule gets at its upstream.
type Access struct {
	CredentialARN string `json:"credentialArn,omitempty"` // of a secret
	RoleARN       string `json:"roleArn,omitempty"`       // of a role that is assumed
}

var pullThroughRules = entries{"pull_through_rules"}

func ruleOf(e entry) (*PullThroughRule, error) {
	r := &PullThroughRule{Prefix: e.prefix, CreatedAt: e.createdAt, UpdatedAt: e.updatedAt}
	return r, decode("pull-through cache rule", e.document, &r.Upstream)
}

func errRuleUnknown(account, prefix string) error {
	return errorf(PullThroughRuleUnknown, "The pull through cache rule with repository prefix '%s' does not exist in the registry with id '%s'", prefix, account)
}

// CreatePullThroughRule adds a rule. Who names a role needs iam:PassRole on it. Errors: PullThroughRuleExists,
// UpstreamUnsupported, SettingInvalid, TooManyEntries.
func (k *Control) CreatePullThroughRule(ctx context.Context, c *iam.Caller, account, prefix string, u Upstream) (*PullThroughRule, error) {
	const action = "ecr:CreatePullThroughCacheRule"
	if err := k.authorize(ctx, c, action, account); err != nil {
		return nil, err
	}
	if err := k.checkAccess(ctx, c, account, &u.Access); err != nil {
		return nil, err
	}
	if err := u.resolve(); err != nil {
		return nil, err
	}
	if prefix == PrefixRoot && u.Prefix != "" && u.Prefix != PrefixRoot {
		return nil, errParameter("upstreamRepositoryPrefix", "Upstream repository prefix must be ROOT when the ECR repository prefix is ROOT")
	}
	now := k.l.timeOf()
	e := entry{prefix: prefix, document: encode(u), createdAt: now, updatedAt: now}
	err := k.change(ctx, c, action, account, prefix+" "+u.URL, func(tx *meta.Tx) error {
		return pullThroughRules.insert(ctx, tx, account, e, maxPullThroughRules, "pull through cache rules",
			errorf(PullThroughRuleExists, "The pull through cache rule with repository prefix '%s' already exists in the registry with id '%s'", prefix, account))
	})
	if err != nil {
		return nil, err
	}
	return ruleOf(e)
}

// UpdatePullThroughRule changes how a rule gets at its upstream; what is empty stays. Errors: PullThroughRuleUnknown,
// UpstreamUnsupported, SettingInvalid.
func (k *Control) UpdatePullThroughRule(ctx context.Context, c *iam.Caller, account, prefix string, a Access) (*PullThroughRule, error) {
	const action = "ecr:UpdatePullThroughCacheRule"
	if err := k.authorize(ctx, c, action, account); err != nil {
		return nil, err
	}
	if err := k.checkAccess(ctx, c, account, &a); err != nil {
		return nil, err
	}
	var r *PullThroughRule
	err := k.change(ctx, c, action, account, prefix, func(tx *meta.Tx) error {
		e, err := pullThroughRules.lock(ctx, tx, account, prefix, errRuleUnknown(account, prefix))
		if err != nil {
			return err
		}
		if r, err = ruleOf(e); err != nil {
			return err
		}
		if a.CredentialARN != "" {
			r.CredentialARN = a.CredentialARN
		}
		if a.RoleARN != "" {
			r.RoleARN = a.RoleARN
		}
		if err := r.resolve(); err != nil {
			return err
		}
		e.document, e.updatedAt = encode(r.Upstream), k.l.timeOf()
		r.UpdatedAt = e.updatedAt
		return pullThroughRules.update(ctx, tx, account, e, errRuleUnknown(account, prefix))
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// DeletePullThroughRule deletes a rule and returns it; what it brought stays. Errors: PullThroughRuleUnknown.
func (k *Control) DeletePullThroughRule(ctx context.Context, c *iam.Caller, account, prefix string) (*PullThroughRule, error) {
	const action = "ecr:DeletePullThroughCacheRule"
	if err := k.authorize(ctx, c, action, account); err != nil {
		return nil, err
	}
	var e entry
	err := k.change(ctx, c, action, account, prefix, func(tx *meta.Tx) (err error) {
		if e, err = pullThroughRules.lock(ctx, tx, account, prefix, errRuleUnknown(account, prefix)); err != nil {
			return err
		}
		return pullThroughRules.delete(ctx, tx, account, prefix, errRuleUnknown(account, prefix))
	})
	if err != nil {
		return nil, err
	}
	return ruleOf(e)
}

// PullThroughRules returns the rules with the given prefixes, or, if there are none, a page of all in byte order of their
// prefixes, and whether there are more. Errors: PullThroughRuleUnknown.
func (k *Control) PullThroughRules(ctx context.Context, c *iam.Caller, account string, prefixes []string, page Page) ([]*PullThroughRule, bool, error) {
	if err := k.authorize(ctx, c, "ecr:DescribePullThroughCacheRules", account); err != nil {
		return nil, false, err
	}
	return list(ctx, k.l.db, pullThroughRules, account, prefixes, page, ruleOf, errRuleUnknown)
}

// list returns entries as what they are made into.
func list[T any](ctx context.Context, q reader, t entries, account string, prefixes []string, page Page,
	of func(entry) (T, error), missing func(account, prefix string) error) ([]T, bool, error) {
	var found []entry
	var more bool
	var err error
	for _, prefix := range prefixes {
		e, err := t.get(ctx, q, account, prefix, missing(account, prefix))
		if err != nil {
			return nil, false, err
		}
		found = append(found, e)
	}
	if len(prefixes) == 0 {
		if found, more, err = t.list(ctx, q, account, page); err != nil {
			return nil, false, err
		}
	}
	all := make([]T, len(found))
	for i, e := range found {
		if all[i], err = of(e); err != nil {
			return nil, false, err
		}
	}
	return all, more, nil
}
