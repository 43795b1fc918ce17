package directory

import (
	"context"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
)

func (r *row) policy() *ManagedPolicy {
	return &ManagedPolicy{
		Entity: r.entity(), Description: r.description, DefaultVersion: versionID(r.version), Updated: at(r.updated),
		Attached: r.attachments, Boundaries: r.boundaryAttachs,
	}
}

// CreatePolicy makes a managed policy, with one version.
func (s *Service) CreatePolicy(ctx context.Context, c *iam.Caller, p NewPolicy) (*ManagedPolicy, error) {
	r := &row{kind: KindPolicy, name: p.Name, description: p.Description, version: 1, versions: 1}
	err := s.prepare(r, p.Path, p.Tags)
	if err == nil {
		err = checkDescription(p.Description)
	}
	if err == nil {
		err = s.checkManaged(p.Document)
	}
	if err == nil {
		err = s.create(ctx, c, "iam:CreatePolicy", nil, r, func(tx *meta.Tx) error {
			return insertVersion(ctx, tx, r.id, 1, p.Document, r.created)
		})
	}
	if err != nil {
		return nil, err
	}
	return r.policy(), nil
}

func (s *Service) checkManaged(document string) error {
	if size(document) > maxPolicySize {
		return quota(limit{"PolicySize", maxPolicySize})
	}
	_, err := s.compile(document, policy.Identity)
	return err
}

// Policy returns a managed policy.
func (s *Service) Policy(ctx context.Context, c *iam.Caller, arn string) (*ManagedPolicy, error) {
	c = orNobody(c)
	r, err := s.show(ctx, c, PolicyAt(arn), "iam:GetPolicy")
	if err != nil {
		return nil, err
	}
	n, err := attachments(ctx, s.db, c.Account, arn)
	r.attachments, r.boundaryAttachs = n.permissions, n.boundaries
	return r.policy(), err
}

// policyUses is how many have a managed policy, and how many are limited by it.
type policyUses struct{ permissions, boundaries int }

// attachments counts who has a policy, in an account, or with "" in all.
func attachments(ctx context.Context, q querier, account, arn string) (n policyUses, err error) {
	n.permissions, err = count(ctx, q, `SELECT count(*) FROM attached_policies a JOIN identities i ON i.id = a.identity
		WHERE a.policy = $1 AND (i.account = $2 OR $2 = '')`, arn, account)
	if err == nil {
		n.boundaries, err = count(ctx, q, `SELECT count(*) FROM identities WHERE boundary = $1 AND boundary <> '' AND (account = $2 OR $2 = '')`, arn, account)
	}
	return n, err
}

// DeletePolicy deletes a managed policy that nobody has, and that has only its default version.
func (s *Service) DeletePolicy(ctx context.Context, c *iam.Caller, arn string) error {
	return s.delete(ctx, c, PolicyAt(arn))
}

// Policies lists managed policies: AWS's by name and then the account's by name. [Page.After] is an ARN.
func (s *Service) Policies(ctx context.Context, c *iam.Caller, f PolicyFilter, p Page) ([]ManagedPolicy, bool, error) {
	c = orNobody(c)
	switch f.Scope {
	case "", "All", "AWS", "Local":
	default:
		return nil, false, errf(ValidationError, "1 validation error detected: Value '%s' at 'scope' failed to satisfy constraint: Member must satisfy enum value set: [AWS, All, Local]", f.Scope)
	}
	limit, err := p.limit()
	if err == nil {
		err = checkUsage(f.Usage)
	}
	if err == nil {
		err = checkPathPrefix(f.PathPrefix)
	}
	if err == nil {
		err = s.on(ctx, c, "iam:ListPolicies", "policy/")
	}
	if err != nil {
		return nil, false, err
	}
	var found []row
	afterAccount, afterName, _ := parseARN(KindPolicy, p.After)
	if f.Scope != "Local" && (afterAccount == awsAccount || p.After == "") {
		for _, r := range builtinRows() {
			n, err := attachments(ctx, s.db, c.Account, r.arn())
			if err != nil {
				return nil, false, err
			}
			r.attachments, r.boundaryAttachs = n.permissions, n.boundaries
			if r.name > afterName && f.wants(r) {
				found = append(found, *r)
			}
		}
		afterName = ""
	}
	if f.Scope != "AWS" {
		local, err := s.localPolicies(ctx, c.Account, f, afterName, limit+1)
		if err != nil {
			return nil, false, err
		}
		found = append(found, local...)
	}
	found, more := cut(found, limit)
	return each(found, func(r *row) ManagedPolicy { return *r.policy() }), more, nil
}

