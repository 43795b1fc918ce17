package secretsmanager

import (
	"cmp"
	"context"
	"errors"

	sdk "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/secret"
)

func (a *API) getSecretValue(ctx context.Context, c *awsapi.Call, in *sdk.GetSecretValueInput) (*sdk.GetSecretValueOutput, error) {
	r, err := a.Secrets.Get(ctx, c.Caller, *in.SecretId, deref(in.VersionId), deref(in.VersionStage))
	if err != nil {
		return nil, err
	}
	out := &sdk.GetSecretValueOutput{
		ARN: &r.Secret.ARN, Name: &r.Secret.Name, VersionId: &r.ID, VersionStages: r.Stages, CreatedDate: &r.Created,
	}
	out.SecretString, out.SecretBinary = show(r.Value)
	return out, nil
}

// maxBatch is how many values one answer has.
const maxBatch = 20

func (a *API) batchGetSecretValue(ctx context.Context, c *awsapi.Call, in *sdk.BatchGetSecretValueInput) (*sdk.BatchGetSecretValueOutput, error) {
	if (in.SecretIdList == nil) == (in.Filters == nil) {
		return nil, badParameter("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	}
	if in.Filters == nil && (in.MaxResults != nil || in.NextToken != nil) {
		return nil, badParameter("'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
	}
	after, err := parseToken[secret.Cursor](in.NextToken)
	if err != nil {
		return nil, err
	}
	var items []secret.BatchItem
	var next *secret.Cursor
	if in.Filters == nil {
		items, err = a.Secrets.Batch(ctx, c.Caller, in.SecretIdList)
	} else {
		items, next, err = a.Secrets.BatchFiltered(ctx, c.Caller, secret.Query{
			Filters: filters(in.Filters), Limit: int(cmp.Or(deref(in.MaxResults), maxBatch)), After: after,
		})
	}
	if err != nil {
		return nil, err
	}
	out := &sdk.BatchGetSecretValueOutput{SecretValues: []types.SecretValueEntry{}, Errors: []types.APIErrorType{}}
	for _, item := range items {
		if item.Err != nil {
			out.Errors = append(out.Errors, batchError(item))
			continue
		}
		r := item.Read
		entry := types.SecretValueEntry{
			ARN: &r.Secret.ARN, Name: &r.Secret.Name, VersionId: &r.ID, VersionStages: r.Stages, CreatedDate: &r.Created,
		}
		entry.SecretString, entry.SecretBinary = show(r.Value)
		out.SecretValues = append(out.SecretValues, entry)
	}
	out.NextToken, err = token(next)
	return out, err
}

// batchError says why a secret of a batch has no value. The domain lets only errors through that a client may see.
func batchError(item secret.BatchItem) types.APIErrorType {
	e := types.APIErrorType{SecretId: &item.ID, Message: new(item.Err.Error())}
	if _, ok := errors.AsType[*iam.DeniedError](item.Err); ok {
		e.ErrorCode = new("AccessDeniedException")
	} else if explained := explain(item.Err); explained != nil {
		e.ErrorCode = new(explained.ErrorCode())
	}
	return e
}

func (a *API) putSecretValue(ctx context.Context, c *awsapi.Call, in *sdk.PutSecretValueInput) (*sdk.PutSecretValueOutput, error) {
	v, err := value(in.SecretString, in.SecretBinary)
	if err != nil {
		return nil, err
	}
	x, version, stages, err := a.Secrets.Put(ctx, c.Caller, *in.SecretId, v, deref(in.ClientRequestToken), in.VersionStages)
	if err != nil {
		return nil, err
	}
	return &sdk.PutSecretValueOutput{ARN: &x.ARN, Name: &x.Name, VersionId: &version, VersionStages: stages}, nil
}

func (a *API) listSecretVersionIDs(ctx context.Context, c *awsapi.Call, in *sdk.ListSecretVersionIdsInput) (*sdk.ListSecretVersionIdsOutput, error) {
	after, err := parseToken[secret.VersionCursor](in.NextToken)
	if err != nil {
		return nil, err
	}
	x, versions, next, err := a.Secrets.Versions(ctx, c.Caller, *in.SecretId, deref(in.IncludeDeprecated), pageSize(in.MaxResults), after)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListSecretVersionIdsOutput{ARN: &x.ARN, Name: &x.Name, Versions: []types.SecretVersionsListEntry{}}
	for _, v := range versions {
		out.Versions = append(out.Versions, types.SecretVersionsListEntry{
			VersionId: &v.ID, VersionStages: v.Stages, KmsKeyIds: []string{cmp.Or(v.KMSKeyID, "DefaultEncryptionKey")},
			CreatedDate: &v.Created, LastAccessedDate: moment(v.Accessed),
		})
	}
	out.NextToken, err = token(next)
	return out, err
}

func (a *API) updateSecretVersionStage(ctx context.Context, c *awsapi.Call, in *sdk.UpdateSecretVersionStageInput) (*sdk.UpdateSecretVersionStageOutput, error) {
	x, err := a.Secrets.MoveStage(ctx, c.Caller, *in.SecretId, *in.VersionStage, deref(in.RemoveFromVersionId), deref(in.MoveToVersionId))
	if err != nil {
		return nil, err
	}
	return &sdk.UpdateSecretVersionStageOutput{ARN: &x.ARN, Name: &x.Name}, nil
}

func (a *API) getRandomPassword(ctx context.Context, c *awsapi.Call, in *sdk.GetRandomPasswordInput) (*sdk.GetRandomPasswordOutput, error) {
	v, err := a.Secrets.Password(ctx, c.Caller, secret.PasswordRules{
		Length: int(deref(in.PasswordLength)), Exclude: deref(in.ExcludeCharacters),
		NoNumbers: deref(in.ExcludeNumbers), NoPunct: deref(in.ExcludePunctuation), NoUpper: deref(in.ExcludeUppercase), NoLower: deref(in.ExcludeLowercase),
		Space: deref(in.IncludeSpace), AnyMix: in.RequireEachIncludedType != nil && !*in.RequireEachIncludedType,
	})
	if err != nil {
		return nil, err
	}
	return &sdk.GetRandomPasswordOutput{RandomPassword: new(string(v.Reveal()))}, nil
}
