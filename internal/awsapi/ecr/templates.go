package ecr

import (
	"cmp"
	"context"
	"maps"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/registry"
)

func (a *API) createRepositoryCreationTemplate(ctx context.Context, c *awsapi.Call, in *sdk.CreateRepositoryCreationTemplateInput) (*sdk.CreateRepositoryCreationTemplateOutput, error) {
	tags, err := tagMap(in.ResourceTags)
	if err != nil {
		return nil, err
	}
	encryption, key, err := templateEncryption(in.EncryptionConfiguration)
	if err != nil {
		return nil, err
	}
	content := registry.TemplateContent{
		Description: deref(in.Description),
		AppliedFor:  occasions(in.AppliedFor),
		Settings: registry.RepositorySettings{
			Mutability:           registry.Mutability(in.ImageTagMutability),
			MutabilityExclusions: exclusions(in.ImageTagMutabilityExclusionFilters),
			EncryptionType:       deref(encryption),
			KMSKey:               deref(key),
		},
		Tags:             tags,
		RepositoryPolicy: deref(in.RepositoryPolicy),
		LifecyclePolicy:  deref(in.LifecyclePolicy),
		RoleARN:          deref(in.CustomRoleArn),
	}
	t, err := a.Control.CreateTemplate(ctx, c.Caller, c.Account, *in.Prefix, content)
	if err != nil {
		return nil, err
	}
	return &sdk.CreateRepositoryCreationTemplateOutput{RegistryId: &c.Account, RepositoryCreationTemplate: new(template(t))}, nil
}

func (a *API) updateRepositoryCreationTemplate(ctx context.Context, c *awsapi.Call, in *sdk.UpdateRepositoryCreationTemplateInput) (*sdk.UpdateRepositoryCreationTemplateOutput, error) {
	change := registry.TemplateChange{
		Description:          in.Description,
		AppliedFor:           occasions(in.AppliedFor),
		MutabilityExclusions: exclusions(in.ImageTagMutabilityExclusionFilters),
		RepositoryPolicy:     in.RepositoryPolicy,
		LifecyclePolicy:      in.LifecyclePolicy,
		RoleARN:              in.CustomRoleArn,
	}
	var err error
	if change.EncryptionType, change.KMSKey, err = templateEncryption(in.EncryptionConfiguration); err != nil {
		return nil, err
	}
	if in.ImageTagMutability != "" {
		change.Mutability = new(registry.Mutability(in.ImageTagMutability))
	}
	if in.ResourceTags != nil {
		if change.Tags, err = tagMap(in.ResourceTags); err != nil {
			return nil, err
		}
	}
	t, err := a.Control.UpdateTemplate(ctx, c.Caller, c.Account, *in.Prefix, change)
	if err != nil {
		return nil, err
	}
	return &sdk.UpdateRepositoryCreationTemplateOutput{RegistryId: &c.Account, RepositoryCreationTemplate: new(template(t))}, nil
}

func (a *API) deleteRepositoryCreationTemplate(ctx context.Context, c *awsapi.Call, in *sdk.DeleteRepositoryCreationTemplateInput) (*sdk.DeleteRepositoryCreationTemplateOutput, error) {
	t, err := a.Control.DeleteTemplate(ctx, c.Caller, c.Account, *in.Prefix)
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteRepositoryCreationTemplateOutput{RegistryId: &c.Account, RepositoryCreationTemplate: new(template(t))}, nil
}

func (a *API) describeRepositoryCreationTemplates(ctx context.Context, c *awsapi.Call, in *sdk.DescribeRepositoryCreationTemplatesInput) (*sdk.DescribeRepositoryCreationTemplatesOutput, error) {
	from, err := pageOf("prefixes", in.Prefixes, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	all, more, err := a.Control.Templates(ctx, c.Caller, c.Account, in.Prefixes, from)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeRepositoryCreationTemplatesOutput{RegistryId: &c.Account, RepositoryCreationTemplates: []types.RepositoryCreationTemplate{}}
	for _, t := range all {
		out.RepositoryCreationTemplates = append(out.RepositoryCreationTemplates, template(t))
	}
	if more {
		out.NextToken = page{After: all[len(all)-1].Prefix}.token()
	}
	return out, nil
}

// template returns a template with its defaults; what is empty is left out, as Terraform takes it.
func template(t *registry.Template) types.RepositoryCreationTemplate {
	s := &t.Settings
	out := types.RepositoryCreationTemplate{
		Prefix:             &t.Prefix,
		Description:        text(t.Description),
		ImageTagMutability: types.ImageTagMutability(cmp.Or(s.Mutability, registry.Mutable)),
		EncryptionConfiguration: &types.EncryptionConfigurationForRepositoryCreationTemplate{
			EncryptionType: types.EncryptionType(cmp.Or(s.EncryptionType, string(types.EncryptionTypeAes256))),
			KmsKey:         text(s.KMSKey),
		},
		ImageTagMutabilityExclusionFilters: exclusionFilters(s.MutabilityExclusions),
		RepositoryPolicy:                   text(t.RepositoryPolicy),
		LifecyclePolicy:                    text(t.LifecyclePolicy),
		CustomRoleArn:                      text(t.RoleARN),
		CreatedAt:                          &t.CreatedAt,
		UpdatedAt:                          &t.UpdatedAt,
	}
	for _, o := range t.AppliedFor {
		out.AppliedFor = append(out.AppliedFor, types.RCTAppliedFor(o))
	}
	for _, key := range slices.Sorted(maps.Keys(t.Tags)) {
		out.ResourceTags = append(out.ResourceTags, types.Tag{Key: &key, Value: new(t.Tags[key])})
	}
	return out
}

// templateEncryption returns nil for what was not said.
func templateEncryption(e *types.EncryptionConfigurationForRepositoryCreationTemplate) (encryption, key *string, err error) {
	if e == nil {
		return nil, nil, nil
	}
	if e.EncryptionType == types.EncryptionTypeAes256 && deref(e.KmsKey) != "" {
		return nil, nil, invalid("encryptionConfiguration", "KMS key must not be given with the encryption type AES256")
	}
	return new(string(e.EncryptionType)), e.KmsKey, nil
}

func occasions(all []types.RCTAppliedFor) []registry.Occasion {
	var out []registry.Occasion
	for _, o := range all {
		out = append(out, registry.Occasion(o))
	}
	return out
}

// pageOf returns which page is asked for, unless the names of what is wanted are given.
func pageOf(member string, names []string, token *string, maxResults *int32) (registry.Page, error) {
	if len(names) > 0 && (token != nil || maxResults != nil) {
		return registry.Page{}, invalid(member, "maxResults and nextToken can't be used with "+member)
	}
	from, err := parsePage(token)
	return registry.Page{After: from.After, Limit: pageSize(maxResults)}, err
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
