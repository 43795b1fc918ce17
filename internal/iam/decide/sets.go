package decide

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/policy"
)

const (
	maxSets     = 8192            // kept in memory
	maxSessions = 8192            // whose policies are kept
	loadTimeout = 5 * time.Second // of a set
)

// roleID returns the unique id of a role from that of a session, "AROA…:name".
func roleID(id string) string {
	id, _, _ = strings.Cut(id, ":")
	return id
}

// sets keeps the policies of the principals at work. Only principals that exist get in.
type sets struct {
	flight singleflight.Group
	mu     sync.RWMutex
	known  map[string]readSet // guarded by mu; by unique id
}

// readSet is a set and the generation in which it was read.
type readSet struct {
	set        *directory.Set
	generation int64
}

// set returns the policies of a principal as they were at some time after a request arrived, nil if there is no such principal.
func (a *Authorizer) set(ctx context.Context, id string, arrived time.Time) (*directory.Set, error) {
	generation, err := a.generation.Since(ctx, arrived)
	if err != nil {
		return nil, err
	}
	a.sets.mu.RLock()
	read := a.sets.known[id]
	a.sets.mu.RUnlock()
	if read.set != nil && read.generation >= generation {
		return read.set, nil
	}
	v, err, _ := a.sets.flight.Do(id+strconv.FormatInt(generation, 10), func() (any, error) {
		// Others wait for the answer too: it must not end with this request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		set, err := a.directory.Set(ctx, id)
		if err != nil {
			return nil, err
		}
		a.sets.put(id, readSet{set, generation})
		return set, nil
	})
	if err != nil {
		return nil, err
	}
	set, _ := v.(*directory.Set)
	return set, nil
}

func (s *sets) put(id string, read readSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = make(map[string]readSet)
	}
	switch old, ok := s.known[id]; {
	case ok && old.generation > read.generation: // another reading was quicker
		return
	case read.set == nil:
		delete(s.known, id)
		return
	case !ok && len(s.known) >= maxSets:
		for other := range s.known { // any one: maps iterate in random order
			delete(s.known, other)
			break
		}
	}
	s.known[id] = read
}

// sessions keeps the session policies of the sessions at work.
type sessions struct {
	mu    sync.RWMutex
	known map[string]compiledSession // guarded by mu; by access key id
}

type compiledSession struct {
	documents []string
	policies  []policy.Named
}

// policies returns the session policies of a caller who has some, or an empty list.
func (s *sessions) policies(c *iam.Caller) ([]policy.Named, error) {
	s.mu.RLock()
	known, ok := s.known[c.AccessKeyID]
	s.mu.RUnlock()
	if ok && slices.Equal(known.documents, c.Session.Policies) {
		return known.policies, nil
	}
	compiled := compiledSession{documents: c.Session.Policies}
	for i, document := range c.Session.Policies {
		p, err := policy.Parse([]byte(document), policy.Identity)
		if err != nil {
			return nil, fmt.Errorf("session policy %d of %s: %w", i+1, c.AccessKeyID, err)
		}
		compiled.policies = append(compiled.policies, policy.Named{Name: "session policy " + strconv.Itoa(i+1), Policy: p})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = make(map[string]compiledSession)
	}
	if len(s.known) >= maxSessions {
		for other := range s.known { // any one: it costs little to parse them again
			delete(s.known, other)
			break
		}
	}
	s.known[c.AccessKeyID] = compiled
	return compiled.policies, nil
}
