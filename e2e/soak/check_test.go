package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/run"
)

// tally is what the checks counted.
type tally struct {
	jobs     map[work.Result]int
	attempts map[string]int // by state
	retried  int            // jobs that an agent was lost of and that ended all the same
	lostBy   map[string]int // attempts, by agent
	released map[string]int // attempts, by cause
	logs     int
	logBytes int64
}

func newTally() *tally {
	return &tally{jobs: map[work.Result]int{}, attempts: map[string]int{}, lostBy: map[string]int{}, released: map[string]int{}}
}

// checker looks at a run that has ended.
type checker struct {
	server *server
	plan   *plan
	id     int64
	shared string
	told   *told
	tally  *tally
}

func (c *checker) errorf(format string, args ...any) {
	c.server.t.Helper()
	c.server.t.Errorf("run %d (%s): %s", c.id, c.plan.name, fmt.Sprintf(format, args...))
}

func (c *checker) check() {
	c.server.t.Helper()
	var tree run.Tree
	c.server.call("DescribeRun", api.RunRef{Run: c.id}, &tree)
	if tree.State != work.Completed || tree.Result == "" {
		c.errorf("it is %s, with the result %q", tree.State, tree.Result)
	}
	seen := map[string]bool{}
	for _, stage := range tree.Stages {
		for _, phase := range stage.Jobs {
			for _, j := range phase.Legs {
				w := c.plan.jobs[key(phase.Name, j.Leg)]
				if w == nil || seen[key(phase.Name, j.Leg)] {
					c.errorf("there is a job %s %s too many", phase.Name, j.Leg)
					continue
				}
				seen[key(phase.Name, j.Leg)] = true
				c.job(w, j)
			}
		}
	}
	for _, k := range names(c.plan.jobs) {
		if w := c.plan.jobs[k]; !seen[k] && !strings.HasPrefix(w.phase, "taker") { // one of those is skipped if its giver is lost
			c.errorf("the job %s never was", k)
		}
	}
	c.artifacts(&tree)
}

// job checks that a job ended once, with the result it must have, and was one agent's at a time.
func (c *checker) job(w *wanted, j *run.Job) {
	name := w.identifier
	if j.State != work.Completed || j.Result == "" {
		c.errorf("%s: it is %s, with the result %q", name, j.State, j.Result)
	}
	if n := c.told.completed[j.ID]; n != 1 {
		c.errorf("%s: its end was told %d times", name, n)
	}
	c.tally.jobs[j.Result]++
	lost, done := 0, 0
	var before *run.Attempt
	for i, a := range j.Attempts {
		c.tally.attempts[a.State]++
		switch a.State {
		case "done":
			if done++; i+1 != len(j.Attempts) {
				c.errorf("%s: attempt %d is done, and others came after it", name, a.Number)
			}
			if a.Result != j.Result {
				c.errorf("%s: attempt %d ended as %s, and the job as %s", name, a.Number, a.Result, j.Result)
			}
		case "lost":
			lost++
			c.tally.lostBy[a.Agent]++
			if a.Result != "" || a.Cause == "" {
				c.errorf("%s: attempt %d is lost, with the result %q and the cause %q", name, a.Number, a.Result, a.Cause)
			}
		case "released":
			c.tally.released[a.Cause]++
		case "unanswered":
		default:
			c.errorf("%s: attempt %d is %q", name, a.Number, a.State)
		}
		if a.Ended.IsZero() || a.Number != i+1 || before != nil && a.Offered.Before(before.Ended) {
			c.errorf("%s: attempt %d was given out at %s, when the one before had not ended, or is without an end", name, a.Number, a.Offered)
		}
		before = a
		c.logs(w, j, a)
	}
	c.records(w, j)
	switch {
	case j.Result == work.Abandoned:
		if lost != 2 || done != 0 {
			c.errorf("%s: it was abandoned, with %d lost attempts and %d done", name, lost, done)
		}
	case j.Result == work.Skipped && len(j.Attempts) == 0 && strings.HasPrefix(w.phase, "taker"):
	case j.Result != w.result || done != 1 || lost > 1:
		c.errorf("%s: the result is %s (%s) with %d lost attempts and %d done, and must be %s: %s%s", name, j.Result, j.Message, lost, done, w.result, attempts(j), failures(j))
	case lost > 0:
		c.tally.retried++
	}
}

