package secret

import (
	"context"
	"fmt"

	"github.com/sekisho/sekisho/internal/iam"
)

// Sort is the order of a list.
type Sort string

// The orders.
const (
	ByCreated  Sort = "created-date"
	ByAccessed Sort = "last-accessed-date"
	ByChanged  Sort = "last-changed-date"
	ByName     Sort = "name"
)

var sortColumns = map[Sort]string{ByCreated: "created_at", ByAccessed: "accessed_at", ByChanged: "changed_at", ByName: "name"}

// Query says which secrets of the caller's account to list.
type Query struct {
	Filters    []Filter // all must match
	Deleted    bool     // also those that are scheduled for deletion
	By         Sort     // default ByCreated
	Descending bool
	Limit      int // at most so many
	After      *Cursor
}

// Cursor is the last secret of a page. It names content and no row numbers, so it is good after a restart too.
type Cursor struct {
	By         Sort   `json:"b"`
	Descending bool   `json:"d,omitempty"`
	Time       int64  `json:"t,omitempty"` // Unix microseconds; of other orders than ByName
	Name       string `json:"n,omitempty"`
	ID         string `json:"i"`
}

// listBatch is how many rows are read at a time.
const listBatch = 200

// List returns secrets without their values, and what is after for the page that follows, nil for none. Errors:
// *iam.DeniedError; an [*Error] of kind InvalidCursor where After is of another query.
func (s *Store) List(ctx context.Context, c *iam.Caller, q Query) ([]*Secret, *Cursor, error) {
	if err := s.anywhere(ctx, c, "ListSecrets"); err != nil {
		return nil, nil, err
	}
	if q.By == "" {
		q.By = ByCreated
	}
	column, ok := sortColumns[q.By]
	if !ok {
		return nil, nil, errorf(InvalidParameter, "There is no order %q.", q.By)
	}
	if q.After != nil && (q.After.By != q.By || q.After.Descending != q.Descending) {
		return nil, nil, errorf(InvalidCursor, "The list is to go on in another order than it began.")
	}
	match, err := compileFilters(q.Filters)
	if err != nil {
		return nil, nil, err
	}
	var page []*Secret
	at := q.After
	for {
		rows, err := s.listRows(ctx, accountOf(c), column, q, at)
		if err != nil {
			return nil, nil, err
		}
		for _, x := range rows {
			if match(x, s.o.Region) {
				if len(page) == q.Limit {
					last := q.cursor(page[len(page)-1])
					return page, last, s.addStages(ctx, page)
				}
				page = append(page, x)
			}
			at = q.cursor(x)
		}
		if len(rows) < listBatch {
			return page, nil, s.addStages(ctx, page)
		}
	}
}

// cursor returns the place of a secret in the list.
func (q *Query) cursor(x *Secret) *Cursor {
	at := &Cursor{By: q.By, Descending: q.Descending, ID: x.id}
	switch q.By {
	case ByName:
		at.Name = x.Name
	case ByAccessed:
		if !x.Accessed.IsZero() {
			at.Time = x.Accessed.UnixMicro()
		}
	case ByChanged:
		at.Time = x.Changed.UnixMicro()
	default:
		at.Time = x.Created.UnixMicro()
	}
	return at
}

func (s *Store) listRows(ctx context.Context, account, column string, q Query, at *Cursor) ([]*Secret, error) {
	compare, direction := ">", "ASC"
	if q.Descending {
		compare, direction = "<", "DESC"
	}
	statement, args := `SELECT `+secretColumns+` FROM secrets WHERE account = $1`, []any{account}
	if !q.Deleted {
		statement += ` AND deleted_at = 0`
	}
	if at != nil {
		value := any(at.Time)
		if q.By == ByName {
			value = at.Name
		}
		statement += fmt.Sprintf(` AND (%s, id) %s ($2, $3)`, column, compare)
		args = append(args, value, at.ID)
	}
	rows, err := s.db.Query(ctx, fmt.Sprintf(`%s ORDER BY %s %s, id %s LIMIT %d`, statement, column, direction, direction, listBatch), args...)
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	defer rows.Close()
	var all []*Secret
	for rows.Next() {
		x, err := s.scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list secrets: %w", err)
		}
		all = append(all, x)
	}
	return all, rows.Err()
}

func (s *Store) addStages(ctx context.Context, page []*Secret) error {
	for _, x := range page {
		known, err := s.stages(ctx, s.db, x.id)
		if err != nil {
			return err
		}
		x.Stages = known.byVersion()
	}
	return nil
}
