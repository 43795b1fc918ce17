// Package api is the server's own interface for people's tools: the command line, the console and scripts. One path an
// operation, /api/v1/<Operation>, with a JSON object each way, over the domain; beside it what is no object: events as
// they happen, logs, artifacts.
//
// It translates and decides nothing: who may do what is asked by the domain's services, of the same judge as for
// everything else. A member that an operation does not have is an error, so that a misspelt one does not get lost.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
)

// Prefix is where operations are.
const Prefix = "/api/v1/"

// SigningName is the service that signatures of requests are for.
const SigningName = "sekisho"

// maxBody bounds an operation's input, in bytes.
const maxBody = 1 << 20

// Service is what private endpoints that lead here list.
const Service = "api"

// Options are what a Server needs.
type Options struct {
	Auth   *iam.Service   // for names with passwords, and tokens
	Signed *awsapi.Server // for signatures
	// Admit is asked about each caller that came through a private endpoint.
	Admit func(c *iam.Caller, service, action string) error
	Now   func() time.Time
}

// Server answers requests below [Prefix].
type Server struct {
	o          Options
	operations map[string]operation
	streams    []stream
	alive      time.Duration

	stop     chan struct{} // closed when the server stops
	stopOnce sync.Once
}

// operation is what one path does, with its input decoded from JSON.
type operation struct {
	action string // as the log has it
	call   func(ctx context.Context, c *iam.Caller, input []byte) (any, error)
}

// stream is an operation whose answer is no JSON object.
type stream struct {
	method, pattern, action string
	serve                   func(w *httpx.Response, r *http.Request, c *iam.Caller) error
}

// New returns a server without operations.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Server{o: o, operations: map[string]operation{}, alive: alive, stop: make(chan struct{})}
}

// Nothing is the input, or the output, of operations that have none.
type Nothing struct{}

// Handle adds an operation.
func Handle[In, Out any](s *Server, name, action string, f func(ctx context.Context, c *iam.Caller, in *In) (Out, error)) {
	if _, ok := s.operations[name]; ok {
		panic("api: two operations " + name)
	}
	s.operations[name] = operation{action, func(ctx context.Context, c *iam.Caller, input []byte) (any, error) {
		in := new(In)
		if err := decode(input, in); err != nil {
			return nil, err
		}
		return f(ctx, c, in)
	}}
}

// Stream adds an operation with a method and a pattern as [http.ServeMux] has them, below [Prefix].
func (s *Server) Stream(method, pattern, action string, serve func(w *httpx.Response, r *http.Request, c *iam.Caller) error) {
	s.streams = append(s.streams, stream{method, pattern, action, serve})
}

// Handler returns what answers, when all operations are there.
func (s *Server) Handler() httpx.Handler {
	mux := http.NewServeMux()
	for _, st := range s.streams {
		mux.Handle(st.method+" "+Prefix+st.pattern, streamHandler{s, st})
	}
	return func(w *httpx.Response, r *http.Request) error {
		err := s.serve(w, r, mux)
		if err == nil || w.Written() {
			return err
		}
		return s.fail(w, err)
	}
}

// streamHandler carries a stream through the mux; it is never served by it.
type streamHandler struct {
	s *Server
	stream
}

func (streamHandler) ServeHTTP(http.ResponseWriter, *http.Request) {}

func (s *Server) serve(w *httpx.Response, r *http.Request, mux *http.ServeMux) error {
	h, pattern := mux.Handler(r)
	if st, ok := h.(streamHandler); ok {
		w.Event.Operation, w.Event.Action = strings.TrimPrefix(pattern, st.method+" "+Prefix), st.action
		c, _, err := s.caller(w, r, false)
		if err != nil {
			return err
		}
		if err := s.admit(c, st.action); err != nil {
			return err
		}
		match(mux, r)
		return st.serve(w, r, c)
	}
	name := strings.TrimPrefix(r.URL.Path, Prefix)
	op, ok := s.operations[name]
	if !ok {
		return &Error{Status: http.StatusNotFound, Code: CodeUnknownOperation, Message: fmt.Sprintf("there is no operation %.100q", name)}
	}
	w.Event.Operation, w.Event.Action = name, op.action
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return &Error{Status: http.StatusMethodNotAllowed, Code: CodeUnknownOperation, Message: "operations are called with POST"}
	}
	c, body, err := s.caller(w, r, true)
	if err != nil {
		return err
	}
	if err := s.admit(c, op.action); err != nil {
		return err
	}
	out, err := op.call(r.Context(), c, body)
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, out)
}

// match fills in the wildcards of a request's path.
func match(mux *http.ServeMux, r *http.Request) {
	mux.ServeHTTP(discard{}, r)
}

// discard is a response nobody sees.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

func (s *Server) admit(c *iam.Caller, action string) error {
	if c.Endpoint == "" || s.o.Admit == nil {
		return nil
	}
	return s.o.Admit(c, Service, action)
}

// caller returns who calls, and the body, which a signature covers.
func (s *Server) caller(w *httpx.Response, r *http.Request, withBody bool) (*iam.Caller, []byte, error) {
	authorization := r.Header.Get("Authorization")
	if strings.HasPrefix(authorization, "AWS4-") {
		c, body, err := s.o.Signed.Signed(w, r, SigningName, maxBody)
		return c, body, err
	}
	if authorization == "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="sekisho"`)
		return nil, nil, errNoCredential
	}
	arrived := time.Now()
	principal, err := s.o.Auth.Authenticate(r.Context(), authorization, w.Origin.Client)
	if err != nil {
		return nil, nil, err
	}
	c := principal.Caller()
	c.Arrived = arrived
	c.FactsOf(w, r)
	w.Event.Principal = c.ARN
	if !withBody {
		return c, nil, nil
	}
	body, err := httpx.ReadBody(r, maxBody)
	return c, body, err
}

// decode reads an operation's input. No bytes are an empty object.
func decode(input []byte, in any) error {
	if len(bytes.TrimSpace(input)) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(input))
	dec.DisallowUnknownFields()
	err := dec.Decode(in)
	if err == nil {
		if _, rest := dec.Token(); rest != io.EOF {
			err = errors.New("there is something after the object")
		}
	}
	if err == nil {
		return nil
	}
	e := &Error{Status: http.StatusBadRequest, Code: CodeInvalid, Message: "the body is not the JSON object that this operation takes: " + strings.TrimPrefix(err.Error(), "json: ")}
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		e.Field, e.Message = t.Field, fmt.Sprintf("%s is a JSON %s where a %s belongs", t.Field, t.Value, kindName(t.Type))
	}
	return e
}

// kindName names a type as people who write JSON do.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Slice, reflect.Array:
		return "list"
	case reflect.Map, reflect.Struct:
		return "object"
	}
	return "number"
}

func write(w *httpx.Response, status int, v any) error {
	text, err := encode(v)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, err = w.Write(text)
	return err
}
