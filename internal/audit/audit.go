// Package audit is the append-only record of who did or tried what, on what, from
// where, and how it was decided.
//
// Invariants:
//
//   - A change and its entry are one transaction: neither is without the other.
//     [AppendTx] writes it.
//   - Deciding on a request never waits for the record. [Recorder.Record] notes the
//     decision in memory; it is written within [Options.Window], and kill -9 loses at
//     most what was noted since.
//   - Memory is bounded, and nothing is lost in silence: what there was no room for
//     is counted in an entry of kind [Lost], in the log and in [Recorder.LostTotal].
//   - Entries are never changed. They go when they are older than the retention time.
//
// Within a window, identical allowed decisions (same principal and key, action,
// resource, source and endpoint) become one entry with a count and the times of the
// first and the last. Refusals keep an entry each, with their request's id, until
// there are so many that somebody is making them: then they are counted too.
//
// It decides nothing, and knows nothing of registries: actions and resources are text.
package audit

import (
	"context"
	"net/netip"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// Kind says what an entry tells.
type Kind string

// The kinds of entries.
const (
	Access Kind = "access" // it was decided whether the principal may
	Change Kind = "change" // it was done
	Lost   Kind = "lost"   // Count events of other kinds could not be kept
)

// Event is something to record. The text of any field is cut after 1 KiB; a trace of more than [MaxTrace] is left out.
type Event struct {
	Time        time.Time // zero: now
	Principal   string    // ARN
	AccessKeyID string
	Action      string // as in policies: ecr:PutImage
	Resource    string // ARN
	Source      netip.Addr
	Endpoint    string // the private endpoint it came through, if any
	Allowed     bool
	Reason      string // of a refusal: which policy, or that none allows
	Detail      string // of a change: digests, tags
	RequestID   string

	// Explain returns how a refusal came about, as JSON. It is called at most once, and only for refusals that get an entry
	// of their own: that one has it as its trace. Nil for none.
	Explain func() string
}

// Entry is one event, or Count identical ones, as recorded. Of several, Time is the
// last one's and there is no request id.
type Entry struct {
	ID    int64
	Kind  Kind
	First time.Time
	Count int64
	Event
}

const insert = `INSERT INTO audit (kind, first_at, last_at, count, principal, access_key, action, resource, source, endpoint, allowed, reason, detail, request_id, trace)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`

// AppendTx records, in the transaction of a change, that it was made: at now, unless
// e has a time.
func AppendTx(ctx context.Context, tx *meta.Tx, now time.Time, e Event) error {
	if e.Time.IsZero() {
		e.Time = now
	}
	e.Allowed = true
	return appendTx(ctx, tx, &Entry{Kind: Change, First: e.Time, Count: 1, Event: e}, "")
}

func appendTx(ctx context.Context, tx *meta.Tx, e *Entry, trace string) error {
	source := ""
	if e.Source.IsValid() {
		source = e.Source.String()
	}
	allowed := 0
	if e.Allowed {
		allowed = 1
	}
	_, err := tx.Exec(ctx, insert, string(e.Kind), e.First.UnixMicro(), e.Time.UnixMicro(), e.Count,
		clip(e.Principal), clip(e.AccessKeyID), clip(e.Action), clip(e.Resource), source, clip(e.Endpoint), allowed,
		clip(e.Reason), clip(e.Detail), clip(e.RequestID), trace)
	return err
}
