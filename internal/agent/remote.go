package agent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/sekisho/sekisho/internal/agent/rpc"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/agent/work"
)

// remote is the server to a job: what it tells goes to the spool and is sent from there; what it asks is asked until there is an
// answer.
type remote struct {
	client *client
	claim  *agentv1.Claim
	spool  *spool
	every  time.Duration

	wake chan struct{} // there is something to send
	done chan struct{} // the sender has returned
	stop context.CancelFunc

	hurry    chan struct{} // closed when somebody waits for all to be sent
	hurrying sync.Once

	mu      sync.Mutex
	pending map[string]work.Record // guarded by mu; not sent yet, by step
	sent    map[string]int64       // guarded by mu; by log
	full    map[string]bool        // guarded by mu; logs of which the server takes no more
	lost    chan struct{}          // closed when the claim no longer counts
	isLost  bool                   // guarded by mu
	moved   chan struct{}          // guarded by mu; closed and replaced with every progress
	err     error                  // guarded by mu; what the server refused for good
}

const (
	// sendEvery is how often a log that grows is sent: as soon as it does after a pause, and then not more often than this.
	sendEvery = 200 * time.Millisecond
	// maxUnsent is how much of a log waits to be sent, in bytes, before whoever writes it waits too.
	maxUnsent = 256 << 20
)

var _ work.Server = (*remote)(nil)

// newRemote begins to send. resume says that something of the spool may have been sent before.
func newRemote(c *client, claim *agentv1.Claim, s *spool, resume bool) *remote {
	ctx, stop := context.WithCancel(context.Background())
	r := &remote{
		client: c, claim: claim, spool: s, every: sendEvery, wake: make(chan struct{}, 1), hurry: make(chan struct{}), done: make(chan struct{}), stop: stop,
		pending: map[string]work.Record{}, sent: map[string]int64{}, full: map[string]bool{}, lost: make(chan struct{}), moved: make(chan struct{}),
	}
	if resume {
		for _, record := range s.last() {
			r.pending[record.Step] = record
		}
		r.poke()
	}
	go r.send(ctx)
	return r
}

// close stops sending.
func (r *remote) close() {
	r.stop()
	<-r.done
}

func (r *remote) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// send sends what there is until ctx ends or the claim is lost.
func (r *remote) send(ctx context.Context) {
	defer close(r.done)
	pause := time.NewTimer(0)
	defer pause.Stop()
	var b backoff
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.lost:
			return
		case <-r.wake:
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			more, err = r.sendOnce(ctx)
			switch {
			case errors.Is(err, work.ErrClaimLost):
				r.lose()
				return
			case err != nil && ctx.Err() == nil:
				more = b.wait(ctx)
			default:
				b = backoff{}
			}
		}
		select { // what comes now goes together
		case <-time.After(r.every):
		case <-r.hurry:
		case <-ctx.Done():
			return
		}
	}
}

// sendOnce sends all records and a part of a log, of the first one of which something is left: so logs come in the order in which
// they were written, and who follows a job reads it like that. more says that there was something.
func (r *remote) sendOnce(ctx context.Context) (more bool, err error) {
	if err := r.sendBeforeEnd(ctx); err != nil {
		return true, err
	}
	if more, err = r.sendRecords(ctx); err != nil {
		return true, err
	}
	for _, l := range r.spool.all() {
		if sent, err := r.sendLog(ctx, l); sent || err != nil {
			return true, err
		}
	}
	return more, nil
}

// sendBeforeEnd sends what was written up to now if there is a record to send of a step that ended: that is told after its log.
func (r *remote) sendBeforeEnd(ctx context.Context) error {
	r.mu.Lock()
	ended := false
	for _, record := range r.pending {
		ended = ended || record.State == work.Completed
	}
	r.mu.Unlock()
	if !ended {
		return nil
	}
	for _, l := range r.spool.all() {
		for size := r.spool.size(l); ; {
			r.mu.Lock()
			left := r.sent[l.id] < size
			r.mu.Unlock()
			if !left {
				break
			}
			if sent, err := r.sendLog(ctx, l); err != nil {
				return err
			} else if !sent {
				break
			}
		}
	}
	return nil
}

