package pool

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// The kinds of rules.
const (
	ByOIDC = "oidc"
	BySTS  = "sts"
)

// Rule lets machines join a pool that somebody else vouches for: an issuer of identity tokens, or this instance's Security Token
// Service.
type Rule struct {
	ID       string
	Kind     string // ByOIDC, BySTS
	Issuer   string // of tokens: "https://…"
	Audience string // that tokens are for
	// Subject is a pattern, with * and ?, of the token's sub, or of the ARN of who signed: that of a user, or of a role.
	Subject string
	OneJob  bool // its agents do one job and are removed
	Created time.Time
	By      string // ARN
}

const maxRules = 100 // of a pool

func (r *Rule) check(account string) error {
	if err := checkText("The subject", r.Subject, 1024); err != nil {
		return err
	}
	switch r.Kind {
	case ByOIDC:
		u, err := url.Parse(r.Issuer)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(r.Issuer) > 255 {
			return errorf(Invalid, "The issuer %q must be a URL that begins with https:// and has no query.", cut(r.Issuer))
		}
		if r.Audience == "" || len(r.Audience) > 255 {
			return errorf(Invalid, "A rule for identity tokens needs the audience that they are for, so that tokens for others are good for nothing here.")
		}
		if err := checkText("The audience", r.Audience, 255); err != nil {
			return err
		}
		if strings.IndexAny(r.Subject+"*", "*?") == 0 {
			return errorf(Invalid, "The subject %q must not begin with a wildcard: an issuer such as a hosting service vouches for everybody's jobs.", cut(r.Subject))
		}
	case BySTS:
		if r.Issuer != "" || r.Audience != "" {
			return errorf(Invalid, "A rule for signed STS requests has neither issuer nor audience.")
		}
		if !strings.HasPrefix(r.Subject, "arn:aws:iam::"+account+":role/") && !strings.HasPrefix(r.Subject, "arn:aws:iam::"+account+":user/") {
			return errorf(Invalid, "The subject %q must be the ARN of a role or user of account %s, such as arn:aws:iam::%s:role/builders/*.", cut(r.Subject), account, account)
		}
	default:
		return errorf(Invalid, "There is no kind of rule %q; the kinds are %s and %s.", cut(r.Kind), ByOIDC, BySTS)
	}
	return nil
}

// AddRule lets machines join a pool. Errors: *iam.DeniedError; an [*Error] of kind NotFound, Invalid or LimitExceeded.
func (s *Service) AddRule(ctx context.Context, c *iam.Caller, pool string, r Rule) (*Rule, error) {
	p, err := s.allowed(ctx, c, "UpdatePool", pool)
	if err != nil {
		return nil, err
	}
	if err := r.check(p.Account); err != nil {
		return nil, err
	}
	r.ID, r.Created, r.By = uuid.NewString(), s.now(), c.Who()
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		if _, err := s.lock(ctx, tx, p.ID); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM pool_rules WHERE pool = $1`, p.ID).Scan(&n); err != nil {
			return err
		}
		if n >= maxRules {
			return errorf(LimitExceeded, "A pool can have %d rules.", maxRules)
		}
		_, err := tx.Exec(ctx, `INSERT INTO pool_rules (id, pool, kind, issuer, audience, subject, ephemeral, created_at, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			r.ID, p.ID, r.Kind, r.Issuer, r.Audience, r.Subject, number(r.OneJob), r.Created.UnixMicro(), r.By)
		if err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "UpdatePool", p.ARN, strings.TrimSpace(fmt.Sprintf("rule %s: %s %s %s", r.ID, r.Kind, r.Issuer, r.Subject)))
	})
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// RemoveRule ends a rule; agents that joined by it stay. Errors: *iam.DeniedError; an [*Error] of kind NotFound.
func (s *Service) RemoveRule(ctx context.Context, c *iam.Caller, pool, id string) error {
	p, err := s.allowed(ctx, c, "UpdatePool", pool)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		res, err := tx.Exec(ctx, `DELETE FROM pool_rules WHERE pool = $1 AND id = $2`, p.ID, id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			if err != nil {
				return err
			}
			return errorf(NotFound, "The pool %s has no rule %q.", p.Name, cut(id))
		}
		return s.changed(ctx, tx, c, "UpdatePool", p.ARN, "rule "+id+" removed")
	})
}

// Rules lists the rules of a pool, the oldest first. Errors: *iam.DeniedError; an [*Error] of kind NotFound.
func (s *Service) Rules(ctx context.Context, c *iam.Caller, pool string) ([]Rule, error) {
	p, err := s.allowed(ctx, c, "DescribePool", pool)
	if err != nil {
		return nil, err
	}
	placed, err := s.rules(ctx, s.db, p.Account, "")
	var rules []Rule
	for _, r := range placed {
		if r.pool.ID == p.ID {
			rules = append(rules, r.Rule)
		}
	}
	return rules, err
}

// placedRule is a rule and its pool.
type placedRule struct {
	Rule
	pool Pool
}

// rules returns the rules of all pools of an account, of one kind or ("") of all.
func (s *Service) rules(ctx context.Context, from reader, account, kind string) ([]placedRule, error) {
	rows, err := from.Query(ctx, `SELECT r.id, r.kind, r.issuer, r.audience, r.subject, r.ephemeral, r.created_at, r.created_by, p.id, p.account, p.name
		FROM pool_rules r JOIN pools p ON p.id = r.pool WHERE p.account = $1 AND (r.kind = $2 OR $2 = '') ORDER BY r.created_at, r.id`, account, kind)
	return all(rows, err, "list rules", func(r row) (placedRule, error) {
		var x placedRule
		var oneJob, created int64
		err := r.Scan(&x.ID, &x.Kind, &x.Issuer, &x.Audience, &x.Subject, &oneJob, &created, &x.By, &x.pool.ID, &x.pool.Account, &x.pool.Name)
		x.OneJob, x.Created = oneJob != 0, moment(created)
		return x, err
	})
}

// like reports whether text matches a pattern in which * stands for any text and ? for one byte.
func like(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
