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
	if whole {
		i := sort.Search(len(list), func(i int) bool { return list[i].digest > page.After })
		list = list[i:]
	} else {
		list, err = l.readReferrers(ctx, r, d, artifactType, page.After, limit+1)
		if err != nil {
			return nil, err
		}
	}
	var out Referrers
	last, bytes := "", 0
	for _, ref := range list {
		if artifactType != "" && ref.artifactType != artifactType {
			continue
		}
		if bytes += len(ref.descriptor); len(out.Descriptors) == limit || bytes > oci.MaxManifest && last != "" {
			out.Next = last
			break
		}
		out.Descriptors = append(out.Descriptors, []byte(ref.descriptor))
		last = ref.digest
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
	list, err = l.readReferrers(ctx, r, d, "", "", maxRemembered+1)
	if err != nil || len(list) > maxRemembered {
		return nil, false, err
	}
	epoch.keep(n, func() { l.cache.referrers.Set(key, list) })
	return list, true, nil
}

func (l *Local) readReferrers(ctx context.Context, r *repository, d digest.Digest, artifactType, after string, limit int) ([]referrer, error) {
	q := `SELECT digest, artifact_type, descriptor FROM manifests WHERE repository_id = $1 AND subject = $2 AND subject <> '' AND digest > $3 ORDER BY digest LIMIT $4`
	args := []any{r.id, string(d), after, limit}
	if artifactType != "" {
		q = `SELECT digest, artifact_type, descriptor FROM manifests WHERE repository_id = $1 AND subject = $2 AND subject <> '' AND digest > $3 AND artifact_type = $5 ORDER BY digest LIMIT $4`
		args = append(args, artifactType)
	}
	rows, err := l.db.Query(ctx, q, args...)
	if err != nil {
		return nil, wrap("list referrers", err)
	}
	defer rows.Close()
	var list []referrer
	for rows.Next() {
		var ref referrer
		if err := rows.Scan(&ref.digest, &ref.artifactType, &ref.descriptor); err != nil {
			return nil, wrap("list referrers", err)
		}
		list = append(list, ref)
	}
	return list, wrap("list referrers", rows.Err())
}
