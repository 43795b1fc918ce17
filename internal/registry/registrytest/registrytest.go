// Package registrytest is the one suite that every implementation and every wrapper of [registry.Registry] passes, on
// every pair of databases and blob stores.
//
// It knows a registry only through its interface. Each test works in an account of its own, as that account's root, so
// one instance serves them all. What a test left behind is checked as a whole when it ends: no tag, image or index
// may name something that can't be read back, byte for byte, with the digest it is named by.
package registrytest

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/registry"
)

// Instance is a registry to test, and what the suite must know of it.
type Instance struct {
	// Nodes are ways to the same content, at least one. The suite takes them in turn from call to call, so what one did
	// must be true on all when it returns.
	Nodes []registry.Registry
	// Advance moves the registry's clock forward.
	Advance func(time.Duration)
	// Flush makes the registry write what it gathers in the background: the times of pulls.
	Flush func()
	// Limits are what the registry was opened with.
	Limits Limits
}

// Limits are a registry's bounds, small enough for a test to reach.
type Limits struct {
	Inline       int64 // blobs of at most so many bytes are kept another way than larger ones
	MaxBlob      int64 // bytes
	MaxUploads   int   // unfinished uploads that hold bytes
	UploadExpiry time.Duration
}

// Run runs the suite. open is called once for the whole suite, and once more for each test of a bound of the whole
// registry; what it opens it closes itself when its t ends.
func Run(t *testing.T, open func(t *testing.T) Instance) {
	s := &suite{Instance: open(t)}
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"manifests", manifestTests},
		{"tags", tagTests},
		{"referrers", referrerTests},
		{"blobs", blobTests},
		{"uploads", uploadTests},
		{"deletion", deletionTests},
		{"repositories", repositoryTests},
		{"policies", policyTests},
		{"archive", archiveTests},
		{"races", raceTests},
		{"coherence", coherenceTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, tc := range group.tests {
				t.Run(tc.name, func(t *testing.T) {
					c := s.client(t)
					tc.run(c)
					c.whole()
				})
			}
		})
	}
	t.Run("too many uploads", func(t *testing.T) {
		tooManyUploads((&suite{Instance: open(t)}).client(t).at(0)) // a node bounds what it sees
	})
}

// test is one test of the suite; it begins with an empty repository.
type test struct {
	name string
	run  func(c *client)
}

type suite struct {
	Instance
	accounts atomic.Int64 // made so far
	calls    atomic.Int64
}

// client returns a client with an account and an empty repository of its own.
func (s *suite) client(t *testing.T) *client {
	t.Helper()
	c := newClient(t, s, fmt.Sprintf("%012d", 100_000_000_000+s.accounts.Add(1)))
	return c.repository("team/app")
}
