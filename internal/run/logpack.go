package run

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/registry"
)

// holder names this package's objects of the blob store.
const holder = "run"

const (
	memberSize = 1 << 20 // bytes of a log in one gzip member: what has to be unpacked to read any of them
	objectSize = 8 << 20 // bytes of logs that are packed into one object
)

// member is a part of a log that was packed.
type member struct {
	log           int64
	at, size      int64 // in the log
	start, packed int64 // in the object
}

// packLog moves what a log has in chunks into the blob store: whole members only, unless the log is at its end.
func (s *Service) packLog(ctx context.Context, c Claim, name string, all bool) error {
	l, err := readLog(ctx, s.db, c.Job, c.Attempt, name)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pack log: %w", err)
	}
	p := &packer{s: s}
	if err := p.add(ctx, l, all); err != nil {
		return err
	}
	return p.flush(ctx)
}

// packClaim packs all logs of a claim that is over, many into an object.
func (s *Service) packClaim(ctx context.Context, job string, attempt int) error {
	rows, err := s.db.Query(ctx, `SELECT id, size, marker, packed FROM run_logs WHERE job = $1 AND attempt = $2 AND packed < size ORDER BY id`, job, attempt)
	list, err := collect(rows, err, func(row scanner) (*logRow, error) {
		l := &logRow{}
		return l, row.Scan(&l.id, &l.size, &l.marker, &l.packed)
	})
	if err != nil {
		return fmt.Errorf("pack logs of job %s: %w", job, err)
	}
	p := &packer{s: s}
	for _, l := range list {
		if err := p.add(ctx, l, true); err != nil {
			return err
		}
	}
	return p.flush(ctx)
}

// packer gathers members for one object.
type packer struct {
	s       *Service
	buf     bytes.Buffer
	members []member
	raw     int64
}

func (p *packer) add(ctx context.Context, l *logRow, all bool) error {
	at := l.packed
	for at < l.size {
		n := min(l.size-at, memberSize)
		if n < memberSize && !all {
			return nil
		}
		data, err := p.s.chunks(ctx, p.s.db, l.id, at, n)
		if err != nil {
			return err
		}
		if int64(len(data)) != n {
			return nil // somebody else packed it
		}
		m := member{log: l.id, at: at, size: n, start: int64(p.buf.Len())}
		w := gzip.NewWriter(&p.buf)
		if _, err := w.Write(data); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		m.packed = int64(p.buf.Len()) - m.start
		p.members = append(p.members, m)
		at += n
		if p.raw += n; p.raw >= objectSize {
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// errMoved means that somebody else packed the same.
var errMoved = errors.New("packed by another")

func (p *packer) flush(ctx context.Context) error {
	if len(p.members) == 0 {
		return nil
	}
	began := time.Now()
	data := p.buf.Bytes()
	o, d, err := p.s.put(ctx, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("pack logs: %w", err)
	}
	err = p.s.db.Update(ctx, func(tx *meta.Tx) error {
		id, err := registry.HoldObject(ctx, tx, holder, o, d, began, time.Now())
		if err != nil {
			return err
		}
		for _, m := range p.members {
			res, err := tx.Exec(ctx, `UPDATE run_logs SET packed = $1 WHERE id = $2 AND packed = $3`, m.at+m.size, m.log, m.at)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				return errors.Join(err, errMoved)
			}
			_, err = tx.Exec(ctx, `INSERT INTO run_log_objects (log, at, size, object, start, packed) VALUES ($1, $2, $3, $4, $5, $6)`,
				m.log, m.at, m.size, id, m.start, m.packed)
			if err != nil {
				return err
			}
			if err := dropChunks(ctx, tx, m.log, m.at+m.size); err != nil {
				return err
			}
		}
		return nil
	})
	p.buf.Reset()
	p.members, p.raw = nil, 0
	if errors.Is(err, errMoved) {
		return p.s.store.Delete(context.WithoutCancel(ctx), o.Key)
	}
	return err // the object stays, for collection: a commit whose answer was lost may have named it
}

// dropChunks deletes the bytes of a log before an offset; a chunk that it is in the middle of loses what is before.
func dropChunks(ctx context.Context, tx *meta.Tx, log, before int64) error {
	var at int64
	var data []byte
	err := tx.QueryRow(ctx, `SELECT at, data FROM run_log_chunks WHERE log = $1 AND at < $2 AND at + size > $2`, log, before).Scan(&at, &data)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	split := err == nil
	if _, err := tx.Exec(ctx, `DELETE FROM run_log_chunks WHERE log = $1 AND at < $2`, log, before); err != nil {
		return err
	}
	if split {
		rest := data[before-at:]
		_, err = tx.Exec(ctx, `INSERT INTO run_log_chunks (log, at, size, data) VALUES ($1, $2, $3, $4)`, log, before, len(rest), rest)
		return err
	}
	return nil
}

// chunks reads bytes of a log that are in chunks: fewer, if they are not all there.
func (s *Service) chunks(ctx context.Context, q reader, log, at, limit int64) ([]byte, error) {
	rows, err := q.Query(ctx, `SELECT at, data FROM run_log_chunks WHERE log = $1 AND at + size > $2 AND at < $3 ORDER BY at`, log, at, at+limit)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	defer rows.Close()
	out := make([]byte, 0, min(limit, memberSize))
	for rows.Next() {
		var begin int64
		var data []byte
		if err := rows.Scan(&begin, &data); err != nil {
			return nil, err
		}
		here := at + int64(len(out))
		if begin > here {
			break
		}
		data = data[here-begin:]
		data = data[:min(int64(len(data)), limit-int64(len(out)))]
		out = append(out, data...)
	}
	return out, rows.Err()
}

// put makes an object of bytes.
func (s *Service) put(ctx context.Context, r *bytes.Reader) (blob.Object, digest.Digest, error) {
	d, err := digest.FromReader(r)
	if err != nil {
		return blob.Object{}, "", err
	}
	if _, err := r.Seek(0, 0); err != nil {
		return blob.Object{}, "", err
	}
	id := "run-" + blob.Fresh()
	if _, err := s.store.Append(ctx, id, 0, r); err != nil {
		return blob.Object{}, "", errors.Join(err, s.store.Abort(context.WithoutCancel(ctx), id))
	}
	o, err := s.store.Commit(ctx, id, d)
	return o, d, err
}
