package awsapi

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

func TestConstraints(t *testing.T) {
	checks, err := compile(reflect.TypeFor[ecr.CreateRepositoryInput](), []Member{
		{Path: "repositoryName", Required: true, Min: 2, Max: 4, Pattern: Pattern(`[a-z]+`)},
		{Path: "tags", Min: 1, Max: 2},
		{Path: "tags[].Key", Required: true, Min: 1},
		{Path: "encryptionConfiguration.encryptionType", Required: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ json, member, constraint string }{
		{`{"repositoryName":"abc"}`, "", ""},
		{`{"repositoryName":"abc","tags":[{"Key":"k"}],"encryptionConfiguration":{"encryptionType":"KMS"},"imageTagMutability":"IMMUTABLE"}`, "", ""},
		{`{}`, "repositoryName", "Member must not be null"},
		{`{"repositoryName":null}`, "repositoryName", "Member must not be null"},
		{`{"repositoryName":""}`, "repositoryName", "Member must have length greater than or equal to 2"},
		{`{"repositoryName":"éé"}`, "repositoryName", "Member must satisfy regular expression pattern: [a-z]+"},
		{`{"repositoryName":"abcde"}`, "repositoryName", "Member must have length less than or equal to 4"},
		{`{"repositoryName":"abc\n"}`, "repositoryName", "Member must satisfy regular expression pattern: [a-z]+"},
		{`{"repositoryName":"abc","tags":[]}`, "tags", "Member must have length greater than or equal to 1"},
		{`{"repositoryName":"abc","tags":[{"Key":"a"},{"Key":"b"},{"Key":"c"}]}`, "tags", "Member must have length less than or equal to 2"},
		{`{"repositoryName":"abc","tags":[{"Key":"a"},{}]}`, "tags.2.member.Key", "Member must not be null"},
		{`{"repositoryName":"abc","encryptionConfiguration":{}}`, "encryptionConfiguration.encryptionType", "Member must not be null"},
		{`{"repositoryName":"abc","encryptionConfiguration":{"encryptionType":"ROT13"}}`, "encryptionConfiguration.encryptionType",
			"Member must satisfy enum value set: [AES256, KMS, KMS_DSSE]"},
		{`{"repositoryName":"abc","imageTagMutability":"maybe"}`, "imageTagMutability",
			"Member must satisfy enum value set: [MUTABLE, IMMUTABLE, IMMUTABLE_WITH_EXCLUSION, MUTABLE_WITH_EXCLUSION]"},
	} {
		var in ecr.CreateRepositoryInput
		if err := decodeJSON([]byte(tt.json), &in); err != nil {
			t.Fatal(err)
		}
		member, constraint := "", ""
		if found := checks.broken("", reflect.ValueOf(in), nil); len(found) > 0 {
			member, constraint = found[0].path, found[0].constraint
		}
		if member != tt.member || constraint != tt.constraint {
			t.Errorf("%s: %q, %q", tt.json, member, constraint)
		}
	}
}

func TestConstraintPaths(t *testing.T) {
	for _, path := range []string{"nothing", "tags.Key", "tags[].Name", "repositoryName.x", "repositoryName[]", "encryptionConfiguration.x"} {
		if _, err := compile(reflect.TypeFor[ecr.CreateRepositoryInput](), []Member{{Path: path, Required: true}}); err == nil {
			t.Errorf("compiled %q", path)
		} else if !strings.Contains(err.Error(), "member") {
			t.Errorf("%q: %v", path, err)
		}
	}
}

// TestValidationError has the words that IAM and most services have.
func TestValidationError(t *testing.T) {
	checks, err := compile(reflect.TypeFor[iam.CreateUserInput](), []Member{
		{Path: "UserName", Required: true, Min: 1, Max: 64, Pattern: Pattern(`[\w+=,.@-]+`)},
		{Path: "Path", Min: 1, Max: 512, Pattern: Pattern(`(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`)},
		{Path: "PermissionsBoundary", Min: 20, Sensitive: true},
		{Path: "Tags", Max: 50},
		{Path: "Tags[].Key", Required: true, Min: 1, Max: 128},
		{Path: "Tags[].Value", Required: true, Max: 256},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ form, want string }{
		{"UserName=ann&Path=/a/", ""},
		{"Path=/", "1 validation error detected: Value null at 'userName' failed to satisfy constraint: Member must not be null"},
		{"UserName=&Path=a", "2 validation errors detected: " +
			"Value '' at 'userName' failed to satisfy constraint: Member must have length greater than or equal to 1; " +
			`Value 'a' at 'path' failed to satisfy constraint: Member must satisfy regular expression pattern: (\u002F)|(\u002F[\u0021-\u007E]+\u002F)`},
		{"UserName=ann&PermissionsBoundary=hush", "1 validation error detected: " +
			"Value at 'permissionsBoundary' failed to satisfy constraint: Member must have length greater than or equal to 20"},
		{"UserName=" + strings.Repeat("a", 300), "1 validation error detected: " +
			"Value at 'userName' failed to satisfy constraint: Member must have length less than or equal to 64"},
		{"UserName=ann&Tags.member.1.Key=k&Tags.member.1.Value=&Tags.member.2.Value=v", "1 validation error detected: " +
			"Value null at 'tags.2.member.key' failed to satisfy constraint: Member must not be null"},
		{"UserName=a/b", "1 validation error detected: Value 'a/b' at 'userName' failed to satisfy constraint: " +
			`Member must satisfy regular expression pattern: [\w+=,.@-]+`},
	} {
		f, err := parseForm(tt.form)
		if err != nil {
			t.Fatal(err)
		}
		var in iam.CreateUserInput
		if err := f.decode(&in); err != nil {
			t.Fatal(err)
		}
		got := ""
		if found := checks.broken("", reflect.ValueOf(in), nil); len(found) > 0 {
			got = validationError(found).Error()
		}
		if got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.form, got, tt.want)
		}
	}
}
