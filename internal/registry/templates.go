package registry

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// maxTemplates is how many creation templates a registry has at most.
const maxTemplates = 50

// Occasion is on what a repository is created that nobody creates by hand, as ECR spells it.
type Occasion string

// The occasions.
const (
	OnPush        Occasion = "CREATE_ON_PUSH"
	OnPullThrough Occasion = "PULL_THROUGH_CACHE"
	OnReplication Occasion = "REPLICATION"
)

// Template says how the repositories under a prefix are made that nobody creates by hand.
type Template struct {
	Prefix string // of repository names, up to a slash; or PrefixRoot
	TemplateContent
	CreatedAt, UpdatedAt time.Time
}

// TemplateContent is what a template says.
type TemplateContent struct {
	Description      string             `json:"description,omitempty"`
	AppliedFor       []Occasion         `json:"appliedFor"`
	Settings         RepositorySettings `json:"settings"`
	Tags             map[string]string  `json:"tags,omitempty"`             // resource tags
	RepositoryPolicy string             `json:"repositoryPolicy,omitempty"` // as its author wrote it
	LifecyclePolicy  string             `json:"lifecyclePolicy,omitempty"`  // as its author wrote it
	// RoleARN is the role that ECR would assume to tag and to encrypt. It is kept and nothing is done in its name: this
	// server needs no role to tag its own repositories.
	RoleARN string `json:"roleArn,omitempty"`
}

// TemplateChange changes a template: what is nil stays.
type TemplateChange struct {
	Description                       *string
	AppliedFor                        []Occasion
	EncryptionType, KMSKey            *string
	Mutability                        *Mutability
	MutabilityExclusions              []string
	Tags                              map[string]string
	RepositoryPolicy, LifecyclePolicy *string
	RoleARN                           *string
}

var templates = entries{"creation_templates"}

func templateOf(e entry) (*Template, error) {
	t := &Template{Prefix: e.prefix, CreatedAt: e.createdAt, UpdatedAt: e.updatedAt}
	return t, decode("creation template", e.document, &t.TemplateContent)
}

func errTemplateUnknown(account, prefix string) error {
	return errorf(TemplateUnknown, "The repository creation template with prefix '%s' does not exist in the registry with id '%s'", prefix, account)
}

// CreateTemplate adds a template. Who names a role needs iam:PassRole on it. Errors: TemplateExists, SettingInvalid,
// TooManyTags, TooManyEntries, PolicyInvalid, LifecyclePolicyInvalid.
func (k *Control) CreateTemplate(ctx context.Context, c *iam.Caller, account, prefix string, t TemplateContent) (*Template, error) {
	const action = "ecr:CreateRepositoryCreationTemplate"
	if err := k.authorize(ctx, c, action, account); err != nil {
		return nil, err
	}
	if err := k.checkRole(ctx, c, account, t.RoleARN); err != nil {
		return nil, err
	}
	prefix = trimPrefix(prefix)
	if err := t.check(); err != nil {
		return nil, err
	}
	now := k.l.timeOf()
	e := entry{prefix: prefix, document: encode(t), createdAt: now, updatedAt: now}
	err := k.change(ctx, c, action, account, prefix, func(tx *meta.Tx) error {
		if err := k.l.checkPrincipals(ctx, tx, t.RepositoryPolicy); err != nil {
			return err
		}
		return templates.insert(ctx, tx, account, e, maxTemplates, "repository creation templates",
			errorf(TemplateExists, "The repository creation template with prefix '%s' already exists in the registry with id '%s'", prefix, account))
	})
	if err != nil {
		return nil, err
	}
	return templateOf(e)
}

