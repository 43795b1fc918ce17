package audit

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// Filter says which entries to find; zero fields do not restrict.
type Filter struct {
	RequestID string
	Principal string
	Action    string
	Resource  string
	Refused   bool      // only refusals
	Since     time.Time // of the last event of an entry
	Until     time.Time // exclusive
}

// Page is a part of what is found.
type Page struct {
	Limit int    // at most, and by default, MaxPage
	After Cursor // of the last entry of the page before
}

// MaxPage is the most entries a page has.
const MaxPage = 1000

// Cursor is the place of an entry in the record. The zero value is before the newest.
type Cursor struct{ time, id int64 }

// Cursor returns the place of e.
func (e *Entry) Cursor() Cursor { return Cursor{e.Time.UnixMicro(), e.ID} }

// One statement for each index that can carry it; the other conditions only filter.
const (
	selectEntries = `SELECT id, kind, first_at, last_at, count, principal, access_key, action, resource, source, endpoint, allowed, reason, detail, request_id FROM audit `
	conditions    = ` AND last_at >= $2 AND (last_at, id) < ($3, $4)
		AND ($5 = '' OR action = $5) AND ($6 = '' OR resource = $6) AND ($7 = 0 OR allowed = 0 AND kind = 'access')
		AND ($8 = '' OR principal = $8)
		ORDER BY last_at DESC, id DESC LIMIT $9`
	findByRequest   = selectEntries + `WHERE request_id = $1 AND request_id <> ''` + conditions
	findByPrincipal = selectEntries + `WHERE principal = $1` + conditions
	findByTime      = selectEntries + `WHERE $1 = ''` + conditions
)

// Traces returns the refusals of a request, in the order they were made, each with its trace: how it came about, as JSON; "" if
// that was not kept.
func Traces(ctx context.Context, db *meta.DB, requestID string) ([]Entry, []string, error) {
	entries, err := Find(ctx, db, Filter{RequestID: requestID, Refused: true}, Page{})
	if err != nil {
		return nil, nil, err
	}
	slices.Reverse(entries)
	traces := make([]string, len(entries))
	for i := range entries {
		if err := db.QueryRow(ctx, `SELECT trace FROM audit WHERE id = $1`, entries[i].ID).Scan(&traces[i]); err != nil {
			return nil, nil, fmt.Errorf("read trace of audit entry %d: %w", entries[i].ID, err)
		}
	}
	return entries, traces, nil
}

// Find returns entries that are written, newest first.
func Find(ctx context.Context, db *meta.DB, f Filter, p Page) ([]Entry, error) {
	q, key := findByTime, ""
	switch {
	case f.RequestID != "":
		q, key = findByRequest, f.RequestID
	case f.Principal != "":
		q, key = findByPrincipal, f.Principal
	}
	var since int64 = math.MinInt64
	if !f.Since.IsZero() {
		since = f.Since.UnixMicro()
	}
	if p.After == (Cursor{}) {
		p.After = Cursor{math.MaxInt64, math.MaxInt64}
		if !f.Until.IsZero() {
			p.After = Cursor{f.Until.UnixMicro(), math.MinInt64}
		}
	}
	refused := 0
	if f.Refused {
		refused = 1
	}
	if p.Limit <= 0 || p.Limit > MaxPage {
		p.Limit = MaxPage
	}
	rows, err := db.Query(ctx, q, key, since, p.After.time, p.After.id, f.Action, f.Resource, refused, f.Principal, p.Limit)
	if err != nil {
		return nil, fmt.Errorf("find audit entries: %w", err)
	}
	defer rows.Close()
	var found []Entry
	for rows.Next() {
		var (
			e                    Entry
			first, last, allowed int64
			source               string
		)
		if err := rows.Scan(&e.ID, &e.Kind, &first, &last, &e.Count, &e.Principal, &e.AccessKeyID, &e.Action, &e.Resource, &source,
			&e.Endpoint, &allowed, &e.Reason, &e.Detail, &e.RequestID); err != nil {
			return nil, fmt.Errorf("find audit entries: %w", err)
		}
		e.First, e.Time, e.Allowed = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC(), allowed != 0
		if source != "" {
			if e.Source, err = netip.ParseAddr(source); err != nil {
				return nil, fmt.Errorf("audit entry %d: %w", e.ID, err)
			}
		}
		found = append(found, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find audit entries: %w", err)
	}
	return found, nil
}
