package api

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/run"
)

// RunRef names a run by its number, Build.BuildId.
type RunRef struct{ Run int64 }

// StageRef names a stage of a run.
type StageRef struct {
	Run   int64
	Stage string
}

// Cancellation is of a run, or of a stage or a job of it.
type Cancellation struct {
	Run int64
	run.CancelRequest
}

// Repetition says what of a run is run again.
type Repetition struct {
	Run int64
	run.RerunRequest
}

// ApprovalAnswer says yes or no.
type ApprovalAnswer struct {
	Run      int64
	Approval string
	Approve  bool
	Comment  string
}

// RunTag names a tag of a run.
type RunTag struct {
	Run int64
	Tag string
}

// ArtifactRef names an artifact.
type ArtifactRef struct {
	Run      int64
	Artifact string
}

// LogQuery asks for the logs of a job.
type LogQuery struct {
	Run     int64
	Job     string
	Attempt int // of the claim; 0: the last one
}

// RunEvent is an event of a run. Seq is what to go on after.
type RunEvent struct {
	Seq int64
	At  time.Time
	run.Event
}

// Runs adds the operations on runs.
func (s *Server) Runs(r *run.Service) {
	Handle(s, "StartRun", "pipelines:StartRun", func(ctx context.Context, c *iam.Caller, in *run.StartRequest) (*run.Run, error) {
		return r.Start(ctx, c, *in)
	})
	Handle(s, "ListRuns", "pipelines:ListRuns", func(ctx context.Context, c *iam.Caller, in *run.Query) (List[*run.Run], error) {
		all, next, err := r.List(ctx, c, *in)
		return List[*run.Run]{all, next}, err
	})
	Handle(s, "DescribeRun", "pipelines:DescribeRun", func(ctx context.Context, c *iam.Caller, in *RunRef) (*run.Tree, error) {
		return r.Tree(ctx, c, in.Run)
	})
	nothing := func(name, action string, f func(ctx context.Context, c *iam.Caller, in *RunRef) error) {
		Handle(s, name, action, func(ctx context.Context, c *iam.Caller, in *RunRef) (Nothing, error) { return Nothing{}, f(ctx, c, in) })
	}
	nothing("DeleteRun", "pipelines:DeleteRun", func(ctx context.Context, c *iam.Caller, in *RunRef) error { return r.Delete(ctx, c, in.Run) })
	Handle(s, "KeepRun", "pipelines:UpdateRun", func(ctx context.Context, c *iam.Caller, in *struct {
		Run  int64
		Keep bool
	}) (Nothing, error) {
		return Nothing{}, r.Keep(ctx, c, in.Run, in.Keep)
	})
	Handle(s, "CancelRun", "pipelines:CancelRun", func(ctx context.Context, c *iam.Caller, in *Cancellation) (Nothing, error) {
		return Nothing{}, r.Cancel(ctx, c, in.Run, in.CancelRequest)
	})
	Handle(s, "RerunRun", "pipelines:RerunRun", func(ctx context.Context, c *iam.Caller, in *Repetition) (*run.Run, error) {
		return r.Rerun(ctx, c, in.Run, in.RerunRequest)
	})
	Handle(s, "SkipStage", "pipelines:StartRun", func(ctx context.Context, c *iam.Caller, in *StageRef) (Nothing, error) {
		return Nothing{}, r.SkipStage(ctx, c, in.Run, in.Stage)
	})
	Handle(s, "RunStage", "pipelines:StartRun", func(ctx context.Context, c *iam.Caller, in *StageRef) (Nothing, error) {
		return Nothing{}, r.RunStage(ctx, c, in.Run, in.Stage)
	})
	Handle(s, "ListApprovals", "pipelines:DescribeRun", func(ctx context.Context, c *iam.Caller, in *RunRef) (List[*run.Approval], error) {
		all, err := r.Approvals(ctx, c, in.Run)
		return List[*run.Approval]{Items: all}, err
	})
	Handle(s, "AnswerApproval", "pipelines:ApproveRun", func(ctx context.Context, c *iam.Caller, in *ApprovalAnswer) (Nothing, error) {
		return Nothing{}, r.Answer(ctx, c, in.Run, in.Approval, in.Approve, in.Comment)
	})
	Handle(s, "TagRun", "pipelines:UpdateRun", func(ctx context.Context, c *iam.Caller, in *RunTag) (Nothing, error) {
		return Nothing{}, r.Tag(ctx, c, in.Run, in.Tag)
	})
	Handle(s, "UntagRun", "pipelines:UpdateRun", func(ctx context.Context, c *iam.Caller, in *RunTag) (Nothing, error) {
		return Nothing{}, r.RemoveTag(ctx, c, in.Run, in.Tag)
	})
	Handle(s, "ListLogs", "pipelines:ReadLogs", func(ctx context.Context, c *iam.Caller, in *LogQuery) (List[run.LogInfo], error) {
		all, err := r.Logs(ctx, c, in.Run, in.Job, in.Attempt)
		return List[run.LogInfo]{Items: all}, err
	})
	Handle(s, "ListTests", "pipelines:DescribeRun", func(ctx context.Context, c *iam.Caller, in *RunRef) (List[run.TestRun], error) {
		all, err := r.Tests(ctx, c, in.Run)
		return List[run.TestRun]{Items: all}, err
	})
	Handle(s, "ListArtifacts", "pipelines:ReadArtifacts", func(ctx context.Context, c *iam.Caller, in *RunRef) (List[work.Artifact], error) {
		all, err := r.Artifacts(ctx, c, in.Run)
		return List[work.Artifact]{Items: all}, err
	})
	Handle(s, "ListFiles", "pipelines:ReadArtifacts", func(ctx context.Context, c *iam.Caller, in *ArtifactRef) (List[work.File], error) {
		var l List[work.File]
		for f, err := range r.Files(ctx, c, in.Run, in.Artifact) {
			if err != nil {
				return l, err
			}
			l.Items = append(l.Items, f)
		}
		return l, nil
	})
	Handle(s, "ListAttachments", "pipelines:DescribeRun", func(ctx context.Context, c *iam.Caller, in *struct {
		Run  int64
		Type string
	}) (List[run.AttachmentInfo], error) {
		all, err := r.Attachments(ctx, c, in.Run, in.Type)
		return List[run.AttachmentInfo]{Items: all}, err
	})

	// What follows is read as it is: events as they come, logs, files.
	s.Stream(http.MethodGet, "runs/{run}/events", "pipelines:DescribeRun", func(w *httpx.Response, req *http.Request, c *iam.Caller) error {
		id, after, err := runAnd(req, "after")
		if err != nil {
			return err
		}
		return s.events(w, req, func(ctx context.Context) iter.Seq2[run.Event, error] { return r.Watch(ctx, c, id, after) })
	})
	s.Stream(http.MethodGet, "runs/{run}/log", "pipelines:ReadLogs", func(w *httpx.Response, req *http.Request, c *iam.Caller) error {
		id, offset, err := runAnd(req, "offset")
		if err != nil {
			return err
		}
		return s.readLog(w, req, c, r, id, offset)
	})
	s.Stream(http.MethodGet, "runs/{run}/expanded", "pipelines:DescribeRun", func(w *httpx.Response, req *http.Request, c *iam.Caller) error {
		id, _, err := runAnd(req, "")
		if err != nil {
			return err
		}
		text, err := r.Expanded(req.Context(), c, id)
		if err != nil {
			return err
		}
		return plain(w, "application/yaml; charset=utf-8", text)
	})
	s.Stream(http.MethodGet, "runs/{run}/file", "pipelines:ReadArtifacts", func(w *httpx.Response, req *http.Request, c *iam.Caller) error {
		id, _, err := runAnd(req, "")
		if err != nil {
			return err
		}
		q := req.URL.Query()
		f, size, err := r.OpenFile(req.Context(), c, id, q.Get("artifact"), q.Get("name"))
		if err != nil {
			return err
		}
		defer f.Close()
		download(w, q.Get("name"))
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		_, err = io.Copy(w, f)
		return err
	})
	s.Stream(http.MethodGet, "runs/{run}/attachments/{attachment}", "pipelines:ReadArtifacts", func(w *httpx.Response, req *http.Request, c *iam.Caller) error {
		id, _, err := runAnd(req, "")
		if err != nil {
			return err
		}
		n, err := number("attachment", req.PathValue("attachment"))
		if err != nil {
			return err
		}
		data, err := r.ReadAttachment(req.Context(), c, id, n)
		if err != nil {
			return err
		}
		download(w, "attachment")
		_, err = w.Write(data)
		return err
	})
}

// runAnd returns the number of the run in the path, and that of a parameter of the query, which may be missing.
func runAnd(r *http.Request, parameter string) (id, value int64, err error) {
	if id, err = number("run", r.PathValue("run")); err != nil {
		return 0, 0, err
	}
	if text := r.URL.Query().Get(parameter); parameter != "" && text != "" {
		value, err = number(parameter, text)
	}
	return id, value, err
}

func number(name, text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, &Error{Status: http.StatusBadRequest, Code: CodeInvalid, Field: name, Message: fmt.Sprintf("%s %.40q is no number", name, text)}
	}
	return n, nil
}

// download sets the headers of bytes that came from a job: a browser keeps them, and runs nothing of them.
func download(w *httpx.Response, name string) {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox")
	h.Set("Content-Disposition", "attachment; filename*=UTF-8''"+url.PathEscape(name[strings.LastIndexByte(name, '/')+1:]))
}

func plain(w *httpx.Response, contentType string, text []byte) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	_, err := w.Write(text)
	return err
}
