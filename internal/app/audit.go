package app

import (
	"context"
	"encoding/json"

	"github.com/sekisho/sekisho/internal/audit"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/registry"
)

// note records a decision; it returns at once.
func (in *Instance) note(c *iam.Caller, r *iam.Request, d iam.Decision) {
	e := event(c, r.Action, r.Resource.ARN)
	e.Allowed, e.Reason = d.Allowed, d.Reason
	if d.Trace != nil {
		e.Explain = func() string {
			trace, err := json.Marshal(d.Trace())
			if err != nil {
				in.Log.Error("a refusal was not explained", "request_id", e.RequestID, "err", err)
			}
			return string(trace)
		}
	}
	in.Audit.Record(e)
}

// changed records a change in its own transaction.
func (in *Instance) changed(ctx context.Context, tx *meta.Tx, ch registry.Change) error {
	resource := in.Judge.RegistryARN(ch.Repo.Account)
	if ch.Repo.Name != "" {
		resource = in.Judge.RepositoryARN(ch.Repo)
	}
	e := event(ch.Caller, ch.Action, resource)
	e.Detail = ch.Detail
	return audit.AppendTx(ctx, tx, in.now(), e)
}

func event(c *iam.Caller, action, resource string) audit.Event {
	e := audit.Event{Principal: c.Who(), Action: action, Resource: resource}
	if c != nil {
		e.AccessKeyID, e.Source, e.Endpoint, e.RequestID = c.AccessKeyID, c.SourceIP, c.Endpoint, c.RequestID
	}
	return e
}
