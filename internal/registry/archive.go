package registry

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/oci"
)

// archivedManifest is the condition on a manifest that it is archived. Collection leaves such manifests alone: they were
// put aside to be kept.
const archivedManifest = `archived_at > activated_at`

// ArchiveImage implements [Registry]. If ref has both, the tag must name the digest. An index and what only it names are
// one image: they go together. Both ways it succeeds where there is nothing to do, because an answer may have been lost.
func (l *Local) ArchiveImage(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference, archive bool) (*Image, error) {
	var r *repository
	var s stale
	var d digest.Digest
	err := l.update(ctx, "change storage class", func(tx *meta.Tx) (err error) {
		s = stale{}
		if r, err = l.repositoryIn(ctx, tx, repo); err != nil {
			return err
		}
		m, err := readManifest(ctx, tx, r, ref)
		if err != nil {
			return err
		}
		if d = m.Digest; ref.Tag != "" && ref.Digest != "" && ref.Digest != d {
			return errManifestUnknown(repo, ref.Tag, ref.Digest)
		}
		detail := string(d) + " STANDARD"
		if archive {
			detail = string(d) + " ARCHIVE"
			err = l.archive(ctx, tx, r, m, &s)
		} else {
			err = activate(ctx, tx, m.id, l.now().UnixMicro(), &s)
		}
		if err != nil {
			return err
		}
		return l.changed(ctx, tx, c, "ecr:UpdateImageStorageClass", repo, detail)
	})
	if err != nil {
		return nil, err
	}
	l.forget(r.id, &s)
	return l.Image(ctx, c, repo, oci.Reference{Digest: d})
}

