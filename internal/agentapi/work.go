package agentapi

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sekisho/sekisho/internal/agent/rpc"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pool"
)

// Report implements the service.
func (s *service) Report(ctx context.Context, in *connect.Request[agentv1.ReportRequest]) (*connect.Response[agentv1.ReportResponse], error) {
	a := callerOf(ctx).agent
	if err := s.o.Pools.SetFacts(ctx, a.ID, facts(in.Msg.GetFacts())); err != nil {
		return nil, s.translate(ctx, err)
	}
	return connect.NewResponse(&agentv1.ReportResponse{Name: a.Name, Pool: a.Pool, Enabled: a.Enabled}), nil
}

// slice is how long an agent waits before it is looked at again: whether it is still there, and may still have jobs.
const slice = 10 * time.Second

// Acquire implements the service.
func (s *service) Acquire(ctx context.Context, in *connect.Request[agentv1.AcquireRequest]) (*connect.Response[agentv1.AcquireResponse], error) {
	a := callerOf(ctx).agent
	wait := in.Msg.GetWait().AsDuration()
	if wait <= 0 || wait > rpc.MaxWait {
		wait = rpc.MaxWait
	}
	if in.Msg.GetReason() != a.Reason {
		if err := s.o.Pools.SetReason(ctx, a.ID, in.Msg.GetReason()); err != nil {
			return nil, s.translate(ctx, err)
		}
		a.Reason = in.Msg.GetReason()
	}
	none := connect.NewResponse(&agentv1.AcquireResponse{})
	if a.Reason != "" {
		return none, nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	defer s.onlyWaiter(a.ID, cancel)()
	for ctx.Err() == nil {
		job, err := s.acquire(ctx, a)
		switch {
		case err != nil:
			return nil, s.translate(ctx, err)
		case job != nil:
			return s.hand(ctx, a, job)
		}
		select {
		case <-s.stop:
			return nil, s.translate(ctx, connect.NewError(connect.CodeUnavailable, errors.New("the server stops; call again")))
		default:
		}
		fresh, err := s.agent(ctx, a.ID)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return nil, s.translate(ctx, err)
		}
		a = fresh
		s.o.Pools.Heard(a.ID)
	}
	return none, nil
}

// onlyWaiter ends the call of an agent that waits already: its connection is lost, or the agent runs twice. It returns what is to
// be done in the end.
func (s *Server) onlyWaiter(id string, cancel context.CancelFunc) func() {
	w := &waiter{cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.waiting[id]; before != nil {
		before.cancel()
	}
	s.waiting[id] = w
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waiting[id] == w {
			delete(s.waiting, id)
		}
	}
}

// acquire waits for a job for a slice of time, or until the server stops.
func (s *Server) acquire(ctx context.Context, a *pool.Agent) (*work.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, slice)
	defer cancel()
	stopped := make(chan struct{})
	defer close(stopped)
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-stopped:
		}
	}()
	if !a.Enabled || a.Used() {
		<-ctx.Done()
		return nil, nil
	}
	job, err := s.o.Jobs.Acquire(ctx, a)
	if ctx.Err() != nil && job == nil {
		return nil, nil
	}
	return job, err
}

// hand gives a job to its agent.
func (s *Server) hand(ctx context.Context, a *pool.Agent, job *work.Job) (*connect.Response[agentv1.AcquireResponse], error) {
	claim := Claim{Job: job.ID, Attempt: job.Attempt, Agent: a.ID}
	text, err := json.Marshal(job)
	if err == nil && len(text) > rpc.MaxJob {
		err = errors.New("the job is too large to be handed to an agent")
		if cerr := s.o.Jobs.Complete(context.WithoutCancel(ctx), claim, work.Failed, "The job, with its variables and steps, is too large to be handed to an agent."); cerr != nil {
			err = errors.Join(err, cerr)
		}
		return nil, s.translate(ctx, err)
	}
	if err == nil && errors.Is(ctx.Err(), context.Canceled) { // nobody is there any more to take it
		err = ctx.Err()
	}
	if err != nil {
		return nil, s.translate(ctx, errors.Join(err, s.o.Jobs.Release(context.WithoutCancel(ctx), claim, "the agent hung up before it got the job")))
	}
	return connect.NewResponse(&agentv1.AcquireResponse{Job: text}), nil
}

// Goodbye implements the service.
func (s *service) Goodbye(ctx context.Context, _ *connect.Request[agentv1.GoodbyeRequest]) (*connect.Response[agentv1.GoodbyeResponse], error) {
	if err := s.o.Pools.Goodbye(ctx, callerOf(ctx).agent); err != nil {
		return nil, s.translate(ctx, err)
	}
	return connect.NewResponse(&agentv1.GoodbyeResponse{}), nil
}

