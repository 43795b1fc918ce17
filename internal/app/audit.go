package app

import (
	"context"
	"encoding/json"

	"github.com/sekisho/sekisho/internal/audit"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/registry"
)

// note records a decision; it returns at once.
func (in *Instance) note(c *iam.Caller, r *iam.Request, d iam.Decision) {
	e := event(c, r.Action, r.Resource.ARN)
	e.Allowed, e.Reason = d.Allowed, d.Reason
	if d.Trace != nil {
		e.Explain = in.explain(d.Trace, e.RequestID) // not here: it would put e of every decision on the heap
	}
	in.Audit.Record(e)
	if in.Directory != nil { // while it opens
		in.Directory.Used(c, r.Action, in.Config.Region)
	}
}

// explain returns what tells how the refusal of a request came about, as JSON.
func (in *Instance) explain(trace func() *policy.Trace, requestID string) func() string {
	return func() string {
		text, err := traceText(trace(), audit.MaxTrace)
		if err != nil {
			in.Log.Error("a refusal was not explained", "request_id", requestID, "err", err)
		}
		return text
	}
}

// traceText returns a trace as JSON of at most so many bytes. What there is no room for is left out, first what matters least:
// the statements that are not about the request, then what the others were compared by.
func traceText(t *policy.Trace, limit int) (string, error) {
	text, err := json.Marshal(t)
	if err != nil || len(text) <= limit {
		return string(text), err
	}
	short := *t
	short.Reasons = nil
	for i, r := range t.Reasons {
		if r.Applies || r.Statement == "" || i == len(t.Reasons)-1 { // the last one is the conclusion
			short.Reasons = append(short.Reasons, r)
		}
	}
	note := policy.Reason{Text: "statements that are not about the request are left out: there are too many to keep"}
	short.Reasons = append([]policy.Reason{note}, short.Reasons...)
	if text, err = json.Marshal(&short); err != nil || len(text) <= limit {
		return string(text), err
	}
	last := short.Reasons[len(short.Reasons)-1]
	short.Reasons = []policy.Reason{{Text: "how it came about is left out: it is too long to keep"}, last}
	if text, err = json.Marshal(&short); err != nil || len(text) > limit {
		return "", err
	}
	return string(text), nil
}

// changed records a change in its own transaction.
func (in *Instance) changed(ctx context.Context, tx *meta.Tx, ch registry.Change) error {
	resource := in.Judge.RegistryARN(ch.Repo.Account)
	if ch.Repo.Name != "" {
		resource = in.Judge.RepositoryARN(ch.Repo)
	}
	return in.appendChange(ctx, tx, ch.Caller, ch.Action, resource, ch.Detail)
}

func event(c *iam.Caller, action, resource string) audit.Event {
	e := audit.Event{Principal: c.Who(), Action: action, Resource: resource}
	if c != nil {
		e.AccessKeyID, e.Source, e.Endpoint, e.RequestID = c.AccessKeyID, c.SourceIP, c.Endpoint, c.RequestID
	}
	return e
}
