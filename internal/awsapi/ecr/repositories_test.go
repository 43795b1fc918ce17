package ecr_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sekisho/sekisho/internal/awsapi/ecr"
	"github.com/sekisho/sekisho/internal/httpx"
)

// wantError fails unless err is an API error with the code and a message that contains text.
func wantError(t *testing.T, err error, code, text string) {
	t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), text) {
		t.Errorf("got  %v\nwant %s: %s", err, code, text)
	}
}

var ignoreMetadata = cmp.Options{cmpopts.IgnoreUnexported(
	types.Repository{}, types.ImageScanningConfiguration{}, types.EncryptionConfiguration{}, types.ImageTagMutabilityExclusionFilter{},
	types.Tag{}, types.ImageDetail{}, types.ImageIdentifier{}, types.ImageFailure{}, types.Layer{}, types.LayerFailure{},
)}

func TestRepositories(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	created, err := s.client.CreateRepository(ctx, &sdk.CreateRepositoryInput{
		RepositoryName:                     aws.String("team/app"),
		ImageTagMutability:                 types.ImageTagMutabilityImmutableWithExclusion,
		ImageTagMutabilityExclusionFilters: []types.ImageTagMutabilityExclusionFilter{{Filter: aws.String("dev-*"), FilterType: "WILDCARD"}},
		ImageScanningConfiguration:         &types.ImageScanningConfiguration{ScanOnPush: true},
		EncryptionConfiguration:            &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeKms, KmsKey: aws.String("alias/x")},
		Tags:                               []types.Tag{{Key: aws.String("owner"), Value: aws.String("me")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &types.Repository{
		RegistryId:                         aws.String(account),
		RepositoryName:                     aws.String("team/app"),
		RepositoryArn:                      aws.String("arn:aws:ecr:eu-west-1:111122223333:repository/team/app"),
		RepositoryUri:                      aws.String(s.host(t) + "/team/app"),
		ImageTagMutability:                 types.ImageTagMutabilityImmutableWithExclusion,
		ImageTagMutabilityExclusionFilters: []types.ImageTagMutabilityExclusionFilter{{Filter: aws.String("dev-*"), FilterType: "WILDCARD"}},
		ImageScanningConfiguration:         &types.ImageScanningConfiguration{ScanOnPush: true},
		EncryptionConfiguration:            &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeKms, KmsKey: aws.String("alias/x")},
	}
	ignoreTime := cmpopts.IgnoreFields(types.Repository{}, "CreatedAt")
	if diff := cmp.Diff(want, created.Repository, ignoreMetadata, ignoreTime); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	if age := time.Since(*created.Repository.CreatedAt); age < 0 || age > time.Minute {
		t.Errorf("created at %v", created.Repository.CreatedAt)
	}
	_, err = s.client.CreateRepository(ctx, &sdk.CreateRepositoryInput{RepositoryName: aws.String("team/app")})
	wantError(t, err, "RepositoryAlreadyExistsException", "The repository with name 'team/app' already exists in the registry with id '111122223333'")

	// Defaults are spelt out: Terraform compares them.
	s.createRepository(t, "plain")
	got, err := s.client.DescribeRepositories(ctx, &sdk.DescribeRepositoriesInput{RepositoryNames: []string{"plain", "team/app"}})
	if err != nil || len(got.Repositories) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	if diff := cmp.Diff(created.Repository, &got.Repositories[1], ignoreMetadata); diff != "" {
		t.Errorf("described (-created +described):\n%s", diff)
	}
	plain := got.Repositories[0]
	if plain.ImageTagMutability != "MUTABLE" || plain.EncryptionConfiguration.EncryptionType != "AES256" || plain.ImageScanningConfiguration == nil {
		t.Errorf("defaults %+v", plain)
	}
	_, err = s.client.DescribeRepositories(ctx, &sdk.DescribeRepositoriesInput{RepositoryNames: []string{"plain", "nope"}})
	wantError(t, err, "RepositoryNotFoundException", "The repository with name 'nope' does not exist in the registry with id '111122223333'")

	s.putImage(t, "plain", "v1")
	_, err = s.client.DeleteRepository(ctx, &sdk.DeleteRepositoryInput{RepositoryName: aws.String("plain")})
	wantError(t, err, "RepositoryNotEmptyException", "The repository with name 'plain' in registry with id '111122223333' cannot be deleted because it still contains images")
	deleted, err := s.client.DeleteRepository(ctx, &sdk.DeleteRepositoryInput{RepositoryName: aws.String("plain"), Force: true})
	if err != nil || *deleted.Repository.RepositoryName != "plain" {
		t.Errorf("%v, %v", deleted, err)
	}
	_, err = s.client.DeleteRepository(ctx, &sdk.DeleteRepositoryInput{RepositoryName: aws.String("plain")})
	wantError(t, err, "RepositoryNotFoundException", "'plain'")
}

func TestInvalidParameters(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	create := func(edit func(*sdk.CreateRepositoryInput)) error {
		in := &sdk.CreateRepositoryInput{RepositoryName: aws.String("a1")}
		edit(in)
		_, err := s.client.CreateRepository(ctx, in)
		return err
	}
	for _, tt := range []struct {
		err        error
		code, text string
	}{
		{create(func(in *sdk.CreateRepositoryInput) { in.RepositoryName = aws.String("UPPER") }), "InvalidParameterException",
			`Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression '[a-z0-9]+`},
		{create(func(in *sdk.CreateRepositoryInput) { in.RepositoryName = aws.String("a") }), "InvalidParameterException",
			"Invalid parameter at 'repositoryName' failed to satisfy constraint: 'Member must have length greater than or equal to 2'"},
		{create(func(in *sdk.CreateRepositoryInput) { in.RepositoryName = aws.String("111122223333/x") }), "InvalidParameterException", "must not start with 12 digits"},
		{create(func(in *sdk.CreateRepositoryInput) { in.RegistryId = aws.String("1") }), "InvalidParameterException", "'registryId'"},
		{create(func(in *sdk.CreateRepositoryInput) { in.RegistryId = aws.String("999999999999") }), "AccessDeniedException",
			"User: arn:aws:iam::111122223333:root is not authorized to perform: ecr:CreateRepository on resource: arn:aws:ecr:eu-west-1:999999999999:repository/a1 " +
				"because no identity-based policy allows the ecr:CreateRepository action"},
		{create(func(in *sdk.CreateRepositoryInput) { in.ImageTagMutability = "SOMETIMES" }), "InvalidParameterException", "'Member must satisfy enum value set: [MUTABLE,"},
		{create(func(in *sdk.CreateRepositoryInput) {
			in.ImageTagMutability = types.ImageTagMutabilityMutableWithExclusion
		}), "InvalidParameterException", "imageTagMutabilityExclusionFilters"},
		{create(func(in *sdk.CreateRepositoryInput) {
			in.EncryptionConfiguration = &types.EncryptionConfiguration{EncryptionType: "AES256", KmsKey: aws.String("x")}
		}), "InvalidParameterException", "KMS key"},
		{create(func(in *sdk.CreateRepositoryInput) {
			in.Tags = []types.Tag{{Key: aws.String("a"), Value: aws.String("")}, {Key: aws.String("a"), Value: aws.String("")}}
		}), "InvalidTagParameterException", "Duplicate tag keys found: a"},
		{create(func(in *sdk.CreateRepositoryInput) {
			in.Tags = []types.Tag{{Key: aws.String("AWS:x"), Value: aws.String("")}}
		}), "InvalidTagParameterException", "reserved"},
	} {
		wantError(t, tt.err, tt.code, tt.text)
	}
	_, err := s.client.DescribeRepositories(ctx, &sdk.DescribeRepositoriesInput{MaxResults: aws.Int32(1001)})
	wantError(t, err, "InvalidParameterException", "'Member must have value less than or equal to 1000'")
	_, err = s.client.DescribeRepositories(ctx, &sdk.DescribeRepositoriesInput{MaxResults: aws.Int32(1), RepositoryNames: []string{"a1"}})
	wantError(t, err, "InvalidParameterException", "repositoryNames")
	for _, token := range []string{"x", "", "e30", strings.Repeat("e30", 1000), base64.RawURLEncoding.EncodeToString([]byte(`{"a":1}`)),
		base64.RawURLEncoding.EncodeToString([]byte(`{"a":"\u0000"}`))} { // which PostgreSQL has no text for
		_, err = s.client.DescribeRepositories(ctx, &sdk.DescribeRepositoriesInput{NextToken: &token})
		wantError(t, err, "InvalidParameterException", "'nextToken'")
	}
	out, err := s.client.DescribeRepositories(ctx, &sdk.DescribeRepositoriesInput{})
	if err != nil || out.Repositories == nil || len(out.Repositories) != 0 {
		t.Errorf("%v, %v; want an empty list, not none", out.Repositories, err)
	}
}

func TestDescribeRepositoriesPages(t *testing.T) {
	s := newServer(t)
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("r%d", i)
		s.createRepository(t, name)
		want = append(want, name)
	}
	for _, size := range []int32{1, 3, 6, 7, 8} {
		var got []string
		pages := sdk.NewDescribeRepositoriesPaginator(s.client, &sdk.DescribeRepositoriesInput{MaxResults: &size})
		n := 0
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Repositories {
				got = append(got, *r.RepositoryName)
			}
			n++
		}
		if diff := cmp.Diff(want, got); diff != "" || n != (7+int(size)-1)/int(size) {
			t.Errorf("pages of %d: %d pages (-want +got):\n%s", size, n, diff)
		}
	}
}

