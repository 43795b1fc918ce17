package awsapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/sigv4"
)

// Keys finds the secret of an access key, as [iam.Service] does.
type Keys interface {
	// SigningKey returns the secret of an access key and who acts with it. Errors: [iam.ErrUnknownKey],
	// [iam.ErrSessionToken], [iam.ErrSessionExpired], [iam.ErrThrottled].
	SigningKey(ctx context.Context, accessKeyID, sessionToken string, from netip.Addr) (iam.Secret, *iam.Principal, error)
	// WrongSecret is told that whoever used a key that is there did not have its secret. It returns nil, or the error to
	// answer with: [iam.ErrThrottled].
	WrongSecret(accessKeyID string, from netip.Addr) error
}

// Server answers requests for the services that it is made with, all at the path "/", as AWS's endpoints do.
type Server struct {
	// Admit, if not nil, is asked about each caller that came through a private endpoint, once it is known who it is, with
	// the name of the service and the action, as policies have it. Its error is answered.
	Admit func(c *iam.Caller, service, action string) error

	region   string
	keys     Keys
	verifier *sigv4.Verifier
	nobody   string // the secret of the keys that are not there
	bodies   *bodies
	targets  map[string]*Service // JSON services by prefix
	queries  []*Service
	unsigned *Service // whose form errors take where no service is known
}

// New returns a Server for a region. Signatures must be for it.
func New(region string, keys Keys, now func() time.Time, services ...*Service) *Server {
	s := &Server{
		region:   region,
		keys:     keys,
		verifier: sigv4.New(now),
		nobody:   rand.Text() + rand.Text(),
		bodies:   newBodies(),
		targets:  map[string]*Service{},
		unsigned: NewJSON("", "", ServiceOptions{Internal: "InternalFailure"}),
	}
	for _, svc := range services {
		switch w := svc.wire.(type) {
		case *jsonWire:
			s.targets[w.prefix] = svc
		case *queryWire:
			s.queries = append(s.queries, svc)
		}
	}
	return s
}

// Handles reports whether a request is for an AWS API rather than for what else there may be at "/".
func (s *Server) Handles(r *http.Request) bool {
	return r.URL.Path == "/" && (r.Method == http.MethodPost || strings.Contains(r.URL.RawQuery, "X-Amz-Signature="))
}

// Serve implements [httpx.Handler].
func (s *Server) Serve(w *httpx.Response, r *http.Request) error {
	w.Header()["X-Amzn-Requestid"] = []string{w.Event.RequestID}
	svc, err := s.serve(w, r)
	if err == nil || w.Written() {
		return err
	}
	e, status := explain(err, svc.wire.faults(), &svc.o, w.Event.RequestID)
	if werr := svc.wire.writeError(w, r, e, status); werr != nil {
		return fmt.Errorf("%w; and its answer: %w", err, werr)
	}
	return err
}

