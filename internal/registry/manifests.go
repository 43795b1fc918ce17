package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/oci"
)

const selectManifest = `SELECT m.id, m.digest, m.media_type, m.artifact_type, m.subject, m.pushed_at, m.pulled_at, m.data FROM manifests m `

func scanManifest(row *sql.Row) (*Manifest, error) {
	var m Manifest
	var pushed, pulled int64
	if err := row.Scan(&m.id, &m.Digest, &m.MediaType, &m.ArtifactType, &m.Subject, &pushed, &pulled, &m.Data); err != nil {
		return nil, err
	}
	m.PushedAt = time.UnixMicro(pushed).UTC()
	m.pulled = &pullMark{}
	m.pulled.Store(pulled)
	return &m, nil
}

// readManifest reads a manifest of a repository by tag or digest.
func readManifest(ctx context.Context, q reader, r *repository, ref oci.Reference) (*Manifest, error) {
	var row *sql.Row
	if ref.Tag != "" {
		row = q.QueryRow(ctx, selectManifest+`JOIN tags t ON t.manifest_id = m.id WHERE t.repository_id = $1 AND t.name = $2`, r.id, ref.Tag)
	} else {
		row = q.QueryRow(ctx, selectManifest+`WHERE m.repository_id = $1 AND m.digest = $2`, r.id, string(ref.Digest))
	}
	m, err := scanManifest(row)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errManifestUnknown(r.Repo, ref.Tag, ref.Digest)
	}
	return m, wrap("read manifest", err)
}

// Manifest implements [Registry].
func (l *Local) Manifest(ctx context.Context, _ *iam.Caller, repo Repo, ref oci.Reference) (*Manifest, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return nil, err
	}
	m, err := l.manifest(ctx, r, ref)
	if err != nil {
		return nil, err
	}
	l.pulls.mark(m, l.now())
	return m, nil
}

func (l *Local) manifest(ctx context.Context, r *repository, ref oci.Reference) (*Manifest, error) {
	if l.cache == nil {
		return readManifest(ctx, l.db, r, ref)
	}
	key := cacheKey{r.id, ref.Tag}
	if ref.Tag == "" {
		key.ref = string(ref.Digest)
	}
	if m, ok := l.cache.manifests.GetIfPresent(key); ok {
		return m, nil
	}
	epoch := l.cache.of(r.id)
	n := epoch.now()
	m, err := readManifest(ctx, l.db, r, ref)
	if err == nil {
		epoch.keep(n, func() { l.cache.manifests.Set(key, m) })
	}
	return m, err
}

// PutManifest implements [Registry].
func (l *Local) PutManifest(ctx context.Context, c *iam.Caller, repo Repo, put ManifestPut) (*Manifest, error) {
	for _, tag := range put.Tags {
		if err := oci.CheckTag(tag); err != nil {
			return nil, errorf(ManifestInvalid, "%v", err)
		}
	}
	algorithm := digest.SHA256
	if put.Digest != "" {
		algorithm = put.Digest.Algorithm()
	}
	d := algorithm.FromBytes(put.Data)
	if put.Digest != "" && put.Digest != d {
		return nil, errorf(DigestMismatch, "the manifest's digest is %s, not %s; was it changed on its way?", d, put.Digest)
	}
	parsed, err := oci.ParseManifest(put.MediaType, put.Data)
	if err != nil {
		return nil, &Error{Kind: ManifestInvalid, Message: err.Error()}
	}
	settings, err := l.Settings(ctx, c, repo.Account)
	if err != nil {
		return nil, err
	}
	m := &Manifest{Digest: d, MediaType: parsed.MediaType, ArtifactType: parsed.ArtifactType, Data: put.Data, PushedAt: l.now().UTC(), pulled: &pullMark{}}
	if parsed.Subject != nil {
		m.Subject = parsed.Subject.Digest
	}
	var r *repository
	err = l.update(ctx, "put manifest", func(tx *meta.Tx) (err error) {
		if r, err = l.repositoryIn(ctx, tx, repo); err != nil {
			return err
		}
		w := manifestWrite{ctx: ctx, tx: tx, r: r, m: m, parsed: parsed, sparse: settings.SparseManifests, now: m.PushedAt.UnixMicro()}
		if err := w.run(put.Tags); err != nil {
			return err
		}
		return l.changed(ctx, tx, c, "ecr:PutImage", repo, strings.Join(append([]string{string(d)}, put.Tags...), " "))
	})
	if err != nil {
		return nil, err
	}
	l.forgetManifests(r.id, d, m.Subject, put.Tags)
	return m, nil
}