// archive archives a manifest that no index in use names, and below it what nothing else in use names.
func (l *Local) archive(ctx context.Context, tx *meta.Tx, r *repository, m *Manifest, s *stale) error {
	if err := lockManifestRow(ctx, tx, m.id); err != nil {
		return err
	}
	var index string
	err := tx.QueryRow(ctx, `SELECT p.digest FROM manifests p JOIN manifest_children c ON c.manifest_id = p.id
		WHERE c.child_id = $1 AND NOT p.archived_at > p.activated_at ORDER BY p.digest LIMIT 1`, m.id).Scan(&index)
	switch {
	case err == nil:
		e := errorf(StorageClassKept, "The image %s of the repository '%s' is part of the index %s and can't be archived alone; archive the index", m.Digest, r.Name, index)
		e.Detail = map[string]string{"digest": string(m.Digest), "index": index}
		return e
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	now := l.now().UnixMicro()
	for ids := []int64{m.id}; len(ids) > 0; {
		id := ids[0]
		ids = ids[1:]
		if id != m.id {
			if err := lockManifestRow(ctx, tx, id); err != nil {
				return err
			}
			free, err := nothingNames(ctx, tx, id)
			if err != nil {
				return err
			}
			if !free {
				continue
			}
		}
		moved, err := moveStorage(ctx, tx, `UPDATE manifests SET archived_at = CASE WHEN activated_at >= $2 THEN activated_at + 1 ELSE $2 END
			WHERE id = $1 AND NOT `+archivedManifest+` RETURNING digest, subject`, id, now, s)
		if err != nil {
			return err
		}
		if !moved {
			continue
		}
		children, err := scanAll[int64](tx.Query(ctx, `SELECT child_id FROM manifest_children WHERE manifest_id = $1 ORDER BY child_id`, id))
		if err != nil {
			return err
		}
		ids = append(ids, children...)
	}
	return nil
}

// lockManifestRow has whoever is about to name the manifest wait for this transaction, and see what it did.
func lockManifestRow(ctx context.Context, tx *meta.Tx, id int64) error {
	if tx.Dialect() != meta.PostgreSQL {
		return nil
	}
	_, err := tx.Exec(ctx, `SELECT 1 FROM manifests WHERE id = $1 FOR UPDATE`, id)
	return err
}

// nothingNames reports whether neither a tag nor an index in use names a manifest.
func nothingNames(ctx context.Context, tx *meta.Tx, id int64) (free bool, err error) {
	err = tx.QueryRow(ctx, `SELECT NOT EXISTS (SELECT 1 FROM tags WHERE manifest_id = $1)
		AND NOT EXISTS (SELECT 1 FROM manifest_children c JOIN manifests p ON p.id = c.manifest_id WHERE c.child_id = $1 AND NOT p.archived_at > p.activated_at)`,
		id).Scan(&free)
	return free, err
}

// activate takes a manifest, and what it names, out of the archive: what is in use has nothing archived below it. If nothing
// names it, its time begins anew: it was wanted back.
func activate(ctx context.Context, tx *meta.Tx, manifest, now int64, s *stale) error {
	for ids := []int64{manifest}; len(ids) > 0; {
		id := ids[0]
		ids = ids[1:]
		moved, err := moveStorage(ctx, tx, `UPDATE manifests SET activated_at = CASE WHEN archived_at > $2 THEN archived_at ELSE $2 END,
			untagged_at = CASE WHEN untagged_at > 0 THEN $2 ELSE 0 END WHERE id = $1 AND `+archivedManifest+` RETURNING digest, subject`, id, now, s)
		if err != nil {
			return err
		}
		if !moved && id != manifest {
			continue
		}
		children, err := scanAll[int64](tx.Query(ctx, `SELECT mc.child_id FROM manifest_children mc JOIN manifests m ON m.id = mc.child_id
			WHERE mc.manifest_id = $1 AND m.archived_at > m.activated_at ORDER BY mc.child_id`, id))
		if err != nil {
			return err
		}
		ids = append(ids, children...)
	}
	return nil
}

// moveStorage runs a statement that moves a manifest, notes under what names memory may have it, and reports whether it
// moved.
func moveStorage(ctx context.Context, tx *meta.Tx, q string, id, now int64, s *stale) (bool, error) {
	var d, subject string
	err := tx.QueryRow(ctx, q, id, now).Scan(&d, &subject)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	tags, err := stringsOf(tx.Query(ctx, `SELECT name FROM tags WHERE manifest_id = $1`, id))
	s.refs = append(append(s.refs, d), tags...)
	if subject != "" {
		s.subjects = append(s.subjects, digest.Digest(subject))
	}
	return true, err
}

// Referrer is a manifest that refers to another, as the control plane sees it.
type Referrer struct {
	oci.Descriptor
	Archived bool
}

// ReferrerFilter says which referrers are asked for.
type ReferrerFilter struct {
	ArtifactTypes []string // nil: all
	Active        bool     // those that are not archived
	Archived      bool
}

// ImageReferrers implements [Registry].
func (l *Local) ImageReferrers(ctx context.Context, _ *iam.Caller, repo Repo, d digest.Digest, f ReferrerFilter, page Page) ([]Referrer, bool, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return nil, false, err
	}
	limit := page.limit()
	q := `SELECT descriptor, ` + archivedManifest + ` FROM manifests WHERE repository_id = $1 AND subject = $2 AND subject <> '' AND digest > $3`
	args := []any{r.id, string(d), page.After, limit + 1}
	switch {
	case f.Active && !f.Archived:
		q += ` AND NOT ` + archivedManifest
	case f.Archived && !f.Active:
		q += ` AND ` + archivedManifest
	case !f.Active && !f.Archived:
		return nil, false, nil
	}
	if len(f.ArtifactTypes) > 0 {
		var in []string
		for _, t := range f.ArtifactTypes {
			args = append(args, t)
			in = append(in, "$"+strconv.Itoa(len(args)))
		}
		q += ` AND artifact_type IN (` + strings.Join(in, ", ") + `)`
	}
	rows, err := l.db.Query(ctx, q+` ORDER BY digest LIMIT $4`, args...)
	if err != nil {
		return nil, false, wrap("list referrers", err)
	}
	defer rows.Close()
	var all []Referrer
	for rows.Next() {
		ref, err := scanReferrer(rows)
		if err != nil {
			return nil, false, wrap("list referrers", err)
		}
		all = append(all, ref)
	}
	return slices.Clip(all[:min(len(all), limit)]), len(all) > limit, wrap("list referrers", rows.Err())
}

func scanReferrer(rows *sql.Rows) (Referrer, error) {
	var ref Referrer
	var descriptor string
	if err := rows.Scan(&descriptor, &ref.Archived); err != nil {
		return ref, err
	}
	return ref, decode("descriptor of a referrer", descriptor, &ref.Descriptor)
}
