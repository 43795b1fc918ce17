package registry

import (
	"sync"

	"github.com/maypok86/otter/v2"
	"github.com/opencontainers/go-digest"
)

// maxRepositories bounds the repositories remembered; past it all are forgotten and read again as they are asked for.
const maxRepositories = 50_000

// cache remembers what the only writing process has read. The rule that keeps it true: a reader notes an epoch before it
// reads the database and keeps what it read only if the epoch is still the same; a writer, after its commit and before
// it answers its client, moves the epoch on and drops what it changed. Both do so under the epoch's mutex, so nothing
// that was read before a commit is remembered after it.
type cache struct {
	repositories epoch // of byName
	mu           sync.RWMutex
	byName       map[Repo]*repository // guarded by mu
	// going are the repositories whose deletion has run but is not known to be committed: readers still find them, in byName
	// too, but the transactions that follow must not. Guarded by mu.
	going map[int64]bool

	epochs    [256]epoch // of the contents, by repository
	manifests *otter.Cache[cacheKey, *Manifest]
	blobs     *otter.Cache[cacheKey, *blobRow]
	referrers *otter.Cache[cacheKey, []referrer] // by subject
}

// epoch counts changes.
type epoch struct {
	mu sync.Mutex
	n  uint64 // guarded by mu
}

func (e *epoch) now() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n
}

// keep runs set unless something changed since the epoch was n.
func (e *epoch) keep(n uint64, set func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n == n {
		set()
	}
}

// move begins the next epoch and runs drop.
func (e *epoch) move(drop func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n++
	drop()
}

// of returns the epoch of a repository's content.
func (c *cache) of(repository int64) *epoch {
	return &c.epochs[uint64(repository)%uint64(len(c.epochs))]
}

// cacheKey is a tag or digest in a repository. A repository's id is never used again, so content of a deleted
// repository can't be mistaken for another's.
type cacheKey struct {
	repository int64
	ref        string
}

const entryOverhead = 512 // bytes a cached thing costs beside its content

func newCache(bytes int64) *cache {
	return &cache{
		byName:    map[Repo]*repository{},
		going:     map[int64]bool{},
		manifests: weighed(bytes/2, func(_ cacheKey, m *Manifest) uint32 { return uint32(len(m.Data) + entryOverhead) }),
		blobs:     weighed(bytes/4, func(_ cacheKey, b *blobRow) uint32 { return uint32(len(b.data) + entryOverhead) }),
		referrers: weighed(bytes/4, func(_ cacheKey, list []referrer) uint32 {
			n := entryOverhead
			for _, r := range list {
				n += len(r.descriptor) + len(r.digest) + len(r.artifactType) + 56
			}
			return uint32(n)
		}),
	}
}

func weighed[K comparable, V any](bytes int64, weigh func(K, V) uint32) *otter.Cache[K, V] {
	return otter.Must(&otter.Options[K, V]{MaximumWeight: uint64(bytes), Weigher: weigh})
}

func (c *cache) repository(repo Repo) *repository {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byName[repo]
}

func (c *cache) keepRepository(n uint64, r *repository) {
	c.repositories.keep(n, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.byName) >= maxRepositories {
			clear(c.byName)
		}
		c.byName[r.Repo] = r
	})
}

// setGoing says whether a repository's deletion has run and is not known to be committed.
func (c *cache) setGoing(id int64, going bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if going {
		c.going[id] = true
	} else {
		delete(c.going, id)
	}
}

// repositoryNow is repository for a transaction: nil also where one before it deleted the repository.
func (c *cache) repositoryNow(repo Repo) *repository {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if r := c.byName[repo]; r != nil && !c.going[r.id] {
		return r
	}
	return nil
}

func (c *cache) forgetRepository(repo Repo) {
	c.repositories.move(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.byName, repo)
	})
}

// stale are the names under which memory may hold what a transaction changed in a repository.
type stale struct {
	refs     []string // of manifests: digests and tags
	subjects []digest.Digest
	blobs    []digest.Digest
}

// forget drops what a transaction changed. It is called after the commit and before anybody is told of it.
func (l *Local) forget(repository int64, s *stale) {
	c := l.cache
	if c == nil || len(s.refs)+len(s.subjects)+len(s.blobs) == 0 {
		return
	}
	c.of(repository).move(func() {
		for _, ref := range s.refs {
			c.manifests.Invalidate(cacheKey{repository, ref})
		}
		for _, d := range s.subjects {
			c.referrers.Invalidate(cacheKey{repository, string(d)})
		}
		for _, d := range s.blobs {
			c.blobs.Invalidate(cacheKey{repository, string(d)})
		}
	})
}

// forgetAll drops everything.
func (l *Local) forgetAll() {
	c := l.cache
	if c == nil {
		return
	}
	for i := range c.epochs {
		c.epochs[i].move(func() {})
	}
	// What a reader keeps from now on it has read after the change.
	c.manifests.InvalidateAll()
	c.blobs.InvalidateAll()
	c.referrers.InvalidateAll()
}