// repositoryIn finds a repository for a transaction that changes it.
func (l *Local) repositoryIn(ctx context.Context, tx *meta.Tx, repo Repo) (*repository, error) {
	if l.cache != nil {
		// The only writer sees every change to a repository's row, and drops it from memory.
		if r := l.cache.repository(repo); r != nil {
			return r, nil
		}
	}
	return l.readRepository(ctx, tx, repo)
}

// forgetManifests drops what is remembered under a digest and tags, and the referrers lists of a subject.
func (l *Local) forgetManifests(repository int64, d, subject digest.Digest, tags []string) {
	if l.cache == nil {
		return
	}
	l.cache.of(repository).move(func() {
		l.cache.manifests.Invalidate(cacheKey{repository, string(d)})
		for _, tag := range tags {
			l.cache.manifests.Invalidate(cacheKey{repository, tag})
		}
		if subject != "" {
			l.cache.referrers.Invalidate(cacheKey{repository, string(subject)})
		}
	})
}

// manifestWrite is the part of PutManifest inside the transaction.
type manifestWrite struct {
	ctx    context.Context
	tx     *meta.Tx
	r      *repository
	m      *Manifest
	parsed *oci.Manifest
	sparse bool
	now    int64
}

func (w *manifestWrite) run(tags []string) error {
	if err := w.insert(len(tags) > 0); err != nil {
		return err
	}
	for _, tag := range tags {
		if err := w.tag(tag); err != nil {
			return err
		}
	}
	return nil
}

