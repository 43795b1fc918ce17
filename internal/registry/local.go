package registry

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"time"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// Defaults and bounds of [Options].
const (
	DefaultInlineLimit  = 16 << 10
	DefaultCacheBytes   = 64 << 20
	DefaultGrace        = 24 * time.Hour
	DefaultUploadExpiry = 24 * time.Hour
	DefaultMaxUploads   = 10_000
	DefaultMaxBlob      = 52_000 << 20 // ECR's limit of a layer
	MaxPage             = 1000         // names on one page of anything
)

// Options of [NewLocal]; zero values mean the defaults above.
type Options struct {
	Logger *slog.Logger
	Now    func() time.Time
	// UploadKey signs upload ids, so that starting an upload needs no write. 32 bytes, the same on every node.
	UploadKey []byte
	// OldUploadKeys are those before, with which ids of uploads that are not finished were signed.
	OldUploadKeys [][]byte
	// InlineLimit: blobs of at most so many bytes are kept in the metadata database; negative: none.
	InlineLimit int64
	// CacheBytes bounds the memory for hot manifests and small blobs.
	CacheBytes int64
	// Grace is how long a blob that nothing needs stays after a client was told that it is there. It is a promise to
	// clients: the same on every node.
	Grace time.Duration
	// UploadExpiry is how long an upload's id is good.
	UploadExpiry time.Duration
	// MaxUploads bounds the unfinished uploads that hold bytes.
	MaxUploads int64
	// MaxBlob bounds one blob's bytes.
	MaxBlob int64
	// Redirect sends readers of large blobs to the blob store itself where it can sign addresses.
	Redirect       bool
	RedirectExpiry time.Duration
	// Settings are those of accounts that have set none.
	Settings Settings
	// Generation counts the changes to who may do what, those to repositories' policies and tags among them. Without one they
	// are read for every decision.
	Generation *iam.Generation
	// UnknownPrincipal returns a principal that a policy names and that is not there, or "". Nil: all are.
	UnknownPrincipal func(ctx context.Context, tx *meta.Tx, document string) (string, error)
	// OnChange runs in the transaction of every change, for what must be true with it: the audit record, jobs.
	OnChange func(ctx context.Context, tx *meta.Tx, ch Change) error
}

// Change is something that was done, in the words of policies.
type Change struct {
	Caller *iam.Caller
	Action string // "ecr:PutImage"
	Repo   Repo
	Detail string // digest, tags
}

// Local is the registry that keeps its content in the metadata database and the blob store.
//
// On SQLite this process is the only writer, so what was read may be answered again from memory until a write of ours
// forgets it. On PostgreSQL other nodes write too: every answer is one indexed read.
type Local struct {
	db      *meta.DB
	store   blob.Store
	presign blob.Presigner // nil where blobs are served by this process
	o       Options
	log     *slog.Logger
	now     func() time.Time
	ids     uploadIDs
	uploads uploadCount
	cache   *cache // nil on PostgreSQL
	guards  guardCache
	pulls   pullLog
	stats   statsCache

	accounts accounts
}

var _ Registry = (*Local)(nil)

// NewLocal returns a registry over db and store. Start begins its background work.
func NewLocal(db *meta.DB, store blob.Store, o Options) (*Local, error) {
	if len(o.UploadKey) < 32 {
		return nil, errors.New("registry: the upload key must have 32 bytes")
	}
	setDefault(&o.InlineLimit, DefaultInlineLimit)
	setDefault(&o.CacheBytes, DefaultCacheBytes)
	setDefault(&o.Grace, DefaultGrace)
	setDefault(&o.UploadExpiry, DefaultUploadExpiry)
	setDefault(&o.MaxUploads, DefaultMaxUploads)
	setDefault(&o.MaxBlob, DefaultMaxBlob)
	setDefault(&o.RedirectExpiry, 20*time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnChange == nil {
		o.OnChange = func(context.Context, *meta.Tx, Change) error { return nil }
	}
	l := &Local{db: db, store: store, o: o, log: o.Logger, now: o.Now, ids: uploadIDs{key: o.UploadKey, old: o.OldUploadKeys, expiry: o.UploadExpiry}}
	if o.Redirect {
		l.presign, _ = store.(blob.Presigner)
	}
	if db.Dialect() == meta.SQLite {
		l.cache = newCache(o.CacheBytes)
	}
	return l, nil
}

func setDefault[T int64 | float64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// reader is what a transaction and the database have in common.
type reader interface {
	Query(ctx context.Context, q string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, q string, args ...any) *sql.Row
}

// repository is a repository's row. It is shared: nothing in it may be changed.
type repository struct {
	id int64
	Repository
}

const selectRepository = `SELECT id, account, name, created_at, settings, tags FROM repositories`

func scanRepository(row interface{ Scan(...any) error }) (*repository, error) {
	var r repository
	var created int64
	var settings, tags string
	if err := row.Scan(&r.id, &r.Account, &r.Name, &created, &settings, &tags); err != nil {
		return nil, err
	}
	r.CreatedAt = time.UnixMicro(created).UTC()
	if err := decode("repository settings", settings, &r.Settings); err != nil {
		return nil, err
	}
	return &r, decode("repository tags", tags, &r.Repository.Tags)
}

// repository finds a repository, in memory where that is allowed.
func (l *Local) repository(ctx context.Context, repo Repo) (*repository, error) {
	if l.cache == nil {
		return l.readRepository(ctx, l.db, repo)
	}
	if r := l.cache.repository(repo); r != nil {
		return r, nil
	}
	epoch := l.cache.repositories.now()
	r, err := l.readRepository(ctx, l.db, repo)
	if err == nil {
		l.cache.keepRepository(epoch, r)
	}
	return r, err
}

func (l *Local) readRepository(ctx context.Context, q reader, repo Repo) (*repository, error) {
	return scanFound(repo, q.QueryRow(ctx, selectRepository+` WHERE account = $1 AND name = $2`, repo.Account, repo.Name))
}

func scanFound(repo Repo, row *sql.Row) (*repository, error) {
	r, err := scanRepository(row)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errRepositoryUnknown(repo)
	}
	return r, wrap("read repository", err)
}

// errAgain is returned by the function given to update when what it builds on was deleted between two of its statements,
// which READ COMMITTED allows.
var errAgain = errors.New("what this builds on was deleted meanwhile")

// update runs fn in a write transaction. A foreign key that fails means that somebody deleted, between our look and our
// write, what we build on: another look tells the client the truth.
func (l *Local) update(ctx context.Context, what string, fn func(*meta.Tx) error) error {
	var err error
	for range 10 {
		if err = l.db.Update(ctx, fn); !meta.IsForeignKey(err) && !errors.Is(err, errAgain) {
			break
		}
	}
	switch {
	case meta.IsFull(err):
		return errFull(err)
	case meta.IsBusy(err), errors.Is(err, errAgain):
		return errBusy(err)
	}
	return wrap(what, err)
}

// wrap adds what was being done, unless the error already speaks to a client.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return &operationError{what, err}
}

type operationError struct {
	what string
	err  error
}

func (e *operationError) Error() string { return e.what + ": " + e.err.Error() }
func (e *operationError) Unwrap() error { return e.err }

func (l *Local) changed(ctx context.Context, tx *meta.Tx, c *iam.Caller, action string, repo Repo, detail string) error {
	return l.o.OnChange(ctx, tx, Change{Caller: c, Action: action, Repo: repo, Detail: detail})
}

func (p Page) limit() int {
	if p.Limit <= 0 || p.Limit > MaxPage {
		return MaxPage
	}
	return p.Limit
}
