package pool

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// CodeLife is how long an enrolment code is good.
const CodeLife = 15 * time.Minute

const (
	codePrefix = "sac_"
	maxCodes   = 1000 // of a pool, that have not expired
)

// Code lets one agent join a pool, once.
type Code struct {
	ID      string
	Secret  iam.Secret // the code itself, only of one that was just made
	Pool    string
	Agent   string // the only name that it is good for; empty: any
	OneJob  bool   // the agent will do one job and be removed
	Created time.Time
	By      string // ARN
	Expires time.Time
}

// CreateCode makes an enrolment code. agent, if not empty, is the only name that it is good for. Errors: *iam.DeniedError;
// an [*Error] of kind NotFound, Invalid or LimitExceeded.
func (s *Service) CreateCode(ctx context.Context, c *iam.Caller, pool, agent string, oneJob bool) (*Code, error) {
	if agent != "" {
		if err := checkName("an agent", agent, maxAgentName); err != nil {
			return nil, err
		}
	}
	p, err := s.allowed(ctx, c, "CreateEnrollmentCode", pool)
	if err != nil {
		return nil, err
	}
	text := codePrefix + rand.Text()
	code := &Code{
		ID: uuid.NewString(), Secret: iam.NewSecret(text), Pool: p.Name, Agent: agent, OneJob: oneJob, Created: s.now(), By: c.Who(),
		Expires: s.now().Add(CodeLife),
	}
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		if _, err := s.lock(ctx, tx, p.ID); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM pool_codes WHERE pool = $1 AND expires_at > $2`, p.ID, s.now().UnixMicro()).Scan(&n); err != nil {
			return err
		}
		if n >= maxCodes {
			return errorf(LimitExceeded, "The pool %s has %d enrolment codes that nobody used. Each is gone %s after it was made.", p.Name, n, CodeLife)
		}
		_, err := tx.Exec(ctx, `INSERT INTO pool_codes (hash, pool, id, agent, ephemeral, created_at, created_by, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			hashCode(text), p.ID, code.ID, agent, number(oneJob), code.Created.UnixMicro(), code.By, code.Expires.UnixMicro())
		if err != nil {
			return err
		}
		return s.changed(ctx, tx, c, "CreateEnrollmentCode", p.ARN, "code "+code.ID)
	})
	if err != nil {
		return nil, err
	}
	return code, nil
}

// hashCode is what is stored of a code. It has over 120 random bits, so nothing slower is needed.
func hashCode(code string) string {
	sum := sha256.Sum256([]byte("sekisho enrolment code\n" + code))
	return hex.EncodeToString(sum[:])
}

// errCode says nothing of which it is: whoever guesses learns nothing.
var errCode = &Error{Refused, "The enrolment code is not good: it was used, has expired (it is good for 15 minutes), or never was one. Make another one in the pool."}

// code returns what a code is, and the id of its pool.
func (s *Service) code(ctx context.Context, from reader, text string) (*Code, string, error) {
	if !strings.HasPrefix(text, codePrefix) || len(text) > 64 {
		return nil, "", errCode
	}
	code := &Code{}
	var pool string
	var oneJob, expires int64
	err := from.QueryRow(ctx, `SELECT c.id, c.pool, p.name, c.agent, c.ephemeral, c.created_by, c.expires_at FROM pool_codes c JOIN pools p ON p.id = c.pool
		WHERE c.hash = $1`, hashCode(text)).Scan(&code.ID, &pool, &code.Pool, &code.Agent, &oneJob, &code.By, &expires)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, "", errCode
	}
	if err != nil {
		return nil, "", fmt.Errorf("read enrolment code: %w", err)
	}
	code.OneJob, code.Expires = oneJob != 0, moment(expires)
	if !s.now().Before(code.Expires) {
		return nil, "", errCode
	}
	return code, pool, nil
}

// use takes a code away for good.
func use(ctx context.Context, tx *meta.Tx, text string) error {
	res, err := tx.Exec(ctx, `DELETE FROM pool_codes WHERE hash = $1`, hashCode(text))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 { // somebody was faster
		return errors.Join(err, errCode)
	}
	return nil
}
