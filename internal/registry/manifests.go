package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/oci"
)

const selectManifest = `SELECT m.id, m.digest, m.media_type, m.artifact_type, m.subject, m.pushed_at, m.pulled_at, m.untagged_at, m.archived_at > m.activated_at, m.data FROM manifests m `

func scanManifest(row *sql.Row) (*Manifest, error) {
	var m Manifest
	var pushed, pulled, untagged int64
	if err := row.Scan(&m.id, &m.Digest, &m.MediaType, &m.ArtifactType, &m.Subject, &pushed, &pulled, &untagged, &m.archived, &m.Data); err != nil {
		return nil, err
	}
	m.PushedAt = time.UnixMicro(pushed).UTC()
	m.pulled = &pullMark{}
	m.pulled.Store(pulled)
	if untagged > 0 {
		m.idleSince = max(untagged, pulled)
	}
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
func (l *Local) Manifest(ctx context.Context, c *iam.Caller, repo Repo, ref oci.Reference) (*Manifest, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return nil, err
	}
	m, err := l.manifest(ctx, r, ref)
	if err != nil {
		return nil, err
	}
	if m.archived {
		return nil, errArchived(repo, ref)
	}
	now := l.now()
	if m.idleSince > 0 && l.o.Grace > 0 && now.UnixMicro() >= m.idleSince+l.o.Grace.Microseconds()/2 {
		if err := l.touchManifest(ctx, r, m, now.UnixMicro()); err != nil {
			return nil, err
		}
	}
	if l.noted(ctx, c, repo.Account) {
		l.pulls.mark(m, now)
	}
	return m, nil
}

// touchManifest writes down that a client was told that a manifest is there which nothing names, so that collection lets
// the client name it. What a tag or an index names needs no such note; the last-pull times alone are written too late.
func (l *Local) touchManifest(ctx context.Context, r *repository, m *Manifest, now int64) error {
	err := l.update(ctx, "touch manifest", func(tx *meta.Tx) error {
		res, err := tx.Exec(ctx, `UPDATE manifests SET pulled_at = $1 WHERE id = $2`, now, m.id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errManifestUnknown(r.Repo, "", m.Digest))
		}
		return nil
	})
	l.forget(r.id, &stale{refs: []string{string(m.Digest)}})
	if err == nil || errors.Is(err, ErrOf(ManifestUnknown)) {
		return err
	}
	// A database that can't be written to right now is no reason to refuse a pull.
	l.log.Warn("a pull was not written down", "repo", r.Name, "digest", string(m.Digest), "err", err)
	return nil
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
		if _, err := oci.ParseDigest(string(put.Digest)); err != nil {
			return nil, errorf(DigestMismatch, "%v", err)
		}
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
	m := &Manifest{Digest: d, MediaType: parsed.MediaType, ArtifactType: parsed.ArtifactType, Data: put.Data, pulled: &pullMark{}}
	if parsed.Subject != nil {
		m.Subject = parsed.Subject.Digest
	}
	now := l.now().UnixMicro()
	var r *repository
	var w manifestWrite
	err = l.update(ctx, "put manifest", func(tx *meta.Tx) (err error) {
		if r, err = l.repositoryIn(ctx, tx, repo); err != nil {
			return err
		}
		w = manifestWrite{l: l, ctx: ctx, tx: tx, r: r, m: m, parsed: parsed, now: now}
		if err := w.run(put.Tags); err != nil {
			return err
		}
		if put.New && !w.fresh && !w.moved {
			return errImageExists(repo, d, strings.Join(put.Tags, ", "))
		}
		return l.changed(ctx, tx, c, "ecr:PutImage", repo, strings.Join(append([]string{string(d)}, put.Tags...), " "))
	})
	if err != nil {
		return nil, err
	}
	w.stale.refs = append(append(w.stale.refs, string(d)), put.Tags...)
	if m.Subject != "" {
		w.stale.subjects = []digest.Digest{m.Subject}
	}
	l.forget(r.id, &w.stale)
	return m, nil
}

// repositoryIn finds a repository for a transaction that changes it.
func (l *Local) repositoryIn(ctx context.Context, tx *meta.Tx, repo Repo) (*repository, error) {
	if l.cache != nil {
		// The only writer sees every change to a repository's row, and drops it from memory.
		if r := l.cache.repositoryNow(repo); r != nil {
			return r, nil
		}
		return l.readRepository(ctx, tx, repo)
	}
	// A deletion waits for this transaction, or this one for the deletion.
	return scanFound(repo, tx.QueryRow(ctx, selectRepository+` WHERE account = $1 AND name = $2 FOR KEY SHARE`, repo.Account, repo.Name))
}

// manifestWrite is the part of PutManifest inside the transaction.
type manifestWrite struct {
	l      *Local
	ctx    context.Context
	tx     *meta.Tx
	r      *repository
	m      *Manifest
	parsed *oci.Manifest
	now    int64
	fresh  bool // this transaction inserted the manifest
	moved  bool // this transaction moved a tag, or a manifest out of the archive
	stale  stale
}

func (w *manifestWrite) run(tags []string) error {
	if err := w.insert(len(tags) > 0); err != nil {
		return err
	}
	for _, tag := range slices.Sorted(slices.Values(tags)) { // everybody locks them in one order
		if err := w.tag(tag); err != nil {
			return err
		}
	}
	if w.fresh && len(w.parsed.Children) == 0 {
		return nil
	}
	return w.activate() // after it was named: who is archiving it meanwhile has to wait or be waited for
}

