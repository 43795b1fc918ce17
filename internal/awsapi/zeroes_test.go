package awsapi

import (
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"
)

func TestZeroes(t *testing.T) {
	repository := func(s *types.ImageScanningConfiguration) types.Repository {
		return types.Repository{RepositoryName: aws.String("r"), ImageScanningConfiguration: s}
	}
	for _, tt := range []struct {
		out  smithy.Serializable
		want string
	}{
		{&ecr.DescribeRepositoriesOutput{}, `{}`},
		{&ecr.DescribeRepositoriesOutput{Repositories: []types.Repository{}}, `{"repositories":[]}`},
		{&ecr.DescribeRepositoriesOutput{Repositories: []types.Repository{
			repository(nil), repository(&types.ImageScanningConfiguration{}), repository(&types.ImageScanningConfiguration{ScanOnPush: true}),
		}}, `{"repositories":[{"repositoryName":"r"},{"imageScanningConfiguration":{"scanOnPush":false},"repositoryName":"r"},` +
			`{"imageScanningConfiguration":{"scanOnPush":true},"repositoryName":"r"}]}`},
		{&ecr.ValidatePullThroughCacheRuleOutput{Failure: aws.String("f")}, `{"failure":"f","isValid":false}`},
		{&ecr.ValidatePullThroughCacheRuleOutput{IsValid: true}, `{"isValid":true}`},
		{&ecr.DescribeImageScanFindingsOutput{ImageScanFindings: &types.ImageScanFindings{
			EnhancedFindings: []types.EnhancedImageScanFinding{{Score: 1.5}, {}},
		}}, `{"imageScanFindings":{"enhancedFindings":[{"score":1.5},{"score":0}]}}`},
	} {
		got, err := encodeJSON(t.Context(), complete{tt.out, zeroesOf(reflect.TypeOf(tt.out).Elem())})
		if err != nil || string(got) != tt.want {
			t.Errorf("%T: %v\ngot  %s\nwant %s", tt.out, err, got, tt.want)
		}
	}
}
