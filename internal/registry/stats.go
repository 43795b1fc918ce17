package registry

import (
	"context"
	"sync"
	"time"
)

// Stats is how much a registry holds, over all accounts.
type Stats struct {
	Repositories, Manifests, Blobs int64
	BlobBytes                      int64
}

// statsAge is how old the answer of Stats may be: counting reads an index from end to end.
const statsAge = time.Minute

type statsCache struct {
	mu sync.Mutex
	at time.Time
	s  Stats
}

// Stats returns how much there is; the numbers can be a minute old.
func (l *Local) Stats(ctx context.Context) (Stats, error) {
	l.stats.mu.Lock()
	defer l.stats.mu.Unlock()
	now := l.now()
	if !l.stats.at.IsZero() && now.Sub(l.stats.at) < statsAge {
		return l.stats.s, nil
	}
	var s Stats
	err := l.db.QueryRow(ctx, `SELECT (SELECT COUNT(*) FROM repositories WHERE account <> ''), (SELECT COUNT(*) FROM manifests), COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM blobs`).
		Scan(&s.Repositories, &s.Manifests, &s.Blobs, &s.BlobBytes)
	if err != nil {
		return Stats{}, wrap("count content", err)
	}
	l.stats.at, l.stats.s = now, s
	return s, nil
}
