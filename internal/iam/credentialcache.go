package iam

import (
	"crypto/sha256"
	"sync"
	"time"
)

// credentialHash stands for a credential in memory: a SHA-256 of it and of a key
// that only this process knows.
type credentialHash [sha256.Size]byte

// credential is a credential that was found good.
type credential struct {
	principal *Principal
	key       *liveKey
	expires   time.Time // zero: with its key
	fleeting  bool      // it is to be looked up again, and not remembered
}

const (
	credentialShards = 16
	maxCredentials   = 16384 / credentialShards // in each shard
)

// credentialCache remembers good credentials. Bad ones never get in, so guessing
// pushes nothing out.
type credentialCache struct {
	hashKey [32]byte
	shards  [credentialShards]credentialShard
}

type credentialShard struct {
	mu    sync.RWMutex
	known map[credentialHash]*credential // guarded by mu
	_     [32]byte                       // the next shard's lock is on another cache line
}

func (c *credentialCache) init() {
	for i := range c.shards {
		c.shards[i].known = make(map[credentialHash]*credential)
	}
}

func (c *credentialCache) hash(encoded string) credentialHash {
	var onStack [512]byte
	b := append(onStack[:0], c.hashKey[:]...)
	return sha256.Sum256(append(b, encoded...))
}

func (c *credentialCache) shard(h credentialHash) *credentialShard {
	return &c.shards[h[0]%credentialShards]
}

func (c *credentialCache) get(h credentialHash) *credential {
	s := c.shard(h)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.known[h]
}

func (c *credentialCache) put(h credentialHash, good *credential) {
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxCredentials {
		for other := range s.known { // any one: it costs little to verify it again
			delete(s.known, other)
			break
		}
	}
	s.known[h] = good
}

// remove drops what get returned, unless it has been replaced.
func (c *credentialCache) remove(h credentialHash, old *credential) {
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[h] == old {
		delete(s.known, h)
	}
}