// Remove implements the service.
func (s *service) Remove(ctx context.Context, _ *connect.Request[agentv1.RemoveRequest]) (*connect.Response[agentv1.RemoveResponse], error) {
	c := callerOf(ctx)
	if err := s.o.Pools.Remove(ctx, &c.Caller, c.agent); err != nil {
		return nil, s.translate(ctx, err)
	}
	return connect.NewResponse(&agentv1.RemoveResponse{}), nil
}

const (
	maxID   = 512
	maxName = 1024
	maxText = 16 << 10
)

// field is a text of a message, with its limit.
type field struct {
	name, value string
	limit       int
}

func checkFields(fields ...field) error {
	for _, f := range fields {
		if len(f.value) > f.limit {
			return invalid("%s has %d bytes; %d are the most", f.name, len(f.value), f.limit)
		}
	}
	return nil
}

// claim returns the claim that a call is about.
func (s *Server) claim(ctx context.Context, in *agentv1.Claim, fields ...field) (Claim, error) {
	c := Claim{Job: in.GetJob(), Attempt: int(in.GetAttempt()), Agent: callerOf(ctx).agent.ID}
	if c.Job == "" || len(c.Job) > maxID || c.Attempt < 1 {
		return c, invalid("the call names no job")
	}
	return c, checkFields(fields...)
}

// call does something about a claim.
func call[T any](ctx context.Context, s *service, in *agentv1.Claim, do func(c Claim) (*T, error), fields ...field) (*connect.Response[T], error) {
	c, err := s.claim(ctx, in, fields...)
	if err != nil {
		return nil, s.translate(ctx, err)
	}
	out, err := do(c)
	if err != nil {
		return nil, s.translate(ctx, err)
	}
	return connect.NewResponse(out), nil
}

// Acknowledge implements the service.
func (s *service) Acknowledge(ctx context.Context, in *connect.Request[agentv1.AcknowledgeRequest]) (*connect.Response[agentv1.AcknowledgeResponse], error) {
	return call(ctx, s, in.Msg.GetClaim(), func(c Claim) (*agentv1.AcknowledgeResponse, error) {
		return &agentv1.AcknowledgeResponse{}, s.o.Jobs.Acknowledge(ctx, c)
	})
}

// Renew implements the service.
func (s *service) Renew(ctx context.Context, in *connect.Request[agentv1.RenewRequest]) (*connect.Response[agentv1.RenewResponse], error) {
	return call(ctx, s, in.Msg.GetClaim(), func(c Claim) (*agentv1.RenewResponse, error) {
		l, err := s.o.Jobs.Renew(ctx, c)
		return &agentv1.RenewResponse{Cancel: l.Cancel, Reason: l.Reason}, err
	})
}

// Release implements the service.
func (s *service) Release(ctx context.Context, in *connect.Request[agentv1.ReleaseRequest]) (*connect.Response[agentv1.ReleaseResponse], error) {
	return call(ctx, s, in.Msg.GetClaim(), func(c Claim) (*agentv1.ReleaseResponse, error) {
		return &agentv1.ReleaseResponse{}, s.o.Jobs.Release(ctx, c, in.Msg.GetReason())
	}, field{"the reason", in.Msg.GetReason(), maxText})
}

// Complete implements the service.
func (s *service) Complete(ctx context.Context, in *connect.Request[agentv1.CompleteRequest]) (*connect.Response[agentv1.CompleteResponse], error) {
	return call(ctx, s, in.Msg.GetClaim(), func(c Claim) (*agentv1.CompleteResponse, error) {
		switch result := work.Result(in.Msg.GetResult()); result {
		case work.Succeeded, work.SucceededWithIssues, work.Failed, work.Canceled, work.Skipped, work.Abandoned:
			return &agentv1.CompleteResponse{}, s.o.Jobs.Complete(ctx, c, result, in.Msg.GetMessage())
		}
		return nil, invalid("%.40q is no result", in.Msg.GetResult())
	}, field{"the message", in.Msg.GetMessage(), maxText})
}

// maxRecords is how many records a call may tell.
const maxRecords = 2000

// Update implements the service.
func (s *service) Update(ctx context.Context, in *connect.Request[agentv1.UpdateRequest]) (*connect.Response[agentv1.UpdateResponse], error) {
	return call(ctx, s, in.Msg.GetClaim(), func(c Claim) (*agentv1.UpdateResponse, error) {
		var records []work.Record
		if err := json.Unmarshal(in.Msg.GetRecords(), &records); err != nil {
			return nil, invalid("the records can't be read: %v", err)
		}
		if len(records) > maxRecords {
			return nil, invalid("the call has %d records; %d are the most", len(records), maxRecords)
		}
		return &agentv1.UpdateResponse{}, s.o.Jobs.Server(c).Update(ctx, records)
	})
}

