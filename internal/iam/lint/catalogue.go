package lint

import "strings"

// action is one that policies can name.
type action struct {
	name    string // "ecr:PutImage"
	lower   string // the same in lower case
	service string
	// forms are patterns of what it is asked about: of an action that has no resource, literalStar.
	forms []string
	plain bool // it has no resource, or a registry as a whole
}

// services are those that the server has.
var services = []string{"agents", "ecr", "git", "iam", "pipelines", "secretsmanager", "sts"}

func isService(s string) bool {
	return ours(s) || s == "ecr" || s == "iam" || s == "secretsmanager" || s == "sts"
}

// ours reports whether a service is this server's own, which AWS has not: its resources are called as the server calls them.
func ours(s string) bool { return s == "agents" || s == "git" || s == "pipelines" }

// serviceOf returns the service of an action in lower case; "*" of all of them.
func serviceOf(action string) string {
	service, _, _ := strings.Cut(strings.ToLower(action), ":")
	return service
}

// resourceForms are what the types of resources look like, by service and type.
var resourceForms = map[string][]string{
	"ecr repository": {"arn:aws:ecr:*:*:repository/*"},
	"ecr registry":   {literalStar, "arn:aws:ecr:*:*:" + literalStar},

	"iam user": {"arn:aws:iam::*:user/*", "arn:aws:iam::*:root"}, // what a root user does with itself

	"sts role":           {"arn:aws:iam::*:role/*"},
	"sts user":           {"arn:aws:iam::*:user/*"},
	"sts root-user":      {"arn:aws:iam::*:root"},
	"sts federated-user": {"arn:aws:sts::*:federated-user/*"},
	"sts self-session":   {"arn:aws:sts::*:self"},

	"secretsmanager secret": {"arn:aws:secretsmanager:*:*:secret:*"},

	"agents pool": {"arn:aws:agents:*:*:pool/*"},

	"git account":    {"arn:aws:git:*:*:" + literalStar},
	"git repository": {"arn:aws:git:*:*:*/*"},

	"pipelines connection":  {"arn:aws:pipelines:*:*:project/*/connection/*"},
	"pipelines environment": {"arn:aws:pipelines:*:*:project/*/environment/*"},
	"pipelines pipeline":    {"arn:aws:pipelines:*:*:project/*/pipeline/*"},
	"pipelines project":     {"arn:aws:pipelines:*:*:project/*"},
	"pipelines repository":  {"arn:aws:git:*:*:*/*"},
	"pipelines run":         {"arn:aws:pipelines:*:*:project/*/run/*"},
	"pipelines variables":   {"arn:aws:pipelines:*:*:project/*/variables/*"},
}

