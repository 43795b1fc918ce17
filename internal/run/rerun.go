package run

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
)

// RerunRequest says what of a run is done again: all of it, what failed, or a stage and what depends on it (with Failed:
// only the jobs of that stage that failed).
type RerunRequest struct {
	Failed bool
	Stage  string
}

// Rerun does stages of a run again, as new attempts; the old ones stay to be read. Other stages may still run: only what is
// over is done again, and with it whatever depends on it.
func (s *Service) Rerun(ctx context.Context, c *iam.Caller, id int64, req RerunRequest) (*Run, error) {
	if _, err := s.visible(ctx, c, "RerunRun", id); err != nil {
		return nil, err
	}
	r, err := s.run(ctx, s.db, id)
	if err != nil {
		return nil, err
	}
	p, err := s.o.Projects.Pipeline(ctx, r.PipelineID)
	if err != nil {
		return nil, err
	}
	if p.State == "disabled" {
		return nil, errorf(Conflict, "pipeline %s is disabled", p.Name)
	}
	err = s.change(ctx, id, func(x *change) error {
		if x.run.cancel != 0 && x.run.State != work.Completed {
			return errorf(Conflict, "run %d is being canceled; when it is over, it can be done again", id)
		}
		if x.facts.plan == nil {
			return errorf(Conflict, "run %d never began: its pipeline did not compile; start a new one", id)
		}
		if err := x.load(); err != nil {
			return err
		}
		if err := x.decisions(); err != nil {
			return err
		}
		roots, err := x.toRerun(req)
		if err != nil {
			return err
		}
		again := x.dependents(roots)
		for _, name := range again {
			if g := x.stage(name); g.State == work.InProgress {
				return errorf(Conflict, "stage %s, which depends on it, still runs; cancel that first", g.Name)
			}
		}
		x.run.Attempt++
		x.run.cancel, x.run.CancelReason = 0, ""
		x.row.state.Canceling, x.row.state.Done, x.row.state.Result = false, false, ""
		if x.run.State == work.Completed {
			x.run.State, x.run.Result = work.InProgress, ""
			x.run.Finished = fromMicros(0)
			if x.run.waits, err = x.room(p); err != nil {
				return err
			}
		}
		for _, name := range again {
			if err := x.resetStage(name, req.Failed && contains(roots, name)); err != nil {
				return err
			}
		}
		x.moved = true
		x.tellRun()
		return s.changed(ctx, x.tx, Change{Caller: c, Action: "pipelines:RerunRun", ARN: s.runARN(x.run.Account, x.run.Project, id),
			Detail: fmt.Sprintf("attempt %d: %s", x.run.Attempt, strings.Join(again, ", "))})
	})
	if err != nil {
		return nil, err
	}
	return s.Get(ctx, c, id)
}

func contains(list []string, name string) bool {
	for _, x := range list {
		if strings.EqualFold(x, name) {
			return true
		}
	}
	return false
}

func bad(r work.Result) bool {
	return r == work.Failed || r == work.Canceled || r == work.Abandoned
}

// toRerun lists the stages that a request is about.
func (x *change) toRerun(req RerunRequest) ([]string, error) {
	var names []string
	switch {
	case req.Stage != "":
		g := x.stageNamed(req.Stage)
		if g == nil {
			return nil, errorf(NotFound, "run %d has no stage %s", x.run.ID, req.Stage)
		}
		if g.State != work.Completed {
			return nil, errorf(Conflict, "stage %s is not over", g.Name)
		}
		names = append(names, g.Name)
	case req.Failed:
		for _, g := range x.stages {
			if g.State == work.Completed && bad(g.Result) {
				names = append(names, g.Name)
			}
		}
		if len(names) == 0 {
			return nil, errorf(Conflict, "nothing of run %d failed", x.run.ID)
		}
	default:
		if x.run.State != work.Completed {
			return nil, errorf(Conflict, "run %d is not over; while it runs, stages that failed can be done again", x.run.ID)
		}
		for _, g := range x.stages {
			names = append(names, g.Name)
		}
	}
	return names, nil
}

// dependents returns stages and all that depend on them and are not pending, in the order of the plan.
func (x *change) dependents(roots []string) []string {
	want := map[string]bool{}
	for _, name := range roots {
		want[fold(name)] = true
	}
	for again := true; again; {
		again = false
		for _, ps := range x.facts.plan.Stages {
			for _, on := range ps.DependsOn {
				if want[fold(on)] && !want[fold(ps.Name)] {
					want[fold(ps.Name)], again = true, true
				}
			}
		}
	}
	var names []string
	for _, g := range x.stages {
		if want[fold(g.Name)] && g.State != work.Pending {
			names = append(names, g.Name)
		}
	}
	return names
}

// resetStage begins another attempt of a stage. Of one whose failed jobs alone are done again, the others keep their
// results.
func (x *change) resetStage(name string, failedOnly bool) error {
	for i := range x.facts.plan.Stages {
		ps := x.facts.plan.Stages[i]
		if ps.Name != name {
			continue
		}
		old := x.stage(name)
		before := x.row.state.Stages[i]
		fresh := flow.NewState(x.facts.plan).Stages[i]
		fresh.Omitted = before.Omitted
		fresh.Attempt = old.Attempt + 1
		for k := range fresh.Jobs {
			fresh.Jobs[k].Attempt = fresh.Attempt
		}
		x.row.state.Stages[i] = fresh
		var rest []*stage
		for _, g := range x.stages {
			if g != old {
				rest = append(rest, g)
			}
		}
		x.stages = rest
		g := &stage{Name: name, Attempt: old.Attempt + 1, ord: old.ord, DisplayName: cmp.Or(old.DisplayName, ps.Name), State: work.Pending}
		if err := x.addStage(g, ps); err != nil {
			return err
		}
		x.tellStage(g)
		if !failedOnly {
			return nil
		}
		redo := redone(x.facts.plan.Stages[i].Jobs, old)
		for k := range fresh.Jobs {
			if redo[fold(fresh.Jobs[k].Name)] {
				continue
			}
			x.row.state.Stages[i].Jobs[k] = before.Jobs[k]
			if err := x.carry(g, old, fresh.Jobs[k].Name); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("the plan of run %d has no stage %s", x.run.ID, name)
}

// carry has an attempt of a stage show the result that a job had in the one before.
func (x *change) carry(g, old *stage, name string) error {
	p, was := g.phase(name), old.phase(name)
	if p == nil || was == nil {
		return nil
	}
	p.State, p.Result, p.started, p.finished, p.environment, p.changed = was.State, was.Result, was.started, was.finished, was.environment, true
	p.Message = fmt.Sprintf("as in attempt %d", old.Attempt)
	return nil
}

// redone says which jobs of a stage are done again when those that failed are: they and what depends on them.
func redone(jobs []*pipeline.Job, old *stage) map[string]bool {
	want := map[string]bool{}
	for _, p := range old.phases {
		failed := bad(p.Result) || p.State != work.Completed
		for _, j := range p.jobs {
			failed = failed || bad(j.Result)
		}
		if failed {
			want[fold(p.Name)] = true
		}
	}
	for again := true; again; {
		again = false
		for _, j := range jobs {
			for _, on := range j.DependsOn {
				if want[fold(on)] && !want[fold(j.Name)] {
					want[fold(j.Name)], again = true, true
				}
			}
		}
	}
	return want
}
