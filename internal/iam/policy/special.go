package policy

import "strings"

// always reports whether an action needs no permission and can't be denied:
// "No permissions are required to perform this operation. If an administrator
// attaches a policy … that explicitly denies access to the sts:GetCallerIdentity
// action, you can still perform this operation" (GetCallerIdentity, AWS STS API Reference).
func always(action string) bool {
	return equalFold(action, "sts:GetCallerIdentity")
}

// needsResourcePolicy reports whether an action needs the allowance of the
// resource's own policy, also in its account: roles are assumed only by whom
// their trust policy names, keys used by whom their key policy names.
func needsResourcePolicy(action string) bool {
	return len(action) >= 4 && hasPrefix(action, "kms:", true) || len(action) >= 14 && hasPrefix(action, "sts:assumerole", true)
}

// exemptFromControl reports whether control policies leave a request alone:
// they do not restrict service-linked roles.
func exemptFromControl(r *Request) bool {
	return r.Principal.Type == AssumedRole && strings.Contains(r.Principal.RoleARN, ":role/aws-service-role/")
}

func equalFold(s, t string) bool {
	return len(s) == len(t) && hasPrefix(s, t, true)
}
