package registry

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// blobRow is a blob as a repository sees it. It is shared: nothing but safeUntil may be changed.
type blobRow struct {
	id int64
	Descriptor
	location  string
	data      []byte
	needed    bool // a manifest of the repository names it
	touchedAt int64
	safeUntil int64 // collection can't take it before; clients may be told that it is there
}

// blobThere is the condition on a blob b that its bytes are not known to be lost, see Fsck.
const blobThere = `(b.location <> '' OR b.data IS NOT NULL)`

const selectBlob = `SELECT b.id, b.digest, b.size, b.location, b.data, rb.touched_at,
		EXISTS (SELECT 1 FROM manifest_blobs mb WHERE mb.repository_id = rb.repository_id AND mb.blob_id = rb.blob_id)
	FROM blobs b JOIN repository_blobs rb ON rb.blob_id = b.id WHERE rb.repository_id = $1 AND b.digest = $2 AND ` + blobThere

func readBlob(ctx context.Context, q reader, r *repository, d digest.Digest) (*blobRow, error) {
	var b blobRow
	err := q.QueryRow(ctx, selectBlob, r.id, string(d)).Scan(&b.id, &b.Digest, &b.Size, &b.location, &b.data, &b.touchedAt, &b.needed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errBlobUnknown(r.Repo, d)
	}
	return &b, wrap("read blob", err)
}

// blob finds a blob for reading.
func (l *Local) blob(ctx context.Context, r *repository, d digest.Digest) (*blobRow, error) {
	if l.cache == nil {
		b, err := readBlob(ctx, l.db, r, d)
		if err == nil {
			b.safeUntil = l.safeUntil(b)
		}
		return b, err
	}
	key := cacheKey{r.id, string(d)}
	if b, ok := l.cache.blobs.GetIfPresent(key); ok {
		return b, nil
	}
	epoch := l.cache.of(r.id)
	n := epoch.now()
	b, err := readBlob(ctx, l.db, r, d)
	if err != nil {
		return nil, err
	}
	b.safeUntil = l.safeUntil(b)
	epoch.keep(n, func() { l.cache.blobs.Set(key, b) })
	return b, nil
}

// safeUntil says until when a client may be told that a blob is there without writing that down: while a manifest needs
// it, and for the first half of the grace time, so that the other half is the client's.
func (l *Local) safeUntil(b *blobRow) int64 {
	if b.needed || l.o.Grace <= 0 {
		return math.MaxInt64
	}
	return b.touchedAt + l.o.Grace.Microseconds()/2
}

// StatBlob implements [Registry].
func (l *Local) StatBlob(ctx context.Context, _ *iam.Caller, repo Repo, d digest.Digest) (Descriptor, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return Descriptor{}, err
	}
	b, err := l.blob(ctx, r, d)
	if err != nil {
		return Descriptor{}, err
	}
	if now := l.now().UnixMicro(); now >= b.safeUntil {
		if err := l.touch(ctx, r, b, now); err != nil {
			return Descriptor{}, err
		}
	}
	return b.Descriptor, nil
}

// touch writes down that a client was told that a blob is there.
func (l *Local) touch(ctx context.Context, r *repository, b *blobRow, now int64) error {
	err := l.update(ctx, "touch blob", func(tx *meta.Tx) error {
		res, err := tx.Exec(ctx, `UPDATE repository_blobs SET touched_at = $1 WHERE repository_id = $2 AND blob_id = $3`, now, r.id, b.id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errBlobUnknown(r.Repo, b.Digest))
		}
		return nil
	})
	l.forget(r.id, &stale{blobs: []digest.Digest{b.Digest}})
	return err
}

// OpenBlob implements [Registry].
func (l *Local) OpenBlob(ctx context.Context, _ *iam.Caller, repo Repo, d digest.Digest) (*Blob, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return nil, err
	}
	b, err := l.blob(ctx, r, d)
	if err != nil {
		return nil, err
	}
	out := &Blob{Descriptor: b.Descriptor}
	switch {
	case b.location == "":
		if out.Data = b.data; out.Data == nil {
			out.Data = []byte{}
		}
	case l.presign != nil:
		out.URL, err = l.presign.PresignGet(ctx, b.location, l.o.RedirectExpiry)
	default:
		out.Content, err = l.store.Open(ctx, b.location)
	}
	if errors.Is(err, blob.ErrNotFound) {
		l.log.Error("the bytes of a blob are missing; run sekisho fsck", "repo", repo.Name, "digest", string(d), "location", b.location)
	}
	if err != nil {
		return nil, wrap("open blob "+string(d), err)
	}
	return out, nil
}

// MountBlob implements [Registry].
func (l *Local) MountBlob(ctx context.Context, c *iam.Caller, repo, from Repo, d digest.Digest) (Descriptor, error) {
	a, err := l.recentAccount(ctx, repo.Account)
	if err != nil {
		return Descriptor{}, err
	}
	if !a.mounting && repo != from {
		return Descriptor{}, errMountingDisabled(from, d)
	}
	var b *blobRow
	err = l.update(ctx, "mount blob", func(tx *meta.Tx) error {
		r, err := l.repositoryIn(ctx, tx, repo)
		if err != nil {
			return err
		}
		source, err := l.repositoryIn(ctx, tx, from)
		if e, ok := errors.AsType[*Error](err); ok && e.Kind == RepositoryUnknown {
			return errBlobUnknown(from, d)
		}
		if err != nil {
			return err
		}
		if b, err = readBlob(ctx, tx, source, d); err != nil {
			return err
		}
		return l.link(ctx, tx, r, d)
	})
	if err != nil {
		return Descriptor{}, err
	}
	return b.Descriptor, nil
}

// link makes the blob with a digest, whose row was there a statement ago, visible in a repository.
func (l *Local) link(ctx context.Context, tx *meta.Tx, r *repository, d digest.Digest) error {
	res, err := tx.Exec(ctx, `INSERT INTO repository_blobs (repository_id, blob_id, touched_at) SELECT $1, id, $2 FROM blobs WHERE digest = $3
		ON CONFLICT (repository_id, blob_id) DO UPDATE SET touched_at = excluded.touched_at`, r.id, l.now().UnixMicro(), string(d))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, errAgain) // collection on another node took the row
	}
	return nil
}

// Holders implements [Registry].
func (l *Local) Holders(ctx context.Context, _ *iam.Caller, account string, d digest.Digest) ([]Repo, error) {
	names, err := stringsOf(l.db.Query(ctx, `SELECT r.name FROM blobs b JOIN repository_blobs rb ON rb.blob_id = b.id
		JOIN repositories r ON r.id = rb.repository_id WHERE b.digest = $1 AND r.account = $2 AND `+blobThere+` ORDER BY r.name LIMIT 100`, string(d), account))
	repos := make([]Repo, len(names))
	for i, n := range names {
		repos[i] = Repo{account, n}
	}
	return repos, wrap("find blob", err)
}
