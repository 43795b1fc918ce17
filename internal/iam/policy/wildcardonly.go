package policy

import "strings"

// wildcardOnly are actions that have no resource, so that a statement applies
// to them only with Resource "*" (the Service Authorization Reference: actions
// without a resource type). It is not the whole catalogue: it covers what the
// server itself has, and what is often asked about beside it.
var wildcardOnly = wordSet(`
ecr:CreatePullThroughCacheRule ecr:CreateRepositoryCreationTemplate ecr:DeletePullThroughCacheRule
ecr:DeleteRegistryPolicy ecr:DeleteRepositoryCreationTemplate ecr:DeleteSigningConfiguration ecr:DeregisterPullTimeUpdateExclusion
ecr:DescribePullThroughCacheRules ecr:DescribeRegistry ecr:DescribeRepositoryCreationTemplates
ecr:GetAccountSetting ecr:GetAuthorizationToken ecr:GetRegistryPolicy ecr:GetRegistryScanningConfiguration
ecr:GetSigningConfiguration ecr:ListPullTimeUpdateExclusions ecr:PutAccountSetting ecr:PutRegistryPolicy ecr:PutRegistryScanningConfiguration
ecr:PutReplicationConfiguration ecr:PutSigningConfiguration ecr:RegisterPullTimeUpdateExclusion
ecr:UpdatePullThroughCacheRule ecr:UpdateRepositoryCreationTemplate ecr:ValidatePullThroughCacheRule
ecr-public:GetAuthorizationToken ecr-public:DescribeRegistries ecr-public:GetRegistryCatalogData ecr-public:PutRegistryCatalogData
iam:CreateAccountAlias iam:DeleteAccountAlias iam:DeleteAccountPasswordPolicy iam:GenerateCredentialReport
iam:GetAccountAuthorizationDetails iam:GetAccountEmailAddress iam:GetAccountName iam:GetAccountPasswordPolicy iam:GetAccountSummary
iam:GetContextKeysForCustomPolicy iam:GetCredentialReport iam:GetServiceLastAccessedDetails
iam:GetServiceLastAccessedDetailsWithEntities iam:ListAccountAliases iam:ListGroups iam:ListInstanceProfiles
iam:ListOpenIDConnectProviders iam:ListPolicies iam:ListRoles iam:ListSAMLProviders iam:ListServerCertificates
iam:ListUsers iam:ListVirtualMFADevices iam:SetSecurityTokenServicePreferences iam:SimulateCustomPolicy
iam:UpdateAccountEmailAddress iam:UpdateAccountName iam:UpdateAccountPasswordPolicy iam:ListSTSRegionalEndpointsStatus
kms:ConnectCustomKeyStore kms:CreateCustomKeyStore kms:CreateKey kms:DeleteCustomKeyStore kms:DescribeCustomKeyStores
kms:DisconnectCustomKeyStore kms:GenerateRandom kms:ListAliases kms:ListKeys kms:UpdateCustomKeyStore
s3:CreateJob s3:GetAccessPoint s3:GetAccountPublicAccessBlock s3:ListAccessPoints s3:ListAllMyBuckets
s3:ListAccessGrantsInstances s3:ListJobs s3:ListMultiRegionAccessPoints s3:ListStorageLensConfigurations s3:ListStorageLensGroups
s3:PutAccessPointPublicAccessBlock s3:PutAccountPublicAccessBlock s3:PutStorageLensConfiguration
secretsmanager:BatchGetSecretValue secretsmanager:GetRandomPassword secretsmanager:ListSecrets
sts:DecodeAuthorizationMessage sts:GetAccessKeyInfo sts:GetCallerIdentity sts:GetServiceBearerToken sts:GetSessionToken
sqs:ListQueues sns:ListTopics sns:ListSubscriptions sns:ListPlatformApplications dynamodb:ListTables dynamodb:DescribeLimits
lambda:ListFunctions lambda:GetAccountSettings logs:DescribeQueries
agents:ListPools pipelines:ListProjects
tag:GetResources tag:GetTagKeys tag:GetTagValues organizations:DescribeOrganization organizations:LeaveOrganization
`)

// wordSet returns the words of a text in lower case.
func wordSet(text string) map[string]bool {
	set := map[string]bool{}
	for _, word := range strings.Fields(text) {
		set[strings.ToLower(word)] = true
	}
	return set
}

// HasResource reports whether an action is on resources, so that policies can
// name which. Of an action that is not known here it is assumed.
func HasResource(action string) bool {
	return !wildcardOnly[strings.ToLower(action)]
}
