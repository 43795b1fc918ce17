package faultfs

import (
	"errors"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/durable"
)

func TestPowerLoss(t *testing.T) {
	tests := map[string]struct {
		do   func(t *testing.T, f *FS)
		want map[string]string
	}{
		"nothing synced": {
			do:   func(t *testing.T, f *FS) { write(t, f, "/a", "1") },
			want: map[string]string{},
		},
		"bytes but no name": {
			do:   func(t *testing.T, f *FS) { flush(t, write(t, f, "/a", "1")) },
			want: map[string]string{},
		},
		"name but no bytes": {
			do: func(t *testing.T, f *FS) {
				write(t, f, "/a", "1")
				must(t, f.SyncDir("/"))
			},
			want: map[string]string{"a": ""},
		},
		"name and bytes": {
			do: func(t *testing.T, f *FS) {
				flush(t, write(t, f, "/a", "1"))
				must(t, f.SyncDir("/"))
			},
			want: map[string]string{"a": "1"},
		},
		"bytes after the sync": {
			do: func(t *testing.T, f *FS) {
				a := write(t, f, "/a", "1")
				flush(t, a)
				must(t, f.SyncDir("/"))
				_, err := a.Write([]byte("2"))
				must(t, err)
			},
			want: map[string]string{"a": "1"},
		},
		"truncation not synced": {
			do: func(t *testing.T, f *FS) {
				a := write(t, f, "/a", "123")
				flush(t, a)
				must(t, f.SyncDir("/"))
				must(t, a.Truncate(1))
			},
			want: map[string]string{"a": "123"},
		},
		"truncation and rewriting synced": {
			do: func(t *testing.T, f *FS) {
				a := write(t, f, "/a", "123")
				flush(t, a)
				must(t, f.SyncDir("/"))
				must(t, a.Truncate(1))
				_, err := a.WriteAt([]byte("xyz"), 2)
				must(t, err)
				flush(t, a)
			},
			want: map[string]string{"a": "1\x00xyz"},
		},
		"rename not synced": {
			do: func(t *testing.T, f *FS) {
				flush(t, write(t, f, "/a", "1"))
				must(t, f.SyncDir("/"))
				must(t, f.Mkdir("/d", 0o700))
				must(t, f.SyncDir("/"))
				must(t, f.Rename("/a", "/d/b"))
			},
			want: map[string]string{"a": "1"},
		},
		"rename synced in one folder": {
			do: func(t *testing.T, f *FS) {
				flush(t, write(t, f, "/a", "1"))
				must(t, f.Mkdir("/d", 0o700))
				must(t, f.SyncDir("/"))
				must(t, f.Rename("/a", "/d/b"))
				must(t, f.SyncDir("/d"))
			},
			want: map[string]string{"d/b": "1"},
		},
		"folder not synced": {
			do: func(t *testing.T, f *FS) {
				must(t, f.Mkdir("/d", 0o700))
				flush(t, write(t, f, "/d/a", "1"))
				must(t, f.SyncDir("/d"))
			},
			want: map[string]string{},
		},
		"removal not synced": {
			do: func(t *testing.T, f *FS) {
				flush(t, write(t, f, "/a", "1"))
				must(t, f.SyncDir("/"))
				must(t, f.Remove("/a"))
			},
			want: map[string]string{"a": "1"},
		},
		"bytes lost in a failed sync": {
			do: func(t *testing.T, f *FS) {
				a := write(t, f, "/a", "12")
				must(t, f.SyncDir("/"))
				f.SetHook(func(Op) error { return syscall.EIO })
				if err := a.Sync(); !errors.Is(err, syscall.EIO) {
					t.Errorf("Sync = %v, want EIO", err)
				}
				f.SetHook(nil)
				_, err := a.WriteAt([]byte("3"), 2)
				must(t, err)
				flush(t, a)
			},
			want: map[string]string{"a": "\x00\x003"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := New()
			tt.do(t, f)
			f.Restart(nil)
			if diff := cmp.Diff(tt.want, f.Tree()); diff != "" {
				t.Errorf("after power loss (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRandomPowerLossKeepsWhatIsDurable(t *testing.T) {
	renamed := map[string]bool{}
	for seed := range uint64(64) {
		f := New()
		flush(t, write(t, f, "/a", "1"))
		flush(t, write(t, f, "/b", "2"))
		must(t, f.SyncDir("/"))
		must(t, f.Rename("/b", "/c"))
		write(t, f, "/d", "3")
		f.Restart(rand.New(rand.NewPCG(seed, 0)))
		tree := f.Tree()
		if tree["a"] != "1" || tree["b"]+tree["c"] != "2" {
			t.Errorf("seed %d: after power loss: %v", seed, tree)
		}
		_, at := tree["c"]
		renamed[map[bool]string{true: "kept", false: "lost"}[at]] = true
	}
	if len(renamed) != 2 {
		t.Errorf("of 64 renames all were %v", renamed)
	}
}

func TestCrashEndsEverything(t *testing.T) {
	f := New()
	a := write(t, f, "/a", "1")
	flush(t, a)
	must(t, f.SyncDir("/"))
	f.SetHook(func(Op) error { return Crash })
	if _, err := a.Write([]byte("2")); !errors.Is(err, Crash) {
		t.Errorf("Write = %v, want Crash", err)
	}
	f.SetHook(nil)
	if _, err := f.Stat("/a"); !errors.Is(err, Crash) {
		t.Errorf("Stat = %v, want Crash", err)
	}
	f.NewProcess()
	write(t, f, "/b", "2")
	if diff := cmp.Diff(map[string]string{"a": "1", "b": "2"}, f.Tree()); diff != "" {
		t.Errorf("after NewProcess (-want +got):\n%s", diff)
	}
	f.Restart(nil)
	if diff := cmp.Diff(map[string]string{"a": "1"}, f.Tree()); diff != "" {
		t.Errorf("after Restart (-want +got):\n%s", diff)
	}
	if err := a.Sync(); !errors.Is(err, Crash) {
		t.Errorf("Sync of a file opened before = %v, want Crash", err)
	}
}

func TestShortWrite(t *testing.T) {
	f := New()
	a := write(t, f, "/a", "")
	f.SetHook(func(op Op) error {
		if op.Kind == Write {
			return Short
		}
		return nil
	})
	n, err := a.Write([]byte("1234"))
	if n != 2 || !durable.IsFull(err) || f.Tree()["a"] != "12" {
		t.Errorf("Write = %d, %v, left %q", n, err, f.Tree()["a"])
	}
}

func write(t *testing.T, f *FS, name, data string) durable.File {
	t.Helper()
	w, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	must(t, err)
	_, err = w.Write([]byte(data))
	must(t, err)
	return w
}

func flush(t *testing.T, f durable.File) {
	t.Helper()
	must(t, f.Sync())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
