package file_test

import (
	"testing"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/blobtest"
	"github.com/sekisho/sekisho/internal/blob/file"
	"github.com/sekisho/sekisho/internal/durable"
)

func open(t testing.TB, dir string) *file.Store {
	t.Helper()
	s, err := file.Open(durable.OS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, t.TempDir()) })
}

func TestStoreReopened(t *testing.T) {
	blobtest.RunReopened(t, func(t *testing.T) func() blob.Store {
		dir := t.TempDir()
		return func() blob.Store { return open(t, dir) }
	})
}
