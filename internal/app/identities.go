package app

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/sekisho/sekisho/internal/audit"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/decide"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/iam/session"
	"github.com/sekisho/sekisho/internal/meta"
)

// openIdentities opens who there is, and decides by their policies from here on.
func (in *Instance) openIdentities() error {
	judge := &in.Judge.Judge
	in.Directory = directory.New(in.DB, in.IAM, judge, directory.Options{
		Now: in.now,
		OnChange: func(ctx context.Context, tx *meta.Tx, ch directory.Change) error {
			return in.appendChange(ctx, tx, ch.Caller, ch.Action, ch.Resource, ch.Detail)
		},
		OnRename: renamePrincipal,
	})
	ways := map[string]policy.Named{}
	for i := range in.Config.Endpoints {
		id := in.Config.Endpoints[i].ID
		named, ok := in.endpointPolicies[id]
		if !ok {
			var err error
			if named, err = decide.FullAccess(); err != nil {
				return err
			}
		}
		ways[id] = named
	}
	judge.Authorizer = decide.New(in.Directory, in.IAM.Generation(), decide.Options{Now: in.now, Region: in.Config.Region, Endpoints: ways})

	tokens, err := openIssuers(&in.Config.OIDC, in.Issuer.Own)
	if err != nil {
		return err
	}
	in.openPools(tokens)
	in.Sessions = session.New(in.IAM, judge, in.Directory, tokens, session.Options{
		Now: in.now,
		OnIssue: func(ctx context.Context, tx *meta.Tx, i session.Issue) error {
			return in.appendChange(ctx, tx, i.Caller, i.Action, i.Resource, i.Detail)
		},
		Refusals: in.refusals,
	})
	return nil
}

// principalDocuments is where resource policies are kept that may name users and roles.
var principalDocuments = []directory.Documents{
	{Table: "repository_policies", Key: [2]string{"repository_id"}, Column: "document"},
	{Table: "registry_documents", Key: [2]string{"account", "kind"}, Column: "document", Where: "kind = 'policy'"},
	{Table: "secrets", Key: [2]string{"id"}, Column: "policy", Where: "policy <> ''"},
}

// renamePrincipal keeps resource policies about the same users and roles, whatever becomes of their names.
func renamePrincipal(ctx context.Context, tx *meta.Tx, from, to string) error {
	for _, d := range principalDocuments {
		if err := d.Rename(ctx, tx, from, to); err != nil {
			return err
		}
	}
	return nil
}

// unknownPrincipal is directory.UnknownPrincipal where the transaction has not begun a new generation.
func (in *Instance) unknownPrincipal(ctx context.Context, tx *meta.Tx, document string) (string, error) {
	if err := in.IAM.Generation().Bump(ctx, tx); err != nil {
		return "", err
	}
	return directory.UnknownPrincipal(ctx, tx, document)
}

// maxIssuerFile bounds what is read of the files that the configuration of issuers names.
const maxIssuerFile = 1 << 20

// openIssuers reads what the configuration says of issuers of identity tokens. Own is the instance's own.
func openIssuers(c *config.OIDC, own func(issuer string) func(context.Context) ([]byte, error)) (*oidc.Verifier, error) {
	o := oidc.Options{Loopback: c.Loopback, Own: own, Keys: map[string][]byte{}, Proxy: http.ProxyFromEnvironment}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("oidc.ca: %w", err)
		}
		if o.Roots, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("oidc.ca: the system's authorities: %w", err)
		}
		if !o.Roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("oidc.ca: %s has no certificate in PEM form", c.CA)
		}
	}
	for i, k := range c.Keys {
		text, err := os.ReadFile(k.File)
		if err == nil && len(text) > maxIssuerFile {
			err = fmt.Errorf("%s has over %d bytes", k.File, maxIssuerFile)
		}
		if err != nil {
			return nil, fmt.Errorf("oidc.keys[%d].file: %w", i, err)
		}
		o.Keys[k.Issuer] = text
	}
	tokens, err := oidc.New(o)
	if err != nil {
		return nil, fmt.Errorf("oidc.keys: %w", err)
	}
	return tokens, nil
}

// appendChange records a change in its own transaction.
func (in *Instance) appendChange(ctx context.Context, tx *meta.Tx, c *iam.Caller, action, resource, detail string) error {
	e := event(c, action, resource)
	e.Detail = detail
	return audit.AppendTx(ctx, tx, in.now(), e)
}

// refusals returns the refusals of a request with how they came about.
func (in *Instance) refusals(ctx context.Context, requestID string) ([]session.Refusal, error) {
	entries, traces, err := audit.Traces(ctx, in.DB, requestID)
	if err != nil {
		return nil, err
	}
	all := make([]session.Refusal, len(entries))
	for i, e := range entries {
		all[i] = session.Refusal{Principal: e.Principal, Action: e.Action, Resource: e.Resource, Reason: e.Reason}
		if traces[i] != "" {
			all[i].Trace = json.RawMessage(traces[i])
		}
	}
	return all, nil
}
