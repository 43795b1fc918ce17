package lint

import (
	"slices"
	"strings"
)

// form is what the values of a key look like.
type form uint8

const (
	text form = iota
	address
	boolean
	date
	number
	arn
	account
	endpointID
	networkID
	organizationID
	principalType
)

// keySpec is a condition key.
type keySpec struct {
	name  string // as AWS writes it; with a slash at the end, a name of the author's follows
	form  form
	multi bool // it may have several values
	// always is set of keys that every request has.
	always bool
	// only are the values that it can have, nil if that is not known.
	only []string
	// actions are patterns of those whose requests have it; nil: all of the service, or all.
	actions []string
	// anywhere: requests of other services have it too.
	anywhere bool
	// never says why no request of this server has it.
	never string
}

const (
	unset     = "this server does not set it"
	noService = "no services of AWS call here for others"
	noOrg     = "there is no organization here whose paths it could name"
)

var (
	tagging = []string{"ecr:CreateRepository*", "ecr:UpdateRepositoryCreationTemplate", "ecr:*TagResource", "iam:Create*", "iam:Tag*", "iam:Untag*", "iam:Upload*",
		"sts:AssumeRole*", "sts:TagSession", "sts:GetFederationToken", "secretsmanager:CreateSecret", "secretsmanager:*TagResource", "secretsmanager:ReplicateSecretToRegions"}
	assuming  = []string{"sts:AssumeRole*", "sts:SetSourceIdentity", "sts:TagSession"}
	versioned = []string{"secretsmanager:*SecretValue", "secretsmanager:UpdateSecretVersionStage"}
	ofRuns    = []string{"pipelines:StartRun", "pipelines:CancelRun", "pipelines:RerunRun", "pipelines:DescribeRun", "pipelines:UpdateRun", "pipelines:DeleteRun",
		"pipelines:ReadLogs", "pipelines:ReadArtifacts", "pipelines:ApproveRun"}
)

