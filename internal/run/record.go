package run

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/blob"
)

// maxRecords bounds one Update.
const maxRecords = 1000

// Update takes what an agent tells of the steps of its job: work.Server. Of each step the record with the highest number
// counts, whatever order they come in.
func (s *Service) Update(ctx context.Context, c Claim, records []work.Record) error {
	if len(records) > maxRecords {
		return errorf(Limit, "one update has at most %d records", maxRecords)
	}
	return s.claimed(ctx, c, "Update", func(x *change, row *claimRow) error {
		j, err := readJob(ctx, x.tx, c.Job)
		if err != nil {
			return err
		}
		for i := range records {
			if err := x.record(c, j, records[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (x *change) record(c Claim, j *jobRow, r work.Record) error {
	l := &x.s.o.Limits
	if len(r.Step) > maxName || len(r.Log) > maxName {
		return errorf(Invalid, "the id of a step or a log has at most %d characters", maxName)
	}
	outputs := r.Outputs
	r.Outputs = nil
	tidy(&r, l.Issues)
	var old work.Record
	known := false
	var text string
	var sequence int64
	err := x.tx.QueryRow(x.ctx, `SELECT sequence, record FROM run_records WHERE job = $1 AND attempt = $2 AND step = $3`, c.Job, c.Attempt, r.Step).Scan(&sequence, &text)
	switch {
	case err == nil:
		if sequence >= r.Sequence {
			return nil
		}
		known = true
		if err := json.Unmarshal([]byte(text), &old); err != nil {
			return fmt.Errorf("record of step %s: %w", r.Step, err)
		}
	case errors.Is(err, sql.ErrNoRows):
		var n int
		if err := x.tx.QueryRow(x.ctx, `SELECT count(*) FROM run_records WHERE job = $1 AND attempt = $2`, c.Job, c.Attempt).Scan(&n); err != nil {
			return err
		}
		if n >= l.Steps {
			return errorf(Limit, "a job has at most %d steps", l.Steps)
		}
	default:
		return fmt.Errorf("read record of step %s: %w", r.Step, err)
	}
	_, err = x.tx.Exec(x.ctx, `INSERT INTO run_records (job, attempt, step, sequence, ord, record) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (job, attempt, step) DO UPDATE SET sequence = excluded.sequence, ord = excluded.ord, record = excluded.record`,
		c.Job, c.Attempt, r.Step, r.Sequence, r.Order, toJSON(r))
	if err != nil {
		return fmt.Errorf("store record of step %s: %w", r.Step, err)
	}
	e := Event{Stage: j.stage, Attempt: j.stageAttempt, Phase: j.phase, Job: j.ID, Claim: c.Attempt, Step: r.Step, Name: r.DisplayName}
	if !known || old.State != r.State || old.Result != r.Result || old.Operation != r.Operation || old.DisplayName != r.DisplayName {
		step := e
		step.Type, step.State, step.Result, step.Message, step.Log = StepEvent, r.State, r.Result, r.Message, r.Log
		x.tell(step)
	}
	for i := len(old.Issues); i < len(r.Issues); i++ {
		issue := e
		issue.Type, issue.Issue = IssueEvent, &r.Issues[i]
		x.tell(issue)
	}
	return x.setOutputs(c, r.Name, outputs)
}

// tidy cuts what is too long.
func tidy(r *work.Record, issues int) {
	r.Name, r.DisplayName, r.Task = clip(r.Name, maxName), clip(r.DisplayName, maxText), clip(r.Task, maxName)
	r.Operation, r.Message = clip(r.Operation, maxText), clip(r.Message, maxMessage)
	if len(r.Issues) > issues {
		r.Issues = r.Issues[:issues]
	}
	for i := range r.Issues {
		is := &r.Issues[i]
		is.Type, is.Message, is.Source = clip(is.Type, 20), clip(is.Message, maxMessage), clip(is.Source, maxText)
		is.Line, is.Column, is.Code = clip(is.Line, 20), clip(is.Column, 20), clip(is.Code, 100)
	}
}

// setOutputs keeps variables that later jobs may use.
func (x *change) setOutputs(c Claim, step string, list []work.Variable) error {
	if len(list) > x.s.o.Limits.Outputs {
		return errorf(Limit, "a step has at most %d outputs", x.s.o.Limits.Outputs)
	}
	for _, v := range list {
		if v.Name == "" || len(v.Name) > maxText {
			return errorf(Invalid, "the name of an output has 1 to %d characters", maxText)
		}
		if len(v.Value) > x.s.o.Limits.OutputSize {
			return errorf(Limit, "output %s has more than %d bytes", clip(v.Name, 100), x.s.o.Limits.OutputSize)
		}
		v.Name, v.Value = cleaned(v.Name), cleaned(v.Value)
		if err := x.outputRoom(len(v.Value)); err != nil {
			return err
		}
		value, secret := v.Value, ""
		var have string
		err := x.tx.QueryRow(x.ctx, `SELECT secret FROM run_outputs WHERE job = $1 AND attempt = $2 AND step = $3 AND name = $4`, c.Job, c.Attempt, step, v.Name).Scan(&have)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if have != "" {
			if _, err := x.tx.Exec(x.ctx, `DELETE FROM run_secrets WHERE id = $1`, have); err != nil {
				return err
			}
		}
		if v.Secret {
			value = ""
			var err error
			if secret, err = x.secret(v.Value); err != nil {
				return err
			}
		}
		_, err = x.tx.Exec(x.ctx, `INSERT INTO run_outputs (job, attempt, step, name, value, secret) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (job, attempt, step, name) DO UPDATE SET value = excluded.value, secret = excluded.secret`, c.Job, c.Attempt, step, v.Name, value, secret)
		if err != nil {
			return fmt.Errorf("store output %s: %w", v.Name, err)
		}
	}
	return nil
}

// outputRoom refuses an output that a run has no room for: all of them are a part of its state.
func (x *change) outputRoom(add int) error {
	var n, size int64
	err := x.tx.QueryRow(x.ctx, `SELECT count(*), coalesce(sum(length(o.value)), 0) FROM run_outputs o JOIN run_jobs j ON j.id = o.job WHERE j.run = $1`, x.run.ID).Scan(&n, &size)
	l := &x.s.o.Limits
	switch {
	case err != nil:
		return fmt.Errorf("look at the outputs of run %d: %w", x.run.ID, err)
	case n >= l.RunOutputs:
		return errorf(Limit, "the jobs of a run set at most %d outputs", l.RunOutputs)
	case size+int64(add) > l.RunOutputSize:
		return errorf(Limit, "the outputs of a run have at most %d bytes", l.RunOutputSize)
	}
	return nil
}

// clip cuts a text after n bytes, not within a character, and takes out what no database has in text.
func clip(text string, n int) string {
	text = cleaned(text)
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}

// cleaned takes out of a text what no database has in one.
func cleaned(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "�"), "\x00", "�")
}

func freshID() string { return blob.Fresh() }
