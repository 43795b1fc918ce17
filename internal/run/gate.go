package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/flow"
	"github.com/sekisho/sekisho/internal/project"
)

// What keeps a run or a stage.
const (
	waitsManual   = "manual"   // a stage that is started by hand
	waitsApproval = "approval" // people
	waitsHours    = "hours"    // the clock
	waitsLock     = "lock"     // another run
	waitsLimit    = "limit"    // the run: others of its pipeline
	waitsPaused   = "paused"   // the run: its pipeline is paused
)

// lockLatest and lockSequential are lock behaviors; the first one is the default.
const (
	lockLatest     = "runLatest"
	lockSequential = "sequential"
)

// stageChecks sees whether a stage that is ready may begin, as the environments of its deployment jobs have it, and reports
// whether the state changed.
func (x *change) stageChecks(st *flow.StageState) (moved bool, err error) {
	if !st.Ready || st.State != work.Pending || st.Rejected != "" {
		return false, nil
	}
	g := x.stage(st.Name)
	if g == nil {
		return false, fmt.Errorf("run %d has no stage %s", x.run.ID, st.Name)
	}
	names, err := x.environmentsOf(st)
	if err != nil {
		st.Rejected = err.Error()
		return true, nil
	}
	if len(names) > 0 && !x.run.Trusted {
		st.Rejected = noDeployment
		return true, nil
	}
	waits := ""
	for _, name := range names {
		e, ok := x.facts.environments[name]
		if !ok {
			return false, &needError{environment: name}
		}
		w, rejected, err := x.environmentCheck(g, e, name)
		if err != nil {
			return false, err
		}
		if rejected != "" {
			st.Rejected = rejected
			return true, nil
		}
		if waits == "" {
			waits = w
		}
	}
	if waits == "" {
		if waits, err = x.lockStage(g, names); err != nil {
			return false, err
		}
	}
	if waits == "" {
		return x.pass(g, st), nil
	}
	if x.row.state.Canceling || st.Canceling { // what is canceled still runs what its conditions say, but not past a check
		st.Rejected = "It was canceled before the checks of what it deploys to were passed."
		return true, nil
	}
	if g.waits != waits {
		g.waits = waits
		x.tellStage(g)
	}
	return false, nil
}

// pass has a stage begin.
func (x *change) pass(g *stage, st *flow.StageState) bool {
	st.State = work.InProgress
	g.State, g.waits, g.started = work.InProgress, "", x.now.UnixMicro()
	x.tellStage(g)
	return true
}

