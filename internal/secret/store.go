package secret

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/seal"
)

// Options are those of [New].
type Options struct {
	Region string           // as it stands in ARNs; required
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default: discard
	// Outward says where values may refer to.
	Outward Outward
	// UnknownPrincipal returns a principal that a policy names and that is not there, or "", in the transaction that stores the
	// policy. Nil: all are.
	UnknownPrincipal func(ctx context.Context, tx *meta.Tx, document string) (string, error)
	// OnChange is called in the transaction of each change, to record it. Nil: nothing is recorded.
	OnChange func(ctx context.Context, tx *meta.Tx, ch Change) error
}

// Change is something that was done to a secret.
type Change struct {
	Caller *iam.Caller
	Action string // as in policies: "secretsmanager:PutSecretValue"
	ARN    string
	Detail string // never a value
}

// Store keeps the secrets of all accounts. It is safe for concurrent use, and many nodes may share a database.
type Store struct {
	db    *meta.DB
	ring  *seal.Ring
	judge *iam.Judge
	o     Options
}

// New returns a Store over db. judge is asked before everything.
func New(db *meta.DB, ring *seal.Ring, judge *iam.Judge, o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store{db: db, ring: ring, judge: judge, o: o}
}

// Secret is a secret without its value.
type Secret struct {
	Account     string
	Name        string
	ARN         string
	Description string
	KMSKeyID    string // as it was given, empty for none
	Tags        map[string]string
	Created     time.Time
	Changed     time.Time
	Accessed    time.Time           // the day; zero: never
	Deleted     time.Time           // when its deletion was asked for; zero: it was not
	Removed     time.Time           // when it goes for good; zero: it does not
	Stages      map[string][]string // staging labels by version id, of versions that have some

	id     string
	policy string
}

const secretColumns = `id, account, name, description, kms_key_id, tags, policy, created_at, changed_at, accessed_at, deleted_at, remove_at`

// scan reads a row of secretColumns.
func (s *Store) scan(row interface{ Scan(...any) error }) (*Secret, error) {
	x := &Secret{}
	var tags string
	var created, changed, accessed, deleted, removed int64
	err := row.Scan(&x.id, &x.Account, &x.Name, &x.Description, &x.KMSKeyID, &tags, &x.policy, &created, &changed, &accessed, &deleted, &removed)
	if err != nil {
		return nil, err
	}
	account, name, full, ok := splitID(x.id)
	if !ok || account != x.Account || name != x.Name { // values are bound to the id
		return nil, errors.New("the row of a secret was changed: its id is not that of its account and name")
	}
	x.ARN = s.arn(account, full)
	if err := json.Unmarshal([]byte(tags), &x.Tags); err != nil {
		return nil, fmt.Errorf("read tags of %s: %w", x.ARN, err)
	}
	x.Created, x.Changed, x.Accessed = moment(created), moment(changed), moment(accessed)
	x.Deleted, x.Removed = moment(deleted), moment(removed)
	return x, nil
}

// moment returns a time of the database, zero for 0.
func moment(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

// find returns what a reference names, or nil.
func (s *Store) find(ctx context.Context, from seal.Reader, r reference) (*Secret, error) {
	read := func(where string, args ...any) (*Secret, error) {
		x, err := s.scan(from.QueryRow(ctx, `SELECT `+secretColumns+` FROM secrets WHERE `+where, args...))
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read secret: %w", err)
		}
		return x, nil
	}
	if r.arn {
		if x, err := read(`id = $1`, r.account+"/"+r.name); x != nil || err != nil {
			return x, err
		}
	}
	return read(`account = $1 AND name = $2`, r.account, r.name)
}

// allowed returns the secret that id names if c may do the action on it. Else the error is a *iam.DeniedError, or says
// that there is no such secret, which is told only to those who could do the action if there were.
func (s *Store) allowed(ctx context.Context, c *iam.Caller, action, id string, keys map[string][]string) (*Secret, error) {
	r, err := s.parseReference(accountOf(c), id)
	if err != nil {
		return nil, err
	}
	x, err := s.find(ctx, s.db, r)
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx, c, action, r, x, keys); err != nil {
		return nil, err
	}
	if x == nil {
		return nil, errNotFound
	}
	return x, nil
}

