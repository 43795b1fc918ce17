package lint_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/iam/lint"
)

// document returns a policy of statements.
func document(statements string) string {
	return `{"Version":"2012-10-17","Statement":[` + statements + `]}`
}

// codes returns "severity code" of all findings.
func codes(r lint.Report) []string {
	all := []string{}
	for _, f := range r.Findings {
		all = append(all, string(f.Severity)+" "+f.Code)
	}
	return all
}

// push is an Allow that is right, with conditions.
func push(condition string) string {
	return `{"Effect":"Allow","Action":"ecr:PutImage","Resource":"arn:aws:ecr:*:111122223333:repository/app"` + when(condition) + `}`
}

func when(condition string) string {
	if condition == "" {
		return ""
	}
	return `,"Condition":{` + condition + `}`
}

// refuse is a Deny of everything, with conditions.
func refuse(condition string) string {
	return `{"Effect":"Deny","Action":"*","Resource":"*"` + when(condition) + `},{"Effect":"Allow","Action":"ecr:PutImage","Resource":"*"}`
}

// on is a statement of a resource's policy.
func on(effect, principal, action, condition string) string {
	return `{"Effect":"` + effect + `","Principal":` + principal + `,"Action":"` + action + `"` + when(condition) + `}`
}

const (
	alice   = `{"AWS":"arn:aws:iam::111122223333:user/alice"}`
	office  = `"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}`
	through = `"StringNotEquals":{"aws:SourceVpce":"vpce-0123456789abcdef0"}`
	github  = "token.actions.githubusercontent.com"
	fromCI  = `{"Federated":"arn:aws:iam::111122223333:oidc-provider/` + github + `"}`
)

// web is a statement that trusts a provider.
func web(condition string) string {
	return on("Allow", fromCI, "sts:AssumeRoleWithWebIdentity", condition)
}

