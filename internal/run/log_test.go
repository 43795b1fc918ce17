package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/run"
)

// readAll reads a log to its end.
func (w *world) readAll(id int64, ref run.LogRef, step int) string {
	w.t.Helper()
	var b strings.Builder
	for {
		part, err := w.ReadLog(w.t.Context(), w.root, id, ref, int64(b.Len()), step)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(part.Data) == 0 {
			return b.String()
		}
		b.Write(part.Data)
	}
}

func TestLog(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		r := w.start("steps:\n- script: x\n")
		_, c := w.take(a)
		ref := run.LogRef{Job: c.Job, Log: "002"}

		followed := make(chan string)
		go func() {
			var b strings.Builder
			for part, err := range w.FollowLog(t.Context(), w.root, r.ID, ref, 0) {
				if err != nil {
					t.Error(err)
					break
				}
				b.Write(part.Data)
			}
			followed <- b.String()
		}()

		var want bytes.Buffer
		for i := range rounds(800, 300) {
			line := fmt.Sprintf("%05d %s\n", i, strings.Repeat("x", i%701))
			size, err := w.AppendLog(t.Context(), c, "002", int64(want.Len()), []byte(line))
			want.WriteString(line)
			if err != nil || size != int64(want.Len()) {
				t.Fatalf("append: %d, %v, want %d", size, err, want.Len())
			}
			if i%100 == 0 { // the same again, and with something new behind it
				if size, err := w.AppendLog(t.Context(), c, "002", int64(want.Len()-len(line)), []byte(line)); err != nil || size != int64(want.Len()) {
					t.Fatalf("append again: %d, %v", size, err)
				}
				if _, err := w.AppendLog(t.Context(), c, "002", int64(want.Len()-len(line)), []byte(line+"new\n")); err != nil {
					t.Fatal(err)
				}
				want.WriteString("new\n")
			}
		}
		var gap *run.GapError
		if _, err := w.AppendLog(t.Context(), c, "002", int64(want.Len())+1, []byte("x")); !errors.As(err, &gap) || gap.Size != int64(want.Len()) {
			t.Errorf("gap: %v", err)
		}
		if got := w.readAll(r.ID, ref, 10_000); got != want.String() {
			t.Errorf("live log has %d bytes, want %d", len(got), want.Len())
		}
		w.complete(c, work.Succeeded)
		if _, err := w.AppendLog(t.Context(), c, "002", int64(want.Len()), []byte("late")); !errors.Is(err, work.ErrClaimLost) {
			t.Errorf("late: %v", err)
		}
		if got := <-followed; got != want.String() {
			t.Errorf("followed log has %d bytes, want %d", len(got), want.Len())
		}
		packed := func() (packed, chunks int) {
			if err := w.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM run_log_objects), (SELECT count(*) FROM run_log_chunks)`).Scan(&packed, &chunks); err != nil {
				t.Fatal(err)
			}
			return packed, chunks
		}
		w.eventually("the log was not packed", func() bool { n, chunks := packed(); return n > 0 && chunks == 0 })
		for _, step := range []int{777, 100_000, 1 << 20} {
			if got := w.readAll(r.ID, ref, step); got != want.String() {
				t.Errorf("packed log has %d bytes, want %d", len(got), want.Len())
			}
		}
	})
}

// eventually waits for background work, which tells nobody.
func (w *world) eventually(otherwise string, ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatal(otherwise)
		}
	}
}

func TestLogLimit(t *testing.T) {
	metatest.EachDB(t, func(t *testing.T, db *meta.DB) {
		w := newWorldWith(t, db, run.Limits{Log: 1 << 20})
		a := w.agent("one")
		r := w.start("steps:\n- script: x\n")
		_, c := w.take(a)
		piece := bytes.Repeat([]byte("0123456789abcde\n"), 1<<12) // 64 KiB
		offset := int64(0)
		full := 0
		for range 20 {
			size, err := w.AppendLog(t.Context(), c, "1", offset, piece)
			if errors.Is(err, work.ErrLogFull) {
				full++
			} else if err != nil {
				t.Fatal(err)
			}
			offset = size
		}
		if full != 4 || offset != 1<<20 {
			t.Errorf("full %d times, size %d", full, offset)
		}
		text := w.readAll(r.ID, run.LogRef{Job: c.Job, Log: "1"}, 1<<20)
		if n := strings.Count(text, "reached its limit"); n != 1 || len(text) > 1<<20+200 {
			t.Errorf("%d bytes, the limit is said %d times", len(text), n)
		}
		w.complete(c, work.Succeeded)
	})
}

func TestArtifacts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.agent("one")
		r := w.start("steps:\n- script: x\n")
		_, c := w.take(a)
		srv := w.Server(c)
		big := strings.Repeat("0123456789", 5000)
		for _, bad := range []string{"", "/etc/passwd", "../x", "a/../../x", "a//b", `a\b`, "a/./b", "C:x", "a\x00b", "a\nb", ".."} {
			if err := srv.PutFile(t.Context(), "drop", "pipeline", bad, 1, strings.NewReader("x")); err == nil {
				t.Errorf("a file named %q was taken", bad)
			}
		}
		for _, bad := range []string{"", "a/b", "..", "a:b"} {
			if err := srv.PutFile(t.Context(), bad, "pipeline", "x", 1, strings.NewReader("x")); err == nil {
				t.Errorf("an artifact named %q was taken", bad)
			}
		}
		if err := srv.PutFile(t.Context(), "drop", "pipeline", "short", 10, strings.NewReader("x")); err == nil {
			t.Error("a file that ended early was taken")
		}
		for range 2 {
			for name, text := range map[string]string{"small.txt": "hello", "bin/big": big, "empty": ""} {
				if err := srv.PutFile(t.Context(), "drop", "pipeline", name, int64(len(text)), strings.NewReader(text)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if list, err := srv.Artifacts(t.Context(), 0); err != nil || len(list) != 0 {
			t.Errorf("before it is finished: %v, %v", list, err)
		}
		for range 2 {
			if err := srv.FinishArtifact(t.Context(), "drop", "pipeline", map[string]string{"k": "v"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := srv.PutFile(t.Context(), "Drop", "pipeline", "x", 1, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		if err := srv.FinishArtifact(t.Context(), "Drop", "pipeline", nil); err == nil {
			t.Error("an artifact was published twice")
		}
		list, err := w.Artifacts(t.Context(), w.root, r.ID)
		if err != nil || len(list) != 1 || list[0].Files != 3 || list[0].Size != int64(len(big)+5) {
			t.Errorf("%+v, %v", list, err)
		}
		var names []string
		for f, err := range srv.Files(t.Context(), 0, "drop") {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, f.Name)
		}
		if fmt.Sprint(names) != "[bin/big empty small.txt]" {
			t.Error(names)
		}
		file, err := srv.GetFile(t.Context(), 0, "drop", "bin/big")
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(file); err != nil || string(text) != big {
			t.Errorf("%d bytes, %v", len(text), err)
		}
		_ = file.Close()
		if _, err := srv.Artifacts(t.Context(), 12345); !errors.Is(err, work.ErrNotFound) {
			t.Errorf("another run: %v", err)
		}
		junit := `<testsuites><testsuite name="s"><testcase name="a" time="0.5"/><testcase name="b"><failure message="no">text</failure></testcase><testcase name="c"><skipped/></testcase></testsuite></testsuites>`
		if err := srv.Attach(t.Context(), work.Attachment{Step: "001", Type: "tests.junit", Name: "unit", Data: []byte(junit)}); err != nil {
			t.Fatal(err)
		}
		if now, err := w.Get(t.Context(), w.root, r.ID); err != nil || now.Tests != (run.TestCounts{Passed: 1, Failed: 1, Skipped: 1}) {
			t.Errorf("%+v, %v", now.Tests, err)
		}
		w.complete(c, work.Succeeded)
		w.wait(r.ID)

		// Deleting a run leaves nothing but garbage that collection takes.
		if err := w.Delete(t.Context(), w.root, r.ID); err != nil {
			t.Fatal(err)
		}
		var held, garbage int
		if err := w.db.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM held_objects), (SELECT count(*) FROM garbage)`).Scan(&held, &garbage); err != nil || held != 0 || garbage == 0 {
			t.Errorf("%d objects are held, %d are garbage, %v", held, garbage, err)
		}
	})
}

