package registry

import (
	"context"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// maxExclusions is ECR's limit of pull-time exclusions of a registry.
const maxExclusions = 100

// ExcludePulls makes the pulls of a user or a role, by whatever session, leave the time of the last pull as it is. arn is
// checked for no more than whose it is: principals may be excluded before they are made. Errors: ExclusionExists,
// TooManyEntries.
func (k *Control) ExcludePulls(ctx context.Context, c *iam.Caller, account, arn string) (createdAt time.Time, err error) {
	if err := k.authorize(ctx, c, "ecr:RegisterPullTimeUpdateExclusion", account); err != nil {
		return createdAt, err
	}
	createdAt = k.l.timeOf()
	err = k.change(ctx, c, "ecr:RegisterPullTimeUpdateExclusion", account, arn, func(tx *meta.Tx) error {
		res, err := tx.Exec(ctx, `INSERT INTO pull_time_exclusions (account, principal, created_at) VALUES ($1, $2, $3) ON CONFLICT (account, principal) DO NOTHING`,
			account, arn, createdAt.UnixMicro())
		exists := errorf(ExclusionExists, "The pull time update exclusion for principal '%s' already exists in the registry with id '%s'", arn, account)
		if err := isThere(res, err, exists); err != nil {
			return err
		}
		return underLimit(ctx, tx, "pull_time_exclusions", account, maxExclusions, "pull time update exclusions")
	})
	return createdAt, err
}

// IncludePulls takes an exclusion back. Errors: ExclusionUnknown.
func (k *Control) IncludePulls(ctx context.Context, c *iam.Caller, account, arn string) error {
	if err := k.authorize(ctx, c, "ecr:DeregisterPullTimeUpdateExclusion", account); err != nil {
		return err
	}
	return k.change(ctx, c, "ecr:DeregisterPullTimeUpdateExclusion", account, arn, func(tx *meta.Tx) error {
		res, err := tx.Exec(ctx, `DELETE FROM pull_time_exclusions WHERE account = $1 AND principal = $2`, account, arn)
		return isThere(res, err, errorf(ExclusionUnknown, "The pull time update exclusion for principal '%s' does not exist in the registry with id '%s'", arn, account))
	})
}

// PullExclusions returns the ARNs of the excluded, in byte order, and whether there are more.
func (k *Control) PullExclusions(ctx context.Context, c *iam.Caller, account string, page Page) ([]string, bool, error) {
	if err := k.authorize(ctx, c, "ecr:ListPullTimeUpdateExclusions", account); err != nil {
		return nil, false, err
	}
	limit := page.limit()
	arns, err := stringsOf(k.l.db.Query(ctx, `SELECT principal FROM pull_time_exclusions WHERE account = $1 AND principal > $2 ORDER BY principal LIMIT $3`,
		account, page.After, limit+1))
	return arns[:min(len(arns), limit)], len(arns) > limit, wrap("list pull-time exclusions", err)
}

// noted reports whether a pull by c is to be seen in the time of the last pull. An image counts as pulled if it can't be
// said whether it was: lifecycle rules delete what nobody pulls.
func (l *Local) noted(ctx context.Context, c *iam.Caller, account string) bool {
	if c == nil || (c.Type != iam.User && c.Type != iam.AssumedRole) {
		return true
	}
	a, err := l.recentAccount(ctx, account)
	if err != nil {
		l.log.Warn("it can't be told whose pulls are to be noted; this one is", "account", account, "err", err)
		return true
	}
	if len(a.excluded) == 0 {
		return true
	}
	arn := c.ARN
	if c.Type == iam.AssumedRole {
		arn = c.Role
	}
	return !a.excluded[arn]
}
