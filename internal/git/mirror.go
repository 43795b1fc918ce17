package git

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
)

// Mirror says where a repository is filled from.
type Mirror struct {
	URL string
	// Credential is where user and password are found, as [Options].Credential understands it; empty for none. With one,
	// redirects are not followed, as it would be sent on.
	Credential string
	Pulls      bool          // refs/pull/* too
	Every      time.Duration // between fetches; 0: by demand only
}

// MirrorState is how it goes.
type MirrorState struct {
	Mirror
	Due      time.Time // when it is fetched next; zero: by demand only
	Tried    time.Time // zero: never
	Fetched  time.Time // zero: never
	Failures int64     // since it was fetched last
	Error    string    // of the last try; empty for none
}

const (
	minMirrorEvery = time.Minute
	mirrorTime     = time.Hour // bounds one fetch
	maxMirrorError = 2000
)

func (s *Service) checkMirror(ctx context.Context, c *iam.Caller, m *Mirror) error {
	u, err := checkMirrorURL(m.URL)
	if err != nil {
		return err
	}
	m.URL = u.String()
	switch {
	case m.Every != 0 && m.Every < minMirrorEvery:
		return errorf(Invalid, "a mirror is fetched every %s at most, or by demand only", minMirrorEvery)
	case m.Credential != "" && s.o.Credential == nil:
		return errorf(Invalid, "there are no credentials for mirrors here")
	case len(m.Credential) > 2048 || strings.ContainsRune(m.Credential, 0):
		return errorf(Invalid, "the name of the mirror's credential is too long")
	case m.Credential != "" && u.Scheme != "https" && !s.allowedPlain(u.Hostname()):
		return errorf(Invalid, "a credential is only sent over https")
	}
	if m.Credential != "" {
		if _, _, err := s.o.Credential(ctx, c, m.Credential); err != nil {
			return fmt.Errorf("credential of the mirror: %w", err)
		}
	}
	return nil
}

// allowedPlain reports whether a host is named by git.mirror_allow, so that it is in the network of whoever runs the server.
func (s *Service) allowedPlain(host string) bool {
	for _, a := range s.o.MirrorAllow {
		if strings.EqualFold(a, host) {
			return true
		}
	}
	return false
}

func mirrorDetail(m *Mirror) string {
	if m == nil {
		return ""
	}
	return "mirror of " + m.URL
}

func (s *Service) insertMirror(ctx context.Context, tx *meta.Tx, id string, m *Mirror) error {
	_, err := tx.Exec(ctx, `INSERT INTO git_mirrors (repository_id, url, credential, pulls, period, due_at, tried_at, fetched_at, failures, error)
		VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, '')
		ON CONFLICT (repository_id) DO UPDATE SET url = excluded.url, credential = excluded.credential, pulls = excluded.pulls,
		period = excluded.period, due_at = excluded.due_at, failures = 0, error = ''`,
		id, m.URL, m.Credential, bit(m.Pulls), m.Every.Microseconds(), dueAfter(s.now(), m.Every))
	if err != nil {
		return err
	}
	_, _, err = s.jobs.Enqueue(ctx, tx, job.Spec{Kind: MirrorJob, Unique: id, Payload: id})
	return err
}

func dueAfter(now time.Time, every time.Duration) int64 {
	if every <= 0 {
		return 0
	}
	return now.Add(every).UnixMicro()
}

// PutMirror changes where a mirror is filled from, and fetches it. Only what was made a mirror is one. Errors: *iam.DeniedError,
// kinds NotFound and Invalid.
func (s *Service) PutMirror(ctx context.Context, c *iam.Caller, n Name, m Mirror) error {
	r, err := s.mirror(ctx, c, "UpdateRepository", n)
	if err != nil {
		return err
	}
	if err := s.checkMirror(ctx, c, &m); err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		if err := s.insertMirror(ctx, tx, r.ID, &m); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "UpdateRepository", r.ARN, mirrorDetail(&m))
	})
}

