package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/audit"
	"github.com/sekisho/sekisho/internal/registry"
)

type auditQuery struct {
	audit.Filter
	since, until string
	limit        int
}

func newAudit(c *cli) *cobra.Command {
	q := &auditQuery{}
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Print who did or tried what, newest first",
		Long: `Print the audit record, newest first: who did or tried what, on what, from where,
and how it was decided. Identical decisions close to each other are one entry
with a count. What was decided in the last second may not be written yet. What a
refusal looked at is told by sekisho why, with the id of the request.`,
		Example: `  sekisho audit --refused --since 24h
  sekisho audit --resource team/app --action ecr:PutImage
  sekisho audit --request 5c6bjarfti5ng3czx6fztukkdq`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.audit(cmd, q) },
	}
	f := cmd.Flags()
	f.StringVar(&q.Principal, "principal", "", "only this principal, an ARN")
	f.StringVar(&q.Action, "action", "", "only this action, such as ecr:PutImage")
	f.StringVar(&q.Resource, "resource", "", "only this resource, an ARN or a repository of the default account")
	f.StringVar(&q.RequestID, "request", "", "only the request with this id")
	f.BoolVar(&q.Refused, "refused", false, "only refusals")
	f.StringVar(&q.since, "since", "", "not before: 24h ago, or a time such as 2026-11-20T08:00:00Z")
	f.StringVar(&q.until, "until", "", "before: in the same forms")
	f.IntVar(&q.limit, "limit", 100, "at most so many entries")
	return cmd
}

// shownEntry is an audit entry as JSON and YAML show it.
type shownEntry struct {
	ID          int64      `json:"id"`
	Kind        audit.Kind `json:"kind"`
	First       time.Time  `json:"first"`
	Last        time.Time  `json:"last"`
	Count       int64      `json:"count"`
	Principal   string     `json:"principal,omitempty"`
	AccessKeyID string     `json:"accessKeyId,omitempty"`
	Action      string     `json:"action,omitempty"`
	Resource    string     `json:"resource,omitempty"`
	Source      netip.Addr `json:"source,omitzero"`
	Endpoint    string     `json:"endpoint,omitempty"`
	Allowed     bool       `json:"allowed"`
	Reason      string     `json:"reason,omitempty"`
	Detail      string     `json:"detail,omitempty"`
	RequestID   string     `json:"requestId,omitempty"`
}

func (c *cli) audit(cmd *cobra.Command, q *auditQuery) error {
	var err error
	if q.Since, err = parseMoment(q.since, time.Now()); err != nil {
		return usage("--since: %w", err)
	}
	if q.Until, err = parseMoment(q.until, time.Now()); err != nil {
		return usage("--until: %w", err)
	}
	if q.limit < 1 {
		return usage("--limit must be at least 1")
	}
	in, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	defer in.Close()
	if q.Resource != "" && !strings.HasPrefix(q.Resource, "arn:") {
		q.Resource = in.Judge.RepositoryARN(registry.Repo{Account: in.Account, Name: q.Resource})
	}
	out, t := []shownEntry{}, &table{header: []string{"TIME", "COUNT", "PRINCIPAL", "ACTION", "RESOURCE", "FROM", "DECISION", "REQUEST", "DETAIL"}}
	for p := (audit.Page{}); len(out) < q.limit; {
		p.Limit = min(audit.MaxPage, q.limit-len(out))
		entries, err := audit.Find(cmd.Context(), in.DB, q.Filter, p)
		if err != nil {
			return err
		}
		for _, e := range entries {
			out = append(out, shownEntry{e.ID, e.Kind, e.First, e.Time, e.Count, e.Principal, e.AccessKeyID, e.Action, e.Resource,
				e.Source, e.Endpoint, e.Allowed, e.Reason, e.Detail, e.RequestID})
			t.add(entryRow(&e)...)
		}
		if len(entries) < p.Limit {
			break
		}
		p.After = entries[len(entries)-1].Cursor()
	}
	return c.print(cmd, out, t)
}

func entryRow(e *audit.Entry) []string {
	from, decision, detail := "", "refused", e.Reason
	if e.Source.IsValid() {
		from = e.Source.String()
	}
	if e.Endpoint != "" {
		from = strings.TrimSpace(from + " through " + e.Endpoint)
	}
	switch {
	case e.Kind == audit.Change:
		decision, detail = "done", e.Detail
	case e.Kind == audit.Lost:
		decision = "lost"
	case e.Allowed:
		decision = "allowed"
	}
	return []string{timeCell(e.Time), strconv.FormatInt(e.Count, 10), e.Principal, e.Action, e.Resource, from, decision, e.RequestID, detail}
}

// parseMoment reads a time, or how long ago it was; "" is none.
func parseMoment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a duration such as 24h nor a time such as 2026-11-20T08:00:00Z", s)
	}
	return t, nil
}
