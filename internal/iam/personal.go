package iam

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sekisho/sekisho/internal/meta"
)

// Limits of personal access tokens.
const (
	DefaultTokenLife = 90 * 24 * time.Hour
	MaxTokenLife     = 366 * 24 * time.Hour // a year, whichever
	minTokenLife     = time.Minute

	maxTokenName = 128
	maxTokens    = 100                 // of an owner, that have not expired
	keepExpired  = 30 * 24 * time.Hour // so that people see what has ended
)

// PersonalToken is a credential that a user or root made for a program: good as the password beside any user name, and as
// a Bearer. It acts as whoever made it, by the policies of the time of use, within its scopes; it can't be used for IAM.
type PersonalToken struct {
	ID      string // "SKPT…", what the record calls it
	Account string
	ARN     string // whose it is
	Name    string
	Scopes  []Scope // nil: all
	Created time.Time
	Expires time.Time
	Used    time.Time // to the minute; zero: never

	// Token is set only in the answer to its creation.
	Token Secret `json:"-"`
}

// NewPersonalToken is a token to be made.
type NewPersonalToken struct {
	Name   string
	Life   time.Duration // 0: DefaultTokenLife; at most MaxTokenLife
	Scopes []Scope       // none: all
}

// TokenError is a call about tokens that can't be done as it was asked for. The message is for whoever asked.
type TokenError struct{ Message string }

// Error returns the message.
func (e *TokenError) Error() string { return e.Message }

func tokenErrorf(format string, args ...any) *TokenError {
	return &TokenError{fmt.Sprintf(format, args...)}
}

// ErrNoToken means that there is no such personal access token.
var ErrNoToken = errors.New("there is no such personal access token")

// PersonalTokens is where people make, list and revoke personal access tokens. Every call asks the judge.
type PersonalTokens struct {
	s        *Service
	judge    *Judge
	onChange func(ctx context.Context, tx *meta.Tx, c *Caller, action, resource, detail string) error
}

// PersonalTokens returns the tokens that s verifies. onChange runs in the transaction of each change, to record it; nil:
// nothing is recorded.
func (s *Service) PersonalTokens(judge *Judge, onChange func(ctx context.Context, tx *meta.Tx, c *Caller, action, resource, detail string) error) *PersonalTokens {
	if onChange == nil {
		onChange = func(context.Context, *meta.Tx, *Caller, string, string, string) error { return nil }
	}
	return &PersonalTokens{s, judge, onChange}
}

