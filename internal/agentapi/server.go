package agentapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/agent/rpc"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1/agentv1connect"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/pool"
)

// Keys authenticates people, and those who sign requests. [iam.Service] does.
type Keys interface {
	// Authenticate returns the principal of an Authorization header.
	Authenticate(ctx context.Context, authorization string, from netip.Addr) (*iam.Principal, error)
	SigningKey(ctx context.Context, accessKeyID, sessionToken string, from netip.Addr) (iam.Secret, *iam.Principal, error)
	WrongSecret(accessKeyID string, from netip.Addr) error
	// Attempt and Refused bound what an address can try.
	Attempt(from netip.Addr) error
	Refused(from netip.Addr)
}

// Options are those of [New]. All but PublicHost, Explain, Watch, Admit, Logger and Now are required.
type Options struct {
	Pools   *pool.Service
	Jobs    Jobs
	Keys    Keys
	Secrets [][]byte // for tokens; the first one signs
	Region  string
	Account string // that is meant where none is named
	Version string
	// PublicHost is a host, with its port if it has one, that signed requests may be for beside the one that is called. May be empty.
	PublicHost string
	// Explain returns what to tell of an error of another part of the server that is meant for whoever made the call, "" of others. May
	// be nil.
	Explain func(err error) string
	// Watch returns what is woken when a job begins to wait for an agent of a pool, until stop is called. May be nil: then it is noticed
	// a little later.
	Watch func(account, pool string) (wake <-chan struct{}, stop func())
	// Admit says whether a private endpoint, "" for none, leads here.
	Admit  func(endpoint string) error
	Logger *slog.Logger
	Now    func() time.Time
}

// Server answers agents.
type Server struct {
	o       Options
	handler http.Handler
	errors  *connect.ErrorWriter
	replays replays

	stop     chan struct{} // closed when the server stops: whoever waits for a job is answered
	stopOnce sync.Once

	mu      sync.Mutex
	waiting map[string]*waiter // guarded by mu; by agent
}

// waiter is a call that waits for a job.
type waiter struct{ cancel context.CancelFunc }

// New returns a Server.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, stop: make(chan struct{}), waiting: map[string]*waiter{}, errors: connect.NewErrorWriter()}
	s.replays.start = o.Now().Truncate(time.Second) // as coarse as the Date header, by which agents set their time
	_, s.handler = agentv1connect.NewAgentServiceHandler(&service{s}, connect.WithReadMaxBytes(maxMessage))
	return s
}

// Stop answers all who wait for a job, and lets nobody wait any more.
func (s *Server) Stop() { s.stopOnce.Do(func() { close(s.stop) }) }

// Handles reports whether a path is the protocol's.
func Handles(path string) bool { return strings.HasPrefix(path, rpc.Prefix) }

const (
	maxMessage = rpc.MaxAttachment + 64<<10
	maxSmall   = 64 << 10
)

// bodyLimits are those of the calls that are not small.
var bodyLimits = map[string]int64{
	"Enroll":    1 << 20,
	"Report":    1 << 20,
	"Update":    rpc.MaxRecords + maxSmall,
	"AppendLog": rpc.MaxLogChunk + maxSmall,
	"Attach":    maxMessage,
}

// caller is who makes a call, and from where. It travels in the context, because a handler of connect gets nothing else.
type caller struct {
	iam.Caller
	host          string // that was called
	authorization string
	proof         *rpc.Proof
	target        string
	agent         *pool.Agent // of calls by token
}

type callerKey struct{}

func callerOf(ctx context.Context) *caller { return ctx.Value(callerKey{}).(*caller) }

