package agent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/sekisho/sekisho/internal/agent/rpc"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1/agentv1connect"
)

// Route says how the server is reached.
type Route struct {
	URL    string
	Proxy  string // URL; empty: as the environment says
	CAFile string // PEM, authorities beside the system's; empty: none
}

// transport returns what connects.
func (r *Route) transport() (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: rpc.MaxWait + 30*time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   4,
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		// A connection that died without a word is noticed before a job's lease ends.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
	}
	if r.Proxy != "" {
		u, err := url.Parse(r.Proxy)
		if err != nil || u.Host == "" {
			return nil, errors.New("the proxy is not a URL; one is http://proxy.example.com:3128") // it may have a password in it
		}
		t.Proxy = http.ProxyURL(u)
	}
	if r.CAFile != "" {
		text, err := os.ReadFile(r.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate in PEM form", r.CAFile)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return t, nil
}

// client calls the server: for everybody, for who has a credential, and for an agent with its key.
type client struct {
	agentv1connect.AgentServiceClient
	base  string
	http  *http.Client // signs
	plain *http.Transport
}

// newClient returns a client. Of a signer without a key, it makes calls that need none.
func newClient(r *Route, s *signer) (*client, error) {
	t, err := r.transport()
	if err != nil {
		return nil, err
	}
	s.under = t
	c := &client{base: r.URL, plain: t, http: &http.Client{
		Transport:     s,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // with its secrets elsewhere? no
	}}
	c.AgentServiceClient = agentv1connect.NewAgentServiceClient(c.http, r.URL, connect.WithReadMaxBytes(rpc.MaxJob+1<<20))
	s.tokens = agentv1connect.NewAgentServiceClient(&http.Client{Transport: &keySigner{s}, CheckRedirect: c.http.CheckRedirect}, r.URL)
	return c, nil
}

func (c *client) close() { c.plain.CloseIdleConnections() }

// signer adds token and proof to the calls of an agent. It gets tokens by itself, and sets its clock by the server's.
type signer struct {
	key           crypto.Signer // nil: calls are sent as they are
	agent         string        // id; empty: calls get a proof and no token
	authorization string        // of calls without a token; empty: none
	userAgent     string
	under         http.RoundTripper
	tokens        agentv1connect.AgentServiceClient
	now           func() time.Time // nil: time.Now

	mu     sync.Mutex
	token  string        // guarded by mu
	renew  time.Time     // guarded by mu; when to get another token
	offset time.Duration // guarded by mu; of the server's clock from ours
}

func (s *signer) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.timeLocked()
}

func (s *signer) timeLocked() time.Time {
	if s.now != nil {
		return s.now().Add(s.offset)
	}
	return time.Now().Add(s.offset)
}

// RoundTrip implements [http.RoundTripper]. What the server refuses for the clock or for the token is sent once again.
func (s *signer) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := payloadOf(r)
	if err != nil {
		return nil, err
	}
	for again := 0; ; again++ {
		token := ""
		if s.key != nil && s.agent != "" {
			if token, err = s.current(r.Context()); err != nil {
				return nil, err
			}
		}
		resp, err := s.send(r, token, body)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || again == 2 || s.key == nil {
			return resp, err
		}
		switch resp.Header.Get(rpc.ReasonHeader) {
		case rpc.ReasonClock:
			if !s.setClock(resp) {
				return resp, nil
			}
		case rpc.ReasonToken:
			s.mu.Lock()
			if s.token == token {
				s.token = ""
			}
			s.mu.Unlock()
		default:
			return resp, nil
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
		_ = resp.Body.Close()
	}
}

// payload is the body of a request, which can be sent again and again.
type payload struct {
	open func() (io.ReadCloser, error)
	sum  [sha256.Size]byte
	size int64
}

// payloadKey is for the payload of a request whose body is too long to be held in memory.
type payloadKey struct{}

