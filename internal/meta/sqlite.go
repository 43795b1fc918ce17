package meta

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
)

// Transaction control on SQLite. The writer takes its lock at the beginning, so that a transaction that has read
// something never finds that it can't write any more.
const (
	stmtBegin      = "BEGIN IMMEDIATE"
	stmtBeginRead  = "BEGIN"
	stmtCommit     = "COMMIT"
	stmtRollback   = "ROLLBACK"
	stmtSavepoint  = "SAVEPOINT u"
	stmtRelease    = "RELEASE u"
	stmtRollbackTo = "ROLLBACK TO u"
	stmtCheckpoint = "PRAGMA wal_checkpoint(PASSIVE)"
)

const (
	busyTimeoutMilli = 10_000
	// maxLogPages is the size of the write-ahead log, in pages of 4 KiB, from which a commit moves it into the database file
	// and the updates behind it wait (some 30 ms). Usually the writer has done that before, when it was idle.
	maxLogPages = 4000
)

// sqliteDSN renders the driver's name for the database file at path. synchronous=FULL makes every commit wait for an
// fsync of the log; the busy timeout covers other processes (backup, command line) that hold a lock for a moment.
func sqliteDSN(path string, pragmas ...string) (string, error) {
	if path == "" {
		return "", fmt.Errorf("meta: sqlite database has no path")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("path of sqlite database: %w", err)
	}
	q := url.Values{"_pragma": append([]string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeoutMilli),
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"fullfsync(ON)", // macOS: as far as the platter; elsewhere nothing
		"checkpoint_fullfsync(ON)",
		"foreign_keys(ON)",
		"temp_store(MEMORY)",
	}, pragmas...)}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}
	return u.String(), nil
}

func openSQLite(ctx context.Context, path string, o Options) (*DB, error) {
	dsn, err := sqliteDSN(path)
	if err != nil {
		return nil, err
	}
	writeDSN, err := sqliteDSN(path, "cache_size(-8192)", fmt.Sprintf("wal_autocheckpoint(%d)", maxLogPages))
	if err != nil {
		return nil, err
	}
	readDSN, err := sqliteDSN(path, "cache_size(-2048)", "query_only(ON)")
	if err != nil {
		return nil, err
	}
	// SQLite gives its log and shared memory the mode of the database, which holds sealed secrets and whatever is private.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	// Migrations don't go through the connections that keep their statements. This one closes last, because closing the
	// only connection would first move a log left by a crash into the database file.
	plain, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("sqlite connector: %w", err)
	}
	migrating := sql.OpenDB(plain)
	defer migrating.Close()
	migrating.SetMaxOpenConns(1)
	if err := migrateSQLite(ctx, migrating, o.Logger); err != nil {
		return nil, err
	}
	connector, err := newSQLiteConnector(readDSN)
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(connector)
	reads := cmp.Or(o.ReadConns, 8)
	pool.SetMaxOpenConns(reads)
	pool.SetMaxIdleConns(reads)
	pool.SetConnMaxIdleTime(5 * time.Minute) // each keeps a cache
	writer, err := newWriter(ctx, writeDSN, o.Logger)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &DB{dialect: SQLite, pool: pool, writer: writer}, nil
}

func viewSQLite(ctx context.Context, pool *sql.DB, fn func(*Tx) error) (err error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, stmtBeginRead); err != nil {
		return fmt.Errorf("begin view: %w", err)
	}
	defer func() {
		if _, rerr := conn.ExecContext(context.WithoutCancel(ctx), stmtRollback); rerr != nil && err == nil {
			err = fmt.Errorf("end view: %w", rerr)
		}
	}()
	return fn(&Tx{dialect: SQLite, q: conn})
}
