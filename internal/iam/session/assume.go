package session

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/policy"
)

// Ask is what a session of a role is asked for with.
type Ask struct {
	Role       string        // ARN
	Name       string        // of the session
	Duration   time.Duration // 0 for an hour
	Policy     string        // a session policy, or ""
	PolicyARNs []string      // managed policies as session policies
}

// RoleAsk is what a role is assumed with.
type RoleAsk struct {
	Ask
	ExternalID     string // or ""
	SourceIdentity string // or ""; that of the caller's session stays
	Tags           []Tag
	Transitive     []string // keys of those tags that the next session of a chain has too
}

// Assumed is a session of a role.
type Assumed struct {
	Credentials    *iam.Credentials
	ARN, ID        string // of the session
	Packed         *int32 // percent of the room that there is for policies and tags; nil if there are none
	SourceIdentity string // or ""

	// Of a web identity.
	Provider string // ARN
	Audience string
	Subject  string
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// AssumeRole gives the caller a session of a role that trusts it. Errors: [*iam.DeniedError], [*Error].
func (s *Service) AssumeRole(ctx context.Context, c *iam.Caller, ask RoleAsk) (*Assumed, error) {
	account, err := checkRole(ask.Role)
	if err == nil {
		err = checkForm(ask.Name, "roleSessionName", sessionName)
	}
	if err == nil && ask.ExternalID != "" {
		err = checkForm(ask.ExternalID, "externalId", externalID)
	}
	if err == nil && ask.SourceIdentity != "" {
		err = checkForm(ask.SourceIdentity, "sourceIdentity", sessionName)
	}
	var inherited map[string]string
	var transitive []string
	source := ask.SourceIdentity
	if c.Session != nil {
		inherited, transitive = withKeys(c.Session.Tags, c.Session.Transitive), c.Session.Transitive
		if was := c.Session.SourceIdentity; was != "" {
			if source != "" && source != was {
				err = errf(AccessDenied, "The source identity of a session can't be changed: the calling session has another one.")
			}
			source = was
		}
	}
	if err == nil {
		err = checkTags(ask.Tags, ask.Transitive, inherited)
	}
	if err != nil {
		return nil, err
	}
	if c.Type != iam.User && c.Type != iam.Root && c.Type != iam.AssumedRole { // whatever a trust policy says
		r, d := iam.On(c, "sts:AssumeRole", ask.Role), iam.Decision{Reason: "because it showed no credentials"}
		s.judge.Note(c, r, d)
		return nil, d.Denied(c, r)
	}
	a := &assumption{
		service: s, caller: c, action: "sts:AssumeRole", account: account, ask: ask.Ask, tags: ask.Tags, transitive: ask.Transitive, source: source,
		keys: map[string][]string{},
	}
	if ask.ExternalID != "" {
		a.keys["sts:externalid"] = []string{ask.ExternalID}
	}
	if err := a.decide(ctx); err != nil {
		return nil, err
	}
	session := &iam.Session{SourceIdentity: source, Tags: inherited, Transitive: transitive}
	return a.begin(ctx, session, c.Type == iam.AssumedRole)
}

// assumption is a role on its way to be assumed.
type assumption struct {
	service    *Service
	caller     *iam.Caller
	action     string
	account    string
	ask        Ask
	tags       []Tag
	transitive []string
	source     string
	keys       map[string][]string // condition keys of the request

	role *directory.Role
}

// decide asks for every action that this needs. A role that is not there trusts nobody.
func (a *assumption) decide(ctx context.Context) error {
	role, trust, err := a.service.directory.Trusting(ctx, a.ask.Role)
	if err != nil {
		return err
	}
	res := iam.Resource{ARN: a.ask.Role, Account: a.account}
	if role != nil {
		res.Tags, res.Policies = tagMap(role.Tags), []policy.Named{trust}
	}
	actions := []string{a.action}
	a.keys["sts:rolesessionname"] = []string{a.ask.Name}
	if len(a.tags) > 0 {
		actions = append(actions, "sts:TagSession")
		for _, t := range a.tags {
			a.keys["aws:requesttag/"+strings.ToLower(t.Key)] = []string{t.Value}
			a.keys["aws:tagkeys"] = append(a.keys["aws:tagkeys"], t.Key)
		}
		if len(a.transitive) > 0 {
			a.keys["sts:transitivetagkeys"] = a.transitive
		}
	}
	if a.source != "" {
		actions = append(actions, "sts:SetSourceIdentity")
		a.keys["sts:sourceidentity"] = []string{a.source}
	}
	for _, action := range actions {
		r := &iam.Request{Action: action, Resource: res, Keys: a.keys}
		if err := a.service.judge.Check(ctx, a.caller, r); err != nil {
			return err
		}
		if role == nil { // an Authorizer that knows no trust policies
			return iam.Decision{Reason: "because no resource-based policy allows the " + action + " action"}.Denied(a.caller, r)
		}
	}
	a.role = role
	return nil
}

// begin makes the session, after decide. What it already has of the caller's is in session.
func (a *assumption) begin(ctx context.Context, session *iam.Session, chained bool) (*Assumed, error) {
	duration, err := checkDuration(a.ask.Duration, a.role.MaxSession, chained)
	if err != nil {
		return nil, err
	}
	if session.Policies, err = a.policies(ctx); err != nil {
		return nil, err
	}
	tags := make(map[string]string, len(a.tags)+len(session.Tags))
	maps.Copy(tags, session.Tags)
	for _, t := range a.tags {
		tags[t.Key] = t.Value
	}
	size, err := packed(a.ask.Policy, a.ask.PolicyARNs, tags)
	if err != nil {
		return nil, err
	}
	if len(tags) > 0 {
		session.Tags = tags
	}
	session.Transitive = append(session.Transitive[:len(session.Transitive):len(session.Transitive)], a.transitive...)
	session.Expires = a.service.o.Now().Add(duration)
	p := iam.Principal{
		Account: a.role.Account,
		ARN:     "arn:aws:sts::" + a.role.Account + ":assumed-role/" + a.role.Name + "/" + a.ask.Name,
		Type:    iam.AssumedRole,
		ID:      a.role.ID + ":" + a.ask.Name,
		Name:    a.ask.Name,
		Role:    a.role.ARN,
		Session: session,
	}
	detail := "as " + p.ARN
	if session.Provider != "" {
		detail += " for " + a.caller.Name
	}
	made, err := a.service.issue(ctx, a.caller, a.action, a.role.ARN, detail, iam.Grant{Principal: p})
	if err != nil {
		return nil, err
	}
	return &Assumed{Credentials: made, ARN: p.ARN, ID: p.ID, Packed: size, SourceIdentity: session.SourceIdentity}, nil
}

// policies returns the documents of the session policies, nil if there are none.
func (a *assumption) policies(ctx context.Context) ([]string, error) {
	var documents []string
	if a.ask.Policy != "" {
		if err := checkPolicy(a.ask.Policy); err != nil {
			return nil, err
		}
		documents = append(documents, a.ask.Policy)
	}
	if len(a.ask.PolicyARNs) > maxPolicyARNs {
		return nil, errf(PackedPolicyTooLarge, "A session can have at most %d managed policies as session policies.", maxPolicyARNs)
	}
	for _, arn := range a.ask.PolicyARNs {
		document, err := a.service.directory.Document(ctx, a.account, arn)
		if _, invalid := asDirectoryError(err); err != nil && !invalid {
			return nil, err
		}
		if document == "" {
			return nil, errf(ValidationError, "Policy %s does not exist or is not attachable.", arn)
		}
		documents = append(documents, document)
	}
	return documents, nil
}

func tagMap(tags []directory.Tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[t.Key] = t.Value
	}
	return m
}
