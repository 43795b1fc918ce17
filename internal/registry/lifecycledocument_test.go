package registry

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// rule renders a rule; parts replace the values of selection and action.
func rule(priority int, selection, action string) string {
	return fmt.Sprintf(`{"rulePriority": %d, "selection": {%s}, "action": {%s}}`, priority, selection, action)
}

func lifecycle(rules ...string) string {
	return `{"rules": [` + strings.Join(rules, ", ") + `]}` + strings.Repeat(" ", minLifecycleRunes)
}

const (
	anyNine    = `"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 9`
	expire     = `"type": "expire"`
	transition = `"type": "transition", "targetStorageClass": "archive"`
)

// The examples of "Examples of lifecycle policies in Amazon ECR" and what its rules forbid.
func TestCheckLifecyclePolicy(t *testing.T) {
	tagged := func(tags, count string) string { return `"tagStatus": "tagged", ` + tags + `, ` + count }
	const days14 = `"countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14`
	for _, tc := range []struct {
		name, policy, says string // says "": accepted
	}{
		{"any", lifecycle(rule(1, anyNine, expire)), ""},
		{"description", lifecycle(strings.Replace(rule(1, anyNine, expire), `"selection"`, `"description": "é", "selection"`, 1)), ""},
		{"untagged, by age", lifecycle(rule(1, `"tagStatus": "untagged", `+days14, expire)), ""},
		{"patterns", lifecycle(rule(1, tagged(`"tagPatternList": ["prod*", "*a*b*c"]`, days14), expire)), ""},
		{"prefixes", lifecycle(rule(1, tagged(`"tagPrefixList": ["alpha"]`, days14), expire), rule(2, tagged(`"tagPrefixList": ["beta"]`, days14), expire), rule(3, anyNine, expire)), ""},
		{"archive what was not pulled", lifecycle(rule(1, `"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 90`, transition)), ""},
		{"archive all but some", lifecycle(rule(1, anyNine, transition)), ""},
		{"archive, then expire", lifecycle(rule(1, `"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 90`, transition),
			rule(2, `"tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 365`, expire)), ""},
		{"storage class said", lifecycle(rule(1, anyNine+`, "storageClass": "standard"`, expire)), ""},
		{"order doesn't matter", lifecycle(rule(9, anyNine, expire), rule(3, `"tagStatus": "untagged", `+days14, expire)), ""},

		{"short", `{"rules": []}`, "100 to 30720"},
		{"long", lifecycle(rule(1, anyNine, expire)) + strings.Repeat(" ", maxLifecycleRunes), "100 to 30720"},
		{"no JSON", strings.Repeat("x", 100), "Could not map policyString into LifecyclePolicy. "},
		{"cut", lifecycle(rule(1, anyNine, expire))[:100], "ends too early (line 1, column 101)"},
		{"something behind", lifecycle(rule(1, anyNine, expire)) + "{}", "behind the document"},
		{"no object", lifecycle() + "", "1 to 50 rules"},
		{"a list", "[" + strings.Repeat(" ", 100) + "]", `instance type (array) does not match any allowed primitive type (allowed: ["object"])`},
		{"no rules", "{" + strings.Repeat(" ", 100) + "}", `object has missing required properties (["rules"])`},
		{"something else", strings.Replace(lifecycle(rule(1, anyNine, expire)), `{"rules"`, "{\n \"x\": 1, \"rules\"", 1), `properties which are not allowed by the schema: (["x"]) (line 2, column 7)`},
		{"twice", strings.Replace(lifecycle(rule(1, anyNine, expire)), `{"rules"`, `{"rules": [], "rules"`, 1), `"rules" is there twice`},
		{"rules no list", strings.Replace(lifecycle(), "[]", "{}", 1), `instance type (object)`},
		{"more than 50", lifecycle(rulesFor(51)...), "1 to 50 rules, this one has 51"},
		{"rule no object", lifecycle("1"), `instance type (integer)`},
		{"rule empty", lifecycle("{}"), `object has missing required properties (["action","rulePriority","selection"])`},
		{"priority 0", lifecycle(rule(0, anyNine, expire)), "numeric instance is lower than the required minimum (minimum: 1, found: 0)"},
		{"priority a text", strings.Replace(lifecycle(rule(1, anyNine, expire)), `: 1,`, `: "1",`, 1), "instance type (string)"},
		{"priority a fraction", strings.Replace(lifecycle(rule(1, anyNine, expire)), `: 1,`, `: 1.0,`, 1), "instance type (number)"},
		{"priority huge", strings.Replace(lifecycle(rule(1, anyNine, expire)), `: 1,`, `: 99999999999999999999,`, 1), "too large"},
		{"priority null", strings.Replace(lifecycle(rule(1, anyNine, expire)), `: 1,`, `: null,`, 1), "instance type (null)"},
		{"priority twice", lifecycle(rule(1, anyNine, expire), rule(1, `"tagStatus": "untagged", `+days14, expire)), "rulePriority must be unique"},
		{"description no text", lifecycle(strings.Replace(rule(1, anyNine, expire), `"selection"`, `"description": 1, "selection"`, 1)), "instance type (integer)"},
		{"any not last", lifecycle(rule(1, anyNine, expire), rule(2, `"tagStatus": "untagged", `+days14, expire)), "must have the highest rulePriority"},
		{"any twice", lifecycle(rule(1, anyNine, expire), rule(2, anyNine, expire)), "only one rule with storageClass standard may have tagStatus any"},
		{"untagged twice", lifecycle(rule(1, `"tagStatus": "untagged", `+days14, expire), rule(2, `"tagStatus": "untagged", `+days14, expire)), "tagStatus untagged"},
		{"the same tags twice", lifecycle(rule(1, tagged(`"tagPrefixList": ["a", "b"]`, days14), expire), rule(2, tagged(`"tagPatternList": ["b*", "a*"]`, days14), expire)), "select the same tags"},
		{"tagged without tags", lifecycle(rule(1, `"tagStatus": "tagged", `+days14, expire)), "needs tagPatternList or tagPrefixList"},
		{"both lists", lifecycle(rule(1, tagged(`"tagPrefixList": ["a"], "tagPatternList": ["b"]`, days14), expire)), "not both"},
		{"empty list", lifecycle(rule(1, tagged(`"tagPrefixList": []`, days14), expire)), "array is too short"},
		{"list no list", lifecycle(rule(1, tagged(`"tagPrefixList": "a"`, days14), expire)), "instance type (string)"},
		{"tag no text", lifecycle(rule(1, tagged(`"tagPrefixList": [1]`, days14), expire)), "instance type (integer)"},
		{"wildcard in a prefix", lifecycle(rule(1, tagged(`"tagPrefixList": ["a*"]`, days14), expire)), "does not match input string"},
		{"five wildcards", lifecycle(rule(1, tagged(`"tagPatternList": ["*test*1*2*3*"]`, days14), expire)), "more than 4 wildcards"},
		{"what no tag has", lifecycle(rule(1, tagged(`"tagPatternList": ["a/b"]`, days14), expire)), "does not match input string"},
		{"empty tag", lifecycle(rule(1, tagged(`"tagPatternList": [""]`, days14), expire)), "does not match input string"},
		{"tags of any", lifecycle(rule(1, anyNine+`, "tagPrefixList": ["a"]`, expire)), "go with tagStatus tagged only"},
		{"unknown status", lifecycle(rule(1, strings.Replace(anyNine, "any", "some", 1), expire)), `instance value ("some") not found in enum (possible values: ["any","tagged","untagged"])`},
		{"unknown count", lifecycle(rule(1, strings.Replace(anyNine, "More", "Less", 1), expire)), "not found in enum"},
		{"count 0", lifecycle(rule(1, strings.Replace(anyNine, "9", "0", 1), expire)), "lower than the required minimum"},
		{"unit of a count", lifecycle(rule(1, anyNine+`, "countUnit": "days"`, expire)), "instance failed to match exactly one schema (matched 0 out of 2)"},
		{"unit null", lifecycle(rule(1, anyNine+`, "countUnit": null`, expire)), "instance failed to match exactly one schema (matched 0 out of 2)"},
		{"no unit", lifecycle(rule(1, strings.Replace(anyNine, "imageCountMoreThan", "sinceImagePushed", 1), expire)), `needs countUnit "days"`},
		{"weeks", lifecycle(rule(1, `"tagStatus": "untagged", `+strings.Replace(days14, "days", "weeks", 1), expire)), "not found in enum"},
		{"unknown action", lifecycle(rule(1, anyNine, `"type": "keep"`)), "not found in enum"},
		{"expire to the archive", lifecycle(rule(1, anyNine, expire+`, "targetStorageClass": "archive"`)), "matched 0 out of 2"},
		{"expire to null", lifecycle(rule(1, anyNine, expire+`, "targetStorageClass": null`)), "matched 0 out of 2"},
		{"transition to nowhere", lifecycle(rule(1, anyNine, `"type": "transition"`)), `missing required properties (["targetStorageClass"])`},
		{"transition to standard", lifecycle(rule(1, anyNine, `"type": "transition", "targetStorageClass": "standard"`)), "not found in enum"},
		{"expire what was not pulled", lifecycle(rule(1, `"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 90`, expire)), "can only be archived"},
		{"transitioned in standard", lifecycle(rule(1, `"tagStatus": "any", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 90`, expire)), "storageClass archive"},
		{"count in the archive", lifecycle(rule(1, anyNine+`, "storageClass": "archive"`, expire)), "storageClass archive"},
		{"archive twice", lifecycle(rule(1, `"tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 90`, transition)), "can only expire"},
		{"archive for a week", lifecycle(rule(1, `"tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 7`, expire)), "minimum: 90, found: 7"},
		{"nested", `{"rules": ` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}", "nested too deeply"},
		{"not UTF-8", lifecycle(rule(1, anyNine, expire)) + "\xff", "UTF-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := checkLifecyclePolicy(tc.policy)
			if tc.says == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if e, ok := errors.AsType[*Error](err); !ok || e.Kind != LifecyclePolicyInvalid || !strings.HasPrefix(e.Message, lifecycleFailure) || !strings.Contains(e.Message, tc.says) {
				t.Errorf("%v, want it to say %q", err, tc.says)
			}
		})
	}
}

