package file_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/file"
	"github.com/sekisho/sekisho/internal/durable/faultfs"
)

// operations counts what the script does.
func operations(t *testing.T) int {
	w := newWorld(t)
	w.script()
	return w.fs.Ops()
}

// changes says whether an operation of a kind writes to the disk.
func changes(k faultfs.Kind) bool {
	switch k {
	case faultfs.Open, faultfs.Read, faultfs.Stat, faultfs.ReadDir:
		return false
	}
	return true
}

// At every operation in turn one fails. The clients that it hits must get an error, and succeed when they try again.
func TestFaults(t *testing.T) {
	faults := map[string]struct {
		err error
		on  func(faultfs.Kind) bool
	}{
		"full":  {syscall.ENOSPC, changes},
		"quota": {syscall.EDQUOT, func(k faultfs.Kind) bool { return k == faultfs.Create || k == faultfs.Write }},
		"short": {faultfs.Short, func(k faultfs.Kind) bool { return k == faultfs.Write }},
		"io":    {syscall.EIO, func(faultfs.Kind) bool { return true }},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			for at := range operations(t) {
				w := newWorld(t)
				var hit *faultfs.Op
				w.fs.SetHook(func(op faultfs.Op) error {
					if op.Index == at && fault.on(op.Kind) {
						hit = &op
						return fault.err
					}
					return nil
				})
				w.script()
				w.fs.SetHook(nil)
				if hit == nil {
					continue
				}
				// Two failures are the script's own, the client that hangs up and the liar; more come from the fault.
				if fault.err != syscall.EIO && !slices.ContainsFunc(w.failures, func(err error) bool { return errors.Is(err, blob.ErrFull) }) {
					t.Errorf("%v: %+v made no call return ErrFull: %v", fault.err, *hit, w.failures)
				}
				if w.store == nil && !w.open() {
					t.Fatalf("%v: %+v: store does not open again: %v", fault.err, *hit, w.failures)
				}
				w.check()
				w.finish(false)
				w.check()
				w.wantOnly(slices.Collect(maps.Keys(w.committed)))
				if t.Failed() {
					t.Fatalf("%v: %+v; failures: %v", fault.err, *hit, w.failures)
				}
			}
		})
	}
}

// From every operation on in turn the disk is full, or broken, and later mended. Meanwhile what is there can be read.
func TestLastingFaults(t *testing.T) {
	for _, fault := range []error{syscall.ENOSPC, syscall.EIO} {
		t.Run(fault.Error(), func(t *testing.T) {
			for at := range operations(t) {
				w := newWorld(t)
				w.fs.SetHook(func(op faultfs.Op) error {
					full := op.Kind == faultfs.Create || op.Kind == faultfs.Write || op.Kind == faultfs.Mkdir
					if op.Index >= at && (full || fault == syscall.EIO && changes(op.Kind)) {
						return fault
					}
					return nil
				})
				w.orphans = fault == syscall.EIO
				w.script()
				if w.store != nil {
					w.check()
				}
				w.fs.SetHook(nil)
				if w.store == nil && !w.open() {
					t.Fatalf("from %d on: store does not open again: %v", at, w.failures)
				}
				w.finish(false)
				w.check()
				if t.Failed() {
					t.Fatalf("from %d on; failures: %v", at, w.failures)
				}
			}
		})
	}
}

// At every operation in turn the power goes. What was acknowledged must be there.
func TestPowerLoss(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			for at := range operations(t) + 1 {
				w := newWorld(t)
				w.fs.SetHook(func(op faultfs.Op) error {
					if op.Index == at {
						return faultfs.Crash
					}
					return nil
				})
				w.script()
				w.fs.SetHook(nil)
				w.orphans = true
				var rng *rand.Rand
				if seed > 0 {
					rng = rand.New(rand.NewPCG(seed, uint64(at)))
				}
				w.fs.Restart(rng)
				if !w.open() {
					t.Fatalf("power lost at %d: store does not open: %v", at, w.failures)
				}
				w.check()
				w.finish(seed > 0)
				w.check()
				if t.Failed() {
					t.Fatalf("power lost at %d; failures: %v", at, w.failures)
				}
			}
		})
	}
}

