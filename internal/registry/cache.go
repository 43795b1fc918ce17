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

func (c *cache) forgetRepository(repo Repo) {
	c.repositories.move(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.byName, repo)
	})
}

// forgetBlobs drops blobs of a repository.
func (c *cache) forgetBlobs(repository int64, digests []digest.Digest) {
	c.of(repository).move(func() {
		for _, d := range digests {
			c.blobs.Invalidate(cacheKey{repository, string(d)})
		}
	})
}
