package s3_test

import (
	"testing"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/blobtest"
	"github.com/sekisho/sekisho/internal/blob/blobtest/s3server"
	"github.com/sekisho/sekisho/internal/blob/s3"
)

func open(t testing.TB, o s3.Options) *s3.Store {
	t.Helper()
	o.PartSize = s3.MinPartSize
	s, err := s3.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, s3server.Start(t)) })
}

func TestStorePrefixed(t *testing.T) {
	shared := s3server.Start(t)
	blobtest.Run(t, func(t *testing.T) blob.Store {
		o := shared
		o.Prefix = t.Name() + "/"
		return open(t, o)
	})
}

func TestStoreReopened(t *testing.T) {
	blobtest.RunReopened(t, func(t *testing.T) func() blob.Store {
		o := s3server.Start(t)
		return func() blob.Store { return open(t, o) }
	})
}
