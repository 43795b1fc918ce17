package run

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/meta"
)

const (
	// MaxAppend is how many bytes one AppendLog takes.
	MaxAppend = 1 << 20
	// chunkTarget is up to where appended bytes are added to the last chunk rather than begin another.
	chunkTarget = 64 << 10
	// packWhen is how many bytes of a log are in chunks before they are packed while the job still runs.
	packWhen = 8 << 20
	maxLogs  = 2000 // of a claim
	maxName  = 200
)

const fullMarker = "\n##[warning]The log has reached its limit of %d MiB. What follows is not kept.\n"

func logTopic(job string) string { return "log/" + job }

// logRow is a log.
type logRow struct {
	id, size, marker, packed int64
	closed                   bool
}

func readLog(ctx context.Context, q reader, job string, attempt int, name string) (*logRow, error) {
	l := &logRow{}
	var closed int64
	err := q.QueryRow(ctx, `SELECT id, size, marker, packed, closed FROM run_logs WHERE job = $1 AND attempt = $2 AND name = $3`, job, attempt, name).
		Scan(&l.id, &l.size, &l.marker, &l.packed, &closed)
	l.closed = closed != 0
	return l, err
}

// AppendLog adds bytes to a log of a claim at an offset, and returns how long the log is then. What is there already is
// passed over, so that a call can be repeated. Errors: [*GapError] where the offset is beyond the end, work.ErrLogFull,
// work.ErrClaimLost.
func (s *Service) AppendLog(ctx context.Context, c Claim, name string, offset int64, data []byte) (size int64, err error) {
	if name == "" || len(name) > maxName || !plainName(name) {
		return 0, errorf(Invalid, "%q can't name a log", clip(name, maxName))
	}
	if len(data) > MaxAppend || offset < 0 {
		return 0, errorf(Invalid, "a piece of a log has at most %d bytes", MaxAppend)
	}
	if _, err := s.verify(ctx, s.db, c, "AppendLog"); err != nil {
		return 0, err
	}
	full, pack := false, false
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		full, pack = false, false
		// The row of the claim is locked against its end, so that nothing is added to a log that is closed.
		if err := s.holdClaim(ctx, tx, c); err != nil {
			return err
		}
		l, err := s.logFor(ctx, tx, c, name)
		if err != nil {
			return err
		}
		size = l.size - l.marker
		switch {
		case offset > size && l.marker > 0, l.marker > 0 && offset+int64(len(data)) > size:
			full = true
			return nil
		case offset > size:
			return &GapError{size}
		case offset+int64(len(data)) <= size:
			return nil // all of it is there
		}
		fresh := data[size-offset:]
		room, err := s.logRoom(ctx, tx, c, size, int64(len(fresh)))
		if err != nil {
			return err
		}
		marker := ""
		if int64(len(fresh)) > room {
			fresh, full = fresh[:room], true
			marker = fmt.Sprintf(fullMarker, s.o.Limits.Log>>20)
		}
		size += int64(len(fresh))
		pack = size-l.packed >= packWhen
		return s.addToLog(ctx, tx, c, l, fresh, marker)
	})
	if err != nil {
		return 0, err
	}
	s.hub.wake(logTopic(c.Job))
	if pack {
		if err := s.packLog(ctx, c, name, false); err != nil { // whoever writes faster than that waits for it
			s.o.Logger.Warn("a log was not packed", "job", c.Job, "err", err)
		}
	}
	if full {
		return size, work.ErrLogFull
	}
	return size, nil
}