// StopMirror makes a mirror a repository of its own, which can be pushed to. Errors: *iam.DeniedError, kinds NotFound and Invalid.
func (s *Service) StopMirror(ctx context.Context, c *iam.Caller, n Name) error {
	r, err := s.mirror(ctx, c, "UpdateRepository", n)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM git_mirrors WHERE repository_id = $1`, r.ID); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "UpdateRepository", r.ARN, "no mirror any more")
	})
}

// MirrorState returns how a mirror goes. Errors: *iam.DeniedError, kinds NotFound and Invalid.
func (s *Service) MirrorState(ctx context.Context, c *iam.Caller, n Name) (*MirrorState, error) {
	r, err := s.mirror(ctx, c, "DescribeRepository", n)
	if err != nil {
		return nil, err
	}
	return s.mirrorState(ctx, r.ID)
}

// FetchMirror has a mirror be fetched soon. Errors: *iam.DeniedError, kinds NotFound and Invalid.
func (s *Service) FetchMirror(ctx context.Context, c *iam.Caller, n Name) error {
	r, err := s.mirror(ctx, c, "UpdateRepository", n)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		_, _, err := s.jobs.Enqueue(ctx, tx, job.Spec{Kind: MirrorJob, Unique: r.ID, Payload: r.ID})
		return err
	})
}

// mirror is allowed for a repository that is one.
func (s *Service) mirror(ctx context.Context, c *iam.Caller, action string, n Name) (*Repository, error) {
	r, err := s.allowed(ctx, c, action, n)
	if err == nil && !r.Mirror {
		return nil, errorf(Invalid, "%s/%s is not a mirror", r.Project, r.Name)
	}
	return r, err
}

func (s *Service) mirrorState(ctx context.Context, id string) (*MirrorState, error) {
	m := &MirrorState{}
	var pulls, every, due, tried, fetched int64
	err := s.db.QueryRow(ctx, `SELECT url, credential, pulls, period, due_at, tried_at, fetched_at, failures, error FROM git_mirrors WHERE repository_id = $1`, id).
		Scan(&m.URL, &m.Credential, &pulls, &every, &due, &tried, &fetched, &m.Failures, &m.Error)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errorf(NotFound, "the repository is not a mirror any more")
	}
	if err != nil {
		return nil, fmt.Errorf("read mirror: %w", err)
	}
	m.Pulls, m.Every = pulls != 0, time.Duration(every)*time.Microsecond
	m.Due, m.Tried, m.Fetched = moment(due), moment(tried), moment(fetched)
	return m, nil
}

// fetchMirror fetches a mirror now, and writes down how it went. The error is one that another try may mend at once.
func (s *Service) fetchMirror(ctx context.Context, id string) error {
	r, err := s.ByID(ctx, id)
	if errors.Is(err, ErrOf(NotFound)) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	m, err := s.mirrorState(ctx, id)
	if errors.Is(err, ErrOf(NotFound)) {
		return nil
	}
	if err != nil {
		return err
	}
	started := s.now()
	failure := s.fetchInto(ctx, r, m)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	text := ""
	if failure != nil {
		text = clip(failure.Error(), maxMirrorError)
		s.o.Logger.Warn("mirror was not fetched", "repo", r.ARN, "err", text)
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		ok := failure == nil
		wait := m.Every
		for range min(m.Failures, 6) { // a failing one is tried less and less
			if !ok && wait > 0 && wait < 6*time.Hour {
				wait *= 2
			}
		}
		_, err := tx.Exec(ctx, `UPDATE git_mirrors SET tried_at = $2, fetched_at = CASE WHEN $3 = 1 THEN $2 ELSE fetched_at END,
			failures = CASE WHEN $3 = 1 THEN 0 ELSE failures + 1 END, error = $4, due_at = $5 WHERE repository_id = $1`,
			id, started.UnixMicro(), bit(ok), text, dueAfter(s.now(), wait))
		return err
	})
}

// fetchInto brings the refs and objects of a mirror, and tells what changed.
func (s *Service) fetchInto(ctx context.Context, r *Repository, m *MirrorState) error {
	ctx, cancel := context.WithTimeout(ctx, mirrorTime)
	defer cancel()
	u, err := checkMirrorURL(m.URL)
	if err != nil {
		return err
	}
	gc, err := s.lock(ctx, r.ID, gcLock, true)
	if err != nil {
		return err
	}
	defer gc()
	release, err := s.lock(ctx, r.ID, refsLock, false) // nobody else changes refs of a mirror
	if err != nil {
		return err
	}
	defer release()
	used, err := s.diskSize(r.ID)
	if err != nil {
		return err
	}
	left := s.maxSize(r) - used
	if left <= 0 {
		return errorf(TooLarge, "the repository has %s, and may have %s", bytesText(used), bytesText(s.maxSize(r)))
	}
	g, err := newGuard(ctx, s.o.MirrorAllow, left)
	if err != nil {
		return err
	}
	config := [][2]string{
		{"http.proxy", g.url()}, {"http.proxyAuthMethod", "basic"}, {"http.followRedirects", "initial"},
		{"http.lowSpeedLimit", "1000"}, {"http.lowSpeedTime", "60"}, {"http.userAgent", "sekisho-mirror"}, {"http.version", "HTTP/1.1"},
		{"protocol.http.allow", "always"}, {"protocol.https.allow", "always"},
	}
	if s.o.MirrorCA != "" {
		config = append(config, [2]string{"http.sslCAInfo", s.o.MirrorCA})
	}
	if m.Credential != "" {
		user, password, err := s.o.Credential(ctx, iam.SystemCaller(r.Account, "git-mirror"), m.Credential)
		if err != nil {
			return errors.Join(fmt.Errorf("credential %s: %w", m.Credential, err), ignored(g.close()))
		}
		token := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
		config = append(config, [2]string{"http.followRedirects", "false"}, [2]string{"http.extraHeader", "Authorization: Basic " + token})
	}
	err = s.fetchThrough(ctx, r, u.String(), m.Pulls, config)
	if refused := g.close(); refused != nil {
		if errors.Is(refused, errGuardBytes) {
			refused = errorf(TooLarge, "the repository has %s, may have %s, and what comes is more", bytesText(used), bytesText(s.maxSize(r)))
		}
		if err != nil {
			err = refused
		}
	}
	// Whatever happened, what is there counts.
	refs, rerr := s.readRefs(ctx, r.ID)
	if rerr == nil {
		rerr = s.catchUpAs(ctx, r, refs, Push{Source: FromMirror})
	}
	return errors.Join(err, rerr)
}

func ignored(error) error { return nil }

func (s *Service) fetchThrough(ctx context.Context, r *Repository, url string, withPulls bool, config [][2]string) error {
	dir := s.folder(r.ID)
	out, err := s.output(ctx, 64<<10, &program{dir: dir, args: []string{"ls-remote", "--symref", url, "HEAD"}, config: config})
	if err != nil {
		return outside(err)
	}
	branch := ""
	for line := range strings.Lines(string(out)) {
		if target, ok := strings.CutPrefix(line, "ref: "+branches); ok {
			branch, _, _ = strings.Cut(target, "\t")
		}
	}
	args := []string{"fetch", "--prune", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--quiet", "--atomic", url,
		"+" + branches + "*:" + branches + "*", "+" + tags + "*:" + tags + "*"}
	if withPulls {
		args = append(args, "+"+pulls+"*:"+pulls+"*")
	}
	// Thousands of refs at first: they are packed below, rather than synced one by one.
	if err := s.run(ctx, &program{dir: dir, args: args, config: append(config, [2]string{"core.fsync", "all,-reference"})}); err != nil {
		return outside(err)
	}
	if err := s.packRefs(ctx, r.ID); err != nil {
		return err
	}
	if branch == "" || branch == r.DefaultBranch || checkBranch(branch) != nil {
		return nil
	}
	if err := s.setHead(r.ID, branch); err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE git_repositories SET default_branch = $2 WHERE id = $1`, r.ID, branch)
		return err
	})
}

// outside makes an error of a fetch one for people: what git said, without what the server is.
func outside(err error) error {
	if e, ok := errors.AsType[*exitError](err); ok && e.stderr != "" {
		return errors.New(strings.TrimPrefix(strings.ReplaceAll(e.stderr, "\n", "; "), "fatal: "))
	}
	return err
}
