package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/issuer"
	"github.com/sekisho/sekisho/internal/meta"
)

const (
	longestGrant  = 12 * time.Hour // of credentials; a job that goes on asks again
	defaultGrant  = time.Hour
	longestToken  = 35 * 24 * time.Hour // of a job, whose end ends it
	maxSources    = 100                 // repositories that a token is for
	maxSessionTag = 256                 // characters
)

var repositoryForm = regexp.MustCompile(`^[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$`)

// Job is a job that is handed out: for whom something is asked.
type Job struct {
	ID        string // of job and attempt, never used again: what the token and the credentials end with
	Identity  work.Identity
	Until     time.Time // its latest end; zero: not known
	Untrusted bool      // of a pull request from outside
}

// Subject returns what an identity token of a job is about. It has ids, which stay when names change.
func Subject(id *work.Identity) string {
	subject := "project:" + id.ProjectID + ":pipeline:" + id.PipelineID
	if id.Environment != "" {
		return subject + ":environment:" + id.Environment
	}
	return subject + ":ref:" + id.Ref
}

// principal returns the session of its project's role that a job acts as.
func (j *Job) principal(p *Project) iam.Principal {
	name := sessionName(j.Identity.Pipeline, j.Identity.Run)
	return iam.Principal{
		Account: p.Account, Type: iam.AssumedRole, Role: p.RoleARN(), ID: p.RoleID + ":" + name, Name: name,
		ARN: "arn:aws:sts::" + p.Account + ":assumed-role/" + p.Name + "/" + name,
	}
}

var notInSession = regexp.MustCompile(`[^\w+=,.@-]+`)

// sessionName returns "<pipeline>-<run>" with the characters that names of sessions have, 64 at most.
func sessionName(pipeline string, run int64) string {
	number := "-" + strconv.FormatInt(run, 10)
	name := notInSession.ReplaceAllString(pipeline, "-")
	return name[:min(len(name), 64-len(number))] + number
}

// tags are what policies know a session by, as aws:PrincipalTag/….
func (j *Job) tags() map[string]string {
	tags := map[string]string{}
	for key, value := range map[string]string{
		"project": j.Identity.Project, "pipeline": j.Identity.Pipeline, "ref": j.Identity.Ref, "environment": j.Identity.Environment,
		"stage": j.Identity.Stage, "job": j.Identity.Job, "repository": j.Identity.Repository, "reason": j.Identity.Reason,
	} {
		if runes := []rune(value); len(runes) > 0 && len(runes) <= maxSessionTag { // cut it would match another's
			tags[key] = value
		}
	}
	return tags
}

// of returns the project of a job with its role.
func (s *Service) of(ctx context.Context, j *Job) (*Project, error) {
	if j.ID == "" || j.Identity.Pipeline == "" || j.Identity.Run <= 0 {
		return nil, errors.New("a job needs an id, a pipeline and a run")
	}
	p, err := s.Project(ctx, j.Identity.ProjectID)
	if err != nil {
		return nil, err
	}
	return p, s.ensureRole(ctx, nil, p)
}

// used records that a job uses something of its project.
func (s *Service) used(ctx context.Context, j Job, action string, h *head) error {
	who := j.principal(h.project)
	return s.update(ctx, who.Caller(), action, h.arn, j.label(), func(*meta.Tx) error { return nil })
}

func (j *Job) label() string {
	return fmt.Sprintf("run %d of %s/%s, job %s on %s", j.Identity.Run, j.Identity.Project, j.Identity.Pipeline, j.ID, j.Identity.Ref)
}

// Credentials returns temporary credentials of a job, for the registry and the APIs of this instance: a session of its
// project's role under the name "<pipeline>-<run>", with the job's tags. They end with the job, and after twelve hours. A
// job from outside gets none: nil. Errors: *iam.DeniedError if the role does not trust jobs any more; [*Error] of kind
// Conflict if it is gone.
func (s *Service) Credentials(ctx context.Context, j Job) (*work.Credentials, error) {
	if j.Untrusted {
		return nil, nil
	}
	p, err := s.of(ctx, &j)
	if err != nil {
		return nil, err
	}
	who := j.principal(p)
	tags := j.tags()
	if err := s.trusted(ctx, p, who.Caller(), tags); err != nil {
		return nil, err
	}
	now := s.now()
	until := now.Add(defaultGrant)
	if !j.Until.IsZero() {
		until = j.Until
	}
	if end := now.Add(longestGrant); until.After(end) {
		until = end
	}
	if !until.After(now) {
		return nil, fmt.Errorf("credentials of job %s: it is over since %s", j.ID, until)
	}
	who.Session = &iam.Session{Expires: until, Tags: tags}
	made, err := s.o.Keys.NewJobSession(ctx, j.ID, iam.Grant{Principal: who, Also: func(ctx context.Context, tx *meta.Tx, c *iam.Credentials) error {
		return s.o.OnChange(ctx, tx, Change{
			Caller: system(nil, p.Account), Action: "sts:AssumeRole", Resource: who.Role,
			Detail: c.AccessKeyID + " until " + c.Expires.Format(time.RFC3339) + " for " + j.label(),
		})
	}})
	if err != nil {
		return nil, fmt.Errorf("credentials of job %s: %w", j.ID, s.gone(err, p))
	}
	return &work.Credentials{
		AccessKeyID: made.AccessKeyID, SecretAccessKey: made.Secret.Reveal(), SessionToken: made.SessionToken.Reveal(), Expires: made.Expires,
	}, nil
}

