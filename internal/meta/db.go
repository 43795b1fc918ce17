package meta

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
)

// Dialect is the database behind a DB, for the few statements that can't be the same in both.
type Dialect int

// The dialects.
const (
	SQLite Dialect = iota + 1
	PostgreSQL
)

func (d Dialect) String() string {
	switch d {
	case SQLite:
		return "sqlite"
	case PostgreSQL:
		return "postgresql"
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

// ErrClosed is returned by Update once the DB is closing.
var ErrClosed = errors.New("meta: database is closed")

// Options are the settings of a DB; the zero value is ready to use.
type Options struct {
	// Logger receives migrations and trouble that has no caller to return to. Default: discard.
	Logger *slog.Logger
	// ReadConns bounds the connections that read from SQLite. Default 8.
	ReadConns int
	// MaxConns bounds the connections to PostgreSQL, readers and writers together. Default 24.
	MaxConns int
}

// DB is an open metadata database, safe for concurrent use.
type DB struct {
	dialect Dialect
	pool    *sql.DB // SQLite: read-only connections. PostgreSQL: all connections.
	writer  *writer // SQLite only
	closed  atomic.Bool
}

// Open opens the database named by dsn, "sqlite:/path/meta.db" or "postgres://…", and brings its schema up to date.
// It refuses a database whose schema is newer than this binary.
func Open(ctx context.Context, dsn string, o Options) (*DB, error) {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch scheme {
	case "sqlite":
		return openSQLite(ctx, rest, o)
	case "postgres", "postgresql":
		return openPostgreSQL(ctx, dsn, o)
	}
	// The DSN itself may hold a password and is not repeated.
	return nil, errors.New(`meta: database must be "sqlite:<path>" or "postgres://…"`)
}

// Dialect tells which database this is.
func (db *DB) Dialect() Dialect { return db.dialect }

// Close runs the updates that have been accepted, refuses new ones with ErrClosed and closes the connections.
func (db *DB) Close() error {
	db.closed.Store(true)
	var err error
	if db.writer != nil {
		err = db.writer.close()
	}
	if cerr := db.pool.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("close %s database: %w", db.dialect, err)
	}
	return nil
}

// Query runs a statement that only reads, outside any transaction. The placeholders are $1..$n.
func (db *DB) Query(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	return db.pool.QueryContext(ctx, q, args...)
}

// QueryRow runs a statement that reads at most one row, outside any transaction. It is meant for indexed look-ups:
// on SQLite ctx is only looked at before the start, which saves two goroutines a call.
func (db *DB) QueryRow(ctx context.Context, q string, args ...any) *sql.Row {
	if db.dialect == SQLite && ctx.Err() == nil {
		ctx = context.WithoutCancel(ctx)
	}
	return db.pool.QueryRowContext(ctx, q, args...)
}

// View runs fn in one consistent snapshot of the database. fn can't write. It must use tx only, not db.
func (db *DB) View(ctx context.Context, fn func(*Tx) error) error {
	if db.dialect == PostgreSQL {
		return viewPostgreSQL(ctx, db.pool, fn)
	}
	return viewSQLite(ctx, db.pool, fn)
}

// Update runs fn in a write transaction and returns once it is durable. If fn returns an error, the transaction is
// rolled back and the error returned as it is.
//
// fn must use tx only, never db, and may run more than once (PostgreSQL retries after a serialization failure or
// a deadlock), so it sets the variables around it rather than adding to them. On SQLite it runs on the one
// writing goroutine, in one commit with others: it must be quick and wait for nothing. If ctx ends before fn has begun,
// fn doesn't run.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	if db.closed.Load() {
		return ErrClosed
	}
	if db.dialect == PostgreSQL {
		return updatePostgreSQL(ctx, db.pool, fn)
	}
	return db.writer.update(ctx, fn)
}
