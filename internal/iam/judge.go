package iam

import (
	"context"
	"fmt"
)

// Judge decides and takes note. Every call to the domain passes it exactly once for each action that it needs, before any
// data is touched.
type Judge struct {
	Authorizer Authorizer
	// Note is told every decision; it must not block, and must not keep r.
	Note func(c *Caller, r *Request, d Decision)
}

// Check returns nil if c may do what r asks for, and else the [*DeniedError] that says why not. Another error means that
// nothing was decided.
func (j *Judge) Check(ctx context.Context, c *Caller, r *Request) error {
	d := j.Authorizer.Authorize(ctx, c, r)
	if d.Err != nil {
		return fmt.Errorf("decide on %s by %s: %w", r.Action, c.Who(), d.Err)
	}
	j.Note(c, r, d)
	if d.Allowed {
		return nil
	}
	return d.Denied(c, r)
}
