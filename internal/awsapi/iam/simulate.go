package iam

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/policy"
)

func (a *API) simulation(s *awsapi.Service) {
	handle(s, "SimulateCustomPolicy", a.simulateCustomPolicy)
	handle(s, "SimulatePrincipalPolicy", a.simulatePrincipalPolicy)
	handle(s, "GetContextKeysForCustomPolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.GetContextKeysForCustomPolicyInput) (*sdk.GetContextKeysForCustomPolicyOutput, error) {
			if err := a.Directory.May(ctx, c.Caller, "iam:GetContextKeysForCustomPolicy", directory.Ref{}); err != nil {
				return nil, err
			}
			policies, err := documents("PolicyInputList", in.PolicyInputList, policy.Identity)
			if err != nil {
				return nil, err
			}
			return &sdk.GetContextKeysForCustomPolicyOutput{ContextKeyNames: keysOf(policies)}, nil
		})
	handle(s, "GetContextKeysForPrincipalPolicy",
		func(ctx context.Context, c *awsapi.Call, in *sdk.GetContextKeysForPrincipalPolicyInput) (*sdk.GetContextKeysForPrincipalPolicyOutput, error) {
			subject, err := a.Directory.Subject(ctx, c.Caller, "iam:GetContextKeysForPrincipalPolicy", *in.PolicySourceArn)
			if err != nil {
				return nil, err
			}
			policies, err := documents("PolicyInputList", in.PolicyInputList, policy.Identity)
			if err != nil {
				return nil, err
			}
			return &sdk.GetContextKeysForPrincipalPolicyOutput{ContextKeyNames: keysOf(append(policies, subject.Identity...))}, nil
		})
}

// question is a simulation: every action on every resource.
type question struct {
	request   policy.Request // without action and resource
	policies  policy.Policies
	actions   []string
	resources []string
	// sources says of each policy, by its name, where it is from. Those that are not in it came with the question.
	sources map[string]types.PolicySourceType
	own     int // bytes of the principal's own policies
	// trust stands for the trust policies of the account's roles where the question has no resource policy. As at AWS the
	// answer is then what the principal's own policies say: those policies leave the decision to them.
	trust  []policy.Named
	marker *string
	limit  *int32
}

func (a *API) simulateCustomPolicy(ctx context.Context, c *awsapi.Call, in *sdk.SimulateCustomPolicyInput) (*sdk.SimulateCustomPolicyOutput, error) {
	if err := a.Directory.May(ctx, c.Caller, "iam:SimulateCustomPolicy", directory.Ref{}); err != nil {
		return nil, err
	}
	q := &question{actions: in.ActionNames, resources: in.ResourceArns, marker: in.Marker, limit: in.MaxItems}
	q.request.Principal = policy.Principal{Type: policy.User, Account: c.Account}
	var err error
	if q.policies.Identity, err = documents("PolicyInputList", in.PolicyInputList, policy.Identity); err != nil {
		return nil, err
	}
	err = q.add(c.Account, &given{
		boundaries: in.PermissionsBoundaryPolicyInputList, levels: in.OrderedOrganizationPolicyInputList,
		resource: in.ResourcePolicy, owner: in.ResourceOwner, caller: in.CallerArn, context: in.ContextEntries,
	})
	if err != nil {
		return nil, err
	}
	results, more, next, err := q.answer(ctx)
	if err != nil {
		return nil, err
	}
	return &sdk.SimulateCustomPolicyOutput{EvaluationResults: results, IsTruncated: more, Marker: next}, nil
}

