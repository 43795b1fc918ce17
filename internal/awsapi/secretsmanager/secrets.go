package secretsmanager

import (
	"context"
	"maps"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/secret"
)

func (a *API) createSecret(ctx context.Context, c *awsapi.Call, in *sdk.CreateSecretInput) (*sdk.CreateSecretOutput, error) {
	if len(in.AddReplicaRegions) > 0 {
		return nil, badParameter("AddReplicaRegions: secrets are not replicated to other regions.")
	}
	if in.Type != nil {
		return nil, badParameter("Type: there are no secrets of other services here.")
	}
	v, err := value(in.SecretString, in.SecretBinary)
	if err != nil {
		return nil, err
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	x, version, err := a.Secrets.Create(ctx, c.Caller, secret.Draft{
		Name: *in.Name, Description: deref(in.Description), KMSKeyID: deref(in.KmsKeyId), Tags: tags, Value: v, Token: deref(in.ClientRequestToken),
	})
	if err != nil {
		return nil, err
	}
	return &sdk.CreateSecretOutput{ARN: &x.ARN, Name: &x.Name, VersionId: text(version)}, nil
}

func (a *API) updateSecret(ctx context.Context, c *awsapi.Call, in *sdk.UpdateSecretInput) (*sdk.UpdateSecretOutput, error) {
	if in.Type != nil {
		return nil, badParameter("Type: there are no secrets of other services here.")
	}
	v, err := value(in.SecretString, in.SecretBinary)
	if err != nil {
		return nil, err
	}
	x, version, err := a.Secrets.Update(ctx, c.Caller, *in.SecretId, secret.Edit{
		Description: in.Description, KMSKeyID: in.KmsKeyId, Value: v, Token: deref(in.ClientRequestToken),
	})
	if err != nil {
		return nil, err
	}
	return &sdk.UpdateSecretOutput{ARN: &x.ARN, Name: &x.Name, VersionId: text(version)}, nil
}

func (a *API) describeSecret(ctx context.Context, c *awsapi.Call, in *sdk.DescribeSecretInput) (*sdk.DescribeSecretOutput, error) {
	x, err := a.Secrets.Describe(ctx, c.Caller, *in.SecretId)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeSecretOutput{
		ARN: &x.ARN, Name: &x.Name, Description: text(x.Description), KmsKeyId: text(x.KMSKeyID), Tags: tagList(x.Tags),
		CreatedDate: &x.Created, LastChangedDate: &x.Changed, LastAccessedDate: moment(x.Accessed), DeletedDate: moment(x.Deleted),
		VersionIdsToStages: x.Stages,
	}, nil
}

func (a *API) listSecrets(ctx context.Context, c *awsapi.Call, in *sdk.ListSecretsInput) (*sdk.ListSecretsOutput, error) {
	after, err := parseToken[secret.Cursor](in.NextToken)
	if err != nil {
		return nil, err
	}
	found, next, err := a.Secrets.List(ctx, c.Caller, secret.Query{
		Filters: filters(in.Filters), Deleted: deref(in.IncludePlannedDeletion), By: secret.Sort(in.SortBy),
		Descending: in.SortOrder == types.SortOrderTypeDesc, Limit: pageSize(in.MaxResults), After: after,
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.ListSecretsOutput{SecretList: []types.SecretListEntry{}}
	for _, x := range found {
		out.SecretList = append(out.SecretList, types.SecretListEntry{
			ARN: &x.ARN, Name: &x.Name, Description: text(x.Description), KmsKeyId: text(x.KMSKeyID), Tags: tagList(x.Tags),
			CreatedDate: &x.Created, LastChangedDate: &x.Changed, LastAccessedDate: moment(x.Accessed), DeletedDate: moment(x.Deleted),
			SecretVersionsToStages: x.Stages,
		})
	}
	out.NextToken, err = token(next)
	return out, err
}

func filters(in []types.Filter) []secret.Filter {
	var out []secret.Filter
	for _, f := range in {
		out = append(out, secret.Filter{Key: secret.FilterKey(f.Key), Values: f.Values})
	}
	return out
}

func tagList(tags map[string]string) []types.Tag {
	list := []types.Tag{}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: &key, Value: new(tags[key])})
	}
	return list
}

