package secretsmanager

import "github.com/sekisho/sekisho/internal/awsapi"

// The constraints of the service's model. A test holds them against botocore's copy of it; only replicas, which are
// refused, are not looked at.
var (
	secretID     = awsapi.Member{Path: "SecretId", Required: true, Min: 1, Max: 2048}
	token32      = awsapi.Member{Path: "ClientRequestToken", Min: 32, Max: 64}
	description  = awsapi.Member{Path: "Description", Max: 2048}
	kmsKeyID     = awsapi.Member{Path: "KmsKeyId", Max: 2048}
	secretBinary = awsapi.Member{Path: "SecretBinary", Min: 1, Max: 65536, Sensitive: true}
	secretString = awsapi.Member{Path: "SecretString", Min: 1, Max: 65536, Sensitive: true}
	tagKey       = awsapi.Member{Path: "Tags[].Key", Min: 1, Max: 128}
	tagValue     = awsapi.Member{Path: "Tags[].Value", Max: 256}
	secretType   = awsapi.Member{Path: "Type", Max: 256}
	nextToken    = awsapi.Member{Path: "NextToken", Min: 1, Max: 4096}
	maxResults   = awsapi.Member{Path: "MaxResults", Min: 1, Max: 100}
	filterList   = awsapi.Member{Path: "Filters", Max: 10}
	filterValues = awsapi.Member{Path: "Filters[].Values", Min: 1, Max: 10}
	filterValue  = awsapi.Member{Path: "Filters[].Values[]", Max: 512, Pattern: awsapi.Pattern(`^\!?[a-zA-Z0-9 :_@\/\+\=\.\-\!]*$`)}
	policyText   = awsapi.Member{Path: "ResourcePolicy", Required: true, Min: 1, Max: 20480}
)

var constraints = map[string][]awsapi.Member{
	"CreateSecret": {
		{Path: "Name", Required: true, Min: 1, Max: 512}, token32, description, kmsKeyID, secretBinary, secretString, tagKey, tagValue,
		{Path: "AddReplicaRegions", Min: 1}, secretType,
	},
	"UpdateSecret":   {secretID, token32, description, kmsKeyID, secretBinary, secretString, secretType},
	"DescribeSecret": {secretID},
	"ListSecrets":    {maxResults, nextToken, filterList, filterValues, filterValue},
	"DeleteSecret":   {secretID},
	"RestoreSecret":  {secretID},
	"GetSecretValue": {
		secretID, {Path: "VersionId", Min: 32, Max: 64}, {Path: "VersionStage", Min: 1, Max: 256},
	},
	"BatchGetSecretValue": {
		{Path: "SecretIdList", Min: 1, Max: 20}, {Path: "SecretIdList[]", Min: 1, Max: 2048}, filterList, filterValues, filterValue,
		{Path: "MaxResults", Min: 1, Max: 20}, nextToken,
	},
	"PutSecretValue": {
		secretID, token32, secretBinary, secretString, {Path: "VersionStages", Min: 1, Max: 20}, {Path: "VersionStages[]", Min: 1, Max: 256},
		{Path: "RotationToken", Min: 36, Max: 256, Sensitive: true, Pattern: awsapi.Pattern(`^[a-zA-Z0-9\-]+$`)},
	},
	"ListSecretVersionIds": {secretID, maxResults, nextToken},
	"UpdateSecretVersionStage": {
		secretID, {Path: "VersionStage", Required: true, Min: 1, Max: 256}, {Path: "RemoveFromVersionId", Min: 32, Max: 64}, {Path: "MoveToVersionId", Min: 32, Max: 64},
	},
	"GetRandomPassword":      {{Path: "PasswordLength", Min: 1, Max: 4096}, {Path: "ExcludeCharacters", Max: 4096}},
	"TagResource":            {secretID, {Path: "Tags", Required: true}, tagKey, tagValue},
	"UntagResource":          {secretID, {Path: "TagKeys", Required: true}, {Path: "TagKeys[]", Min: 1, Max: 128}},
	"PutResourcePolicy":      {secretID, policyText},
	"GetResourcePolicy":      {secretID},
	"DeleteResourcePolicy":   {secretID},
	"ValidateResourcePolicy": {{Path: "SecretId", Min: 1, Max: 2048}, policyText},
}
