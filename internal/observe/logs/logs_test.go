package logs

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// writes records each Write.
type writes struct {
	mu   sync.Mutex
	list []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, string(p))
	return len(p), nil
}

func (w *writes) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.list)
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &writes{}
		l := New(w, Options{Delay: time.Second})
		for range 2 { // the timer starts anew with each first event
			before := w.count()
			l.Info("one")
			time.Sleep(999 * time.Millisecond)
			l.Info("two")
			if n := w.count(); n != before {
				t.Fatalf("%d writes early", n-before)
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if n := w.count(); n != before+1 {
				t.Fatalf("%d writes, want 1", n-before)
			}
		}
		l.Info("three")
		l.With("a", 1).WithGroup("g").Error("four")
		if n := w.count(); n != 3 {
			t.Errorf("an error was not written at once: %d writes", n)
		}
		l.Info("five")
		l.Close()
		if n := w.count(); n != 4 {
			t.Errorf("Close left something: %d writes", n)
		}
		l.Info("six")
		if n := w.count(); n != 5 {
			t.Errorf("an event after Close was not written: %d writes", n)
		}
	})
}

// Nothing is lost or torn, whatever the sizes and however many write.
func TestConcurrent(t *testing.T) {
	const writers, each = 8, 500
	w := &writes{}
	l := New(w, Options{Delay: time.Millisecond, Format: "json"})
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				l.Info("event", "writer", i, "n", j, "pad", strings.Repeat("x", (j*37)%1500))
			}
		})
	}
	wg.Go(func() { l.Info("huge", "writer", -1, "pad", strings.Repeat("x", 2*bufferSize)) })
	wg.Wait()
	l.Close()
	next := map[int]int{}
	for line := range strings.Lines(strings.Join(w.list, "")) {
		var e struct{ Writer, N int }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if e.N != next[e.Writer] {
			t.Fatalf("writer %d: event %d, want %d", e.Writer, e.N, next[e.Writer])
		}
		next[e.Writer]++
	}
	for i := range writers {
		if next[i] != each {
			t.Errorf("writer %d: %d events of %d", i, next[i], each)
		}
	}
}

func TestFormatAndLevel(t *testing.T) {
	for format, want := range map[string]string{"": `{"time"`, "auto": `{"time"`, "json": `{"time"`, "text": "time="} {
		var b bytes.Buffer
		l := New(&b, Options{Format: format, Level: slog.LevelWarn})
		l.Info("no")
		l.Warn("yes")
		l.Close()
		if !strings.HasPrefix(b.String(), want) || strings.Contains(b.String(), "no") {
			t.Errorf("%q: %s", format, b.String())
		}
	}
}

func BenchmarkInfo(b *testing.B) {
	l := New(io.Discard, Options{Format: "json"})
	defer l.Close()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.LogAttrs(b.Context(), slog.LevelInfo, "request", slog.String("request_id", "abc"), slog.Int("status", 200))
		}
	})
}
