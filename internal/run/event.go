package run

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
)

// The types of events.
const (
	RunEvent      = "run"
	StageEvent    = "stage"
	JobEvent      = "job"
	StepEvent     = "step"
	IssueEvent    = "issue"
	LogEvent      = "log" // a log grew; such events have no number and are not kept
	ApprovalEvent = "approval"
	ArtifactEvent = "artifact"
	TagEvent      = "tag"
)

// Event tells that something of a run changed. What it is now, the reading calls say.
type Event struct {
	Seq      int64     `json:"-"` // in its run, without gaps
	At       time.Time `json:"-"`
	Type     string
	Stage    string      `json:",omitempty"`
	Attempt  int         `json:",omitempty"` // of the stage; of the run in its own events
	Phase    string      `json:",omitempty"` // the job as the pipeline has it
	Job      string      `json:",omitempty"` // id
	Claim    int         `json:",omitempty"` // attempt of the job
	Step     string      `json:",omitempty"` // id
	Name     string      `json:",omitempty"` // for people
	State    work.State  `json:",omitempty"`
	Result   work.Result `json:",omitempty"`
	Message  string      `json:",omitempty"`
	Agent    string      `json:",omitempty"`
	Issue    *work.Issue `json:",omitempty"`
	Approval string      `json:",omitempty"` // id
	Log      string      `json:",omitempty"` // id of a log that grew
	Size     int64       `json:",omitempty"` // of that log now
}

func runTopic(run int64) string             { return fmt.Sprintf("run/%d", run) }
func projectTopic(project string) string    { return "project/" + project }
func poolTopic(account, name string) string { return "pool/" + account + "/" + fold(name) }
func serverTopic() string                   { return "server" }

// Changed returns a channel that is sent to when a run of a project changes, until stop is called. Changes of other nodes
// come a second later.
func (s *Service) Changed(projectID string) (wake <-chan struct{}, stop func()) {
	return s.hub.listen(projectTopic(projectID))
}

const eventPage = 500

// Events returns those of a run that come after a number, at most limit.
func (s *Service) Events(ctx context.Context, c *iam.Caller, id, after int64, limit int) ([]Event, error) {
	if _, err := s.visible(ctx, c, "DescribeRun", id); err != nil {
		return nil, err
	}
	return s.events(ctx, id, after, min(max(limit, 1), eventPage))
}

func (s *Service) events(ctx context.Context, id, after int64, limit int) ([]Event, error) {
	rows, err := s.db.Query(ctx, `SELECT seq, at, data FROM run_events WHERE run = $1 AND seq > $2 ORDER BY seq LIMIT $3`, id, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read events of run %d: %w", id, err)
	}
	defer rows.Close()
	var list []Event
	for rows.Next() {
		var e Event
		var at int64
		var data string
		if err := rows.Scan(&e.Seq, &at, &data); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return nil, fmt.Errorf("event %d of run %d: %w", e.Seq, id, err)
		}
		e.At = fromMicros(at)
		list = append(list, e)
	}
	return list, rows.Err()
}

// Watch yields the events of a run after a number: those that there are, then those that come, until the run is over and
// all were told, or ctx ends. That logs grew is told for those of the run's live jobs. An error is the last thing yielded.
func (s *Service) Watch(ctx context.Context, c *iam.Caller, id, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if _, err := s.visible(ctx, c, "DescribeRun", id); err != nil {
			yield(Event{}, err)
			return
		}
		wake, stop := s.hub.listen(runTopic(id))
		defer stop()
		sizes := map[logKey]int64{}
		total := int64(-1)
		for {
			var state work.State
			var seq, bytes int64
			err := s.db.QueryRow(ctx, `SELECT state, seq, (SELECT coalesce(sum(j.log_bytes), 0) FROM run_jobs j WHERE j.run = runs.id) FROM runs WHERE id = $1`, id).
				Scan(&state, &seq, &bytes)
			if err != nil {
				yield(Event{}, fmt.Errorf("watch run %d: %w", id, notFound(err, "run %d is gone", id)))
				return
			}
			for after < seq {
				list, err := s.events(ctx, id, after, eventPage)
				if err != nil {
					yield(Event{}, err)
					return
				}
				for _, e := range list {
					if after = e.Seq; !yield(e, nil) {
						return
					}
				}
				if len(list) == 0 {
					break
				}
			}
			if bytes != total {
				total = bytes
				grown, err := s.grown(ctx, id, sizes)
				if err != nil {
					yield(Event{}, err)
					return
				}
				for _, e := range grown {
					if !yield(e, nil) {
						return
					}
				}
			}
			if state == work.Completed {
				return
			}
			select {
			case <-ctx.Done():
				yield(Event{}, ctx.Err())
				return
			case <-wake:
			}
		}
	}
}

type logKey struct {
	job     string
	attempt int
	log     string
}

// grown returns events for the logs of a run that are longer than sizes has it.
func (s *Service) grown(ctx context.Context, id int64, sizes map[logKey]int64) ([]Event, error) {
	rows, err := s.db.Query(ctx, `SELECT j.stage, j.stage_attempt, j.phase, j.id, l.attempt, l.name, l.size
		FROM run_jobs j JOIN run_logs l ON l.job = j.id AND l.attempt = j.attempt WHERE j.run = $1`, id)
	if err != nil {
		return nil, fmt.Errorf("read logs of run %d: %w", id, err)
	}
	defer rows.Close()
	var list []Event
	for rows.Next() {
		e := Event{Type: LogEvent, At: s.now()}
		if err := rows.Scan(&e.Stage, &e.Attempt, &e.Phase, &e.Job, &e.Claim, &e.Log, &e.Size); err != nil {
			return nil, err
		}
		key := logKey{e.Job, e.Claim, e.Log}
		if e.Size > sizes[key] {
			sizes[key] = e.Size
			list = append(list, e)
		}
	}
	return list, rows.Err()
}

// lookAtOthers wakes those who wait for what another node may have changed. One query for each kind of thing, however
// many wait.
func (s *Service) lookAtOthers(ctx context.Context) error {
	topics := s.hub.topics()
	if len(topics) == 0 {
		return nil
	}
	for _, topic := range topics {
		if len(topic) > 4 && (topic[:4] == "run/" || topic[:4] == "log/") || len(topic) > 8 && topic[:8] == "project/" {
			s.hub.wake(topic) // each looks at one row
		}
	}
	rows, err := s.db.Query(ctx, `SELECT DISTINCT account, pool FROM run_queue`)
	if err != nil {
		return fmt.Errorf("look at the queue: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var account, name string
		if err := rows.Scan(&account, &name); err != nil {
			return err
		}
		if name == serverPool {
			s.hub.wake(serverTopic())
		} else {
			s.hub.wake(poolTopic(account, name))
		}
	}
	return rows.Err()
}