// TestCheck has everything that is found of a document, in both ways: what is wrong, and what is like it and right.
func TestCheck(t *testing.T) {
	const (
		identity   = lint.Identity
		repository = lint.Repository
	)
	for _, tt := range []struct {
		name string
		kind lint.Kind
		doc  string // statements, or a document if it begins with a brace and a line or "Version"
		want string // codes, with commas between them
	}{
		{"right", identity, push(""), ""},

		// Actions.
		{"typo", identity, `{"Effect":"Allow","Action":"ecr:PutImag","Resource":"*"}`, "error unknown-action"},
		{"case", identity, `{"Effect":"Allow","Action":"ECR:putimage","Resource":"*"}`, ""},
		{"wildcard for nothing", identity, `{"Effect":"Allow","Action":"ecr:Pull*","Resource":"*"}`, "error action-matches-nothing"},
		{"wildcard", identity, `{"Effect":"Allow","Action":["ecr:Get*","ecr:?utImage"],"Resource":"*"}`, ""},
		{"action of another service", identity, `{"Effect":"Allow","Action":"ecr:GetCallerIdentity","Resource":"*"}`, "error unknown-action"},
		{"service with a typo", identity, `{"Effect":"Allow","Action":"erc:PutImage","Resource":"*"}`, "error unknown-service"},
		{"plural", identity, `{"Effect":"Allow","Action":"secretmanager:GetSecretValue","Resource":"*"}`, "error unknown-service"},
		{"other services", identity, `{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","ec2:RunInstances"],"Resource":"*"}`, "note unknown-service,note unknown-service"},
		{"typo in NotAction", identity, `{"Effect":"Deny","NotAction":["ecr:PutImag","iam:*"],"Resource":"*"},` + push(""), "error unknown-action,warning allow-under-deny"},
		{"without operation", identity, `{"Effect":"Allow","Action":["ecr:BatchImportUpstreamImage","ecr:ReplicateImage","sts:TagSession","sts:SetSourceIdentity"],"Resource":"*"}`, ""},
		{"NotAction of all", identity, `{"Effect":"Deny","NotAction":"*","Resource":"*"},` + push(""), "error never-matches"},
		{"repository: other service", repository, on("Allow", alice, "s3:GetObject", ""), "error wrong-service"},
		{"repository: another of ours", repository, on("Allow", alice, "iam:GetUser", ""), "error wrong-service"},
		{"repository: token", repository, on("Allow", alice, "ecr:GetAuthorizationToken", ""), "warning action-elsewhere"},
		{"repository: create", repository, on("Allow", alice, "ecr:CreateRepository", ""), "warning action-elsewhere"},
		{"repository: pull", repository, on("Allow", alice, "ecr:BatchGetImage", ""), ""},
		{"repository: wildcard", repository, on("Allow", alice, "ecr:*", ""), ""},
		{"secret: list", lint.Secret, `{"Effect":"Allow","Principal":` + alice + `,"Action":"secretsmanager:ListSecrets","Resource":"*"}`, "warning action-elsewhere"},
		{"secret: other service", lint.Secret, `{"Effect":"Allow","Principal":` + alice + `,"Action":["secretsmanager:GetSecretValue","kms:Decrypt"],"Resource":"*"}`, "warning wrong-service"},
		{"registry: replication", lint.Registry, `{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":["ecr:ReplicateImage","ecr:CreateRepository"],"Resource":"arn:aws:ecr:us-east-1:444455556666:repository/*"}`, ""},

		// The server's own services.
		{"git", identity, `{"Effect":"Allow","Action":["git:Pull","git:Push"],"Resource":"arn:aws:git:*:111122223333:shop/*"}`, ""},
		{"git, a ref of what has none", identity, `{"Effect":"Allow","Action":"git:Pull","Resource":"*","Condition":{"StringLike":{"git:Ref":"refs/heads/feature/*"}}}`, "warning absent-key"},
		{"git push", identity, `{"Effect":"Allow","Action":"git:Push","Resource":"arn:aws:git:*:111122223333:*/web","Condition":{"StringLike":{"git:Ref":"refs/heads/feature/*"}}}`, ""},
		{"git list", identity, `{"Effect":"Allow","Action":"git:ListRepositories","Resource":"arn:aws:git:*:111122223333:*"}`, ""},
		{"git, without project", identity, `{"Effect":"Allow","Action":"git:Push","Resource":"arn:aws:git:*:111122223333:web"}`, "error resource-form"},
		{"git typo", identity, `{"Effect":"Allow","Action":"git:Pusch","Resource":"*"}`, "error unknown-action"},
		{"runs", identity, `{"Effect":"Allow","Action":["pipelines:StartRun","pipelines:DescribeRun","pipelines:ReadLogs"],"Resource":["arn:aws:pipelines:*:111122223333:project/shop/pipeline/web","arn:aws:pipelines:*:111122223333:project/shop/run/*"]}`, ""},
		{"runs on a pipeline", identity, `{"Effect":"Allow","Action":"pipelines:ReadLogs","Resource":"arn:aws:pipelines:us-east-1:111122223333:project/shop/pipeline/web"}`, "error resource-mismatch"},
		{"project in short", identity, `{"Effect":"Allow","Action":"pipelines:*","Resource":"arn:aws:pipelines:*:111122223333:shop"}`, "error resource-form"},
		{"nothing of a project", identity, `{"Effect":"Allow","Action":"pipelines:*","Resource":"arn:aws:pipelines:*:111122223333:project/shop/pipelines/web"}`, "error resource-form"},
		{"branch", identity, `{"Effect":"Deny","Action":"pipelines:StartRun","Resource":"*","Condition":{"StringNotEquals":{"pipelines:Branch":"refs/heads/main"}}},` + push(""), ""},
		{"jobs", identity, `{"Effect":"Allow","Action":"git:Pull","Resource":"arn:aws:git:us-east-1:111122223333:*","Condition":{"Null":{"pipelines:Job":"false"}}}`, ""},
		{"agents", identity, `{"Effect":"Allow","Action":["agents:RegisterAgent","agents:DescribePool"],"Resource":"arn:aws:agents:*:111122223333:pool/builders"}`, ""},
		{"pools", identity, `{"Effect":"Allow","Action":"agents:ListPools","Resource":"arn:aws:agents:*:111122223333:pool/builders"}`, "error resource-mismatch"},
		{"tokens", identity, `{"Effect":"Allow","Action":"iam:CreatePersonalAccessToken","Resource":"arn:aws:iam::111122223333:user/alice"}`, ""},

		// Resources.
		{"no resource", identity, `{"Effect":"Allow","Action":["ecr:GetAuthorizationToken","ecr:PutImage"],"Resource":"arn:aws:ecr:*:111122223333:repository/app"}`, "warning resource-mismatch"},
		{"no resource, alone", identity, `{"Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"arn:aws:ecr:*:111122223333:repository/app"}`, "error resource-mismatch"},
		{"no resource, star", identity, `{"Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"*"}`, ""},
		{"no resource, with others", identity, `{"Effect":"Allow","Action":["ecr:GetAuthorizationToken","ecr:PutImage"],"Resource":["*","arn:aws:ecr:*:111122223333:repository/app"]}`, ""},
		{"registry as a whole", identity, `{"Effect":"Allow","Action":"ecr:PutRegistryPolicy","Resource":"arn:aws:ecr:us-east-1:111122223333:*"}`, ""},
		{"all users", identity, `{"Effect":"Allow","Action":"iam:ListUsers","Resource":"arn:aws:iam::111122223333:user/*"}`, ""},
		{"wrong service", identity, `{"Effect":"Allow","Action":"ecr:PutImage","Resource":"arn:aws:s3:::bucket"}`, "error resource-mismatch"},
		{"one of them", identity, `{"Effect":"Allow","Action":"ecr:PutImage","Resource":["arn:aws:s3:::bucket","arn:aws:ecr:*:*:repository/a1"]}`, "warning resource-unused"},
		{"for foreign actions", identity, `{"Effect":"Allow","Action":["ecr:PutImage","s3:GetObject"],"Resource":["arn:aws:s3:::bucket","arn:aws:ecr:*:*:repository/a1"]}`, "note unknown-service"},
		{"no account", identity, `{"Effect":"Allow","Action":"ecr:PutImage","Resource":"arn:aws:ecr:us-east-1::repository/app"}`, "error resource-form"},
		{"no region", identity, `{"Effect":"Allow","Action":"ecr:PutImage","Resource":"arn:aws:ecr::111122223333:repository/app"}`, "error resource-form"},
		{"short account", identity, `{"Effect":"Allow","Action":"ecr:PutImage","Resource":"arn:aws:ecr:us-east-1:11112222333:repository/app"}`, "error resource-form"},
		{"IAM in a region", identity, `{"Effect":"Allow","Action":"iam:GetUser","Resource":"arn:aws:iam:us-east-1:111122223333:user/alice"}`, "error resource-form"},
		{"IAM", identity, `{"Effect":"Allow","Action":"iam:GetUser","Resource":["arn:aws:iam::111122223333:user/alice","arn:aws:iam::*:user/${aws:username}"]}`, ""},
		{"plural type", identity, `{"Effect":"Allow","Action":"iam:GetUser","Resource":"arn:aws:iam::111122223333:users/alice"}`, "error resource-form"},
		{"AWS's own", identity, `{"Effect":"Allow","Action":"iam:GetPolicy","Resource":"arn:aws:iam::aws:policy/AdministratorAccess"}`, ""},
		{"no type", identity, `{"Effect":"Allow","Action":"ecr:PutImage","Resource":"arn:aws:ecr:us-east-1:111122223333:app"}`, "error resource-form"},
		{"capitals", identity, `{"Effect":"Allow","Action":"ecr:PutImage","Resource":"arn:aws:ecr:us-east-1:111122223333:repository/App"}`, "error resource-form"},
		{"an image", identity, `{"Effect":"Allow","Action":"ecr:PutImage","Resource":"arn:aws:ecr:us-east-1:111122223333:repository/app:v1"}`, "error resource-form"},
		{"wildcards in the name", identity, `{"Effect":"Allow","Action":"ecr:PutImage","Resource":["arn:aws:ecr:us-east-1:111122223333:repository/team-?/*","arn:aws:ecr:*:*:repository/${aws:PrincipalTag/team}/*"]}`, ""},
		{"wildcard in the type", identity, `{"Effect":"Allow","Action":"ecr:PutImage","Resource":"arn:aws:ecr:*:*:repo*/app"}`, "warning resource-type-wildcard"},
		{"wildcard in the type of a Deny", identity, `{"Effect":"Deny","Action":"ecr:PutImage","Resource":"arn:aws:ecr:*:*:repo*/app"},{"Effect":"Allow","Action":"ecr:*","Resource":"*"}`, ""},
		{"wildcard account", identity, `{"Effect":"Allow","Action":"ecr:PutImage","Resource":["arn:aws:ecr:*:1111*:repository/a1","arn:aws:ecr:*"]}`, ""},
		{"secret without suffix", identity, `{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/db"}`, "warning secret-suffix"},
		{"secret", identity, `{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":["arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/db-??????","arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/db-AbC123"]}`, ""},
		{"secret with a slash", identity, `{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:us-east-1:111122223333:secret/db-AbC123"}`, "error resource-form"},
		{"NotResource of all", identity, `{"Effect":"Deny","Action":"ecr:*","NotResource":"*"},` + push(""), "error never-matches"},
		{"repository: Resource", repository, `{"Effect":"Allow","Principal":` + alice + `,"Action":"ecr:BatchGetImage","Resource":"*"}`, "error resource-in-repository-policy"},
		{"old version", identity, `{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Action":"iam:GetUser","Resource":"arn:aws:iam::*:user/${aws:username}"}]}`, "warning version-variables"},

		// Keys.
		{"typo in a key", identity, push(`"StringEquals":{"aws:SourceVpcee":"vpce-0123456789abcdef0"}`), "error unknown-key"},
		{"key of another prefix", identity, push(`"StringEquals":{"ecr:SourceVpce":"vpce-0123456789abcdef0"}`), "error unknown-key"},
		{"typo in a Deny", identity, refuse(`"StringEquals":{"aws:PrincipalAcount":"111122223333"}`), "error unknown-key"},
		{"case of a key", identity, push(`"StringEquals":{"AWS:sourcevpce":"vpce-0123456789abcdef0"}`), ""},
		{"never set", identity, push(`"StringEquals":{"aws:SourceAccount":"111122223333"}`), "warning absent-key"},
		{"never set, negated", identity, refuse(`"StringNotEquals":{"aws:SourceAccount":"111122223333"}`), "warning absent-key"},
		{"never set, if it exists", identity, refuse(`"StringNotEqualsIfExists":{"aws:SourceAccount":"111122223333"}`), "note absent-key"},
		{"tag without a name", identity, push(`"StringEquals":{"aws:PrincipalTag":"x"}`), "error unknown-key"},
		{"placeholder", identity, push(`"StringEquals":{"aws:ResourceTag/${TagKey}":"x"}`), "error unknown-key"},
		{"tag", identity, push(`"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}`), ""},
		{"request tag of a push", identity, push(`"StringEquals":{"aws:RequestTag/team":"x"}`), "warning absent-key"},
		{"request tag of a creation", identity, `{"Effect":"Allow","Action":["ecr:CreateRepository","ecr:TagResource"],"Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/team":"x"}}}`, ""},
		{"key of another service", identity, push(`"StringEquals":{"sts:ExternalId":"x"}`), "warning absent-key"},
		{"key of a service that is not here", identity, push(`"StringEquals":{"s3:prefix":"x"}`), "warning absent-key"},
		{"key of a service that is meant", identity, `{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*","Condition":{"StringEquals":{"s3:prefix":"x"}}}`, "note unknown-service"},
		{"claim", identity, push(`"StringEquals":{"` + github + `:repository":"team/app"}`), ""},
		{"linked role", identity, `{"Effect":"Allow","Action":"iam:CreateServiceLinkedRole","Resource":"*","Condition":{"StringEquals":{"iam:AWSServiceName":"replication.ecr.amazonaws.com"}}}`, ""},

		// Values and operators.
		{"literal wildcard", identity, push(`"StringEquals":{"aws:PrincipalTag/team":"blue-*"}`), "warning wildcard-literal"},
		{"wildcard value", identity, push(`"StringLike":{"aws:PrincipalTag/team":"blue-*"}`), ""},
		{"wildcard in a claim", lint.Trust, web(`"StringEquals":{"` + github + `:sub":"repo:team/app:*","` + github + `:aud":"sts.amazonaws.com"}`), "warning wildcard-literal"},
		{"endpoint's id", identity, push(`"StringEquals":{"aws:SourceVpce":"vpce-build"}`), "warning value-never"},
		{"network as an endpoint", identity, push(`"StringEquals":{"aws:SourceVpce":"vpc-0123456789abcdef0"}`), "warning value-never"},
		{"endpoints", identity, push(`"StringEquals":{"aws:SourceVpce":["vpce-0123456789abcdef0","vpce-01234567"]}`), ""},
		{"endpoint with wildcard", identity, push(`"StringLike":{"aws:SourceVpce":"vpce-*"}`), ""},
		{"pattern of no endpoint", identity, push(`"StringLike":{"aws:SourceVpce":"eni-*"}`), "warning value-never"},
		{"short account id", identity, push(`"StringEquals":{"aws:PrincipalAccount":"11112222333"}`), "warning value-never"},
		{"number as account", identity, push(`"StringEquals":{"aws:PrincipalAccount":111122223333}`), ""},
		{"session as principal", identity, push(`"ArnLike":{"aws:PrincipalArn":"arn:aws:sts::111122223333:assumed-role/ci/run"}`), "warning value-never"},
		{"role as principal", identity, push(`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/ci-*"}`), ""},
		{"name as principal", identity, push(`"StringEquals":{"aws:PrincipalArn":"alice"}`), "warning value-never"},
		{"truth", identity, push(`"StringEquals":{"aws:SecureTransport":"yes"}`), "warning value-never"},
		{"true", identity, push(`"Bool":{"aws:SecureTransport":"true"}`), ""},
		{"type of principal", identity, push(`"StringEquals":{"aws:PrincipalType":"Role"}`), "warning value-never"},
		{"range as text", identity, push(`"StringEquals":{"aws:SourceIp":"203.0.113.0/24"}`), "warning operator-type"},
		{"range", identity, push(`"IpAddress":{"aws:SourceIp":["203.0.113.0/24","2001:db8::/32"]}`), ""},
		{"ARN operator", identity, push(`"ArnEquals":{"aws:SourceVpce":"arn:aws:ec2:us-east-1:111122223333:vpc-endpoint/vpce-0123456789abcdef0"}`), "warning operator-type"},
		{"list as one", identity, `{"Effect":"Allow","Action":"ecr:TagResource","Resource":"*","Condition":{"StringEquals":{"aws:TagKeys":"team"}}}`, "warning quantifier-missing"},
		{"list", identity, `{"Effect":"Allow","Action":"ecr:TagResource","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":"team"}}}`, ""},
		{"all of a list", identity, `{"Effect":"Allow","Action":"ecr:TagResource","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":"team"}}}`, "note forallvalues-absent"},
		{"all of a list that is there", identity, `{"Effect":"Allow","Action":"ecr:TagResource","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":"team"},"Null":{"aws:TagKeys":"false"}}}`, ""},
		{"all of one", identity, push(`"ForAllValues:StringEquals":{"aws:PrincipalTag/team":"blue"}`), "warning forallvalues-allow"},

		// Conditions together.
		{"address and endpoint", identity, push(`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"},"StringEquals":{"aws:SourceVpce":"vpce-0123456789abcdef0"}`), "error network-contradiction"},
		{"address and endpoint, if they exist", identity, push(`"IpAddressIfExists":{"aws:SourceIp":"203.0.113.0/24"},"StringEqualsIfExists":{"aws:SourceVpce":"vpce-0123456789abcdef0"}`), ""},
		{"inner address and endpoint", identity, push(`"IpAddress":{"aws:VpcSourceIp":"10.0.0.0/24"},"StringEquals":{"aws:SourceVpce":"vpce-0123456789abcdef0"}`), ""},
		{"address within a network", identity, push(`"IpAddress":{"aws:SourceIp":"10.0.0.0/24"},"StringEquals":{"aws:SourceVpc":"vpc-0123456789abcdef0"}`), "error network-contradiction"},
		{"both wanted", identity, push(`"Null":{"aws:SourceIp":"false","aws:SourceVpce":"false"}`), "error network-contradiction"},
		{"equal and not", identity, push(`"StringEquals":{"aws:PrincipalTag/team":["a","b"]},"StringNotEquals":{"aws:PrincipalTag/team":["b","a"]}`), "error contradiction"},
		{"equal and not the other", identity, push(`"StringEquals":{"aws:PrincipalTag/team":["a","b"]},"StringNotEquals":{"aws:PrincipalTag/team":"a"}`), ""},
		{"two patterns", identity, push(`"StringLike":{"aws:PrincipalTag/team":"a*"},"StringNotLike":{"aws:PrincipalTag/team":"*b"}`), ""},
		{"pattern within a pattern", identity, push(`"StringLike":{"aws:PrincipalTag/team":"ab*"},"StringNotLike":{"aws:PrincipalTag/team":"a*"}`), "error contradiction"},
		{"ranges apart", identity, push(`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"},"NotIpAddress":{"aws:SourceIp":"203.0.0.0/16"}`), "error contradiction"},
		{"ranges, one less", identity, push(`"IpAddress":{"aws:SourceIp":"203.0.0.0/16"},"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}`), ""},
		{"there and not", identity, push(`"Null":{"aws:PrincipalTag/team":"true"},"StringEquals":{"aws:PrincipalTag/team":"a"}`), "error contradiction"},
		{"dates apart", identity, push(`"DateGreaterThan":{"aws:CurrentTime":"2027-01-01T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}`), "error contradiction"},
		{"dates", identity, push(`"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2027-01-01T00:00:00Z"}`), ""},
		{"second factor", identity, push(`"Bool":{"aws:MultiFactorAuthPresent":"true"}`), "warning constant-key"},
		{"second factor of a Deny", identity, refuse(`"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}`), "warning constant-key"},
		{"second factor of a Deny, failing open", identity, refuse(`"Bool":{"aws:MultiFactorAuthPresent":"false"}`), "warning deny-fails-open"},
		{"not through services", identity, refuse(`"Bool":{"aws:ViaAWSService":"false"},"StringNotEquals":{"aws:RequestedRegion":"us-east-1"}`), ""},

		// Statements together.
		{"Allow under Deny", identity, `{"Effect":"Deny","Action":"ecr:*","Resource":"*"},` + push(""), "warning allow-under-deny"},
		{"Allow under two", identity, `{"Effect":"Allow","Action":["ecr:PutImage","ecr:BatchGetImage"],"Resource":"*"},{"Effect":"Deny","Action":"ecr:Put*","Resource":"*"},{"Effect":"Deny","Action":"ecr:Batch*","Resource":"*"}`, "warning allow-under-deny"},
		{"Allow under NotAction", identity, `{"Effect":"Deny","NotAction":"iam:*","Resource":"*"},` + push(""), "warning allow-under-deny"},
		{"Allow beside Deny", identity, `{"Effect":"Deny","Action":"ecr:Delete*","Resource":"*"},{"Effect":"Allow","Action":"ecr:*","Resource":"*"}`, ""},
		{"Allow under a Deny elsewhere", identity, `{"Effect":"Deny","Action":"ecr:*","Resource":"arn:aws:ecr:*:*:repository/prod/*"},` + push(""), ""},
		{"Allow under a Deny of others", repository, on("Deny", `{"AWS":"444455556666"}`, "ecr:PutImage", "") + "," + on("Allow", alice, "ecr:PutImage", ""), ""},
		{"only Deny", identity, `{"Effect":"Deny","Action":"iam:*","Resource":"*"}`, "note allows-nothing"},
		{"only Deny of others", identity, `{"Effect":"Deny","NotAction":"ecr:*","Resource":"*"}`, "note allows-nothing"},
		{"boundary of Deny", lint.Boundary, `{"Effect":"Deny","Action":"iam:*","Resource":"*"}`, "warning allows-nothing"},
		{"no way in", identity, refuse(office) + `,{"Effect":"Deny","Action":"*","Resource":"*","Condition":{` + through + `}}`, "warning endpoint-refused,error denies-everywhere"},
		{"two ways in", identity, refuse(office + "," + through), ""},

		// Deny that fails open.
		{"contractors", identity, refuse(`"StringEquals":{"aws:PrincipalTag/kind":"contractor"}`), "note deny-fails-open"},
		{"contractors and the untagged", identity, refuse(`"StringEqualsIfExists":{"aws:PrincipalTag/kind":"contractor"}`), ""},
		{"blocked addresses", identity, refuse(`"IpAddress":{"aws:SourceIp":"198.51.100.0/24"}`), "note deny-fails-open"},
		{"blocked addresses both ways", identity, refuse(`"IpAddress":{"aws:SourceIp":"198.51.100.0/24"}`) + `,{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:VpcSourceIp":"198.51.100.0/24"}}}`, ""},
		{"NotPrincipal", repository, `{"Effect":"Deny","NotPrincipal":` + alice + `,"Action":"ecr:PutImage"}`, "warning notprincipal-deny"},
		{"NotPrincipal of an Allow", repository, `{"Effect":"Allow","NotPrincipal":` + alice + `,"Action":"ecr:PutImage"}`, "warning notprincipal-allow"},
		{"but for a principal", repository, on("Deny", `"*"`, "ecr:PutImage", `"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/alice"}`), ""},
		{"Allow from without", identity, push(`"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}`), "note allow-without-key"},
		{"second factor never set", identity, refuse(`"NumericGreaterThan":{"aws:MultiFactorAuthAge":"3600"}`), "warning absent-key"},

		// Who is locked out.
		{"story 1's trap", repository, on("Deny", `"*"`, "ecr:*", office), "warning endpoint-refused"},
		{"out of the trap", repository, on("Deny", `"*"`, "ecr:*", office+","+through), ""},
		{"endpoints left out", repository, on("Deny", `"*"`, "ecr:*", office+`,"Null":{"aws:SourceIp":"false"}`), ""},
		{"trap of reading", repository, on("Deny", `"*"`, "ecr:BatchGetImage", office), "warning endpoint-refused"},
		{"trap of an identity", identity, refuse(office), "warning endpoint-refused"},
		{"both statements", repository, on("Deny", `"*"`, "ecr:*", office) + "," + on("Deny", `"*"`, "ecr:*", through), "error lockout,warning endpoint-refused"},
		{"all of it", repository, on("Deny", `"*"`, "ecr:*", ""), "error lockout"},
		{"all but deleting", repository, on("Deny", `"*"`, "ecr:SetRepositoryPolicy", ""), "warning lockout"},
		{"all but reading", repository, on("Deny", `"*"`, "ecr:PutImage", ""), ""},
		{"only an endpoint", repository, on("Deny", `"*"`, "ecr:*", through), "note endpoint-only"},
		{"only an administrator", repository, on("Deny", `"*"`, "ecr:*", `"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/admin*"}`), ""},
		{"only a tag", repository, on("Deny", `"*"`, "ecr:*", `"StringNotEquals":{"aws:PrincipalTag/role":"admin"}`), ""},
		{"only a variable", repository, on("Deny", `"*"`, "ecr:*", `"StringNotEquals":{"aws:PrincipalTag/team":"${aws:ResourceTag/team}"}`), "warning deny-fails-open"},
		{"a variable with a default", repository, on("Deny", `"*"`, "ecr:*", `"StringNotEquals":{"aws:PrincipalTag/team":"${aws:ResourceTag/team, '-'}"}`), ""},
		{"a variable that there always is", repository, on("Deny", `"*"`, "ecr:*", `"StringNotEquals":{"aws:ResourceTag/owner":"${aws:PrincipalAccount}"}`), ""},
		{"a session's user name", repository, on("Deny", `"*"`, "ecr:*", `"StringNotEquals":{"aws:ResourceTag/owner":"${aws:username}"}`), "warning deny-fails-open"},
		{"a variable of an Allow", identity, push(`"StringNotEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}`), ""},
		{"only after a date", repository, on("Deny", `"*"`, "ecr:*", `"DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}`), ""},
		{"the account", repository, on("Deny", `{"AWS":"111122223333"}`, "ecr:*", ""), "error lockout"},
		{"another account", repository, on("Deny", `{"AWS":"444455556666"}`, "ecr:*", "") + "," + on("Allow", `{"AWS":"111122223333"}`, "ecr:BatchGetImage", ""), ""},
		{"not plain", repository, on("Deny", `"*"`, "ecr:*", `"Bool":{"aws:SecureTransport":"false"}`), ""},
		{"not encrypted", repository, on("Deny", `"*"`, "ecr:*", `"Bool":{"aws:SecureTransport":"true"}`), ""},
		{"secret", lint.Secret, `{"Effect":"Deny","Principal":"*","Action":"secretsmanager:*","Resource":"*"}`, "error lockout"},
		{"secret, reading", lint.Secret, `{"Effect":"Deny","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"}`, ""},
		{"registry", lint.Registry, `{"Effect":"Deny","Principal":"*","Action":"ecr:*","Resource":"*"}`, "error lockout"},
		{"registry, repositories", lint.Registry, `{"Effect":"Deny","Principal":"*","Action":"ecr:*","Resource":"arn:aws:ecr:*:*:repository/*"}`, ""},

		// Too many let in.
		{"public", repository, on("Allow", `"*"`, "ecr:BatchGetImage", ""), "warning public"},
		{"public over TLS", repository, on("Allow", `{"AWS":"*"}`, "ecr:BatchGetImage", `"Bool":{"aws:SecureTransport":"true"}`), "warning public"},
		{"from the office", repository, on("Allow", `"*"`, "ecr:BatchGetImage", `"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`), ""},
		{"endpoint", lint.Endpoint, `{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`, ""},
		{"any role", identity, `{"Effect":"Allow","Action":"iam:PassRole","Resource":"*"}`, "warning passrole-any"},
		{"any role of the account", identity, `{"Effect":"Allow","Action":["iam:Pass*","ecr:*"],"Resource":"arn:aws:iam::111122223333:role/*"}`, "warning passrole-any,warning resource-mismatch"},
		{"any role to a service", identity, `{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"ecr.amazonaws.com"}}}`, ""},
		{"a role", identity, `{"Effect":"Allow","Action":"iam:PassRole","Resource":"arn:aws:iam::111122223333:role/ci"}`, ""},
		{"administrator", identity, `{"Effect":"Allow","Action":"*","Resource":"*"}`, "note administrator"},
		{"all but some", identity, `{"Effect":"Allow","NotAction":"ecr:Delete*","Resource":"*"}`, "warning notaction-allow"},
		{"all but iam", identity, `{"Effect":"Allow","NotAction":["iam:*"],"Resource":"*"}`, ""},
		{"trust anybody", lint.Trust, on("Allow", `{"AWS":"*"}`, "sts:AssumeRole", ""), "warning trust-anyone"},
		{"trust anybody of ours", lint.Trust, on("Allow", `{"AWS":"*"}`, "sts:AssumeRole", `"StringEquals":{"aws:PrincipalAccount":"111122223333"}`), ""},
		{"trust the account", lint.Trust, on("Allow", `{"AWS":"111122223333"}`, "sts:AssumeRole", ""), ""},
		{"trust a service", lint.Trust, on("Allow", `{"Service":"ecs-tasks.amazonaws.com"}`, "sts:AssumeRole", ""), "note principal-never"},
		{"trust pipelines", lint.Trust, on("Allow", `{"Service":"pipelines.sekisho"}`, "sts:AssumeRole", ""), ""},
		{"trust SAML", lint.Trust, on("Allow", `{"Federated":"arn:aws:iam::111122223333:saml-provider/x"}`, "sts:AssumeRoleWithSAML", ""), "warning principal-never"},
		{"trust who is gone", lint.Trust, on("Allow", `{"AWS":"AIDAEXAMPLEEXAMPLE01"}`, "sts:AssumeRole", ""), "warning principal-gone"},
		{"any token", lint.Trust, web(""), "warning oidc-any-subject"},
		{"any token for us", lint.Trust, web(`"StringEquals":{"` + github + `:aud":"sts.amazonaws.com"}`), "warning oidc-any-subject"},
		{"any repository", lint.Trust, web(`"StringLike":{"` + github + `:sub":"repo:*"}`), "warning oidc-any-subject"},
		{"a repository", lint.Trust, web(`"StringLike":{"` + github + `:sub":"repo:team/app:*"},"StringEquals":{"` + github + `:aud":"sts.amazonaws.com"}`), ""},
		{"by another claim", lint.Trust, web(`"StringEquals":{"` + github + `:repository_owner":"team"}`), ""},
		{"another issuer's claim", lint.Trust, web(`"StringEquals":{"gitlab.example.com:sub":"repo:team/app"}`), "error issuer-mismatch"},

		// Size.
		{"near", lint.Boundary, push(`"StringEquals":{"aws:PrincipalTag/team":"` + strings.Repeat("x", 5800) + `"}`), "note near-limit"},
		{"over", lint.Boundary, push(`"StringEquals":{"aws:PrincipalTag/team":"` + strings.Repeat("x", 6200) + `"}`), "error size"},
		{"inline only", identity, push(`"StringEquals":{"aws:PrincipalTag/team":"` + strings.Repeat("x", 6200) + `"}`), "warning size"},
		{"over everything", identity, push(`"StringEquals":{"aws:PrincipalTag/team":"` + strings.Repeat("x", 10200) + `"}`), "error size"},
		{"trust over", lint.Trust, on("Allow", alice, "sts:AssumeRole", `"StringEquals":{"sts:ExternalId":"`+strings.Repeat("x", 2000)+`"}`), "error size"},
		{"repository over", repository, on("Allow", alice, "ecr:PutImage", `"StringEquals":{"aws:PrincipalTag/x":"`+strings.Repeat("x", 10200)+`"}`), "error size"},

		// Grammar.
		{"no JSON", identity, `{`, "error syntax"},
		{"no effect", identity, `{"Action":"ecr:*","Resource":"*"}`, "error syntax"},
		{"range that is none", identity, push(`"IpAddress":{"aws:SourceIp":"203.0.113.0/33"}`), "error syntax"},
		{"two of one Sid", identity, `{"Sid":"A","Effect":"Allow","Action":"ecr:*","Resource":"*"},{"Sid":"A","Effect":"Allow","Action":"sts:*","Resource":"*"}`, "error syntax"},
		{"no action", identity, `{"Effect":"Allow","Action":[],"Resource":"*"}`, "error syntax"},
		{"principal of a group", repository, on("Allow", `{"AWS":"arn:aws:iam::111122223333:group/x"}`, "ecr:PutImage", ""), "error syntax"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc := tt.doc
			if !strings.HasPrefix(doc, `{"Version"`) {
				doc = document(doc)
			}
			r := lint.Check([]byte(doc), tt.kind)
			want := []string{}
			if tt.want != "" {
				want = strings.Split(tt.want, ",")
			}
			if diff := cmp.Diff(want, codes(r)); diff != "" {
				t.Errorf("findings (-want +got):\n%s\n%s", diff, doc)
				for _, f := range r.Findings {
					t.Logf("%d:%d %s %s → %s", f.Line, f.Column, f.Code, f.Message, f.Fix)
				}
			}
		})
	}
}
