package git

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// Rule says what may not be done to some refs, but by those who may git:BypassBranchRules.
type Rule struct {
	// Pattern is what the rule is for: of branches ("main", "release/*", "**"), or, if it begins with refs/, of any refs.
	// * stands for anything but /, ** for anything.
	Pattern  string
	NoForce  bool     // no update that is not a fast-forward
	NoDelete bool     // no deletion
	Pushers  []string // ARNs of principals, and of roles for their sessions, who alone may push; empty: everybody
	MaxFile  int64    // bytes of one file that comes with a push; 0: no limit of its own
}

const (
	maxRules   = 200
	maxPattern = 255
	maxPushers = 100
)

func (r *Rule) matches(ref string) bool {
	if strings.HasPrefix(r.Pattern, "refs/") {
		return doublestar.MatchUnvalidated(r.Pattern, ref)
	}
	name, ok := strings.CutPrefix(ref, branches)
	return ok && doublestar.MatchUnvalidated(r.Pattern, name)
}

func (r *Rule) check() error {
	switch {
	case r.Pattern == "" || len(r.Pattern) > maxPattern || strings.ContainsAny(r.Pattern, "\x00{}") || !doublestar.ValidatePattern(r.Pattern):
		return errorf(Invalid, "%q is no pattern for branches: it is a name in which * stands for anything but /, and ** for anything", clip(r.Pattern, 80))
	case len(r.Pushers) > maxPushers:
		return errorf(Invalid, "a rule names at most %d pushers; name a role", maxPushers)
	case r.MaxFile < 0:
		return errorf(Invalid, "a limit is a number of bytes, or 0 for none")
	case !r.NoForce && !r.NoDelete && len(r.Pushers) == 0 && r.MaxFile == 0:
		return errorf(Invalid, "the rule for %q forbids nothing", r.Pattern)
	}
	for _, arn := range r.Pushers {
		if !strings.HasPrefix(arn, "arn:") || len(arn) > 2048 {
			return errorf(Invalid, "pusher %q is not the ARN of a principal", clip(arn, 80))
		}
	}
	return nil
}

// lets reports whether the rule lets a caller push at all.
func (r *Rule) lets(c *iam.Caller) bool {
	return len(r.Pushers) == 0 || slices.Contains(r.Pushers, c.Who()) || c.Role != "" && slices.Contains(r.Pushers, c.Role)
}

// Rules returns the rules of a repository by pattern. Errors: *iam.DeniedError, kinds NotFound and Invalid.
func (s *Service) Rules(ctx context.Context, c *iam.Caller, n Name) ([]Rule, error) {
	r, err := s.allowed(ctx, c, "DescribeRepository", n)
	if err != nil {
		return nil, err
	}
	return s.rules(ctx, s.db, r.ID)
}

func (s *Service) rules(ctx context.Context, from querier, id string) ([]Rule, error) {
	rows, err := from.Query(ctx, `SELECT pattern, no_force, no_delete, pushers, max_file FROM git_rules WHERE repository_id = $1 ORDER BY pattern`, id)
	if err != nil {
		return nil, fmt.Errorf("read branch rules: %w", err)
	}
	defer rows.Close()
	var all []Rule
	for rows.Next() {
		var r Rule
		var noForce, noDelete int64
		var pushers string
		if err := rows.Scan(&r.Pattern, &noForce, &noDelete, &pushers, &r.MaxFile); err != nil {
			return nil, fmt.Errorf("read branch rules: %w", err)
		}
		if err := json.Unmarshal([]byte(pushers), &r.Pushers); err != nil {
			return nil, fmt.Errorf("read branch rules: %w", err)
		}
		r.NoForce, r.NoDelete = noForce != 0, noDelete != 0
		all = append(all, r)
	}
	return all, rows.Err()
}

// PutRule sets a rule of a repository in place of the one with the same pattern. Errors: *iam.DeniedError, kinds NotFound, Invalid and TooLarge.
func (s *Service) PutRule(ctx context.Context, c *iam.Caller, n Name, rule Rule) error {
	if err := rule.check(); err != nil {
		return err
	}
	r, err := s.allowed(ctx, c, "UpdateRepository", n)
	if err != nil {
		return err
	}
	if rule.Pushers == nil {
		rule.Pushers = []string{}
	}
	pushers, err := json.Marshal(rule.Pushers)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		known, err := s.rules(ctx, tx, r.ID)
		if err != nil {
			return err
		}
		if len(known) >= maxRules && !slices.ContainsFunc(known, func(k Rule) bool { return k.Pattern == rule.Pattern }) {
			return errorf(TooLarge, "a repository has at most %d rules", maxRules)
		}
		_, err = tx.Exec(ctx, `INSERT INTO git_rules (repository_id, pattern, no_force, no_delete, pushers, max_file) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (repository_id, pattern) DO UPDATE SET no_force = excluded.no_force, no_delete = excluded.no_delete,
			pushers = excluded.pushers, max_file = excluded.max_file`,
			r.ID, rule.Pattern, bit(rule.NoForce), bit(rule.NoDelete), string(pushers), rule.MaxFile)
		if err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "UpdateRepository", r.ARN, "rule for "+rule.Pattern)
	})
}

