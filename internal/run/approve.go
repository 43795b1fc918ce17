package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
)

// Approval is something that waits, or waited, for people: a stage that deploys to an environment, or a ManualValidation
// step.
type Approval struct {
	ID           string
	Run          int64
	Stage        string
	StageAttempt int
	Job, Step    string // of a step that waits
	Environment  string // id
	Name         string // of what is protected
	Instructions string
	Approvers    []string // ARNs; nil: whoever may approve runs
	Needed       int
	State        string // "pending", "approved", "rejected", "expired", "canceled"
	Expires      time.Time
	Created      time.Time
	Ended        time.Time
	Answers      []Answer

	phase     string
	own       bool
	inOrder   bool
	timeoutAs string
	outcome   string
}

// Answer is what somebody said.
type Answer struct {
	Who      string // ARN
	Approved bool
	Comment  string
	At       time.Time
}

const approvalColumns = `id, run, stage, attempt, phase, job, step, environment, name, instructions, approvers, needed, own, timeout_as, state,
	expires_at, created_at, ended_at`

// approvers is the column of that name.
type approvers struct {
	Who     []string `json:",omitempty"`
	InOrder bool     `json:",omitempty"`
	Outcome string   `json:",omitempty"` // why it was not approved
}

func scanApproval(row scanner) (*Approval, error) {
	a := &Approval{}
	var list string
	var own, expires, created, ended int64
	err := row.Scan(&a.ID, &a.Run, &a.Stage, &a.StageAttempt, &a.phase, &a.Job, &a.Step, &a.Environment, &a.Name, &a.Instructions, &list, &a.Needed, &own,
		&a.timeoutAs, &a.State, &expires, &created, &ended)
	if err != nil {
		return nil, err
	}
	var who approvers
	if err := json.Unmarshal([]byte(list), &who); err != nil {
		return nil, fmt.Errorf("approval %s: %w", a.ID, err)
	}
	a.Approvers, a.inOrder, a.outcome, a.own = who.Who, who.InOrder, who.Outcome, own != 0
	a.Expires, a.Created, a.Ended = fromMicros(expires), fromMicros(created), fromMicros(ended)
	return a, nil
}