// TestThousand gives a thousand jobs to fifty agents.
func TestThousand(t *testing.T) {
	t.Parallel()
	jobs, agents := rounds(1000, 200), 50
	w := newWorld(t, metatest.Open(t, metatest.SQLite(t)))
	var legs strings.Builder
	for i := range jobs / 4 {
		fmt.Fprintf(&legs, "      l%d: {n: %d}\n", i, i)
	}
	w.commit(map[string]string{"azure-pipelines.yml": "jobs:\n- job: A\n  strategy:\n    matrix:\n" + legs.String() + "  steps:\n  - script: x\n"})
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for i := range agents {
		a := w.agent(fmt.Sprintf("agent-%d", i))
		wg.Go(func() {
			for {
				j, err := w.Acquire(ctx, a)
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				c := run.Claim{Job: j.ID, Attempt: j.Attempt, Agent: a.ID}
				mu.Lock()
				seen[j.ID]++
				mu.Unlock()
				if err := errors.Join(w.Acknowledge(t.Context(), c), w.Complete(t.Context(), c, work.Succeeded, "")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var ids []int64
	for range 4 {
		r, err := w.Start(t.Context(), w.root, run.StartRequest{Project: "web", Pipeline: "build"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	for _, id := range ids {
		if r := w.wait(id); r.Result != work.Succeeded {
			t.Errorf("run %d %s", id, r.Result)
		}
	}
	cancel()
	wg.Wait()
	if len(seen) != jobs {
		t.Errorf("%d jobs ran", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("job %s ran %d times", id, n)
		}
	}
}

// BenchmarkQueue measures from the start of a run to its job at an idle agent.
func BenchmarkQueue(b *testing.B) {
	w := newWorld(b, metatest.Open(b, metatest.SQLite(b)))
	a := w.agent("one")
	w.commit(map[string]string{"azure-pipelines.yml": "steps:\n- script: x\n"})
	got := make(chan *work.Job)
	next := make(chan struct{})
	go func() {
		for range next {
			j, err := w.Acquire(b.Context(), a)
			if err != nil {
				return
			}
			got <- j
		}
	}()
	defer close(next)
	for b.Loop() {
		next <- struct{}{}
		if _, err := w.Start(b.Context(), w.root, run.StartRequest{Project: "web", Pipeline: "build"}); err != nil {
			b.Fatal(err)
		}
		j := <-got
		c := run.Claim{Job: j.ID, Attempt: j.Attempt, Agent: a.ID}
		if err := errors.Join(w.Acknowledge(b.Context(), c), w.Complete(b.Context(), c, work.Succeeded, "")); err != nil {
			b.Fatal(err)
		}
	}
}
