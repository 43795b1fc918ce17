package pool

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/meta"
)

// Methods of enrolment.
const (
	MethodToken = "token" // a credential of a person: a personal access token, or an access key
	MethodCode  = "code"
	MethodOIDC  = "oidc"
	MethodSTS   = "sts"
)

// Join is what a machine wants to be.
type Join struct {
	Pool      string // empty: the one that the proof is for
	Name      string
	PublicKey []byte // PKIX, DER; whoever calls has seen that the machine has the other half
	Replace   bool   // an agent of the same name is to go
	OneJob    bool
	Facts     Facts
}

func (j *Join) check() (system string, err error) {
	if err := checkName("an agent", j.Name, maxAgentName); err != nil {
		return "", err
	}
	if _, err := ParseKey(j.PublicKey); err != nil {
		return "", err
	}
	return j.Facts.check()
}

// ParseKey returns a public key that an agent may have, an ed25519.PublicKey or *ecdsa.PublicKey, from its PKIX form.
func ParseKey(der []byte) (any, error) {
	const most = 200
	bad := errorf(Invalid, "An agent's key must be an Ed25519 or P-256 public key in PKIX form.")
	if len(der) > most {
		return nil, bad
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, bad
	}
	switch k := key.(type) {
	case ed25519.PublicKey:
		return k, nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return k, nil
		}
	}
	return nil, bad
}

// Joinable returns the names of the pools that a caller may have agents in.
func (s *Service) Joinable(ctx context.Context, c *iam.Caller) ([]string, error) {
	pools, err := s.pools(ctx, accountOf(c))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range pools { // not noted: nothing is done yet
		if d := s.judge.Authorizer.Authorize(ctx, c, iam.On(c, "agents:RegisterAgent", p.ARN)); d.Allowed {
			names = append(names, p.Name)
		} else if d.Err != nil {
			return nil, d.Err
		}
	}
	return names, nil
}

// NameTaken reports whether there is an agent of a name in a pool of an account. It is for whoever has shown that it may join.
func (s *Service) NameTaken(ctx context.Context, account, pool, name string) (bool, error) {
	p, err := s.find(ctx, s.db, account, pool)
	if p == nil || err != nil {
		return false, err
	}
	a, err := s.byName(ctx, s.db, p.ID, name)
	return a != nil, err
}

// Register makes an agent for a caller who may do agents:RegisterAgent on the pool, and agents:DeleteAgent to replace one.
// Errors: *iam.DeniedError; an [*Error] of kind NotFound, Invalid, Exists, InUse or LimitExceeded.
func (s *Service) Register(ctx context.Context, c *iam.Caller, j Join) (*Agent, error) {
	p, err := s.allowed(ctx, c, "RegisterAgent", j.Pool)
	if errors.Is(err, ErrOf(NotFound)) {
		names, nerr := s.Joinable(ctx, c)
		if nerr != nil {
			return nil, nerr
		}
		return nil, errorf(NotFound, "There is no pool %q. %s", cut(j.Pool), thereAre(names))
	}
	if err != nil {
		return nil, err
	}
	if j.Replace {
		if err := s.may(ctx, c, "DeleteAgent", p.Name); err != nil {
			return nil, err
		}
	}
	return s.enrol(ctx, c, p.ID, j, c.Who(), MethodToken, nil)
}

func thereAre(names []string) string {
	if len(names) == 0 {
		return "There is none that you may have agents in."
	}
	return "You may have agents in: " + strings.Join(names, ", ") + "."
}

// CodePool returns what a code is good for, without using it. Errors: an [*Error] of kind Refused.
func (s *Service) CodePool(ctx context.Context, text string) (*Code, string, error) {
	c, id, err := s.code(ctx, s.db, text)
	if err != nil {
		return nil, "", err
	}
	p, err := s.scanPool(s.db.QueryRow(ctx, `SELECT `+poolColumns+` FROM pools WHERE id = $1`, id))
	if err != nil {
		return nil, "", fmt.Errorf("read pool of a code: %w", err)
	}
	return c, p.Account, nil
}

// RegisterByCode makes an agent for whoever has a code. c says where the request comes from. Errors: an [*Error].
func (s *Service) RegisterByCode(ctx context.Context, c *iam.Caller, text string, j Join) (*Agent, error) {
	code, id, err := s.code(ctx, s.db, text)
	if errors.Is(err, errCode) { // perhaps it was this key that used it
		if a, aerr := s.repeated(ctx, s.db, "", j); a != nil || aerr != nil {
			return a, aerr
		}
	}
	if err != nil {
		return nil, err
	}
	if j.Pool != "" && fold(j.Pool) != fold(code.Pool) {
		return nil, errorf(Refused, "The enrolment code is for the pool %s.", code.Pool)
	}
	if code.Agent != "" && fold(code.Agent) != fold(j.Name) {
		return nil, errorf(Refused, "The enrolment code is for an agent of the name %s.", code.Agent)
	}
	j.OneJob = j.OneJob || code.OneJob
	return s.enrol(ctx, c, id, j, "code "+code.ID+" of "+code.By, MethodCode, func(tx *meta.Tx) error { return use(ctx, tx, text) })
}

