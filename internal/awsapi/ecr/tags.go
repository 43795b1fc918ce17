package ecr

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

func (a *API) tagResource(ctx context.Context, c *awsapi.Call, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	r, err := a.resource(*in.ResourceArn)
	if err != nil {
		return nil, err
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if len(tags) == 0 {
		return nil, invalid("tags", "Member must have length greater than or equal to 1")
	}
	return &sdk.TagResourceOutput{}, a.Registry.TagRepository(ctx, c.Caller, r, tags, nil)
}

func (a *API) untagResource(ctx context.Context, c *awsapi.Call, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	r, err := a.resource(*in.ResourceArn)
	if err != nil {
		return nil, err
	}
	return &sdk.UntagResourceOutput{}, a.Registry.TagRepository(ctx, c.Caller, r, nil, in.TagKeys)
}

func (a *API) listTagsForResource(ctx context.Context, c *awsapi.Call, in *sdk.ListTagsForResourceInput) (*sdk.ListTagsForResourceOutput, error) {
	r, err := a.resource(*in.ResourceArn)
	if err != nil {
		return nil, err
	}
	tags, err := a.Registry.RepositoryTags(ctx, c.Caller, r)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListTagsForResourceOutput{Tags: []types.Tag{}}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out.Tags = append(out.Tags, types.Tag{Key: &key, Value: new(tags[key])})
	}
	return out, nil
}

// resource returns the repository that an ARN of this region names.
func (a *API) resource(arn string) (registry.Repo, error) {
	rest, ok := strings.CutPrefix(arn, "arn:aws:ecr:"+a.Judge.Region+":")
	account, name, found := strings.Cut(rest, ":repository/")
	if !ok || !found || !oci.IsAccount(account) || oci.CheckName(name) != nil {
		return registry.Repo{}, invalid("resourceArn", "Invalid ARN")
	}
	return registry.Repo{Account: account, Name: name}, nil
}

func tagMap(tags []types.Tag) (map[string]string, error) {
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		if _, ok := m[*t.Key]; ok {
			return nil, &types.InvalidTagParameterException{Message: new("Duplicate tag keys found: " + *t.Key)}
		}
		if strings.HasPrefix(strings.ToLower(*t.Key), "aws:") {
			return nil, &types.InvalidTagParameterException{Message: new("Tag keys with the prefix aws: are reserved: " + *t.Key)}
		}
		if n := utf8.RuneCountInString(*t.Key); n < 1 || n > 128 || utf8.RuneCountInString(*t.Value) > 256 {
			return nil, &types.InvalidTagParameterException{Message: new(fmt.Sprintf(
				"An invalid parameter has been specified: the tag key %q must have 1 to 128 characters, and its value at most 256", *t.Key))}
		}
		m[*t.Key] = *t.Value
	}
	return m, nil
}
