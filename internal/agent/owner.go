package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
)

// Owner makes the calls of whoever starts and ends agents of a pool. It is safe for concurrent use.
type Owner struct {
	o      OwnerOptions
	client *client
	public []byte // of a key for this process, that requests are signed for

	mu     sync.Mutex
	region string // guarded by mu; "" until the server has said it
}

// OwnerOptions are those of [NewOwner].
type OwnerOptions struct {
	Route
	Auth string // AuthPAT or AuthSTS
	// Token returns a personal access token, or an access key as "<id>:<secret>". It is asked before each call, so that it can be
	// replaced while the program runs. Only of AuthPAT.
	Token   func() (string, error)
	Version string
}

// NewOwner returns an Owner. The URL must be one that [CheckURL] returned.
func NewOwner(o OwnerOptions) (*Owner, error) {
	x := &Owner{o: o}
	s := &signer{userAgent: "sekisho-scale/" + o.Version}
	switch o.Auth {
	case AuthPAT:
	case AuthSTS:
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		if x.public, err = x509.MarshalPKIXPublicKey(public); err != nil {
			return nil, err
		}
		s.key = private
	default:
		return nil, fmt.Errorf("a pool's agents are started by somebody with %s or %s, not %q", AuthPAT, AuthSTS, o.Auth)
	}
	var err error
	x.client, err = newClient(&o.Route, s)
	return x, err
}

// Close ends its connections.
func (x *Owner) Close() { x.client.close() }

// caller returns what a call shows of who makes it.
func (x *Owner) caller(ctx context.Context) (header string, message *agentv1.Caller, err error) {
	token := ""
	if x.o.Auth == AuthPAT {
		if token, err = x.o.Token(); err != nil {
			return "", nil, err
		}
	}
	region := ""
	if x.o.Auth == AuthSTS {
		if region, err = x.regionOf(ctx); err != nil {
			return "", nil, err
		}
	}
	cred, err := newCredential(ctx, x.o.Auth, token, "", x.o.URL, region, x.public)
	if err != nil {
		return "", nil, err
	}
	if x.o.Auth == AuthSTS {
		message = &agentv1.Caller{SignedRequest: cred.message.GetSignedRequest(), PublicKey: x.public}
	}
	return cred.header, message, nil
}

func (x *Owner) regionOf(ctx context.Context) (string, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.region == "" {
		out, err := x.client.Hello(ctx, connect.NewRequest(&agentv1.HelloRequest{Version: x.o.Version}))
		if err != nil {
			return "", err
		}
		x.region = out.Msg.GetRegion()
	}
	return x.region, nil
}

// ownerCall makes a call of an Owner's.
func ownerCall[In, Out any](ctx context.Context, x *Owner, make func(c *agentv1.Caller) *In, do func(context.Context, *connect.Request[In]) (*connect.Response[Out], error)) (*Out, error) {
	header, who, err := x.caller(ctx)
	if err != nil {
		return nil, err
	}
	r := connect.NewRequest(make(who))
	if header != "" {
		r.Header().Set("Authorization", header)
	}
	out, err := do(ctx, r)
	if err != nil {
		return nil, err
	}
	return out.Msg, nil
}

// Demand returns what a pool has and needs, and its agents whose names begin with prefix. With a known state it waits for another
// one, as long as wait at most.
func (x *Owner) Demand(ctx context.Context, pool, prefix, known string, wait time.Duration) (*agentv1.DemandResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+30*time.Second)
	defer cancel()
	return ownerCall(ctx, x, func(c *agentv1.Caller) *agentv1.DemandRequest {
		return &agentv1.DemandRequest{Pool: pool, Prefix: prefix, Known: known, Wait: durationpb.New(wait), Caller: c}
	}, x.client.Demand)
}

// Code makes a code for an agent of one job.
func (x *Owner) Code(ctx context.Context, pool, name string) (code string, expires time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := ownerCall(ctx, x, func(c *agentv1.Caller) *agentv1.JustInTimeRequest {
		return &agentv1.JustInTimeRequest{Pool: pool, Agent: name, Caller: c}
	}, x.client.JustInTime)
	if err != nil {
		return "", time.Time{}, err
	}
	return out.GetCode(), out.GetExpires().AsTime(), nil
}

// Retire removes an agent that has no job and what was made for one of its name. busy: it has one, and nothing was done. unused: it
// had not joined.
func (x *Owner) Retire(ctx context.Context, pool, name string) (busy, unused bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := ownerCall(ctx, x, func(c *agentv1.Caller) *agentv1.RetireRequest {
		return &agentv1.RetireRequest{Pool: pool, Agent: name, Caller: c}
	}, x.client.Retire)
	return out.GetBusy(), out.GetUnused(), err
}

// Refused reports whether a call was refused for good: trying again changes nothing.
func Refused(err error) bool { return err != nil && !transient(err) }

// Message returns what to tell people of an error of a call.
func Message(err error) string { return message(err) }
