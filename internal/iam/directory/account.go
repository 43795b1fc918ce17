package directory

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// NewAccountNumber makes up 12 digits, the first of them no 0.
func NewAccountNumber() string {
	n, _ := rand.Int(rand.Reader, big.NewInt(900_000_000_000)) // never fails
	return n.Add(n, big.NewInt(100_000_000_000)).String()
}

// CreateAccount makes an account and its first root access key, whose secret only the answer has. The account that does not
// exist yet is the resource: no principal of another one may make it, only the server itself.
func (s *Service) CreateAccount(ctx context.Context, c *iam.Caller, number string) (*iam.Account, *iam.AccessKey, error) {
	if !isAccount(number) {
		return nil, nil, errf(ValidationError, "The account %.20q is not valid: it has 12 digits.", number)
	}
	c = orNobody(c)
	const action = "organizations:CreateAccount"
	if err := s.check(ctx, c, iam.Resource{ARN: iam.RootARN(number), Account: number}, need{action: action}); err != nil {
		return nil, nil, err
	}
	k := s.keys.NewKey()
	k.Account, k.ARN = number, iam.RootARN(number)
	err := s.update(ctx, c, action, iam.RootARN(number), k.ID, func(tx *meta.Tx) error {
		n, err := affected(tx.Exec(ctx, `INSERT INTO accounts (id, created_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`, number, k.Created.UnixMicro()))
		if err != nil {
			return err
		}
		if n == 0 {
			return errf(EntityAlreadyExists, "The account %s already exists.", number)
		}
		return s.keys.AddKey(ctx, tx, k, "")
	})
	if err != nil {
		return nil, nil, err
	}
	return &iam.Account{ID: number, Created: k.Created}, k, nil
}

// Alias returns the alias of the caller's account, "" if it has none.
func (s *Service) Alias(ctx context.Context, c *iam.Caller) (string, error) {
	c = orNobody(c)
	if err := s.on(ctx, c, "iam:ListAccountAliases", "*"); err != nil {
		return "", err
	}
	var alias string
	err := s.db.QueryRow(ctx, `SELECT alias FROM account_aliases WHERE account = $1`, c.Account).Scan(&alias)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("read alias of account %s: %w", c.Account, err)
	}
	return alias, nil
}

// SetAlias gives the account an alias, in place of the one it has.
func (s *Service) SetAlias(ctx context.Context, c *iam.Caller, alias string) error {
	if err := checkAlias(alias); err != nil {
		return err
	}
	return s.changeAlias(ctx, c, "iam:CreateAccountAlias", alias, func(tx *meta.Tx, account string) error {
		n, err := count(ctx, tx, `SELECT count(*) FROM account_aliases WHERE alias = $1`, alias)
		if err != nil {
			return err
		}
		if n > 0 {
			return errf(EntityAlreadyExists, "The account alias %s already exists.", alias)
		}
		_, err = tx.Exec(ctx, `INSERT INTO account_aliases (alias, account) VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET alias = excluded.alias`, alias, account)
		return err
	})
}

// DeleteAlias takes the alias away.
func (s *Service) DeleteAlias(ctx context.Context, c *iam.Caller, alias string) error {
	if err := checkAlias(alias); err != nil {
		return err
	}
	return s.changeAlias(ctx, c, "iam:DeleteAccountAlias", alias, func(tx *meta.Tx, account string) error {
		n, err := affected(tx.Exec(ctx, `DELETE FROM account_aliases WHERE alias = $1 AND account = $2`, alias, account))
		if err == nil && n == 0 {
			err = errf(NoSuchEntity, "The account alias %s cannot be found.", alias)
		}
		return err
	})
}

func (s *Service) changeAlias(ctx context.Context, c *iam.Caller, action, alias string, fn func(tx *meta.Tx, account string) error) error {
	c = orNobody(c)
	if err := s.on(ctx, c, action, "*"); err != nil {
		return err
	}
	return s.update(ctx, c, action, "*", alias, func(tx *meta.Tx) error { return fn(tx, c.Account) })
}

func checkAlias(alias string) error {
	ok := len(alias) >= 3 && len(alias) <= 63 && strings.Trim(alias, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		alias[0] != '-' && alias[len(alias)-1] != '-' && !strings.Contains(alias, "--")
	if !ok || isAccount(alias) {
		return errf(ValidationError, "1 validation error detected: Value '%.63s' at 'accountAlias' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$", alias)
	}
	return nil
}

// Summary returns what is in the account and what can be, under the names of GetAccountSummary.
func (s *Service) Summary(ctx context.Context, c *iam.Caller) (map[string]int, error) {
	c = orNobody(c)
	if err := s.on(ctx, c, "iam:GetAccountSummary", "*"); err != nil {
		return nil, err
	}
	summary := map[string]int{
		"AccessKeysPerUserQuota": maxAccessKeys, "AccountMFAEnabled": 0, "AccountSigningCertificatesPresent": 0,
		"AssumeRolePolicySizeQuota": maxTrustSize, "AttachedPoliciesPerGroupQuota": maxAttached, "AttachedPoliciesPerRoleQuota": maxAttached,
		"AttachedPoliciesPerUserQuota": maxAttached, "GlobalEndpointTokenVersion": 1, "GroupPolicySizeQuota": maxGroupInlineSize,
		"GroupsPerUserQuota": maxGroupsPerUser, "MFADevices": 0, "MFADevicesInUse": 0, "PolicySizeQuota": maxPolicySize,
		"RolePolicySizeQuota": maxRoleInlineSize, "ServerCertificates": 0, "ServerCertificatesQuota": 0, "SigningCertificatesPerUserQuota": 0,
		"UserPolicySizeQuota": maxUserInlineSize, "VersionsPerPolicyQuota": maxVersions,
	}
	for kind, name := range map[Kind]string{KindUser: "Users", KindGroup: "Groups", KindRole: "Roles", KindPolicy: "Policies", KindProfile: "InstanceProfiles", KindProvider: "Providers"} {
		n, err := count(ctx, s.db, `SELECT count(*) FROM identities WHERE account = $1 AND kind = $2`, c.Account, string(kind))
		if err != nil {
			return nil, err
		}
		if summary[name] = n; kind != KindProvider {
			summary[name+"Quota"] = perAccount[kind].limit
		}
	}
	var err error
	if summary["AccountAccessKeysPresent"], err = count(ctx, s.db, `SELECT count(*) FROM access_keys WHERE account = $1 AND owner IS NULL`, c.Account); err != nil {
		return nil, err
	}
	if summary["PolicyVersionsInUse"], err = count(ctx, s.db, `SELECT count(*) FROM policy_versions WHERE policy IN
		(SELECT id FROM identities WHERE account = $1 AND kind = 'policy')`, c.Account); err != nil {
		return nil, err
	}
	summary["PolicyVersionsInUseQuota"] = perAccount[KindPolicy].limit * maxVersions
	return summary, nil
}