func (a *API) simulatePrincipalPolicy(ctx context.Context, c *awsapi.Call, in *sdk.SimulatePrincipalPolicyInput) (*sdk.SimulatePrincipalPolicyOutput, error) {
	subject, err := a.Directory.Subject(ctx, c.Caller, "iam:SimulatePrincipalPolicy", *in.PolicySourceArn)
	if err != nil {
		return nil, err
	}
	q := &question{actions: in.ActionNames, resources: in.ResourceArns, marker: in.Marker, limit: in.MaxItems, sources: map[string]types.PolicySourceType{}}
	q.request.Principal = subject.Principal
	q.policies.Identity, q.policies.Boundaries = subject.Identity, subject.Boundaries
	_, q.own = q.measure()
	kind := types.PolicySourceType(subject.Kind)
	for _, p := range append(subject.Identity, subject.Boundaries...) {
		switch {
		case strings.HasPrefix(p.Name, "arn:aws:iam::aws:"):
			q.sources[p.Name] = types.PolicySourceTypeAwsManaged
		case strings.HasPrefix(p.Name, "arn:"):
			q.sources[p.Name] = types.PolicySourceTypeUserManaged
		case strings.Contains(p.Name, " of group "):
			q.sources[p.Name] = types.PolicySourceTypeGroup
		default:
			q.sources[p.Name] = kind
		}
	}
	more, err := documents("PolicyInputList", in.PolicyInputList, policy.Identity)
	if err != nil {
		return nil, err
	}
	q.policies.Identity = append(q.policies.Identity, more...)
	err = q.add(c.Account, &given{
		boundaries: in.PermissionsBoundaryPolicyInputList,
		resource:   in.ResourcePolicy, owner: in.ResourceOwner, caller: in.CallerArn, context: in.ContextEntries, known: subject.Context,
	})
	if err != nil {
		return nil, err
	}
	results, truncated, next, err := q.answer(ctx)
	if err != nil {
		return nil, err
	}
	return &sdk.SimulatePrincipalPolicyOutput{EvaluationResults: results, IsTruncated: truncated, Marker: next}, nil
}

// given is what both kinds of simulation take.
type given struct {
	boundaries              []string
	levels                  []types.OrderedOrganizationPolicyType
	resource, owner, caller *string
	context                 []types.ContextEntry
	known                   policy.MapContext // about the principal
}

// add makes the question about a resource, its owner and a caller, if they are given, and checks what is asked.
func (q *question) add(account string, g *given) error {
	var err error
	if g.boundaries != nil {
		q.policies.HasBoundary = true
		if q.policies.Boundaries, err = documents("PermissionsBoundaryPolicyInputList", g.boundaries, policy.Identity); err != nil {
			return err
		}
	}
	for i, level := range g.levels {
		name := fmt.Sprintf("OrderedOrganizationPolicyInputList.%d.ServiceControlPolicyInputList", i+1)
		policies, err := documents(name, level.ServiceControlPolicyInputList, policy.ServiceControl)
		if err != nil {
			return err
		}
		q.policies.ServiceControl = append(q.policies.ServiceControl, policy.Level{Name: name, Policies: policies})
	}
	if g.resource != nil {
		if q.policies.Resource, err = documents("ResourcePolicy", []string{*g.resource}, policy.Resource); err != nil {
			return err
		}
	}
	if g.caller != nil {
		owner, name, ok := strings.Cut(strings.TrimPrefix(*g.caller, "arn:aws:iam::"), ":user/")
		if !ok || name == "" || !isAccount(owner) {
			return invalidInput("Invalid CallerArn: it must be the ARN of a user.")
		}
		q.request.Principal = policy.Principal{Type: policy.User, ARN: *g.caller, Account: owner}
		account = owner
	}
	if g.owner != nil {
		owner := strings.TrimSuffix(strings.TrimPrefix(*g.owner, "arn:aws:iam::"), ":root")
		if !isAccount(owner) {
			return invalidInput("Invalid ResourceOwner: it must be the ARN of an account, like arn:aws:iam::123456789012:root.")
		}
		account = owner
	}
	q.request.ResourceAccount = account
	if g.resource == nil && account == q.request.Principal.Account {
		q.trust, err = documents("trust", []string{`{"Statement":{"Effect":"Allow","Principal":{"AWS":"` + account + `"},"Action":"sts:*","Resource":"*"}}`}, policy.Resource)
		if err != nil {
			return err
		}
	}
	if _, size := q.measure(); size-q.own > maxSimulated {
		return invalidInput(fmt.Sprintf("The policies of the simulation have %d bytes together; at most %d are taken.", size-q.own, maxSimulated))
	}
	if q.request.Context, err = contextOf(g.context, g.known); err != nil {
		return err
	}
	if len(q.resources) == 0 {
		q.resources = []string{"*"}
	}
	for _, action := range q.actions {
		service, name, ok := strings.Cut(action, ":")
		if !ok || service == "" || name == "" || strings.ContainsAny(action, "*? ") {
			return invalidInput("Invalid action name: " + strconv.Quote(action) + ". An action is a service and a name, like ecr:PutImage, without wildcards.")
		}
	}
	for _, resource := range q.resources {
		if resource != "*" && (!strings.HasPrefix(resource, "arn:") || strings.Count(resource, ":") < 5) {
			return invalidInput("Invalid resource ARN: " + strconv.Quote(resource))
		}
	}
	return nil
}

