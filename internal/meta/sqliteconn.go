package meta

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"

	"modernc.org/sqlite"
)

// maxStatements bounds the prepared statements kept by one connection. Statement texts are constants, so this is far
// above what is ever in use; beyond it statements are prepared for one use.
const maxStatements = 512

// sqliteConnector opens connections that keep their prepared statements.
type sqliteConnector struct{ driver.Connector }

func newSQLiteConnector(dsn string) (driver.Connector, error) {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("sqlite connector: %w", err)
	}
	return sqliteConnector{c}, nil
}

func (c sqliteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &sqliteConn{sqliteDriverConn: inner.(sqliteDriverConn), stmts: make(map[string]*sqliteStmt)}, nil
}

// sqliteDriverConn is what the driver's connection offers beyond driver.Conn.
type sqliteDriverConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.SessionResetter
	driver.Validator
}

// sqliteConn is a connection that prepares a statement once, keyed by its text as the caller wrote it: database/sql's
// own *sql.Stmt would add a lock and a search over connections to every call. Like every driver.Conn it is used by
// one goroutine at a time.
type sqliteConn struct {
	sqliteDriverConn
	stmts map[string]*sqliteStmt
	args  []driver.NamedValue // scratch for reordered arguments
	// broken is the error of a statement after which the transaction may be gone (see endsTransaction). While it
	// is set nothing but ROLLBACK runs, because it would be committed at once. The writer clears it.
	broken error
	open   []*sqliteRows // not closed yet
}

type sqliteStmt struct {
	driver.StmtExecContext
	driver.StmtQueryContext
	driver.Stmt
	order   []int // see positional
	inUse   bool  // rows of it are open
	oneShot bool  // not in the cache: closed after use
}

func (c *sqliteConn) stmt(ctx context.Context, q string) (*sqliteStmt, error) {
	if c.broken != nil && q != stmtRollback {
		return nil, c.broken
	}
	cached := c.stmts[q]
	if cached != nil && !cached.inUse {
		return cached, nil
	}
	text, order := positional(q)
	inner, err := c.sqliteDriverConn.PrepareContext(ctx, text)
	if err != nil {
		return nil, c.check(err)
	}
	st := &sqliteStmt{
		StmtExecContext:  inner.(driver.StmtExecContext),
		StmtQueryContext: inner.(driver.StmtQueryContext),
		Stmt:             inner,
		order:            order,
		oneShot:          cached != nil || len(c.stmts) >= maxStatements,
	}
	if !st.oneShot {
		c.stmts[q] = st
	}
	return st, nil
}

// bind puts args into the order in which the statement's placeholders take them.
func (c *sqliteConn) bind(st *sqliteStmt, args []driver.NamedValue) ([]driver.NamedValue, error) {
	if st.order == nil {
		return args, nil
	}
	c.args = c.args[:0]
	for i, from := range st.order {
		if from < 0 || from >= len(args) {
			return nil, fmt.Errorf("statement uses $%d but has %d arguments", from+1, len(args))
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: args[from].Value})
	}
	return c.args, nil
}

// ExecContext implements driver.ExecerContext.
func (c *sqliteConn) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	st, err := c.stmt(ctx, q)
	if err != nil {
		return nil, err
	}
	if st.oneShot {
		defer st.Close()
	}
	if args, err = c.bind(st, args); err != nil {
		return nil, err
	}
	res, err := st.ExecContext(ctx, args)
	return res, c.check(err)
}

// QueryContext implements driver.QueryerContext.
func (c *sqliteConn) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	st, err := c.stmt(ctx, q)
	if err != nil {
		return nil, err
	}
	if args, err = c.bind(st, args); err != nil {
		return nil, err
	}
	rows, err := st.QueryContext(ctx, args)
	if err != nil {
		if st.oneShot {
			st.Close()
		}
		return nil, c.check(err)
	}
	st.inUse = true
	r := &sqliteRows{Rows: rows, conn: c, stmt: st}
	c.open = append(c.open, r)
	return r, nil
}

// check notes an error after which the transaction may be gone.
func (c *sqliteConn) check(err error) error {
	if err != nil && endsTransaction(err) {
		c.broken = err
	}
	return err
}

// ResetSession implements driver.SessionResetter. It is called when a pooled connection is taken into use again.
func (c *sqliteConn) ResetSession(ctx context.Context) error {
	c.broken = nil
	return c.sqliteDriverConn.ResetSession(ctx)
}

// Close implements driver.Conn.
func (c *sqliteConn) Close() error {
	for _, st := range c.stmts {
		st.Close()
	}
	clear(c.stmts)
	return c.sqliteDriverConn.Close()
}

// sqliteRows gives its statement back when it is closed.
type sqliteRows struct {
	driver.Rows
	conn *sqliteConn
	stmt *sqliteStmt
}

// Next gives bytes of length 0 as such, where the driver gives nil: who writes that somewhere else would write NULL.
func (r *sqliteRows) Next(dest []driver.Value) error {
	err := r.conn.check(r.Rows.Next(dest))
	for i, v := range dest {
		if b, ok := v.([]byte); ok && b == nil {
			dest[i] = []byte{}
		}
	}
	return err
}

func (r *sqliteRows) Close() error {
	i := slices.Index(r.conn.open, r)
	if i < 0 {
		return nil // closeRows was first
	}
	r.conn.open = slices.Delete(r.conn.open, i, i+1)
	err := r.Rows.Close()
	r.stmt.inUse = false
	if r.stmt.oneShot {
		r.stmt.Close()
	}
	return r.conn.check(err)
}

// closeRows closes what has been left open and reports whether there was any.
func (c *sqliteConn) closeRows() (any bool) {
	for len(c.open) > 0 {
		c.open[0].Close()
		any = true
	}
	return any
}
