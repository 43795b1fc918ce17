package iam

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	keyIDPrefix = "AKIA"
	maxKeyID    = 128
)

// validKeyID reports whether an id can be one of ours. It keeps nonsense from the database.
func validKeyID(id string) bool {
	return (strings.HasPrefix(id, keyIDPrefix) || strings.HasPrefix(id, sessionIDPrefix)) && len(id) <= maxKeyID && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
}

func (s *Service) newKey(account, principal string) *AccessKey {
	k := s.NewKey()
	k.Account, k.ARN = account, principal
	return k
}

// NewKey makes an access key up: id, secret, time. It is nobody's, and not known before [Service.AddKey].
func (s *Service) NewKey() *AccessKey {
	return &AccessKey{
		ID:      randomKeyID(keyIDPrefix),
		Status:  KeyActive,
		Created: s.now().UTC().Truncate(time.Microsecond),
		Secret:  NewSecret(randomSecret()),
	}
}

// AddKey stores an access key, in a transaction that also begins a new [Generation]. Owner is the unique id of the user
// whose it is, and "" for root.
func (s *Service) AddKey(ctx context.Context, tx *meta.Tx, k *AccessKey, owner string) error {
	sealed, err := s.seal.Seal(ctx, tx, seal.AccessKeySecrets(), []byte(k.Secret.Reveal()), k.ID)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO access_keys (id, account, principal, status, secret, created_at, owner) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		k.ID, k.Account, k.ARN, string(k.Status), sealed, k.Created.UnixMicro(), sql.NullString{String: owner, Valid: owner != ""})
	return err
}

func (s *Service) insertKey(ctx context.Context, tx *meta.Tx, k *AccessKey) error {
	return s.AddKey(ctx, tx, k, "")
}

// CreateRootKey creates an access key of an account's root principal. Only the
// answer has its secret. Errors: [ErrUnknownAccount].
func (s *Service) CreateRootKey(ctx context.Context, account string) (*AccessKey, error) {
	k := s.newKey(account, RootARN(account))
	err := s.db.Update(ctx, func(tx *meta.Tx) error {
		if err := s.generation.Bump(ctx, tx); err != nil {
			return err
		}
		return s.insertKey(ctx, tx, k)
	})
	if meta.IsForeignKey(err) {
		err = ErrUnknownAccount
	}
	if err != nil {
		return nil, fmt.Errorf("create access key for account %q: %w", account, err)
	}
	return k, nil
}

// Keys returns an account's access keys, without secrets, by id.
func (s *Service) Keys(ctx context.Context, account string) ([]AccessKey, error) {
	rows, err := s.db.Query(ctx, `SELECT id, principal, status, created_at FROM access_keys WHERE account = $1 ORDER BY id`, account)
	if err != nil {
		return nil, fmt.Errorf("list access keys of account %s: %w", account, err)
	}
	defer rows.Close()
	var keys []AccessKey
	for rows.Next() {
		k := AccessKey{Account: account}
		var created int64
		if err := rows.Scan(&k.ID, &k.ARN, &k.Status, &created); err != nil {
			return nil, fmt.Errorf("list access keys of account %s: %w", account, err)
		}
		k.Created = time.UnixMicro(created).UTC()
		keys = append(keys, k)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list access keys of account %s: %w", account, err)
	}
	return keys, nil
}

// SetKeyStatus activates or deactivates a key. While it is inactive neither the
// key nor the tokens issued to it work. Errors: [ErrUnknownKey].
func (s *Service) SetKeyStatus(ctx context.Context, account, id string, status KeyStatus) error {
	if status != KeyActive && status != KeyInactive {
		return fmt.Errorf("status %q of access key is neither %s nor %s", status, KeyActive, KeyInactive)
	}
	err := s.updateKey(ctx, `UPDATE access_keys SET status = $1 WHERE account = $2 AND id = $3`, string(status), account, id)
	if err != nil {
		return fmt.Errorf("set status of access key %q: %w", id, err)
	}
	return nil
}

// DeleteKey deletes a key, and with it the tokens issued to it. Errors: [ErrUnknownKey].
func (s *Service) DeleteKey(ctx context.Context, account, id string) error {
	err := s.updateKey(ctx, `DELETE FROM access_keys WHERE account = $1 AND id = $2`, account, id)
	if err != nil {
		return fmt.Errorf("delete access key %q: %w", id, err)
	}
	return nil
}

func (s *Service) updateKey(ctx context.Context, statement string, args ...any) error {
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		if err := s.generation.Bump(ctx, tx); err != nil {
			return err
		}
		res, err := tx.Exec(ctx, statement, args...)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err == nil && n == 0 {
			err = ErrUnknownKey
		}
		return err
	})
}

// Secret returns the secret of a usable access key and the principal that it acts
// as, for the verification of signatures. from is the client's address, for
// throttling. Errors: [ErrUnknownKey], [ErrThrottled].
func (s *Service) Secret(ctx context.Context, id string, from netip.Addr) (Secret, *Principal, error) {
	k, err := s.usableKey(ctx, id, from)
	if err != nil {
		return Secret{}, nil, err
	}
	return NewSecret(k.secret), &k.principal, nil
}