// JobToken returns a token with which a job pulls repositories of source, by their names "project/name", and is known as that
// job, see [iam.JobOf]. It ends with the job. Each must be the pipeline's own or one that it is authorised for; a job from
// outside gets its own alone. Errors: [ErrNotFound], [*NotAuthorizedError], [ErrUntrusted].
func (s *Service) JobToken(ctx context.Context, j Job, repositories []string) (string, error) {
	p, err := s.of(ctx, &j)
	if err != nil {
		return "", err
	}
	if len(repositories) > maxSources {
		return "", errorf(Limit, "", "a job reads at most %d repositories", maxSources)
	}
	arns := make([]string, 0, len(repositories))
	for _, name := range repositories {
		arn, err := s.readable(ctx, &j, p, name)
		if err != nil {
			return "", err
		}
		text, err := json.Marshal(arn)
		if err != nil {
			return "", err
		}
		arns = append(arns, string(text))
	}
	limits := []string{} // allows nothing
	if len(arns) > 0 {
		limits = append(limits, `{"Version":"2012-10-17","Statement":[{"Sid":"sources","Effect":"Allow","Action":"git:Pull","Resource":[`+strings.Join(arns, ",")+`]}]}`)
	}
	now := s.now()
	until := now.Add(longestToken)
	if !j.Until.IsZero() && j.Until.Before(until) {
		until = j.Until
	}
	who := j.principal(p)
	who.Session = &iam.Session{Expires: until, Tags: j.tags(), Policies: limits}
	token, err := s.o.Keys.NewJobToken(ctx, iam.JobGrant{Job: j.ID, Principal: who})
	if err != nil {
		return "", s.gone(err, p)
	}
	return token.Reveal(), nil
}

// readable returns the ARN of a repository of source that a job may read.
func (s *Service) readable(ctx context.Context, j *Job, p *Project, name string) (string, error) {
	if s.o.Lookup == nil {
		return "", noSuch("repository", clip(name))
	}
	id, arn, err := s.o.Lookup(ctx, p.Account, KindRepository, name)
	if err != nil {
		return "", err
	}
	if strings.ContainsAny(arn, "*?$") { // it becomes a pattern
		return "", fmt.Errorf("token of job %s: %q is no ARN of one repository", j.ID, arn)
	}
	if j.Untrusted {
		pipeline, err := s.Pipeline(ctx, j.Identity.PipelineID)
		if err != nil {
			return "", err
		}
		if pipeline.RepositoryKind != RepositoryGit || pipeline.Repository != fold(id) {
			return "", ErrUntrusted
		}
		return arn, nil
	}
	_, err = s.usable(ctx, j.Identity.PipelineID, Use{Kind: KindRepository, Name: name, ID: id})
	return arn, err
}

// IdentityToken returns a token of the instance's issuer that says what a job is a part of, for an audience. Errors:
// [ErrUntrusted]; [*issuer.AudienceError].
func (s *Service) IdentityToken(ctx context.Context, j Job, audience string) (string, error) {
	if j.Untrusted {
		return "", ErrUntrusted
	}
	if j.Identity.ProjectID == "" || j.Identity.PipelineID == "" || j.Identity.Ref == "" {
		return "", fmt.Errorf("identity token of job %s: its identity is not whole", j.ID)
	}
	var life time.Duration
	if !j.Until.IsZero() {
		if life = j.Until.Sub(s.now()); life <= 0 {
			return "", fmt.Errorf("identity token of job %s: it is over", j.ID)
		}
		life = min(life, 10*time.Minute)
	}
	return s.o.Issuer.Token(ctx, issuer.Claims{Subject: Subject(&j.Identity), More: &j.Identity}, audience, life)
}

// Ended takes from a job what it was given: its token and its credentials are refused from the next request on, on every
// node. It may be called again.
func (s *Service) Ended(ctx context.Context, jobID string) error {
	return s.o.Keys.EndJob(ctx, jobID)
}
