package seal

import (
	"context"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/meta"
)

// batch is how many rows are sealed again in one transaction, while others wait.
const batch = 64

// Report says what a rotation did.
type Report struct {
	Master string // fingerprint of the master key that everything is sealed under now
	Key    uint32 // the sealing key that is in use now
	Rows   int64  // that were sealed again
	Keys   int64  // sealing keys that were deleted
}

// Rotate has everything be sealed anew: by a new sealing key, under the first master key. Then the other master keys
// are good for nothing more. The database may be in use by others whose rings have the first master key too.
//
// It goes in steps, each a transaction, and whenever it ends early, everything still opens with the master keys of this
// ring; run again, it starts over. A row that does not open ends it.
func (r *Ring) Rotate(ctx context.Context, db *meta.DB) (Report, error) {
	report := Report{Master: r.masters[0].fingerprint}
	err := db.Update(ctx, func(tx *meta.Tx) (err error) {
		report.Key, err = r.add(ctx, tx)
		return err
	})
	if err != nil {
		return report, fmt.Errorf("make a new sealing key: %w", err)
	}
	for _, c := range Columns() {
		s := &sweep{ring: r, column: c}
		for !s.done {
			before := *s
			err := db.Update(ctx, func(tx *meta.Tx) error {
				*s = before
				return s.page(ctx, tx, report.Key, nil)
			})
			if err != nil {
				return report, err
			}
		}
		report.Rows += s.rows
	}
	rows := int64(0)
	err = db.Update(ctx, func(tx *meta.Tx) (err error) {
		rows, report.Keys, err = r.retire(ctx, tx, report.Key)
		return err
	})
	report.Rows += rows
	if err != nil {
		return report, fmt.Errorf("delete the old sealing keys: %w", err)
	}
	return report, nil
}

// add makes a new sealing key and seals those that there are under the first master key.
func (r *Ring) add(ctx context.Context, tx *meta.Tx) (newest uint32, err error) {
	old, err := r.all(ctx, tx)
	if err != nil {
		return 0, err
	}
	for _, k := range old {
		newest = max(newest, k.id)
		_, err := tx.Exec(ctx, `UPDATE sealing_keys SET master = $1, key = $2 WHERE id = $3`, r.masters[0].fingerprint, r.wrap(k.id, k.key), int64(k.id))
		if err != nil {
			return 0, err
		}
	}
	newest++
	_, err = tx.Exec(ctx, `INSERT INTO sealing_keys (id, master, key) VALUES ($1, $2, $3)`, int64(newest), r.masters[0].fingerprint, r.wrap(newest, newKey()))
	return newest, err
}

// sealingKey is a row of sealing_keys, opened.
type sealingKey struct {
	id   uint32
	aead cipher.AEAD
	key  []byte
}