func TestTags(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	s.createRepository(t, "app")
	arn := aws.String("arn:aws:ecr:eu-west-1:111122223333:repository/app")
	tags := func(pairs ...string) (out []types.Tag) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
		}
		return out
	}
	list := func(want ...string) {
		t.Helper()
		got, err := s.client.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: arn})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tags(want...), got.Tags, ignoreMetadata, cmpopts.EquateEmpty()); diff != "" || got.Tags == nil {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	list()
	if _, err := s.client.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: arn, Tags: tags("b", "2", "a", "1")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: arn, Tags: tags("b", "3")}); err != nil {
		t.Fatal(err)
	}
	list("a", "1", "b", "3")
	if _, err := s.client.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"a", "nope"}}); err != nil {
		t.Fatal(err)
	}
	list("b", "3")

	for _, bad := range []string{
		"", "app", "arn:aws:ecr:us-east-1:111122223333:repository/app", "arn:aws:s3:eu-west-1:111122223333:repository/app",
		"arn:aws:ecr:eu-west-1:1:repository/app", "arn:aws:ecr:eu-west-1:111122223333:repository/", "arn:aws:ecr:eu-west-1:111122223333:registry/app",
	} {
		_, err := s.client.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: &bad})
		wantError(t, err, "InvalidParameterException", "Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN'")
	}
	_, err := s.client.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: aws.String(*arn + "2")})
	wantError(t, err, "RepositoryNotFoundException", "app2")
	_, err = s.client.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: aws.String("arn:aws:ecr:eu-west-1:999999999999:repository/app")})
	wantError(t, err, "AccessDeniedException", "ecr:ListTagsForResource on resource: arn:aws:ecr:eu-west-1:999999999999:repository/app")
}