// AppendLog implements the service.
func (s *service) AppendLog(ctx context.Context, in *connect.Request[agentv1.AppendLogRequest]) (*connect.Response[agentv1.AppendLogResponse], error) {
	return call(ctx, s, in.Msg.GetClaim(), func(c Claim) (*agentv1.AppendLogResponse, error) {
		m := in.Msg
		if m.GetOffset() < 0 || len(m.GetData()) > rpc.MaxLogChunk {
			return nil, invalid("a part of a log has up to %d bytes, at an offset that is not negative", rpc.MaxLogChunk)
		}
		size, err := s.o.Jobs.Server(c).AppendLog(ctx, m.GetLog(), m.GetOffset(), m.GetData())
		if gap, ok := errors.AsType[*GapError](err); ok {
			return &agentv1.AppendLogResponse{Size: gap.Size, Gap: true}, nil
		}
		return &agentv1.AppendLogResponse{Size: size}, err
	}, field{"the log's id", in.Msg.GetLog(), maxID})
}

// Attach implements the service.
func (s *service) Attach(ctx context.Context, in *connect.Request[agentv1.AttachRequest]) (*connect.Response[agentv1.AttachResponse], error) {
	m := in.Msg
	return call(ctx, s, m.GetClaim(), func(c Claim) (*agentv1.AttachResponse, error) {
		if len(m.GetData()) > rpc.MaxAttachment {
			return nil, invalid("an attachment has up to %d bytes", rpc.MaxAttachment)
		}
		a := work.Attachment{Step: m.GetStep(), Type: m.GetType(), Name: m.GetName(), Data: m.GetData()}
		return &agentv1.AttachResponse{}, s.o.Jobs.Server(c).Attach(ctx, a)
	}, field{"the step's id", m.GetStep(), maxID}, field{"the type", m.GetType(), maxID}, field{"the name", m.GetName(), maxName})
}

// SetRunNumber implements the service.
func (s *service) SetRunNumber(ctx context.Context, in *connect.Request[agentv1.SetRunNumberRequest]) (*connect.Response[agentv1.SetRunNumberResponse], error) {
	return call(ctx, s, in.Msg.GetClaim(), func(c Claim) (*agentv1.SetRunNumberResponse, error) {
		return &agentv1.SetRunNumberResponse{}, s.o.Jobs.Server(c).SetRunNumber(ctx, in.Msg.GetNumber())
	}, field{"the number", in.Msg.GetNumber(), maxName})
}

// AddTag implements the service.
func (s *service) AddTag(ctx context.Context, in *connect.Request[agentv1.AddTagRequest]) (*connect.Response[agentv1.AddTagResponse], error) {
	return call(ctx, s, in.Msg.GetClaim(), func(c Claim) (*agentv1.AddTagResponse, error) {
		return &agentv1.AddTagResponse{}, s.o.Jobs.Server(c).AddTag(ctx, in.Msg.GetTag())
	}, field{"the tag", in.Msg.GetTag(), maxName})
}

// maxProperties bounds what an artifact says of itself.
const maxProperties = 100

// FinishArtifact implements the service.
func (s *service) FinishArtifact(ctx context.Context, in *connect.Request[agentv1.FinishArtifactRequest]) (*connect.Response[agentv1.FinishArtifactResponse], error) {
	m := in.Msg
	return call(ctx, s, m.GetClaim(), func(c Claim) (*agentv1.FinishArtifactResponse, error) {
		if len(m.GetProperties()) > maxProperties {
			return nil, invalid("an artifact has up to %d properties", maxProperties)
		}
		for name, value := range m.GetProperties() {
			if err := checkFields(field{"the name of a property", name, maxID}, field{"a property", value, maxText}); err != nil {
				return nil, err
			}
		}
		return &agentv1.FinishArtifactResponse{}, s.o.Jobs.Server(c).FinishArtifact(ctx, m.GetArtifact(), m.GetKind(), m.GetProperties())
	}, field{"the artifact's name", m.GetArtifact(), maxID}, field{"the kind", m.GetKind(), maxID})
}

// Artifacts implements the service.
func (s *service) Artifacts(ctx context.Context, in *connect.Request[agentv1.ArtifactsRequest]) (*connect.Response[agentv1.ArtifactsResponse], error) {
	return call(ctx, s, in.Msg.GetClaim(), func(c Claim) (*agentv1.ArtifactsResponse, error) {
		list, err := s.o.Jobs.Server(c).Artifacts(ctx, in.Msg.GetRun())
		out := &agentv1.ArtifactsResponse{}
		for _, a := range list {
			out.Artifacts = append(out.Artifacts, &agentv1.Artifact{Name: a.Name, Kind: a.Kind, Properties: a.Properties, Files: int32(a.Files), Size: a.Size})
		}
		return out, err
	})
}