func rulesFor(n int) (rules []string) {
	for i := range n {
		rules = append(rules, rule(i+1, fmt.Sprintf(`"tagStatus": "tagged", "tagPrefixList": ["%d"], "countType": "imageCountMoreThan", "countNumber": 9`, i), expire))
	}
	return rules
}

// FuzzDocuments: no document makes the parsers panic, and what is wrong with one is a place in it.
func FuzzDocuments(f *testing.F) {
	f.Add(lifecycle(rule(1, anyNine, expire)))
	f.Add(`{"rules": [{"a": [1, "é", null, true, -1.5e3]}, `)
	f.Add(`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": ["ecr:*", 1], "Condition": {"NotIpAddress": {"aws:SourceIp": "x"}}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := parseDocument(text)
		if e, ok := errors.AsType[*documentError](err); ok && (e.at < 0 || e.at > len(text)) {
			t.Errorf("an error at %d of %d", e.at, len(text))
		}
		if err == nil {
			if err := lifecycleRules(doc); err != nil {
				if e, ok := errors.AsType[*documentError](err); !ok || e.at < 0 || e.at >= len(text) {
					t.Errorf("%v is nowhere in %q", err, text)
				}
			}
			absentKeys(doc, nil)
		}
		_ = checkLifecyclePolicy(text)
		_ = checkRepositoryPolicy(text)
	})
}
