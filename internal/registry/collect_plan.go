package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
)

// CandidateKind says what collection would take.
type CandidateKind string

// The kinds of candidates.
const (
	CandidateRepository CandidateKind = "repository" // a deleted one, with all it has
	CandidateManifest   CandidateKind = "manifest"
	CandidateLink       CandidateKind = "link" // a blob of a repository, which others may have too
	CandidateBlob       CandidateKind = "blob" // a content that no repository has, or would have
	CandidateObject     CandidateKind = "object"
	CandidateOrphan     CandidateKind = "orphan"
	CandidateUpload     CandidateKind = "upload"
)

// Candidate is something that collection would take now.
type Candidate struct {
	Kind     CandidateKind
	Repo     Repo          // of a manifest or link
	Digest   digest.Digest // of a manifest, link or blob
	Location string        // key of an object or orphan, or of a blob that is not inline; id of an upload
	Size     int64         // bytes; of a repository 0
	Reason   string
}

// errStop ends a dry run whose reader has seen enough.
var errStop = errors.New("stop")

// DryRun yields what Run would take now, by the same conditions, and takes nothing. An error is the last thing yielded.
// Where a step depends on one before it, it counts with that: a blob is yielded together with the last of its links. It
// reads while others write, so it says what would have gone at the time it looked.
func (c *Collector) DryRun(ctx context.Context) iter.Seq2[Candidate, error] {
	return func(yield func(Candidate, error) bool) {
		p := &plan{c: newCollector(c.l, c.o), yield: func(k Candidate) error {
			if !yield(k, nil) {
				return errStop
			}
			return nil
		}}
		for _, part := range []func(context.Context) error{p.repositories, p.manifests, p.links, p.blobs, p.objects, p.orphans, p.uploads} {
			err := part(ctx)
			if errors.Is(err, errStop) {
				return
			}
			if err != nil {
				yield(Candidate{}, wrap("dry run of collection", err))
				return
			}
		}
	}
}

// plan is a dry run.
type plan struct {
	c     *Collector
	yield func(Candidate) error
}

func (p *plan) repositories(ctx context.Context) error {
	return p.each(ctx, func(rows *sql.Rows) error {
		var id int64
		var k = Candidate{Kind: CandidateRepository, Reason: "it was deleted"}
		if err := rows.Scan(&id); err != nil {
			return err
		}
		k.Repo.Name = fmt.Sprintf("(deleted, number %d)", id)
		return p.yield(k)
	}, `SELECT id FROM repositories WHERE account = '' ORDER BY id`)
}

func (p *plan) manifests(ctx context.Context) error {
	a, err := p.c.untaggedAges(ctx)
	if err != nil || a.latest(p.c.l.now()) == 0 {
		return err
	}
	return p.c.sweepManifests(ctx, a, func(rows []row[idleManifest], _ func(string) int64) error {
		for _, row := range rows {
			if !row.idle {
				continue
			}
			m := row.key
			err := p.yield(Candidate{Kind: CandidateManifest, Repo: m.repo, Digest: digest.Digest(m.digest), Size: m.size,
				Reason: "no tag and no index has named it since " + timeOf(m.untaggedAt)})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *plan) links(ctx context.Context) error {
	return p.each(ctx, func(rows *sql.Rows) error {
		k := Candidate{Kind: CandidateLink}
		var touched int64
		if err := rows.Scan(&k.Repo.Account, &k.Repo.Name, &k.Digest, &k.Size, &k.Location, &touched); err != nil {
			return err
		}
		k.Reason = "no manifest of the repository needs it and nobody asked for it since " + timeOf(touched)
		return p.yield(k)
	}, `SELECT r.account, r.name, b.digest, b.size, b.location, rb.touched_at FROM repository_blobs rb
		JOIN repositories r ON r.id = rb.repository_id JOIN blobs b ON b.id = rb.blob_id
		WHERE `+linkIdle+` AND r.account <> '' ORDER BY rb.repository_id, rb.blob_id`, p.c.before(p.c.l.o.Grace))
}

// blobs lists the contents that no repository has once the steps before have taken what they would.
func (p *plan) blobs(ctx context.Context) error {
	return p.each(ctx, func(rows *sql.Rows) error {
		k := Candidate{Kind: CandidateBlob, Reason: "no repository has it any more"}
		if err := rows.Scan(&k.Digest, &k.Size, &k.Location); err != nil {
			return err
		}
		return p.yield(k)
	}, `SELECT b.digest, b.size, b.location FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM repository_blobs rb JOIN repositories r ON r.id = rb.repository_id
		WHERE rb.blob_id = b.id AND r.account <> '' AND NOT (`+linkIdle+`)) ORDER BY b.digest`, p.c.before(p.c.l.o.Grace))
}

func (p *plan) objects(ctx context.Context) error {
	now := p.c.l.now().UnixMicro()
	return p.each(ctx, func(rows *sql.Rows) error {
		k := Candidate{Kind: CandidateObject, Reason: "its blob is gone, or it never had one, and the delay is over"}
		if err := rows.Scan(&k.Location, &k.Size); err != nil {
			return err
		}
		return p.yield(k)
	}, `SELECT g.location, g.size FROM garbage g WHERE `+garbageDue+` AND NOT EXISTS (SELECT 1 FROM gc_holds WHERE until > $1) ORDER BY g.delete_at`, now)
}

func (p *plan) orphans(ctx context.Context) error {
	return p.c.sweepOrphans(ctx, func(orphans []blob.Object) error {
		for _, o := range orphans {
			err := p.yield(Candidate{Kind: CandidateOrphan, Location: o.Key, Size: o.Size,
				Reason: fmt.Sprintf("no blob has it, a push did not end; it goes %v after it was first seen so", p.c.o.OrphanDelay)})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *plan) uploads(ctx context.Context) error {
	return p.c.sweepUploads(ctx, func(u blob.Upload) error {
		return p.yield(Candidate{Kind: CandidateUpload, Location: u.ID, Size: u.Size, Reason: "nothing was added since " + u.ModTime.UTC().Format(time.RFC3339)})
	})
}

// each runs f for every row.
func (p *plan) each(ctx context.Context, f func(*sql.Rows) error, q string, args ...any) error {
	rows, err := p.c.l.db.Query(ctx, q, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func timeOf(micros int64) string { return time.UnixMicro(micros).UTC().Format(time.RFC3339) }