// filesPage is how many files are listed at a time.
const filesPage = 5000

// Files implements the service.
func (s *service) Files(ctx context.Context, in *connect.Request[agentv1.FilesRequest]) (*connect.Response[agentv1.FilesResponse], error) {
	m := in.Msg
	return call(ctx, s, m.GetClaim(), func(c Claim) (*agentv1.FilesResponse, error) {
		out := &agentv1.FilesResponse{}
		skip := m.GetAfter() != ""
		for f, err := range s.o.Jobs.Server(c).Files(ctx, m.GetRun(), m.GetArtifact()) {
			if err != nil {
				return nil, err
			}
			if skip {
				skip = f.Name != m.GetAfter()
				continue
			}
			if len(out.Files) == filesPage {
				out.More = true
				break
			}
			out.Files = append(out.Files, &agentv1.File{Name: f.Name, Size: f.Size, Sha256: f.SHA256})
		}
		return out, nil
	}, field{"the artifact's name", m.GetArtifact(), maxID}, field{"the name of a file", m.GetAfter(), maxText})
}

// Runs implements the service.
func (s *service) Runs(ctx context.Context, in *connect.Request[agentv1.RunsRequest]) (*connect.Response[agentv1.RunsResponse], error) {
	m := in.Msg
	return call(ctx, s, m.GetClaim(), func(c Claim) (*agentv1.RunsResponse, error) {
		if len(m.GetTags()) > maxProperties {
			return nil, invalid("a query has up to %d tags", maxProperties)
		}
		runs, err := s.o.Jobs.Server(c).Runs(ctx, work.RunQuery{
			Project: m.GetProject(), Pipeline: m.GetPipeline(), Branch: m.GetBranch(), Tags: m.GetTags(), Run: m.GetRun(),
			AllowPartial: m.GetAllowPartial(), AllowFailed: m.GetAllowFailed(),
		})
		return &agentv1.RunsResponse{Runs: runs}, err
	}, field{"the project", m.GetProject(), maxID}, field{"the pipeline", m.GetPipeline(), maxID}, field{"the branch", m.GetBranch(), maxName})
}

// IdentityToken implements the service.
func (s *service) IdentityToken(ctx context.Context, in *connect.Request[agentv1.IdentityTokenRequest]) (*connect.Response[agentv1.IdentityTokenResponse], error) {
	return call(ctx, s, in.Msg.GetClaim(), func(c Claim) (*agentv1.IdentityTokenResponse, error) {
		text, err := s.o.Jobs.Server(c).IdentityToken(ctx, in.Msg.GetAudience())
		return &agentv1.IdentityTokenResponse{Token: text}, err
	}, field{"the audience", in.Msg.GetAudience(), maxName})
}

// Login implements the service.
func (s *service) Login(ctx context.Context, in *connect.Request[agentv1.LoginRequest]) (*connect.Response[agentv1.LoginResponse], error) {
	return call(ctx, s, in.Msg.GetClaim(), func(c Claim) (*agentv1.LoginResponse, error) {
		cred, err := s.o.Jobs.Server(c).Login(ctx)
		if err != nil || cred == nil {
			return &agentv1.LoginResponse{}, err
		}
		return &agentv1.LoginResponse{
			AccessKeyId: cred.AccessKeyID, SecretAccessKey: cred.SecretAccessKey, SessionToken: cred.SessionToken, Expires: timestamppb.New(cred.Expires),
		}, nil
	})
}

// maxNotify bounds how many people are told.
const maxNotify = 100

// Approve implements the service.
func (s *service) Approve(ctx context.Context, in *connect.Request[agentv1.ApproveRequest]) (*connect.Response[agentv1.ApproveResponse], error) {
	m := in.Msg
	return call(ctx, s, m.GetClaim(), func(c Claim) (*agentv1.ApproveResponse, error) {
		if len(m.GetNotify()) > maxNotify {
			return nil, invalid("up to %d people are told", maxNotify)
		}
		wait, cancel := context.WithTimeout(ctx, rpc.MaxWait)
		defer cancel()
		done := make(chan struct{})
		defer close(done)
		go func() {
			select {
			case <-s.stop:
				cancel()
			case <-done:
			}
		}()
		result, message, err := s.o.Jobs.Server(c).Approve(wait, m.GetStep(), m.GetInstructions(), m.GetNotify(), m.GetTimeout().AsDuration(), m.GetOnTimeout())
		if wait.Err() != nil && ctx.Err() == nil && result == "" { // the agent asks again
			return &agentv1.ApproveResponse{}, nil
		}
		return &agentv1.ApproveResponse{Result: string(result), Message: message}, err
	}, field{"the step's id", m.GetStep(), maxID}, field{"the instructions", m.GetInstructions(), maxText}, field{"what happens in the end", m.GetOnTimeout(), maxID})
}
