package iam

import (
	"slices"

	"github.com/sekisho/sekisho/internal/awsapi"
)

// The constraints of the service's model. A test holds them against botocore's copy of it.

// Kinds of members, by what holds for their values.
var (
	path       = awsapi.Member{Min: 1, Max: 512, Pattern: awsapi.Pattern(`(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`)}
	shortName  = awsapi.Member{Min: 1, Max: 64, Pattern: awsapi.Pattern(`[\w+=,.@-]+`)}
	arn        = awsapi.Member{Min: 20, Max: 2048}
	fifty      = awsapi.Member{Max: 50}
	tagKey     = awsapi.Member{Min: 1, Max: 128, Pattern: awsapi.Pattern(`[\p{L}\p{Z}\p{N}_.:/=+\-@]+`)}
	tagValue   = awsapi.Member{Max: 256, Pattern: awsapi.Pattern(`[\p{L}\p{Z}\p{N}_.:/=+\-@]*`)}
	name       = awsapi.Member{Min: 1, Max: 128, Pattern: awsapi.Pattern(`[\w+=,.@-]+`)}
	pathPrefix = awsapi.Member{Min: 1, Max: 512, Pattern: awsapi.Pattern(`\u002F[\u0021-\u007F]*`)}
	// A marker has the key of a tag at worst, in base64, which is longer than the model has it.
	marker            = awsapi.Member{Min: 1, Max: 1024, Pattern: awsapi.Pattern(`[\u0020-\u00FF]+`)}
	maxItems          = awsapi.Member{Min: 1, Max: 1000}
	document          = awsapi.Member{Min: 1, Max: 131072, Pattern: awsapi.Pattern(`[\u0009\u000A\u000D\u0020-\u00FF]+`)}
	policyPath        = awsapi.Member{Min: 1, Max: 512, Pattern: awsapi.Pattern(`((/[A-Za-z0-9\.,\+@=_-]+)*)/`)}
	keyID             = awsapi.Member{Min: 16, Max: 128, Pattern: awsapi.Pattern(`[\w]+`)}
	description       = awsapi.Member{Max: 1000, Pattern: awsapi.Pattern(`[\u0009\u000A\u000D\u0020-\u007E\u00A1-\u00FF]*`)}
	sessionDuration   = awsapi.Member{Min: 3600, Max: 43200}
	policyDescription = awsapi.Member{Max: 1000}
	versionID         = awsapi.Member{Pattern: awsapi.Pattern(`v[1-9][0-9]*(\.[A-Za-z0-9-]*)?`)}
	clientID          = awsapi.Member{Min: 1, Max: 255}
	thumbprint        = awsapi.Member{Min: 40, Max: 40}
	// An alias has no two hyphens in a row either, which the directory checks: Go's patterns can't.
	alias            = awsapi.Member{Min: 3, Max: 63, Pattern: awsapi.Pattern(`^[a-z0-9]([a-z0-9]|-){1,61}[a-z0-9]$`)}
	actionName       = awsapi.Member{Min: 3, Max: 128}
	resourceName     = awsapi.Member{Min: 1, Max: 2048}
	contextKey       = awsapi.Member{Min: 5, Max: 256}
	resourceHandling = awsapi.Member{Min: 1, Max: 64}
)

type members = []awsapi.Member

// may is a member that can be left out, need one that can not.
func may(path string, kind awsapi.Member) awsapi.Member {
	kind.Path = path
	return kind
}

func need(path string, kind awsapi.Member) awsapi.Member {
	kind.Path, kind.Required = path, true
	return kind
}

// Members that many operations have.
var (
	anything = awsapi.Member{}
	paged    = members{may("Marker", marker), may("MaxItems", maxItems)}
	tagged   = members{may("Tags", fifty), need("Tags[].Key", tagKey), need("Tags[].Value", tagValue)}
	totag    = members{need("Tags", fifty), need("Tags[].Key", tagKey), need("Tags[].Value", tagValue)}
	untag    = members{need("TagKeys", fifty), may("TagKeys[]", tagKey)}
)

