package directory

import (
	"context"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

func versionID(n int64) string { return "v" + strconv.FormatInt(n, 10) }

// parseVersion returns the number of "v12".
func parseVersion(id string) (int64, error) {
	digits, ok := strings.CutPrefix(id, "v")
	n, err := strconv.ParseInt(digits, 10, 32)
	if !ok || err != nil || n < 1 || versionID(n) != id {
		return 0, errf(ValidationError, "1 validation error detected: Value '%.20s' at 'versionId' failed to satisfy constraint: Member must satisfy regular expression pattern: v[1-9][0-9]*(\\.[A-Za-z0-9-]*)?", id)
	}
	return n, nil
}

// version is a row of policy_versions.
type version struct {
	n        int64
	document string
	created  int64
}

func (v *version) fields() []any { return []any{&v.n, &v.document, &v.created} }

func (v *version) of(r *row) PolicyVersion {
	return PolicyVersion{ID: versionID(v.n), Default: v.n == r.version, Document: v.document, Created: at(v.created)}
}

func insertVersion(ctx context.Context, tx *meta.Tx, id string, n int64, document string, created int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO policy_versions (policy, version, document, created_at) VALUES ($1, $2, $3, $4)`, id, n, document, created)
	return err
}

// versionsOf returns the versions of a policy, the newest first.
func versionsOf(ctx context.Context, q querier, r *row) ([]version, error) {
	if r.account == awsAccount {
		return []version{{r.version, r.document, r.updated}}, nil
	}
	return collect(ctx, q, (*version).fields, `SELECT version, document, created_at FROM policy_versions WHERE policy = $1 ORDER BY version DESC`, r.id)
}

// CreatePolicyVersion gives a policy another document, which is in force at once if it is to be the default.
func (s *Service) CreatePolicyVersion(ctx context.Context, c *iam.Caller, arn, document string, setDefault bool) (*PolicyVersion, error) {
	if err := s.checkManaged(document); err != nil {
		return nil, err
	}
	var made PolicyVersion
	err := s.change(ctx, c, PolicyAt(arn), just("iam:CreatePolicyVersion"), "", func(tx *meta.Tx, r *row) error {
		n, err := count(ctx, tx, `SELECT count(*) FROM policy_versions WHERE policy = $1`, r.id)
		if err != nil {
			return err
		}
		if n >= maxVersions {
			return errf(LimitExceeded, "A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxVersions)
		}
		v := version{r.versions + 1, document, s.o.Now().UnixMicro()}
		if err := insertVersion(ctx, tx, r.id, v.n, v.document, v.created); err != nil {
			return err
		}
		if r.versions = v.n; setDefault {
			r.version = v.n
		}
		made = v.of(r)
		_, err = tx.Exec(ctx, `UPDATE identities SET version = $1, versions = $2, updated_at = $3 WHERE id = $4`, r.version, r.versions, v.created, r.id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &made, nil
}

// PolicyVersion returns a version with its document.
func (s *Service) PolicyVersion(ctx context.Context, c *iam.Caller, arn, id string) (*PolicyVersion, error) {
	n, err := parseVersion(id)
	if err != nil {
		return nil, err
	}
	r, err := s.show(ctx, c, PolicyAt(arn), "iam:GetPolicyVersion")
	if err != nil {
		return nil, err
	}
	all, err := versionsOf(ctx, s.db, r)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].n == n {
			return new(all[i].of(r)), nil
		}
	}
	return nil, noVersion(arn, id)
}

func noVersion(arn, id string) *Error {
	return errf(NoSuchEntity, "Policy %s version %s does not exist or is not attachable.", arn, id)
}

// PolicyVersions lists versions without their documents, the newest first. [Page.After] is an id.
func (s *Service) PolicyVersions(ctx context.Context, c *iam.Caller, arn string, p Page) ([]PolicyVersion, bool, error) {
	limit, err := p.limit()
	if err != nil {
		return nil, false, err
	}
	r, err := s.show(ctx, c, PolicyAt(arn), "iam:ListPolicyVersions")
	if err != nil {
		return nil, false, err
	}
	all, err := versionsOf(ctx, s.db, r)
	if err != nil {
		return nil, false, err
	}
	before, _ := parseVersion(p.After)
	var found []PolicyVersion
	for i := range all {
		if before == 0 || all[i].n < before {
			all[i].document = ""
			found = append(found, all[i].of(r))
		}
	}
	found, more := cut(found, limit)
	return found, more, nil
}

// SetDefaultPolicyVersion puts a version in force.
func (s *Service) SetDefaultPolicyVersion(ctx context.Context, c *iam.Caller, arn, id string) error {
	n, err := parseVersion(id)
	if err != nil {
		return err
	}
	return s.change(ctx, c, PolicyAt(arn), just("iam:SetDefaultPolicyVersion"), id, func(tx *meta.Tx, r *row) error {
		there, err := count(ctx, tx, `SELECT count(*) FROM policy_versions WHERE policy = $1 AND version = $2`, r.id, n)
		if err == nil && there == 0 {
			err = noVersion(arn, id)
		}
		if err == nil {
			_, err = tx.Exec(ctx, `UPDATE identities SET version = $1, updated_at = $2 WHERE id = $3`, n, s.o.Now().UnixMicro(), r.id)
		}
		return err
	})
}

// DeletePolicyVersion deletes a version that is not the default.
func (s *Service) DeletePolicyVersion(ctx context.Context, c *iam.Caller, arn, id string) error {
	n, err := parseVersion(id)
	if err != nil {
		return err
	}
	return s.change(ctx, c, PolicyAt(arn), just("iam:DeletePolicyVersion"), id, func(tx *meta.Tx, r *row) error {
		if n == r.version {
			return errf(DeleteConflict, "Cannot delete the default version of a policy.")
		}
		gone, err := affected(tx.Exec(ctx, `DELETE FROM policy_versions WHERE policy = $1 AND version = $2`, r.id, n))
		if err == nil && gone == 0 {
			err = noVersion(arn, id)
		}
		return err
	})
}
