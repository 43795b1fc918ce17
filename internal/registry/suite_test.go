package registry_test

import (
	"bytes"
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/file"
	"github.com/sekisho/sekisho/internal/blob/mem"
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
		name  string
		dsn   func(testing.TB) string
		store func(testing.TB) blob.Store
	}{
		{"sqlite and files", metatest.SQLite, files},
		{"sqlite and memory", metatest.SQLite, memory},
		{"postgresql and files", metatest.PostgreSQL, files},
	} {
		t.Run(tc.name, func(t *testing.T) {
			registrytest.Run(t, func(t *testing.T) registrytest.Instance {
				return instance(t, tc.dsn, tc.store)
			})
		})
	}
}

// TestAuthorized runs the suite on what is served: the choke point before everything.
func TestAuthorized(t *testing.T) {
	registrytest.Run(t, func(t *testing.T) registrytest.Instance {
		i := instance(t, metatest.SQLite, files)
		j := &registry.Judge{Authorizer: iam.RootOnly{}, Region: "eu-west-1", Note: func(*iam.Caller, string, string, iam.Decision) {}}
		i.Nodes[0] = registry.CreateOnPush(registry.Authorize(i.Nodes[0], j), i.Nodes[0])
		return i
	})
}

func files(t testing.TB) blob.Store {
	s, err := file.Open(durable.OS{}, filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func memory(testing.TB) blob.Store { return mem.New(time.Now) }

// clock is a clock that can be moved forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// nodesOnPostgreSQL is how many nodes share a PostgreSQL database in the suite.
const nodesOnPostgreSQL = 2

// instance opens a registry: one node on SQLite, several on PostgreSQL.
func instance(t *testing.T, dsn func(testing.TB) string, open func(testing.TB) blob.Store) registrytest.Instance {
	t.Helper()
	var c clock
	name, store := dsn(t), open(t)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("close blob store: %v", err)
		}
	})
	o := registry.Options{
		Now:        c.now,
		UploadKey:  bytes.Repeat([]byte("k"), 32),
		MaxUploads: 40,
		MaxBlob:    4 << 20,
	}
	locals := []*registry.Local{local(t, metatest.Open(t, name), store, o)}
	if name[:7] != "sqlite:" {
		for range nodesOnPostgreSQL - 1 {
			locals = append(locals, local(t, metatest.Open(t, name), store, o))
		}
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