func checkUsage(usage string) error {
	if usage != "" && usage != usagePermissions && usage != usageBoundary {
		return errf(ValidationError, "1 validation error detected: Value '%s' at 'policyUsageFilter' failed to satisfy constraint: Member must satisfy enum value set: [PermissionsPolicy, PermissionsBoundary]", usage)
	}
	return nil
}

// How a policy is used, as filters name it.
const (
	usagePermissions = "PermissionsPolicy"
	usageBoundary    = "PermissionsBoundary"
)

func (f *PolicyFilter) wants(r *row) bool {
	if !strings.HasPrefix(r.path, f.PathPrefix) {
		return false
	}
	switch {
	case f.Usage == usagePermissions:
		return r.attachments > 0
	case f.Usage == usageBoundary:
		return r.boundaryAttachs > 0
	case f.OnlyAttached:
		return r.attachments+r.boundaryAttachs > 0
	}
	return true
}

func (s *Service) localPolicies(ctx context.Context, account string, f PolicyFilter, after string, limit int) ([]row, error) {
	const query = `SELECT ` + columns + `, attached, boundaries FROM (SELECT p.*,
			(SELECT count(*) FROM attached_policies a WHERE a.policy = 'arn:aws:iam::' || p.account || ':policy' || p.path || p.name) AS attached,
			(SELECT count(*) FROM identities b WHERE b.boundary <> '' AND b.boundary = 'arn:aws:iam::' || p.account || ':policy' || p.path || p.name) AS boundaries
			FROM identities p WHERE p.account = $1 AND p.kind = 'policy' AND substr(p.path, 1, length($2)) = $2 AND p.folded > $3) AS found
		WHERE $4 = '' OR ($4 = 'PermissionsPolicy' AND attached > 0) OR ($4 = 'PermissionsBoundary' AND boundaries > 0) OR ($4 = 'any' AND attached + boundaries > 0)
		ORDER BY folded LIMIT $5`
	usage := f.Usage
	if usage == "" && f.OnlyAttached {
		usage = "any"
	}
	return collect(ctx, s.db, func(r *row) []any { return append(r.fields(), &r.attachments, &r.boundaryAttachs) }, query,
		account, f.PathPrefix, fold(after), usage, limit)
}

// PolicyEntities lists those in the caller's account who have a managed policy: groups, roles and users, each by name.
// [Page.After] is what [Attachment.Key] returns.
func (s *Service) PolicyEntities(ctx context.Context, c *iam.Caller, arn string, f AttachmentFilter, p Page) ([]Attachment, bool, error) {
	c = orNobody(c)
	limit, err := p.limit()
	if err == nil {
		err = checkUsage(f.Usage)
	}
	if err != nil {
		return nil, false, err
	}
	if f.Kind != "" && !slices.Contains([]Kind{KindUser, KindGroup, KindRole}, f.Kind) {
		return nil, false, errf(ValidationError, "1 validation error detected: Value '%s' at 'entityFilter' is not supported", f.Kind)
	}
	if _, err := s.show(ctx, c, PolicyAt(arn), "iam:ListEntitiesForPolicy"); err != nil {
		return nil, false, err
	}
	rows, err := collect(ctx, s.db, (*row).fields, `SELECT `+columns+` FROM identities i
		WHERE account = $1 AND (kind = $2 OR $2 = '') AND substr(path, 1, length($3)) = $3 AND kind || '/' || folded > $4
		AND (($5 <> 'PermissionsBoundary' AND EXISTS (SELECT 1 FROM attached_policies a WHERE a.identity = i.id AND a.policy = $6))
			OR ($5 <> 'PermissionsPolicy' AND boundary <> '' AND boundary = $6))
		ORDER BY kind, folded LIMIT $7`, c.Account, string(f.Kind), f.PathPrefix, p.After, f.Usage, arn, limit+1)
	rows, more := cut(rows, limit)
	return each(rows, func(r *row) Attachment { return Attachment{r.kind, r.name, r.id} }), more, err
}

// Key is where an attachment stands in a list.
func (a *Attachment) Key() string { return string(a.Kind) + "/" + fold(a.Name) }
