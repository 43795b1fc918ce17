package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// maxSimulation bounds what policy simulate reads, in bytes.
const maxSimulation = 64 << 20

func newPolicySimulate(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "simulate [FILE]",
		Short: "Decide requests under the policies given with them, and say why",
		Long: `Decide requests under the policies that are given with them, and print each
decision with its reasons. Nothing is asked of an instance.

FILE, or standard input, holds one case or a list of cases:

  {
    "name": "pull from the office",
    "request": {
      "principal": "arn:aws:iam::111122223333:user/alice",
      "action": "ecr:BatchGetImage",
      "resource": {"resource": "arn:aws:ecr:eu-west-1:111122223333:repository/app", "accountId": "111122223333"},
      "context": {"aws:SourceIp": "203.0.113.7", "aws:TagKeys": ["team", "stage"]}
    },
    "identityPolicies": [{"Version": "2012-10-17", "Statement": []}],
    "resourcePolicy": {"Version": "2012-10-17", "Statement": []},
    "permissionBoundaries": [],
    "sessionPolicy": null,
    "serviceControlPolicies": [{"orgIdentifier": "ou-1", "policies": []}],
    "resourceControlPolicies": [{"orgIdentifier": "ou-1", "policies": []}],
    "endpointPolicies": []
  }

A principal is an ARN, the name of a service, or {"type": "Anonymous"}. Each
policy is a document, or {"name": …, "policy": document}. Only the request is
needed. Where the resource has wildcards, the question is whether anything that
it matches is allowed.

Each result has the case's name, the decision (Allowed, ImplicitlyDenied or
ExplicitlyDenied) and the reasons in order; the result of a case that can't be
decided has "error" instead of these, and then the exit code is 1. A list of
cases gives a list of results. The output is JSON unless --output says otherwise.`,
		Example: `  sekisho policy simulate cases.json
  sekisho policy simulate -o table < case.json`,
		Args: usageOf(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("output") {
				c.output = asJSON
			}
			return c.simulate(cmd, args)
		},
	}
}

// simulation is a case as it is read.
type simulation struct {
	Name    string `json:"name"`
	Request struct {
		Principal json.RawMessage `json:"principal"`
		Action    string          `json:"action"`
		Resource  struct {
			Resource  string `json:"resource"`
			AccountID string `json:"accountId"`
		} `json:"resource"`
		Context map[string]json.RawMessage `json:"context"`
	} `json:"request"`
	IdentityPolicies        []json.RawMessage `json:"identityPolicies"`
	ResourcePolicy          json.RawMessage   `json:"resourcePolicy"`
	PermissionBoundaries    []json.RawMessage `json:"permissionBoundaries"`
	SessionPolicy           json.RawMessage   `json:"sessionPolicy"`
	ServiceControlPolicies  []simulatedLevel  `json:"serviceControlPolicies"`
	ResourceControlPolicies []simulatedLevel  `json:"resourceControlPolicies"`
	EndpointPolicies        []json.RawMessage `json:"endpointPolicies"`
}

type simulatedLevel struct {
	OrgIdentifier string            `json:"orgIdentifier"`
	Policies      []json.RawMessage `json:"policies"`
}

// simulated is the result of a case.
type simulated struct {
	Name     string          `json:"name"`
	Decision string          `json:"decision,omitempty"`
	Reasons  []policy.Reason `json:"reasons,omitempty"`
	Error    *caseError      `json:"error,omitempty"`
}

// caseError says which field of a case can't be used and why.
type caseError struct {
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

func (e *caseError) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

func (c *cli) simulate(cmd *cobra.Command, args []string) error {
	doc, err := readCases(cmd, args)
	if err != nil {
		return err
	}
	cases := []json.RawMessage{doc}
	list := bytes.HasPrefix(doc, []byte("["))
	if list {
		if err := json.Unmarshal(doc, &cases); err != nil {
			return fmt.Errorf("the cases are no JSON: %w", positioned(doc, err))
		}
	}
	results := make([]simulated, len(cases))
	t := &table{header: []string{"CASE", "DECISION", "BECAUSE"}}
	failed := 0
	for i, raw := range cases {
		r := simulateCase(raw)
		results[i] = r
		for _, field := range unknownFields(raw) {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s is no field of a case, and is left out\n", caseName(r, i), field)
		}
		switch {
		case r.Error != nil:
			failed++
			t.add(r.Name, "error", r.Error.Error())
		default:
			last := r.Reasons[len(r.Reasons)-1]
			t.add(r.Name, r.Decision, withStatement(strings.TrimPrefix(last.Text, r.Decision+" "), last.Statement, last.Policy))
		}
	}
	var v any = results
	if !list {
		v = results[0]
	}
	if err := c.print(cmd, v, t); err != nil {
		return err
	}
	if failed > 0 {
		for i, r := range results {
			if r.Error != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", caseName(r, i), r.Error)
			}
		}
		return fmt.Errorf("%d of %d cases can't be decided", failed, len(results))
	}
	return nil
}

