package mem_test

import (
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/blobtest"
	"github.com/sekisho/sekisho/internal/blob/mem"
)

func TestStore(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return mem.New(time.Now) })
}

func TestStoreReopened(t *testing.T) {
	blobtest.RunReopened(t, func(*testing.T) func() blob.Store {
		s := mem.New(time.Now)
		return func() blob.Store { return s }
	})
}
