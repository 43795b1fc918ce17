package app_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/ca"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/transfer"
)

// TestBackup backs an instance up while clients push, serves the backup, restores it into PostgreSQL, and looks at every
// byte of what was acknowledged before the backup began.
func TestBackup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	server := startChild(t, dir)
	defer server.kill()
	c := newClient(t, dir, server.url)
	rng := rand.New(rand.NewPCG(1, 2))
	var before []*image
	for k := range 10 {
		i := &image{tag: string(rune('a' + k))}
		if err := c.push(i, rng, [][]byte{[]byte("shared")}); err != nil {
			t.Fatal(err)
		}
		before = append(before, i)
	}

	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(w)))
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := c.push(&image{tag: string(rune('p' + w))}, rng, [][]byte{[]byte("other")}); err != nil {
					t.Errorf("a push beside the backup: %v", err)
					return
				}
			}
		})
	}
	backup := filepath.Join(t.TempDir(), "backup")
	if _, err := ca.Create(filepath.Join(dir, "ca"), nil, time.Now); err != nil {
		t.Fatal(err)
	}
	in := openInstance(t, dir, app.Shared)
	report, err := in.Backup(t.Context(), backup, nil)
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if report.Rows == 0 || report.Objects == 0 {
		t.Errorf("the backup copied %+v", report)
	}
	if _, err := in.Backup(t.Context(), backup, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second backup to the same folder: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other")
	writeAll(t, filepath.Join(other+".partial", "meta.db"), "another backup's")
	if _, err := in.Backup(t.Context(), other, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a backup beside another that runs: %v", err)
	}
	if readFile(t, filepath.Join(other+".partial", "meta.db")) != "another backup's" {
		t.Error("a backup touched another's folder")
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	server.kill()

	check := func(dir string) {
		t.Helper()
		server := startChild(t, dir)
		defer server.kill()
		c := newClient(t, dir, server.url)
		for _, i := range before {
			c.check(t, i)
			if i.manifest == nil {
				t.Errorf("%s is not there", i.tag)
			}
		}
		if err := c.push(&image{tag: "next"}, rng, [][]byte{{}}); err != nil {
			t.Error(err)
		}
	}
	check(backup)
	for _, name := range []string{"master.key", "root-access-key.json", "ca/ca.key"} {
		if info, err := os.Stat(filepath.Join(backup, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}

	t.Run("restore into PostgreSQL", func(t *testing.T) {
		source := openInstance(t, backup, app.Exclusive)
		to, err := config.Load(config.Options{Env: []string{
			"SEKISHO_DATA=" + filepath.Join(t.TempDir(), "data"), "SEKISHO_DATABASE_URL=" + metatest.PostgreSQL(t),
			"SEKISHO_MASTER_KEY=" + readFile(t, filepath.Join(backup, "master.key")),
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := source.CopyTo(t.Context(), &to.Config, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := source.CopyTo(t.Context(), &to.Config, nil); !errors.Is(err, transfer.ErrNotEmpty) {
			t.Errorf("a second restore: %v, want ErrNotEmpty", err)
		}
		restored, err := app.Open(t.Context(), &to.Config, slog.New(slog.DiscardHandler), app.Serve)
		if err != nil {
			t.Fatal(err)
		}
		defer restored.Close()
		if restored.NewKey != nil || restored.Account != source.Account {
			t.Errorf("the restored instance has account %s and a new key %v, want account %s", restored.Account, restored.NewKey, source.Account)
		}
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
}

func openInstance(t *testing.T, dir string, mode app.Mode) *app.Instance {
	t.Helper()
	c, err := testConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	in, err := app.Open(t.Context(), c, slog.New(slog.DiscardHandler), mode)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func writeAll(t *testing.T, name, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
