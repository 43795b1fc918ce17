package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// holder is whose access keys are meant.
type holder struct {
	account, arn string
	owner        string // unique id of a user, "" for root
}

// rootHolder returns root, if that is who calls about its own keys.
func rootHolder(c *iam.Caller, user string) (holder, bool) {
	if user != "" || c.Type != iam.Root {
		return holder{}, false
	}
	return holder{c.Account, iam.RootARN(c.Account), ""}, true
}

// changeKeys is the way of every call that changes the keys of a user, or for "" of the caller.
func (s *Service) changeKeys(ctx context.Context, c *iam.Caller, user, action, detail string, fn func(tx *meta.Tx, h holder) error) error {
	c = orNobody(c)
	if h, ok := rootHolder(c, user); ok {
		if err := s.on(ctx, c, action, "root"); err != nil {
			return err
		}
		return s.update(ctx, c, action, h.arn, detail, func(tx *meta.Tx) error { return fn(tx, h) })
	}
	return s.change(ctx, c, UserNamed(user), just(action), detail, func(tx *meta.Tx, r *row) error {
		return fn(tx, holder{r.account, r.arn(), r.id})
	})
}

// CreateAccessKey makes an access key. Only the answer has its secret.
func (s *Service) CreateAccessKey(ctx context.Context, c *iam.Caller, user string) (*iam.AccessKey, error) {
	k := s.keys.NewKey()
	err := s.changeKeys(ctx, c, user, "iam:CreateAccessKey", k.ID, func(tx *meta.Tx, h holder) error {
		n, err := count(ctx, tx, `SELECT count(*) FROM access_keys WHERE account = $1 AND COALESCE(owner, '') = $2`, h.account, h.owner)
		if err != nil {
			return err
		}
		if n >= maxAccessKeys {
			return quota(limit{"AccessKeysPerUser", maxAccessKeys})
		}
		k.Account, k.ARN = h.account, h.arn
		return s.keys.AddKey(ctx, tx, k, h.owner)
	})
	if err != nil {
		return nil, err
	}
	return k, nil
}

// AccessKeys lists access keys by id.
func (s *Service) AccessKeys(ctx context.Context, c *iam.Caller, user string, p Page) ([]AccessKey, bool, error) {
	c = orNobody(c)
	limit, err := p.limit()
	if err != nil {
		return nil, false, err
	}
	owner, name := "", ""
	if _, root := rootHolder(c, user); root {
		err = s.on(ctx, c, "iam:ListAccessKeys", "root")
	} else {
		var r *row
		if r, err = s.show(ctx, c, UserNamed(user), "iam:ListAccessKeys"); err == nil {
			owner, name = r.id, r.name
		}
	}
	if err != nil {
		return nil, false, err
	}
	type keyRow struct {
		AccessKey
		created int64
	}
	rows, err := collect(ctx, s.db, func(k *keyRow) []any { return []any{&k.ID, &k.Status, &k.created} }, `SELECT id, status, created_at FROM access_keys
		WHERE account = $1 AND COALESCE(owner, '') = $2 AND id > $3 ORDER BY id LIMIT $4`, c.Account, owner, p.After, limit+1)
	rows, more := cut(rows, limit)
	found := make([]AccessKey, 0, len(rows))
	for _, k := range rows {
		k.UserName, k.Created = name, at(k.created)
		found = append(found, k.AccessKey)
	}
	return found, more, err
}

func noKey(id string) *Error {
	return errf(NoSuchEntity, "The Access Key with id %.128s cannot be found.", id)
}

// SetAccessKeyStatus activates or deactivates a key. While it is inactive neither it nor what was issued to it works.
func (s *Service) SetAccessKeyStatus(ctx context.Context, c *iam.Caller, user, id string, status iam.KeyStatus) error {
	if status != iam.KeyActive && status != iam.KeyInactive {
		return errf(ValidationError, "1 validation error detected: Value '%.20s' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [Active, Inactive]", status)
	}
	return s.changeKeys(ctx, c, user, "iam:UpdateAccessKey", id+" "+string(status), func(tx *meta.Tx, h holder) error {
		n, err := affected(tx.Exec(ctx, `UPDATE access_keys SET status = $1 WHERE id = $2 AND account = $3 AND COALESCE(owner, '') = $4`,
			string(status), id, h.account, h.owner))
		if err == nil && n == 0 {
			err = noKey(id)
		}
		return err
	})
}

// DeleteAccessKey deletes a key, and with it what was issued to it.
func (s *Service) DeleteAccessKey(ctx context.Context, c *iam.Caller, user, id string) error {
	return s.changeKeys(ctx, c, user, "iam:DeleteAccessKey", id, func(tx *meta.Tx, h holder) error {
		n, err := affected(tx.Exec(ctx, `DELETE FROM access_keys WHERE id = $1 AND account = $2 AND COALESCE(owner, '') = $3`, id, h.account, h.owner))
		if err == nil && n == 0 {
			err = noKey(id)
		}
		return err
	})
}

// AccessKeyLastUsed says when a key of the caller's account was last used, exact to [FlushEvery]. Keys of other accounts are
// as unknown as those that are nowhere.
func (s *Service) AccessKeyLastUsed(ctx context.Context, c *iam.Caller, id string) (*KeyUse, error) {
	c = orNobody(c)
	var owner sql.NullString
	var used int64
	use := &KeyUse{}
	err := s.db.QueryRow(ctx, `SELECT owner, used_at, used_for, used_in FROM access_keys WHERE id = $1 AND account = $2`, id, c.Account).
		Scan(&owner, &used, &use.Service, &use.Region)
	there := err == nil
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read last use of access key: %w", err)
	}
	res := iam.Resource{ARN: "arn:aws:iam::" + c.Account + ":user/*", Account: c.Account}
	if owner.Valid {
		r, err := byID(ctx, s.db, owner.String)
		if err != nil {
			return nil, err
		}
		if r != nil {
			res, use.UserName = resource(r, res), r.name
		}
	} else if there {
		res.ARN = iam.RootARN(c.Account)
	}
	if err := s.check(ctx, c, res, need{action: "iam:GetAccessKeyLastUsed"}); err != nil {
		return nil, err
	}
	if !there {
		return nil, noKey(id)
	}
	use.At = at(used)
	if here := s.uses.last(id); here != nil && here.at.After(use.At) {
		use.At, use.Service, use.Region = here.at.UTC().Truncate(time.Microsecond), here.service, here.region
	}
	if use.At.IsZero() {
		use.Service, use.Region = "N/A", "N/A"
	}
	return use, nil
}
