package registry

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
)

// Names of account settings and their values, as ECR spells them (API_PutAccountSetting).
const (
	BasicScanTypeVersion = "BASIC_SCAN_TYPE_VERSION"
	RegistryPolicyScope  = "REGISTRY_POLICY_SCOPE"
	BlobMounting         = "BLOB_MOUNTING"

	scopeV1          = "V1"
	mountingEnabled  = "ENABLED"
	mountingDisabled = "DISABLED"
)

// accountSettings are the values that a setting can have, the default first. ECR's default of BLOB_MOUNTING is DISABLED;
// here clients have been able to mount from the start, and nothing is gained by uploading twice.
var accountSettings = map[string][]string{
	BasicScanTypeVersion: {"AWS_NATIVE", "CLAIR"},
	RegistryPolicyScope:  {"V2", scopeV1},
	BlobMounting:         {mountingEnabled, mountingDisabled},
}

// AccountSetting returns the value of an account setting. Errors: SettingInvalid.
func (k *Control) AccountSetting(ctx context.Context, c *iam.Caller, account, name string) (string, error) {
	if err := k.authorize(ctx, c, "ecr:GetAccountSetting", account); err != nil {
		return "", err
	}
	values, err := settingValues(name)
	if err != nil {
		return "", err
	}
	value, err := document(ctx, k.l.db, account, name)
	if err != nil || value != "" {
		return value, err
	}
	return values[0], nil
}

// PutAccountSetting sets an account setting. Errors: SettingInvalid.
func (k *Control) PutAccountSetting(ctx context.Context, c *iam.Caller, account, name, value string) error {
	if err := k.authorize(ctx, c, "ecr:PutAccountSetting", account); err != nil {
		return err
	}
	values, err := settingValues(name)
	if err != nil {
		return err
	}
	if !slices.Contains(values, value) {
		return errParameter("value", "Account setting %s must be one of [%s]", name, strings.Join(slices.Sorted(slices.Values(values)), ", "))
	}
	return k.putDocumentNoted(ctx, c, "ecr:PutAccountSetting", account, name, value, name+" "+value)
}

func settingValues(name string) ([]string, error) {
	values, ok := accountSettings[name]
	if !ok {
		return nil, errParameter("name", "Account setting must be one of [%s]", strings.Join(slices.Sorted(maps.Keys(accountSettings)), ", "))
	}
	return values, nil
}

// errMountingDisabled is a BlobUnknown, upon which clients upload.
func errMountingDisabled(from Repo, d digest.Digest) error {
	return errorf(BlobUnknown, "The layer with digest '%s' can't be mounted from the repository with name '%s': blob mounting is disabled in the registry with id '%s'",
		d, from.Name, from.Account)
}
