package registry

import (
	"context"
	"database/sql"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/oci"
)

// DeleteManifest implements [Registry].
func (l *Local) DeleteManifest(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference, o DeleteOptions) (*Manifest, error) {
	var r *repository
	var m *Manifest
	var s stale
	err := l.update(ctx, "delete manifest", func(tx *meta.Tx) (err error) {
		s = stale{}
		if r, err = l.repositoryIn(ctx, tx, repo); err != nil {
			return err
		}
		if ref.Tag != "" && tx.Dialect() == meta.PostgreSQL {
			// Who moves or deletes the tag waits for this, or this for them and then sees what came of it.
			if _, err := tx.Exec(ctx, `SELECT 1 FROM tags WHERE repository_id = $1 AND name = $2 FOR UPDATE`, r.id, ref.Tag); err != nil {
				return err
			}
		}
		if m, err = readManifest(ctx, tx, r, ref); err != nil {
			return err
		}
		now := l.now().UnixMicro()
		detail := string(m.Digest)
		whole := true
		if ref.Tag != "" {
			if o.Digest != "" && o.Digest != m.Digest {
				return errManifestUnknown(repo, ref.Tag, o.Digest)
			}
			detail += " " + ref.Tag
			if whole, err = l.removeTag(ctx, tx, r, m, ref.Tag, o, now, &s); err != nil {
				return err
			}
		}
		if whole {
			if err := removeManifest(ctx, tx, r, m, now, &s); err != nil {
				return err
			}
		}
		return l.changed(ctx, tx, c, "ecr:BatchDeleteImage", repo, detail)
	})
	if err != nil {
		return nil, err
	}
	l.forget(r.id, &s)
	return m, nil
}

// removeTag takes a tag from a manifest, and reports whether the manifest is to go with it.
func (l *Local) removeTag(ctx context.Context, tx *meta.Tx, r *repository, m *Manifest, tag string, o DeleteOptions, now int64, s *stale) (whole bool, err error) {
	if o.LastTagDeletes && tx.Dialect() == meta.PostgreSQL {
		// Who takes another tag of it waits, and then sees that this one is gone.
		if _, err := tx.Exec(ctx, `SELECT 1 FROM manifests WHERE id = $1 FOR UPDATE`, m.id); err != nil {
			return false, err
		}
	}
	if _, err := tx.Exec(ctx, `DELETE FROM tags WHERE repository_id = $1 AND name = $2`, r.id, tag); err != nil {
		return false, err
	}
	s.refs = append(s.refs, tag)
	if whole, err = l.lastTag(ctx, tx, m.id, o); whole || err != nil {
		return whole, err
	}
	return false, untagged(ctx, tx, m.id, now, s)
}

// lastTag reports whether a manifest that just lost a tag is to go with it.
func (l *Local) lastTag(ctx context.Context, tx *meta.Tx, manifest int64, o DeleteOptions) (bool, error) {
	if !o.LastTagDeletes {
		return false, nil
	}
	var named bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM tags WHERE manifest_id = $1) OR EXISTS (SELECT 1 FROM manifest_children WHERE child_id = $1)`, manifest).Scan(&named)
	return !named, err
}

// removeManifest deletes a manifest and the tags that name it. What it needed is free from now on, and stays for the
// grace time of collection; what refers to it counts as untagged from now on.
func removeManifest(ctx context.Context, tx *meta.Tx, r *repository, m *Manifest, now int64, s *stale) error {
	var parent string
	err := tx.QueryRow(ctx, `SELECT p.digest FROM manifests p JOIN manifest_children c ON c.manifest_id = p.id WHERE c.child_id = $1 LIMIT 1`, m.id).Scan(&parent)
	if err == nil {
		e := errorf(Referenced, "the image %s of the repository '%s' is part of the index %s; delete that first", m.Digest, r.Name, parent)
		e.Detail = map[string]string{"digest": string(m.Digest), "index": parent}
		return e
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	blobs, err := stringsOf(tx.Query(ctx, `SELECT b.digest FROM blobs b JOIN manifest_blobs mb ON mb.blob_id = b.id WHERE mb.manifest_id = $1`, m.id))
	if err != nil {
		return err
	}
	children, err := stringsOf(tx.Query(ctx, `UPDATE manifests SET untagged_at = $2 WHERE id IN (SELECT child_id FROM manifest_children WHERE manifest_id = $1)
			AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.manifest_id = manifests.id)
			AND NOT EXISTS (SELECT 1 FROM manifest_children c WHERE c.child_id = manifests.id AND c.manifest_id <> $1) RETURNING digest`, m.id, now))
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE manifests SET untagged_at = $3 WHERE repository_id = $1 AND subject = $2 AND subject <> '' AND untagged_at > 0`,
		r.id, string(m.Digest), now); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE repository_blobs SET touched_at = $2 WHERE (repository_id, blob_id) IN (SELECT repository_id, blob_id FROM manifest_blobs WHERE manifest_id = $1)`,
		m.id, now); err != nil {
		return err
	}
	tags, err := stringsOf(tx.Query(ctx, `DELETE FROM tags WHERE manifest_id = $1 RETURNING name`, m.id))
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM manifests WHERE id = $1`, m.id); err != nil {
		return err
	}
	s.refs = append(append(append(s.refs, string(m.Digest)), tags...), children...)
	for _, d := range blobs {
		s.blobs = append(s.blobs, digest.Digest(d))
	}
	if m.Subject != "" {
		s.subjects = append(s.subjects, m.Subject)
	}
	return nil
}

// stringsOf reads rows of one text column, and closes them.
func stringsOf(rows *sql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

// DeleteBlob implements [Registry].
func (l *Local) DeleteBlob(ctx context.Context, c *iam.Caller, repo Repo, d digest.Digest) error {
	var r *repository
	err := l.update(ctx, "delete blob", func(tx *meta.Tx) (err error) {
		if r, err = l.repositoryIn(ctx, tx, repo); err != nil {
			return err
		}
		b, err := readBlob(ctx, tx, r, d)
		if err != nil {
			return err
		}
		if b.needed {
			e := errorf(Referenced, "the layer %s of the repository '%s' is part of an image; delete the image first", d, repo.Name)
			e.Detail = map[string]string{"digest": string(d)}
			return e
		}
		if _, err := tx.Exec(ctx, `DELETE FROM repository_blobs WHERE repository_id = $1 AND blob_id = $2`, r.id, b.id); err != nil {
			return err
		}
		return l.changed(ctx, tx, c, "ecr:BatchDeleteImage", repo, string(d))
	})
	if err == nil {
		l.forget(r.id, &stale{blobs: []digest.Digest{d}})
	}
	return err
}