// ask begins an approval.
func (x *change) ask(a *Approval) error {
	_, err := x.tx.Exec(x.ctx, `INSERT INTO run_approvals (`+approvalColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, 0)`,
		a.ID, a.Run, a.Stage, a.StageAttempt, a.phase, a.Job, a.Step, a.Environment, clip(a.Name, maxText), clip(a.Instructions, maxMessage),
		toJSON(approvers{Who: a.Approvers, InOrder: a.inOrder}), a.Needed, flag(a.own), a.timeoutAs, a.State, micros(a.Expires), micros(a.Created))
	if err != nil {
		return fmt.Errorf("ask for approval of run %d: %w", a.Run, err)
	}
	x.tell(Event{Type: ApprovalEvent, Stage: a.Stage, Attempt: a.StageAttempt, Approval: a.ID, Name: a.Name, Message: a.State})
	return nil
}

// Approvals lists those of a run, the newest first, with their answers.
func (s *Service) Approvals(ctx context.Context, c *iam.Caller, id int64) ([]*Approval, error) {
	if _, err := s.visible(ctx, c, "DescribeRun", id); err != nil {
		return nil, err
	}
	return s.approvals(ctx, id)
}

func (s *Service) approvals(ctx context.Context, id int64) ([]*Approval, error) {
	rows, err := s.db.Query(ctx, `SELECT `+approvalColumns+` FROM run_approvals WHERE run = $1 ORDER BY created_at DESC, id`, id)
	list, err := collect(rows, err, scanApproval)
	if err != nil {
		return nil, fmt.Errorf("list approvals of run %d: %w", id, err)
	}
	for _, a := range list {
		if a.Answers, err = answers(ctx, s.db, a.ID); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func answers(ctx context.Context, q reader, id string) ([]Answer, error) {
	rows, err := q.Query(ctx, `SELECT who, approved, comment, at FROM run_answers WHERE approval = $1 ORDER BY at`, id)
	list, err := collect(rows, err, func(row scanner) (a Answer, err error) {
		var approved, at int64
		err = row.Scan(&a.Who, &approved, &a.Comment, &at)
		a.Approved, a.At = approved != 0, fromMicros(at)
		return a, err
	})
	if err != nil {
		return nil, fmt.Errorf("read answers: %w", err)
	}
	return list, nil
}

// Answer approves or rejects. Besides the permission to approve runs, it takes to be one of the approvers, if they are
// named. Errors: *iam.DeniedError, [*Error] of kinds NotFound, Conflict and Invalid.
func (s *Service) Answer(ctx context.Context, c *iam.Caller, id int64, approval string, approve bool, comment string) error {
	r, err := s.visible(ctx, c, "ApproveRun", id)
	if err != nil {
		return err
	}
	as, err := s.approver(ctx, c, r, approval)
	if err != nil {
		return err
	}
	return s.change(ctx, id, func(x *change) error {
		a, err := scanApproval(x.tx.QueryRow(ctx, `SELECT `+approvalColumns+` FROM run_approvals WHERE run = $1 AND id = $2`, id, approval))
		if err != nil {
			return notFound(err, "run %d has no approval %s", id, approval)
		}
		if a.State != "pending" {
			return errorf(Conflict, "the approval of %s was %s already", a.Name, a.State)
		}
		given, err := answers(ctx, x.tx, a.ID)
		if err != nil {
			return err
		}
		if err := mayAnswer(c, a, given, as); err != nil {
			return err
		}
		_, err = x.tx.Exec(ctx, `INSERT INTO run_answers (approval, who, approved, comment, at) VALUES ($1, $2, $3, $4, $5)`,
			a.ID, c.Who(), flag(approve), clip(comment, maxMessage), x.now.UnixMicro())
		if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		approved := 1
		for _, g := range given {
			if g.Approved {
				approved++
			}
		}
		verb := "approved"
		if !approve {
			verb = "rejected"
		}
		err = s.changed(ctx, x.tx, Change{Caller: c, Action: "pipelines:ApproveRun", ARN: s.runARN(r.Account, r.Project, r.ID), Detail: verb + " " + a.Name})
		if err != nil {
			return err
		}
		switch {
		case !approve:
			return x.endApproval(a, "rejected", strings.TrimSuffix(fmt.Sprintf("%s rejected it: %s", shortName(c.Who()), comment), ": "))
		case approved >= a.Needed:
			return x.endApproval(a, "approved", comment)
		}
		x.tell(Event{Type: ApprovalEvent, Stage: a.Stage, Attempt: a.StageAttempt, Approval: a.ID, Name: a.Name, Message: a.State})
		return nil
	})
}

// approver returns which of the approvers of an environment a caller is; "" where none are named.
func (s *Service) approver(ctx context.Context, c *iam.Caller, r *Run, approval string) (string, error) {
	a, err := scanApproval(s.db.QueryRow(ctx, `SELECT `+approvalColumns+` FROM run_approvals WHERE run = $1 AND id = $2`, r.ID, approval))
	if err != nil {
		return "", notFound(err, "run %d has no approval %s", r.ID, approval)
	}
	if a.Environment == "" {
		if len(a.Approvers) > 0 && !slices.Contains(a.Approvers, c.Who()) && (c == nil || !slices.Contains(a.Approvers, c.Role)) {
			return "", errorf(Invalid, "%s is not among those who may answer: %s", c.Who(), strings.Join(a.Approvers, ", "))
		}
		return "", nil
	}
	e, err := s.o.Projects.Environment(ctx, r.PipelineID, a.Name)
	if err != nil {
		return "", fmt.Errorf("environment %s: %w", a.Name, err)
	}
	as, err := s.o.Projects.Approver(ctx, c, e, r.RequestedBy)
	if err != nil {
		return "", err
	}
	if as == "" {
		if c.Who() == r.RequestedBy && !a.own {
			return "", errorf(Invalid, "who asked for a run can't approve it: environment %s has it so", a.Name)
		}
		return "", errorf(Invalid, "%s is not among those who may approve %s: %s", c.Who(), a.Name, strings.Join(a.Approvers, ", "))
	}
	return as, nil
}

// mayAnswer reports why a caller, who is one of the approvers, can't answer now.
func mayAnswer(c *iam.Caller, a *Approval, given []Answer, as string) error {
	if slices.ContainsFunc(given, func(g Answer) bool { return g.Who == c.Who() }) {
		return errorf(Conflict, "%s has answered already", c.Who())
	}
	if index := slices.Index(a.Approvers, as); a.inOrder && index > len(given) {
		return errorf(Conflict, "approvals of %s are given in order, and %s comes first", a.Name, a.Approvers[len(given)])
	}
	return nil
}

// endApproval ends one, and has go on what waits for it.
func (x *change) endApproval(a *Approval, state, why string) error {
	who := approvers{Who: a.Approvers, InOrder: a.inOrder, Outcome: why}
	_, err := x.tx.Exec(x.ctx, `UPDATE run_approvals SET state = $1, ended_at = $2, approvers = $3 WHERE id = $4`, state, x.now.UnixMicro(), toJSON(who), a.ID)
	if err != nil {
		return fmt.Errorf("end approval: %w", err)
	}
	x.tell(Event{Type: ApprovalEvent, Stage: a.Stage, Attempt: a.StageAttempt, Approval: a.ID, Name: a.Name, Message: state})
	x.wake(approvalTopic(a.ID))
	x.moved = a.Job == ""
	return nil
}

func approvalTopic(id string) string { return "approval/" + id }

// endApprovals ends those that nobody answered in time.
func (s *Service) endApprovals(ctx context.Context) error {
	rows, err := s.db.Query(ctx, `SELECT `+approvalColumns+` FROM run_approvals WHERE state = 'pending' AND expires_at > 0 AND expires_at < $1`, s.now().UnixMicro())
	list, err := collect(rows, err, scanApproval)
	if err != nil {
		return fmt.Errorf("look for approvals that nobody gave: %w", err)
	}
	var errs []error
	for _, old := range list {
		errs = append(errs, s.change(ctx, old.Run, func(x *change) error {
			a, err := scanApproval(x.tx.QueryRow(ctx, `SELECT `+approvalColumns+` FROM run_approvals WHERE id = $1`, old.ID))
			if err != nil || a.State != "pending" {
				return err
			}
			if a.timeoutAs == "resume" {
				return x.endApproval(a, "approved", "nobody answered in time, and the step goes on then")
			}
			return x.endApproval(a, "expired", fmt.Sprintf("Nobody approved %s until %s.", a.Name, a.Expires.Format(time.RFC3339)))
		}))
	}
	return errors.Join(errs...)
}

// Approve waits for people, for a step of a job: work.Server.
func (s *Service) Approve(ctx context.Context, c Claim, step, instructions string, notify []string, timeout time.Duration, onTimeout string) (work.Result, string, error) {
	var a *Approval
	err := s.claimed(ctx, c, "Approve", func(x *change, _ *claimRow) error {
		j, err := readJob(ctx, x.tx, c.Job)
		if err != nil {
			return err
		}
		rows, err := x.tx.Query(ctx, `SELECT `+approvalColumns+` FROM run_approvals WHERE run = $1 AND job = $2 AND step = $3`, x.run.ID, c.Job, step)
		list, err := collect(rows, err, scanApproval)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			a = list[0] // the call was repeated, maybe by the next who has the job
			return nil
		}
		a = &Approval{ID: uuid.NewString(), Run: x.run.ID, Stage: j.stage, StageAttempt: j.stageAttempt, phase: j.phase, Job: c.Job, Step: step,
			Name: j.DisplayName, Instructions: instructions, Needed: 1, own: true, timeoutAs: onTimeout, State: "pending", Created: x.now}
		for _, who := range notify {
			if strings.HasPrefix(who, "arn:") {
				a.Approvers = append(a.Approvers, who)
			}
		}
		if timeout > 0 {
			a.Expires = x.now.Add(timeout)
		}
		return x.ask(a)
	})
	if err != nil {
		return "", "", err
	}
	wake, stop := s.hub.listen(approvalTopic(a.ID), runTopic(a.Run))
	defer stop()
	for {
		now, err := scanApproval(s.db.QueryRow(ctx, `SELECT `+approvalColumns+` FROM run_approvals WHERE id = $1`, a.ID))
		if err != nil {
			return "", "", notFound(err, "the approval is gone")
		}
		switch now.State {
		case "approved":
			return work.Succeeded, now.outcome, nil
		case "rejected", "expired":
			return work.Failed, now.outcome, nil
		case "canceled":
			return work.Canceled, "", nil
		}
		if _, err := s.verify(ctx, s.db, c, "Approve"); err != nil {
			return "", "", err
		}
		select {
		case <-ctx.Done():
			return "", "", ctx.Err()
		case <-wake:
		}
	}
}
