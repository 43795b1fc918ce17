package decide

import (
	"net/netip"
	"sync"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/policy"
)

// memo remembers what was allowed, because clients ask the same again and again: each layer of each pull. Everything that the
// answer came from is in its key, by value or by the address of what never changes; an answer for which anything else was
// looked at (the time, what the request itself brings, tags of the resource) is not remembered. Refusals are not either:
// they are rare, and want an explanation.
//
// A change to policies makes new sets and new lists of them, under other addresses, so what was remembered before is never
// wrong. It is dropped with the next answer all the same, because it keeps the old ones in memory.
type memo struct {
	shards [memoShards]memoShard
}

type memoShard struct {
	mu      sync.RWMutex
	allowed map[memoKey]struct{} // guarded by mu
	newest  int64                // guarded by mu; the generation of what was added last
	_       [24]byte             // the next shard's lock is on another cache line
}

const (
	memoShards = 16
	maxMemo    = 8192 / memoShards // in each shard
)

// memoKey is what an answer came from.
type memoKey struct {
	kind     iam.PrincipalType
	arn      string
	id       string
	set      *directory.Set // the principal's policies, tags and name
	session  *iam.Session
	policies *policy.Named // the first of the resource's
	count    int           // of those
	action   string
	resource string
	account  string // of the resource
	source   netip.Addr
	endpoint string
	vpc      string
	secure   bool
}

func keyOf(c *iam.Caller, r *iam.Request, set *directory.Set) memoKey {
	k := memoKey{
		kind: c.Type, arn: c.ARN, id: c.ID, set: set, session: c.Session, count: len(r.Resource.Policies),
		action: r.Action, resource: r.Resource.ARN, account: r.Resource.Account,
		source: c.SourceIP, endpoint: c.Endpoint, vpc: c.VPC, secure: c.SecureTransport,
	}
	if k.count > 0 {
		k.policies = &r.Resource.Policies[0]
	}
	return k
}

// shard spreads by the end of the resource's name and the length of the action's.
func (m *memo) shard(k *memoKey) *memoShard {
	n := len(k.action)
	if l := len(k.resource); l > 0 {
		n += int(k.resource[l-1]) + l
	}
	return &m.shards[n%memoShards]
}

func (m *memo) has(k *memoKey) bool {
	s := m.shard(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.allowed[*k]
	return ok
}

func (m *memo) add(k *memoKey, generation int64) {
	s := m.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.allowed == nil || len(s.allowed) >= maxMemo || s.newest != generation {
		s.allowed = make(map[memoKey]struct{})
	}
	s.newest = generation
	s.allowed[*k] = struct{}{}
}

// remembered reports whether the value of a key follows from a memoKey. Keys have no prefix aws: here.
func remembered(global string) bool {
	switch global {
	case "sourceip", "vpcsourceip", "sourcevpce", "sourcevpc", "securetransport", "userid", "username", "requestedregion", "principalorgid",
		"viaawsservice", "tokenissuetime", "multifactorauthpresent", "federatedprovider", "sourceidentity",
		"principalarn", "principalaccount", "principaltype", "principalisawsservice", "resourceaccount":
		return true
	}
	return len(global) > len("principaltag/") && global[:len("principaltag/")] == "principaltag/"
}
