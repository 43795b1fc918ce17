package meta

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// maxAttempts bounds how often an update on PostgreSQL runs when it loses against others.
const maxAttempts = 10

func openPostgreSQL(ctx context.Context, dsn string, o Options) (*DB, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("meta: postgresql database: %w", err) // pgx leaves the password out
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "sekisho"
	}
	pool := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(waitForDisk))
	conns := cmp.Or(o.MaxConns, 24)
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	if err := migratePostgreSQL(ctx, pool, o.Logger); err != nil {
		pool.Close()
		return nil, err
	}
	return &DB{dialect: PostgreSQL, pool: pool}, nil
}

// waitForDisk has commits wait for the disk where the server, the database or the role is set not to: Update promises it.
// Settings that wait for more, such as for a standby, stay.
func waitForDisk(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`)
	return err
}

func viewPostgreSQL(ctx context.Context, pool *sql.DB, fn func(*Tx) error) error {
	sqlTx, err := pool.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin view: %w", err)
	}
	defer sqlTx.Rollback()
	return fn(&Tx{dialect: PostgreSQL, q: sqlTx})
}

func updatePostgreSQL(ctx context.Context, pool *sql.DB, fn func(*Tx) error) error {
	for attempt := 1; ; attempt++ {
		tx, err := tryUpdatePostgreSQL(ctx, pool, fn)
		if err == nil {
			tx.committed()
			return nil
		}
		if attempt == maxAttempts || !lostConflict(err) {
			return err
		}
		// Full jitter: those who collided should not meet again.
		select {
		case <-time.After(rand.N(time.Millisecond << attempt)):
		case <-ctx.Done():
			return err
		}
	}
}

func tryUpdatePostgreSQL(ctx context.Context, pool *sql.DB, fn func(*Tx) error) (*Tx, error) {
	sqlTx, err := pool.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, fmt.Errorf("begin update: %w", err)
	}
	defer sqlTx.Rollback() // nothing after a commit
	tx := &Tx{dialect: PostgreSQL, q: sqlTx}
	if err := fn(tx); err != nil {
		return nil, err
	}
	if err := sqlTx.Commit(); err != nil {
		return nil, fmt.Errorf("commit update: %w", err)
	}
	return tx, nil
}

// lostConflict reports whether PostgreSQL rolled a transaction back in favour of another, so that it can run again.
func lostConflict(err error) bool {
	switch postgresState(err) {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return true
	}
	return false
}