func (a *API) deleteSecret(ctx context.Context, c *awsapi.Call, in *sdk.DeleteSecretInput) (*sdk.DeleteSecretOutput, error) {
	days := 0
	if in.RecoveryWindowInDays != nil { // 0 is none of those that are allowed
		days = max(-1, int(min(*in.RecoveryWindowInDays, secret.MaxWindow+1)))
		if days == 0 {
			days = -1
		}
	}
	x, gone, err := a.Secrets.Delete(ctx, c.Caller, *in.SecretId, days, deref(in.ForceDeleteWithoutRecovery))
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteSecretOutput{ARN: &x.ARN, Name: &x.Name, DeletionDate: &gone}, nil
}

func (a *API) restoreSecret(ctx context.Context, c *awsapi.Call, in *sdk.RestoreSecretInput) (*sdk.RestoreSecretOutput, error) {
	x, err := a.Secrets.Restore(ctx, c.Caller, *in.SecretId)
	if err != nil {
		return nil, err
	}
	return &sdk.RestoreSecretOutput{ARN: &x.ARN, Name: &x.Name}, nil
}

func (a *API) tagResource(ctx context.Context, c *awsapi.Call, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	return &sdk.TagResourceOutput{}, a.Secrets.Tag(ctx, c.Caller, *in.SecretId, tags)
}

func (a *API) untagResource(ctx context.Context, c *awsapi.Call, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	return &sdk.UntagResourceOutput{}, a.Secrets.Untag(ctx, c.Caller, *in.SecretId, in.TagKeys)
}

func (a *API) putResourcePolicy(ctx context.Context, c *awsapi.Call, in *sdk.PutResourcePolicyInput) (*sdk.PutResourcePolicyOutput, error) {
	x, err := a.Secrets.PutPolicy(ctx, c.Caller, *in.SecretId, *in.ResourcePolicy, deref(in.BlockPublicPolicy))
	if err != nil {
		return nil, err
	}
	return &sdk.PutResourcePolicyOutput{ARN: &x.ARN, Name: &x.Name}, nil
}

func (a *API) getResourcePolicy(ctx context.Context, c *awsapi.Call, in *sdk.GetResourcePolicyInput) (*sdk.GetResourcePolicyOutput, error) {
	x, document, err := a.Secrets.Policy(ctx, c.Caller, *in.SecretId)
	if err != nil {
		return nil, err
	}
	return &sdk.GetResourcePolicyOutput{ARN: &x.ARN, Name: &x.Name, ResourcePolicy: text(document)}, nil
}

func (a *API) deleteResourcePolicy(ctx context.Context, c *awsapi.Call, in *sdk.DeleteResourcePolicyInput) (*sdk.DeleteResourcePolicyOutput, error) {
	x, err := a.Secrets.DeletePolicy(ctx, c.Caller, *in.SecretId)
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteResourcePolicyOutput{ARN: &x.ARN, Name: &x.Name}, nil
}

func (a *API) validateResourcePolicy(ctx context.Context, c *awsapi.Call, in *sdk.ValidateResourcePolicyInput) (*sdk.ValidateResourcePolicyOutput, error) {
	problems, err := a.Secrets.ValidatePolicy(ctx, c.Caller, deref(in.SecretId), *in.ResourcePolicy)
	if err != nil {
		return nil, err
	}
	out := &sdk.ValidateResourcePolicyOutput{PolicyValidationPassed: len(problems) == 0, ValidationErrors: []types.ValidationErrorsEntry{}}
	for _, p := range problems {
		out.ValidationErrors = append(out.ValidationErrors, types.ValidationErrorsEntry{CheckName: &p.Check, ErrorMessage: &p.Message})
	}
	return out, nil
}
