package meta

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// maxBatch bounds the updates of one commit and with it how long the first of them waits for the last. It is far above
// the number of requests that are usually in flight.
const maxBatch = 256

// checkpointAfter is how long the writer is idle before it moves the write-ahead log into the database file, so that this
// rarely has to happen between updates and the log that a restart after a crash must read is short.
const checkpointAfter = time.Second

var (
	errFnExited = errors.New("meta: the function given to Update ended its goroutine")
	errOpenRows = errors.New("meta: the function given to Update left rows open")
)

// writer owns the one connection that writes to SQLite. Its goroutine takes whatever updates wait, runs each of them
// and commits them together: one fsync for all. While it waits for the fsync the next batch gathers.
type writer struct {
	db  *sql.DB // of one connection
	log *slog.Logger

	queue     chan *update // unbuffered: what has been sent has been taken
	closeOnce sync.Once
	closing   chan struct{}
	closed    chan struct{} // closed when the goroutine has ended

	// The rest belongs to the goroutine.
	conn *sql.Conn   // nil after an error that left it unusable
	raw  *sqliteConn // the driver's side of conn
	ran  []*update   // have run in the open transaction and wait for its commit, also those that failed
}

func newWriter(ctx context.Context, dsn string, log *slog.Logger) (*writer, error) {
	connector, err := newSQLiteConnector(dsn)
	if err != nil {
		return nil, err
	}
	w := &writer{
		db:      sql.OpenDB(connector),
		log:     log,
		queue:   make(chan *update),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
	}
	w.db.SetMaxOpenConns(1)
	if err := w.connect(ctx); err != nil {
		w.db.Close()
		return nil, err
	}
	go w.loop()
	return w, nil
}

// close runs what has been accepted, then closes the connection.
func (w *writer) close() error {
	w.closeOnce.Do(func() { close(w.closing) })
	<-w.closed
	return w.db.Close()
}

// loop is the goroutine of the writer.
func (w *writer) loop() {
	finished := false
	defer func() {
		if finished {
			close(w.closed)
		} else {
			go w.loop() // a function called runtime.Goexit, as t.FailNow does; its update has been settled
		}
	}()
	idle := time.NewTimer(checkpointAfter)
	defer idle.Stop()
	for !finished {
		select {
		case u := <-w.queue:
			w.batch(u)
			idle.Reset(checkpointAfter)
		case <-idle.C:
			w.checkpoint()
		case <-w.closing:
			for u := w.next(); u != nil; u = w.next() {
				w.batch(u)
			}
			if w.conn != nil {
				w.conn.Close()
			}
			finished = true
		}
	}
}

// next returns an update that waits, or nil.
func (w *writer) next() *update {
	select {
	case u := <-w.queue:
		return u
	default:
		return nil
	}
}

// batch runs u and the updates that wait behind it in one transaction.
func (w *writer) batch(u *update) {
	defer w.commit()
	for u != nil {
		if u.state.CompareAndSwap(updateWaiting, updateRunning) { // else its caller has gone
			w.run(u)
		}
		if len(w.ran) == maxBatch {
			return
		}
		u = w.next()
	}
}

// run runs u within the open transaction. The first in a transaction needs no savepoint: if it fails there is nothing
// else to lose.
func (w *writer) run(u *update) {
	first := len(w.ran) == 0
	var err error
	if first {
		err = w.begin()
	} else if err = w.exec(stmtSavepoint); err != nil {
		w.abort(err)
	}
	if err != nil {
		u.finish(fmt.Errorf("begin update: %w", err))
		return
	}
	err = errFnExited // stays if fn ends the goroutine
	defer func() { w.settle(u, first, err) }()
	err = u.call(w.conn)
}

// settle keeps or undoes what u did, err being the outcome of its function.
func (w *writer) settle(u *update, first bool, err error) {
	if w.raw.closeRows() && err == nil {
		err = errOpenRows
	}
	if w.raw.broken != nil {
		// SQLite may have rolled back everything, even if fn paid no heed to the error.
		if err == nil {
			err = w.raw.broken
		}
		w.abort(w.raw.broken)
		u.finish(err)
		return
	}
	switch {
	case err == nil && first:
		w.ran = append(w.ran, u)
		return
	case err == nil:
		if err = w.exec(stmtRelease); err == nil {
			w.ran = append(w.ran, u)
			return
		}
		w.abort(err)
	case first:
		w.rollback()
	default:
		serr := w.exec(stmtRollbackTo)
		if serr == nil {
			serr = w.exec(stmtRelease)
		}
		if serr == nil {
			// It may have failed because of what others in this batch did: its caller must not know that before it is true.
			u.err = err
			w.ran = append(w.ran, u)
			return
		}
		w.abort(serr)
	}
	u.finish(err)
}

// commit makes what has run durable and tells its callers.
func (w *writer) commit() {
	if len(w.ran) == 0 {
		return
	}
	if err := w.exec(stmtCommit); err != nil {
		w.abort(fmt.Errorf("commit update: %w", err))
		return
	}
	for _, u := range w.ran {
		u.finish(u.err)
	}
	w.forget()
}

// abort rolls the transaction back, and every update that has run in it fails with err.
func (w *writer) abort(err error) {
	w.rollback()
	for _, u := range w.ran {
		u.finish(err)
	}
	w.forget()
}

func (w *writer) forget() {
	clear(w.ran)
	w.ran = w.ran[:0]
}

// checkpoint moves the write-ahead log into the database file, as far as no reader needs it.
func (w *writer) checkpoint() {
	if w.conn == nil {
		return
	}
	if err := w.exec(stmtCheckpoint); err != nil {
		w.raw.broken = nil
		w.log.Warn("database checkpoint failed", "err", err)
	}
}

func (w *writer) begin() error {
	if w.conn == nil {
		// No caller's context: the connection outlives them all, and opening one waits for nothing but the busy timeout.
		if err := w.connect(context.Background()); err != nil {
			return err
		}
	}
	err := w.exec(stmtBegin)
	if err != nil {
		w.raw.broken = nil
		if !IsBusy(err) {
			w.disconnect()
		}
	}
	return err
}

// rollback ends the transaction. If that fails, most likely because SQLite has already done it, the connection's state
// isn't known and it is dropped.
func (w *writer) rollback() {
	w.raw.broken = nil
	if err := w.exec(stmtRollback); err != nil {
		w.disconnect()
	}
}

func (w *writer) exec(stmt string) error {
	_, err := w.conn.ExecContext(context.Background(), stmt)
	return err
}

func (w *writer) connect(ctx context.Context) error {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open the writing connection: %w", err)
	}
	if err := conn.Raw(func(c any) error { w.raw = c.(*sqliteConn); return nil }); err != nil {
		return fmt.Errorf("open the writing connection: %w", err)
	}
	w.conn = conn
	return nil
}

// disconnect drops the connection; the next transaction opens a new one.
func (w *writer) disconnect() {
	// This error makes database/sql close the connection rather than keep it.
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn })
	w.conn.Close()
	w.conn, w.raw = nil, nil
}
