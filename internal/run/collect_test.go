package run_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/blob/mem"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/registry"
	"github.com/sekisho/sekisho/internal/run"
	"github.com/sekisho/sekisho/internal/transfer"
)

// TestCollection holds that the registry's collection leaves what runs keep in the same store, that copies of the instance have
// it, and that it goes with its run.
func TestCollection(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		r := w.start("steps:\n- script: x\n")
		_, c := w.take(a)
		big := strings.Repeat("0123456789", 5000)
		if err := w.Server(c).PutFile(t.Context(), "drop", "pipeline", "f", int64(len(big)), strings.NewReader(big)); err != nil {
			t.Fatal(err)
		}
		if err := w.Server(c).FinishArtifact(t.Context(), "drop", "pipeline", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := w.AppendLog(t.Context(), c, "1", 0, []byte(big)); err != nil {
			t.Fatal(err)
		}
		w.complete(c, work.Succeeded)
		w.wait(r.ID)
		w.idle()
		local, err := registry.NewLocal(w.db, w.blobs, registry.Options{Now: w.now, UploadKey: bytes.Repeat([]byte{1}, 32)})
		if err != nil {
			t.Fatal(err)
		}
		collector, err := registry.NewCollector(local, registry.CollectOptions{Rest: -1})
		if err != nil {
			t.Fatal(err)
		}
		collect := func() {
			for range 3 {
				w.advance(48 * time.Hour)
				if _, err := collector.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		objects := func() (n int) {
			for _, err := range w.blobs.Objects(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			return n
		}
		collect()
		if n := objects(); n != 2 {
			t.Errorf("%d objects, want that of the artifact and that of the log", n)
		}
		check := func() (problems []registry.Problem) {
			_, err := local.Fsck(t.Context(), registry.FsckOptions{Report: func(p registry.Problem) error {
				problems = append(problems, p)
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			return problems
		}
		if p := check(); len(p) > 0 {
			t.Errorf("fsck: %+v", p)
		}
		file, _, err := w.OpenFile(t.Context(), w.root, r.ID, "drop", "f")
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(file); err != nil || string(text) != big {
			t.Errorf("%d bytes, %v", len(text), err)
		}
		_ = file.Close()

		to := transfer.End{DB: metatest.Open(t, metatest.SQLite(t)), Blobs: mem.New(w.now)}
		if _, err := transfer.Copy(t.Context(), transfer.End{DB: w.db, Blobs: w.blobs}, to, nil); err != nil {
			t.Fatal(err)
		}
		served := w.Service
		w.Service = run.New(to.DB, to.Blobs, w.ring, w.judge, run.Options{Region: region, Now: w.now, Projects: w.projects, Pools: w.pools, Repositories: w.repos, Jobs: w.jobs, Tick: -1})
		if got := w.readAll(r.ID, run.LogRef{Job: c.Job, Log: "1"}, 10_000); got != big {
			t.Errorf("the copy's log has %d bytes", len(got))
		}
		w.Service = served

		// Bytes that are lost, and a row that says another size.
		var lost string
		if err := w.db.QueryRow(t.Context(), `SELECT location FROM held_objects ORDER BY id LIMIT 1`).Scan(&lost); err != nil {
			t.Fatal(err)
		}
		if err := w.blobs.Delete(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
		if err := w.db.Update(t.Context(), func(tx *meta.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE held_objects SET size = size + 1 WHERE location <> $1`, lost)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if p := check(); len(p) != 2 || p[0].Kind != registry.ProblemHeld || p[1].Kind != registry.ProblemHeld || p[0].Location != lost || !strings.Contains(p[1].Detail, "bytes and not") {
			t.Errorf("fsck of what is damaged: %+v", p)
		}

		if err := w.Delete(t.Context(), w.root, r.ID); err != nil {
			t.Fatal(err)
		}
		collect()
		if n := objects(); n != 0 {
			t.Errorf("%d objects are left", n)
		}
	})
}