// catalogue is every action of the services, by the Service Authorization Reference, and of the server's own. What it says of resources is also what
// the server asks: an account's registry is the resource arn:aws:ecr:<region>:<account>:*, its users are arn:aws:iam::<account>:user/.
// The sign - is for no resource.
var catalogue = readCatalogue(`
agents -: ListPools
agents pool: CreateEnrollmentCode CreatePool DeleteAgent DeletePool DescribePool RegisterAgent UpdateAgent UpdatePool
ecr -: GetAuthorizationToken
ecr registry: CreatePullThroughCacheRule CreateRepositoryCreationTemplate DeletePullThroughCacheRule
	DeleteRegistryPolicy DeleteRepositoryCreationTemplate DeleteSigningConfiguration DeregisterPullTimeUpdateExclusion
	DescribePullThroughCacheRules DescribeRegistry DescribeRepositoryCreationTemplates GetAccountSetting GetRegistryPolicy
	GetRegistryScanningConfiguration GetSigningConfiguration ListPullTimeUpdateExclusions PutAccountSetting
	PutRegistryPolicy PutRegistryScanningConfiguration PutReplicationConfiguration PutSigningConfiguration
	RegisterPullTimeUpdateExclusion UpdatePullThroughCacheRule UpdateRepositoryCreationTemplate
	ValidatePullThroughCacheRule
ecr repository: BatchCheckLayerAvailability BatchDeleteImage BatchGetImage BatchGetRepositoryScanningConfiguration
	BatchImportUpstreamImage CompleteLayerUpload CreateRepository DeleteLifecyclePolicy DeleteRepository
	DeleteRepositoryPolicy DescribeImageReplicationStatus DescribeImageScanFindings DescribeImageSigningStatus
	DescribeImages DescribeRepositories GetDownloadUrlForLayer GetImageCopyStatus GetLifecyclePolicy
	GetLifecyclePolicyPreview GetRepositoryPolicy InitiateLayerUpload ListImageReferrers ListImages ListTagsForResource
	PutImage PutImageScanningConfiguration PutImageTagMutability PutLifecyclePolicy ReplicateImage SetRepositoryPolicy
	StartImageScan StartLifecyclePolicyPreview TagResource UntagResource UpdateImageStorageClass UploadLayerPart
ecr repository,registry: DescribeReplicationBackfillResults ListReplicationBackfills StartReplicationBackfill
	StopReplicationBackfill
git account,repository: ListRepositories
git repository: BypassBranchRules CreateRepository DeleteRepository DescribeRepository ForcePush Pull Push
	UpdateRepository
iam -: CreateAccountAlias DeleteAccountAlias DeleteAccountPasswordPolicy DeleteCloudFrontPublicKey
	DisableOrganizationsRootCredentialsManagement DisableOrganizationsRootSessions DisableOutboundWebIdentityFederation
	EnableOrganizationsRootCredentialsManagement EnableOrganizationsRootSessions EnableOutboundWebIdentityFederation
	GenerateCredentialReport GetAccountAuthorizationDetails GetAccountEmailAddress GetAccountName GetAccountPasswordPolicy
	GetAccountSummary GetCloudFrontPublicKey GetContextKeysForCustomPolicy GetCredentialReport GetOrganizationsAccessReport
	GetOutboundWebIdentityFederationInfo GetServiceLastAccessedDetails GetServiceLastAccessedDetailsWithEntities
	ListAccountAliases ListCloudFrontPublicKeys ListDelegationRequests ListOrganizationsFeatures
	ListSTSRegionalEndpointsStatus SetSTSRegionalEndpointStatus SetSecurityTokenServicePreferences SimulateCustomPolicy
	UpdateAccountEmailAddress UpdateAccountName UpdateAccountPasswordPolicy UpdateCloudFrontPublicKey
	UploadCloudFrontPublicKey
iam -,group: ListGroups
iam -,instance-profile: ListInstanceProfiles
iam -,mfa: ListVirtualMFADevices
iam -,oidc-provider: ListOpenIDConnectProviders
iam -,policy: ListPolicies
iam -,role: ListRoles
iam -,saml-provider: ListSAMLProviders
iam -,server-certificate: ListServerCertificates
iam -,user: ListPersonalAccessTokens ListUsers
iam access-report: GenerateOrganizationsAccessReport
iam delegation-request: AcceptDelegationRequest AssociateDelegationRequest CreateDelegationRequest GetDelegationRequest
	GetHumanReadableSummary RejectDelegationRequest SendDelegationToken UpdateDelegationRequest
iam group: AddUserToGroup AttachGroupPolicy CreateGroup DeleteGroup DeleteGroupPolicy DetachGroupPolicy GetGroup
	GetGroupPolicy ListAttachedGroupPolicies ListGroupPolicies PutGroupPolicy RemoveUserFromGroup UpdateGroup
iam group,policy,role,user: GenerateServiceLastAccessedDetails
iam group,role,user: GetContextKeysForPrincipalPolicy ListPoliciesGrantingServiceAccess SimulatePrincipalPolicy
iam instance-profile: AddRoleToInstanceProfile CreateInstanceProfile DeleteInstanceProfile GetInstanceProfile
	ListInstanceProfileTags RemoveRoleFromInstanceProfile TagInstanceProfile UntagInstanceProfile
iam mfa: CreateVirtualMFADevice ListMFADeviceTags TagMFADevice UntagMFADevice
iam mfa,sms-mfa: DeleteVirtualMFADevice
iam oidc-provider: AddClientIDToOpenIDConnectProvider CreateOpenIDConnectProvider DeleteOpenIDConnectProvider
	GetOpenIDConnectProvider ListOpenIDConnectProviderTags RemoveClientIDFromOpenIDConnectProvider TagOpenIDConnectProvider
	UntagOpenIDConnectProvider UpdateOpenIDConnectProviderThumbprint
iam policy: CreatePolicy CreatePolicyVersion DeletePolicy DeletePolicyVersion GetPolicy GetPolicyVersion
	ListEntitiesForPolicy ListPolicyTags ListPolicyVersions SetDefaultPolicyVersion TagPolicy UntagPolicy
iam role: AttachRolePolicy CreateRole CreateServiceLinkedRole DeleteRole DeleteRolePermissionsBoundary DeleteRolePolicy
	DeleteServiceLinkedRole DetachRolePolicy GetRole GetRolePolicy GetServiceLinkedRoleDeletionStatus
	ListAttachedRolePolicies ListInstanceProfilesForRole ListRolePolicies ListRoleTags PassRole PutRolePermissionsBoundary
	PutRolePolicy TagRole UntagRole UpdateAssumeRolePolicy UpdateRole UpdateRoleDescription
iam saml-provider: CreateSAMLProvider DeleteSAMLProvider GetSAMLProvider ListSAMLProviderTags TagSAMLProvider
	UntagSAMLProvider UpdateSAMLProvider
iam server-certificate: DeleteServerCertificate GetServerCertificate ListServerCertificateTags TagServerCertificate
	UntagServerCertificate UpdateServerCertificate UploadServerCertificate
iam user: AttachUserPolicy ChangePassword CreateAccessKey CreateLoginProfile CreatePersonalAccessToken
	CreateServiceSpecificCredential CreateUser RevokePersonalAccessToken
	DeactivateMFADevice DeleteAccessKey DeleteLoginProfile DeleteSSHPublicKey DeleteServiceSpecificCredential
	DeleteSigningCertificate DeleteUser DeleteUserPermissionsBoundary DeleteUserPolicy DetachUserPolicy EnableMFADevice
	GetAccessKeyLastUsed GetLoginProfile GetMFADevice GetSSHPublicKey GetUser GetUserPolicy ListAccessKeys
	ListAttachedUserPolicies ListGroupsForUser ListMFADevices ListSSHPublicKeys ListServiceSpecificCredentials
	ListSigningCertificates ListUserPolicies ListUserTags PutUserPermissionsBoundary PutUserPolicy
	ResetServiceSpecificCredential ResyncMFADevice TagUser UntagUser UpdateAccessKey UpdateLoginProfile UpdateSSHPublicKey
	UpdateServiceSpecificCredential UpdateSigningCertificate UpdateUser UploadSSHPublicKey UploadSigningCertificate
pipelines -: ListProjects
pipelines connection: CreateConnection DeleteConnection DescribeConnection UpdateConnection
pipelines connection,environment,repository,variables: AuthorizePipeline
pipelines environment: CreateEnvironment DeleteEnvironment DescribeEnvironment UpdateEnvironment
pipelines environment,run: ApproveRun
pipelines pipeline: CreatePipeline DeletePipeline DescribePipeline UpdatePipeline
pipelines pipeline,run: StartRun
pipelines project: CreateProject DeleteProject DescribeProject ListConnections ListEnvironments ListPipelines
	ListVariableGroups UpdateProject
pipelines run: CancelRun DeleteRun DescribeRun ListRuns ReadArtifacts ReadLogs RerunRun UpdateRun
pipelines variables: CreateVariableGroup DeleteVariableGroup DescribeVariableGroup UpdateVariableGroup
sts -: DecodeAuthorizationMessage GetAccessKeyInfo GetCallerIdentity GetDelegatedAccessToken GetServiceBearerToken
	GetSessionToken GetWebIdentityToken TagGetWebIdentityToken
sts federated-user,user: GetFederationToken
sts role: AssumeRole AssumeRoleWithSAML AssumeRoleWithWebIdentity
sts role,self-session: SetContext
sts role,user: SetSourceIdentity TagSession
sts root-user: AssumeRoot
secretsmanager -: BatchGetSecretValue GetRandomPassword ListSecrets
secretsmanager secret: CancelRotateSecret CreateSecret DeleteResourcePolicy DeleteSecret DescribeSecret
	GetResourcePolicy GetSecretValue ListSecretVersionIds PutResourcePolicy PutSecretValue RemoveRegionsFromReplication
	ReplicateSecretToRegions RestoreSecret RotateSecret StopReplicationToReplica TagResource UntagResource UpdateSecret
	UpdateSecretVersionStage ValidateResourcePolicy
`)

func readCatalogue(text string) []*action {
	var all []*action
	var service, types string
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if head, rest, ok := strings.Cut(line, ": "); ok {
			service, types, _ = strings.Cut(head, " ")
			line = rest
		}
		var forms []string
		for t := range strings.SplitSeq(types, ",") {
			switch known := resourceForms[service+" "+t]; {
			case t == "-":
				forms = append(forms, literalStar)
			case known != nil:
				forms = append(forms, known...)
			default:
				forms = append(forms, "arn:aws:iam::*:"+t+"/*")
			}
		}
		for name := range strings.FieldsSeq(line) {
			all = append(all, &action{name: service + ":" + name, lower: lower(service + ":" + name), service: service, forms: forms, plain: forms[0] == literalStar})
		}
	}
	return all
}

// actionNames returns the names of the actions of a service, without it.
func actionNames(service string) []string {
	var names []string
	for _, a := range catalogue {
		if a.service == service {
			names = append(names, a.name[len(service)+1:])
		}
	}
	return names
}