var constraints = map[string]members{
	"CreateUser": slices.Concat(members{
		may("Path", path), need("UserName", shortName), may("PermissionsBoundary", arn),
	}, tagged),
	"GetUser":                       {may("UserName", name)},
	"UpdateUser":                    {need("UserName", name), may("NewPath", path), may("NewUserName", shortName)},
	"DeleteUser":                    {need("UserName", name)},
	"ListUsers":                     slices.Concat(members{may("PathPrefix", pathPrefix)}, paged),
	"PutUserPolicy":                 {need("UserName", name), need("PolicyName", name), need("PolicyDocument", document)},
	"GetUserPolicy":                 {need("UserName", name), need("PolicyName", name)},
	"DeleteUserPolicy":              {need("UserName", name), need("PolicyName", name)},
	"ListUserPolicies":              slices.Concat(members{need("UserName", name)}, paged),
	"AttachUserPolicy":              {need("UserName", shortName), need("PolicyArn", arn)},
	"DetachUserPolicy":              {need("UserName", shortName), need("PolicyArn", arn)},
	"ListAttachedUserPolicies":      slices.Concat(members{need("UserName", shortName), may("PathPrefix", policyPath)}, paged),
	"ListGroupsForUser":             slices.Concat(members{need("UserName", name)}, paged),
	"TagUser":                       slices.Concat(members{need("UserName", name)}, totag),
	"UntagUser":                     slices.Concat(members{need("UserName", name)}, untag),
	"ListUserTags":                  slices.Concat(members{need("UserName", name)}, paged),
	"PutUserPermissionsBoundary":    {need("UserName", shortName), need("PermissionsBoundary", arn)},
	"DeleteUserPermissionsBoundary": {need("UserName", shortName)},
	"CreateAccessKey":               {may("UserName", name)},
	"UpdateAccessKey":               {may("UserName", name), need("AccessKeyId", keyID), need("Status", anything)},
	"DeleteAccessKey":               {may("UserName", name), need("AccessKeyId", keyID)},
	"ListAccessKeys":                slices.Concat(members{may("UserName", name)}, paged),
	"GetAccessKeyLastUsed":          {need("AccessKeyId", keyID)},

	"CreateGroup":               {may("Path", path), need("GroupName", name)},
	"GetGroup":                  slices.Concat(members{need("GroupName", name)}, paged),
	"UpdateGroup":               {need("GroupName", name), may("NewPath", path), may("NewGroupName", name)},
	"DeleteGroup":               {need("GroupName", name)},
	"ListGroups":                slices.Concat(members{may("PathPrefix", pathPrefix)}, paged),
	"AddUserToGroup":            {need("GroupName", name), need("UserName", name)},
	"RemoveUserFromGroup":       {need("GroupName", name), need("UserName", name)},
	"PutGroupPolicy":            {need("GroupName", name), need("PolicyName", name), need("PolicyDocument", document)},
	"GetGroupPolicy":            {need("GroupName", name), need("PolicyName", name)},
	"DeleteGroupPolicy":         {need("GroupName", name), need("PolicyName", name)},
	"ListGroupPolicies":         slices.Concat(members{need("GroupName", name)}, paged),
	"AttachGroupPolicy":         {need("GroupName", name), need("PolicyArn", arn)},
	"DetachGroupPolicy":         {need("GroupName", name), need("PolicyArn", arn)},
	"ListAttachedGroupPolicies": slices.Concat(members{need("GroupName", name), may("PathPrefix", policyPath)}, paged),

	"CreateRole": slices.Concat(members{
		may("Path", path), need("RoleName", shortName), need("AssumeRolePolicyDocument", document),
		may("Description", description), may("MaxSessionDuration", sessionDuration), may("PermissionsBoundary", arn),
	}, tagged),
	"GetRole": {need("RoleName", shortName)},
	"UpdateRole": {
		need("RoleName", shortName), may("Description", description), may("MaxSessionDuration", sessionDuration),
	},
	"UpdateRoleDescription":         {need("RoleName", shortName), need("Description", description)},
	"UpdateAssumeRolePolicy":        {need("RoleName", shortName), need("PolicyDocument", document)},
	"DeleteRole":                    {need("RoleName", shortName)},
	"ListRoles":                     slices.Concat(members{may("PathPrefix", pathPrefix)}, paged),
	"PutRolePolicy":                 {need("RoleName", shortName), need("PolicyName", name), need("PolicyDocument", document)},
	"GetRolePolicy":                 {need("RoleName", shortName), need("PolicyName", name)},
	"DeleteRolePolicy":              {need("RoleName", shortName), need("PolicyName", name)},
	"ListRolePolicies":              slices.Concat(members{need("RoleName", shortName)}, paged),
	"AttachRolePolicy":              {need("RoleName", shortName), need("PolicyArn", arn)},
	"DetachRolePolicy":              {need("RoleName", shortName), need("PolicyArn", arn)},
	"ListAttachedRolePolicies":      slices.Concat(members{need("RoleName", shortName), may("PathPrefix", policyPath)}, paged),
	"TagRole":                       slices.Concat(members{need("RoleName", shortName)}, totag),
	"UntagRole":                     slices.Concat(members{need("RoleName", shortName)}, untag),
	"ListRoleTags":                  slices.Concat(members{need("RoleName", shortName)}, paged),
	"PutRolePermissionsBoundary":    {need("RoleName", shortName), need("PermissionsBoundary", arn)},
	"DeleteRolePermissionsBoundary": {need("RoleName", shortName)},
	"ListInstanceProfilesForRole":   slices.Concat(members{need("RoleName", shortName)}, paged),

	"CreatePolicy": slices.Concat(members{
		need("PolicyName", name), may("Path", policyPath), need("PolicyDocument", document),
		may("Description", policyDescription),
	}, tagged),
	"GetPolicy":               {need("PolicyArn", arn)},
	"DeletePolicy":            {need("PolicyArn", arn)},
	"ListPolicies":            slices.Concat(members{may("PathPrefix", policyPath)}, paged),
	"CreatePolicyVersion":     {need("PolicyArn", arn), need("PolicyDocument", document)},
	"GetPolicyVersion":        {need("PolicyArn", arn), need("VersionId", versionID)},
	"DeletePolicyVersion":     {need("PolicyArn", arn), need("VersionId", versionID)},
	"ListPolicyVersions":      slices.Concat(members{need("PolicyArn", arn)}, paged),
	"SetDefaultPolicyVersion": {need("PolicyArn", arn), need("VersionId", versionID)},
	"ListEntitiesForPolicy":   slices.Concat(members{need("PolicyArn", arn), may("PathPrefix", path)}, paged),
	"TagPolicy":               slices.Concat(members{need("PolicyArn", arn)}, totag),
	"UntagPolicy":             slices.Concat(members{need("PolicyArn", arn)}, untag),
	"ListPolicyTags":          slices.Concat(members{need("PolicyArn", arn)}, paged),

	"CreateOpenIDConnectProvider": slices.Concat(members{
		need("Url", clientID), may("ClientIDList[]", clientID), may("ThumbprintList[]", thumbprint),
	}, tagged),
	"GetOpenIDConnectProvider":                {need("OpenIDConnectProviderArn", arn)},
	"DeleteOpenIDConnectProvider":             {need("OpenIDConnectProviderArn", arn)},
	"ListOpenIDConnectProviders":              nil,
	"AddClientIDToOpenIDConnectProvider":      {need("OpenIDConnectProviderArn", arn), need("ClientID", clientID)},
	"RemoveClientIDFromOpenIDConnectProvider": {need("OpenIDConnectProviderArn", arn), need("ClientID", clientID)},
	"UpdateOpenIDConnectProviderThumbprint": {
		need("OpenIDConnectProviderArn", arn), need("ThumbprintList", anything), may("ThumbprintList[]", thumbprint),
	},
	"TagOpenIDConnectProvider":      slices.Concat(members{need("OpenIDConnectProviderArn", arn)}, totag),
	"UntagOpenIDConnectProvider":    slices.Concat(members{need("OpenIDConnectProviderArn", arn)}, untag),
	"ListOpenIDConnectProviderTags": slices.Concat(members{need("OpenIDConnectProviderArn", arn)}, paged),

	"CreateInstanceProfile":         slices.Concat(members{need("InstanceProfileName", name), may("Path", path)}, tagged),
	"GetInstanceProfile":            {need("InstanceProfileName", name)},
	"DeleteInstanceProfile":         {need("InstanceProfileName", name)},
	"ListInstanceProfiles":          slices.Concat(members{may("PathPrefix", pathPrefix)}, paged),
	"AddRoleToInstanceProfile":      {need("InstanceProfileName", name), need("RoleName", shortName)},
	"RemoveRoleFromInstanceProfile": {need("InstanceProfileName", name), need("RoleName", shortName)},
	"TagInstanceProfile":            slices.Concat(members{need("InstanceProfileName", name)}, totag),
	"UntagInstanceProfile":          slices.Concat(members{need("InstanceProfileName", name)}, untag),
	"ListInstanceProfileTags":       slices.Concat(members{need("InstanceProfileName", name)}, paged),

	"CreateAccountAlias":             {need("AccountAlias", alias)},
	"DeleteAccountAlias":             {need("AccountAlias", alias)},
	"ListAccountAliases":             paged,
	"GetAccountSummary":              nil,
	"GetAccountAuthorizationDetails": paged,
	"GetAccountPasswordPolicy":       nil,

	"ListMFADevices":                 slices.Concat(members{may("UserName", name)}, paged),
	"ListVirtualMFADevices":          paged,
	"ListSSHPublicKeys":              slices.Concat(members{may("UserName", shortName)}, paged),
	"ListSigningCertificates":        slices.Concat(members{may("UserName", name)}, paged),
	"ListServiceSpecificCredentials": slices.Concat(members{may("UserName", shortName)}, paged),
	"GetLoginProfile":                {may("UserName", shortName)},
	"DeleteLoginProfile":             {may("UserName", shortName)},
	"ListSAMLProviders":              nil,
	"ListServerCertificates":         slices.Concat(members{may("PathPrefix", pathPrefix)}, paged),

	"SimulatePrincipalPolicy": slices.Concat(members{
		need("PolicySourceArn", arn), may("PolicyInputList[]", document),
		may("PermissionsBoundaryPolicyInputList[]", document), need("ActionNames", anything),
		may("ActionNames[]", actionName), may("ResourceArns[]", resourceName), may("ResourcePolicy", document),
		may("ResourceOwner", resourceName), may("CallerArn", resourceName),
		may("ContextEntries[].ContextKeyName", contextKey), may("ResourceHandlingOption", resourceHandling),
	}, paged),
	"SimulateCustomPolicy": slices.Concat(members{
		need("PolicyInputList", anything), may("PolicyInputList[]", document),
		may("PermissionsBoundaryPolicyInputList[]", document), need("ActionNames", anything),
		may("ActionNames[]", actionName), may("ResourceArns[]", resourceName), may("ResourcePolicy", document),
		may("ResourceOwner", resourceName), may("CallerArn", resourceName),
		may("ContextEntries[].ContextKeyName", contextKey), may("ResourceHandlingOption", resourceHandling),
	}, paged),
	"GetContextKeysForPrincipalPolicy": {need("PolicySourceArn", arn), may("PolicyInputList[]", document)},
	"GetContextKeysForCustomPolicy":    {need("PolicyInputList", anything), may("PolicyInputList[]", document)},
}
