package registry

import (
	"context"

	"github.com/sekisho/sekisho/internal/iam"
)

// Tags implements [Registry].
func (l *Local) Tags(ctx context.Context, _ *iam.Caller, repo Repo, page Page) ([]string, bool, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return nil, false, err
	}
	limit := page.limit()
	names, err := stringsOf(l.db.Query(ctx, `SELECT name FROM tags WHERE repository_id = $1 AND name > $2 ORDER BY name LIMIT $3`, r.id, page.After, limit+1))
	if err != nil {
		return nil, false, wrap("list tags", err)
	}
	return names[:min(len(names), limit)], len(names) > limit, nil
}
