package agentapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sekisho/sekisho/internal/agent/rpc"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/iam/sigv4"
	"github.com/sekisho/sekisho/internal/pool"
)

func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

// service is the generated interface over a Server.
type service struct{ *Server }

// Hello implements the service.
func (s *service) Hello(context.Context, *connect.Request[agentv1.HelloRequest]) (*connect.Response[agentv1.HelloResponse], error) {
	return connect.NewResponse(&agentv1.HelloResponse{
		Version: s.o.Version, Protocol: rpc.Protocol, Region: s.o.Region, Account: s.o.Account, Time: timestamppb.New(s.o.Now()),
	}), nil
}

// attempt bounds what one address may try, around a call that shows a credential.
func (s *Server) attempt(ctx context.Context, do func(c *caller) error) error {
	c := callerOf(ctx)
	if err := s.o.Keys.Attempt(c.SourceIP); err != nil {
		return s.translate(ctx, err)
	}
	err := do(c)
	_, untrusted := errors.AsType[*oidc.Error](err)
	if untrusted || errors.Is(err, pool.ErrOf(pool.Refused)) {
		s.o.Keys.Refused(c.SourceIP)
	}
	return s.translate(ctx, err)
}

// person authenticates the Authorization header of a call.
func (s *Server) person(ctx context.Context, c *caller) error {
	if c.authorization == "" {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("the call has no credential"))
	}
	p, err := s.o.Keys.Authenticate(ctx, c.authorization, c.SourceIP)
	if err != nil {
		return err
	}
	c.Principal = *p
	return nil
}

// good is what a credential is good for.
type good struct {
	account  string
	pools    []string
	oneJob   bool
	agent    string
	by       string
	attested *pool.Attested
	code     string
}

// credential finds out what a credential is good for, and uses nothing up.
func (s *Server) credential(ctx context.Context, c *caller, cred *agentv1.Credential, key []byte) (*good, error) {
	account := s.o.Account
	if a := cred.GetAccount(); a != "" {
		if len(a) != 12 || strings.Trim(a, "0123456789") != "" {
			return nil, invalid("%.20q is not an account, which is 12 digits", a)
		}
		account = a
	}
	switch kind := cred.GetKind().(type) {
	case *agentv1.Credential_Code:
		code, account, err := s.o.Pools.CodePool(ctx, kind.Code)
		if err != nil {
			return nil, err
		}
		return &good{account: account, pools: []string{code.Pool}, oneJob: code.OneJob, agent: code.Agent, by: "a code of " + code.By, code: kind.Code}, nil
	case *agentv1.Credential_IdentityToken:
		if len(kind.IdentityToken) > oidc.MaxToken {
			return nil, invalid("the identity token has over %d bytes", oidc.MaxToken)
		}
		a, err := s.o.Pools.AttestToken(ctx, account, kind.IdentityToken)
		if err != nil {
			return nil, err
		}
		return &good{account: account, pools: a.Pools, attested: a, by: a.Subject()}, nil
	case *agentv1.Credential_SignedRequest:
		p, err := s.signedBy(ctx, c, kind.SignedRequest, key)
		if err != nil {
			return nil, err
		}
		a, err := s.o.Pools.AttestPrincipal(ctx, p)
		if err != nil {
			return nil, err
		}
		return &good{account: p.Account, pools: a.Pools, attested: a, by: a.Subject()}, nil
	}
	if err := s.person(ctx, c); err != nil {
		return nil, err
	}
	names, err := s.o.Pools.Joinable(ctx, &c.Caller)
	if err != nil {
		return nil, err
	}
	return &good{account: c.Account, pools: names, by: c.ARN}, nil
}

const (
	maxSignedHeaders = 20
	maxSignedHeader  = 4 << 10
)

// signedBy returns who signed a request for sts:GetCallerIdentity, that is for this server and for an agent of this key. One that is
// captured is good for nothing else: not at another server, and not with another key.
func (s *Server) signedBy(ctx context.Context, c *caller, in *agentv1.SignedRequest, key []byte) (*iam.Principal, error) {
	if len(in.GetHeaders()) > maxSignedHeaders {
		return nil, invalid("the signed request has over %d headers", maxSignedHeaders)
	}
	r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/"}, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	for name, value := range in.GetHeaders() {
		if len(name) > 128 || len(value) > maxSignedHeader {
			return nil, invalid("a header of the signed request is too long")
		}
		if strings.EqualFold(name, "Host") {
			r.Host = value
			continue
		}
		if canonical := http.CanonicalHeaderKey(name); r.Header[canonical] != nil {
			return nil, invalid("the signed request has the header %s twice", canonical)
		}
		r.Header.Set(name, value)
	}
	r.ContentLength = int64(len(rpc.IdentityBody))
	claim, err := sigv4.New(s.o.Now).Parse(r, sigv4.Scope{Region: s.o.Region, Services: []string{"sts"}, Global: []string{"sts"}})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{rpc.ServerHeader, rpc.KeyHeader} {
		if !claim.Signs(strings.ToLower(name)) {
			return nil, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("the signed request must sign the header %s", name))
		}
	}
	if server := r.Header.Get(rpc.ServerHeader); server == "" || !slices.Contains([]string{c.host, s.o.PublicHost}, server) {
		return nil, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("the signed request is for the server %.100q, and %q was called", server, c.host))
	}
	if r.Header.Get(rpc.KeyHeader) != rpc.KeyID(key) {
		return nil, connect.NewError(connect.CodePermissionDenied, errors.New("the signed request is for another agent's key"))
	}
	secret, p, err := s.o.Keys.SigningKey(ctx, claim.AccessKeyID, claim.SecurityToken, c.SourceIP)
	if err != nil {
		return nil, err
	}
	if err := sigv4.New(s.o.Now).Verify(claim, secret.Reveal(), sha256.Sum256([]byte(rpc.IdentityBody))); err != nil {
		if throttled := s.o.Keys.WrongSecret(claim.AccessKeyID, c.SourceIP); throttled != nil {
			err = throttled
		}
		return nil, err
	}
	return p, nil
}