// insert writes the manifest's row and what it needs, unless it is there.
func (w *manifestWrite) insert(tagged bool) error {
	const find = `SELECT id, pulled_at FROM manifests WHERE repository_id = $1 AND digest = $2`
	var pulled int64
	err := w.tx.QueryRow(w.ctx, find, w.r.id, string(w.m.Digest)).Scan(&w.m.id, &pulled)
	if err == nil {
		w.m.pulled.Store(pulled)
		return nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	blobs, missingBlobs, err := w.blobs()
	if err != nil {
		return err
	}
	children, missingChildren, size, err := w.children()
	if err != nil {
		return err
	}
	descriptor, untagged := "", w.now
	if w.m.Subject != "" {
		descriptor = w.descriptor()
	}
	if tagged {
		untagged = 0
	}
	config := ""
	if w.parsed.Config != nil {
		config = w.parsed.Config.MediaType
	}
	err = w.tx.QueryRow(w.ctx, `INSERT INTO manifests (repository_id, digest, media_type, artifact_type, config_media_type, subject, descriptor,
			content_size, pushed_at, pulled_at, untagged_at, size, data)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, $12) ON CONFLICT (repository_id, digest) DO NOTHING RETURNING id`,
		w.r.id, string(w.m.Digest), w.m.MediaType, w.m.ArtifactType, config, string(w.m.Subject), descriptor,
		w.parsed.Size()+size, w.now, untagged, len(w.m.Data), w.m.Data).Scan(&w.m.id)
	if errors.Is(err, sql.ErrNoRows) { // another node was quicker
		return w.tx.QueryRow(w.ctx, find, w.r.id, string(w.m.Digest)).Scan(&w.m.id, &pulled)
	}
	if err != nil {
		return err
	}
	for _, id := range blobs {
		if _, err := w.tx.Exec(w.ctx, `INSERT INTO manifest_blobs (manifest_id, repository_id, blob_id) VALUES ($1, $2, $3)`, w.m.id, w.r.id, id); err != nil {
			return err
		}
	}
	for _, id := range children {
		if _, err := w.tx.Exec(w.ctx, `INSERT INTO manifest_children (manifest_id, child_id) VALUES ($1, $2)`, w.m.id, id); err != nil {
			return err
		}
		if _, err := w.tx.Exec(w.ctx, `UPDATE manifests SET untagged_at = 0 WHERE id = $1 AND untagged_at <> 0`, id); err != nil {
			return err
		}
	}
	for _, d := range append(missingBlobs, missingChildren...) {
		if _, err := w.tx.Exec(w.ctx, `INSERT INTO manifest_missing (manifest_id, repository_id, digest) VALUES ($1, $2, $3)`, w.m.id, w.r.id, string(d)); err != nil {
			return err
		}
	}
	return nil
}

// blobs finds the blobs the manifest names, each once.
func (w *manifestWrite) blobs() (ids []int64, missing []digest.Digest, err error) {
	seen := map[digest.Digest]bool{}
	var required []digest.Digest
	for _, b := range w.parsed.Blobs {
		if seen[b.Digest] {
			continue
		}
		seen[b.Digest] = true
		var id int64
		err := w.tx.QueryRow(w.ctx, `SELECT b.id FROM blobs b JOIN repository_blobs rb ON rb.blob_id = b.id WHERE b.digest = $1 AND rb.repository_id = $2`,
			string(b.Digest), w.r.id).Scan(&id)
		switch {
		case err == nil:
			ids = append(ids, id)
		case !errors.Is(err, sql.ErrNoRows):
			return nil, nil, err
		default:
			missing = append(missing, b.Digest)
			if b.Distributable() && !w.sparse {
				required = append(required, b.Digest)
			}
		}
	}
	if len(required) > 0 {
		return nil, nil, errMissing(BlobsMissing, w.r.Repo, required)
	}
	return ids, missing, nil
}

// children finds the manifests an index names, each once, and the size of their content.
func (w *manifestWrite) children() (ids []int64, missing []digest.Digest, size int64, err error) {
	seen := map[digest.Digest]bool{}
	for _, child := range w.parsed.Children {
		if seen[child.Digest] {
			continue
		}
		seen[child.Digest] = true
		var id, n int64
		err := w.tx.QueryRow(w.ctx, `SELECT id, content_size FROM manifests WHERE repository_id = $1 AND digest = $2`, w.r.id, string(child.Digest)).Scan(&id, &n)
		switch {
		case err == nil:
			ids = append(ids, id)
			size += n
		case errors.Is(err, sql.ErrNoRows):
			missing = append(missing, child.Digest)
		default:
			return nil, nil, 0, err
		}
	}
	if len(missing) > 0 && !w.sparse {
		return nil, nil, 0, errMissing(ManifestsMissing, w.r.Repo, missing)
	}
	return ids, missing, size, nil
}

// descriptor is the manifest's entry in the referrers list of its subject (distribution-spec, "Listing Referrers").
func (w *manifestWrite) descriptor() string {
	d := oci.Descriptor{MediaType: w.m.MediaType, Digest: w.m.Digest, Size: int64(len(w.m.Data)), ArtifactType: w.m.ArtifactType, Annotations: w.parsed.Annotations}
	b, err := json.Marshal(d)
	if err != nil { // strings, a number and a map of strings: cannot fail
		panic("registry: encode descriptor: " + err.Error())
	}
	return string(b)
}

// tag points a tag at the manifest.
func (w *manifestWrite) tag(name string) error {
	var there int64
	const find = `SELECT manifest_id FROM tags WHERE repository_id = $1 AND name = $2`
	err := w.tx.QueryRow(w.ctx, find, w.r.id, name).Scan(&there)
	if errors.Is(err, sql.ErrNoRows) {
		res, err := w.tx.Exec(w.ctx, `INSERT INTO tags (repository_id, name, manifest_id, pushed_at) VALUES ($1, $2, $3, $4) ON CONFLICT (repository_id, name) DO NOTHING`,
			w.r.id, name, w.m.id, w.now)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return errors.Join(err, w.named())
		}
		err = w.tx.QueryRow(w.ctx, find, w.r.id, name).Scan(&there) // another node was quicker
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if there == w.m.id {
		return nil
	}
	if !w.r.Settings.moveable(name) {
		var d digest.Digest
		if err := w.tx.QueryRow(w.ctx, `SELECT digest FROM manifests WHERE id = $1`, there).Scan(&d); err != nil {
			return err
		}
		return errTagImmutable(w.r.Repo, name, d)
	}
	if _, err := w.tx.Exec(w.ctx, `UPDATE tags SET manifest_id = $1, pushed_at = $2 WHERE repository_id = $3 AND name = $4`, w.m.id, w.now, w.r.id, name); err != nil {
		return err
	}
	if err := untagged(w.ctx, w.tx, there, w.now); err != nil {
		return err
	}
	return w.named()
}

// named notes that something names the manifest.
func (w *manifestWrite) named() error {
	_, err := w.tx.Exec(w.ctx, `UPDATE manifests SET untagged_at = 0 WHERE id = $1 AND untagged_at <> 0`, w.m.id)
	return err
}

// untagged notes since when nothing names a manifest, if nothing does.
func untagged(ctx context.Context, tx *meta.Tx, manifest, now int64) error {
	_, err := tx.Exec(ctx, `UPDATE manifests SET untagged_at = $1 WHERE id = $2 AND untagged_at = 0
		AND NOT EXISTS (SELECT 1 FROM tags WHERE manifest_id = $2) AND NOT EXISTS (SELECT 1 FROM manifest_children WHERE child_id = $2)`, now, manifest)
	return err
}

// pullMark is when a manifest was last pulled, in Unix microseconds.
type pullMark struct{ atomic.Int64 }
