package iam

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// jobKey is the condition key that a caller with the token of a job has, and nobody else: it is the job.
const jobKey = "pipelines:job"

// JobGrant is what the token of a job is to be.
type JobGrant struct {
	Job string // what the token ends with, see [Service.EndJob]
	// Principal is the session of a role that the token acts as. Its ID and Session must be set, with at least the end and
	// what limits it: a token without session policies is not made.
	Principal Principal
}

// NewJobToken makes a token that a job shows for what it asks of the server. Nothing is decided here. It is looked up for
// each request and not remembered, so that it ends with the job and ending it costs nobody else anything. Errors:
// [ErrPrincipalGone].
func (s *Service) NewJobToken(ctx context.Context, g JobGrant) (Secret, error) {
	p, now := &g.Principal, s.now().UTC().Truncate(time.Microsecond)
	if g.Job == "" || p.Type != AssumedRole || p.ID == "" || p.ARN == "" || p.Session == nil || p.Session.Policies == nil || !now.Before(p.Session.Expires) {
		return Secret{}, fmt.Errorf("new token of job %q: the grant is not whole", g.Job)
	}
	grants, err := json.Marshal(sessionGrant{
		ARN: p.ARN, Type: p.Type.String(), ID: p.ID, Name: p.Name, Role: p.Role,
		Policies: p.Session.Policies, Tags: p.Session.Tags, Keys: p.Session.Keys,
	})
	if err != nil {
		return Secret{}, fmt.Errorf("new token of job %s: %w", g.Job, err)
	}
	text, id := newBearer(jobPrefix)
	hash, err := s.bearerHash(ctx, text)
	if err != nil {
		return Secret{}, err
	}
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO job_tokens (id, account, owner, job, grants, hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			id, p.Account, p.owner(), g.Job, string(grants), hash, now.UnixMicro(), p.Session.Expires.UTC().Truncate(time.Second).UnixMicro())
		return err
	})
	if meta.IsForeignKey(err) {
		err = ErrPrincipalGone
	}
	if err != nil {
		return Secret{}, fmt.Errorf("new token of job %s: %w", g.Job, err)
	}
	return NewSecret(text), nil
}

// NewJobSession is NewSession for credentials that end with a job, see [Service.EndJob].
func (s *Service) NewJobSession(ctx context.Context, job string, g Grant) (*Credentials, error) {
	also := g.Also
	g.Also = func(ctx context.Context, tx *meta.Tx, c *Credentials) error {
		_, err := tx.Exec(ctx, `INSERT INTO job_sessions (id, job) VALUES ($1, $2)`, c.AccessKeyID, job)
		if err == nil && also != nil {
			err = also(ctx, tx, c)
		}
		return err
	}
	return s.NewSession(ctx, g)
}

// EndJob ends the tokens and the credentials of a job at once. It may be called again.
func (s *Service) EndJob(ctx context.Context, job string) error {
	// Sessions are remembered, so their end begins a generation, which is not for nothing: most jobs have some.
	var sessions bool
	if err := s.db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM job_sessions WHERE job = $1)`, job).Scan(&sessions); err != nil {
		return fmt.Errorf("end the credentials of job %s: %w", job, err)
	}
	err := s.db.Update(ctx, func(tx *meta.Tx) error {
		if sessions {
			if err := s.generation.Bump(ctx, tx); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `DELETE FROM sessions WHERE id IN (SELECT id FROM job_sessions WHERE job = $1)`, job); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `DELETE FROM job_tokens WHERE job = $1`, job)
		return err
	})
	if err != nil {
		return fmt.Errorf("end the credentials of job %s: %w", job, err)
	}
	return nil
}

// JobOf returns the job whose token a principal came with.
func JobOf(p *Principal) (job string, ok bool) {
	if p == nil || p.Session == nil || !strings.HasPrefix(p.AccessKeyID, jobIDPrefix) || len(p.Session.Keys[jobKey]) != 1 {
		return "", false
	}
	return p.Session.Keys[jobKey][0], true
}

// goodJobs remembers which tokens of jobs were good lately: those are looked at whoever else is at that address.
type goodJobs struct {
	mu    sync.Mutex
	known map[string]struct{} // guarded by mu; ids, at most maxKeys
}

func (g *goodJobs) good(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known == nil || len(g.known) >= maxKeys {
		g.known = make(map[string]struct{})
	}
	g.known[id] = struct{}{}
}

func (g *goodJobs) has(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.known[id]
	return ok
}

// jobToken reads the token of a job. Looking for one that is not there costs the client some of its allowance.
func (s *Service) jobToken(ctx context.Context, id string, now time.Time, from netip.Addr) (*liveKey, error) {
	if !s.throttle.allows(from, now) && !s.jobs.has(id) {
		return nil, ErrThrottled
	}
	k := &liveKey{principal: Principal{AccessKeyID: id, Session: &Session{}}}
	p := &k.principal
	var job, grants string
	var hash []byte
	var created, expires int64
	err := s.db.QueryRow(ctx, `SELECT account, job, grants, hash, created_at, expires_at FROM job_tokens WHERE id = $1`, id).
		Scan(&p.Account, &job, &grants, &hash, &created, &expires)
	if errors.Is(err, sql.ErrNoRows) || err == nil && now.UnixMicro() >= expires {
		s.throttle.spend(from, now)
		return nil, ErrUnknownKey
	}
	var g sessionGrant
	if err == nil {
		err = json.Unmarshal([]byte(grants), &g)
	}
	if err == nil && (g.Type != AssumedRole.String() || g.Policies == nil) {
		err = errors.New("the row was changed: it limits nothing")
	}
	if err != nil {
		return nil, describeToken(id, err)
	}
	k.secret, k.expires = string(hash), time.UnixMicro(expires).UTC()
	p.Type, p.ARN, p.ID, p.Name, p.Role = AssumedRole, g.ARN, g.ID, g.Name, g.Role
	*p.Session = Session{Issued: time.UnixMicro(created).UTC(), Expires: k.expires, Policies: g.Policies, Tags: g.Tags, Keys: map[string][]string{jobKey: {job}}}
	for key, values := range g.Keys {
		if key != jobKey {
			p.Session.Keys[key] = values
		}
	}
	return k, nil
}