// SigningKey returns the secret of a usable access key and the principal that it acts as, for the verification of a
// signature with a session token, or "". from is the client's address, for throttling.
//
// Errors: [ErrUnknownKey], which clients must not be able to tell from a signature with a wrong secret;
// [ErrSessionToken], [ErrSessionExpired], [ErrThrottled]. After [ErrUnknownKey] and a wrong signature the caller must tell
// the client the same.
func (s *Service) SigningKey(ctx context.Context, id, sessionToken string, from netip.Addr) (Secret, *Principal, error) {
	if strings.HasPrefix(id, sessionIDPrefix) != (sessionToken != "") {
		return Secret{}, nil, ErrSessionToken
	}
	if sessionToken == "" {
		if s.throttle.refuses(from, id, s.now()) {
			return Secret{}, nil, ErrThrottled
		}
		return s.Secret(ctx, id, from)
	}
	// Only we can have made what follows: to those who show it there is no secret in what became of the session.
	t, ok := parseToken(s.sessionKeys, sessionToken)
	if !ok || t.keyID != id {
		return Secret{}, nil, ErrSessionToken
	}
	if !s.now().Before(t.expires) {
		return Secret{}, nil, ErrSessionExpired
	}
	secret, p, err := s.Secret(ctx, id, from)
	if errors.Is(err, ErrUnknownKey) {
		err = ErrSessionToken
	}
	return secret, p, err
}

// WrongSecret takes note that a client at an address did not have the secret of an access key that is there. It returns
// [ErrThrottled] if that is what a client with a key that is not there would have been told, or nil.
func (s *Service) WrongSecret(id string, from netip.Addr) error {
	now := s.now()
	if !s.throttle.allows(from, now) {
		return ErrThrottled
	}
	s.throttle.spend(from, now)
	s.throttle.spendKey(from, id, now)
	return nil
}

// Attempt returns [ErrThrottled] if so much that was shown from an address was refused that what it shows now is not to be
// looked at. It is for credentials that others verify, and Refused counts them.
func (s *Service) Attempt(from netip.Addr) error {
	if !s.throttle.allows(from, s.now()) {
		return ErrThrottled
	}
	return nil
}

// Refused takes note that a credential from an address was refused, see Attempt.
func (s *Service) Refused(from netip.Addr) { s.throttle.spend(from, s.now()) }

// KeyAccount returns the account of an access key or of temporary credentials that have not expired, whether they can be used
// or not. Errors: [ErrUnknownKey].
func (s *Service) KeyAccount(ctx context.Context, id string) (account string, err error) {
	if !validKeyID(id) {
		return "", ErrUnknownKey
	}
	if strings.HasPrefix(id, sessionIDPrefix) {
		err = s.db.QueryRow(ctx, `SELECT account FROM sessions WHERE id = $1 AND expires_at > $2`, id, s.now().UnixMicro()).Scan(&account)
	} else {
		err = s.db.QueryRow(ctx, `SELECT account FROM access_keys WHERE id = $1`, id).Scan(&account)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return "", ErrUnknownKey
	}
	if err != nil {
		return "", fmt.Errorf("read account of access key %s: %w", id, err)
	}
	return account, nil
}

// usableKey returns an active key. Looking for one that is not there costs the
// client at from some of its allowance.
func (s *Service) usableKey(ctx context.Context, id string, from netip.Addr) (*liveKey, error) {
	if !validKeyID(id) {
		return nil, ErrUnknownKey
	}
	return s.usable(ctx, id, from)
}

// usable is usableKey for whatever a key cache keeps: access keys, temporary credentials, personal access tokens.
func (s *Service) usable(ctx context.Context, id string, from netip.Addr) (*liveKey, error) {
	generation, err := s.generation.Current(ctx)
	if err != nil {
		return nil, err
	}
	now := s.now()
	k, fresh := s.keys.get(id, generation, now)
	if fresh {
		return k, nil
	}
	if k == nil && !s.throttle.allows(from, now) { // what is in use is looked at whoever else is at that address
		return nil, ErrThrottled
	}
	k, err = s.keys.fetch(ctx, id, generation)
	if errors.Is(err, ErrUnknownKey) {
		s.throttle.spend(from, now)
	}
	return k, err
}

// loadKey reads a key. One that is not active is as good as none.
func (s *Service) loadKey(ctx context.Context, id string) (*liveKey, error) {
	switch {
	case strings.HasPrefix(id, sessionIDPrefix):
		return s.loadSession(ctx, id)
	case strings.HasPrefix(id, personalIDPrefix):
		return s.loadPersonal(ctx, id)
	}
	var principal Principal
	var status KeyStatus
	var sealed []byte
	var user, name sql.NullString
	err := s.db.QueryRow(ctx, `SELECT k.account, k.principal, k.status, k.secret, u.id, u.name FROM access_keys k
		LEFT JOIN identities u ON u.id = k.owner WHERE k.id = $1`, id).
		Scan(&principal.Account, &principal.ARN, &status, &sealed, &user, &name)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, ErrUnknownKey
	case err != nil:
		return nil, fmt.Errorf("read access key %s: %w", id, err)
	case status != KeyActive:
		return nil, ErrUnknownKey
	}
	secret, err := s.seal.Open(ctx, s.db, seal.AccessKeySecrets(), sealed, id)
	if err != nil {
		return nil, fmt.Errorf("read access key %s: %w", id, err)
	}
	principal.AccessKeyID = id
	switch {
	case user.Valid:
		principal.Type, principal.ID, principal.Name = User, user.String, name.String
	case principal.ARN == RootARN(principal.Account):
		principal.Type, principal.ID = Root, principal.Account
	}
	return &liveKey{principal: principal, secret: string(secret)}, nil
}
