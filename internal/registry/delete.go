package registry

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/oci"
)

// DeleteManifest implements [Registry].
func (l *Local) DeleteManifest(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference, o DeleteOptions) (*Manifest, error) {
	var r *repository
	var m *Manifest
	var tags []string
	var blobs []digest.Digest
	err := l.update(ctx, "delete manifest", func(tx *meta.Tx) (err error) {
		tags, blobs = nil, nil
		if r, err = l.repositoryIn(ctx, tx, repo); err != nil {
			return err
		}
		if m, err = readManifest(ctx, tx, r, ref); err != nil {
			return err
		}
		now := l.now().UnixMicro()
		detail := string(m.Digest)
		if ref.Tag != "" {
			if o.Digest != "" && o.Digest != m.Digest {
				return errManifestUnknown(repo, ref.Tag, o.Digest)
			}
			tags = []string{ref.Tag}
			detail += " " + ref.Tag
			if _, err := tx.Exec(ctx, `DELETE FROM tags WHERE repository_id = $1 AND name = $2`, r.id, ref.Tag); err != nil {
				return err
			}
			last, err := l.lastTag(ctx, tx, m.id, o)
			if err != nil {
				return err
			}
			if !last {
				return errors.Join(untagged(ctx, tx, m.id, now), l.changed(ctx, tx, c, "ecr:BatchDeleteImage", repo, detail))
			}
		}
		if blobs, err = blobsOf(ctx, tx, m.id); err != nil {
			return err
		}
		if tags, err = stringsOf(tx.Query(ctx, `SELECT name FROM tags WHERE manifest_id = $1`, m.id)); err != nil {
			return err
		}
		if ref.Tag != "" {
			tags = append(tags, ref.Tag)
		}
		if err := removeManifest(ctx, tx, r, m, now); err != nil {
			return err
		}
		return l.changed(ctx, tx, c, "ecr:BatchDeleteImage", repo, strings.TrimSpace(detail))
	})
	if err != nil {
		return nil, err
	}
	l.forgetManifests(r.id, m.Digest, m.Subject, tags)
	if l.cache != nil && len(blobs) > 0 {
		l.cache.forgetBlobs(r.id, blobs)
	}
	return m, nil
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
// grace time of collection.
func removeManifest(ctx context.Context, tx *meta.Tx, r *repository, m *Manifest, now int64) error {
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
	for _, q := range []string{
		`UPDATE repository_blobs SET touched_at = $2 WHERE (repository_id, blob_id) IN (SELECT repository_id, blob_id FROM manifest_blobs WHERE manifest_id = $1)`,
		`UPDATE manifests SET untagged_at = $2 WHERE id IN (SELECT child_id FROM manifest_children WHERE manifest_id = $1)
			AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.manifest_id = manifests.id)
			AND NOT EXISTS (SELECT 1 FROM manifest_children c WHERE c.child_id = manifests.id AND c.manifest_id <> $1)`,
	} {
		if _, err := tx.Exec(ctx, q, m.id, now); err != nil {
			return err
		}
	}
	for _, q := range []string{`DELETE FROM tags WHERE manifest_id = $1`, `DELETE FROM manifests WHERE id = $1`} {
		if _, err := tx.Exec(ctx, q, m.id); err != nil {
			return err
		}
	}
	return nil
}

func blobsOf(ctx context.Context, q reader, manifest int64) ([]digest.Digest, error) {
	names, err := stringsOf(q.Query(ctx, `SELECT b.digest FROM blobs b JOIN manifest_blobs mb ON mb.blob_id = b.id WHERE mb.manifest_id = $1`, manifest))
	digests := make([]digest.Digest, len(names))
	for i, n := range names {
		digests[i] = digest.Digest(n)
	}
	return digests, err
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
	if err == nil && l.cache != nil {
		l.cache.forgetBlobs(r.id, []digest.Digest{d})
	}
	return err
}