// holdClaim keeps a claim that counts from ending before the end of the transaction.
func (s *Service) holdClaim(ctx context.Context, tx *meta.Tx, c Claim) error {
	if tx.Dialect() == meta.PostgreSQL {
		var n int64
		err := tx.QueryRow(ctx, `SELECT lease FROM run_claims WHERE job = $1 AND attempt = $2 FOR SHARE`, c.Job, c.Attempt).Scan(&n)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	_, err := s.verify(ctx, tx, c, "Write")
	return err
}

// logFor returns a log, which it makes if there is none, locked.
func (s *Service) logFor(ctx context.Context, tx *meta.Tx, c Claim, name string) (*logRow, error) {
	_, err := tx.Exec(ctx, `INSERT INTO run_logs (job, attempt, name, size, marker, packed, closed) VALUES ($1, $2, $3, 0, 0, 0, 0)
		ON CONFLICT (job, attempt, name) DO NOTHING`, c.Job, c.Attempt, name)
	if err == nil && tx.Dialect() == meta.PostgreSQL {
		_, err = tx.Exec(ctx, `SELECT id FROM run_logs WHERE job = $1 AND attempt = $2 AND name = $3 FOR UPDATE`, c.Job, c.Attempt, name)
	}
	var l *logRow
	if err == nil {
		l, err = readLog(ctx, tx, c.Job, c.Attempt, name)
	}
	if err != nil {
		return nil, fmt.Errorf("open log %s of job %s: %w", name, c.Job, err)
	}
	if l.size == 0 {
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM run_logs WHERE job = $1 AND attempt = $2`, c.Job, c.Attempt).Scan(&n); err != nil {
			return nil, err
		}
		if n > maxLogs {
			return nil, errorf(Limit, "job %s has %d logs, which is as many as there may be", c.Job, maxLogs)
		}
	}
	return l, nil
}

// logRoom returns how many of the bytes may be added: by the limit of the log, and that of the run, which is looked at when
// the log passes another MiB.
func (s *Service) logRoom(ctx context.Context, tx *meta.Tx, c Claim, size, add int64) (int64, error) {
	room := s.o.Limits.Log - size
	if size>>20 != (size+add)>>20 {
		var total int64
		err := tx.QueryRow(ctx, `SELECT coalesce(sum(log_bytes), 0) FROM run_jobs WHERE run = (SELECT run FROM run_jobs WHERE id = $1)`, c.Job).Scan(&total)
		if err != nil {
			return 0, err
		}
		room = min(room, s.o.Limits.RunLogs-total)
	}
	return max(room, 0), nil
}

func (s *Service) addToLog(ctx context.Context, tx *meta.Tx, c Claim, l *logRow, data []byte, marker string) error {
	at := l.size
	all := append(data[:len(data):len(data)], marker...)
	var last, lastSize int64
	err := tx.QueryRow(ctx, `SELECT at, size FROM run_log_chunks WHERE log = $1 ORDER BY at DESC LIMIT 1`, l.id).Scan(&last, &lastSize)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err == nil && lastSize+int64(len(all)) <= chunkTarget {
		var have []byte
		if err := tx.QueryRow(ctx, `SELECT data FROM run_log_chunks WHERE log = $1 AND at = $2`, l.id, last).Scan(&have); err != nil {
			return err
		}
		have = append(have, all...)
		_, err = tx.Exec(ctx, `UPDATE run_log_chunks SET size = $1, data = $2 WHERE log = $3 AND at = $4`, len(have), have, l.id, last)
	} else {
		_, err = tx.Exec(ctx, `INSERT INTO run_log_chunks (log, at, size, data) VALUES ($1, $2, $3, $4)`, l.id, at, len(all), all)
	}
	if err == nil {
		_, err = tx.Exec(ctx, `UPDATE run_logs SET size = $1, marker = $2 WHERE id = $3`, at+int64(len(all)), len(marker), l.id)
	}
	if err == nil {
		_, err = tx.Exec(ctx, `UPDATE run_jobs SET log_bytes = log_bytes + $1 WHERE id = $2`, len(all), c.Job)
	}
	if err != nil {
		return fmt.Errorf("add to a log of job %s: %w", c.Job, err)
	}
	return nil
}

// plainName reports whether a name has nothing in it that means something elsewhere.
func plainName(name string) bool {
	for _, r := range name {
		if r < ' ' || r == '/' || r == '\\' || r == 0x7f {
			return false
		}
	}
	return name != "." && name != ".."
}