// DeleteRule removes the rule with a pattern. Errors: *iam.DeniedError, kinds NotFound and Invalid.
func (s *Service) DeleteRule(ctx context.Context, c *iam.Caller, n Name, pattern string) error {
	r, err := s.allowed(ctx, c, "UpdateRepository", n)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		res, err := tx.Exec(ctx, `DELETE FROM git_rules WHERE repository_id = $1 AND pattern = $2`, r.ID, pattern)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			if err == nil {
				err = errorf(NotFound, "%s/%s has no rule for %q", r.Project, r.Name, clip(pattern, 80))
			}
			return err
		}
		return s.changed(ctx, tx, c, "UpdateRepository", r.ARN, "no rule for "+pattern)
	})
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// refJudge decides on the refs of one push.
type refJudge struct {
	s     *Service
	c     *iam.Caller
	r     *Repository
	rules []Rule
	tell  func(text string) // what the client should read beside a short reason
}

// may asks the judge for an action on a ref. why is what a refusal says shortly.
func (j *refJudge) may(ctx context.Context, action, ref string) (why string, err error) {
	req := iam.On(j.c, "git:"+action, j.r.ARN)
	req.Keys = map[string][]string{"git:ref": {ref}}
	err = j.s.judge.Check(ctx, j.c, req)
	denied, ok := errors.AsType[*iam.DeniedError](err)
	if !ok {
		return "", err
	}
	j.tell(ref + ": " + denied.Message(j.c.RequestID))
	return "git:" + action + " is not allowed", nil
}

// broken says that a rule forbids something, unless the caller may bypass it.
func (j *refJudge) broken(ctx context.Context, rule *Rule, ref, what string) (why string, err error) {
	req := iam.On(j.c, "git:BypassBranchRules", j.r.ARN)
	req.Keys = map[string][]string{"git:ref": {ref}}
	err = j.s.judge.Check(ctx, j.c, req)
	if _, ok := errors.AsType[*iam.DeniedError](err); !ok {
		return "", err
	}
	j.tell(fmt.Sprintf("%s: the rule for %q of %s/%s forbids %s; it can be bypassed with git:BypassBranchRules", ref, rule.Pattern, j.r.Project, j.r.Name, what))
	return fmt.Sprintf("rule for %q: %s", rule.Pattern, what), nil
}

// first judges a command by what is known before its objects are.
func (j *refJudge) first(ctx context.Context, c *command) (why string, err error) {
	if why := checkPushable(c.ref); why != "" {
		return why, nil
	}
	if why, err := j.may(ctx, "Push", c.ref); why != "" || err != nil {
		return why, err
	}
	for i := range j.rules {
		rule := &j.rules[i]
		if !rule.matches(c.ref) || rule.lets(j.c) {
			continue
		}
		if why, err := j.broken(ctx, rule, c.ref, "pushes by others than those it names"); why != "" || err != nil {
			return why, err
		}
	}
	switch {
	case c.deletes() && c.ref == branches+j.r.DefaultBranch:
		j.tell(c.ref + ": make another branch the default one first")
		return "the default branch can't be deleted", nil
	case c.deletes():
		return j.force(ctx, c, "deletion", func(r *Rule) bool { return r.NoDelete })
	case !c.creates() && strings.HasPrefix(c.ref, tags):
		return j.force(ctx, c, "moving a tag", func(r *Rule) bool { return r.NoForce })
	}
	return "", nil
}

// force judges what takes something away.
func (j *refJudge) force(ctx context.Context, c *command, what string, forbids func(*Rule) bool) (why string, err error) {
	if why, err := j.may(ctx, "ForcePush", c.ref); why != "" || err != nil {
		return why, err
	}
	for i := range j.rules {
		rule := &j.rules[i]
		if !forbids(rule) || !rule.matches(c.ref) {
			continue
		}
		if why, err := j.broken(ctx, rule, c.ref, what); why != "" || err != nil {
			return why, err
		}
	}
	return "", nil
}

// maxFile returns the largest file that may come to a ref, and the rule that says so, nil for the repository itself.
func (j *refJudge) maxFile(ref string) (int64, *Rule) {
	most, by := j.s.maxObject(j.r), (*Rule)(nil)
	for i := range j.rules {
		if r := &j.rules[i]; r.MaxFile > 0 && r.MaxFile < most && r.matches(ref) {
			most, by = r.MaxFile, r
		}
	}
	return most, by
}

func (s *Service) maxObject(r *Repository) int64 {
	if r.MaxObject > 0 {
		return r.MaxObject
	}
	return s.o.Limits.Object
}

func (s *Service) maxPush(r *Repository) int64 {
	if r.MaxPush > 0 {
		return r.MaxPush
	}
	return s.o.Limits.Push
}

func (s *Service) maxSize(r *Repository) int64 {
	if r.MaxSize > 0 {
		return r.MaxSize
	}
	return s.o.Limits.Size
}
