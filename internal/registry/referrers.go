package registry

import (
	"context"
	"sort"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/oci"
)

// maxRemembered is the longest referrers list that is kept in memory, whole.
const maxRemembered = 5000

// maxReferrersBytes bounds the descriptors on one page, whose annotations may be large, and of a list in memory.
const maxReferrersBytes = oci.MaxManifest

type referrer struct {
	digest, artifactType, descriptor string
}

// Referrers implements [Registry].
func (l *Local) Referrers(ctx context.Context, _ *iam.Caller, repo Repo, d digest.Digest, artifactType string, page Page) (*Referrers, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return nil, err
	}
	limit := page.limit()
	list, whole, err := l.referrers(ctx, r, d)
	if err != nil {
		return nil, err
	}
	more := false
	if whole {
		i := sort.Search(len(list), func(i int) bool { return list[i].digest > page.After })
		list = list[i:]
	} else if list, more, err = l.readReferrers(ctx, r, d, artifactType, page.After, limit); err != nil {
		return nil, err
	}
	var out Referrers
	last := ""
	for _, ref := range list {
		if artifactType != "" && ref.artifactType != artifactType {
			continue
		}
		if len(out.Descriptors) == limit {
			more = true
			break
		}
		out.Descriptors = append(out.Descriptors, []byte(ref.descriptor))
		last = ref.digest
	}
	if more {
		out.Next = last
	}
	return &out, nil
}

// referrers returns the whole list, from memory if it may be, or whole false if it is too long for that.
func (l *Local) referrers(ctx context.Context, r *repository, d digest.Digest) (list []referrer, whole bool, err error) {
	if l.cache == nil {
		return nil, false, nil
	}
	key := cacheKey{r.id, string(d)}
	if list, ok := l.cache.referrers.GetIfPresent(key); ok {
		return list, true, nil
	}
	epoch := l.cache.of(r.id)
	n := epoch.now()
	list, more, err := l.readReferrers(ctx, r, d, "", "", maxRemembered)
	if err != nil || more {
		return nil, false, err
	}
	epoch.keep(n, func() { l.cache.referrers.Set(key, list) })
	return list, true, nil
}

// readReferrers reads at most limit referrers, or as many as fit in maxReferrersBytes, but one, and says whether there
// are more.
func (l *Local) readReferrers(ctx context.Context, r *repository, d digest.Digest, artifactType, after string, limit int) (list []referrer, more bool, err error) {
	q := `SELECT digest, artifact_type, descriptor FROM manifests WHERE repository_id = $1 AND subject = $2 AND subject <> '' AND digest > $3 AND NOT ` + archivedManifest + ` ORDER BY digest LIMIT $4`
	args := []any{r.id, string(d), after, limit + 1}
	if artifactType != "" {
		q = `SELECT digest, artifact_type, descriptor FROM manifests WHERE repository_id = $1 AND subject = $2 AND subject <> '' AND digest > $3 AND artifact_type = $5 AND NOT ` + archivedManifest + ` ORDER BY digest LIMIT $4`
		args = append(args, artifactType)
	}
	rows, err := l.db.Query(ctx, q, args...)
	if err != nil {
		return nil, false, wrap("list referrers", err)
	}
	defer rows.Close()
	size := 0
	for rows.Next() {
		var ref referrer
		if err := rows.Scan(&ref.digest, &ref.artifactType, &ref.descriptor); err != nil {
			return nil, false, wrap("list referrers", err)
		}
		if size += len(ref.descriptor); len(list) == limit || size > maxReferrersBytes && len(list) > 0 {
			return list, true, nil
		}
		list = append(list, ref)
	}
	return list, false, wrap("list referrers", rows.Err())
}