// UpdateTemplate changes a template, for repositories to come. Errors: TemplateUnknown, SettingInvalid, TooManyTags,
// PolicyInvalid, LifecyclePolicyInvalid.
func (k *Control) UpdateTemplate(ctx context.Context, c *iam.Caller, account, prefix string, change TemplateChange) (*Template, error) {
	const action = "ecr:UpdateRepositoryCreationTemplate"
	if err := k.authorize(ctx, c, action, account); err != nil {
		return nil, err
	}
	if change.RoleARN != nil {
		if err := k.checkRole(ctx, c, account, *change.RoleARN); err != nil {
			return nil, err
		}
	}
	prefix = trimPrefix(prefix)
	var t *Template
	err := k.change(ctx, c, action, account, prefix, func(tx *meta.Tx) error {
		e, err := templates.lock(ctx, tx, account, prefix, errTemplateUnknown(account, prefix))
		if err != nil {
			return err
		}
		if t, err = templateOf(e); err != nil {
			return err
		}
		t.apply(&change)
		if err := t.check(); err != nil {
			return err
		}
		if err := k.l.checkPrincipals(ctx, tx, t.RepositoryPolicy); err != nil {
			return err
		}
		e.document, e.updatedAt = encode(t.TemplateContent), k.l.timeOf()
		t.UpdatedAt = e.updatedAt
		return templates.update(ctx, tx, account, e, errTemplateUnknown(account, prefix))
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *TemplateContent) apply(c *TemplateChange) {
	set := func(to, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&t.Description, c.Description)
	set(&t.RepositoryPolicy, c.RepositoryPolicy)
	set(&t.LifecyclePolicy, c.LifecyclePolicy)
	set(&t.RoleARN, c.RoleARN)
	if c.EncryptionType != nil { // the key goes with it
		t.Settings.EncryptionType, t.Settings.KMSKey = *c.EncryptionType, ""
		set(&t.Settings.KMSKey, c.KMSKey)
	}
	if c.Mutability != nil { // the exclusions go with it
		t.Settings.Mutability, t.Settings.MutabilityExclusions = *c.Mutability, nil
	}
	if c.MutabilityExclusions != nil {
		t.Settings.MutabilityExclusions = c.MutabilityExclusions
	}
	if c.AppliedFor != nil {
		t.AppliedFor = c.AppliedFor
	}
	if c.Tags != nil {
		t.Tags = c.Tags
	}
}

func (t *TemplateContent) check() error {
	if len(t.AppliedFor) == 0 {
		return errParameter("appliedFor", "Template must be applied for at least one of PULL_THROUGH_CACHE, REPLICATION, CREATE_ON_PUSH")
	}
	for i, o := range t.AppliedFor {
		if slices.Contains(t.AppliedFor[:i], o) {
			return errParameter("appliedFor", "%s is in the list twice", o)
		}
	}
	return t.checkContent()
}

// checkContent checks what a repository gets of it.
func (t *TemplateContent) checkContent() error {
	if err := t.Settings.check(); err != nil {
		return err
	}
	if err := checkResourceTags(t.Tags); err != nil {
		return err
	}
	if t.RepositoryPolicy != "" {
		if err := checkRepositoryPolicy(t.RepositoryPolicy); err != nil {
			return err
		}
	}
	if t.LifecyclePolicy != "" {
		return checkLifecyclePolicy(t.LifecyclePolicy)
	}
	return nil
}

// DeleteTemplate deletes a template and returns it. Errors: TemplateUnknown.
func (k *Control) DeleteTemplate(ctx context.Context, c *iam.Caller, account, prefix string) (*Template, error) {
	const action = "ecr:DeleteRepositoryCreationTemplate"
	if err := k.authorize(ctx, c, action, account); err != nil {
		return nil, err
	}
	prefix = trimPrefix(prefix)
	var e entry
	err := k.change(ctx, c, action, account, prefix, func(tx *meta.Tx) (err error) {
		if e, err = templates.lock(ctx, tx, account, prefix, errTemplateUnknown(account, prefix)); err != nil {
			return err
		}
		return templates.delete(ctx, tx, account, prefix, errTemplateUnknown(account, prefix))
	})
	if err != nil {
		return nil, err
	}
	return templateOf(e)
}

// Templates returns the templates with the given prefixes, or, if there are none, a page of all in byte order of their
// prefixes, and whether there are more. Errors: TemplateUnknown.
func (k *Control) Templates(ctx context.Context, c *iam.Caller, account string, prefixes []string, page Page) ([]*Template, bool, error) {
	if err := k.authorize(ctx, c, "ecr:DescribeRepositoryCreationTemplates", account); err != nil {
		return nil, false, err
	}
	for i, p := range prefixes {
		prefixes[i] = trimPrefix(p)
	}
	return list(ctx, k.l.db, templates, account, prefixes, page, templateOf, errTemplateUnknown)
}

// trimPrefix takes the slash off that every prefix is understood to end in (API_CreateRepositoryCreationTemplate,
// "prefix").
func trimPrefix(prefix string) string { return strings.TrimSuffix(prefix, "/") }

// Template returns the template by which a repository is made on an occasion, for the registry's own use: that with the
// longest prefix of those that are for it, and at last ROOT's. Nil if there is none.
func (l *Local) Template(ctx context.Context, repo Repo, on Occasion) (*Template, error) {
	prefixes := []any{repo.Account, PrefixRoot}
	marks := "$2"
	for i, r := range repo.Name {
		if r == '/' {
			prefixes = append(prefixes, repo.Name[:i])
			marks += ", $" + strconv.Itoa(len(prefixes))
		}
	}
	rows, err := l.db.Query(ctx, selectEntry+templates.table+` WHERE account = $1 AND prefix IN (`+marks+`)`, prefixes...)
	if err != nil {
		return nil, wrap("find creation template", err)
	}
	defer rows.Close()
	var best *Template
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, wrap("find creation template", err)
		}
		t, err := templateOf(e)
		if err != nil {
			return nil, wrap("find creation template", err)
		}
		if slices.Contains(t.AppliedFor, on) && (best == nil || best.Prefix == PrefixRoot || t.Prefix != PrefixRoot && len(t.Prefix) > len(best.Prefix)) {
			best = t
		}
	}
	return best, wrap("find creation template", rows.Err())
}
