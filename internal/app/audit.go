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
	if in.Directory != nil { // while it opens
		in.Directory.Used(c, r.Action, in.Config.Region)
	}
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
