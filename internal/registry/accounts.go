package registry

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// account is what most requests need to know of a registry as a whole. It is shared: nothing in it may be changed.
type account struct {
	policy   []policy.Named  // the registry policy, if there is one
	narrow   bool            // which is of scope V1
	mounting bool            // blobs can be mounted from other repositories
	excluded map[string]bool // ARNs whose pulls are not noted

	generation int64
	checked    atomic.Int64 // when the generation was last known to be this one: Unix microseconds
}

const (
	// maxAccounts bounds the accounts remembered; past it all are forgotten and read again as they are asked for.
	maxAccounts = 10_000
	// accountRest is for how long what decides nothing about permission is believed without a look at the generation.
	accountRest = time.Second
)

// accounts remembers accounts, each as of a generation. What was read after a generation was, may be newer and is taken for
// that of the generation: it is read again when it needn't be, never the other way round.
type accounts struct {
	mu   sync.RWMutex
	byID map[string]*account // guarded by mu
}

func (a *accounts) get(id string) *account {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.byID[id]
}

func (a *accounts) keep(id string, acc *account) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byID == nil || len(a.byID) >= maxAccounts {
		a.byID = map[string]*account{}
	}
	a.byID[id] = acc
}

// account returns what is known of a registry as a whole, as of a moment after the call began.
func (l *Local) account(ctx context.Context, id string) (*account, error) {
	if l.o.Generation == nil {
		return l.readAccount(ctx, id)
	}
	n, err := l.o.Generation.Current(ctx)
	if err != nil {
		return nil, err
	}
	now := l.now().UnixMicro()
	if a := l.accounts.get(id); a != nil && a.generation == n {
		a.checked.Store(now)
		return a, nil
	}
	a, err := l.readAccount(ctx, id)
	if err != nil {
		return nil, err
	}
	a.generation = n
	a.checked.Store(now)
	l.accounts.keep(id, a)
	return a, nil
}

// recentAccount is account for what decides nothing about permission: it may be as it was a moment ago.
func (l *Local) recentAccount(ctx context.Context, id string) (*account, error) {
	if a := l.accounts.get(id); a != nil {
		if age := l.now().UnixMicro() - a.checked.Load(); age >= 0 && age < accountRest.Microseconds() {
			return a, nil
		}
	}
	return l.account(ctx, id)
}

func (l *Local) readAccount(ctx context.Context, id string) (*account, error) {
	rows, err := l.db.Query(ctx, `SELECT kind, document FROM registry_documents WHERE account = $1 AND kind IN ($2, $3, $4)
		UNION ALL SELECT '', principal FROM pull_time_exclusions WHERE account = $1`, id, documentPolicy, RegistryPolicyScope, BlobMounting)
	if err != nil {
		return nil, wrap("read registry", err)
	}
	defer rows.Close()
	a := &account{mounting: true}
	for rows.Next() {
		var kind, text string
		if err := rows.Scan(&kind, &text); err != nil {
			return nil, wrap("read registry", err)
		}
		switch kind {
		case documentPolicy:
			// One that can't be read any more may hold a Deny: then nothing can be decided.
			p, err := policy.Parse([]byte(text), policy.Resource)
			if err != nil {
				return nil, wrap("read registry policy", err)
			}
			a.policy = []policy.Named{{Name: registryPolicyName, Policy: p}}
		case RegistryPolicyScope:
			a.narrow = text == scopeV1
		case BlobMounting:
			a.mounting = text != mountingDisabled
		default:
			if a.excluded == nil {
				a.excluded = map[string]bool{}
			}
			a.excluded[text] = true
		}
	}
	return a, wrap("read registry", rows.Err())
}