// Create makes a token of the caller's. Only the answer has its text. Users and root have tokens; sessions, which end by
// themselves, and tokens don't make any. Errors: [*DeniedError], [*TokenError], [ErrPrincipalGone].
func (p *PersonalTokens) Create(ctx context.Context, c *Caller, n NewPersonalToken) (*PersonalToken, error) {
	if c == nil || c.Type != User && c.Type != Root || c.Session != nil || c.ID == "" {
		r, d := On(c, "iam:CreatePersonalAccessToken", tokenOwnerARN(c)), Decision{Reason: "because only a user or root has personal access tokens, and makes them with an access key"}
		p.judge.Note(c, r, d)
		return nil, d.Denied(c, r)
	}
	if err := p.judge.Check(ctx, c, On(c, "iam:CreatePersonalAccessToken", c.ARN)); err != nil {
		return nil, err
	}
	life := n.Life
	if life == 0 {
		life = DefaultTokenLife
	}
	switch {
	case n.Name == "" || utf8.RuneCountInString(n.Name) > maxTokenName || !utf8.ValidString(n.Name) || strings.ContainsFunc(n.Name, unicode.IsControl):
		return nil, tokenErrorf("a token needs a name of 1 to %d characters, by which you know it again", maxTokenName)
	case life < minTokenLife || life > MaxTokenLife:
		return nil, tokenErrorf("a token is good for %s at least, and a year at most", minTokenLife)
	}
	scopes, err := checkScopes(n.Scopes)
	if err != nil {
		return nil, err
	}
	text, id := newBearer(personalPrefix)
	hash, err := p.s.bearerHash(ctx, text)
	if err != nil {
		return nil, err
	}
	now := p.s.now().UTC().Truncate(time.Second)
	t := &PersonalToken{ID: id, Account: c.Account, ARN: c.ARN, Name: n.Name, Scopes: scopes, Created: now, Expires: now.Add(life), Token: NewSecret(text)}
	err = p.s.db.Update(ctx, func(tx *meta.Tx) error {
		var count int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM personal_access_tokens WHERE account = $1 AND COALESCE(owner, '') = $2 AND expires_at > $3`,
			c.Account, tokenOwner(c).String, now.UnixMicro()).Scan(&count); err != nil {
			return err
		}
		if count >= maxTokens {
			return tokenErrorf("%s has %d tokens that are good, and can have no more: revoke those that nobody uses", c.ARN, count)
		}
		_, err := tx.Exec(ctx, `INSERT INTO personal_access_tokens (id, account, owner, name, scopes, hash, created_at, expires_at, used_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)`,
			id, c.Account, tokenOwner(c), n.Name, joinScopes(scopes), hash, now.UnixMicro(), t.Expires.UnixMicro())
		if err != nil {
			return err
		}
		return p.onChange(ctx, tx, c, "iam:CreatePersonalAccessToken", c.ARN, t.detail())
	})
	if meta.IsForeignKey(err) {
		err = ErrPrincipalGone
	}
	if err != nil {
		return nil, wrapToken("create personal access token", err)
	}
	return t, nil
}

func (t *PersonalToken) detail() string {
	scopes := joinScopes(t.Scopes)
	if scopes == "" {
		scopes = "all"
	}
	return t.ID + " until " + t.Expires.Format(time.RFC3339) + " for " + scopes
}

func wrapToken(what string, err error) error {
	if _, ours := errors.AsType[*TokenError](err); ours {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// tokenOwner is the unique id of whom a caller's tokens belong to, none of root.
func tokenOwner(c *Caller) sql.NullString {
	if c.Type != User {
		return sql.NullString{}
	}
	return sql.NullString{String: c.ID, Valid: true}
}

func tokenOwnerARN(c *Caller) string {
	if c == nil || c.ARN == "" {
		return "*"
	}
	return c.ARN
}

const tokenColumns = `t.id, t.account, COALESCE(t.owner, ''), t.name, t.scopes, t.created_at, t.expires_at, t.used_at, COALESCE(u.path, ''), COALESCE(u.name, '')`

const fromTokens = ` FROM personal_access_tokens t LEFT JOIN identities u ON u.id = t.owner `

// personalRow is a row of tokenColumns.
type personalRow struct {
	PersonalToken
	owner, path, user string
}

func scanToken(row interface{ Scan(...any) error }, more ...any) (*personalRow, error) {
	var r personalRow
	var scopes string
	var created, expires, used int64
	into := []any{&r.ID, &r.Account, &r.owner, &r.Name, &scopes, &created, &expires, &used, &r.path, &r.user}
	if err := row.Scan(append(into, more...)...); err != nil {
		return nil, err
	}
	r.Scopes = splitScopes(scopes)
	r.Created, r.Expires = time.UnixMicro(created).UTC(), time.UnixMicro(expires).UTC()
	if used != 0 {
		r.Used = time.UnixMicro(used).UTC()
	}
	r.ARN = RootARN(r.Account)
	if r.owner != "" {
		r.ARN = "arn:aws:iam::" + r.Account + ":user" + r.path + r.user
	}
	return &r, nil
}

// List returns the tokens of a user of the caller's account, or with "" the caller's own, the newest first; expired ones
// too, for a month. There are never many. Errors: [*DeniedError].
func (p *PersonalTokens) List(ctx context.Context, c *Caller, user string) ([]PersonalToken, error) {
	if c == nil {
		c = &Caller{}
	}
	arn, where, args := tokenOwnerARN(c), `WHERE t.account = $1 AND COALESCE(t.owner, '') = $2`, []any{c.Account, ""}
	switch {
	case user != "":
		id, path, name, err := p.user(ctx, c.Account, user)
		if err != nil {
			return nil, err
		}
		arn, args[1] = "arn:aws:iam::"+c.Account+":user"+path+name, id
	case c.Type == User:
		args[1] = c.ID
	case c.Type != Root:
		arn = "*"
	}
	if err := p.judge.Check(ctx, c, On(c, "iam:ListPersonalAccessTokens", arn)); err != nil {
		return nil, err
	}
	if user == "" && c.Type != User && c.Type != Root || user != "" && args[1] == "" {
		return nil, nil
	}
	rows, err := p.s.db.Query(ctx, `SELECT `+tokenColumns+fromTokens+where+` ORDER BY t.created_at DESC, t.id LIMIT 1000`, args...)
	if err != nil {
		return nil, fmt.Errorf("list personal access tokens of %s: %w", arn, err)
	}
	defer rows.Close()
	var all []PersonalToken
	for rows.Next() {
		r, err := scanToken(rows)
		if err != nil {
			return nil, fmt.Errorf("list personal access tokens of %s: %w", arn, err)
		}
		all = append(all, r.PersonalToken)
	}
	return all, rows.Err()
}

// user finds a user of an account by name; of one that is not there the id is "".
func (p *PersonalTokens) user(ctx context.Context, account, name string) (id, path, found string, err error) {
	err = p.s.db.QueryRow(ctx, `SELECT id, path, name FROM identities WHERE account = $1 AND kind = 'user' AND folded = $2`, account, strings.ToLower(name)).
		Scan(&id, &path, &found)
	if errors.Is(err, sql.ErrNoRows) || err == nil && found != name {
		return "", "/", name, nil
	}
	if err != nil {
		return "", "", "", fmt.Errorf("read user %s: %w", name, err)
	}
	return id, path, found, nil
}

// Revoke ends a token of the caller's account: the next request with it is refused, on every node. Errors: [*DeniedError],
// [ErrNoToken].
func (p *PersonalTokens) Revoke(ctx context.Context, c *Caller, id string) error {
	if c == nil {
		c = &Caller{}
	}
	r, err := scanToken(p.s.db.QueryRow(ctx, `SELECT `+tokenColumns+fromTokens+`WHERE t.id = $1 AND t.account = $2`, id, c.Account))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return describeToken(id, err)
	}
	arn := tokenOwnerARN(c) // of one that is not there, or nobody's that may be known
	if r != nil {
		arn = r.ARN
	}
	if err := p.judge.Check(ctx, c, On(c, "iam:RevokePersonalAccessToken", arn)); err != nil {
		return err
	}
	if r == nil {
		return ErrNoToken
	}
	err = p.s.db.Update(ctx, func(tx *meta.Tx) error {
		if err := p.s.generation.Bump(ctx, tx); err != nil {
			return err
		}
		res, err := tx.Exec(ctx, `DELETE FROM personal_access_tokens WHERE id = $1 AND account = $2`, id, c.Account)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, ErrNoToken)
		}
		return p.onChange(ctx, tx, c, "iam:RevokePersonalAccessToken", arn, id+" "+r.Name)
	})
	if errors.Is(err, ErrNoToken) {
		return ErrNoToken
	}
	if err != nil {
		return fmt.Errorf("revoke personal access token %s: %w", id, err)
	}
	return nil
}

// loadPersonal reads a token. Its secret is the hash.
func (s *Service) loadPersonal(ctx context.Context, id string) (*liveKey, error) {
	var hash []byte
	r, err := scanToken(s.db.QueryRow(ctx, `SELECT `+tokenColumns+`, t.hash`+fromTokens+`WHERE t.id = $1`, id), &hash)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrUnknownKey
	}
	if err != nil {
		return nil, describeToken(id, err)
	}
	k := &liveKey{secret: string(hash), expires: r.Expires, principal: Principal{
		Account: r.Account, ARN: r.ARN, Type: Root, ID: r.Account, AccessKeyID: id,
		Session: &Session{Issued: r.Created, Expires: r.Expires, Policies: scopePolicies(r.Scopes)},
	}}
	if r.owner != "" {
		k.principal.Type, k.principal.ID, k.principal.Name = User, r.owner, r.user
	}
	return k, nil
}