// logs checks the logs of an attempt: of one that is done, each step's is what the step printed; of others, the beginning of that.
func (c *checker) logs(w *wanted, j *run.Job, a *run.Attempt) {
	var list api.List[run.LogInfo]
	c.server.call("ListLogs", api.LogQuery{Run: c.id, Job: j.ID, Attempt: a.Number}, &list)
	text := map[string]string{}
	for _, l := range list.Items {
		data, err := c.read(l)
		if err != nil {
			c.errorf("%s: attempt %d: log %s: %v", w.identifier, a.Number, l.Log, err)
			continue
		}
		if int64(len(data)) != l.Size || !l.Closed {
			c.errorf("%s: attempt %d: log %s has %d bytes, of which %d can be read; closed: %t", w.identifier, a.Number, l.Log, l.Size, len(data), l.Closed)
		}
		c.tally.logs++
		c.tally.logBytes += l.Size
		if text[l.Log], err = plain(data, a.State == "done"); err != nil {
			c.errorf("%s: attempt %d: log %s: %v", w.identifier, a.Number, l.Log, err)
		}
	}
	checked := 0
	for _, r := range a.Steps {
		lines, ok := w.lines[r.DisplayName]
		if !ok {
			continue
		}
		checked++
		if a.State == "done" && (r.State != work.Completed || r.Result == "") {
			c.errorf("%s: step %s is %s", w.identifier, r.DisplayName, r.State)
		}
		if err := printed(text[r.Log], w.identifier, linesOf(w.identifier, r.DisplayName, lines), a.State == "done"); err != nil {
			c.errorf("%s: attempt %d, which is %s: step %s: %v", w.identifier, a.Number, a.State, r.DisplayName, err)
		}
	}
	if a.State == "done" && checked != len(w.lines) {
		c.errorf("%s: attempt %d has %d of %d steps", w.identifier, a.Number, checked, len(w.lines))
	}
}

func (c *checker) read(l run.LogInfo) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	body, err := c.server.api.Get(ctx, fmt.Sprintf("runs/%d/log", c.id), url.Values{"job": {l.Job}, "attempt": {strconv.Itoa(l.Attempt)}, "log": {l.Log}})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

const stampLayout = "2006-01-02T15:04:05.0000000Z "

// plain takes the time from each line. Where one is broken, bytes are lost or doubled: only the last one of a log that was cut off
// may be.
func plain(data []byte, whole bool) (string, error) {
	var b strings.Builder
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		cut := !strings.HasSuffix(line, "\n")
		if cut && whole {
			return b.String(), fmt.Errorf("line %d, the last one, has no end: %q", n, line)
		}
		if len(line) < len(stampLayout) && cut {
			break
		}
		if len(line) < len(stampLayout) {
			return b.String(), fmt.Errorf("line %d is broken: %q", n, line)
		}
		if _, err := time.Parse(stampLayout, line[:len(stampLayout)]); err != nil {
			return b.String(), fmt.Errorf("line %d is broken: %q", n, line)
		}
		b.WriteString(line[len(stampLayout):])
	}
	return b.String(), nil
}

// printed checks a step's log against the lines that the step prints. Whole: they are there once, between what the agent itself writes.
// Otherwise: the log is the beginning of such a one.
func printed(got, identifier, want string, whole bool) error {
	mark := identifier + "/"
	i := strings.Index(got, want)
	switch {
	case whole && i < 0:
		return fmt.Errorf("its log is not what it printed: %s", difference(got, want, mark))
	case i >= 0 && (strings.Contains(got[:i], mark) || strings.Contains(got[i+len(want):], mark)):
		return errors.New("its log has lines twice")
	case whole && (strings.Count(got, "Starting: ") != 1 || strings.Count(got, "Finishing: ") != 1):
		return fmt.Errorf("its log begins or ends otherwise than once:\n%s…\n%s", got[:i], got[i+len(want):])
	case i >= 0:
		return nil
	}
	i = strings.Index(got, mark)
	if i >= 0 && !strings.HasPrefix(want, got[i:]) {
		return fmt.Errorf("its log is not the beginning of what it printed: %s", difference(got, want, mark))
	}
	return nil
}

