package policy

import "strings"

// What AWS evaluates in ways of its own, by service.

// always reports whether a request needs no permission and can't be denied:
// "No permissions are required to perform this operation. If an administrator
// attaches a policy … that explicitly denies access to the sts:GetCallerIdentity
// action, you can still perform this operation" (GetCallerIdentity, AWS STS API Reference).
func always(r *Request) bool {
	return r.Principal.inAccount() && equalFold(r.Action, "sts:GetCallerIdentity")
}

// needsResourcePolicy reports whether a request needs the allowance of the
// resource's own policy also in its account.
func needsResourcePolicy(r *Request) bool {
	switch service(r.Action) {
	case "sts":
		// "… must also be allowed by the role's trust policy" (IAM User Guide,
		// "Grant a user permissions to switch roles"). TagSession and
		// SetSourceIdentity are asked beside AssumeRole.
		return hasPrefix(r.Action, "sts:AssumeRole", true) || equalFold(r.Action, "sts:TagSession") || equalFold(r.Action, "sts:SetSourceIdentity")
	case "kms":
		// "Unless the key policy explicitly allows it, you cannot use IAM policies
		// to allow access to a KMS key" (AWS KMS Developer Guide, "Key policies in AWS KMS").
		return strings.Contains(r.Resource, ":key/")
	}
	return false
}

// immutable reports whether a request would change what AWS owns, which no
// policy allows: managed policies of AWS, roles of IAM Identity Center, aliases of AWS's keys.
func immutable(r *Request) bool {
	switch service(r.Action) {
	case "iam":
		if !strings.HasPrefix(r.Resource, "arn:") || !strings.Contains(r.Resource, ":iam::aws:policy/") && !strings.Contains(r.Resource, ":role/aws-reserved/") {
			return false
		}
		for _, read := range [...]string{"iam:Get", "iam:List", "iam:Generate", "iam:Simulate"} {
			if hasPrefix(r.Action, read, true) {
				return false
			}
		}
		return true
	case "kms":
		return strings.Contains(r.Resource, ":alias/aws/") &&
			(equalFold(r.Action, "kms:CreateAlias") || equalFold(r.Action, "kms:UpdateAlias") || equalFold(r.Action, "kms:DeleteAlias"))
	}
	return false
}

// exempt reports whether control policies leave a request alone: "SCPs do not
// affect any service-linked role", "you can't use RCPs to restrict … service-linked
// roles" (AWS Organizations User Guide). A role can have that path only when its service made it.
func exempt(p *Principal) bool {
	return p.Type == AssumedRole && strings.Contains(p.RoleARN, ":role/aws-service-role/")
}

// service returns the services that this file is about, "" for others.
func service(action string) string {
	for _, s := range [...]string{"sts", "kms", "iam"} {
		if len(action) > len(s) && action[len(s)] == ':' && hasPrefix(action, s, true) {
			return s
		}
	}
	return ""
}

func equalFold(s, t string) bool {
	return len(s) == len(t) && hasPrefix(s, t, true)
}
