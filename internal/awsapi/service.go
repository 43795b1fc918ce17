package awsapi

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"

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
	// Invalid returns the error that says that a member breaks a constraint, for services that do not say it as most do:
	// "1 validation error detected: Value '…' at 'userName' failed to satisfy constraint: …".
	Invalid func(member, constraint string) smithy.APIError
	// Internal is the code of errors that are not explained.
	Internal string
	// Global is a service that AWS has one endpoint of for all regions, whose clients sign for us-east-1 wherever they are.
	// Signatures for the instance's own region are as good.
	Global bool
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
	MaxBody int64    // bytes, in JSON; 0, and always in the Query protocol: DefaultMaxBody
	Members []Member // constraints of the input
	// Unsigned is an operation of the Query protocol that is called with no signature, by an anonymous caller, whose body
	// has at most 64 KiB. If there is a signature nevertheless, it must be right.
	Unsigned bool
	// EmptyResult is an operation whose output has no members and which answers with a result element all the same.
	EmptyResult bool
}

// DefaultMaxBody is the longest body of an operation that does not say otherwise, in bytes.
const DefaultMaxBody = 1 << 20

// operation is an Op with its function, the types gone.
type operation struct {
	name    string
	maxBody int64
	zeroes  zeroes // of the output
	// unsigned and hasResult are of the Query protocol.
	unsigned, hasResult bool
	refused             bool // see Unsupported
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
	o := &operation{
		name: op.Name, maxBody: op.MaxBody, zeroes: zeroesOf(reflect.TypeFor[Out]()),
		unsigned: op.Unsigned, hasResult: op.EmptyResult || hasMembers(reflect.TypeFor[Out]()),
	}
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
		if found := checks.broken("", reflect.ValueOf(in).Elem(), nil); len(found) > 0 {
			return nil, s.invalid(found)
		}
		return fn(ctx, c, in)
	}
	s.ops[op.Name] = o
}

func (s *Service) invalid(found []violation) error {
	if s.o.Invalid == nil {
		return validationError(found)
	}
	first := found[0]
	if first.pattern != "" { // services with their own words have these too
		first.constraint = "must satisfy regular expression '" + first.pattern + "'"
	}
	return s.o.Invalid(first.path, first.constraint)
}

func hasMembers(out reflect.Type) bool {
	for i := range out.NumField() {
		if f := out.Field(i); f.IsExported() && f.Name != resultMetadata {
			return true
		}
	}
	return false
}

// Unsupported registers operations that AWS's service has and this one refuses, so that their callers are told apart from
// those who ask for what never was. The reason, a sentence, ends what they are told. It panics if one of them is served.
func Unsupported(s *Service, names []string, reason string) {
	for _, name := range names {
		if s.ops[name] != nil {
			panic("awsapi: operation " + name + " is served and unsupported")
		}
		s.ops[name] = &operation{name: name, maxBody: DefaultMaxBody, refused: true,
			call: func(context.Context, *Call, *httpx.Event, func(any) error) (any, error) {
				return nil, &unsupported{"The operation " + s.name + ":" + name + " is not supported by this server. " + reason}
			}}
	}
}

func (s *Service) hasUnsigned() bool {
	for _, op := range s.ops {
		if op.unsigned {
			return true
		}
	}
	return false
}

// Operations returns the names of the operations in order, and of each whether it is served rather than refused.
func (s *Service) Operations() iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		for _, name := range slices.Sorted(maps.Keys(s.ops)) {
			if !yield(name, !s.ops[name].refused) {
				return
			}
		}
	}
}