func TestGetAuthorizationToken(t *testing.T) {
	s := newServer(t)
	//lint:ignore SA1019 deprecated, but sent
	out, err := s.client.GetAuthorizationToken(t.Context(), &sdk.GetAuthorizationTokenInput{RegistryIds: []string{account, "999999999999"}})
	if err != nil || len(out.AuthorizationData) != 2 {
		t.Fatalf("%v, %v", out, err)
	}
	data := out.AuthorizationData[0]
	if *data.ProxyEndpoint != s.URL {
		t.Errorf("proxyEndpoint %q, want %q", *data.ProxyEndpoint, s.URL)
	}
	if left := time.Until(*data.ExpiresAt); left < 11*time.Hour || left > 12*time.Hour {
		t.Errorf("expires in %v", left)
	}
	decoded, err := base64.StdEncoding.DecodeString(*data.AuthorizationToken)
	if err != nil || !strings.HasPrefix(string(decoded), "AWS:") || len(*data.AuthorizationToken) > 4<<10 {
		t.Errorf("token %q, %v", decoded, err)
	}
	// As ECR has it, the token is the whole parameter of Basic.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Basic "+*data.AuthorizationToken)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("GET /v2/ with the token: %s", resp.Status)
	}
	registry, err := s.client.DescribeRegistry(t.Context(), &sdk.DescribeRegistryInput{})
	if err != nil || *registry.RegistryId != account || registry.ReplicationConfiguration == nil || registry.ReplicationConfiguration.Rules == nil {
		t.Errorf("registry %+v, %v", registry, err)
	}
}

// TestAddresses tells by which address clients are sent to a repository.
func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		name           string
		domain, public string
		secure         bool
		host           string // that the request is for
		account        string
		uri, endpoint  string
	}{
		{"default account", "", "", false, "localhost:5000", account, "localhost:5000/app", "http://localhost:5000"},
		{"other account", "", "", true, "registry.example", "444455556666", "registry.example/444455556666/app", "https://registry.example"},
		{"public URL", "", "https://registry.example:8443", false, "10.0.0.1:5000", account, "registry.example:8443/app", "https://registry.example:8443"},
		{"IPv6", "", "", false, "[::1]:5000", account, "[::1]:5000/app", "http://[::1]:5000"},
		{"domain", "amazonaws.com", "", true, "api.ecr.eu-west-1.amazonaws.com", account,
			"111122223333.dkr.ecr.eu-west-1.amazonaws.com/app", "https://111122223333.dkr.ecr.eu-west-1.amazonaws.com"},
		{"domain and port", "example.com", "", false, "localhost:5000", "444455556666",
			"444455556666.dkr.ecr.eu-west-1.example.com:5000/app", "http://444455556666.dkr.ecr.eu-west-1.example.com:5000"},
		{"domain and public URL", "example.com", "https://registry.example", false, "localhost:5000", account,
			"111122223333.dkr.ecr.eu-west-1.example.com/app", "https://111122223333.dkr.ecr.eu-west-1.example.com"},
		{"domain and IPv6", "example.com", "", false, "[::1]", account, "111122223333.dkr.ecr.eu-west-1.example.com/app", "http://111122223333.dkr.ecr.eu-west-1.example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			uri, endpoint := ecr.AddressesFor(t, tt.domain, tt.public, tt.account, httpx.Origin{Secure: tt.secure, Host: tt.host})
			if uri != tt.uri || endpoint != tt.endpoint {
				t.Errorf("got  %s, %s\nwant %s, %s", uri, endpoint, tt.uri, tt.endpoint)
			}
		})
	}
}