func (r *remote) sendRecords(ctx context.Context) (bool, error) {
	r.mu.Lock()
	batch := make([]work.Record, 0, len(r.pending))
	for _, record := range r.pending {
		batch = append(batch, record)
	}
	r.mu.Unlock()
	if len(batch) == 0 {
		return false, nil
	}
	slices.SortFunc(batch, func(a, b work.Record) int { return int(a.Sequence - b.Sequence) })
	const together = 200
	batch = batch[:min(len(batch), together)]
	text, err := json.Marshal(batch)
	for err == nil && len(text) > rpc.MaxRecords && len(batch) > 1 {
		batch = batch[:len(batch)/2]
		text, err = json.Marshal(batch)
	}
	if err != nil {
		return true, err
	}
	_, err = r.client.Update(ctx, connect.NewRequest(&agentv1.UpdateRequest{Claim: r.claim, Records: text}))
	if err = result(err); err != nil && transient(err) || errors.Is(err, work.ErrClaimLost) {
		return true, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range batch {
		if r.pending[record.Step].Sequence == record.Sequence {
			delete(r.pending, record.Step)
		}
	}
	if err != nil { // it will not be taken the next time either
		r.err = errors.Join(r.err, err)
	}
	r.movedLocked()
	return true, nil
}

func (r *remote) sendLog(ctx context.Context, l *spooled) (bool, error) {
	r.mu.Lock()
	at, full := r.sent[l.id], r.full[l.id]
	r.mu.Unlock()
	if full {
		return false, nil
	}
	data, err := r.spool.read(l, at, rpc.MaxLogChunk)
	if err != nil || len(data) == 0 {
		return false, err
	}
	resp, err := r.client.AppendLog(ctx, connect.NewRequest(&agentv1.AppendLogRequest{Claim: r.claim, Log: l.id, Offset: at, Data: data}))
	err = result(err)
	if err != nil && transient(err) || errors.Is(err, work.ErrClaimLost) {
		return true, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case errors.Is(err, work.ErrLogFull):
		r.full[l.id] = true
	case err != nil:
		r.full[l.id], r.err = true, errors.Join(r.err, err)
	case resp.Msg.GetGap(): // something of it is there from before, or is missing
		r.sent[l.id] = resp.Msg.GetSize()
		if size := r.spool.size(l); resp.Msg.GetSize() > size || resp.Msg.GetSize() == at {
			r.full[l.id], r.err = true, errors.Join(r.err, errors.New("the log "+l.id+" is another one on the server: what is left of it stays here"))
		}
	default:
		r.sent[l.id] = max(at, min(resp.Msg.GetSize(), at+int64(len(data))))
	}
	r.movedLocked()
	return true, nil
}

// movedLocked needs mu.
func (r *remote) movedLocked() {
	close(r.moved)
	r.moved = make(chan struct{})
}

func (r *remote) lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.isLost {
		r.isLost = true
		close(r.lost)
	}
	r.movedLocked()
}

// unsent reports whether there is something that was not sent. It needs mu.
func (r *remote) unsentLocked() bool {
	if len(r.pending) > 0 {
		return true
	}
	for _, l := range r.spool.all() {
		if !r.full[l.id] && r.sent[l.id] < r.spool.size(l) {
			return true
		}
	}
	return false
}

// flush waits until all is sent. Errors: [work.ErrClaimLost], that of ctx, and what the server did not take.
func (r *remote) flush(ctx context.Context) error {
	r.hurrying.Do(func() { close(r.hurry) })
	for {
		r.poke()
		r.mu.Lock()
		unsent, lost, moved, err := r.unsentLocked(), r.isLost, r.moved, r.err
		r.mu.Unlock()
		switch {
		case lost:
			return work.ErrClaimLost
		case !unsent:
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// result turns the error of a call into what a job knows.
func result(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err
	}
	switch e.Code() {
	case connect.CodeAborted:
		return work.ErrClaimLost
	case connect.CodeNotFound:
		return &told{e.Message(), work.ErrNotFound, e}
	case connect.CodeOutOfRange:
		return work.ErrLogFull
	case connect.CodeUnauthenticated:
		if reason(err) == rpc.ReasonUnknown { // nobody's claim counts
			return work.ErrClaimLost
		}
	}
	return &told{e.Message(), nil, e}
}

// told is an error in the words of the server.
type told struct {
	message string
	is      error
	of      *connect.Error
}

func (e *told) Error() string { return e.message }

func (e *told) Unwrap() []error {
	if e.is == nil {
		return []error{e.of}
	}
	return []error{e.is, e.of}
}

// Update implements [work.Server].
func (r *remote) Update(_ context.Context, records []work.Record) error {
	if err := r.spool.keep(records); err != nil {
		return err
	}
	r.mu.Lock()
	lost := r.isLost
	for _, record := range records {
		if before, ok := r.pending[record.Step]; !ok || record.Sequence >= before.Sequence {
			r.pending[record.Step] = record
		}
	}
	r.mu.Unlock()
	if lost {
		return work.ErrClaimLost
	}
	r.poke()
	return nil
}

// AppendLog implements [work.Server].
func (r *remote) AppendLog(ctx context.Context, log string, offset int64, data []byte) (int64, error) {
	l, err := r.spool.log(log)
	if err != nil {
		return 0, err
	}
	for {
		r.mu.Lock()
		lost, full, moved := r.isLost, r.full[log], r.moved
		unsent := r.spool.size(l) - r.sent[log]
		r.mu.Unlock()
		switch {
		case lost:
			return r.spool.size(l), work.ErrClaimLost
		case full:
			return r.spool.size(l), work.ErrLogFull
		}
		if unsent < maxUnsent {
			break
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return r.spool.size(l), ctx.Err()
		}
	}
	size, err := r.spool.add(l, offset, data)
	if err != nil {
		return size, err
	}
	r.poke()
	return size, nil
}
