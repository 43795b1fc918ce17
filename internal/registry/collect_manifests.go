package registry

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// manifestIdle is the condition on a manifest m under which collection takes it: nothing has named it since $1, also no
// index that was pushed before it, and nobody asked for it since $2. What it begins with is what the index manifests_untagged is made for.
const manifestIdle = `m.untagged_at > 0 AND m.untagged_at < $1
	AND m.pulled_at < $2 AND NOT m.archived_at > m.activated_at
	AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = m.id)
	AND NOT EXISTS (SELECT 1 FROM manifest_children c WHERE c.child_id = m.id)
	AND NOT EXISTS (SELECT 1 FROM manifest_missing mm WHERE mm.repository_id = m.repository_id AND mm.digest = m.digest)
	AND (m.subject = '' OR NOT EXISTS (SELECT 1 FROM manifests s WHERE s.repository_id = m.repository_id AND s.digest = m.subject))`

const (
	// pageManifests is a page of manifests that nothing names, those first that have been so the longest.
	pageManifests = `SELECT m.untagged_at, m.id, m.digest, m.size, r.account, r.name, ` + manifestIdle + `
		FROM (SELECT untagged_at, id, repository_id, digest, size, pulled_at, subject, archived_at, activated_at FROM manifests
			WHERE untagged_at > 0 AND untagged_at < $1 AND (untagged_at, id) > ($3, $4) ORDER BY untagged_at, id LIMIT ` + pageLimit + `) m
		JOIN repositories r ON r.id = m.repository_id ORDER BY m.untagged_at, m.id`
	lockManifest       = `SELECT 1 FROM manifests WHERE id = $1 FOR UPDATE SKIP LOCKED`
	selectIdleManifest = `SELECT m.repository_id, r.name, m.digest, m.subject, m.size FROM manifests m JOIN repositories r ON r.id = m.repository_id
		WHERE ` + manifestIdle + ` AND m.id = $3`
)

// idleManifest is a row of pageManifests.
type idleManifest struct {
	untaggedAt, id int64
	digest         string
	size           int64
	repo           Repo
}

// untaggedAges says how old manifests may get that nothing names.
type untaggedAges struct {
	instance time.Duration            // 0: any
	accounts map[string]time.Duration // those that have their own
	grace    time.Duration
}

func (c *Collector) untaggedAges(ctx context.Context) (*untaggedAges, error) {
	a := &untaggedAges{instance: c.o.UntaggedAge, accounts: map[string]time.Duration{}, grace: c.l.o.Grace}
	rows, err := c.l.db.Query(ctx, `SELECT account, settings FROM registry_settings`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var account, text string
		var s Settings
		if err := rows.Scan(&account, &text); err != nil {
			return nil, err
		}
		if err := decode("registry settings of "+account, text, &s); err != nil {
			return nil, err
		}
		if s.UntaggedDays != 0 {
			a.accounts[account] = max(0, time.Duration(s.UntaggedDays)*24*time.Hour)
		}
	}
	return a, rows.Err()
}

// before returns since when a manifest of an account must have been without a name to go, in Unix microseconds; 0: none goes.
func (a *untaggedAges) before(account string, now time.Time) int64 {
	age, ok := a.accounts[account]
	if !ok {
		age = a.instance
	}
	return a.cutoff(age, now)
}

func (a *untaggedAges) cutoff(age time.Duration, now time.Time) int64 {
	if age == 0 {
		return 0
	}
	return now.Add(-max(age, a.grace)).UnixMicro()
}

// latest returns the latest that before returns for any account.
func (a *untaggedAges) latest(now time.Time) int64 {
	t := a.cutoff(a.instance, now)
	for _, age := range a.accounts {
		t = max(t, a.cutoff(age, now))
	}
	return t
}

// On PostgreSQL two transactions that each take one of a manifest's last two names don't see what the other does, and so
// neither notes that it has none left.
const (
	unnoted       = `m.untagged_at = 0 AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = m.id) AND NOT EXISTS (SELECT 1 FROM manifest_children c WHERE c.child_id = m.id)`
	pageUnnoted   = `SELECT m.id, ` + unnoted + ` FROM (SELECT id, untagged_at FROM manifests WHERE id > $1 ORDER BY id LIMIT ` + pageLimit + `) m ORDER BY m.id`
	updateUnnoted = `UPDATE manifests AS m SET untagged_at = $1 WHERE m.id >= $2 AND m.id <= $3 AND ` + unnoted
)