// At every operation in turn the process is killed, and another goes on. What that one acknowledges, power loss must not
// take either, though much of it was done by the first.
func TestKillThenPowerLoss(t *testing.T) {
	for _, finish := range []bool{false, true} {
		for at := range operations(t) + 1 {
			w := newWorld(t)
			w.orphans = true
			w.fs.SetHook(func(op faultfs.Op) error {
				if op.Index == at {
					return faultfs.Crash
				}
				return nil
			})
			w.script()
			w.fs.SetHook(nil)
			w.fs.NewProcess()
			if !w.open() {
				t.Fatalf("killed at %d: store does not open: %v", at, w.failures)
			}
			for _, b := range bodies {
				if size, err := w.store.UploadSize(t.Context(), b.id); err == nil {
					w.arrived[b.id] = int(size)
				}
			}
			if finish {
				w.finish(false)
			}
			w.fs.Restart(nil)
			if !w.open() {
				t.Fatalf("power lost after a kill at %d: store does not open: %v", at, w.failures)
			}
			w.check()
			if t.Failed() {
				t.Fatalf("killed at %d; failures: %v", at, w.failures)
			}
		}
	}
}

// After a failed sync the bytes it was for are gone from the upload, whether or not they can be cut off at once, and a
// client may send others, fewer too.
func TestFailedSyncIsNotForgotten(t *testing.T) {
	for _, cuts := range []bool{true, false} {
		w := newWorld(t)
		w.open()
		w.append("up", 0, strings.NewReader("kept "))
		w.fs.SetHook(func(op faultfs.Op) error {
			if op.Kind == faultfs.Sync || op.Kind == faultfs.Truncate && !cuts {
				return syscall.EIO
			}
			return nil
		})
		if w.append("up", 5, strings.NewReader("lost in the sync")) {
			t.Fatal("Append: no error")
		}
		if !cuts && w.append("up", 5, strings.NewReader("x")) {
			t.Fatal("Append to an upload that could not be cut: no error")
		}
		w.fs.SetHook(nil)
		if size, err := w.store.UploadSize(t.Context(), "up"); err != nil || size != 5 {
			t.Errorf("UploadSize = %d, %v, want 5", size, err)
		}
		data := "kept others"
		if !w.append("up", 5, strings.NewReader(data[5:])) || !w.commit("up", digest.FromString(data), []byte(data)) {
			t.Fatalf("with other bytes: %v", w.failures)
		}
		w.fs.Restart(nil)
		w.open()
		w.check()
	}
}

// An upload for whose first byte there is no room is not there: a client that tries for as long as the disk is full does
// not fill it with empty files.
func TestFullAtFirstByte(t *testing.T) {
	for _, kind := range []faultfs.Kind{faultfs.Create, faultfs.Write, faultfs.Sync, faultfs.SyncDir} {
		fsys := faultfs.New()
		s, err := file.Open(fsys, "/data")
		if err != nil {
			t.Fatal(err)
		}
		fsys.SetHook(func(op faultfs.Op) error {
			if op.Kind == kind {
				return syscall.ENOSPC
			}
			return nil
		})
		size, err := s.Append(t.Context(), "up", 0, strings.NewReader("12345"))
		if !errors.Is(err, blob.ErrFull) {
			t.Errorf("%s: Append = %v, want ErrFull", kind, err)
		}
		if _, err := s.UploadSize(t.Context(), "up"); size == 0 && !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("%s: UploadSize = %v, want ErrNotFound", kind, err)
		}
		fsys.SetHook(nil)
		if _, err := s.Append(t.Context(), "up", size, strings.NewReader("12345"[size:])); err != nil {
			t.Errorf("%s: Append, once there is room: %v", kind, err)
		}
		if _, err := s.Commit(t.Context(), "up", digest.FromString("12345")); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
