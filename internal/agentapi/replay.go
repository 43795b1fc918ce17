package agentapi

import (
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/agent/rpc"
)

const (
	// maxSeen is how many proofs are remembered of all agents, maxSeenOf of one: far more than an agent makes calls.
	maxSeen   = 2_000_000
	maxSeenOf = 60_000
)

// replays remembers the proofs of the last minutes. It has two halves, and drops the older one as a whole when everything in it
// is too old to be taken anyway.
type replays struct {
	start time.Time // no proof from before is taken: those of this node's past are not known

	mu     sync.Mutex
	recent map[string]map[string]struct{} // guarded by mu; nonces by agent
	older  map[string]map[string]struct{} // guarded by mu
	count  int                            // guarded by mu; of recent
	turned time.Time                      // guarded by mu; when recent was begun
}

// outcome is what becomes of a proof.
type outcome int

const (
	fresh outcome = iota
	replayed
	offClock
	tooMany
)

// take decides about a proof, which is verified, and remembers it.
func (r *replays) take(agent string, p *rpc.Proof, now time.Time) outcome {
	if d := now.Sub(p.Time); d > rpc.Window || d < -rpc.Window || p.Time.Before(r.start) {
		return offClock
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if age := now.Sub(r.turned); age > 2*rpc.Window || age < 0 {
		r.older, r.recent, r.turned, r.count = r.recent, map[string]map[string]struct{}{}, now, 0
		if age > 4*rpc.Window {
			r.older = nil
		}
	}
	if _, seen := r.older[agent][p.Nonce]; seen {
		return replayed
	}
	mine := r.recent[agent]
	if _, seen := mine[p.Nonce]; seen {
		return replayed
	}
	if len(mine) >= maxSeenOf || r.count >= maxSeen {
		return tooMany
	}
	if mine == nil {
		mine = map[string]struct{}{}
		r.recent[agent] = mine
	}
	mine[p.Nonce] = struct{}{}
	r.count++
	return fresh
}
