package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
)

// maxRepositoryPolicy is ECR's limit of a policy, in bytes.
const maxRepositoryPolicy = 10_240

// parseRepositoryPolicy compiles a policy for a repository. Beyond the language, ECR holds it to two rules: it is about
// the repository that it is on, so it names no Resource, and about nothing but ecr's actions.
func parseRepositoryPolicy(document string) (*policy.Policy, error) {
	if len(document) > maxRepositoryPolicy {
		return nil, policyInvalid(fmt.Sprintf("the policy has %d bytes, and at most %d are allowed", len(document), maxRepositoryPolicy))
	}
	p, err := policy.Parse([]byte(document), policy.Resource)
	if err != nil {
		return nil, policyInvalid(err.Error())
	}
	doc, err := parseDocument(document)
	if err != nil { // what one parser takes, so does the other
		return nil, policyInvalid(err.Error())
	}
	for i, s := range statementsOf(doc) {
		for _, name := range []string{"Resource", "NotResource"} {
			if r := s.fields.get(name); r != nil {
				line, column := position(document, r.at)
				return nil, policyInvalid(fmt.Sprintf("line %d, column %d: Statement[%d].%s: a repository's policy is about the repository that it is on; leave it out", line, column, i, name))
			}
		}
		for _, a := range append(s.fields.get("Action").texts(), s.fields.get("NotAction").texts()...) {
			action := a.scalar.(string)
			if service, _, _ := strings.Cut(strings.ToLower(action), ":"); action != "*" && service != "ecr" {
				line, column := position(document, a.at)
				return nil, policyInvalid(fmt.Sprintf("line %d, column %d: Statement[%d]: %q is no action of ecr", line, column, i, action))
			}
		}
	}
	return p, nil
}

// checkRepositoryPolicy says what is wrong with a policy for a repository, if anything is.
func checkRepositoryPolicy(document string) error {
	_, err := parseRepositoryPolicy(document)
	return err
}

func policyInvalid(message string) error {
	return errorf(PolicyInvalid, "Invalid repository policy provided: %s", message)
}

// statementsOf returns the statements of a policy.
func statementsOf(doc *node) []node {
	s := doc.fields.get("Statement")
	switch {
	case s == nil:
		return nil
	case s.list != nil:
		return s.list
	}
	return []node{*s}
}

// texts returns the strings of a value that is one or a list of them.
func (n *node) texts() []node {
	if n == nil {
		return nil
	}
	all := n.list
	if all == nil {
		all = []node{*n}
	}
	return slices.DeleteFunc(slices.Clone(all), func(n node) bool { return n.kind() != "string" })
}

// lockedOut is the error that says that a policy would keep its author from changing it again.
func lockedOut(c *iam.Caller, repo Repo, d iam.Decision, document string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "the policy would lock its author out: %s could not call ecr:SetRepositoryPolicy on %s again, %s.", c.Who(), repo.Name, d.Reason)
	if doc, err := parseDocument(document); err == nil {
		for _, s := range absentKeys(doc, c) {
			b.WriteString(" " + s)
		}
	}
	b.WriteString(" Exempt yourself from the statement that decides, or set force if this is meant")
	return errorf(PolicyInvalid, "%s", b.String())
}

// networkKeys are the keys of the network that a request came from, and whether they are there if it came through a
// private endpoint ("AWS global condition context keys", "Properties of the network").
var networkKeys = map[string]bool{
	"aws:sourceip": false, "aws:sourcevpce": true, "aws:sourcevpc": true, "aws:vpcsourceip": true,
}

