package directory

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// providerDocument is what the row of a provider has besides its URL.
type providerDocument struct {
	ClientIDs   []string `json:"clientIDs"`
	Thumbprints []string `json:"thumbprints"`
}

func (r *row) providerDocument() (d providerDocument, err error) {
	if err = json.Unmarshal([]byte(r.document), &d); err != nil {
		err = fmt.Errorf("read provider %s: %w", r.arn(), err)
	}
	return d, err
}

func (r *row) provider() (*Provider, error) {
	d, err := r.providerDocument()
	return &Provider{Entity: r.entity(), URL: r.name, ClientIDs: d.ClientIDs, Thumbprints: d.Thumbprints}, err
}

func (d *providerDocument) check() error {
	if len(d.ClientIDs) > maxClientIDs {
		return quota(limit{"ClientIdsPerOpenIdConnectProvider", maxClientIDs})
	}
	if len(d.Thumbprints) > maxThumbprints {
		return errf(InvalidInput, "Thumbprint list must contain fewer than %d entries.", maxThumbprints)
	}
	for _, id := range d.ClientIDs {
		if id == "" || len(id) > maxURL || !utf8.ValidString(id) {
			return errf(ValidationError, "1 validation error detected: Value at 'clientIDList' failed to satisfy constraint: Member must have length between 1 and %d", maxURL)
		}
	}
	for _, t := range d.Thumbprints {
		if _, err := hex.DecodeString(t); err != nil || len(t) != 40 {
			return errf(ValidationError, "1 validation error detected: Value at 'thumbprintList' failed to satisfy constraint: Member must have 40 hexadecimal digits")
		}
	}
	return nil
}

func (d *providerDocument) String() string {
	text, _ := json.Marshal(d) // strings alone always can be
	return string(text)
}

// CreateProvider makes an OIDC provider known.
func (s *Service) CreateProvider(ctx context.Context, c *iam.Caller, p NewProvider) (*Provider, error) {
	name, err := issuerName(p.URL)
	if err != nil {
		return nil, err
	}
	d := providerDocument{slices.Clone(p.ClientIDs), slices.Clone(p.Thumbprints)}
	if err := d.check(); err != nil {
		return nil, err
	}
	r := &row{kind: KindProvider, name: name, path: "/", document: d.String()}
	if r.tags, err = checkTags(p.Tags); err != nil {
		return nil, err
	}
	if err := s.create(ctx, c, "iam:CreateOpenIDConnectProvider", nil, r, nil); err != nil {
		return nil, err
	}
	return r.provider()
}

// issuerName returns what ARNs have of an issuer's URL.
func issuerName(issuer string) (string, error) {
	u, err := url.Parse(issuer)
	name, https := strings.CutPrefix(issuer, "https://")
	switch {
	case err != nil || !https || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !printable(issuer) || strings.ContainsAny(issuer, `?#\"`):
		return "", errf(ValidationError, "Invalid Open ID Connect Provider URL")
	case len(issuer) > maxURL:
		return "", errf(ValidationError, "1 validation error detected: Value at 'url' failed to satisfy constraint: Member must have length less than or equal to %d", maxURL)
	}
	return name, nil
}

// Provider returns an OIDC provider.
func (s *Service) Provider(ctx context.Context, c *iam.Caller, arn string) (*Provider, error) {
	r, err := s.show(ctx, c, ProviderAt(arn), "iam:GetOpenIDConnectProvider")
	if err != nil {
		return nil, err
	}
	return r.provider()
}

// Issuer returns the provider that an account has for an issuer's URL, nil for none: what telling who shows a token of that
// issuer needs. It decides nothing.
func (s *Service) Issuer(ctx context.Context, account, issuer string) (*Provider, error) {
	name, ok := strings.CutPrefix(issuer, "https://")
	if !ok {
		return nil, nil
	}
	r, err := byName(ctx, s.db, account, KindProvider, name)
	if err != nil || r == nil {
		return nil, err
	}
	return r.provider()
}

// Providers lists all OIDC providers.
func (s *Service) Providers(ctx context.Context, c *iam.Caller) ([]Provider, error) {
	c = orNobody(c)
	if err := s.on(ctx, c, "iam:ListOpenIDConnectProviders", "oidc-provider/*"); err != nil {
		return nil, err
	}
	rows, _, err := s.page(ctx, c.Account, KindProvider, "", Page{Limit: perAccount[KindProvider].limit})
	if err != nil {
		return nil, err
	}
	all := make([]Provider, 0, len(rows))
	for i := range rows {
		p, err := rows[i].provider()
		if err != nil {
			return nil, err
		}
		all = append(all, *p)
	}
	return all, nil
}

// DeleteProvider deletes an OIDC provider. Roles may go on naming it, in vain.
func (s *Service) DeleteProvider(ctx context.Context, c *iam.Caller, arn string) error {
	return s.delete(ctx, c, ProviderAt(arn))
}

// AddClientID adds an audience. It may be there already.
func (s *Service) AddClientID(ctx context.Context, c *iam.Caller, arn, id string) error {
	return s.changeProvider(ctx, c, arn, "iam:AddClientIDToOpenIDConnectProvider", id, func(d *providerDocument) {
		if !slices.Contains(d.ClientIDs, id) {
			d.ClientIDs = append(d.ClientIDs, id)
		}
	})
}

// RemoveClientID removes an audience. It may be gone already.
func (s *Service) RemoveClientID(ctx context.Context, c *iam.Caller, arn, id string) error {
	return s.changeProvider(ctx, c, arn, "iam:RemoveClientIDFromOpenIDConnectProvider", id, func(d *providerDocument) {
		d.ClientIDs = slices.DeleteFunc(d.ClientIDs, func(other string) bool { return other == id })
	})
}

// SetThumbprints replaces the thumbprints.
func (s *Service) SetThumbprints(ctx context.Context, c *iam.Caller, arn string, thumbprints []string) error {
	return s.changeProvider(ctx, c, arn, "iam:UpdateOpenIDConnectProviderThumbprint", strings.Join(thumbprints, " "), func(d *providerDocument) {
		d.Thumbprints = thumbprints
	})
}

func (s *Service) changeProvider(ctx context.Context, c *iam.Caller, arn, action, detail string, fn func(*providerDocument)) error {
	return s.change(ctx, c, ProviderAt(arn), just(action), detail, func(tx *meta.Tx, r *row) error {
		d, err := r.providerDocument()
		if err != nil {
			return err
		}
		fn(&d)
		if err := d.check(); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE identities SET document = $1 WHERE id = $2`, d.String(), r.id)
		return err
	})
}
