package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of a lifecycle policy ("Lifecycle policy properties" and "Service quotas" in the Amazon ECR User Guide).
const (
	minLifecycleRunes    = 100
	maxLifecycleRunes    = 30_720
	maxLifecycleRules    = 50
	maxTagPatternStars   = 4
	minDaysInArchive     = 90
	lifecycleFailure     = "Lifecycle policy validation failure: "
	maxLifecycleTagRunes = 128
)

var (
	tagPatternSyntax = regexp.MustCompile(`^[0-9A-Za-z.*_-]+$`)
	tagPrefixSyntax  = regexp.MustCompile(`^[0-9A-Za-z._-]+$`)
)

// checkLifecyclePolicy says what is wrong with a document, if anything is. The words are ECR's where it has some: those
// of a JSON schema; what they don't say is where.
func checkLifecyclePolicy(text string) error {
	if n := utf8.RuneCountInString(text); n < minLifecycleRunes || n > maxLifecycleRunes {
		return lifecycleInvalid(fmt.Sprintf("the policy has %d characters; it must have %d to %d", n, minLifecycleRunes, maxLifecycleRunes))
	}
	if !utf8.ValidString(text) {
		return lifecycleInvalid("the policy is not valid UTF-8")
	}
	doc, err := parseDocument(text)
	if err != nil {
		return lifecycleError(text, err, "Could not map policyString into LifecyclePolicy. ")
	}
	return lifecycleError(text, lifecycleRules(doc), "")
}

func lifecycleInvalid(message string) error {
	return errorf(LifecyclePolicyInvalid, "%s%s", lifecycleFailure, message)
}

func lifecycleError(text string, err error, before string) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*documentError](err); ok {
		line, column := position(text, e.at)
		return lifecycleInvalid(fmt.Sprintf("%s%s (line %d, column %d)", before, e.message, line, column))
	}
	return lifecycleInvalid(before + err.Error())
}

// lifecycleRule is what rules are compared by.
type lifecycleRule struct {
	at       int
	priority int64
	status   string
	storage  string
	tags     []string // patterns or prefixes, sorted
}

func lifecycleRules(doc *node) error {
	if err := doc.object([]string{"rules"}, nil); err != nil {
		return err
	}
	list := doc.fields.get("rules")
	if err := list.is("array"); err != nil {
		return err
	}
	if n := len(list.list); n < 1 || n > maxLifecycleRules {
		return wrongAt(list.at, "a policy has 1 to %d rules, this one has %d", maxLifecycleRules, n)
	}
	var rules []lifecycleRule
	for i := range list.list {
		r, err := readLifecycleRule(&list.list[i])
		if err != nil {
			return err
		}
		rules = append(rules, *r)
	}
	return compareLifecycleRules(rules)
}

// compareLifecycleRules holds what no rule can break alone ("How lifecycle policies work").
func compareLifecycleRules(rules []lifecycleRule) error {
	for i := range rules {
		a := &rules[i]
		for _, b := range rules[:i] {
			if a.priority == b.priority {
				return wrongAt(a.at, "rulePriority must be unique, and %d is there twice", a.priority)
			}
			if a.storage != b.storage || a.status != b.status {
				continue
			}
			switch {
			case a.status != "tagged":
				return wrongAt(a.at, "only one rule with storageClass %s may have tagStatus %s", a.storage, a.status)
			case slices.Equal(a.tags, b.tags):
				return wrongAt(a.at, "two rules with storageClass %s select the same tags, %s", a.storage, strings.Join(a.tags, ", "))
			}
		}
	}
	for _, a := range rules {
		for _, b := range rules {
			if a.status == "any" && b.status != "any" && a.storage == b.storage && b.priority > a.priority {
				return wrongAt(a.at, "a rule with tagStatus any must have the highest rulePriority, and %d is higher", b.priority)
			}
		}
	}
	return nil
}

func readLifecycleRule(n *node) (*lifecycleRule, error) {
	if err := n.object([]string{"rulePriority", "selection", "action"}, []string{"description"}); err != nil {
		return nil, err
	}
	r := &lifecycleRule{at: n.at}
	var err error
	if r.priority, err = n.fields.get("rulePriority").atLeast(1); err != nil {
		return nil, err
	}
	if d := n.fields.get("description"); d != nil {
		if err := d.is("string"); err != nil {
			return nil, err
		}
	}
	action := n.fields.get("action")
	if err := action.object([]string{"type"}, []string{"targetStorageClass"}); err != nil {
		return nil, err
	}
	kind, err := action.fields.get("type").oneOf("expire", "transition")
	if err != nil {
		return nil, err
	}
	target := action.fields.get("targetStorageClass")
	switch {
	case kind == "expire" && target != nil:
		return nil, wrongAt(target.at, "instance failed to match exactly one schema (matched 0 out of 2): expire has no targetStorageClass")
	case kind == "transition" && target == nil:
		return nil, wrongAt(action.at, `object has missing required properties (["targetStorageClass"])`)
	case target != nil:
		if _, err := target.oneOf("archive"); err != nil {
			return nil, err
		}
	}
	return r, r.readSelection(n.fields.get("selection"), kind)
}

