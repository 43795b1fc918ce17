package ecr

import "github.com/sekisho/sekisho/internal/awsapi"

// The constraints of the operations on registries as wholes.
var (
	prefixPattern = awsapi.Pattern(`^([a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\/?|ROOT)$`)

	templatePrefix = awsapi.Member{Path: "prefix", Required: true, Min: 1, Max: 256, Pattern: prefixPattern}
	rulePrefix     = awsapi.Member{Path: "ecrRepositoryPrefix", Required: true, Min: 2, Max: 30, Pattern: prefixPattern}
	roleARN        = awsapi.Member{Path: "customRoleArn", Max: 2048}
	settingName    = awsapi.Member{Path: "name", Required: true, Min: 1, Max: 64}
	credentialARN  = awsapi.Member{Path: "credentialArn", Min: 50, Max: 612,
		Pattern: awsapi.Pattern(`^arn:aws(-\w+)*:secretsmanager:[a-zA-Z0-9-:]+:secret:ecr\-pullthroughcache\/[a-zA-Z0-9\/_+=.@-]+$`)}
	principalARN = awsapi.Member{Path: "principalArn", Required: true, Max: 200,
		Pattern: awsapi.Pattern(`^arn:aws(-[a-z]+)*:iam::[0-9]{12}:(role|user)/[\w+=,.@-]+(/[\w+=,.@-]+)*$`)}

	templateContent = []awsapi.Member{
		templatePrefix, roleARN, {Path: "description", Max: 256},
		{Path: "encryptionConfiguration.encryptionType", Required: true},
		{Path: "encryptionConfiguration.kmsKey", Max: 2048, Pattern: awsapi.Pattern(`^$|arn:aws[a-z0-9-]*:kms:[a-z0-9-]+:[0-9]{12}:key\/[a-z0-9-]+`)},
		{Path: "resourceTags[].Key", Required: true}, {Path: "resourceTags[].Value", Required: true},
		{Path: "imageTagMutabilityExclusionFilters", Min: 1, Max: 5},
		{Path: "imageTagMutabilityExclusionFilters[].filterType", Required: true},
		{Path: "imageTagMutabilityExclusionFilters[].filter", Required: true, Min: 1, Max: 128, Pattern: awsapi.Pattern(`^[0-9a-zA-Z._*-]{1,128}$`)},
		{Path: "repositoryPolicy", Max: 10_240}, {Path: "lifecyclePolicy", Max: 30_720},
	}
)

var registryConstraints = map[string][]awsapi.Member{
	"PutRegistryPolicy":    {{Path: "policyText", Required: true, Max: 10_240}},
	"GetRegistryPolicy":    nil,
	"DeleteRegistryPolicy": nil,

	"GetAccountSetting": {settingName},
	"PutAccountSetting": {settingName, {Path: "value", Required: true}},

	"RegisterPullTimeUpdateExclusion":   {principalARN},
	"DeregisterPullTimeUpdateExclusion": {principalARN},
	"ListPullTimeUpdateExclusions":      {maxResults},

	"CreateRepositoryCreationTemplate": append([]awsapi.Member{{Path: "appliedFor", Required: true}}, templateContent...),
	"UpdateRepositoryCreationTemplate": templateContent,
	"DeleteRepositoryCreationTemplate": {templatePrefix},
	"DescribeRepositoryCreationTemplates": {
		maxResults, {Path: "prefixes[]", Min: 1, Max: 256, Pattern: prefixPattern},
	},

	"CreatePullThroughCacheRule": {
		registryID, rulePrefix, credentialARN, roleARN, {Path: "upstreamRegistryUrl", Required: true},
		{Path: "upstreamRepositoryPrefix", Min: 2, Max: 30, Pattern: prefixPattern},
	},
	"UpdatePullThroughCacheRule": {registryID, rulePrefix, credentialARN, roleARN},
	"DeletePullThroughCacheRule": {registryID, rulePrefix},
	"DescribePullThroughCacheRules": {
		registryID, maxResults,
		{Path: "ecrRepositoryPrefixes", Min: 1, Max: 100}, {Path: "ecrRepositoryPrefixes[]", Min: 2, Max: 30, Pattern: prefixPattern},
	},

	"PutReplicationConfiguration": {
		{Path: "replicationConfiguration", Required: true},
		{Path: "replicationConfiguration.rules", Required: true, Max: 10},
		{Path: "replicationConfiguration.rules[].destinations", Required: true, Max: 100},
		{Path: "replicationConfiguration.rules[].destinations[].region", Required: true, Min: 2, Max: 25, Pattern: awsapi.Pattern(`[0-9a-z-]{2,25}`)},
		{Path: "replicationConfiguration.rules[].destinations[].registryId", Required: true, Pattern: registryID.Pattern},
		{Path: "replicationConfiguration.rules[].repositoryFilters", Min: 1, Max: 100},
		{Path: "replicationConfiguration.rules[].repositoryFilters[].filterType", Required: true},
		{Path: "replicationConfiguration.rules[].repositoryFilters[].filter", Required: true, Min: 2, Max: 256,
			Pattern: awsapi.Pattern(`^(?:[a-z0-9]+(?:[._-][a-z0-9]*)*/)*[a-z0-9]*(?:[._-][a-z0-9]*)*$`)},
	},

	"GetRegistryScanningConfiguration": nil,
	"PutRegistryScanningConfiguration": {
		{Path: "rules", Max: 2}, {Path: "rules[].scanFrequency", Required: true},
		{Path: "rules[].repositoryFilters", Required: true, Max: 100},
		{Path: "rules[].repositoryFilters[].filterType", Required: true},
		{Path: "rules[].repositoryFilters[].filter", Required: true, Min: 1, Max: 255, Pattern: awsapi.Pattern(`^[a-z0-9*](?:[._\-/a-z0-9*]?[a-z0-9*]+)*$`)},
	},

	"GetSigningConfiguration":    nil,
	"DeleteSigningConfiguration": nil,
	"PutSigningConfiguration": {
		{Path: "signingConfiguration", Required: true},
		{Path: "signingConfiguration.rules", Required: true, Max: 10},
		{Path: "signingConfiguration.rules[].signingProfileArn", Required: true, Max: 200,
			Pattern: awsapi.Pattern(`^arn:aws(-[a-z]+)*:signer:[a-z0-9-]+:[0-9]{12}:\/signing-profiles\/[a-zA-Z0-9_]{2,}$`)},
		{Path: "signingConfiguration.rules[].repositoryFilters", Min: 1, Max: 100},
		{Path: "signingConfiguration.rules[].repositoryFilters[].filterType", Required: true},
		{Path: "signingConfiguration.rules[].repositoryFilters[].filter", Required: true, Min: 1, Max: 256,
			Pattern: awsapi.Pattern(`^(?:[a-z0-9*]+(?:[._-][a-z0-9*]+)*/)*[a-z0-9*]+(?:[._-][a-z0-9*]+)*$`)},
	},
}
