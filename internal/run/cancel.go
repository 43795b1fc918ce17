package run

import (
	"context"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
)

// CancelRequest says what of a run is to end: all of it, a stage, or a job (its id).
type CancelRequest struct {
	Stage, Job string
	Reason     string
}

// Cancel asks a run, or a part of it, to end. What waits ends at once; agents are told, and what they don't end in time is ended
// without them. Again, it changes nothing.
func (s *Service) Cancel(ctx context.Context, c *iam.Caller, id int64, req CancelRequest) error {
	if _, err := s.visible(ctx, c, "CancelRun", id); err != nil {
		return err
	}
	why := "canceled by " + shortName(c.Who())
	if req.Reason != "" {
		why += ": " + clip(req.Reason, maxText)
	}
	return s.change(ctx, id, func(x *change) error {
		if x.run.State == work.Completed {
			return errorf(Conflict, "run %d is over", id)
		}
		if err := x.load(); err != nil {
			return err
		}
		detail := ""
		switch {
		case req.Job != "":
			j := x.job(req.Job)
			if j == nil {
				return errorf(NotFound, "run %d has no job %s that is not over", id, req.Job)
			}
			detail = "job " + j.ID
			if err := x.cancelJob(j, why); err != nil {
				return err
			}
		case req.Stage != "":
			g := x.stageNamed(req.Stage)
			if g == nil {
				return errorf(NotFound, "run %d has no stage %s", id, req.Stage)
			}
			detail = "stage " + g.Name
			if g.cancel == 0 {
				g.cancel, g.changed = x.now.UnixMicro(), true
			}
			if err := x.cancelJobs(why, g); err != nil {
				return err
			}
		default:
			if x.run.cancel != 0 {
				return nil
			}
			x.cancelRun(why)
			if err := x.cancelJobs(why, x.stages...); err != nil {
				return err
			}
		}
		x.moved = true
		return s.changed(ctx, x.tx, Change{Caller: c, Action: "pipelines:CancelRun", ARN: s.runARN(x.run.Account, x.run.Project, id), Detail: detail})
	})
}

func (x *change) cancelRun(why string) {
	x.run.cancel, x.run.CancelReason = x.now.UnixMicro(), why
	x.tellRun()
}

// cancelJobs asks all that runs in stages to end. What is pending, the conditions decide: always() still runs.
func (x *change) cancelJobs(why string, stages ...*stage) error {
	for _, g := range stages {
		for _, p := range g.phases {
			for _, j := range p.jobs {
				if j.State == Queued || j.State == work.InProgress {
					if err := x.cancelJob(j, why); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

func (x *change) stageNamed(name string) *stage {
	for _, g := range x.stages {
		if strings.EqualFold(g.Name, name) {
			return g
		}
	}
	return nil
}

// RunStage starts a stage that is started by hand.
func (s *Service) RunStage(ctx context.Context, c *iam.Caller, id int64, name string) error {
	return s.onStage(ctx, c, id, name, "pipelines:StartStage", func(x *change, g *stage, st *flow.StageState) error {
		if g.waits != waitsManual {
			return errorf(Conflict, "stage %s does not wait to be started", g.Name)
		}
		st.Released, g.waits, g.changed = true, "", true
		return nil
	})
}

// SkipStage has a run go on as if a stage that has not begun were not there.
func (s *Service) SkipStage(ctx context.Context, c *iam.Caller, id int64, name string) error {
	return s.onStage(ctx, c, id, name, "pipelines:SkipStage", func(x *change, g *stage, st *flow.StageState) error {
		if st.State != work.Pending {
			return errorf(Conflict, "stage %s has begun", g.Name)
		}
		for _, ps := range x.facts.plan.Stages {
			if ps.Name == g.Name && ps.NotSkippable {
				return errorf(Conflict, "stage %s can't be skipped: its isSkippable is false", g.Name)
			}
		}
		st.Omitted, st.Ready = true, false
		g.waits, g.changed = "", true
		return x.stageOver(g)
	})
}

func (s *Service) onStage(ctx context.Context, c *iam.Caller, id int64, name, action string, fn func(x *change, g *stage, st *flow.StageState) error) error {
	if _, err := s.visible(ctx, c, "StartRun", id); err != nil {
		return err
	}
	return s.change(ctx, id, func(x *change) error {
		if x.run.State == work.Completed {
			return errorf(Conflict, "run %d is over", id)
		}
		if err := x.load(); err != nil {
			return err
		}
		if err := x.decisions(); err != nil {
			return err
		}
		g := x.stageNamed(name)
		if g == nil {
			return errorf(NotFound, "run %d has no stage %s", id, name)
		}
		for i := range x.row.state.Stages {
			if st := &x.row.state.Stages[i]; st.Name == g.Name {
				if err := fn(x, g, st); err != nil {
					return err
				}
			}
		}
		x.moved = true
		return s.changed(ctx, x.tx, Change{Caller: c, Action: action, ARN: s.runARN(x.run.Account, x.run.Project, id), Detail: fmt.Sprintf("stage %s", g.Name)})
	})
}
