package agentapi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sekisho/sekisho/internal/agent/rpc"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/pool"
)

// demandSlice is how long a demand that nothing is heard about is waited for before it is looked at again: agents come and go, and
// other nodes tell nothing of theirs.
const demandSlice = time.Second

// caller authenticates whoever makes a call for a pool: by the Authorization header, or by a request that is signed for the key that
// the call is proved by.
func (s *Server) caller(ctx context.Context, c *caller, in *agentv1.Caller) error {
	if in.GetSignedRequest() == nil {
		return s.person(ctx, c)
	}
	key, err := pool.ParseKey(in.GetPublicKey())
	if err != nil {
		return err
	}
	if err := s.verifyKey(c, "key "+rpc.KeyID(in.GetPublicKey()), key, http.MethodPost, ""); err != nil {
		return err
	}
	p, err := s.signedBy(ctx, c, in.GetSignedRequest(), in.GetPublicKey())
	if err != nil {
		return err
	}
	c.Principal = *p
	return nil
}

// Demand implements the service.
func (s *service) Demand(ctx context.Context, in *connect.Request[agentv1.DemandRequest]) (out *connect.Response[agentv1.DemandResponse], err error) {
	err = s.attempt(ctx, func(c *caller) error {
		if err := s.caller(ctx, c, in.Msg.GetCaller()); err != nil {
			return err
		}
		if err := checkFields(field{"known", in.Msg.GetKnown(), maxID}, field{"prefix", in.Msg.GetPrefix(), maxID}); err != nil {
			return err
		}
		answer, err := s.demand(ctx, c, in.Msg)
		if err == nil {
			out = connect.NewResponse(answer)
		}
		return err
	})
	return out, err
}

// demand answers when the state is another one than the caller knows, or when it has waited long enough.
func (s *service) demand(ctx context.Context, c *caller, in *agentv1.DemandRequest) (*agentv1.DemandResponse, error) {
	var wake <-chan struct{}
	if s.o.Watch != nil { // before the first look
		var stop func()
		wake, stop = s.o.Watch(c.Account, in.GetPool())
		defer stop()
	}
	wait := min(in.GetWait().AsDuration(), rpc.MaxWait)
	enough := time.NewTimer(wait)
	defer enough.Stop()
	again := time.NewTicker(demandSlice)
	defer again.Stop()
	for {
		answer, err := s.demandNow(ctx, c, in)
		if err != nil || in.GetKnown() == "" || answer.GetState() != in.GetKnown() || wait <= 0 {
			return answer, err
		}
		select {
		case <-wake:
		case <-again.C:
		case <-enough.C:
			return answer, nil
		case <-s.stop:
			return answer, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *service) demandNow(ctx context.Context, c *caller, in *agentv1.DemandRequest) (*agentv1.DemandResponse, error) {
	d, agents, err := s.o.Pools.DemandAgents(ctx, &c.Caller, in.GetPool(), func(ctx context.Context, p *pool.Pool) (int, error) {
		return s.o.Jobs.Queued(ctx, p.Account, p.Name)
	})
	if err != nil {
		return nil, err
	}
	answer := &agentv1.DemandResponse{Queued: int32(d.Queued), Busy: int32(d.Busy), Idle: int32(d.Idle), Desired: int32(d.Desired)}
	prefix := strings.ToLower(in.GetPrefix())
	for _, a := range agents {
		if prefix != "" && strings.HasPrefix(strings.ToLower(a.Name), prefix) {
			answer.Agents = append(answer.Agents, &agentv1.PoolAgent{Name: a.Name, Busy: a.Busy(), Online: a.Online, Over: a.Used(), Refuses: a.Refuses()})
		}
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(answer)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	answer.State = base64.RawURLEncoding.EncodeToString(sum[:16])
	return answer, nil
}

// JustInTime implements the service.
func (s *service) JustInTime(ctx context.Context, in *connect.Request[agentv1.JustInTimeRequest]) (out *connect.Response[agentv1.JustInTimeResponse], err error) {
	err = s.attempt(ctx, func(c *caller) error {
		if err := s.caller(ctx, c, in.Msg.GetCaller()); err != nil {
			return err
		}
		code, err := s.o.Pools.CreateCode(ctx, &c.Caller, in.Msg.GetPool(), in.Msg.GetAgent(), true)
		if err != nil {
			return err
		}
		out = connect.NewResponse(&agentv1.JustInTimeResponse{Code: code.Secret.Reveal(), Expires: timestamppb.New(code.Expires)})
		return nil
	})
	return out, err
}

// Retire implements the service.
func (s *service) Retire(ctx context.Context, in *connect.Request[agentv1.RetireRequest]) (out *connect.Response[agentv1.RetireResponse], err error) {
	err = s.attempt(ctx, func(c *caller) error {
		if err := s.caller(ctx, c, in.Msg.GetCaller()); err != nil {
			return err
		}
		r, err := s.o.Pools.Retire(ctx, &c.Caller, in.Msg.GetPool(), in.Msg.GetAgent())
		if err != nil {
			return err
		}
		if r.ID != "" {
			s.endWait(r.ID) // it is told at once
		}
		out = connect.NewResponse(&agentv1.RetireResponse{Busy: r.Busy, Unused: r.Unused})
		return nil
	})
	return out, err
}

// endWait answers an agent that waits for a job.
func (s *Server) endWait(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.waiting[id]; w != nil {
		w.cancel()
	}
}
