package registry_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/blobtest/s3server"
	"github.com/sekisho/sekisho/internal/blob/file"
	"github.com/sekisho/sekisho/internal/blob/mem"
	"github.com/sekisho/sekisho/internal/blob/s3"
	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/registry"
	"github.com/sekisho/sekisho/internal/registry/registrytest"
)

// TestRegistry runs the suite on every pair of databases and blob stores.
func TestRegistry(t *testing.T) {
	for _, tc := range []struct {
		name     string
		dsn      func(testing.TB) string
		stores   stores
		redirect bool // readers are sent to the blob store
	}{
		{"sqlite and files", metatest.SQLite, files, false},
		{"sqlite and s3", metatest.SQLite, bucket, true},
		{"postgresql and files", metatest.PostgreSQL, files, false},
		{"postgresql and s3", metatest.PostgreSQL, bucket, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if testing.Short() && tc.name != "sqlite and files" {
				t.Skip("one pair of databases and blob stores is enough for a short test")
			}
			registrytest.Run(t, func(t *testing.T) registrytest.Instance {
				return instance(t, tc.dsn, tc.stores, tc.redirect)
			})
		})
	}
}

// TestAuthorized runs the suite on what is served: the choke point before everything.
func TestAuthorized(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registrytest.Instance {
		i := instance(t, metatest.SQLite, memories, false)
		j := &registry.Judge{Judge: iam.Judge{Authorizer: iam.RootOnly{}, Note: func(*iam.Caller, *iam.Request, iam.Decision) {}}, Region: "eu-west-1"}
		i.Nodes[0] = registry.CreateOnPush(registry.Authorize(i.Nodes[0], j), i.Nodes[0].(*registry.Local))
		return i
	})
}

// stores makes a function that returns the store of each node of an instance.
type stores func(testing.TB) (next func() blob.Store)

// files is one folder, which belongs to one process.
func files(t testing.TB) func() blob.Store {
	s, err := file.Open(durable.OS{}, filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	return func() blob.Store { return s }
}

// bucket is one bucket, to which each node has its own way.
func bucket(t testing.TB) func() blob.Store {
	o := s3server.Start(t)
	return func() blob.Store {
		s, err := s3.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func memories(t testing.TB) func() blob.Store {
	s := memory(t)
	return func() blob.Store { return s }
}

func memory(testing.TB) blob.Store { return mem.New(time.Now) }

// testClock is a clock that can be moved forward.
type testClock struct{ ahead atomic.Int64 }

func (c *testClock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *testClock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// nodesOnPostgreSQL is how many nodes share a PostgreSQL database in the suite.
const nodesOnPostgreSQL = 2

// instance opens a registry: one node on SQLite, several on PostgreSQL.
func instance(t *testing.T, dsn func(testing.TB) string, stores stores, redirect bool) registrytest.Instance {
	t.Helper()
	var c testClock
	name, store := dsn(t), stores(t)
	o := registry.Options{
		Now:        c.now,
		UploadKey:  uploadKey,
		MaxUploads: 40,
		MaxBlob:    4 << 20,
		Redirect:   redirect,
	}
	nodes := 1
	if strings.HasPrefix(name, "postgres") {
		nodes = nodesOnPostgreSQL
	}
	var locals []*registry.Local
	for range nodes {
		s := store()
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close blob store: %v", err)
			}
		})
		locals = append(locals, local(t, metatest.Open(t, name), s, o))
	}
	i := registrytest.Instance{
		Advance: c.advance,
		Flush: func() {
			ended, end := context.WithCancel(t.Context())
			end()
			for _, l := range locals {
				l.Run(ended) // it writes what is left when it ends
			}
		},
		Limits: registrytest.Limits{Inline: registry.DefaultInlineLimit, MaxBlob: o.MaxBlob, MaxUploads: int(o.MaxUploads), UploadExpiry: registry.DefaultUploadExpiry},
	}
	for _, l := range locals {
		i.Nodes = append(i.Nodes, l)
	}
	return i
}

func local(t testing.TB, db *meta.DB, store blob.Store, o registry.Options) *registry.Local {
	t.Helper()
	l, err := registry.NewLocal(db, store, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