func (r *Ring) all(ctx context.Context, tx *meta.Tx) ([]sealingKey, error) {
	rows, err := tx.Query(ctx, `SELECT id, master, key FROM sealing_keys ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []sealingKey
	for rows.Next() {
		var k sealingKey
		var fingerprint string
		var sealed []byte
		if err := rows.Scan(&k.id, &fingerprint, &sealed); err != nil {
			return nil, err
		}
		if k.aead, k.key, err = r.unwrap(k.id, fingerprint, sealed); err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, rows.Err()
}

// retire deletes the sealing keys before the newest, once nobody can be sealing with them, and seals again what somebody
// sealed since the sweep.
func (r *Ring) retire(ctx context.Context, tx *meta.Tx, newest uint32) (rows, deleted int64, err error) {
	keys, err := r.all(ctx, tx)
	if err != nil {
		return 0, 0, err
	}
	old := map[uint32]cipher.AEAD{}
	for _, k := range keys {
		if k.id < newest {
			old[k.id] = k.aead
		}
	}
	res, err := tx.Exec(ctx, `DELETE FROM sealing_keys WHERE id < $1`, int64(newest)) // waits for those who use one
	if err != nil {
		return 0, 0, err
	}
	if deleted, err = res.RowsAffected(); err != nil {
		return 0, 0, err
	}
	for _, c := range Columns() {
		s := &sweep{ring: r, column: c}
		for !s.done {
			if err := s.page(ctx, tx, newest, old); err != nil {
				return 0, 0, err
			}
		}
		rows += s.rows
	}
	return rows, deleted, nil
}

// sweep goes through the rows of a column.
type sweep struct {
	ring   *Ring
	column *Column
	last   []string // row; nil at the start
	done   bool
	rows   int64 // sealed again
}

// sealedRow is a row of a column.
type sealedRow struct {
	key  []string
	data []byte
}

// page seals the next rows again that are not sealed by the sealing key newest, or a newer one. Old ones that may not be
// in the database any more can be given.
func (s *sweep) page(ctx context.Context, tx *meta.Tx, newest uint32, old map[uint32]cipher.AEAD) error {
	rows, err := s.read(ctx, tx)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.column.table, err)
	}
	use, with, err := s.ring.newest(ctx, tx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		s.last = row.key
		id, ok := sealedBy(row.data)
		if ok && id >= newest {
			continue
		}
		var value []byte
		if aead := old[id]; ok && aead != nil {
			value, err = openWith(aead, s.column, row.data, row.key)
		} else {
			value, err = s.ring.Open(ctx, tx, s.column, row.data, row.key...)
		}
		var sealed []byte
		if err == nil {
			sealed, err = sealWith(use, with, s.column, value, row.key)
		}
		if err == nil {
			err = s.write(ctx, tx, row, sealed)
		}
		if err != nil {
			return fmt.Errorf("seal %s of %s %q again: %w", s.column.data, s.column.table, strings.Join(row.key, " "), err)
		}
	}
	s.done = len(rows) < batch
	return nil
}

func (s *sweep) read(ctx context.Context, tx *meta.Tx) ([]sealedRow, error) {
	keys := strings.Join(s.column.keys, ", ")
	where, args := "", []any{}
	if s.last != nil {
		var values []string
		for i, key := range s.last {
			values = append(values, fmt.Sprintf("$%d", i+1))
			args = append(args, key)
		}
		where = ` WHERE (` + keys + `) > (` + strings.Join(values, ", ") + `)`
	}
	rows, err := tx.Query(ctx, fmt.Sprintf(`SELECT %s, %s FROM %s%s ORDER BY %s LIMIT %d`, keys, s.column.data, s.column.table, where, keys, batch), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []sealedRow
	for rows.Next() {
		row := sealedRow{key: make([]string, len(s.column.keys))}
		var into []any
		for i := range row.key {
			into = append(into, &row.key[i])
		}
		if err := rows.Scan(append(into, &row.data)...); err != nil {
			return nil, err
		}
		page = append(page, row)
	}
	return page, rows.Err()
}

// write replaces what is in the row, unless somebody else has.
func (s *sweep) write(ctx context.Context, tx *meta.Tx, row sealedRow, sealed []byte) error {
	statement := `UPDATE ` + s.column.table + ` SET ` + s.column.data + ` = $1 WHERE ` + s.column.data + ` = $2`
	args := []any{sealed, row.data}
	for i, column := range s.column.keys {
		statement += fmt.Sprintf(` AND %s = $%d`, column, i+3)
		args = append(args, row.key[i])
	}
	res, err := tx.Exec(ctx, statement, args...)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	s.rows += n
	return err
}

// sealedBy returns the number of the sealing key that sealed a value.
func sealedBy(sealed []byte) (uint32, bool) {
	if len(sealed) < headerSize || sealed[0] != versionRing {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:]), true
}

// InUse says which sealing keys there are, the oldest first.
func InUse(ctx context.Context, db *meta.DB) ([]Key, error) {
	rows, err := db.Query(ctx, `SELECT id, master FROM sealing_keys ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read sealing keys: %w", err)
	}
	defer rows.Close()
	var keys []Key
	for rows.Next() {
		var k Key
		if err := rows.Scan(&k.ID, &k.Master); err != nil {
			return nil, fmt.Errorf("read sealing keys: %w", err)
		}
		keys = append(keys, k)
	}
	return keys, rows.Err()
}

// Key is a sealing key, as far as it is to be seen.
type Key struct {
	ID     uint32
	Master string // fingerprint of the master key that it is sealed under
}

// Check tries the master keys on the sealing keys, so that a wrong one is noticed at the start and not at the first use.
// Errors: [*MasterKeyError], [ErrDoesNotOpen].
func (r *Ring) Check(ctx context.Context, db *meta.DB) error {
	err := db.View(ctx, func(tx *meta.Tx) error {
		_, err := r.all(ctx, tx)
		return err
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("check master key: %w", err)
	}
	return err
}
