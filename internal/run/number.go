package run

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/flow"
)

// number is what a new run is called: by its pipeline's name, or its id where that makes no number.
func (x *change) number() (string, error) {
	id := strconv.FormatInt(x.run.ID, 10)
	if x.facts.plan == nil {
		return id, nil
	}
	if x.facts.variables == nil {
		return "", &needError{variables: true}
	}
	row := &stateRow{counters: map[string]int64{}}
	f, err := flow.New(x.facts.plan, x.s.flowRun(x.run, x.facts.variables, x.s.counter(x.ctx, x.tx, x.run, row)))
	if err != nil {
		return "", err
	}
	number, err := f.Number(func(pattern string) (int64, error) {
		return x.s.o.Projects.Counter(x.ctx, x.tx, x.run.PipelineID, "$(Rev) "+strings.ReplaceAll(pattern, "\x00", "$(Rev)"), 1)
	})
	x.counters = row.counters
	if errors.Is(err, flow.ErrNumber) {
		x.run.Problems = append(x.run.Problems, Problem{Message: err.Error() + "; the run is called by its id"})
		return id, nil
	}
	return number, err
}

// SetRunNumber renames the run of a claim: work.Server.
func (s *Service) SetRunNumber(ctx context.Context, c Claim, number string) error {
	number = strings.TrimSpace(cleaned(number))
	if err := flow.CheckNumber(number); err != nil {
		return errorf(Invalid, "%v", err)
	}
	return s.claimed(ctx, c, "SetRunNumber", func(x *change, _ *claimRow) error {
		if x.run.Number != number {
			x.run.Number = number
			x.tellRun()
		}
		return nil
	})
}

const maxTags = 100

// AddTag tags the run of a claim: work.Server.
func (s *Service) AddTag(ctx context.Context, c Claim, tag string) error {
	return s.claimed(ctx, c, "AddTag", func(x *change, _ *claimRow) error { return x.addTag(tag) })
}

func (x *change) addTag(tag string) error {
	tag = strings.TrimSpace(tag)
	if tag == "" || len(tag) > maxName || cleaned(tag) != tag || strings.ContainsAny(tag, "\n\r\t,") {
		return errorf(Invalid, "%q is no tag: it has 1 to %d characters, and no comma or line end", clip(tag, 50), maxName)
	}
	var n int
	if err := x.tx.QueryRow(x.ctx, `SELECT count(*) FROM run_tags WHERE run = $1 AND tag <> $2`, x.run.ID, tag).Scan(&n); err != nil {
		return err
	}
	if n >= maxTags {
		return errorf(Limit, "a run has at most %d tags", maxTags)
	}
	res, err := x.tx.Exec(x.ctx, `INSERT INTO run_tags (run, tag) VALUES ($1, $2) ON CONFLICT (run, tag) DO NOTHING`, x.run.ID, tag)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	x.tell(Event{Type: TagEvent, Name: tag})
	return nil
}
