package run

import (
	"context"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/pool"
)

// WaitReason says what a job of a run waits for, in a sentence; empty if it does not wait.
func (s *Service) WaitReason(ctx context.Context, c *iam.Caller, id int64, job string) (string, error) {
	r, err := s.visible(ctx, c, "DescribeRun", id)
	if err != nil {
		return "", err
	}
	j, err := readJob(ctx, s.db, job)
	if err != nil {
		return "", err
	}
	if j.run != id {
		return "", errorf(NotFound, "run %d has no job %s", id, job)
	}
	if j.State != Queued {
		return "", nil
	}
	return s.waitReasons(r).of(ctx, j)
}

// maxQueueRead is how many jobs are looked at to tell a position in the queue.
const maxQueueRead = 5000

// reasons finds out what jobs of a run wait for; it looks at each pool once.
type reasons struct {
	s     *Service
	run   *Run
	pools map[string]*poolView
}

type poolView struct {
	pool   *pool.Pool
	may    bool
	agents []*pool.Agent
	queue  []string // ids of jobs in their order
}

func (s *Service) waitReasons(r *Run) *reasons {
	return &reasons{s: s, run: r, pools: map[string]*poolView{}}
}

func (w *reasons) view(ctx context.Context, account, name string) (*poolView, error) {
	if v := w.pools[fold(name)]; v != nil {
		return v, nil
	}
	v := &poolView{}
	var err error
	if v.pool, err = w.s.o.Pools.Find(ctx, account, name); err != nil {
		return nil, err
	}
	if v.pool != nil {
		if v.may, err = w.s.o.Pools.MayUse(ctx, account, name, w.run.PipelineID); err != nil {
			return nil, err
		}
		if v.agents, err = w.s.o.Pools.AgentsOf(ctx, v.pool.ID); err != nil {
			return nil, err
		}
	}
	rows, err := w.s.db.Query(ctx, `SELECT job FROM run_queue WHERE account = $1 AND pool = $2 ORDER BY first, ord LIMIT $3`, account, fold(name), maxQueueRead)
	if v.queue, err = collect(rows, err, func(row scanner) (id string, err error) { return id, row.Scan(&id) }); err != nil {
		return nil, fmt.Errorf("look at the queue of pool %s: %w", name, err)
	}
	w.pools[fold(name)] = v
	return v, nil
}

// of says what a queued job waits for.
func (w *reasons) of(ctx context.Context, j *jobRow) (string, error) {
	if j.server {
		return "waiting for the server to run it", nil
	}
	v, err := w.view(ctx, j.account, j.pool)
	if err != nil {
		return "", err
	}
	const begin = "waiting for an agent in pool %s to accept the request: "
	image, err := w.image(ctx, j)
	if err != nil {
		return "", err
	}
	if !w.run.Trusted {
		image += "; jobs of pull requests from outside go to agents of one job, and to those with the capability " + pool.Outside
	}
	say := func(format string, args ...any) (string, error) {
		return fmt.Sprintf(begin, j.pool) + fmt.Sprintf(format, args...) + image, nil
	}
	switch {
	case v.pool == nil:
		return say("there is no pool of that name yet; make it with: sekisho pool create %q", j.pool)
	case !v.may:
		return say("pipeline %s may not use the pool; permit it with: sekisho pipeline permit -p %s %q pool %q", w.run.Pipeline, w.run.Project, w.run.Pipeline, j.pool)
	case len(v.agents) == 0:
		return say("no agent is registered in it; add one with: sekisho agent config")
	}
	online, matching, ready := 0, 0, 0
	var nearest *pool.Agent
	var lacks []string
	refusals := map[string]int{}
	for _, a := range v.agents {
		missing := a.Matches(j.demands)
		if nearest == nil || len(missing) < len(lacks) {
			nearest, lacks = a, missing
		}
		if !a.Online {
			continue
		}
		if online++; len(missing) > 0 {
			continue
		}
		matching++
		why := a.Refuses()
		if why == "" {
			ready++
		}
		refusals[why]++
	}
	position := 0
	for i, id := range v.queue {
		if id == j.ID {
			position = i + 1
		}
	}
	switch {
	case position == 0 && len(v.queue) < maxQueueRead: // whom it was offered to is busy with it
		return say("it is being given to one")
	case len(lacks) > 0:
		return say("none of its %d agents meets the demand %s (the nearest, %s, lacks %s)", len(v.agents), strings.Join(j.demands, ", "), nearest.Name, strings.Join(lacks, ", "))
	case online == 0:
		return say("none of its %d agents is online", len(v.agents))
	case matching == 0:
		return say("no agent that is online meets the demand %s", strings.Join(j.demands, ", "))
	case ready > 0:
		return say("it is being given to one, position %d in the queue", max(position, 1))
	case refusals["busy"] == matching && matching == 1:
		return say("the one that could run it is busy, position %d in the queue", max(position, 1))
	case refusals["busy"] == matching:
		return say("all %d that could run it are busy, position %d in the queue", matching, max(position, 1))
	}
	var whys []string
	for why, n := range refusals {
		whys = append(whys, fmt.Sprintf("%d %s", n, why))
	}
	return say("of the %d that could run it, %s; position %d in the queue", matching, strings.Join(whys, ", "), max(position, 1))
}