// contextOf returns the condition keys that a simulation is given, over those that are known of the principal.
func contextOf(entries []types.ContextEntry, known policy.MapContext) (policy.MapContext, error) {
	keys := policy.MapContext{}
	for name, values := range known {
		keys[name] = values
	}
	seen := map[string]bool{}
	for _, e := range entries {
		name := strings.ToLower(value(e.ContextKeyName))
		switch {
		case name == "" || e.ContextKeyType == "":
			return nil, invalidInput("Invalid context entry: it needs a ContextKeyName and a ContextKeyType.")
		case seen[name]:
			return nil, invalidInput("Invalid context entry: " + strconv.Quote(*e.ContextKeyName) + " is there twice.")
		case len(e.ContextKeyValues) > 1 && !strings.HasSuffix(string(e.ContextKeyType), "List"):
			return nil, invalidInput("Invalid context entry: " + strconv.Quote(*e.ContextKeyName) + " has several values, and is no list.")
		}
		if slices.ContainsFunc(e.ContextKeyValues, func(v string) bool { return len(v) > maxKeyValue }) {
			return nil, invalidInput(fmt.Sprintf("Invalid context entry: a value of %.256q is longer than %d bytes.", *e.ContextKeyName, maxKeyValue))
		}
		seen[name] = true
		keys[name] = e.ContextKeyValues
	}
	return keys, nil
}

// Limits of ours on what a simulation costs: AWS has none that it tells.
const (
	maxSimulated  = 256 << 10 // bytes of all documents that come with a question
	maxKeyValue   = 2048      // bytes of a value of a condition key
	maxStatements = 20_000    // looked at for a page, which is cut short at that
)

// answer evaluates a page of the question: each action on the first resource, on the second, and so on, actions in order.
// There is a result for each pair, which says the same in its only ResourceSpecificResult: older clients read the one,
// newer the other.
func (q *question) answer(ctx context.Context) (results []types.EvaluationResult, more bool, next *string, err error) {
	p, err := page(q.marker, q.limit)
	if err != nil {
		return nil, false, nil, err
	}
	total, first := len(q.actions)*len(q.resources), 0
	if p.After != "" {
		if first, err = strconv.Atoi(p.After); err != nil || first < 0 || first > total {
			return nil, false, nil, errMarker
		}
	}
	statements, _ := q.measure()
	last := min(first+p.Limit, first+max(1, maxStatements/max(1, statements)), total)
	results = make([]types.EvaluationResult, 0, last-first)
	for i := first; i < last; i++ {
		if err := ctx.Err(); err != nil {
			return nil, false, nil, err
		}
		results = append(results, q.evaluate(q.actions[i/len(q.resources)], q.resources[i%len(q.resources)]))
	}
	if last < total {
		next = new(base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(last))))
	}
	return results, last < total, next, nil
}

// measure returns how many statements there are in all policies, and how long their documents are.
func (q *question) measure() (statements, size int) {
	lists := [][]policy.Named{q.policies.Identity, q.policies.Boundaries, q.policies.Resource}
	for _, level := range q.policies.ServiceControl {
		lists = append(lists, level.Policies)
	}
	for _, list := range lists {
		for _, named := range list {
			statements += named.Policy.Statements()
			size += len(named.Policy.Document())
		}
	}
	return statements, size
}

var decisions = map[policy.Outcome]types.PolicyEvaluationDecisionType{
	policy.Allowed:      types.PolicyEvaluationDecisionTypeAllowed,
	policy.ExplicitDeny: types.PolicyEvaluationDecisionTypeExplicitDeny,
	policy.ImplicitDeny: types.PolicyEvaluationDecisionTypeImplicitDeny,
}