// activate takes what was pushed out of the archive.
func (w *manifestWrite) activate() error {
	n := len(w.stale.refs)
	err := activate(w.ctx, w.tx, w.m.id, w.now, &w.stale)
	w.moved = w.moved || len(w.stale.refs) > n
	return err
}

// insert writes the manifest's row and what it needs, unless it is there.
func (w *manifestWrite) insert(tagged bool) error {
	if there, err := w.find(); there || err != nil {
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
	if errors.Is(err, sql.ErrNoRows) {
		return errAgain // another node was quicker
	}
	if err != nil {
		return err
	}
	w.m.PushedAt, w.fresh = time.UnixMicro(w.now).UTC(), true
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

// find looks whether the manifest is there. If nothing names it, its time begins anew: the client may be about to.
func (w *manifestWrite) find() (there bool, err error) {
	var pushed, pulled, untagged int64
	var mediaType string
	err = w.tx.QueryRow(w.ctx, `SELECT id, media_type, pushed_at, pulled_at, untagged_at FROM manifests WHERE repository_id = $1 AND digest = $2`,
		w.r.id, string(w.m.Digest)).Scan(&w.m.id, &mediaType, &pushed, &pulled, &untagged)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	w.m.MediaType, w.m.PushedAt = mediaType, time.UnixMicro(pushed).UTC() // as it was pushed first
	w.m.pulled.Store(pulled)
	if untagged == 0 {
		return true, nil
	}
	res, err := w.tx.Exec(w.ctx, `UPDATE manifests SET untagged_at = $1 WHERE id = $2 AND untagged_at > 0`, w.now, w.m.id)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return false, errors.Join(err, errAgain) // collected, or named
	}
	return true, nil
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
		err := w.tx.QueryRow(w.ctx, `SELECT b.id FROM blobs b JOIN repository_blobs rb ON rb.blob_id = b.id
			WHERE b.digest = $1 AND rb.repository_id = $2 AND `+blobThere,
			string(b.Digest), w.r.id).Scan(&id)
		switch {
		case err == nil:
			ids = append(ids, id)
		case !errors.Is(err, sql.ErrNoRows):
			return nil, nil, err
		default:
			missing = append(missing, b.Digest)
			if b.Distributable() {
				required = append(required, b.Digest)
			}
		}
	}
	return ids, missing, w.refuse(BlobsMissing, required)
}

// refuse refuses the manifest for what is missing, unless its account takes manifests without it.
func (w *manifestWrite) refuse(k Kind, missing []digest.Digest) error {
	if len(missing) == 0 {
		return nil
	}
	s, err := w.l.settingsOf(w.ctx, w.tx, w.r.Account)
	if err != nil || s.SparseManifests {
		return err
	}
	return errMissing(k, w.r.Repo, missing)
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
			if size += n; size < 0 { // clients say how large blobs are, and may say anything
				size = math.MaxInt64
			}
		case errors.Is(err, sql.ErrNoRows):
			missing = append(missing, child.Digest)
		default:
			return nil, nil, 0, err
		}
	}
	slices.Sort(ids) // everybody locks them in one order
	return ids, missing, size, w.refuse(ManifestsMissing, missing)
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
	res, err := w.tx.Exec(w.ctx, `INSERT INTO tags (repository_id, name, manifest_id, pushed_at) VALUES ($1, $2, $3, $4) ON CONFLICT (repository_id, name) DO NOTHING`,
		w.r.id, name, w.m.id, w.now)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		w.moved = true
		return errors.Join(err, w.named())
	}
	find := `SELECT manifest_id FROM tags WHERE repository_id = $1 AND name = $2`
	if w.tx.Dialect() == meta.PostgreSQL {
		find += ` FOR UPDATE` // pushes to one tag come one after another
	}
	var there int64
	err = w.tx.QueryRow(w.ctx, find, w.r.id, name).Scan(&there)
	if errors.Is(err, sql.ErrNoRows) {
		return errAgain // another node deleted it
	}
	if err != nil {
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
	res, err = w.tx.Exec(w.ctx, `UPDATE tags SET manifest_id = $1, pushed_at = $2 WHERE repository_id = $3 AND name = $4 AND manifest_id = $5`,
		w.m.id, w.now, w.r.id, name, there)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, errAgain) // another node moved or deleted it
	}
	w.moved = true
	if err := untagged(w.ctx, w.tx, there, w.now, &w.stale); err != nil {
		return err
	}
	return w.named()
}

// named notes that something names the manifest.
func (w *manifestWrite) named() error {
	if w.fresh {
		return nil // it was inserted with its names
	}
	_, err := w.tx.Exec(w.ctx, `UPDATE manifests SET untagged_at = 0 WHERE id = $1 AND untagged_at <> 0`, w.m.id)
	return err
}

// untagged notes that a manifest lost a name, if it has none left. On PostgreSQL two transactions that each take one of its
// last two names do not see that; collection does.
func untagged(ctx context.Context, tx *meta.Tx, manifest, now int64, s *stale) error {
	var d string
	err := tx.QueryRow(ctx, `UPDATE manifests SET untagged_at = $1 WHERE id = $2
		AND NOT EXISTS (SELECT 1 FROM tags WHERE manifest_id = $2) AND NOT EXISTS (SELECT 1 FROM manifest_children WHERE child_id = $2)
		RETURNING digest`, now, manifest).Scan(&d)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	s.refs = append(s.refs, d)
	return err
}

// pullMark is when a manifest was last pulled, in Unix microseconds.
type pullMark struct{ atomic.Int64 }
