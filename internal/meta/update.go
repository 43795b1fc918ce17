package meta

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
)

// update is one call of Update on its way through the writer.
type update struct {
	fn    func(*Tx) error
	state atomic.Int32
	tx    Tx
	err   error         // the outcome
	done  chan struct{} // closed when err is final
}

// The states of an update. Whoever moves it on from waiting decides: the writer, which then runs fn, or the caller, who
// then returns.
const (
	updateWaiting int32 = iota
	updateRunning
	updateCancelled
)

// panicError carries a panic of fn to the goroutine that called Update.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string {
	return fmt.Sprintf("%v\n\nin the function given to Update:\n%s", p.value, p.stack)
}

func (w *writer) update(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	u := &update{fn: fn, done: make(chan struct{})}
	select {
	case w.queue <- u:
	case <-w.closing:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("update: %w", ctx.Err())
	}
	select {
	case <-u.done:
	case <-ctx.Done():
		if u.state.CompareAndSwap(updateWaiting, updateCancelled) {
			return fmt.Errorf("update: %w", ctx.Err())
		}
		<-u.done
	}
	if u.err == nil {
		u.tx.committed()
		return nil
	}
	if p, ok := errors.AsType[*panicError](u.err); ok {
		panic(p)
	}
	if errors.Is(u.err, errFnExited) {
		runtime.Goexit()
	}
	return u.err
}

// call runs fn. A panic becomes an error here and a panic again in Update.
func (u *update) call(conn *sql.Conn) (err error) {
	u.tx = Tx{dialect: SQLite, q: conn, detached: true}
	returned := false
	defer func() {
		u.tx.q = nil // a Tx used too late panics rather than writes into the transaction of another
		if returned {
			return
		}
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	err = u.fn(&u.tx)
	returned = true
	return err
}

func (u *update) finish(err error) {
	u.err = err
	close(u.done)
}