func (q *question) evaluate(action, resource string) types.EvaluationResult {
	r := q.request
	r.Action, r.Resource = action, resource
	policies := q.policies
	if len(policies.Resource) == 0 {
		policies.Resource = q.trust
	}
	outcome := policy.Decide(&r, &policies).Outcome
	result := types.EvaluationResult{
		EvalActionName: &action, EvalResourceName: &resource, EvalDecision: decisions[outcome],
		MatchedStatements:    q.matched(&r, outcome),
		MissingContextValues: policy.Missing(&r, q.policies.Identity, q.policies.Boundaries, q.policies.Resource),
	}
	if result.MissingContextValues == nil {
		result.MissingContextValues = []string{}
	}
	if q.policies.HasBoundary || len(q.policies.Boundaries) > 0 {
		allowed := verdict(&r, q.policies.Boundaries) == policy.Allowed
		result.PermissionsBoundaryDecisionDetail = &types.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: allowed}
	}
	if len(q.policies.ServiceControl) > 0 {
		allowed := true
		for _, level := range q.policies.ServiceControl {
			allowed = allowed && verdict(&r, level.Policies) == policy.Allowed
		}
		result.OrganizationsDecisionDetail = &types.OrganizationsDecisionDetail{AllowedByOrganizations: allowed}
	}
	if r.Principal.Account != r.ResourceAccount {
		result.EvalDecisionDetails = map[string]types.PolicyEvaluationDecisionType{
			"IAM Policy":      decisions[verdict(&r, q.policies.Identity)],
			"Resource Policy": decisions[verdict(&r, q.policies.Resource)],
		}
	}
	result.ResourceSpecificResults = []types.ResourceSpecificResult{{
		EvalResourceName: &resource, EvalResourceDecision: result.EvalDecision, MatchedStatements: result.MatchedStatements,
		MissingContextValues: result.MissingContextValues, EvalDecisionDetails: result.EvalDecisionDetails,
		PermissionsBoundaryDecisionDetail: result.PermissionsBoundaryDecisionDetail,
	}}
	return result
}

// verdict is what some of the policies say by themselves.
func verdict(r *policy.Request, policies []policy.Named) policy.Outcome {
	outcome := policy.ImplicitDeny
	for _, m := range policy.Matches(r, policies) {
		if m.Deny {
			return policy.ExplicitDeny
		}
		outcome = policy.Allowed
	}
	return outcome
}

// matched returns the statements that made the decision: those that deny or, where none does and that is enough, those that allow.
func (q *question) matched(r *policy.Request, outcome policy.Outcome) []types.Statement {
	found := []types.Statement{}
	add := func(policies []policy.Named, unnamed types.PolicySourceType) {
		for _, m := range policy.Matches(r, policies) {
			if outcome == policy.ImplicitDeny || m.Deny != (outcome == policy.ExplicitDeny) {
				continue
			}
			source, ok := q.sources[m.Policy]
			if !ok {
				source = unnamed
			}
			found = append(found, types.Statement{
				SourcePolicyId: new(strings.TrimPrefix(m.Policy, "inline policy ")), SourcePolicyType: source, StartPosition: position(m.Start), EndPosition: position(m.End),
			})
		}
	}
	add(q.policies.Identity, types.PolicySourceTypeNone)
	add(q.policies.Resource, types.PolicySourceTypeResource)
	if outcome == policy.ExplicitDeny {
		add(q.policies.Boundaries, types.PolicySourceTypeNone)
	}
	return found
}

func position(p policy.Position) *types.Position {
	return &types.Position{Line: int32(p.Line), Column: int32(p.Column)}
}

// documents parses the policies of a parameter, which they are named after.
func documents(parameter string, texts []string, kind policy.Kind) ([]policy.Named, error) {
	var policies []policy.Named
	for i, text := range texts {
		name := parameter
		if parameter != "ResourcePolicy" {
			name += "." + strconv.Itoa(i+1)
		}
		p, err := policy.ParseLenient([]byte(text), kind)
		if err != nil {
			return nil, invalidInput("Invalid policy at " + name + ": " + err.Error())
		}
		policies = append(policies, policy.Named{Name: name, Policy: p})
	}
	return policies, nil
}

// keysOf returns the condition keys of policies, each once.
func keysOf(policies []policy.Named) []string {
	names := []string{}
	for _, p := range policies {
		names = append(names, p.Policy.Keys()...)
	}
	fold := func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }
	slices.SortFunc(names, fold)
	return slices.CompactFunc(names, strings.EqualFold)
}

func isAccount(s string) bool { return len(s) == 12 && strings.Trim(s, "0123456789") == "" }

func invalidInput(message string) error {
	return &directory.Error{Kind: directory.InvalidInput, Message: message}
}
