package registry

import (
	"context"

	"github.com/sekisho/sekisho/internal/iam"
)

// Signing says which repositories' images are signed when they are pushed. It is kept; what acts on it is elsewhere.
type Signing struct {
	Rules []SigningRule `json:"rules"`
}

// SigningRule is one rule of it.
type SigningRule struct {
	ProfileARN string   `json:"profileArn"`
	Filters    []string `json:"filters,omitempty"` // of repository names, with wildcards; nil: all repositories
}

// Signing returns a registry's configuration of signing. Errors: SigningUnknown.
func (k *Control) Signing(ctx context.Context, c *iam.Caller, account string) (*Signing, error) {
	if err := k.authorize(ctx, c, "ecr:GetSigningConfiguration", account); err != nil {
		return nil, err
	}
	text, err := document(ctx, k.l.db, account, documentSigning)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, errSigningUnknown(account)
	}
	return decodeSigning(text)
}

// PutSigning replaces the configuration.
func (k *Control) PutSigning(ctx context.Context, c *iam.Caller, account string, s *Signing) error {
	if err := k.authorize(ctx, c, "ecr:PutSigningConfiguration", account); err != nil {
		return err
	}
	return k.putDocument(ctx, c, "ecr:PutSigningConfiguration", account, documentSigning, encode(s))
}

// DeleteSigning deletes the configuration and returns it. Errors: SigningUnknown.
func (k *Control) DeleteSigning(ctx context.Context, c *iam.Caller, account string) (*Signing, error) {
	if err := k.authorize(ctx, c, "ecr:DeleteSigningConfiguration", account); err != nil {
		return nil, err
	}
	text, err := k.deleteDocument(ctx, c, "ecr:DeleteSigningConfiguration", account, documentSigning, errSigningUnknown(account))
	if err != nil {
		return nil, err
	}
	return decodeSigning(text)
}

func decodeSigning(text string) (*Signing, error) {
	out := &Signing{}
	return out, decode("signing configuration", text, out)
}

func errSigningUnknown(account string) error {
	return errorf(SigningUnknown, "Signing configuration does not exist in the registry with id '%s'", account)
}
