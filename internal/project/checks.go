package project

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // business hours are the same on every node, whatever its system knows of time zones

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sekisho/sekisho/internal/iam"
)

// Limits and defaults of checks.
const (
	maxApprovers    = 50
	maxApprovalWait = 60 * 24 * time.Hour
	approvalWait    = 30 * 24 * time.Hour
	maxInstructions = 4096
	maxBranches     = 100
)

// Checks are what must be so before a stage deploys to an environment.
type Checks struct {
	Approval *Approval `json:"approval,omitempty"` // nil: nobody is asked
	Lock     bool      `json:"lock,omitempty"`     // one run at a time
	Branches []string  `json:"branches,omitempty"` // which refs may, with * and **: "refs/heads/release/*"; nil: any
	Hours    *Hours    `json:"hours,omitempty"`    // nil: at any time
}

// Approval is that people say yes.
type Approval struct {
	Approvers      []string      `json:"approvers"`                // ARNs of users, groups and roles of the account, or of its root
	MinCount       int           `json:"minCount"`                 // how many of them; 0: all
	Timeout        time.Duration `json:"timeout"`                  // after which the answer is no
	Instructions   string        `json:"instructions,omitempty"`   // for them
	AllowRequester bool          `json:"allowRequester,omitempty"` // whoever started the run may approve it
	InOrder        bool          `json:"inOrder,omitempty"`        // one after the other
}

// Hours are when something may be done, on some days of the week from one time of day to another.
type Hours struct {
	Days []time.Weekday `json:"days"`
	From string         `json:"from"` // "09:00"
	To   string         `json:"to"`   // "17:30": not any more
	Zone string         `json:"zone"` // "Europe/Berlin"; "" for UTC
}

var approverForm = regexp.MustCompile(`^arn:aws:iam::([0-9]{12}):(root|(?:user|group|role)/(?:[!-~]+/)?[\w+=,.@-]{1,128})$`)

// complete fills defaults in and refuses what no checks can be.
func (c *Checks) complete(account string) error {
	for i, b := range c.Branches {
		if !strings.HasPrefix(b, "refs/") {
			c.Branches[i] = "refs/heads/" + b
		}
		if !doublestar.ValidatePattern(c.Branches[i]) || len(b) > 512 || checkText("", b, 512) != nil {
			return errorf(Invalid, "checks.branches", "%.80q is no pattern of branches, such as refs/heads/release/*", b)
		}
	}
	if len(c.Branches) > maxBranches {
		return errorf(Invalid, "checks.branches", "there are %d patterns, and may be %d", len(c.Branches), maxBranches)
	}
	if c.Hours != nil {
		if _, err := c.Hours.parse(); err != nil {
			return err
		}
	}
	if c.Approval != nil {
		return c.Approval.complete(account)
	}
	return nil
}

func (a *Approval) complete(account string) error {
	if len(a.Approvers) == 0 || len(a.Approvers) > maxApprovers {
		return errorf(Invalid, "checks.approval.approvers", "an approval needs 1 to %d approvers", maxApprovers)
	}
	for i, arn := range a.Approvers {
		m := approverForm.FindStringSubmatch(arn)
		if m == nil || m[1] != account || len(arn) > 2048 {
			return errorf(Invalid, "checks.approval.approvers", "%.120q is not the ARN of a user, a group, a role or the root of account %s", arn, account)
		}
		if slices.Contains(a.Approvers[:i], arn) {
			return errorf(Invalid, "checks.approval.approvers", "%s is there twice", arn)
		}
	}
	groups := slices.ContainsFunc(a.Approvers, func(arn string) bool { return !strings.Contains(arn, ":user/") })
	if a.MinCount < 0 || a.MinCount > maxApprovers || a.MinCount > len(a.Approvers) && !groups {
		return errorf(Invalid, "checks.approval.minCount", "%d of %d approvers can't be had", a.MinCount, len(a.Approvers))
	}
	if a.Timeout == 0 {
		a.Timeout = approvalWait
	}
	if a.Timeout < time.Minute || a.Timeout > maxApprovalWait {
		return errorf(Invalid, "checks.approval.timeout", "people have a minute at least to answer, and %d days at most", maxApprovalWait/(24*time.Hour))
	}
	return checkText("checks.approval.instructions", a.Instructions, maxInstructions)
}

// Needed is how many approvers must say yes.
func (a *Approval) Needed() int {
	if a.MinCount == 0 {
		return len(a.Approvers)
	}
	return a.MinCount
}