// keySpecs are the condition keys that AWS documents for all services ("AWS global condition context keys") and for those
// that the server has, with what is known of them here. Package decide gives them their values.
var keySpecs = []*keySpec{
	{name: "aws:CalledVia", multi: true, never: noService},
	{name: "aws:CalledViaFirst", never: noService},
	{name: "aws:CalledViaLast", never: noService},
	{name: "aws:CurrentTime", form: date, always: true},
	{name: "aws:EpochTime", form: date, always: true},
	{name: "aws:FederatedProvider"},
	{name: "aws:MultiFactorAuthAge", form: number, never: "nobody has a second factor here"},
	{name: "aws:MultiFactorAuthPresent", form: boolean, only: []string{"false"}},
	{name: "aws:PrincipalAccount", form: account},
	{name: "aws:PrincipalArn", form: arn},
	{name: "aws:PrincipalIsAWSService", form: boolean, only: []string{"false"}},
	{name: "aws:PrincipalOrgID", form: organizationID},
	{name: "aws:PrincipalOrgPaths", multi: true, never: noOrg},
	{name: "aws:PrincipalServiceName", never: noService},
	{name: "aws:PrincipalServiceNamesList", multi: true, never: noService},
	{name: "aws:PrincipalTag/"},
	{name: "aws:PrincipalType", form: principalType},
	{name: "aws:Referer", never: unset},
	{name: "aws:RequestedRegion", always: true},
	{name: "aws:RequestTag/", actions: tagging},
	{name: "aws:ResourceAccount", form: account},
	{name: "aws:ResourceOrgID", form: organizationID, never: unset},
	{name: "aws:ResourceOrgPaths", multi: true, never: noOrg},
	{name: "aws:ResourceTag/"},
	{name: "aws:SecureTransport", form: boolean, always: true},
	{name: "aws:SourceAccount", form: account, never: noService},
	{name: "aws:SourceArn", form: arn, never: noService},
	{name: "aws:SourceIdentity"},
	{name: "aws:SourceIp", form: address},
	{name: "aws:SourceOrgID", form: organizationID, never: noService},
	{name: "aws:SourceOrgPaths", multi: true, never: noService},
	{name: "aws:SourceOwner", form: account, never: noService},
	{name: "aws:SourceVpc", form: networkID},
	{name: "aws:SourceVpcArn", form: arn, never: unset},
	{name: "aws:SourceVpce", form: endpointID},
	{name: "aws:TagKeys", multi: true, actions: tagging},
	{name: "aws:TokenIssueTime", form: date},
	{name: "aws:UserAgent"},
	{name: "aws:userid"},
	{name: "aws:username"},
	{name: "aws:ViaAWSService", form: boolean, always: true, only: []string{"false"}},
	{name: "aws:VpceAccount", form: account, never: unset},
	{name: "aws:VpceOrgID", form: organizationID, never: unset},
	{name: "aws:VpceOrgPaths", multi: true, never: noOrg},
	{name: "aws:VpcSourceIp", form: address},
	{name: "aws:AssumedRoot", form: boolean, never: unset},
	{name: "aws:ChatbotSourceArn", form: arn, never: unset},
	{name: "aws:Ec2InstanceSourceVpc", form: networkID, never: unset},
	{name: "aws:Ec2InstanceSourcePrivateIPv4", form: address, never: unset},
	{name: "aws:IsMcpServiceAction", form: boolean, never: unset},
	{name: "aws:SignInSessionArn", form: arn, never: unset},
	{name: "aws:ViaAWSMCPService", form: boolean, never: unset},
	{name: "aws:CalledViaAWSMCP", never: unset},

	{name: "ecr:ResourceTag/"},

	{name: "git:Ref", actions: []string{"git:Push", "git:ForcePush", "git:BypassBranchRules"}},

	{name: "iam:AssociatedResourceArn", form: arn, never: unset},
	{name: "iam:AWSServiceName", actions: []string{"iam:CreateServiceLinkedRole"}},
	{name: "iam:DelegationDuration", form: number, never: unset},
	{name: "iam:DelegationRequestOwner", form: arn, never: unset},
	{name: "iam:FIDO-certification", never: unset},
	{name: "iam:FIDO-FIPS-140-2-certification", never: unset},
	{name: "iam:FIDO-FIPS-140-3-certification", never: unset},
	{name: "iam:NotificationChannel", form: arn, never: unset},
	{name: "iam:OrganizationsPolicyId", never: unset},
	{name: "iam:PassedToService", actions: []string{"iam:PassRole"}},
	{name: "iam:PermissionsBoundary", form: arn},
	{name: "iam:PolicyARN", form: arn, actions: []string{"iam:Attach*Policy", "iam:Detach*Policy"}},
	{name: "iam:RegisterSecurityKey", never: unset},
	{name: "iam:ResourceTag/"},
	{name: "iam:ServiceSpecificCredentialAgeDays", form: number, never: unset},
	{name: "iam:ServiceSpecificCredentialServiceName", never: unset},
	{name: "iam:TemplateArn", form: arn, never: unset},

	{name: "pipelines:Branch", actions: ofRuns},
	{name: "pipelines:Job", anywhere: true},
	{name: "pipelines:Pipeline", actions: ofRuns},

	{name: "sts:AWSServiceName", never: unset},
	{name: "sts:DurationSeconds", form: number, never: unset},
	{name: "sts:ExternalId", actions: []string{"sts:AssumeRole"}},
	{name: "sts:IdentityTokenAudience", multi: true, never: unset},
	{name: "sts:RequestContext/", never: unset},
	{name: "sts:RequestContextProviders", multi: true, never: unset},
	{name: "sts:RoleSessionName", actions: assuming},
	{name: "sts:SigningAlgorithm", never: unset},
	{name: "sts:SourceIdentity", actions: assuming},
	{name: "sts:TaskPolicyArn", form: arn, never: unset},
	{name: "sts:TransitiveTagKeys", multi: true, actions: assuming},

	{name: "secretsmanager:AddReplicaRegions", multi: true, never: unset},
	{name: "secretsmanager:BlockPublicPolicy", form: boolean, actions: []string{"secretsmanager:PutResourcePolicy"}},
	{name: "secretsmanager:Description", actions: []string{"secretsmanager:CreateSecret", "secretsmanager:UpdateSecret"}},
	{name: "secretsmanager:ForceDeleteWithoutRecovery", form: boolean, actions: []string{"secretsmanager:DeleteSecret"}},
	{name: "secretsmanager:ForceOverwriteReplicaSecret", form: boolean, never: unset},
	{name: "secretsmanager:KmsKeyArn", form: arn, never: unset},
	{name: "secretsmanager:KmsKeyId", actions: []string{"secretsmanager:CreateSecret", "secretsmanager:UpdateSecret"}},
	{name: "secretsmanager:ModifyRotationRules", form: boolean, never: unset},
	{name: "secretsmanager:Name", actions: []string{"secretsmanager:CreateSecret"}},
	{name: "secretsmanager:RecoveryWindowInDays", form: number, actions: []string{"secretsmanager:DeleteSecret"}},
	{name: "secretsmanager:resource/AllowRotationLambdaArn", form: arn, never: unset},
	{name: "secretsmanager:resource/Type", never: unset},
	{name: "secretsmanager:ResourceTag/"},
	{name: "secretsmanager:RotateImmediately", form: boolean, never: unset},
	{name: "secretsmanager:RotationLambdaARN", form: arn, never: unset},
	{name: "secretsmanager:SecretId", form: arn},
	{name: "secretsmanager:SecretPrimaryRegion", never: unset},
	{name: "secretsmanager:Type", never: unset},
	{name: "secretsmanager:VersionId", actions: versioned},
	{name: "secretsmanager:VersionStage", actions: versioned},
}

