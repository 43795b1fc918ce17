package awsapi

import (
	"context"
	"fmt"
	"reflect"

	"github.com/aws/smithy-go"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
)

// Call is who calls an operation and how the request came in.
type Call struct {
	*iam.Caller
	Origin httpx.Origin
}

// Service is an AWS service: how it is spoken, and its operations.
type Service struct {
	name string // in scopes of signatures
	wire wire
	o    ServiceOptions
	ops  map[string]*operation
}

// ServiceOptions are what services differ in.
type ServiceOptions struct {
	// Explain returns what an error of an operation is to clients, or nil if it is none of their business. Errors that
	// are a [smithy.APIError] already, and those of package iam, need no explanation.
	Explain func(error) smithy.APIError
	// Invalid returns the error that says that a member breaks a constraint.
	Invalid func(member, constraint string) smithy.APIError
	// Internal is the code of errors that are not explained.
	Internal string
	// Note, if not nil, puts what the input names into the event of the request.
	Note func(e *httpx.Event, in any)
}

// NewJSON returns a service that speaks AWS JSON. The header X-Amz-Target names its operations, after a prefix.
func NewJSON(signingName, targetPrefix string, o ServiceOptions) *Service {
	return &Service{name: signingName, wire: &jsonWire{prefix: targetPrefix}, o: o, ops: map[string]*operation{}}
}

// NewQuery returns a service that speaks the Query protocol with XML answers. The version and the namespace are those of
// its model.
func NewQuery(signingName, version, namespace string, o ServiceOptions) *Service {
	return &Service{name: signingName, wire: &queryWire{version: version, namespace: namespace}, o: o, ops: map[string]*operation{}}
}

// Op describes an operation.
type Op struct {
	Name    string
	MaxBody int64    // bytes; 0: DefaultMaxBody
	Members []Member // constraints of the input
}

// DefaultMaxBody is the longest body of an operation that does not say otherwise.
const DefaultMaxBody = 1 << 20

// operation is an Op with its function, the types gone.
type operation struct {
	name    string
	maxBody int64
	zeroes  zeroes // of the output
	// call decodes the input, calls and returns the output: a pointer.
	call func(ctx context.Context, c *Call, e *httpx.Event, decode func(in any) error) (any, error)
}

// Handle registers the function of an operation. It panics if the types can't be served, which depends on nothing but
// the program.
func Handle[In, Out any](s *Service, op Op, fn func(context.Context, *Call, *In) (*Out, error)) {
	if err := s.wire.check(reflect.TypeFor[In](), reflect.TypeFor[*Out]()); err != nil {
		panic(fmt.Sprintf("awsapi: operation %s: %v", op.Name, err))
	}
	checks, err := compile(reflect.TypeFor[In](), op.Members)
	if err != nil {
		panic(fmt.Sprintf("awsapi: operation %s: %v", op.Name, err))
	}
	o := &operation{name: op.Name, maxBody: op.MaxBody, zeroes: zeroesOf(reflect.TypeFor[Out]())}
	if o.maxBody == 0 {
		o.maxBody = DefaultMaxBody
	}
	o.call = func(ctx context.Context, c *Call, e *httpx.Event, decode func(any) error) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err
		}
		if s.o.Note != nil {
			s.o.Note(e, in)
		}
		if member, constraint := checks.broken(reflect.ValueOf(in).Elem()); constraint != "" {
			return nil, s.o.Invalid(member, constraint)
		}
		return fn(ctx, c, in)
	}
	s.ops[op.Name] = o
}