func accountOf(c *iam.Caller) string {
	if c == nil {
		return ""
	}
	return c.Account
}

// check asks the judge for an action on what a reference names, which x is; nil: nothing is there.
func (s *Store) check(ctx context.Context, c *iam.Caller, action string, r reference, x *Secret, keys map[string][]string) error {
	bare := iam.Request{Action: "secretsmanager:" + action, Resource: iam.Resource{ARN: s.arn(r.account, r.name), Account: r.account}, Keys: keys}
	req := bare
	if x != nil {
		var err error
		if req.Resource, err = s.resource(x); err != nil {
			return err
		}
		req.Keys = x.keys(keys)
	}
	err := s.judge.Check(ctx, c, &req)
	denied, ok := errors.AsType[*iam.DeniedError](err)
	if !ok {
		return err
	}
	// The client is told of what it named, not of what is there.
	told := *denied
	told.Resource = r.given
	if accountOf(c) != r.account {
		if d := s.judge.Authorizer.Authorize(ctx, c, &bare); !d.Allowed {
			told.Reason = d.Reason
		}
	}
	return &told
}

// resource returns what a secret brings along to a decision.
func (s *Store) resource(x *Secret) (iam.Resource, error) {
	r := iam.Resource{ARN: x.ARN, Account: x.Account, Tags: x.Tags}
	if x.policy != "" {
		p, err := policy.Parse([]byte(x.policy), policy.Resource)
		if err != nil {
			return r, fmt.Errorf("policy of %s: %w", x.ARN, err)
		}
		r.Policies = []policy.Named{{Name: policyName, Policy: p}}
	}
	return r, nil
}

// keys adds the condition keys that follow from the secret to those of a request.
func (x *Secret) keys(of map[string][]string) map[string][]string {
	keys := map[string][]string{"secretsmanager:secretid": {x.ARN}}
	for key, values := range of {
		keys[key] = values
	}
	for key, value := range x.Tags {
		keys["secretsmanager:resourcetag/"+strings.ToLower(key)] = []string{value}
	}
	return keys
}

// anywhere asks the judge for an action that is on no secret.
func (s *Store) anywhere(ctx context.Context, c *iam.Caller, action string) error {
	return s.judge.Check(ctx, c, iam.On(c, "secretsmanager:"+action, "*"))
}

// update runs fn in a transaction on a secret that was found before, as it is now. Others who change it wait. Unless
// deleted is set, one that is scheduled for deletion is refused.
func (s *Store) update(ctx context.Context, x *Secret, deleted bool, fn func(tx *meta.Tx, x *Secret) error) error {
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		read := `SELECT ` + secretColumns + ` FROM secrets WHERE id = $1`
		if tx.Dialect() == meta.PostgreSQL {
			read += ` FOR UPDATE`
		}
		now, err := s.scan(tx.QueryRow(ctx, read, x.id))
		if errors.Is(err, sql.ErrNoRows) {
			return errNotFound
		}
		if err != nil {
			return fmt.Errorf("read secret: %w", err)
		}
		if !deleted && !now.Deleted.IsZero() {
			return errDeleted
		}
		return fn(tx, now)
	})
}

// changed records a change in its transaction.
func (s *Store) changed(ctx context.Context, tx *meta.Tx, c *iam.Caller, action, arn, detail string) error {
	if s.o.OnChange == nil {
		return nil
	}
	return s.o.OnChange(ctx, tx, Change{Caller: c, Action: "secretsmanager:" + action, ARN: arn, Detail: detail})
}

// now is the time, as the database keeps it.
func (s *Store) now() time.Time { return s.o.Now().UTC().Truncate(time.Microsecond) }

// checkText refuses what no database takes.
func checkText(member, text string) error {
	if strings.Contains(text, "\x00") {
		return errorf(InvalidParameter, "%s has a zero character.", member)
	}
	return nil
}