// difference tells where two texts begin to differ.
func difference(got, want, from string) string {
	if i := strings.Index(got, from); i >= 0 {
		got = got[i:]
	}
	g, w := strings.SplitAfter(got, "\n"), strings.SplitAfter(want, "\n")
	for i := range w {
		if i >= len(g) || g[i] != w[i] {
			have := "nothing"
			if i < len(g) {
				have = strconv.Quote(g[i])
			}
			return fmt.Sprintf("line %d of %d is %s and must be %q", i+1, len(w), have, w[i])
		}
	}
	return fmt.Sprintf("%d bytes, and must be %d", len(got), len(want))
}

// records checks what the job itself wrote down: it ran in the time of an attempt, by that attempt's agent, and one at a time.
func (c *checker) records(w *wanted, j *run.Job) {
	text, err := os.ReadFile(filepath.Join(c.shared, fmt.Sprintf("%d.%s.records", c.id, w.identifier)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.errorf("%v", err)
		return
	}
	ended := map[string]int{} // by step
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 4 {
			c.errorf("%s: it wrote %q", w.identifier, line)
			continue
		}
		seconds, err := strconv.ParseFloat(f[3], 64)
		if err != nil {
			c.errorf("%s: it wrote %q", w.identifier, line)
			continue
		}
		at := time.UnixMicro(int64(seconds * 1e6))
		within := 0
		for _, a := range j.Attempts {
			// The clocks are one and the same; what is allowed for is how a number of seconds is rounded.
			if a.Agent == f[2] && at.After(a.Offered.Add(-time.Millisecond)) && at.Before(a.Ended.Add(time.Millisecond)) {
				within++
				if a.State == "done" && f[0] == "end" {
					ended[f[1]]++
				}
			}
		}
		if within != 1 {
			c.errorf("%s: %s wrote %q at %s, which is in the time of %d of its attempts: %s", w.identifier, f[2], f[0]+" "+f[1], at.Format(time.RFC3339Nano), within, attempts(j))
		}
	}
	if j.Result == work.Succeeded || j.Result == work.Failed {
		for _, step := range names(w.lines) {
			if ended[step] != 1 {
				c.errorf("%s: step %s ended %d times in the attempt that counts: %s\n%s", w.identifier, step, ended[step], attempts(j), text)
			}
		}
	}
}

func attempts(j *run.Job) string {
	var b strings.Builder
	for _, a := range j.Attempts {
		fmt.Fprintf(&b, "[%d %s %s %s–%s %s]", a.Number, a.Agent, a.State, a.Offered.Format(time.RFC3339Nano), a.Ended.Format(time.RFC3339Nano), a.Cause)
	}
	return b.String()
}

// failures returns what the steps that failed said.
func failures(j *run.Job) string {
	var b strings.Builder
	for _, a := range j.Attempts {
		for _, r := range a.Steps {
			if r.Result != work.Succeeded && r.Message != "" {
				fmt.Fprintf(&b, "\n\tattempt %d, step %s: %s: %s", a.Number, r.DisplayName, r.Result, r.Message)
			}
		}
	}
	return b.String()
}

// artifacts checks that there are those of jobs that succeeded, whole.
func (c *checker) artifacts(tree *run.Tree) {
	var list api.List[work.Artifact]
	c.server.call("ListArtifacts", api.RunRef{Run: c.id}, &list)
	there := map[string]bool{}
	for _, a := range list.Items {
		there[a.Name] = true
	}
	for _, stage := range tree.Stages {
		for _, phase := range stage.Jobs {
			for _, j := range phase.Legs {
				w := c.plan.jobs[key(phase.Name, j.Leg)]
				if w == nil || w.artifact == "" || j.Result != work.Succeeded {
					continue
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				body, err := c.server.api.Get(ctx, fmt.Sprintf("runs/%d/file", c.id), url.Values{"artifact": {w.artifact}, "name": {"name.txt"}})
				var data []byte
				if err == nil {
					data, err = io.ReadAll(body)
					_ = body.Close()
				}
				cancel()
				if err != nil || !there[w.artifact] || string(data) != w.artifact+"\n" {
					c.errorf("%s: its artifact is %q, %v", w.identifier, data, err)
				}
			}
		}
	}
}