func (r *lifecycleRule) readSelection(n *node, action string) error {
	if err := n.object([]string{"tagStatus", "countType", "countNumber"}, []string{"countUnit", "storageClass", "tagPatternList", "tagPrefixList"}); err != nil {
		return err
	}
	var err error
	if r.status, err = n.fields.get("tagStatus").oneOf("any", "tagged", "untagged"); err != nil {
		return err
	}
	if err := r.readTags(n); err != nil {
		return err
	}
	count, err := n.fields.get("countType").oneOf("imageCountMoreThan", "sinceImagePulled", "sinceImagePushed", "sinceImageTransitioned")
	if err != nil {
		return err
	}
	number, err := n.fields.get("countNumber").atLeast(1)
	if err != nil {
		return err
	}
	unit := n.fields.get("countUnit")
	switch {
	case count == "imageCountMoreThan" && unit != nil:
		return wrongAt(unit.at, "instance failed to match exactly one schema (matched 0 out of 2): imageCountMoreThan has no countUnit")
	case count != "imageCountMoreThan" && unit == nil:
		return wrongAt(n.at, `instance failed to match exactly one schema (matched 0 out of 2): %s needs countUnit "days"`, count)
	case unit != nil:
		if _, err := unit.oneOf("days"); err != nil {
			return err
		}
	}
	r.storage = "standard"
	storage := n.fields.get("storageClass")
	if storage != nil {
		if r.storage, err = storage.oneOf("archive", "standard"); err != nil {
			return err
		}
	}
	switch {
	case (count == "sinceImageTransitioned") != (r.storage == "archive"):
		return wrongAt(n.at, "sinceImageTransitioned goes with storageClass archive, and every other countType with standard")
	case count == "sinceImageTransitioned" && action != "expire":
		return wrongAt(n.at, "archived images can only expire")
	case count == "sinceImageTransitioned" && number < minDaysInArchive:
		return wrongAt(n.fields.get("countNumber").at, "numeric instance is lower than the required minimum (minimum: %d, found: %d): so many days images stay in the archive", minDaysInArchive, number)
	case count == "sinceImagePulled" && action != "transition":
		return wrongAt(n.at, "images that were not pulled for a time can only be archived: sinceImagePulled goes with the action transition")
	}
	return nil
}

// readTags reads which tags a rule is about: of tagged images, one of two lists.
func (r *lifecycleRule) readTags(n *node) error {
	patterns, prefixes := n.fields.get("tagPatternList"), n.fields.get("tagPrefixList")
	list, syntax := patterns, tagPatternSyntax
	if list == nil {
		list, syntax = prefixes, tagPrefixSyntax
	}
	switch {
	case r.status != "tagged" && list != nil:
		return wrongAt(list.at, "tagPatternList and tagPrefixList go with tagStatus tagged only")
	case r.status != "tagged":
		return nil
	case patterns != nil && prefixes != nil:
		return wrongAt(prefixes.at, "a rule has either tagPatternList or tagPrefixList, not both")
	case list == nil:
		return wrongAt(n.at, "tagStatus tagged needs tagPatternList or tagPrefixList")
	}
	if err := list.is("array"); err != nil {
		return err
	}
	if len(list.list) == 0 {
		return wrongAt(list.at, "array is too short: must have at least 1 elements but instance has 0 elements")
	}
	for i := range list.list {
		tag := &list.list[i]
		if err := tag.is("string"); err != nil {
			return err
		}
		s := tag.scalar.(string)
		if len(s) > maxLifecycleTagRunes || !syntax.MatchString(s) {
			return wrongAt(tag.at, "ECMA 262 regex %q does not match input string %q, or it has more than %d characters", syntax, s, maxLifecycleTagRunes)
		}
		if strings.Count(s, "*") > maxTagPatternStars {
			return wrongAt(tag.at, "the pattern %q has more than %d wildcards", s, maxTagPatternStars)
		}
		r.tags = append(r.tags, s)
	}
	if patterns == nil {
		for i := range r.tags {
			r.tags[i] += "*" // as the pattern that it stands for
		}
	}
	slices.Sort(r.tags)
	r.tags = slices.Compact(r.tags)
	return nil
}

// is checks the type of a value.
func (n *node) is(kind string) error {
	if n.kind() != kind {
		return wrongAt(n.at, `instance type (%s) does not match any allowed primitive type (allowed: ["%s"])`, n.kind(), kind)
	}
	return nil
}

// object checks that a value is an object that has all of required, and beside them only what may be there.
func (n *node) object(required, optional []string) error {
	if err := n.is("object"); err != nil {
		return err
	}
	var missing []string
	for _, name := range required {
		if n.fields.get(name) == nil {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		slices.Sort(missing)
		return wrongAt(n.at, "object has missing required properties (%s)", encode(missing))
	}
	for _, f := range n.fields {
		if !slices.Contains(required, f.name) && !slices.Contains(optional, f.name) {
			return wrongAt(f.value.at, "object instance has properties which are not allowed by the schema: (%s)", encode([]string{f.name}))
		}
	}
	return nil
}

func (n *node) oneOf(values ...string) (string, error) {
	if err := n.is("string"); err != nil {
		return "", err
	}
	s := n.scalar.(string)
	if !slices.Contains(values, s) {
		return "", wrongAt(n.at, "instance value (%s) not found in enum (possible values: %s)", encode(s), encode(values))
	}
	return s, nil
}

func (n *node) atLeast(low int64) (int64, error) {
	if err := n.is("integer"); err != nil {
		return 0, err
	}
	v, err := n.scalar.(json.Number).Int64()
	if err != nil {
		return 0, wrongAt(n.at, "the number %.30s is too large", n.scalar)
	}
	if v < low {
		return 0, wrongAt(n.at, "numeric instance is lower than the required minimum (minimum: %d, found: %d)", low, v)
	}
	return v, nil
}
