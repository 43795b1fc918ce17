package awsapi

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
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
		{`{"repositoryName":"éé"}`, "repositoryName", "must satisfy regular expression '[a-z]+'"},
		{`{"repositoryName":"abcde"}`, "repositoryName", "Member must have length less than or equal to 4"},
		{`{"repositoryName":"abc\n"}`, "repositoryName", "must satisfy regular expression '[a-z]+'"},
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
		if member, constraint := checks.broken(reflect.ValueOf(in)); member != tt.member || constraint != tt.constraint {
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
