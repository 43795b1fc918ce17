package pool

import (
	"context"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// Retire removes an agent that has no job, and returns its id, and the codes that are for its name: once busy is false, nobody of that name
// gets a job. One that has a job is left alone, and busy is true. It takes agents:CreateEnrollmentCode for an agent that joined by a
// code of the caller's, or that isn't there, and agents:DeleteAgent for others. Errors: *iam.DeniedError; an [*Error] of kind NotFound
// or Invalid.
func (s *Service) Retire(ctx context.Context, c *iam.Caller, pool, name string) (busy bool, id string, err error) {
	if err := checkName("an agent", name, maxAgentName); err != nil {
		return false, "", err
	}
	p, err := s.allowed(ctx, c, "CreateEnrollmentCode", pool)
	if err != nil {
		return false, "", err
	}
	a, err := s.byName(ctx, s.db, p.ID, name)
	if err != nil {
		return false, "", err
	}
	if a != nil && !(a.OneJob && a.Method == MethodCode && strings.HasSuffix(a.EnrolledBy, " of "+c.Who())) {
		if err := s.may(ctx, c, "DeleteAgent", p.Name); err != nil {
			return false, "", err
		}
	}
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		busy, id = false, ""
		if _, err := s.lock(ctx, tx, p.ID); err != nil { // nobody enrols meanwhile
			return err
		}
		now, err := s.byName(ctx, tx, p.ID, name)
		if err != nil {
			return err
		}
		if now != nil && (a == nil || now.ID != a.ID) {
			busy = true // somebody joined just now: whoever asks again is told of that one
			return nil
		}
		if now != nil {
			res, err := tx.Exec(ctx, `DELETE FROM pool_agents WHERE id = $1 AND job = ''`, now.ID)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			if err != nil {
				return err
			}
			if n == 0 {
				busy = true
				return nil
			}
			id = now.ID
		}
		res, err := tx.Exec(ctx, `DELETE FROM pool_codes WHERE pool = $1 AND agent = $2`, p.ID, name)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil || n == 0 && id == "" {
			return err
		}
		return s.changed(ctx, tx, c, "DeleteAgent", p.ARN, fmt.Sprintf("agent %s: it is not needed any more", name))
	})
	return busy, id, err
}