// specOf returns what is known of a key, nil if nothing is.
func specOf(key string) *keySpec {
	for _, s := range keySpecs {
		if strings.EqualFold(s.name, key) && !strings.HasSuffix(s.name, "/") ||
			strings.HasSuffix(s.name, "/") && len(key) > len(s.name) && strings.EqualFold(s.name, key[:len(s.name)]) {
			return s
		}
	}
	return nil
}

// closestKey returns the name of the key that may have been meant, or "".
func closestKey(key string) string {
	prefix, name, _ := strings.Cut(key, ":")
	for _, own := range []bool{true, false} { // first among those of its service
		var names []string
		for _, s := range keySpecs {
			service, bare, _ := strings.Cut(s.name, ":")
			if s.never != "" || strings.EqualFold(service, prefix) != own {
				continue
			}
			if strings.EqualFold(strings.TrimSuffix(bare, "/"), name) {
				return s.name // of another service, or without the name of a tag
			}
			base, tag, ok := strings.Cut(name, "/")
			if ok && strings.HasSuffix(bare, "/") && distance(strings.ToLower(base+"/"), strings.ToLower(bare)) <= 2 {
				return s.name + tag
			}
			names = append(names, s.name)
		}
		if k := closest(key, names); k != "" {
			return k
		}
	}
	return ""
}

// issuerKey reports whether a key is a claim of an identity provider's tokens: "token.example.com:sub".
func issuerKey(key string) bool {
	prefix, name, ok := cutLast(key, ":")
	return ok && name != "" && strings.Contains(prefix, ".")
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// missing returns why none of the requests that a statement is about has a key, or "". known is false where AWS has no such
// key either.
func (c *checker) missing(st *statement, key string) (why string, known bool) {
	if issuerKey(key) {
		return "", true
	}
	spec := specOf(key)
	prefix, _, _ := strings.Cut(strings.ToLower(key), ":")
	service := isService(prefix)
	switch {
	case spec == nil && (prefix == "aws" || service):
		return "there is no such key", false
	case spec == nil && st.other:
		return "", true
	case spec == nil && (prefix == "saml"):
		return "nobody signs in by SAML here", true
	case spec == nil:
		return "requests of " + st.services() + " have no keys of " + prefix, true
	case spec.never != "":
		return spec.never, true
	case service && !spec.anywhere && !slices.ContainsFunc(st.local, func(a *action) bool { return a.service == prefix }):
		return "only requests of " + prefix + " have it, and the statement is about others", true
	case spec.actions == nil || st.other && !service:
		return "", true
	}
	for _, a := range st.local {
		if slices.ContainsFunc(spec.actions, func(pattern string) bool { return glob(pattern, a.name, true) }) {
			return "", true
		}
	}
	if len(st.local) == 0 {
		return "", true // the actions are wrong, and that is said
	}
	return "none of the statement's actions has it; " + strings.Join(spec.actions, ", ") + " do", true
}

func (st *statement) services() string {
	var all []string
	for _, a := range st.local {
		if !slices.Contains(all, a.service) {
			all = append(all, a.service)
		}
	}
	if len(all) == 0 {
		return "these actions"
	}
	return strings.Join(all, ", ")
}
