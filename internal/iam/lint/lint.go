package lint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// Kind says what a document is to be attached to.
type Kind string

// The kinds. The zero value is a guess from what the document says.
const (
	Identity   Kind = "identity"   // a user, group or role; a session
	Boundary   Kind = "boundary"   // a user or role, as its permissions boundary
	Resource   Kind = "resource"   // a resource of whatever service
	Repository Kind = "repository" // a repository of images
	Registry   Kind = "registry"   // all repositories of an account
	Secret     Kind = "secret"
	Trust      Kind = "trust" // a role: who may assume it
	Endpoint   Kind = "endpoint"
)

// Kinds are all that there are.
var Kinds = []Kind{Identity, Boundary, Resource, Repository, Registry, Secret, Trust, Endpoint}

func (k Kind) grammar() policy.Kind {
	switch k {
	case Identity, Boundary:
		return policy.Identity
	case Trust:
		return policy.Trust
	case Endpoint:
		return policy.Endpoint
	default:
		return policy.Resource
	}
}

func (k Kind) hasPrincipals() bool { return k != Identity && k != Boundary }

// Severity says how bad a finding is.
type Severity string

// The severities, the worst first.
const (
	Error   Severity = "error"   // refused by the server, or certainly not what was meant
	Warning Severity = "warning" // most likely not what was meant, or dangerous
	Note    Severity = "note"    // worth knowing; may well be meant
)

// Finding is one thing that is wrong.
type Finding struct {
	Severity  Severity `json:"severity"`
	Code      string   `json:"code"` // does not change
	Line      int      `json:"line"` // from 1
	Column    int      `json:"column"`
	Statement string   `json:"statement,omitempty"` // the Sid or, without one, the number from 1
	Message   string   `json:"message"`             // what is wrong
	Fix       string   `json:"fix,omitempty"`       // what to do
}

// Report is what there is to say about a document.
type Report struct {
	Kind     Kind      `json:"kind"` // what it was read as
	Findings []Finding `json:"findings"`
}

// Clean reports whether there is nothing worse than notes.
func (r *Report) Clean() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity != Note })
}

// Check returns what is wrong with a document, in its order. An empty kind is guessed.
func Check(doc []byte, k Kind) Report {
	if k == "" {
		k = guess(doc)
	}
	c := &checker{kind: k, budget: maxQuestions, suggestions: maxSuggestions, services: map[string]bool{}, expanded: map[string][]*action{}}
	p, err := policy.Parse(doc, k.grammar())
	if err != nil {
		at := start
		message := err.Error()
		if e, ok := errors.AsType[*policy.SyntaxError](err); ok {
			at, message = policy.Position{Line: e.Line, Column: e.Column}, e.Message
			if e.Path != "" {
				message = e.Path + ": " + e.Message
			}
		}
		c.add(Error, "syntax", at, "", message, "")
		return c.report()
	}
	c.parsed, c.doc = p, p.Outline()
	c.variables = c.doc.Version == "2012-10-17"
	c.size(string(doc))
	for i := range c.doc.Clauses {
		st := newStatement(c, &c.doc.Clauses[i])
		c.statements = append(c.statements, st)
		c.actions(st)
		c.resources(st)
		c.literalVariables(st)
		c.tests(st)
		c.never(st)
		c.open(st)
		c.broad(st)
	}
	c.covered()
	c.lockout()
	c.networks()
	c.whole()
	return c.report()
}

// checker collects the findings on a document.
type checker struct {
	kind       Kind
	parsed     *policy.Policy
	doc        *policy.Outline
	variables  bool // ${…} stands for the value of a key
	statements []*statement
	findings   []Finding
	// budget is how many more made-up requests are decided on: a document that is made to be slow gets fewer findings.
	budget int
	// suggestions is how many more misspelt names are compared with all that there are.
	suggestions int
	services    map[string]bool // unknown ones that were noted
	expanded    map[string][]*action
}

const (
	maxQuestions   = 500_000
	maxSuggestions = 100
	maxFindings    = 500
)

// expand returns the actions of the catalogue that an entry of Action matches.
func (c *checker) expand(entry string) []*action {
	all, ok := c.expanded[entry]
	if !ok {
		pattern := lower(entry)
		for _, a := range catalogue {
			if glob(pattern, a.lower, false) {
				all = append(all, a)
			}
		}
		c.expanded[entry] = all
	}
	return all
}

// statement is a statement and what follows from it.
type statement struct {
	*policy.Clause
	local []*action // of the catalogue that it is about
	other bool      // it may be about actions that the catalogue does not have
	dead  bool      // it is known to match nothing
}

func newStatement(c *checker, clause *policy.Clause) *statement {
	st := &statement{Clause: clause, other: clause.NotAction}
	named := map[*action]bool{}
	for _, t := range clause.Actions {
		for _, a := range c.expand(t.Text) {
			named[a] = true
		}
	}
	for _, a := range catalogue {
		if named[a] != clause.NotAction && c.about(a.service) {
			st.local = append(st.local, a)
		}
	}
	for _, t := range clause.Actions {
		if service := serviceOf(t.Text); !clause.NotAction && !isService(service) {
			st.other = true
		}
	}
	switch c.kind {
	case Repository, Secret, Trust:
		st.other = false
	}
	return st
}

// about reports whether policies of the kind decide on a service.
func (c *checker) about(service string) bool {
	switch c.kind {
	case Repository, Registry:
		return service == "ecr"
	case Secret:
		return service == "secretsmanager"
	case Trust:
		return service == "sts"
	}
	return true
}

func (c *checker) add(s Severity, code string, at policy.Position, label, message, fix string) {
	c.findings = append(c.findings, Finding{Severity: s, Code: code, Line: at.Line, Column: at.Column, Statement: label, Message: message, Fix: fix})
}

// on adds a finding about a statement.
func (c *checker) on(st *statement, s Severity, code string, at policy.Position, fix, format string, args ...any) {
	c.add(s, code, at, st.Label, fmt.Sprintf(format, args...), fix)
}

// report returns the findings in the order of the document, each once.
func (c *checker) report() Report {
	slices.SortStableFunc(c.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	r := Report{Kind: c.kind, Findings: []Finding{}}
	seen := map[Finding]bool{}
	for _, f := range c.findings {
		if len(r.Findings) == maxFindings {
			r.Findings = append(r.Findings, Finding{Severity: Warning, Code: "more", Line: f.Line, Column: f.Column, Message: "there are more findings from here on"})
			break
		}
		if !seen[f] {
			seen[f] = true
			r.Findings = append(r.Findings, f)
		}
	}
	return r
}