// environmentsOf lists what the deployment jobs of a stage deploy to.
func (x *change) environmentsOf(st *flow.StageState) ([]string, error) {
	var names []string
	for i := range x.facts.plan.Stages {
		if x.facts.plan.Stages[i].Name != st.Name {
			continue
		}
		for _, j := range x.facts.plan.Stages[i].Jobs {
			if j.Deployment == nil {
				continue
			}
			name := j.Deployment.Environment
			if strings.Contains(name, "$") {
				set, err := x.flow.Job(x.row.state, st.Name, j.Name, "")
				if err != nil {
					return nil, fmt.Errorf("job %s: %w", j.Name, err)
				}
				name = set.Environment
			}
			if name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// noDeployment is told of pull requests from outside: nothing of theirs is to be where others use it, and no environment is made,
// or kept by its lock, for them.
const noDeployment = "The run is of a pull request from outside, and deploys to no environment."

// deploysTo sees whether a job that is ready may deploy to an environment. The checks were passed before its stage began, if
// the name was known then; of one that is made of variables, such as outputs of the jobs before, that is seen here.
func (x *change) deploysTo(g *stage, d *pipeline.Deployment, name string) (as, why string, err error) {
	if !x.run.Trusted {
		return "", noDeployment, nil
	}
	e, ok := x.facts.environments[name]
	if !ok {
		return "", "", &needError{environment: name}
	}
	if why = x.environmentRefuses(e, name); why != "" || !strings.Contains(d.Environment, "$") {
		return e.Name, why, nil
	}
	const late = "Environment %s is known only when the job begins, and it has %s: have the job in a stage of its own, or name the environment without variables that jobs of the same stage set."
	var n int
	if e.Checks.Approval != nil {
		err := x.tx.QueryRow(x.ctx, `SELECT count(*) FROM run_approvals WHERE run = $1 AND stage = $2 AND attempt = $3 AND environment = $4 AND job = '' AND state = 'approved'`,
			x.run.ID, g.Name, g.Attempt, e.ID).Scan(&n)
		if err != nil || n == 0 {
			return "", fmt.Sprintf(late, e.Name, "an approval that was not asked for"), err
		}
	}
	if e.Checks.Lock {
		err := x.tx.QueryRow(x.ctx, `SELECT count(*) FROM run_locks WHERE run = $1 AND stage = $2 AND attempt = $3 AND resource = $4 AND held = 1`,
			x.run.ID, g.Name, g.Attempt, e.ID).Scan(&n)
		if err != nil || n == 0 {
			return "", fmt.Sprintf(late, e.Name, "a lock that was not waited for"), err
		}
	}
	if h := e.Checks.Hours; h != nil && !h.Open(x.now) {
		return "", fmt.Sprintf(late, e.Name, "hours, which these are not"), nil
	}
	return e.Name, "", nil
}

// environmentRefuses says why a run can't deploy to an environment at any time; empty if it can.
func (x *change) environmentRefuses(e environment, name string) string {
	switch {
	case e.wrong != "":
		return fmt.Sprintf("environment %s: %s", clip(name, 100), e.wrong)
	case e.refused:
		return (&project.NotAuthorizedError{Use: project.Use{Kind: project.KindEnvironment, Name: name, ID: e.ID}, Pipeline: x.run.Pipeline, Project: x.run.Project}).Error()
	case !e.Checks.BranchAllowed(x.run.Ref):
		return fmt.Sprintf("Environment %s takes deployments from %s only; this run is of %s.", e.Name, strings.Join(e.Checks.Branches, ", "), x.run.Ref)
	}
	return ""
}

// environmentCheck says what a stage waits for before it may deploy to an environment, or why it may not.
func (x *change) environmentCheck(g *stage, e environment, name string) (waits, rejected string, err error) {
	if why := x.environmentRefuses(e, name); why != "" {
		return "", why, nil
	}
	if a := e.Checks.Approval; a != nil {
		state, why, err := x.approval(g, e, a)
		switch {
		case err != nil:
			return "", "", err
		case state == "rejected" || state == "expired":
			return "", why, nil
		case state == "pending":
			return waitsApproval, "", nil
		}
	}
	if h := e.Checks.Hours; h != nil && !h.Open(x.now) {
		return waitsHours, "", nil
	}
	return "", "", nil
}

// approval returns the state of the approval of a stage for an environment, which it asks for first.
func (x *change) approval(g *stage, e environment, a *project.Approval) (state, why string, err error) {
	rows, err := x.tx.Query(x.ctx, `SELECT `+approvalColumns+` FROM run_approvals WHERE run = $1 AND stage = $2 AND attempt = $3 AND environment = $4`,
		x.run.ID, g.Name, g.Attempt, e.ID)
	list, err := collect(rows, err, scanApproval)
	if err != nil {
		return "", "", fmt.Errorf("read approvals of run %d: %w", x.run.ID, err)
	}
	if len(list) > 0 {
		return list[0].State, list[0].outcome, nil
	}
	needed := a.MinCount
	if needed <= 0 {
		needed = len(a.Approvers)
	}
	timeout := a.Timeout
	if timeout <= 0 {
		timeout = 30 * 24 * time.Hour
	}
	p := &Approval{
		ID: uuid.NewString(), Run: x.run.ID, Stage: g.Name, StageAttempt: g.Attempt, Environment: e.ID, Name: e.Name, Instructions: a.Instructions,
		Approvers: a.Approvers, Needed: max(needed, 1), own: a.AllowRequester, inOrder: a.InOrder, State: "pending", Expires: x.now.Add(timeout), Created: x.now,
	}
	return "pending", "", x.ask(p)
}

// lockStage takes the locks of the environments that a stage deploys to and that one run at a time may use; all or none, so
// that two runs never wait for each other. It says what is waited for.
func (x *change) lockStage(g *stage, names []string) (waits string, err error) {
	var wanted []string
	for _, name := range names {
		if e := x.facts.environments[name]; e.Checks.Lock {
			wanted = append(wanted, e.ID)
		}
	}
	if len(wanted) == 0 {
		return "", nil
	}
	slices.Sort(wanted)
	behavior := x.facts.plan.LockBehavior
	for _, ps := range x.facts.plan.Stages {
		if ps.Name == g.Name && ps.LockBehavior != "" {
			behavior = ps.LockBehavior
		}
	}
	for _, id := range wanted {
		_, err := x.tx.Exec(x.ctx, `INSERT INTO run_locks (resource, run, stage, attempt, held, latest, at) VALUES ($1, $2, $3, $4, 0, $5, $6)
			ON CONFLICT (resource, run, stage, attempt) DO NOTHING`, id, x.run.ID, g.Name, g.Attempt, flag(behavior != lockSequential), x.now.UnixMicro())
		if err != nil {
			return "", fmt.Errorf("lock: %w", err)
		}
	}
	x.poke = true // Tick gives out locks, one after another: here the rows of other runs are out of reach
	var missing int
	err = x.tx.QueryRow(x.ctx, `SELECT count(*) FROM run_locks WHERE run = $1 AND stage = $2 AND attempt = $3 AND held = 0`, x.run.ID, g.Name, g.Attempt).Scan(&missing)
	if err != nil {
		return "", fmt.Errorf("lock: %w", err)
	}
	if missing > 0 {
		return waitsLock, nil
	}
	return "", nil
}

// unlock lets go of the locks of an attempt of a stage.
func (x *change) unlock(g *stage) error {
	res, err := x.tx.Exec(x.ctx, `DELETE FROM run_locks WHERE run = $1 AND stage = $2 AND attempt = $3`, x.run.ID, g.Name, g.Attempt)
	if err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	x.poke = true
	return nil
}

type lockRow struct {
	ord      int64
	resource string
	run      int64
	stage    string
	attempt  int
	held     bool
	latest   bool
}

// giveLocks gives free locks to those who wait, in their order, and has those end whose place a later run took.
func (s *Service) giveLocks(ctx context.Context) error {
	rows, err := s.db.Query(ctx, `SELECT ord, resource, run, stage, attempt, held, latest FROM run_locks
		WHERE resource IN (SELECT resource FROM run_locks WHERE held = 0) ORDER BY resource, held DESC, ord`)
	list, err := collect(rows, err, func(row scanner) (l lockRow, err error) {
		var held, latest int64
		err = row.Scan(&l.ord, &l.resource, &l.run, &l.stage, &l.attempt, &held, &latest)
		l.held, l.latest = held != 0, latest != 0
		return l, err
	})
	if err != nil {
		return fmt.Errorf("look at locks: %w", err)
	}
	taken := map[string]bool{}
	waiting := map[string][]lockRow{}
	type who struct {
		run     int64
		stage   string
		attempt int
	}
	wants := map[who][]lockRow{}
	var order []who
	for _, l := range list {
		if l.held {
			taken[l.resource] = true
			continue
		}
		waiting[l.resource] = append(waiting[l.resource], l)
		w := who{l.run, l.stage, l.attempt}
		if wants[w] == nil {
			order = append(order, w)
		}
		wants[w] = append(wants[w], l)
	}
	var errs []error
	// A later run takes the place of those before it that wait, if it and they have it so.
	passed := map[who]bool{}
	for _, queue := range waiting {
		for i, l := range queue {
			for _, later := range queue[i+1:] {
				if l.latest && later.latest && later.run != l.run {
					passed[who{l.run, l.stage, l.attempt}] = true
				}
			}
		}
	}
	slices.SortFunc(order, func(a, b who) int { return int(wants[a][0].ord - wants[b][0].ord) })
	for _, w := range order {
		if passed[w] {
			errs = append(errs, s.change(ctx, w.run, func(x *change) error { return x.passedBy(w.stage, w.attempt) }))
			continue
		}
		free := true
		for _, l := range wants[w] {
			free = free && !taken[l.resource]
		}
		for _, l := range wants[w] {
			taken[l.resource] = true // also for those behind it, if it can't have all yet
		}
		if free {
			errs = append(errs, s.change(ctx, w.run, func(x *change) error { return x.gotLocks(w.stage, w.attempt) }))
		}
	}
	return errors.Join(errs...)
}

// gotLocks has a stage hold all the locks it waits for, unless somebody else was faster.
func (x *change) gotLocks(name string, attempt int) error {
	res, err := x.tx.Exec(x.ctx, `UPDATE run_locks SET held = 1 WHERE run = $1 AND stage = $2 AND attempt = $3 AND held = 0
		AND NOT EXISTS (SELECT 1 FROM run_locks w WHERE w.run = $1 AND w.stage = $2 AND w.attempt = $3 AND w.held = 0
			AND EXISTS (SELECT 1 FROM run_locks h WHERE h.resource = w.resource AND h.held = 1))`, x.run.ID, name, attempt)
	if err != nil {
		return fmt.Errorf("lock: %w", err) // on PostgreSQL another node can come first: the index refuses it, and the next tick looks again
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}
	x.moved = true
	return nil
}

// passedBy ends a stage that waits for a lock which a later run will have.
func (x *change) passedBy(name string, attempt int) error {
	if err := x.load(); err != nil {
		return err
	}
	g := x.stage(name)
	if g == nil || g.Attempt != attempt || g.State != work.Pending {
		_, err := x.tx.Exec(x.ctx, `DELETE FROM run_locks WHERE run = $1 AND stage = $2 AND attempt = $3`, x.run.ID, name, attempt)
		return err
	}
	if err := x.decisions(); err != nil {
		return err
	}
	for i := range x.row.state.Stages {
		if st := &x.row.state.Stages[i]; st.Name == name {
			st.Rejected = "A later run waits for the same lock, and lockBehavior is runLatest."
		}
	}
	x.moved = true
	return x.unlock(g)
}

// openHours looks again at stages that wait for the clock, and at whoever waits for a lock or for room.
func (s *Service) openHours(ctx context.Context) error {
	err := s.giveLocks(ctx)
	rows, qerr := s.db.Query(ctx, `SELECT DISTINCT g.run FROM run_stages g JOIN runs r ON r.id = g.run WHERE r.state <> 'completed' AND g.waits = 'hours'`)
	list, qerr := collect(rows, qerr, func(row scanner) (id int64, err error) { return id, row.Scan(&id) })
	errs := []error{err, qerr}
	for _, id := range list {
		errs = append(errs, s.change(ctx, id, func(x *change) error {
			x.moved = true
			return nil
		}))
	}
	return errors.Join(append(errs, s.letIn(ctx))...)
}

// letIn has runs begin that wait for others of their pipeline, or for their pipeline.
func (s *Service) letIn(ctx context.Context) error {
	rows, err := s.db.Query(ctx, `SELECT id, pipeline FROM runs WHERE state <> 'completed' AND waits <> '' ORDER BY id`)
	type waiting struct {
		id       int64
		pipeline string
	}
	list, err := collect(rows, err, func(row scanner) (w waiting, err error) { return w, row.Scan(&w.id, &w.pipeline) })
	if err != nil {
		return fmt.Errorf("look for runs that wait: %w", err)
	}
	var errs []error
	for _, w := range list {
		p, err := s.o.Projects.Pipeline(ctx, w.pipeline)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, s.change(ctx, w.id, func(x *change) error {
			if x.run.waits == "" {
				return nil
			}
			waits, err := x.room(p)
			if err != nil || waits == x.run.waits {
				return err
			}
			x.run.waits = waits
			x.moved = waits == ""
			x.tellRun()
			return nil
		}))
	}
	return errors.Join(errs...)
}

// room says what keeps a run of a pipeline from beginning.
func (x *change) room(p *project.Pipeline) (string, error) {
	if p.State == "paused" {
		return waitsPaused, nil
	}
	if p.Settings.Concurrency <= 0 {
		return "", nil
	}
	if err := lockPipeline(x.ctx, x.tx, p.ID); err != nil {
		return "", err
	}
	var before int
	err := x.tx.QueryRow(x.ctx, `SELECT count(*) FROM runs WHERE pipeline = $1 AND state <> 'completed' AND id <> $2 AND (waits = '' OR id < $2)`, p.ID, x.run.ID).Scan(&before)
	if err != nil {
		return "", fmt.Errorf("count the runs of pipeline %s: %w", p.Name, err)
	}
	if before >= p.Settings.Concurrency {
		return waitsLimit, nil
	}
	return "", nil
}