// serve returns the service that the request is for, also when it fails.
func (s *Server) serve(w *httpx.Response, r *http.Request) (*Service, error) {
	if w.Origin.Host != "" && w.Origin.Host != r.Host { // by a trusted proxy: the client signed its own name for us
		copied := *r
		copied.Host = w.Origin.Host
		r = &copied
	}
	if len(r.Header["X-Amz-Target"]) > 0 {
		return s.serveJSON(w, r)
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if len(s.queries) > 0 && (media == "application/x-www-form-urlencoded" || r.Method == http.MethodGet) {
		return s.serveQuery(w, r)
	}
	return s.unsigned, &unknownOperation{"The request has neither an X-Amz-Target header nor an Action parameter: it is for no AWS API."}
}

func (s *Server) serveJSON(w *httpx.Response, r *http.Request) (*Service, error) {
	target := r.Header.Get("X-Amz-Target")
	prefix, name, _ := strings.Cut(target, ".")
	svc := s.targets[prefix]
	if svc == nil || r.Method != http.MethodPost {
		return s.unsigned, &unknownOperation{fmt.Sprintf("No service here has the operation %.100q, which the X-Amz-Target header names.", target)}
	}
	op := svc.ops[name]
	if op == nil {
		return svc, &unknownOperation{fmt.Sprintf("The operation %.100q, which the X-Amz-Target header names, is not supported.", name)}
	}
	caller, body, err := s.authenticate(w, r, op.maxBody, svc)
	if err != nil {
		return svc, err
	}
	defer body.release()
	return svc, s.call(w, r, svc, op, caller.Caller, func(in any) error { return decodeJSON(body.bytes, in) })
}

func (s *Server) serveQuery(w *httpx.Response, r *http.Request) (*Service, error) {
	// Which service is meant, only the signature says.
	caller, body, err := s.authenticate(w, r, DefaultMaxBody, s.queries...)
	if e, ok := errors.AsType[*sigv4.Error](err); ok && e.Kind == sigv4.Missing && r.Method == http.MethodPost {
		return s.serveUnsigned(w, r, err)
	}
	if err != nil {
		return s.claimed(r), err
	}
	defer body.release()
	svc := caller.service
	raw := string(body.bytes)
	if r.Method == http.MethodGet {
		raw = r.URL.RawQuery
	}
	f, err := parseForm(raw)
	if err != nil {
		return svc, err
	}
	action, version := f.get("Action"), f.get("Version")
	op := svc.ops[action]
	if op == nil || version != svc.wire.(*queryWire).version {
		return svc, &unknownOperation{fmt.Sprintf("Could not find operation %.128s for version %.128s", action, version)}
	}
	return svc, s.call(w, r, svc, op, caller.Caller, f.decode)
}

// maxUnsigned is the longest body that is read for somebody unknown, in bytes.
const maxUnsigned = 64 << 10

// serveUnsigned serves the operations that need no signature. All others are refused with the error of a request that
// has none.
func (s *Server) serveUnsigned(w *httpx.Response, r *http.Request, refused error) (*Service, error) {
	svc := s.queries[0]
	if !slices.ContainsFunc(s.queries, (*Service).hasUnsigned) {
		return svc, refused
	}
	body, err := s.bodies.read(r, maxUnsigned)
	if err != nil {
		return svc, err
	}
	defer body.release()
	f, err := parseForm(string(body.bytes))
	if err != nil {
		return svc, err
	}
	action, version := f.get("Action"), f.get("Version")
	for _, svc := range s.queries {
		if op := svc.ops[action]; op != nil && op.unsigned && version == svc.wire.(*queryWire).version {
			caller := &iam.Caller{}
			caller.FactsOf(w, r)
			return svc, s.call(w, r, svc, op, caller, f.decode)
		}
	}
	return svc, refused
}

// claimed returns the service that a signature, which is not good, says that it is for, to answer in its form.
func (s *Server) claimed(r *http.Request) *Service {
	for _, svc := range s.queries {
		if scope := "/" + svc.name + "/aws4_request"; strings.Contains(r.Header.Get("Authorization"), scope) ||
			strings.Contains(r.URL.Query().Get("X-Amz-Credential"), scope) {
			return svc
		}
	}
	return s.queries[0]
}

func (s *Server) call(w *httpx.Response, r *http.Request, svc *Service, op *operation, c *iam.Caller, decode func(any) error) error {
	w.Event.Operation, w.Event.Action = op.name, svc.name+":"+op.name
	if c.Endpoint != "" && s.Admit != nil {
		if err := s.Admit(c, svc.name, w.Event.Action); err != nil {
			return err
		}
	}
	out, err := op.call(r.Context(), &Call{Caller: c, Origin: w.Origin}, &w.Event, decode)
	if err != nil {
		return err
	}
	return svc.wire.writeResult(w, r, op, out)
}

// Signed verifies the signature of a request for a service that is none of AWS's, and returns who signed and the body,
// which has at most maxBody bytes. Errors are those of signatures, see [sigv4.Error], and of [iam].
func (s *Server) Signed(w *httpx.Response, r *http.Request, service string, maxBody int64) (*iam.Caller, []byte, error) {
	if w.Origin.Host != "" && w.Origin.Host != r.Host { // by a trusted proxy: the client signed its own name for us
		copied := *r
		copied.Host = w.Origin.Host
		r = &copied
	}
	a, body, err := s.authenticate(w, r, maxBody, &Service{name: service})
	if err != nil {
		return nil, nil, err
	}
	defer body.release()
	return a.Caller, body.bytes, nil
}

// authenticated is a caller whose signature over the whole request was verified.
type authenticated struct {
	*iam.Caller
	service *Service // the one that the signature is for
}

// authenticate verifies the signature of a request for one of the services and returns its body, to be released.
func (s *Server) authenticate(w *httpx.Response, r *http.Request, maxBody int64, services ...*Service) (authenticated, *heldBody, error) {
	arrived := time.Now()
	scope := sigv4.Scope{Region: s.region}
	for _, svc := range services {
		scope.Services = append(scope.Services, svc.name)
		if svc.o.Global {
			scope.Global = append(scope.Global, svc.name)
		}
	}
	claim, err := s.verifier.Parse(r, scope)
	if err != nil {
		return authenticated{}, nil, err
	}
	secret, principal, err := s.keys.SigningKey(r.Context(), claim.AccessKeyID, claim.SecurityToken, w.Origin.Client)
	if errors.Is(err, iam.ErrUnknownKey) {
		return authenticated{}, nil, s.refuseUnknown(r, claim, maxBody)
	}
	if err != nil {
		return authenticated{}, nil, err
	}
	body, err := s.bodies.read(r, maxBody)
	if err != nil {
		return authenticated{}, nil, err
	}
	if err := s.verifier.Verify(claim, secret.Reveal(), sha256.Sum256(body.bytes)); err != nil {
		body.release()
		if throttled := s.keys.WrongSecret(claim.AccessKeyID, w.Origin.Client); throttled != nil {
			err = throttled
		}
		return authenticated{}, nil, err
	}
	a := authenticated{Caller: principal.Caller()}
	a.Arrived = arrived
	a.Caller.FactsOf(w, r)
	w.Event.Principal = a.ARN
	for _, svc := range services {
		if svc.name == claim.Service {
			a.service = svc
		}
	}
	return a, body, nil
}

// refuseUnknown does with a request under a key that is not there what is done with one under a key that is, and returns
// what a wrong secret would have got: it is nobody's business which keys there are.
func (s *Server) refuseUnknown(r *http.Request, claim *sigv4.Claim, maxBody int64) error {
	sum, err := hashBody(r, maxBody)
	if err != nil {
		return err
	}
	if err := s.verifier.Verify(claim, s.nobody, sum); err != nil {
		return err
	}
	return iam.ErrUnknownKey // for the sake of the form: nobody has that secret
}