// note begins the time of manifests that nothing names and of which that was not noted.
func (c *Collector) note(ctx context.Context) error {
	return sweep(ctx, c, 0, func(after int64) ([]row[int64], error) {
		return scanRows[int64](c.l.db.Query(ctx, pageUnnoted, after))
	}, func(rows []row[int64]) error {
		_, err := c.update(ctx, "note untagged manifests", func(tx *meta.Tx) error {
			_, err := tx.Exec(ctx, updateUnnoted, c.l.now().UnixMicro(), rows[0].key, rows[len(rows)-1].key)
			return err
		})
		return err
	})
}

// manifests collects manifests that nothing names.
func (c *Collector) manifests(ctx context.Context, r *CollectReport) error {
	a, err := c.untaggedAges(ctx)
	if err != nil || a.latest(c.l.now()) == 0 {
		return err
	}
	if c.l.db.Dialect() == meta.PostgreSQL {
		if err := c.note(ctx); err != nil {
			return err
		}
	}
	return c.sweepManifests(ctx, a, func(rows []row[idleManifest], before func(account string) int64) error {
		var sizes []int64
		changed := map[int64]*stale{}
		done, err := c.update(ctx, "collect untagged manifests", func(tx *meta.Tx) error {
			clear(changed)
			sizes = sizes[:0]
			for _, row := range rows {
				if !row.idle {
					continue
				}
				size, err := c.removeIdle(ctx, tx, row.key, before(row.key.repo.Account), changed)
				if err != nil {
					return err
				}
				if size >= 0 {
					sizes = append(sizes, size)
				}
			}
			tx.OnCommit(func() {
				for repository, s := range changed {
					c.l.forget(repository, s)
				}
			})
			return nil
		})
		if done {
			for _, n := range sizes {
				r.Manifests.add(n)
			}
		}
		return err
	})
}

// sweepManifests has take called with runs of manifests, the candidates among them marked.
func (c *Collector) sweepManifests(ctx context.Context, a *untaggedAges, take func(rows []row[idleManifest], before func(account string) int64) error) error {
	now := c.l.now()
	before := func(account string) int64 { return a.before(account, now) }
	latest := a.latest(now)
	page := func(after idleManifest) ([]row[idleManifest], error) {
		rows, err := c.l.db.Query(ctx, pageManifests, latest, c.before(c.l.o.Grace), after.untaggedAt, after.id)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		var all []row[idleManifest]
		for rows.Next() {
			var m row[idleManifest]
			k := &m.key
			if err := rows.Scan(&k.untaggedAt, &k.id, &k.digest, &k.size, &k.repo.Account, &k.repo.Name, &m.idle); err != nil {
				return nil, err
			}
			m.idle = m.idle && k.untaggedAt < before(k.repo.Account) && k.repo.Account != "" // that is a deleted repository's
			all = append(all, m)
		}
		return all, rows.Err()
	}
	return sweep(ctx, c, idleManifest{untaggedAt: math.MinInt64}, page, func(rows []row[idleManifest]) error { return take(rows, before) })
}

// removeIdle removes a manifest if it is still a candidate, and returns its size, or else -1.
func (c *Collector) removeIdle(ctx context.Context, tx *meta.Tx, k idleManifest, before int64, changed map[int64]*stale) (int64, error) {
	if tx.Dialect() == meta.PostgreSQL {
		var one int
		err := tx.QueryRow(ctx, lockManifest, k.id).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return -1, nil
		}
		if err != nil {
			return -1, err
		}
	}
	m := &Manifest{id: k.id}
	var r repository
	var size int64
	now := c.l.now()
	err := tx.QueryRow(ctx, selectIdleManifest, before, now.Add(-c.l.o.Grace).UnixMicro(), k.id).Scan(&r.id, &r.Name, &m.Digest, &m.Subject, &size)
	if errors.Is(err, sql.ErrNoRows) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	s := changed[r.id]
	if s == nil {
		s = &stale{}
		changed[r.id] = s
	}
	return size, removeManifest(ctx, tx, &r, m, now.UnixMicro(), s)
}