// caseName names the case with an index in messages.
func caseName(r simulated, i int) string {
	if r.Name != "" {
		return r.Name
	}
	return fmt.Sprintf("case %d", i+1)
}

// unknownFields returns the fields of a case that nobody reads, sorted: a policy
// or a context in one of them would go unnoticed. What only people and tests read may be there.
func unknownFields(raw json.RawMessage) []string {
	fields := map[string]json.RawMessage{}
	request := map[string]json.RawMessage{}
	resource := map[string]json.RawMessage{}
	// What is no object is told of as an error of the case.
	_ = json.Unmarshal(raw, &fields)
	_ = json.Unmarshal(fields["request"], &request)
	_ = json.Unmarshal(request["resource"], &resource)
	var unknown []string
	for _, part := range []struct {
		prefix string
		fields map[string]json.RawMessage
		known  []string
	}{
		{"", fields, []string{"name", "request", "identityPolicies", "resourcePolicy", "permissionBoundaries", "sessionPolicy",
			"serviceControlPolicies", "resourceControlPolicies", "endpointPolicies", "description", "comment", "expected"}},
		{"request.", request, []string{"principal", "action", "resource", "context"}},
		{"request.resource.", resource, []string{"resource", "accountId"}},
	} {
		for name := range part.fields {
			if !slices.Contains(part.known, name) {
				unknown = append(unknown, part.prefix+name)
			}
		}
	}
	slices.Sort(unknown)
	return unknown
}

// formOf says what a field of a case must be.
func formOf(field string) string {
	switch field {
	case "request.resource":
		return `must be {"resource": an ARN or "*", "accountId": 12 digits}`
	case "request.context":
		return `must be an object of strings, or of lists of strings, by condition key`
	case "identityPolicies", "permissionBoundaries", "endpointPolicies", "serviceControlPolicies.policies", "resourceControlPolicies.policies":
		return "must be a list of policies"
	case "serviceControlPolicies", "resourceControlPolicies":
		return `must be a list of {"orgIdentifier": a name, "policies": a list of policies}`
	case "request", "":
		return "must be an object"
	default:
		return "must be a string"
	}
}

func readCases(cmd *cobra.Command, args []string) ([]byte, error) {
	in, name := cmd.InOrStdin(), "standard input"
	if len(args) == 1 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in, name = f, args[0]
	}
	doc, err := io.ReadAll(io.LimitReader(in, maxSimulation+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(doc) > maxSimulation {
		return nil, fmt.Errorf("%s has more than %d MiB", name, maxSimulation>>20)
	}
	if doc = bytes.TrimSpace(doc); len(doc) == 0 {
		return nil, fmt.Errorf("%s is empty; see sekisho policy simulate --help for the form of a case", name)
	}
	if !json.Valid(doc) {
		var v any
		return nil, fmt.Errorf("%s is no JSON: %w", name, positioned(doc, json.Unmarshal(doc, &v)))
	}
	return doc, nil
}

// positioned adds line and column to an error of the JSON parser.
func positioned(doc []byte, err error) error {
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	if !ok {
		return err
	}
	before := string(doc[:min(max(syntax.Offset-1, 0), int64(len(doc)))])
	return fmt.Errorf("line %d, column %d: %w", strings.Count(before, "\n")+1, len(before)-strings.LastIndexByte(before, '\n'), err)
}

// simulateCase decides one case.
func simulateCase(raw json.RawMessage) simulated {
	var s simulation
	if err := json.Unmarshal(raw, &s); err != nil {
		named := struct{ Name any }{}
		_ = json.Unmarshal(raw, &named)
		name, _ := named.Name.(string)
		wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
		if !ok {
			return simulated{Name: name, Error: &caseError{Message: err.Error()}}
		}
		return simulated{Name: name, Error: &caseError{Field: wrong.Field, Message: formOf(wrong.Field) + ", and is a JSON " + wrong.Value}}
	}
	r, p, err := s.compile()
	if err != nil {
		return simulated{Name: s.Name, Error: err}
	}
	trace := policy.Explain(r, p)
	return simulated{Name: s.Name, Decision: trace.Outcome.String(), Reasons: trace.Reasons}
}

// compile returns what the engine takes.
func (s *simulation) compile() (*policy.Request, *policy.Policies, *caseError) {
	r := &policy.Request{
		Action:          s.Request.Action,
		Resource:        s.Request.Resource.Resource,
		ResourceAccount: s.Request.Resource.AccountID,
		ResourcePattern: true,
	}
	var err *caseError
	if r.Principal, err = simulatedPrincipal(s.Request.Principal); err != nil {
		return nil, nil, err
	}
	if service, name, ok := strings.Cut(r.Action, ":"); !ok || service == "" || name == "" || strings.ContainsAny(r.Action, "*? ") {
		return nil, nil, &caseError{"request.action", fmt.Sprintf("%q is no action; write service:Action", r.Action)}
	}
	if r.Resource == "" {
		return nil, nil, &caseError{"request.resource.resource", `is missing; write an ARN, or "*" for an action without a resource`}
	}
	if r.ResourceAccount == "" {
		if parts := strings.SplitN(r.Resource, ":", 6); len(parts) == 6 && parts[0] == "arn" {
			r.ResourceAccount = parts[4]
		}
		if r.ResourceAccount == "" {
			r.ResourceAccount = r.Principal.Account
		}
	}
	if r.Context, err = simulatedContext(s.Request.Context); err != nil {
		return nil, nil, err
	}
	var p policy.Policies
	c := &policyCompiler{}
	p.Identity = c.list(s.IdentityPolicies, "identityPolicies", policy.Identity)
	p.Boundaries = c.list(s.PermissionBoundaries, "permissionBoundaries", policy.Identity)
	p.Endpoint = c.list(s.EndpointPolicies, "endpointPolicies", policy.Endpoint)
	p.Resource = c.one(s.ResourcePolicy, "resourcePolicy", policy.Resource)
	p.Session = c.one(s.SessionPolicy, "sessionPolicy", policy.Identity)
	p.ServiceControl = c.levels(s.ServiceControlPolicies, "serviceControlPolicies", policy.ServiceControl)
	p.ResourceControl = c.levels(s.ResourceControlPolicies, "resourceControlPolicies", policy.ResourceControl)
	return r, &p, c.err
}

// simulatedPrincipal returns who an ARN, the name of a service or {"type": "Anonymous"} is.
func simulatedPrincipal(raw json.RawMessage) (policy.Principal, *caseError) {
	const field = "request.principal"
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		var o struct {
			Type string `json:"type"`
			ARN  string `json:"arn"`
		}
		if err := json.Unmarshal(raw, &o); err != nil {
			return policy.Principal{}, &caseError{field, `write an ARN, the name of a service, or {"type": "Anonymous"}`}
		}
		if strings.EqualFold(o.Type, "Anonymous") {
			return policy.Principal{}, nil
		}
		if s = o.ARN; s == "" {
			return policy.Principal{}, &caseError{field + ".type", fmt.Sprintf("%q is unknown; other principals than {\"type\": \"Anonymous\"} are written as an ARN", o.Type)}
		}
	}
	p, err := policy.ParsePrincipal(s)
	if err != nil {
		return p, &caseError{field, err.Error()}
	}
	return p, nil
}