// Serve implements [httpx.Handler].
func (s *Server) Serve(w *httpx.Response, r *http.Request) error {
	c := &caller{host: w.Origin.Host, authorization: r.Header.Get("Authorization"), target: r.URL.RequestURI()}
	c.FactsOf(w, r)
	c.Arrived = time.Now()
	if s.o.Admit != nil {
		if err := s.o.Admit(c.Endpoint); err != nil {
			return s.fail(w, r, connect.NewError(connect.CodePermissionDenied, err))
		}
	}
	if header := r.Header.Get(rpc.ProofHeader); header != "" {
		var err error
		if c.proof, err = rpc.ParseProof(header); err != nil {
			return s.fail(w, r, connect.NewError(connect.CodeUnauthenticated, err))
		}
	}
	if r.URL.Path == rpc.FilesPath {
		return s.serveFile(w, r, c)
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/"+agentv1connect.AgentServiceName+"/")
	method := agentv1.File_sekisho_agent_v1_agent_proto.Services().Get(0).Methods().ByName(nameOf(name))
	if !ok || method == nil || r.Method != http.MethodPost {
		return &httpx.Error{Status: http.StatusNotFound, Message: "the agents' protocol has nothing there; is the agent newer than the server?"}
	}
	switch media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media {
	case "application/proto", "application/json":
	default: // nothing but unary calls: proxies pass them, and their errors have a status
		return &httpx.Error{Status: http.StatusUnsupportedMediaType, Message: "the agents' protocol takes application/proto and application/json"}
	}
	w.Event.Operation = "Agent" + name
	limit := bodyLimits[name]
	if limit == 0 {
		limit = maxSmall
	}
	if byToken(name) { // before the body: of those who are nobody, none is kept in memory
		if err := s.authenticate(r.Context(), c, r.Method); err != nil {
			return s.fail(w, r, err)
		}
		w.Event.Principal = c.agent.ARN
	}
	body, err := httpx.ReadBody(r, limit)
	if err != nil {
		return err
	}
	if c.proof != nil && c.proof.Body != sha256.Sum256(body) {
		return s.fail(w, r, connect.NewError(connect.CodeUnauthenticated, errors.New("the body is not the one that the proof is over")))
	}
	if name == "Acquire" || name == "Approve" || name == "Demand" { // an answer that is meant to be late
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(rpc.MaxWait + time.Minute))
	}
	request := r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
	request.Body = io.NopCloser(bytes.NewReader(body))
	note := &noted{}
	request = request.WithContext(context.WithValue(request.Context(), notedKey{}, note))
	s.handler.ServeHTTP(w, request)
	if c.Type != iam.Anonymous {
		w.Event.Principal = c.ARN
	}
	return note.err
}

// noted takes an error to the log, that its handler has answered.
type noted struct{ err error }

type notedKey struct{}

// fail answers an error.
func (s *Server) fail(w *httpx.Response, r *http.Request, err error) error {
	_ = s.errors.Write(w, r, err)
	return err
}

// byToken reports whether a call is one of an agent.
func byToken(name string) bool {
	switch name {
	case "Hello", "Check", "Enroll", "Demand", "JustInTime", "Retire", "Token":
		return false
	}
	return true
}

// unauthenticated is an error that the agent can tell from others.
func unauthenticated(reason, message string) *connect.Error {
	err := connect.NewError(connect.CodeUnauthenticated, errors.New(message))
	err.Meta().Set(rpc.ReasonHeader, reason)
	return err
}

// authenticate verifies token and proof and sets the agent of a call.
func (s *Server) authenticate(ctx context.Context, c *caller, method string) error {
	text, ok := strings.CutPrefix(c.authorization, rpc.TokenScheme+" ")
	if !ok {
		return unauthenticated(rpc.ReasonToken, "the call has no agent's token")
	}
	t, ok := parseToken(s.o.Secrets, text)
	if !ok {
		return unauthenticated(rpc.ReasonToken, "the token is not one of this server")
	}
	if !s.o.Now().Before(t.expires) {
		return unauthenticated(rpc.ReasonToken, "the token has expired")
	}
	a, err := s.agent(ctx, t.agent.String())
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(a.PublicKey); subtle.ConstantTimeCompare(sum[:], t.key[:]) != 1 {
		return unauthenticated(rpc.ReasonUnknown, "the token is of another key")
	}
	if err := s.verify(c, a, method, text); err != nil {
		return err
	}
	c.agent = a
	s.o.Pools.Heard(a.ID)
	return nil
}

// agent returns an agent that is there.
func (s *Server) agent(ctx context.Context, id string) (*pool.Agent, error) {
	if _, err := uuid.Parse(id); err != nil {
		return nil, unauthenticated(rpc.ReasonUnknown, "there is no such agent")
	}
	a, err := s.o.Pools.Agent(ctx, id)
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, unauthenticated(rpc.ReasonUnknown, "the agent was deleted or replaced: configure it again")
	}
	return a, nil
}

// verify checks that a call is proved by an agent's key.
func (s *Server) verify(c *caller, a *pool.Agent, method, token string) error {
	key, err := pool.ParseKey(a.PublicKey)
	if err != nil {
		return err
	}
	return s.verifyKey(c, a.ID, key, method, token)
}

func (s *Server) verifyKey(c *caller, who string, key any, method, token string) error {
	if c.proof == nil {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("the call has no proof by the agent's key"))
	}
	if err := c.proof.Verify(key, method, c.target, token); err != nil {
		return connect.NewError(connect.CodeUnauthenticated, err)
	}
	switch s.replays.take(who, c.proof, s.o.Now()) {
	case offClock:
		return unauthenticated(rpc.ReasonClock, "the time of the call is not the server's; the agent sets its own by the answer and tries again")
	case replayed:
		return connect.NewError(connect.CodeUnauthenticated, errors.New("the call was made before: each needs a proof of its own"))
	case tooMany:
		return connect.NewError(connect.CodeResourceExhausted, errors.New("the agent makes too many calls"))
	}
	return nil
}