// Attested is an identity that was proved, and the pools that it may join.
type Attested struct {
	Pools   []string
	rules   []placedRule
	subject string
	method  string
	proof   string    // to be used up; empty: it is bound to the key
	expires time.Time // of the proof
}

// AttestToken verifies an identity token and returns what it is good for in an account. Errors: [*oidc.Error]; an [*Error] of
// kind Refused.
func (s *Service) AttestToken(ctx context.Context, account, token string) (*Attested, error) {
	if s.o.Tokens == nil {
		return nil, errorf(Refused, "Agents don't join by identity tokens here.")
	}
	issuer, err := oidc.Issuer(token)
	if err != nil {
		return nil, err
	}
	rules, err := s.rules(ctx, s.db, account, ByOIDC)
	if err != nil {
		return nil, err
	}
	rules = slices.DeleteFunc(rules, func(r placedRule) bool { return strings.TrimSuffix(r.Issuer, "/") != strings.TrimSuffix(issuer, "/") })
	if len(rules) == 0 { // nobody is asked for the keys of an issuer that no rule names
		return nil, errorf(Refused, "No pool of account %s has a rule for tokens of %s.", cut(account), cut(issuer))
	}
	var matched []placedRule
	var who *oidc.Identity
	var last error
	verified := map[[2]string]*oidc.Identity{}
	for _, r := range rules {
		key := [2]string{r.Issuer, r.Audience}
		id, ok := verified[key]
		if !ok {
			id, err = s.o.Tokens.Verify(ctx, &oidc.Provider{URL: r.Issuer, ClientIDs: []string{r.Audience}}, token)
			if err != nil {
				if _, refused := errors.AsType[*oidc.Error](err); !refused {
					return nil, err
				}
				last = err
			}
			verified[key] = id
		}
		if id != nil {
			who = id
			if like(r.Subject, id.Subject) {
				matched = append(matched, r)
			}
		}
	}
	if who == nil {
		return nil, last
	}
	if len(matched) == 0 {
		return nil, errorf(Refused, "No rule of a pool of account %s is for the subject %s.", cut(account), cut(who.Subject))
	}
	sum := sha256.Sum256([]byte("sekisho identity token\n" + token))
	return attested(matched, who.Subject+" of "+issuer, MethodOIDC, hex.EncodeToString(sum[:]), who.Expires), nil
}

// AttestPrincipal returns what a principal who signed a request for sts:GetCallerIdentity is good for. Whoever calls it has
// verified the signature, and that it is over the agent's key. Errors: an [*Error] of kind Refused.
func (s *Service) AttestPrincipal(ctx context.Context, p *iam.Principal) (*Attested, error) {
	arn := p.ARN
	if p.Role != "" {
		arn = p.Role
	}
	rules, err := s.rules(ctx, s.db, p.Account, BySTS)
	if err != nil {
		return nil, err
	}
	rules = slices.DeleteFunc(rules, func(r placedRule) bool { return p.Type == iam.Root || !like(r.Subject, arn) })
	if len(rules) == 0 {
		return nil, errorf(Refused, "No rule of a pool of account %s is for %s.", p.Account, arn)
	}
	return attested(rules, p.ARN, MethodSTS, "", time.Time{}), nil
}

func attested(rules []placedRule, subject, method, proof string, expires time.Time) *Attested {
	a := &Attested{rules: rules, subject: subject, method: method, proof: proof, expires: expires}
	for _, r := range rules {
		if !slices.Contains(a.Pools, r.pool.Name) {
			a.Pools = append(a.Pools, r.pool.Name)
		}
	}
	return a
}

