package pool

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// Retired is what [Service.Retire] did.
type Retired struct {
	Busy   bool   // the agent has a job: nothing was done
	ID     string // of the agent that was removed; empty: there was none
	Unused bool   // a code for the name had not been used
}

// Retire removes an agent that has no job, and the codes that are for its name: unless it is busy, nobody of that name gets a job from
// then on. It takes agents:CreateEnrollmentCode for an agent that joined by a code of the caller's, or that isn't there, and
// agents:DeleteAgent too for others. Errors: *iam.DeniedError; an [*Error] of kind NotFound or Invalid.
func (s *Service) Retire(ctx context.Context, c *iam.Caller, pool, name string) (*Retired, error) {
	if err := checkName("an agent", name, maxAgentName); err != nil {
		return nil, err
	}
	p, err := s.allowed(ctx, c, "CreateEnrollmentCode", pool)
	if err != nil {
		return nil, err
	}
	a, err := s.byName(ctx, s.db, p.ID, name)
	if err != nil {
		return nil, err
	}
	if a != nil && !(a.OneJob && a.Method == MethodCode && strings.HasSuffix(a.EnrolledBy, " of "+c.Who())) {
		if err := s.may(ctx, c, "DeleteAgent", p.Name); err != nil {
			return nil, err
		}
	}
	r := &Retired{}
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		*r = Retired{}
		if _, err := s.lock(ctx, tx, p.ID); err != nil { // nobody enrols meanwhile
			return err
		}
		now, err := s.byName(ctx, tx, p.ID, name)
		if err != nil {
			return err
		}
		if now != nil && (a == nil || now.ID != a.ID) {
			r.Busy = true // it joined just now, and was not judged: whoever asks again is told of that one
			return nil
		}
		if now != nil {
			n, err := affected(tx.Exec(ctx, `DELETE FROM pool_agents WHERE id = $1 AND job = ''`, now.ID))
			if err != nil {
				return err
			}
			if n == 0 {
				r.Busy = true
				return nil
			}
			r.ID = now.ID
		}
		n, err := affected(tx.Exec(ctx, `DELETE FROM pool_codes WHERE pool = $1 AND LOWER(agent) = $2`, p.ID, fold(name)))
		if r.Unused = n > 0; err != nil || !r.Unused && r.ID == "" {
			return err
		}
		return s.changed(ctx, tx, c, "DeleteAgent", p.ARN, fmt.Sprintf("agent %s: it is not needed any more", name))
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

func affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}
