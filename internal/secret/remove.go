package secret

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// The recovery window, in days.
const (
	MinWindow     = 7
	MaxWindow     = 30
	defaultWindow = 30
)

// Delete schedules a secret for deletion after so many days; with 0 after the default. With force it is gone at once, and
// that there is no such secret is no error. It returns the secret, of which only names are known then, and when it is
// gone. Errors: *iam.DeniedError, and an [*Error] of kind NotFound, InvalidRequest, InvalidName or InvalidParameter.
func (s *Store) Delete(ctx context.Context, c *iam.Caller, id string, days int, force bool) (x *Secret, gone time.Time, err error) {
	switch {
	case force && days != 0:
		return nil, gone, errorf(InvalidParameter, "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case days != 0 && (days < MinWindow || days > MaxWindow):
		return nil, gone, errorf(InvalidParameter, "The RecoveryWindowInDays value must be between %d and %d days (inclusive).", MinWindow, MaxWindow)
	case days == 0:
		days = defaultWindow
	}
	keys := map[string][]string{"secretsmanager:forcedeletewithoutrecovery": {fmt.Sprint(force)}}
	if !force {
		keys["secretsmanager:recoverywindowindays"] = []string{fmt.Sprint(days)}
	}
	x, err = s.allowed(ctx, c, "DeleteSecret", id, keys)
	if errors.Is(err, errNotFound) && force {
		r, err := s.parseReference(accountOf(c), id)
		return &Secret{Account: r.account, Name: r.name, ARN: s.arn(r.account, r.name)}, s.now(), err
	}
	if err != nil {
		return nil, gone, err
	}
	if force {
		gone = s.now()
		return x, gone, s.remove(ctx, c, x, "DeleteSecret", "without recovery")
	}
	err = s.update(ctx, x, false, func(tx *meta.Tx, now *Secret) error {
		asked := s.now()
		gone = asked.Add(time.Duration(days) * 24 * time.Hour)
		_, err := tx.Exec(ctx, `UPDATE secrets SET deleted_at = $1, remove_at = $2 WHERE id = $3`, asked.UnixMicro(), gone.UnixMicro(), now.id)
		if err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "DeleteSecret", x.ARN, fmt.Sprintf("recovery window %d days", days))
	})
	return x, gone, err
}

// remove deletes a secret with its versions and labels.
func (s *Store) remove(ctx context.Context, c *iam.Caller, x *Secret, action, detail string) error {
	return s.update(ctx, x, true, func(tx *meta.Tx, now *Secret) error {
		if _, err := tx.Exec(ctx, `DELETE FROM secrets WHERE id = $1`, now.id); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, action, x.ARN, detail)
	})
}

// Restore takes a secret's deletion back. Errors: *iam.DeniedError, and an [*Error] of kind NotFound, InvalidName or
// InvalidParameter.
func (s *Store) Restore(ctx context.Context, c *iam.Caller, id string) (*Secret, error) {
	x, err := s.allowed(ctx, c, "RestoreSecret", id, nil)
	if err != nil {
		return nil, err
	}
	return x, s.update(ctx, x, true, func(tx *meta.Tx, now *Secret) error {
		if now.Deleted.IsZero() {
			return nil
		}
		if _, err := tx.Exec(ctx, `UPDATE secrets SET deleted_at = 0, remove_at = 0 WHERE id = $1`, now.id); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "RestoreSecret", x.ARN, "")
	})
}

// RemoveDue removes the secrets whose recovery window is over and returns how many. It is for the server itself, in the
// background.
func (s *Store) RemoveDue(ctx context.Context) (n int, err error) {
	for {
		due, err := s.due(ctx)
		if err != nil || len(due) == 0 {
			return n, err
		}
		for _, x := range due {
			err := s.db.Update(ctx, func(tx *meta.Tx) error {
				// It may have been restored since.
				res, err := tx.Exec(ctx, `DELETE FROM secrets WHERE id = $1 AND remove_at > 0 AND remove_at <= $2`, x.id, s.now().UnixMicro())
				if err != nil {
					return err
				}
				gone, err := res.RowsAffected()
				if err != nil || gone == 0 {
					return err
				}
				tx.OnCommit(func() { n++ })
				return s.changed(ctx, tx, iam.SystemCaller(x.Account, "secrets"), "DeleteSecret", x.ARN, "the recovery window is over")
			})
			if err != nil {
				return n, fmt.Errorf("remove %s: %w", x.ARN, err)
			}
		}
	}
}

func (s *Store) due(ctx context.Context) ([]*Secret, error) {
	rows, err := s.db.Query(ctx, `SELECT `+secretColumns+` FROM secrets WHERE remove_at > 0 AND remove_at <= $1 ORDER BY remove_at LIMIT 100`, s.now().UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("find secrets to remove: %w", err)
	}
	defer rows.Close()
	var due []*Secret
	for rows.Next() {
		x, err := s.scan(rows)
		if err != nil {
			return nil, fmt.Errorf("find secrets to remove: %w", err)
		}
		due = append(due, x)
	}
	return due, rows.Err()
}