// BranchAllowed reports whether a run on a ref may deploy.
func (c *Checks) BranchAllowed(ref string) bool {
	return c.Branches == nil || slices.ContainsFunc(c.Branches, func(pattern string) bool {
		ok, err := doublestar.Match(pattern, ref)
		return ok && err == nil
	})
}

// span is a part of each of some days.
type span struct {
	days     [7]bool
	from, to time.Duration // since midnight by the clock
	zone     *time.Location
}

func (h *Hours) parse() (*span, error) {
	s := &span{zone: time.UTC}
	for _, d := range h.Days {
		if d < time.Sunday || d > time.Saturday {
			return nil, errorf(Invalid, "checks.hours.days", "%d is no day of the week: they are 0, Sunday, to 6", int(d))
		}
		s.days[d] = true
	}
	if len(h.Days) == 0 {
		return nil, errorf(Invalid, "checks.hours.days", "without a day it would never be time")
	}
	for text, into := range map[string]*time.Duration{h.From: &s.from, h.To: &s.to} {
		t, err := time.Parse("15:04", text)
		if text == "24:00" {
			*into = 24 * time.Hour
			continue
		}
		if err != nil {
			return nil, errorf(Invalid, "checks.hours", "%.20q is no time of day such as 09:00", text)
		}
		*into = time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	}
	if s.from >= s.to {
		return nil, errorf(Invalid, "checks.hours", "from %s to %s is no time", h.From, h.To)
	}
	if h.Zone != "" {
		zone, err := time.LoadLocation(h.Zone)
		if err != nil || h.Zone == "Local" {
			return nil, errorf(Invalid, "checks.hours.zone", "the time zone %.60q is not known to this server", h.Zone)
		}
		s.zone = zone
	}
	return s, nil
}

// Open reports whether it is time. Hours that can't be read never are.
func (h *Hours) Open(now time.Time) bool {
	s, err := h.parse()
	if err != nil {
		return false
	}
	now = now.In(s.zone)
	since := time.Duration(now.Hour())*time.Hour + time.Duration(now.Minute())*time.Minute + time.Duration(now.Second())*time.Second
	return s.days[now.Weekday()] && since >= s.from && since < s.to
}

// Next returns when it is time next, now if it is; the zero time if never.
func (h *Hours) Next(now time.Time) time.Time {
	s, err := h.parse()
	if err != nil {
		return time.Time{}
	}
	if h.Open(now) {
		return now
	}
	local := now.In(s.zone)
	for day := range 8 {
		at := time.Date(local.Year(), local.Month(), local.Day()+day, int(s.from/time.Hour), int(s.from%time.Hour/time.Minute), 0, 0, s.zone)
		if s.days[at.Weekday()] && at.After(now) {
			return at
		}
	}
	return time.Time{}
}

// Approver returns which of an environment's approvers a caller is, the first of them, or "" for none. requestedFor is the
// ARN of whoever started the run. That the caller may approve by its policies, pipelines:ApproveRun, is asked here too.
// Errors: *iam.DeniedError.
func (s *Service) Approver(ctx context.Context, c *iam.Caller, e *Environment, requestedFor string) (string, error) {
	c = orNobody(c)
	p, err := s.Project(ctx, e.ProjectID)
	if err != nil {
		return "", err
	}
	if err := s.check(ctx, c, "ApproveRun", s.arn(p.Account, p.Name, environmentItem, e.Name), nil); err != nil {
		return "", err
	}
	a := e.Checks.Approval
	if a == nil || c.Account != p.Account || !a.AllowRequester && c.ARN == requestedFor {
		return "", nil
	}
	var groups []string
	if c.Type == iam.User {
		if groups, err = s.groups(ctx, c); err != nil {
			return "", err
		}
	}
	for _, arn := range a.Approvers {
		if arn == c.ARN || c.Type == iam.AssumedRole && arn == c.Role || slices.Contains(groups, arn) {
			return arn, nil
		}
	}
	return "", nil
}

// groups returns the ARNs of the groups that a user is in.
func (s *Service) groups(ctx context.Context, c *iam.Caller) ([]string, error) {
	list, err := collect(ctx, s.db, func(row scanner) (*string, error) {
		var path, name string
		err := row.Scan(&path, &name)
		arn := "arn:aws:iam::" + c.Account + ":group" + path + name
		return &arn, err
	}, `SELECT g.path, g.name FROM memberships m JOIN identities g ON g.id = m.container WHERE m.member = $1 AND g.kind = 'group' AND g.account = $2`, c.ID, c.Account)
	if err != nil {
		return nil, fmt.Errorf("read the groups of %s: %w", c.ARN, err)
	}
	return list, nil
}