func simulatedContext(context map[string]json.RawMessage) (policy.MapContext, *caseError) {
	m := make(policy.MapContext, len(context))
	for k, raw := range context {
		items := []json.RawMessage{raw}
		if bytes.HasPrefix(raw, []byte("[")) {
			if err := json.Unmarshal(raw, &items); err != nil {
				return nil, &caseError{"request.context." + k, err.Error()}
			}
		}
		values := []string{}
		for _, item := range items {
			var v any
			dec := json.NewDecoder(bytes.NewReader(item))
			dec.UseNumber()
			if err := dec.Decode(&v); err != nil {
				return nil, &caseError{"request.context." + k, err.Error()}
			}
			switch v := v.(type) {
			case string:
				values = append(values, v)
			case json.Number, bool:
				values = append(values, fmt.Sprint(v))
			default:
				return nil, &caseError{"request.context." + k, "must be a string or a list of strings"}
			}
		}
		m[strings.ToLower(k)] = values
	}
	return m, nil
}

// policyCompiler compiles the policies of a case up to the first that is none.
type policyCompiler struct{ err *caseError }

func (c *policyCompiler) list(docs []json.RawMessage, field string, k policy.Kind) []policy.Named {
	var all []policy.Named
	for i, doc := range docs {
		all = append(all, c.one(doc, fmt.Sprintf("%s[%d]", field, i), k)...)
	}
	return all
}

func (c *policyCompiler) levels(levels []simulatedLevel, field string, k policy.Kind) []policy.Level {
	var all []policy.Level
	for i, l := range levels {
		all = append(all, policy.Level{
			Name:     l.OrgIdentifier,
			Policies: c.list(l.Policies, fmt.Sprintf("%s[%d].policies", field, i), k),
		})
	}
	return all
}

// one compiles a document, which may be wrapped with its name; null is none.
func (c *policyCompiler) one(doc json.RawMessage, field string, k policy.Kind) []policy.Named {
	if len(doc) == 0 || string(doc) == "null" || c.err != nil {
		return nil
	}
	name := field
	var wrapped struct {
		Name   string          `json:"name"`
		Policy json.RawMessage `json:"policy"`
	}
	if json.Unmarshal(doc, &wrapped) == nil && wrapped.Policy != nil {
		doc = wrapped.Policy
		if wrapped.Name != "" {
			name = wrapped.Name
		}
	}
	var text string // a document that is itself in a string, as AWS's API has them
	if json.Unmarshal(doc, &text) == nil {
		doc = json.RawMessage(text)
	}
	p, err := policy.ParseLenient(doc, k)
	if err != nil {
		c.err = &caseError{field, err.Error()}
		return nil
	}
	return []policy.Named{{Name: name, Policy: p}}
}
