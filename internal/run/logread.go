package run

import (
	"compress/gzip"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// LogRef names a log of a run.
type LogRef struct {
	Job     string // id
	Attempt int    // of the claim; 0: the last one
	Log     string
}

// LogInfo is what is known of a log without reading it.
type LogInfo struct {
	LogRef
	Size   int64 // bytes
	Closed bool  // no more comes
	Full   bool  // it reached its limit
}

// LogPart is a part of a log.
type LogPart struct {
	Data   []byte
	Offset int64 // of Data
	Size   int64 // of the log now
	Closed bool  // no more comes
}

// maxRead is how many bytes one ReadLog returns.
const maxRead = 1 << 20

// Logs lists the logs of a job of a run; of all its claims if attempt is 0. Without a job it lists none, and only says whether the
// caller may read those of the run.
func (s *Service) Logs(ctx context.Context, c *iam.Caller, id int64, job string, attempt int) ([]LogInfo, error) {
	if _, err := s.visible(ctx, c, "ReadLogs", id); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT l.attempt, l.name, l.size, l.closed, l.marker FROM run_logs l JOIN run_jobs j ON j.id = l.job
		WHERE j.run = $1 AND l.job = $2 AND (CAST($3 AS BIGINT) = 0 OR l.attempt = $3) ORDER BY l.attempt, l.id`, id, job, attempt)
	list, err := collect(rows, err, func(row scanner) (l LogInfo, err error) {
		var closed, marker int64
		err = row.Scan(&l.Attempt, &l.Log, &l.Size, &closed, &marker)
		l.Job, l.Closed, l.Full = job, closed != 0, marker != 0
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("list logs of job %s: %w", job, err)
	}
	return list, nil
}

// ReadLog reads a log from an offset, at most limit bytes. Data is empty at the end.
func (s *Service) ReadLog(ctx context.Context, c *iam.Caller, id int64, ref LogRef, offset int64, limit int) (LogPart, error) {
	if _, err := s.visible(ctx, c, "ReadLogs", id); err != nil {
		return LogPart{}, err
	}
	return s.readLog(ctx, id, ref, offset, limit)
}

// FollowLog yields a log from an offset, and what is added to it, until it is closed or ctx ends. A log that has not begun
// is waited for while its job can still begin it. An error is the last thing yielded.
func (s *Service) FollowLog(ctx context.Context, c *iam.Caller, id int64, ref LogRef, offset int64) iter.Seq2[LogPart, error] {
	return func(yield func(LogPart, error) bool) {
		if _, err := s.visible(ctx, c, "ReadLogs", id); err != nil {
			yield(LogPart{}, err)
			return
		}
		wake, stop := s.hub.listen(logTopic(ref.Job), runTopic(id))
		defer stop()
		for {
			part, err := s.readLog(ctx, id, ref, offset, maxRead)
			if isNotFound(err) {
				j, jerr := readJob(ctx, s.db, ref.Job)
				if jerr == nil && j.run == id && j.State != work.Completed && (ref.Attempt == 0 || ref.Attempt >= j.attempt) {
					part, err = LogPart{Offset: offset}, nil
				}
			}
			if err != nil {
				yield(LogPart{}, err)
				return
			}
			offset += int64(len(part.Data))
			if len(part.Data) > 0 || part.Closed {
				if !yield(part, nil) || part.Closed && offset >= part.Size {
					return
				}
				continue
			}
			select {
			case <-ctx.Done():
				yield(LogPart{}, ctx.Err())
				return
			case <-wake:
			}
		}
	}
}

func (s *Service) readLog(ctx context.Context, run int64, ref LogRef, offset int64, limit int) (LogPart, error) {
	if offset < 0 || limit <= 0 {
		return LogPart{}, errorf(Invalid, "a log is read from an offset of at least 0, and at least a byte of it")
	}
	limit = min(limit, maxRead)
	var part LogPart
	var packed *member
	var location string
	err := s.db.View(ctx, func(tx *meta.Tx) error {
		packed = nil
		j, err := readJob(ctx, tx, ref.Job)
		if err != nil {
			return err
		}
		if j.run != run {
			return errorf(NotFound, "run %d has no job %s", run, ref.Job)
		}
		attempt := ref.Attempt
		if attempt == 0 {
			attempt = j.attempt
		}
		l, err := readLog(ctx, tx, ref.Job, attempt, ref.Log)
		if err != nil {
			return notFound(err, "job %s has no log %s", ref.Job, ref.Log)
		}
		part = LogPart{Offset: offset, Size: l.size, Closed: l.closed}
		if offset >= l.size {
			return nil
		}
		if offset >= l.packed {
			part.Data, err = s.chunks(ctx, tx, l.id, offset, min(int64(limit), l.size-offset))
			return err
		}
		packed = &member{log: l.id}
		return tx.QueryRow(ctx, `SELECT o.at, o.size, o.start, o.packed, h.location FROM run_log_objects o JOIN held_objects h ON h.id = o.object
			WHERE o.log = $1 AND o.at <= $2 ORDER BY o.at DESC LIMIT 1`, l.id, offset).Scan(&packed.at, &packed.size, &packed.start, &packed.packed, &location)
	})
	if err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			err = errors.New("a part of it is missing")
		}
		return LogPart{}, fmt.Errorf("read log %s of job %s: %w", ref.Log, ref.Job, err)
	}
	if packed != nil {
		if part.Data, err = s.member(ctx, location, packed, offset-packed.at, int64(limit)); err != nil {
			return LogPart{}, fmt.Errorf("read log %s of job %s: %w", ref.Log, ref.Job, err)
		}
	}
	return part, nil
}

// member unpacks a part of a member.
func (s *Service) member(ctx context.Context, location string, m *member, skip, limit int64) ([]byte, error) {
	content, err := s.store.Open(ctx, location)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	if _, err := content.Seek(m.start, io.SeekStart); err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(io.LimitReader(content, m.packed))
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	if _, err := io.CopyN(io.Discard, z, skip); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(z, min(limit, m.size-skip)))
	if err == nil && int64(len(data)) < min(limit, m.size-skip) {
		err = io.ErrUnexpectedEOF
	}
	return data, err
}
