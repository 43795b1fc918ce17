package app

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/httpx"
)

const (
	// readyFor is how long an answer of readiness holds: asking the blob store costs it a write.
	readyFor = time.Second
	// readyWithin is how long the database and the blob store may take.
	readyWithin = 10 * time.Second
)

// health answers /healthz, which is fine while the process answers, and /readyz, which asks the database and the store.
func (in *Instance) health() httpx.Handler {
	r := &readiness{in: in}
	return func(w *httpx.Response, req *http.Request) error {
		w.Event.Operation = "Health"
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			return &httpx.Error{Status: http.StatusMethodNotAllowed, Message: "use GET"}
		}
		if req.URL.Path == "/readyz" {
			if err := r.check(req.Context()); err != nil {
				return err
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, err := w.WriteString("ok\n")
		return err
	}
}

// readiness asks for all who want to know at about the same time.
type readiness struct {
	in *Instance

	mu  sync.Mutex // held while asking
	at  time.Time  // of the last answer; guarded by mu
	err error      // guarded by mu
}

func (r *readiness) check(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.in.now(); r.at.IsZero() || now.Sub(r.at) >= readyFor {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyWithin) // whoever asked may go, the answer is for others too
		defer cancel()
		r.err = r.ask(ctx)
		r.at = r.in.now()
	}
	return r.err
}

func (r *readiness) ask(ctx context.Context) error {
	var one int
	if err := r.in.DB.QueryRow(ctx, `SELECT 1`).Scan(&one); err != nil {
		return &httpx.Error{Status: http.StatusServiceUnavailable, Message: "the metadata database can't be read", Err: err}
	}
	if err := r.in.Blobs.Check(ctx); err != nil {
		return &httpx.Error{Status: http.StatusServiceUnavailable, Message: "the blob store can't be written and read", Err: err}
	}
	return nil
}