// absentKeys explains the Deny statements of a policy that match a caller for what its requests don't have: a negated
// condition is true where its key is absent.
func absentKeys(doc *node, c *iam.Caller) []string {
	var out []string
	for i, s := range statementsOf(doc) {
		effect, conditions := s.fields.get("Effect"), s.fields.get("Condition")
		if effect == nil || effect.scalar != "Deny" || conditions == nil {
			continue
		}
		label := fmt.Sprint("statement ", i+1)
		if sid := s.fields.get("Sid"); sid != nil && sid.scalar != "" {
			label = fmt.Sprintf("statement %q", sid.scalar)
		}
		for _, op := range conditions.fields {
			if !strings.Contains(op.name, "Not") {
				continue
			}
			for _, key := range op.value.fields {
				throughEndpoint, network := networkKeys[strings.ToLower(key.name)]
				if !network || c == nil || throughEndpoint == (c.Endpoint != "") {
					continue
				}
				why := "this request came through no private endpoint"
				if c.Endpoint != "" {
					why = "this request came through the private endpoint " + c.Endpoint
				}
				out = append(out, fmt.Sprintf("In the Deny of %s, %s on %s is true because %s, so that the key is absent; a negated condition is true when its key is absent.",
					label, op.name, key.name, why))
			}
		}
	}
	return out
}

func errPolicyUnknown(r Repo) error {
	return errorf(PolicyUnknown, "Repository policy does not exist for the repository with name '%s' in the registry with id '%s'", r.Name, r.Account)
}

// RepositoryPolicy implements [Registry].
func (l *Local) RepositoryPolicy(ctx context.Context, _ *iam.Caller, repo Repo) (string, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return "", err
	}
	var document string
	err = l.db.QueryRow(ctx, `SELECT document FROM repository_policies WHERE repository_id = $1`, r.id).Scan(&document)
	if errors.Is(err, sql.ErrNoRows) {
		return "", errPolicyUnknown(repo)
	}
	return document, wrap("read repository policy", err)
}

// SetRepositoryPolicy implements [Registry]. Whether it locks its author out is for [Authorize] to say, which knows who
// may do what.
func (l *Local) SetRepositoryPolicy(ctx context.Context, c *iam.Caller, repo Repo, document string, _ bool) error {
	if err := checkRepositoryPolicy(document); err != nil {
		return err
	}
	err := l.update(ctx, "set repository policy", func(tx *meta.Tx) error {
		if err := l.decides(ctx, tx); err != nil {
			return err
		}
		r, err := l.repositoryIn(ctx, tx, repo)
		if err != nil {
			return err
		}
		if err := l.checkPrincipals(ctx, tx, document); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO repository_policies (repository_id, document) VALUES ($1, $2)
			ON CONFLICT (repository_id) DO UPDATE SET document = excluded.document`, r.id, document); err != nil {
			return err
		}
		return l.changed(ctx, tx, c, "ecr:SetRepositoryPolicy", repo, document)
	})
	l.forgetRepository(repo)
	return err
}

// checkPrincipals refuses a policy that names somebody who is not there: whoever came later under that name would have what was
// meant for another. It is for the transaction that stores the policy, after decides.
func (l *Local) checkPrincipals(ctx context.Context, tx *meta.Tx, document string) error {
	if l.o.UnknownPrincipal == nil || document == "" {
		return nil
	}
	who, err := l.o.UnknownPrincipal(ctx, tx, document)
	if err == nil && who != "" {
		err = policyInvalid("there is no principal " + who)
	}
	return err
}

// DeleteRepositoryPolicy implements [Registry].
func (l *Local) DeleteRepositoryPolicy(ctx context.Context, c *iam.Caller, repo Repo) (document string, err error) {
	err = l.update(ctx, "delete repository policy", func(tx *meta.Tx) error {
		if err := l.decides(ctx, tx); err != nil {
			return err
		}
		r, err := l.repositoryIn(ctx, tx, repo)
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `DELETE FROM repository_policies WHERE repository_id = $1 RETURNING document`, r.id).Scan(&document)
		if errors.Is(err, sql.ErrNoRows) {
			return errPolicyUnknown(repo)
		}
		if err != nil {
			return err
		}
		return l.changed(ctx, tx, c, "ecr:DeleteRepositoryPolicy", repo, "")
	})
	l.forgetRepository(repo)
	return document, err
}
