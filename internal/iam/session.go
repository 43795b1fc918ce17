package iam

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	sessionIDPrefix = "ASIA"

	// maxSessions is how many temporary credentials an account can have that have not expired.
	maxSessions = 100_000
	// maxOfKey is how many of them can end with the same access key. Who has a key needs no permission for them, and must not
	// leave the account without any for others.
	maxOfKey = 1000
	// sweepSessions is how many expired ones each new one removes, so that there are never many more than are good.
	sweepSessions = 16
)

// Grant is what temporary credentials are to be.
type Grant struct {
	// Principal is who they act as: root, a user, or a role under the name of a session. Its ID and Session must be set,
	// with at least the end of the session. When it began, and under which key, is set here.
	Principal Principal
	// Parent is the access key that the credentials end with. Empty for those of a role, which its policies end.
	Parent string
	// Also, if not nil, runs in the transaction that makes the credentials, for their record.
	Also func(ctx context.Context, tx *meta.Tx, c *Credentials) error
}

// Credentials are temporary ones.
type Credentials struct {
	AccessKeyID  string // "ASIA" and 16 letters or digits
	Secret       Secret
	SessionToken Secret // not good without the secret
	Expires      time.Time
}

// sessionGrant is what a row says of who acts.
type sessionGrant struct {
	ARN            string              `json:"arn"`
	Type           string              `json:"type"`
	ID             string              `json:"id"`
	Name           string              `json:"name,omitempty"`
	Role           string              `json:"role,omitempty"`
	Policies       []string            `json:"policies"` // null and [] differ
	Tags           map[string]string   `json:"tags,omitempty"`
	Transitive     []string            `json:"transitive,omitempty"`
	Provider       string              `json:"provider,omitempty"`
	Keys           map[string][]string `json:"keys,omitempty"`
	SourceIdentity string              `json:"sourceIdentity,omitempty"`
}

// sessionTypes are the principals that can have temporary credentials.
var sessionTypes = map[string]PrincipalType{
	Root.String(): Root, User.String(): User, AssumedRole.String(): AssumedRole,
}

// owner is the unique id of what a session acts as: of a role without the name of the session, and none of root.
func (p *Principal) owner() sql.NullString {
	id, _, _ := strings.Cut(p.ID, ":")
	return sql.NullString{String: id, Valid: p.Type != Root}
}

// NewSession makes temporary credentials. Nothing is decided here: that the caller may have them is for others to find out
// before. Errors: [ErrTooManySessions]; [ErrPrincipalGone] if there is no such account, role, user or parent.
func (s *Service) NewSession(ctx context.Context, g Grant) (*Credentials, error) {
	p, now := &g.Principal, s.now().UTC().Truncate(time.Microsecond)
	_, can := sessionTypes[p.Type.String()]
	if !can || p.Session == nil || p.ID == "" || p.ARN == "" || !now.Before(p.Session.Expires) {
		return nil, fmt.Errorf("new session of %s: the grant is not whole", (&Caller{Principal: *p}).Who())
	}
	grants, err := json.Marshal(sessionGrant{
		ARN: p.ARN, Type: p.Type.String(), ID: p.ID, Name: p.Name, Role: p.Role,
		Policies: p.Session.Policies, Tags: p.Session.Tags, Transitive: p.Session.Transitive, Provider: p.Session.Provider,
		Keys: p.Session.Keys, SourceIdentity: p.Session.SourceIdentity,
	})
	if err != nil {
		return nil, fmt.Errorf("new session of %s: %w", p.ARN, err)
	}
	c := &Credentials{
		AccessKeyID: randomKeyID(sessionIDPrefix),
		Secret:      NewSecret(randomSecret()),
		Expires:     p.Session.Expires.UTC().Truncate(time.Second), // what tokens and answers can say
	}
	t := token{issued: now, expires: c.Expires, keyID: c.AccessKeyID}
	c.SessionToken = NewSecret(t.encode(s.sessionKeys[0]))
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		if err := makeRoom(ctx, tx, p.Account, maxSessions, now); err != nil {
			return err
		}
		if g.Parent != "" {
			if err := hasRoom(ctx, tx, "parent", g.Parent, maxOfKey, now); err != nil {
				return err
			}
		}
		sealed, err := s.seal.Seal(ctx, tx, seal.SessionSecrets(), []byte(c.Secret.Reveal()), c.AccessKeyID)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO sessions (id, account, owner, parent, secret, grants, issued_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			c.AccessKeyID, p.Account, p.owner(), sql.NullString{String: g.Parent, Valid: g.Parent != ""},
			sealed, string(grants), now.UnixMicro(), c.Expires.UnixMicro())
		if err == nil && g.Also != nil {
			err = g.Also(ctx, tx, c)
		}
		return err
	})
	if meta.IsForeignKey(err) {
		err = ErrPrincipalGone
	}
	if err != nil {
		return nil, fmt.Errorf("new session of %s: %w", p.ARN, err)
	}
	return c, nil
}

