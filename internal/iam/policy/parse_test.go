package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRefuses(t *testing.T) {
	const allow = `"Effect": "Allow", "Action": "ecr:*"`
	for _, tt := range []struct {
		name string
		kind Kind
		doc  string
		want string // what the error says
	}{
		{"empty", Identity, " \n", `line 1, column 1: the document is empty`},
		{"no JSON", Identity, "{\n  Version: 1}", `line 2, column 3: the name of a member in quotes is needed here, not 'V'`},
		{"cut off", Identity, `{"Version": `, `line 1, column 13: a value is missing at the end of the document`},
		{"two documents", Identity, `{"Statement": []} {}`, `line 1, column 19: there is '{' after the end of the document`},
		{"trailing comma", Identity, `{"Version": "2012-10-17",}`, `line 1, column 26: the name of a member in quotes is needed here, not '}'`},
		{"comment", Identity, "{\n// why\n}", `line 2, column 1: the name of a member in quotes is needed here, not '/'`},
		{"single quotes", Identity, `{'Version': 1}`, `line 1, column 2: the name of a member in quotes is needed here, not '\''`},
		{"open string", Identity, `{"Version: 1}`, `line 1, column 2: this string has no closing quote`},
		{"line break in string", Identity, "{\"Ver\nsion\": 1}", `line 1, column 6: a control character in a string must be escaped`},
		{"not UTF-8", Identity, "{\"V\": \"é\xff\"}", `line 1, column 9: the document is not valid UTF-8`},
		{"half a surrogate", Identity, `{"V": "\ud800"}`, `line 1, column 8: half of a surrogate pair`},
		{"nested", Identity, strings.Repeat("[", 100), `line 1, column 33: values are nested more than 32 levels deep`},
		{"too large", Identity, `{"Id": "` + strings.Repeat("x", maxDocument) + `"}`, `at most 262144 are read`},
		{"duplicate element", Identity, `{"Version": "2012-10-17", "Version": "2008-10-17"}`, `line 1, column 27: "Version" is there twice in one object; remove one`},
		{"duplicate in statement", Identity, "{\"Statement\": {\n\"Effect\": \"Deny\",\n\"Effect\": \"Allow\"}}", `line 3, column 1: "Effect" is there twice in one object; remove one`},
		{"duplicate key", Identity, `{"Statement": {` + allow + `, "Resource": "*", "Condition": {"Bool": {"a:b": "true", "a:b": "false"}}}}`, `"a:b" is there twice`},
		{"list", Identity, `[]`, `a policy is an object with Version and Statement, not a list`},
		{"no statement", Identity, `{"Version": "2012-10-17"}`, `the element Statement is missing`},
		{"no statements", Identity, `{"Statement": []}`, `Statement: there must be at least one statement`},
		{"string statement", Identity, `{"Statement": "Allow"}`, `Statement: must be a list of statements, not a string`},
		{"number statement", Identity, `{"Statement": [1]}`, `Statement[0]: must be a statement, which is an object, not a number`},
		{"version", Identity, `{"Version": "2024-01-01", "Statement": []}`, `line 1, column 13: Version: there is no version "2024-01-01"; write "2012-10-17"`},
		{"version number", Identity, `{"Version": 2012, "Statement": []}`, `Version: must be "2012-10-17", not a number`},
		{"unknown element", Identity, `{"Versions": "2012-10-17", "Statement": []}`, `Versions: there is no such element; known here are Version, Id, Statement`},
		{"case of an element", Identity, `{"Statement": {"effect": "Allow"}}`, `Statement.effect: there is no such element; case counts: write Effect`},
		{"unknown in statement", Identity, `{"Statement": [{` + allow + `, "Resources": "*"}]}`, `Statement[0].Resources: there is no such element; known here are Sid, Effect, Action, NotAction, Resource, NotResource, Condition`},
		{"no effect", Identity, `{"Statement": [{"Action": "ecr:*", "Resource": "*"}]}`, `line 1, column 16: Statement[0].Effect: the element is missing; write "Allow" or "Deny"`},
		{"effect", Identity, `{"Statement": [{"Effect": "allow", "Action": "ecr:*", "Resource": "*"}]}`, `"allow" is no effect; write "Allow" or "Deny"`},
		{"effect list", Identity, `{"Statement": [{"Effect": ["Allow"], "Action": "ecr:*", "Resource": "*"}]}`, `must be "Allow" or "Deny", not a list`},
		{"no action", Identity, `{"Statement": [{"Effect": "Allow", "Resource": "*"}]}`, `Statement[0]: the element Action or NotAction is missing`},
		{"both actions", Identity, `{"Statement": [{` + allow + `, "NotAction": "s3:*", "Resource": "*"}]}`, `Statement[0].NotAction: there can't be both Action and NotAction; remove one`},
		{"both resources", Identity, `{"Statement": [{` + allow + `, "NotResource": "*", "Resource": "*"}]}`, `there can't be both Resource and NotResource`},
		{"both principals", Resource, `{"Statement": [{` + allow + `, "NotPrincipal": "*", "Principal": "*"}]}`, `there can't be both Principal and NotPrincipal`},
		{"no resource", Identity, `{"Statement": [{` + allow + `}]}`, `the element Resource or NotResource is missing`},
		{"action object", Identity, `{"Statement": [{"Effect": "Allow", "Action": {}, "Resource": "*"}]}`, `Action: must be a string or a list of strings, not an object`},
		{"action number in a list", Identity, `{"Statement": [{"Effect": "Allow", "Action": ["ecr:*", 7], "Resource": "*"}]}`, `Statement[0].Action[1]: must be a string, not a number`},
		{"empty list", Identity, `{"Statement": [{"Effect": "Allow", "Action": [], "Resource": "*"}]}`, `Statement[0].Action: the list is empty; name at least one`},
		{"action without service", Identity, `{"Statement": [{"Effect": "Allow", "Action": "PutImage", "Resource": "*"}]}`, `"PutImage": actions are written service:Action`},
		{"action without name", Identity, `{"Statement": [{"Effect": "Allow", "Action": "ecr:", "Resource": "*"}]}`, `the name of the action is missing`},
		{"wildcard service", Identity, `{"Statement": [{"Effect": "Allow", "Action": "ec*:Get*", "Resource": "*"}]}`, `the service in an action can't have wildcards`},
		{"two actions in one", Identity, `{"Statement": [{"Effect": "Allow", "Action": "ecr:Get*,Put*", "Resource": "*"}]}`, `actions consist of letters, digits and wildcards`},
		{"resource without ARN", Identity, `{"Statement": [{` + allow + `, "Resource": "repository/app"}]}`, `"repository/app": a resource is an ARN or "*"`},
		{"resource of another partition", Identity, `{"Statement": [{` + allow + `, "Resource": "arn:aws-cn:ecr:*:*:*"}]}`, `there is no partition aws-cn here`},
		{"resource with any service", Identity, `{"Statement": [{` + allow + `, "Resource": "arn:aws:*:*:*:*"}]}`, `the service in an ARN is written out`},
		{"open variable", Identity, `{"Version": "2012-10-17", "Statement": [{` + allow + `, "Resource": "arn:aws:ecr:*:*:repository/${aws:username"}]}`, `a policy variable is not closed`},
		{"no variable", Identity, `{"Version": "2012-10-17", "Statement": [{` + allow + `, "Resource": "arn:aws:ecr:*:*:repository/${aws:x, y}"}]}`, `is no policy variable; write ${key} or ${key, 'default'}`},
		{"sid", Identity, `{"Statement": [{"Sid": "my statement", ` + allow + `, "Resource": "*"}]}`, `Statement[0].Sid: "my statement": a Sid consists of letters and digits`},
		{"sid twice", Resource, `{"Statement": [{"Sid": "a", ` + allow + `, "Principal": "*"}, {"Sid": "a", ` + allow + `, "Principal": "*"}]}`, `Statement[1].Sid: another statement has the Sid "a" too`},
		{"principal in identity policy", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Principal": "*"}]}`, `Statement[0].Principal: an identity policy names no principals`},
		{"principal in control policy", ServiceControl, `{"Statement": [{` + allow + `, "Resource": "*", "Principal": "*"}]}`, `names no principals`},
		{"no principal", Resource, `{"Statement": [{` + allow + `}]}`, `the element Principal is missing: a resource policy says whom each statement is about`},
		{"principal string", Resource, `{"Statement": [{` + allow + `, "Principal": "111122223333"}]}`, `write "*" or an object`},
		{"principal kind", Resource, `{"Statement": [{` + allow + `, "Principal": {"aws": "111122223333"}}]}`, `a principal is one of AWS, Service, Federated and CanonicalUser`},
		{"principal list", Resource, `{"Statement": [{` + allow + `, "Principal": ["*"]}]}`, `must be "*" or an object such as`},
		{"no principals", Resource, `{"Statement": [{` + allow + `, "Principal": {}}]}`, `the object is empty`},
		{"principal account", Resource, `{"Statement": [{` + allow + `, "Principal": {"AWS": "1111222233"}}]}`, `"1111222233": this is no principal`},
		{"principal wildcard", Resource, `{"Statement": [{` + allow + `, "Principal": {"AWS": "arn:aws:iam::111122223333:user/*"}}]}`, `the ARN of a principal can't have wildcards`},
		{"principal group", Resource, `{"Statement": [{` + allow + `, "Principal": {"AWS": "arn:aws:iam::111122223333:group/devs"}}]}`, `this is no principal`},
		{"principal partition", Resource, `{"Statement": [{` + allow + `, "Principal": {"AWS": "arn:aws-us-gov:iam::111122223333:root"}}]}`, `there is no partition aws-us-gov here`},
		{"service", Resource, `{"Statement": [{` + allow + `, "Principal": {"Service": "*"}}]}`, `a service is named like ec2.amazonaws.com`},
		{"trust with resource", Trust, `{"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": "*", "Resource": "*"}]}`, `a trust policy is about its role and names no resource`},
		{"trust with other action", Trust, `{"Statement": [{` + allow + `, "Principal": "*"}]}`, `a trust policy is about assuming its role`},
		{"operator", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": {"StringMatches": {"a:b": "c"}}}]}`, `Statement[0].Condition.StringMatches: there is no such operator; known are such as StringEquals`},
		{"quantifier", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": {"ForSomeValues:StringLike": {"a:b": "c"}}}]}`, `there is no such operator`},
		{"null if exists", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": {"NullIfExists": {"a:b": "true"}}}]}`, `there is no such operator`},
		{"condition list", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": []}]}`, `Condition: must be an object of operators, not a list`},
		{"condition value", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": {"Bool": true}}]}`, `Bool: must be an object of condition keys, not a boolean`},
		{"condition key", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": {"Bool": {"SecureTransport": "true"}}}]}`, `a condition key has a prefix`},
		{"condition object", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": {"Bool": {"a:b": {}}}}]}`, `a:b: must be a string or a list of strings, not an object`},
		{"CIDR", Identity, "{\"Statement\": [{\n" + allow + ", \"Resource\": \"*\",\n\"Condition\": {\"IpAddress\": {\"aws:SourceIp\": [\"10.0.0.0/8\", \"10.0.0.0/33\"]}}}]}", `line 3, column 60: Statement[0].Condition.IpAddress.aws:SourceIp[1]: "10.0.0.0/33": this is no address range; write 203.0.113.0/24 or 2001:db8::/32`},
		{"date", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": {"DateLessThan": {"aws:CurrentTime": "tomorrow"}}}]}`, `this is no date`},
		{"number", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": {"NumericEquals": {"a:b": "ten"}}}]}`, `this is no number`},
		{"boolean", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": {"Bool": {"a:b": "yes"}}}]}`, `write true or false`},
		{"null", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": {"Null": {"a:b": "no"}}}]}`, `write true or false`},
		{"base64", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": {"BinaryEquals": {"a:b": "?"}}}]}`, `this is no base64`},
		{"ARN in a condition", Identity, `{"Statement": [{` + allow + `, "Resource": "*", "Condition": {"ArnLike": {"a:b": "role/x"}}}]}`, `an ARN has six parts`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.doc), tt.kind)
			if syntax, ok := errors.AsType[*SyntaxError](err); !ok || !strings.Contains(syntax.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestParseAccepts(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind Kind
		doc  string
	}{
		{"single values", Identity, `{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}`},
		{"everything of everything", Identity, `{"Statement": {"Effect": "Allow", "Action": "*:*", "Resource": "*"}}`},
		{"id and version", Identity, `{"Version": "2008-10-17", "Id": "x", "Statement": [{"Sid": "", "Effect": "Deny", "NotAction": ["s3:Get?bject"], "NotResource": ["arn:aws:s3:::*"]}]}`},
		{"sids with spaces", Resource, `{"Statement": [{"Sid": "new statement", "Effect": "Allow", "Principal": "*", "Action": "ecr:*"}]}`},
		{"numbers and booleans", Identity, `{"Statement": [{"Effect": "Allow", "Action": "ecr:*", "Resource": "*", "Condition": {"NumericEquals": {"a:b": [1, 2.5e1]}, "Bool": {"a:b": false}}}]}`},
		{"case of operators", Identity, `{"Statement": [{"Effect": "Allow", "Action": "ecr:*", "Resource": "*", "Condition": {"IPAddress": {"aws:sourceip": "::/0"}, "foranyvalue:stringlikeifexists": {"a:b": "*"}}}]}`},
		{"endpoint without principal", Endpoint, `{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`},
		{"escapes", Identity, `{"Id": "\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00", "Statement": [{"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}]}`},
		{"trust", Trust, `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": ["ec2.amazonaws.com"]}, "Action": ["sts:AssumeRole", "sts:TagSession"]}]}`},
		{"deleted principal", Resource, `{"Statement": [{"Effect": "Deny", "Principal": {"AWS": "AROAEXAMPLEEXAMPLE123"}, "Action": "ecr:*"}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(tt.doc), tt.kind)
			if err != nil {
				t.Fatal(err)
			}
			if p.Document() != tt.doc || p.String() != tt.doc || p.Kind() != tt.kind {
				t.Error("the document is not given back as it was")
			}
			if _, err := ParseLenient([]byte(tt.doc), tt.kind); err != nil {
				t.Errorf("lenient: %v", err)
			}
		})
	}
}

// TestParseLenient holds what is only asked about, and that it then matches nothing.
func TestParseLenient(t *testing.T) {
	alice := Principal{Type: User, ARN: "arn:aws:iam::111122223333:user/alice", Account: own}
	request := &Request{Principal: alice, Action: "ecr:PutImage", Resource: "arn:aws:ecr:eu-west-1:111122223333:repository/app", ResourceAccount: own}
	for _, tt := range []struct {
		name string
		kind Kind
		doc  string
		want Outcome
	}{
		{"no statements", Identity, `{"Statement": []}`, ImplicitDeny},
		{"action with a space", Identity, `{"Statement": {"Effect": "Allow", "Action": "ecr:PutImage ", "Resource": "*"}}`, ImplicitDeny},
		{"empty action", Identity, `{"Statement": {"Effect": "Allow", "Action": "ecr:", "Resource": "*"}}`, ImplicitDeny},
		{"but an empty action", Identity, `{"Statement": {"Effect": "Allow", "NotAction": "ecr:", "Resource": "*"}}`, Allowed},
		{"service with a wildcard", Identity, `{"Statement": {"Effect": "Allow", "Action": "*:PutImage", "Resource": "*"}}`, ImplicitDeny},
		{"principal in an identity policy", Identity, `{"Statement": {"Effect": "Allow", "Action": "ecr:*", "Resource": "*", "Principal": {"AWS": "444455556666"}}}`, Allowed},
		{"no principal", Resource, `{"Statement": {"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}}`, ImplicitDeny},
		{"principal as a string", Resource, `{"Statement": {"Effect": "Allow", "Action": "ecr:*", "Principal": "arn:aws:iam::111122223333:user/alice"}}`, Allowed},
		{"principal with a wildcard", Resource, `{"Statement": {"Effect": "Allow", "Action": "ecr:*", "Principal": {"AWS": "arn:aws:iam::111122223333:user/*"}}}`, ImplicitDeny},
		{"unreadable address", Identity, `{"Statement": {"Effect": "Allow", "Action": "ecr:*", "Resource": "*", "Condition": {"NotIpAddress": {"aws:SourceIp": "office"}}}}`, Allowed}, // the key is not there
		{"unreadable number", Identity, `{"Statement": {"Effect": "Allow", "Action": "ecr:*", "Resource": "*", "Condition": {"NumericNotEquals": {"aws:PrincipalAccount": "x"}}}}`, ImplicitDeny},
		{"unreadable null", Identity, `{"Statement": {"Effect": "Allow", "Action": "ecr:*", "Resource": "*", "Condition": {"Null": {"a:b": "x"}}}}`, ImplicitDeny},
		{"open variable", Identity, `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ecr:*", "Resource": "arn:aws:ecr:*:*:repository/${"}}`, ImplicitDeny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse([]byte(tt.doc), tt.kind); err == nil {
				t.Error("Parse accepts it")
			}
			p, err := ParseLenient([]byte(tt.doc), tt.kind)
			if err != nil {
				t.Fatal(err)
			}
			policies := &Policies{Identity: []Named{{"x", p}}}
			if tt.kind == Resource {
				policies = &Policies{Resource: []Named{{"x", p}}}
			}
			if d := Decide(request, policies); d.Outcome != tt.want {
				t.Errorf("%v, want %v", d.Outcome, tt.want)
			}
		})
	}
}

func TestSize(t *testing.T) {
	for _, tt := range []struct {
		doc  string
		want int
	}{
		{"", 0},
		{" {\n\t\"a b\" : \"é \\\" \" }\r\n", len(`{"a b":`) + len([]rune(`"é \" "}`))},
	} {
		if got := Size(tt.doc); got != tt.want {
			t.Errorf("%q: %d, want %d", tt.doc, got, tt.want)
		}
	}
}

func TestParsePrincipal(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Principal
	}{
		{"arn:aws:iam::111122223333:root", Principal{Type: Root, Account: own}},
		{"arn:aws:iam::111122223333:user/path/alice", Principal{Type: User, Account: own}},
		{"arn:aws:iam::111122223333:role/path/ci", Principal{Type: AssumedRole, Account: own, RoleARN: "arn:aws:iam::111122223333:role/path/ci"}},
		{"arn:aws:sts::111122223333:assumed-role/ci/run/1", Principal{Type: AssumedRole, Account: own, RoleARN: "arn:aws:iam::111122223333:role/ci", RolePathUnknown: true}},
		{"arn:aws:sts::111122223333:federated-user/bob", Principal{Type: FederatedUser, Account: own}},
		{"arn:aws:iam::111122223333:oidc-provider/example.com/x", Principal{Type: Federated, Account: own}},
		{"accounts.google.com", Principal{Type: Federated}},
		{"cognito-identity.amazonaws.com", Principal{Type: Federated}},
		{"ec2.amazonaws.com", Principal{Type: Service}},
	} {
		tt.want.ARN = tt.in
		got, err := ParsePrincipal(tt.in)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tt.in, err, diff)
		}
	}
	for _, in := range []string{"", "*", "alice", "arn:aws:iam::111122223333:user/", "arn:aws:iam::111122223333:user/*", "arn:aws:iam::1:root",
		"arn:aws:iam::111122223333:group/x", "arn:aws:sts::111122223333:assumed-role/ci", "arn:aws:s3:::bucket", "a b.com"} {
		if p, err := ParsePrincipal(in); err == nil {
			t.Errorf("%q is taken for %+v", in, p)
		}
	}
}
