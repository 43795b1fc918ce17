package run

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/project"
)

// IdentityAction is what giving a job an identity token is called in the record. No policy is about it: it is the job's own.
const IdentityAction = "pipelines:IssueIdentityToken"

// ErrNoJob means that somebody else than a job asked for what only jobs get.
var ErrNoJob = errors.New("identity tokens are for jobs: ask with the job's own token, System.AccessToken, as Authorization: Bearer")

// IdentityToken returns an identity token of the job whose own token the caller came with, for an audience. A job of which the
// claim is over gets none. Errors: [ErrNoJob], work.ErrClaimLost, [iam.ErrThrottled], [project.ErrUntrusted],
// *issuer.AudienceError.
func (s *Service) IdentityToken(ctx context.Context, c *iam.Caller, audience string) (string, error) {
	id, ok := iam.JobOf(&c.Principal)
	if !ok {
		return "", s.noToken(c, "*", ErrNoJob)
	}
	job, attempt, _ := strings.Cut(id, "#")
	number, err := strconv.Atoi(attempt)
	if err != nil {
		return "", fmt.Errorf("the token of job %.200q is of no claim", id)
	}
	claim := Claim{Job: job, Attempt: number}
	row, err := readClaim(ctx, s.db, job, number)
	if err != nil {
		return "", fmt.Errorf("read claim of job %s: %w", job, err)
	}
	if row == nil || row.lease == 0 {
		return "", s.noToken(c, job, &errStale{"the job is over"})
	}
	claim.Agent = row.agent
	j, err := s.jobOf(ctx, claim, "IdentityToken")
	if err != nil {
		return "", err
	}
	return s.identityToken(ctx, c, j, audience)
}

// identityToken makes an identity token of a job, and records it.
func (s *Service) identityToken(ctx context.Context, c *iam.Caller, j *project.Job, audience string) (string, error) {
	arn := s.runARN(j.Identity.Account, j.Identity.Project, j.Identity.Run)
	if !s.identities.take(j.ID, s.now()) {
		return "", s.noToken(c, arn, fmt.Errorf("%d identity tokens a minute are for a job: %w", maxIdentities, iam.ErrThrottled))
	}
	text, err := s.o.Projects.IdentityToken(ctx, *j, audience)
	if err != nil {
		return "", s.noToken(c, arn, err)
	}
	// What it is for is in the record, before anybody has it.
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		return s.changed(ctx, tx, Change{Caller: c, Action: IdentityAction, ARN: arn, Detail: fmt.Sprintf("for %s, job %s", clip(audience, maxText), j.ID)})
	})
	if err != nil {
		return "", fmt.Errorf("identity token of job %s: %w", j.ID, err)
	}
	return text, nil
}

// noToken records that a job gets no identity token, and why.
func (s *Service) noToken(c *iam.Caller, arn string, why error) error {
	if s.o.Note != nil {
		s.o.Note(Change{Caller: c, Action: IdentityAction, ARN: arn, Refused: clip(why.Error(), maxText)})
	}
	return why
}

// maxIdentities is how many identity tokens a job gets in a minute, of each node.
const maxIdentities = 60

// identities counts the identity tokens of jobs.
type identities struct {
	mu    sync.Mutex
	from  time.Time      // of the minute; guarded by mu
	count map[string]int // guarded by mu; of jobs that run
}

// take reports whether a job gets one more.
func (i *identities) take(job string, now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if since := now.Sub(i.from); i.count == nil || since < 0 || since >= time.Minute {
		i.from, i.count = now, map[string]int{}
	}
	i.count[job]++
	return i.count[job] <= maxIdentities
}