// On PostgreSQL those who make sessions at the same time remove different ones, and don't wait for each other.
const (
	pageExpired     = `DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2`
	sweepSQLite     = pageExpired + `)`
	sweepPostgreSQL = pageExpired + ` FOR UPDATE SKIP LOCKED)`
)

// makeRoom removes some sessions that have expired, and fails if the account has no room for one more.
func makeRoom(ctx context.Context, tx *meta.Tx, account string, most int, now time.Time) error {
	sweep := sweepSQLite
	if tx.Dialect() == meta.PostgreSQL {
		sweep = sweepPostgreSQL
	}
	_, err := tx.Exec(ctx, sweep, now.UnixMicro(), sweepSessions)
	if err != nil {
		return err
	}
	return hasRoom(ctx, tx, "account", account, most, now)
}

// hasRoom fails if most of the sessions that have not expired have a value in a column.
func hasRoom(ctx context.Context, tx *meta.Tx, column, value string, most int, now time.Time) error {
	var one int
	err := tx.QueryRow(ctx, `SELECT 1 FROM sessions WHERE `+column+` = $1 AND expires_at > $2 LIMIT 1 OFFSET $3`,
		value, now.UnixMicro(), most-1).Scan(&one)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err == nil:
		return ErrTooManySessions
	}
	return err
}

// loadSession reads temporary credentials. Expired ones, and those whose access key is not active, are as good as none.
func (s *Service) loadSession(ctx context.Context, id string) (*liveKey, error) {
	k := &liveKey{principal: Principal{AccessKeyID: id, Session: &Session{}}}
	p := &k.principal
	var issued, expires int64
	var sealed []byte
	var grants string
	var parent sql.NullString
	var status sql.NullString
	err := s.db.QueryRow(ctx, `SELECT s.account, s.parent, k.status, s.secret, s.grants, s.issued_at, s.expires_at
		FROM sessions s LEFT JOIN access_keys k ON k.id = s.parent WHERE s.id = $1`, id).
		Scan(&p.Account, &parent, &status, &sealed, &grants, &issued, &expires)
	if errors.Is(err, sql.ErrNoRows) || err == nil && parent.Valid && KeyStatus(status.String) != KeyActive {
		return nil, ErrUnknownKey
	}
	var g sessionGrant
	if err == nil {
		var secret []byte
		secret, err = s.seal.Open(ctx, s.db, seal.SessionSecrets(), sealed, id)
		k.secret = string(secret)
	}
	if err == nil {
		err = json.Unmarshal([]byte(grants), &g)
	}
	known := false
	if p.Type, known = sessionTypes[g.Type]; err == nil && !known {
		err = fmt.Errorf("a principal of type %q has no sessions", g.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("read session %s: %w", id, err)
	}
	k.expires = time.UnixMicro(expires).UTC()
	p.ARN, p.ID, p.Name, p.Role = g.ARN, g.ID, g.Name, g.Role
	*p.Session = Session{
		Issued: time.UnixMicro(issued).UTC(), Expires: k.expires,
		Policies: g.Policies, Tags: g.Tags, Transitive: g.Transitive, Provider: g.Provider, Keys: g.Keys,
		SourceIdentity: g.SourceIdentity,
	}
	if !s.now().Before(k.expires) {
		return nil, ErrUnknownKey
	}
	return k, nil
}
