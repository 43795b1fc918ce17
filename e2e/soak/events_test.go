package soak

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/run"
)

// follower reads the events of a run to its end, over as many lives of the server as it takes.
type follower struct {
	server *server
	id     int64
	to     chan<- api.RunEvent
	after  int64 // the last one that came
}

// follow sends all events. Its error is one that no death of the server explains, such as an event that is missing.
func (f *follower) follow(ctx context.Context) error {
	for {
		life, err := f.server.await(ctx)
		if err != nil {
			return err
		}
		err = f.stream(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case f.server.alive(life):
			return fmt.Errorf("the events of run %d after %d: %w", f.id, f.after, err)
		}
	}
}

// errGap is an event that is not the next one, whoever died.
type gapError struct{ after, got int64 }

func (e *gapError) Error() string { return fmt.Sprintf("after event %d comes %d", e.after, e.got) }

// stream reads until the stream says that it has ended.
func (f *follower) stream(ctx context.Context) error {
	body, err := f.server.api.Get(ctx, fmt.Sprintf("runs/%d/events", f.id), url.Values{"after": {strconv.FormatInt(f.after, 10)}})
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewReaderSize(body, 1<<20)
	ended := false
	for {
		line, err := lines.ReadString('\n')
		if ended {
			return nil
		}
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		line = strings.TrimSpace(line)
		if line == "event: end" {
			ended = true
			continue
		}
		text, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var e api.RunEvent
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			return err
		}
		if e.Seq == 0 { // that a log grew
			continue
		}
		if e.Seq != f.after+1 {
			f.server.t.Errorf("run %d: %v", f.id, &gapError{f.after, e.Seq})
		}
		f.after = e.Seq
		select {
		case f.to <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// told is what the events said.
type told struct {
	completed map[string]int    // by job: how often it was told that it ended
	agents    map[string]string // by job: the agent that has it
	at        string            // the agent whose job has just begun a step; "" if the last event was another one
	events    int
	lost      int // issues that say so
}

func newTold() *told {
	return &told{completed: map[string]int{}, agents: map[string]string{}}
}

// take notes an event, and reports whether it is the end of a job.
func (o *told) take(e api.RunEvent) bool {
	o.events++
	o.at = ""
	if e.Type == run.StepEvent && e.State == work.InProgress {
		o.at = o.agents[e.Job]
	}
	if e.Type == run.IssueEvent && e.Issue != nil && strings.HasPrefix(e.Issue.Message, "The agent was lost: ") {
		o.lost++
	}
	if e.Type != run.JobEvent || e.Job == "" {
		return false
	}
	delete(o.agents, e.Job)
	switch e.State {
	case work.InProgress:
		o.agents[e.Job] = e.Agent
	case work.Completed:
		o.completed[e.Job]++
		return true
	}
	return false
}
