package meta

import (
	"context"
	"database/sql"
)

// Tx is a running transaction, valid only within the function it was given to and on its goroutine.
type Tx struct {
	dialect  Dialect
	q        querier
	detached bool // statements don't watch their context, see Exec
	onCommit []func()
}

// querier is what *sql.Conn and *sql.Tx share.
type querier interface {
	ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row
}

// Dialect tells which database this is.
func (tx *Tx) Dialect() Dialect { return tx.dialect }

// Exec runs a statement that returns no rows. In an Update on SQLite a running statement is not interrupted when ctx
// ends: interrupting a write makes SQLite roll back the whole transaction, which others share.
func (tx *Tx) Exec(ctx context.Context, q string, args ...any) (sql.Result, error) {
	return tx.q.ExecContext(tx.context(ctx), q, args...)
}

// Query runs a statement that returns rows, which must be closed before the next statement: a connection to PostgreSQL
// does one thing at a time.
func (tx *Tx) Query(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	return tx.q.QueryContext(tx.context(ctx), q, args...)
}

// QueryRow runs a statement that returns at most one row.
func (tx *Tx) QueryRow(ctx context.Context, q string, args ...any) *sql.Row {
	return tx.q.QueryRowContext(tx.context(ctx), q, args...)
}

// OnCommit has f run after the transaction is durable and before Update returns, in the order of the calls.
func (tx *Tx) OnCommit(f func()) { tx.onCommit = append(tx.onCommit, f) }

func (tx *Tx) context(ctx context.Context) context.Context {
	if tx.detached && ctx.Done() != nil {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

func (tx *Tx) committed() {
	for _, f := range tx.onCommit {
		f()
	}
}
