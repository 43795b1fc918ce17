package iam

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/seal"
)

// Service keeps accounts and access keys and authenticates credentials against
// them. It is safe for concurrent use. Many nodes may share the keys: one that is
// deactivated or deleted anywhere does not work for the next request, see [Generation].
type Service struct {
	db  *meta.DB
	now func() time.Time

	generation *Generation
	seal       *seal.Ring

	tokenKeys, sessionKeys [][]byte // the first one signs, all verify

	keys     keyCache
	good     credentialCache
	bad      rejectCache
	throttle throttle

	instance instanceKeys
	uses     tokenUses
	jobs     goodJobs
}

// What tokens are signed with is derived from the master key, so they end with it.
const (
	purposeTokens   = "sekisho iam authorization tokens v1"
	purposeSessions = "sekisho iam session tokens v1"
)

// New returns a Service over db. The ring seals the secrets of access keys; it has the same
// master keys on every node.
func New(db *meta.DB, ring *seal.Ring, now func() time.Time) (_ *Service, err error) {
	s := &Service{db: db, now: now, generation: NewGeneration(db), seal: ring}
	if s.tokenKeys, err = ring.Derive(purposeTokens); err != nil {
		return nil, err
	}
	if s.sessionKeys, err = ring.Derive(purposeSessions); err != nil {
		return nil, err
	}
	s.keys.load = s.loadKey
	s.keys.known = make(map[string]*liveKey)
	s.good.init()
	s.throttle.next = make(map[throttleKey]time.Time)
	_, _ = rand.Read(s.good.hashKey[:]) // never fails
	return s, nil
}

// Bootstrap makes sure that an account exists; "" stands for the oldest there is, or
// one with a number made up here. When it has to create it, it also creates and
// returns a root access key; else the key is nil. It fails if the master key is not
// the one that the account's keys were made with. Nodes that start at the same time
// agree.
func (s *Service) Bootstrap(ctx context.Context, account string) (*Account, *AccessKey, error) {
	if account != "" && !validAccount(account) {
		return nil, nil, fmt.Errorf("account %q is not 12 digits", account)
	}
	// Usually it is there, and a start writes nothing.
	a, err := s.known(ctx, account)
	if !errors.Is(err, ErrUnknownAccount) {
		return a, nil, err
	}
	number := account
	if number == "" {
		number = randomAccount()
	}
	fresh := &Account{ID: number, Created: s.now().UTC().Truncate(time.Microsecond)}
	key := s.newKey(number, RootARN(number))
	existed := false
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		insert := `INSERT INTO accounts (id, created_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`
		if account == "" {
			insert = `INSERT INTO accounts (id, created_at) SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM accounts)`
			if tx.Dialect() == meta.PostgreSQL { // another node's account must be seen
				if _, err := tx.Exec(ctx, `LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE`); err != nil {
					return err
				}
			}
		}
		res, err := tx.Exec(ctx, insert, number, fresh.Created.UnixMicro())
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if existed = n == 0; existed {
			return nil // and not an error, which could overtake the commit it is due to
		}
		return s.insertKey(ctx, tx, key)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("create account %s: %w", number, err)
	}
	if existed { // another node was quicker
		a, err := s.known(ctx, account)
		return a, nil, err
	}
	return fresh, key, nil
}

// known finds an account, or with "" the oldest, and checks the master key with it.
func (s *Service) known(ctx context.Context, id string) (*Account, error) {
	if id == "" {
		accounts, err := s.Accounts(ctx)
		if err != nil {
			return nil, err
		}
		if len(accounts) == 0 {
			return nil, ErrUnknownAccount
		}
		id = accounts[0].ID
	}
	a, err := s.Account(ctx, id)
	if err != nil {
		return nil, err
	}
	return a, s.checkMasterKey(ctx, id)
}

// randomAccount makes up 12 digits, the first of them no 0.
func randomAccount() string {
	n, _ := rand.Int(rand.Reader, big.NewInt(900_000_000_000)) // never fails
	return strconv.FormatInt(n.Int64()+100_000_000_000, 10)
}

// Generation returns what goes up with every change to who may do what.
func (s *Service) Generation() *Generation { return s.generation }

// Account returns an account, or [ErrUnknownAccount].
func (s *Service) Account(ctx context.Context, id string) (*Account, error) {
	var created int64
	err := s.db.QueryRow(ctx, `SELECT created_at FROM accounts WHERE id = $1`, id).Scan(&created)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("account %q: %w", id, ErrUnknownAccount)
	}
	if err != nil {
		return nil, fmt.Errorf("read account %s: %w", id, err)
	}
	return &Account{ID: id, Created: time.UnixMicro(created).UTC()}, nil
}

// Accounts returns all accounts, the oldest first.
func (s *Service) Accounts(ctx context.Context) ([]Account, error) {
	rows, err := s.db.Query(ctx, `SELECT id, created_at FROM accounts ORDER BY created_at, id`)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	defer rows.Close()
	var accounts []Account
	for rows.Next() {
		var a Account
		var created int64
		if err := rows.Scan(&a.ID, &created); err != nil {
			return nil, fmt.Errorf("list accounts: %w", err)
		}
		a.Created = time.UnixMicro(created).UTC()
		accounts = append(accounts, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return accounts, nil
}

// checkMasterKey tries the master key on one of the account's keys, so that a
// wrong one is noticed at the start and not at the first sign-in.
func (s *Service) checkMasterKey(ctx context.Context, account string) error {
	var id string
	var sealed []byte
	err := s.db.QueryRow(ctx, `SELECT id, secret FROM access_keys WHERE account = $1 ORDER BY id LIMIT 1`, account).Scan(&id, &sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		_, err = s.seal.Open(ctx, s.db, seal.AccessKeySecrets(), sealed, id)
	}
	if err != nil {
		return fmt.Errorf("check master key with access key of account %s: %w", account, err)
	}
	return nil
}

func validAccount(id string) bool {
	return len(id) == 12 && strings.Trim(id, "0123456789") == ""
}