func payloadOf(r *http.Request) (*payload, error) {
	if p, ok := r.Context().Value(payloadKey{}).(*payload); ok {
		return p, nil
	}
	var text []byte
	if r.Body != nil {
		var err error
		text, err = io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	open := func() (io.ReadCloser, error) {
		if len(text) == 0 {
			return http.NoBody, nil
		}
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	return &payload{open: open, sum: sha256.Sum256(text), size: int64(len(text))}, nil
}

func (s *signer) send(r *http.Request, token string, body *payload) (*http.Response, error) {
	signed := r.Clone(r.Context())
	var err error
	if signed.Body, err = body.open(); err != nil {
		return nil, err
	}
	signed.ContentLength, signed.GetBody = body.size, body.open
	if s.userAgent != "" {
		signed.Header.Set("User-Agent", s.userAgent)
	}
	switch {
	case token != "":
		signed.Header.Set("Authorization", rpc.TokenScheme+" "+token)
	case s.authorization != "":
		signed.Header.Set("Authorization", s.authorization)
	}
	if s.key != nil {
		proof, err := rpc.Sign(s.key, r.Method, r.URL.RequestURI(), token, body.sum, s.clock())
		if err != nil {
			return nil, err
		}
		signed.Header.Set(rpc.ProofHeader, proof)
	}
	return s.under.RoundTrip(signed)
}

// setClock takes the time over from an answer.
func (s *signer) setClock(resp *http.Response) bool {
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset = 0
	s.offset = at.Add(500 * time.Millisecond).Sub(s.timeLocked()) // it has no fractions of seconds
	return true
}

// current returns a token that is good for a while.
func (s *signer) current(ctx context.Context) (string, error) {
	s.mu.Lock()
	if s.token != "" && s.timeLocked().Before(s.renew) {
		defer s.mu.Unlock()
		return s.token, nil
	}
	s.mu.Unlock()
	ctx = context.WithValue(ctx, payloadKey{}, nil) // a file that is on its way is not this call's
	resp, err := s.tokens.Token(ctx, connect.NewRequest(&agentv1.TokenRequest{AgentId: s.agent}))
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = resp.Msg.GetToken()
	s.renew = s.timeLocked().Add(resp.Msg.GetLife().AsDuration() * 2 / 3)
	return s.token, nil
}

// keySigner signs calls for tokens, which have none.
type keySigner struct{ s *signer }

func (k *keySigner) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := payloadOf(r)
	if err != nil {
		return nil, err
	}
	for again := 0; ; again++ {
		resp, err := k.s.send(r, "", body)
		if err != nil || again == 1 || resp.StatusCode != http.StatusUnauthorized || resp.Header.Get(rpc.ReasonHeader) != rpc.ReasonClock || !k.s.setClock(resp) {
			return resp, err
		}
		_ = resp.Body.Close()
	}
}

// reason returns why a call was refused, for those that say.
func reason(err error) string {
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e.Meta().Get(rpc.ReasonHeader)
	}
	return ""
}

// transient reports whether a call may succeed when it is made again.
func transient(err error) bool {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return true // the network
	}
	switch e.Code() {
	case connect.CodeUnavailable, connect.CodeUnknown, connect.CodeInternal, connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeResourceExhausted:
		return true
	}
	return false
}

// message returns what to tell people of an error of a call.
func message(err error) string {
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e.Message()
	}
	return err.Error()
}

// backoff waits longer from time to time, and never for long.
type backoff struct{ next time.Duration }

const (
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 10 * time.Second
)

// wait returns false when ctx ended.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(b.next*2, firstBackoff), maxBackoff)
	t := time.NewTimer(jitter(b.next))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retry makes a call until it succeeds, is refused, or ctx ends.
func retry[T any](ctx context.Context, do func(ctx context.Context) (T, error)) (T, error) {
	var b backoff
	for {
		out, err := do(ctx)
		if err == nil || ctx.Err() != nil || !transient(err) {
			return out, err
		}
		if !b.wait(ctx) {
			return out, err
		}
	}
}

// parseError reads the answer to a call that is no message.
func parseError(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	var body struct{ Code, Message string }
	code := connect.CodeUnknown
	switch {
	case json.Unmarshal(text, &body) == nil && body.Code != "":
		_ = code.UnmarshalText([]byte(body.Code))
	default:
		body.Message = resp.Status + ": " + strings.TrimSpace(string(text))
		switch resp.StatusCode {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			code = connect.CodeInvalidArgument
		case http.StatusNotFound:
			code = connect.CodeUnimplemented
		case http.StatusForbidden:
			code = connect.CodePermissionDenied
		default:
			code = connect.CodeUnavailable
		}
	}
	return connect.NewError(code, errors.New(body.Message))
}