// image says of a job that names an image of hosted agents, and no pool, why it is in this one; it is empty for others.
func (w *reasons) image(ctx context.Context, j *jobRow) (string, error) {
	if j.pool != defaultPool {
		return "", nil
	}
	plan, err := w.s.plan(ctx, j.run)
	if err != nil || plan == nil {
		return "", err
	}
	in := plan.Pool
	for _, g := range plan.Stages {
		if g.Name != j.stage {
			continue
		}
		if g.Pool != nil {
			in = g.Pool
		}
		for _, x := range g.Jobs {
			if x.Name == j.phase && x.Pool != nil {
				in = x.Pool
			}
		}
	}
	if in == nil || in.Name != "" || in.VMImage == "" {
		return "", nil
	}
	return fmt.Sprintf(" (vmImage %s names an image of hosted agents, which this server has not: without the name of a pool, a job waits in pool %s)",
		clip(in.VMImage, 80), defaultPool), nil
}

// stageWaits says what a stage waits for; empty if for nothing but other stages.
func (s *Service) stageWaits(ctx context.Context, id int64, g *stage) (string, error) {
	if g.State != work.Pending {
		return "", nil
	}
	switch g.waits {
	case waitsManual:
		return "it is started by hand (trigger: manual)", nil
	case waitsHours:
		return "the environment takes deployments at certain hours only", nil
	case waitsApproval:
		rows, err := s.db.Query(ctx, `SELECT `+approvalColumns+` FROM run_approvals WHERE run = $1 AND stage = $2 AND attempt = $3 AND state = 'pending'`, id, g.Name, g.Attempt)
		list, err := collect(rows, err, scanApproval)
		if err != nil {
			return "", fmt.Errorf("read approvals: %w", err)
		}
		var parts []string
		for _, a := range list {
			who := "whoever may approve runs"
			if len(a.Approvers) > 0 {
				who = strings.Join(a.Approvers, ", ")
			}
			parts = append(parts, fmt.Sprintf("%s by %d of: %s", a.Name, a.Needed, who))
		}
		return "waiting for approval of " + strings.Join(parts, "; "), nil
	case waitsLock:
		rows, err := s.db.Query(ctx, `SELECT DISTINCT h.run FROM run_locks w JOIN run_locks h ON h.resource = w.resource AND h.held = 1
			WHERE w.run = $1 AND w.stage = $2 AND w.attempt = $3 AND w.held = 0`, id, g.Name, g.Attempt)
		list, err := collect(rows, err, func(row scanner) (n int64, err error) { return n, row.Scan(&n) })
		if err != nil {
			return "", fmt.Errorf("read locks: %w", err)
		}
		if len(list) == 0 {
			return "waiting for the exclusive lock", nil
		}
		return fmt.Sprintf("waiting for the exclusive lock held by run %d", list[0]), nil
	}
	return "", nil
}