// RegisterAttested makes an agent for an identity that was proved. Errors: an [*Error].
func (s *Service) RegisterAttested(ctx context.Context, c *iam.Caller, a *Attested, j Join) (*Agent, error) {
	if j.Pool == "" && len(a.Pools) == 1 {
		j.Pool = a.Pools[0]
	}
	i := slices.IndexFunc(a.rules, func(r placedRule) bool { return fold(r.pool.Name) == fold(j.Pool) })
	if i < 0 {
		return nil, errorf(Refused, "%s may not join the pool %q. %s", a.subject, cut(j.Pool), thereAre(a.Pools))
	}
	r := &a.rules[i]
	// If several rules let it in, the one that says most about it counts.
	j.OneJob = j.OneJob || !slices.ContainsFunc(a.rules, func(o placedRule) bool { return o.pool.ID == r.pool.ID && !o.OneJob })
	var spend func(tx *meta.Tx) error
	if a.proof != "" {
		spend = func(tx *meta.Tx) error {
			res, err := tx.Exec(ctx, `INSERT INTO pool_proofs (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING`, a.proof, a.expires.Add(time.Hour).UnixMicro())
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				return errors.Join(err, errorf(Refused, "The identity token was used to enrol an agent before. Get another one."))
			}
			return nil
		}
	}
	return s.enrol(ctx, c, r.pool.ID, j, a.subject+", by rule "+r.ID, a.method, spend)
}

// repeated returns the agent that a join made before: of the same key, name, and pool ("" for the one that it names, or any).
func (s *Service) repeated(ctx context.Context, from reader, poolID string, j Join) (*Agent, error) {
	a, err := s.scanAgent(from.QueryRow(ctx, `SELECT `+agentColumns+fromAgents+`WHERE a.public_key = $1`, j.PublicKey))
	if a, err = orNone(a, err, "read agent by its key"); a == nil || err != nil {
		return nil, err
	}
	if fold(a.Name) != fold(j.Name) || poolID != "" && a.PoolID != poolID || j.Pool != "" && fold(a.Pool) != fold(j.Pool) {
		return nil, errorf(Exists, "The key is that of another agent. Make a new one.")
	}
	return a, nil
}

// enrol makes an agent. spend, if not nil, uses the proof up.
func (s *Service) enrol(ctx context.Context, c *iam.Caller, poolID string, j Join, by, method string, spend func(tx *meta.Tx) error) (*Agent, error) {
	system, err := j.check()
	if err != nil {
		return nil, err
	}
	var made *Agent
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		made = nil
		p, err := s.lock(ctx, tx, poolID)
		if err != nil {
			return err
		}
		if made, err = s.repeated(ctx, tx, p.ID, j); made != nil || err != nil {
			return err
		}
		if spend != nil {
			if err := spend(tx); err != nil {
				return err
			}
		}
		if err := s.makeRoom(ctx, tx, p, j, method); err != nil {
			return err
		}
		id, now := uuid.NewString(), s.now()
		_, err = tx.Exec(ctx, `INSERT INTO pool_agents (id, pool, name, folded, public_key, enabled, ephemeral, version, os, arch, host, system, custom, reason,
			seen_at, gone_at, job, job_at, enrolled_at, enrolled_by, method)
			VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8, $9, $10, $11, '{}', $12, 0, 0, '', 0, $13, $14, $15)`,
			id, p.ID, j.Name, fold(j.Name), j.PublicKey, number(j.OneJob), j.Facts.Version, j.Facts.OS, j.Facts.Arch, j.Facts.Host, system, j.Facts.Reason,
			now.UnixMicro(), by, method)
		if err != nil {
			return err
		}
		if made, err = s.byName(ctx, tx, p.ID, j.Name); err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "RegisterAgent", p.ARN, fmt.Sprintf("agent %s, %s %s", j.Name, method, by))
	})
	if meta.IsUnique(err) { // the same key in another pool at the same time
		err = errorf(Exists, "An agent of the same name or key was made at the same time.")
	}
	if err != nil {
		return nil, err
	}
	return made, nil
}

// makeRoom removes the agent that a new one replaces, or says why it can't be made.
func (s *Service) makeRoom(ctx context.Context, tx *meta.Tx, p *Pool, j Join, method string) error {
	old, err := s.byName(ctx, tx, p.ID, j.Name)
	if err != nil {
		return err
	}
	if old == nil {
		var n int
		if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM pool_agents WHERE pool = $1`, p.ID).Scan(&n); err != nil {
			return err
		}
		if n >= maxAgents {
			return errorf(LimitExceeded, "The pool %s has %d agents, which is all that it can have.", p.Name, n)
		}
		return nil
	}
	switch {
	case !j.Replace:
		return errorf(Exists, "There is an agent %s in pool %s already: replace it, or take another name.", old.Name, p.Name)
	case old.Busy() && old.Online:
		return errorf(InUse, "The agent %s in pool %s runs a job and can't be replaced before that ends.", old.Name, p.Name)
	case method != MethodToken && old.Online:
		return errorf(InUse, "The agent %s in pool %s is online: only somebody who may delete it can replace it.", old.Name, p.Name)
	}
	_, err = tx.Exec(ctx, `DELETE FROM pool_agents WHERE id = $1`, old.ID)
	return err
}

// Subject says whose identity it is.
func (a *Attested) Subject() string { return a.subject }