// Check implements the service.
func (s *service) Check(ctx context.Context, in *connect.Request[agentv1.CheckRequest]) (out *connect.Response[agentv1.CheckResponse], err error) {
	err = s.attempt(ctx, func(c *caller) error {
		m := in.Msg
		g, err := s.credential(ctx, c, m.GetCredential(), m.GetPublicKey())
		if err != nil {
			return err
		}
		answer := &agentv1.CheckResponse{Pools: g.pools, OneJob: g.oneJob, Agent: g.agent, Principal: g.by}
		if m.GetAgent() != "" && slices.ContainsFunc(g.pools, func(name string) bool { return strings.EqualFold(name, m.GetPool()) }) {
			if answer.Taken, err = s.o.Pools.NameTaken(ctx, g.account, m.GetPool(), m.GetAgent()); err != nil {
				return err
			}
		}
		out = connect.NewResponse(answer)
		return nil
	})
	return out, err
}

func facts(f *agentv1.Facts) pool.Facts {
	return pool.Facts{
		Version: f.GetVersion(), OS: f.GetOs(), Arch: f.GetArch(), Host: f.GetHost(), System: f.GetCapabilities(), Reason: f.GetReason(),
	}
}

// Enroll implements the service.
func (s *service) Enroll(ctx context.Context, in *connect.Request[agentv1.EnrollRequest]) (out *connect.Response[agentv1.EnrollResponse], err error) {
	err = s.attempt(ctx, func(c *caller) error {
		m := in.Msg
		key, err := pool.ParseKey(m.GetPublicKey())
		if err != nil {
			return err
		}
		if err := s.verifyKey(c, "key "+rpc.KeyID(m.GetPublicKey()), key, http.MethodPost, ""); err != nil {
			return err
		}
		j := pool.Join{
			Pool: m.GetPool(), Name: m.GetName(), PublicKey: m.GetPublicKey(), Replace: m.GetReplace(), OneJob: m.GetOneJob(), Facts: facts(m.GetFacts()),
		}
		a, err := s.enrol(ctx, c, m.GetCredential(), j)
		if err != nil {
			return err
		}
		out = connect.NewResponse(&agentv1.EnrollResponse{AgentId: a.ID, Pool: a.Pool, Account: a.Account, Name: a.Name, OneJob: a.OneJob})
		return nil
	})
	return out, err
}

func (s *Server) enrol(ctx context.Context, c *caller, cred *agentv1.Credential, j pool.Join) (*pool.Agent, error) {
	if code, ok := cred.GetKind().(*agentv1.Credential_Code); ok { // one that this key has used up is good for the answer that was lost
		return s.o.Pools.RegisterByCode(ctx, &c.Caller, code.Code, j)
	}
	if cred.GetKind() == nil {
		if err := s.person(ctx, c); err != nil {
			return nil, err
		}
		return s.o.Pools.Register(ctx, &c.Caller, j)
	}
	g, err := s.credential(ctx, c, cred, j.PublicKey)
	if err != nil {
		return nil, err
	}
	return s.o.Pools.RegisterAttested(ctx, &c.Caller, g.attested, j)
}

// Token implements the service.
func (s *service) Token(ctx context.Context, in *connect.Request[agentv1.TokenRequest]) (*connect.Response[agentv1.TokenResponse], error) {
	c := callerOf(ctx)
	a, err := s.agent(ctx, in.Msg.GetAgentId())
	if err == nil {
		err = s.verify(c, a, http.MethodPost, "")
	}
	if err != nil {
		return nil, s.translate(ctx, err)
	}
	s.o.Pools.Heard(a.ID)
	t := newToken(a, s.o.Now())
	return connect.NewResponse(&agentv1.TokenResponse{Token: t.encode(s.o.Secrets[0]), Life: durationpb.New(TokenLife)}), nil
}
