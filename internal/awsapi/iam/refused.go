package iam

// refused are the operations of the service's model that are not here, and why.
var refused = []struct {
	reason     string
	operations []string
}{
	{"There are no passwords: users have access keys.", []string{
		"ChangePassword", "CreateLoginProfile", "UpdateLoginProfile", "UpdateAccountPasswordPolicy", "DeleteAccountPasswordPolicy",
	}},
	{"There are no MFA devices.", []string{
		"CreateVirtualMFADevice", "DeleteVirtualMFADevice", "EnableMFADevice", "DeactivateMFADevice", "ResyncMFADevice", "GetMFADevice",
		"TagMFADevice", "UntagMFADevice", "ListMFADeviceTags",
	}},
	{"Identity providers speak OpenID Connect: use CreateOpenIDConnectProvider.", []string{
		"CreateSAMLProvider", "GetSAMLProvider", "UpdateSAMLProvider", "DeleteSAMLProvider", "TagSAMLProvider", "UntagSAMLProvider",
		"ListSAMLProviderTags",
	}},
	{"Users have no credentials but access keys.", []string{
		"UploadSSHPublicKey", "GetSSHPublicKey", "UpdateSSHPublicKey", "DeleteSSHPublicKey",
		"UploadSigningCertificate", "UpdateSigningCertificate", "DeleteSigningCertificate",
		"CreateServiceSpecificCredential", "UpdateServiceSpecificCredential", "ResetServiceSpecificCredential", "DeleteServiceSpecificCredential",
	}},
	{"The server's certificates are in its configuration.", []string{
		"UploadServerCertificate", "GetServerCertificate", "UpdateServerCertificate", "DeleteServerCertificate", "TagServerCertificate",
		"UntagServerCertificate", "ListServerCertificateTags",
	}},
	{"No service here acts through a role of its own.", []string{
		"CreateServiceLinkedRole", "DeleteServiceLinkedRole", "GetServiceLinkedRoleDeletionStatus",
	}},
	{"Who did what is in the audit record: see sekisho audit.", []string{
		"GenerateCredentialReport", "GetCredentialReport", "GenerateServiceLastAccessedDetails", "GetServiceLastAccessedDetails",
		"GetServiceLastAccessedDetailsWithEntities", "GenerateOrganizationsAccessReport", "GetOrganizationsAccessReport",
		"ListPoliciesGrantingServiceAccess",
	}},
	{"There is no organization of accounts to administer.", []string{
		"EnableOrganizationsRootCredentialsManagement", "DisableOrganizationsRootCredentialsManagement", "EnableOrganizationsRootSessions",
		"DisableOrganizationsRootSessions", "ListOrganizationsFeatures",
	}},
	{"Permissions are given with policies and roles, not by delegation requests.", []string{
		"CreateDelegationRequest", "AcceptDelegationRequest", "RejectDelegationRequest", "UpdateDelegationRequest", "AssociateDelegationRequest",
		"GetDelegationRequest", "ListDelegationRequests", "SendDelegationToken", "GetHumanReadableSummary",
	}},
	{"No identity tokens for other systems are issued by it.", []string{
		"EnableOutboundWebIdentityFederation", "DisableOutboundWebIdentityFederation", "GetOutboundWebIdentityFederationInfo",
	}},
	{"Session tokens have one form.", []string{"SetSecurityTokenServicePreferences"}},
}
