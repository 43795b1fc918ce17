package session

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// Limits of the AWS STS API Reference.
const (
	minDuration     = 15 * time.Minute
	defaultDuration = time.Hour
	maxChained      = time.Hour      // of a role assumed by a role
	maxUserSession  = 36 * time.Hour // GetSessionToken
	defaultUser     = 12 * time.Hour
	maxRootSession  = time.Hour

	maxPolicyARNs = 10
	maxTags       = 50
	maxTagKey     = 128
	maxTagValue   = 256
	maxPacked     = 4096 // of session policies, the ARNs of such, and tags together; AWS has its own way to count
)

var (
	roleARN     = regexp.MustCompile(`^arn:aws:iam::([0-9]{12}):role/((?:[!-~]+/)?[\w+=,.@-]{1,64})$`)
	sessionName = form{regexp.MustCompile(`^[\w+=,.@-]*$`), 2, 64}
	externalID  = form{regexp.MustCompile(`^[\w+=,.@:/-]*$`), 2, 1224}
	tagText     = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// mismatch is a value that has not the form it must have, as AWS says it.
func mismatch(value, member, constraint string) error {
	return errf(ValidationError, "1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: %s", value, member, constraint)
}

// form is what a value must look like.
type form struct {
	pattern  *regexp.Regexp
	min, max int // bytes
}

func checkForm(value, member string, f form) error {
	switch {
	case len(value) < f.min:
		return mismatch(value, member, "Member must have length greater than or equal to "+strconv.Itoa(f.min))
	case len(value) > f.max:
		return mismatch(value[:f.max]+"…", member, "Member must have length less than or equal to "+strconv.Itoa(f.max))
	case !f.pattern.MatchString(value):
		return mismatch(value, member, "Member must satisfy regular expression pattern: "+strings.Trim(f.pattern.String(), "^$"))
	}
	return nil
}

// checkRole returns the account of a role's ARN.
func checkRole(arn string) (account string, err error) {
	m := roleARN.FindStringSubmatch(arn)
	if m == nil || len(arn) > 2048 {
		return "", errf(ValidationError, "%s is invalid", arn)
	}
	return m[1], nil
}

// checkDuration returns how long a session of a role is to be, 0 for the default.
func checkDuration(asked, most time.Duration, chained bool) (time.Duration, error) {
	switch {
	case asked == 0:
		return defaultDuration, nil
	case asked < minDuration:
		return 0, mismatch(seconds(asked), "durationSeconds", "Member must have value greater than or equal to "+seconds(minDuration))
	case chained && asked > maxChained:
		return 0, errf(ValidationError, "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	case asked > most:
		return 0, errf(ValidationError, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return asked, nil
}

// Tag is a session tag.
type Tag struct{ Key, Value string }

// checkTags checks what tags a session is asked to have, and which of them the next session of a chain is to have too, beside
// those that it has from the one before.
func checkTags(tags []Tag, transitive []string, inherited map[string]string) error {
	if len(tags) > maxTags {
		return mismatch("", "tags", "Member must have length less than or equal to 50")
	}
	seen := map[string]bool{}
	for _, t := range tags {
		folded := strings.ToLower(t.Key)
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > maxTagKey || !tagText.MatchString(t.Key):
			return mismatch(t.Key, "tags.member.key", `Member must have 1 to 128 letters, digits, white space or _ . : / = + - @`)
		case utf8.RuneCountInString(t.Value) > maxTagValue || !tagText.MatchString(t.Value):
			return mismatch(t.Value, "tags.member.value", `Member must have at most 256 letters, digits, white space or _ . : / = + - @`)
		case strings.HasPrefix(folded, "aws:"):
			return errf(InvalidParameter, "The tag key '%s' is invalid: the prefix aws: is reserved.", t.Key)
		case seen[folded]:
			return errf(InvalidParameter, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		case hasFold(inherited, t.Key):
			return errf(InvalidParameter, "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
		}
		seen[folded] = true
	}
	for _, key := range transitive {
		if !seen[strings.ToLower(key)] {
			return errf(InvalidParameter, "The specified transitive tag key '%s' must be included in the requested tags.", key)
		}
	}
	if len(tags)+len(inherited) > maxTags {
		return errf(InvalidParameter, "The session would have more than 50 tags, with those of the calling session.")
	}
	return nil
}

func hasFold(m map[string]string, key string) bool {
	for k := range m {
		if strings.EqualFold(k, key) {
			return true
		}
	}
	return false
}

// checkPolicy checks that a document can be a session policy.
func checkPolicy(document string) error {
	if n := utf8.RuneCountInString(document); n > policy.MaxSessionPolicy {
		return mismatch(document[:100]+"…", "policy", "Member must have length less than or equal to 2048")
	}
	if _, err := policy.Parse([]byte(document), policy.Identity); err != nil {
		if e, ok := errors.AsType[*policy.SyntaxError](err); ok {
			return errf(MalformedPolicy, "The policy is malformed: %s", e.Error())
		}
		return err
	}
	return nil
}

// packed returns how much, in percent, what a session is asked to have takes of what there is room for. Nil for nothing.
func packed(document string, arns []string, tags map[string]string) (*int32, error) {
	n := policy.Size(document)
	for _, arn := range arns {
		n += len(arn)
	}
	ofTags := 0
	for k, v := range tags {
		ofTags += len(k) + len(v)
	}
	if n+ofTags == 0 {
		return nil, nil
	}
	percent := int32(max(1, (n+ofTags)*100/maxPacked))
	if percent <= 100 {
		return &percent, nil
	}
	what := "policy"
	if ofTags > n {
		what = "size of session tags"
	}
	return nil, errf(PackedPolicyTooLarge, "Packed %s consumes %d%% of allotted space, please use smaller %s.", what, percent,
		map[bool]string{true: "tags", false: "policy"}[ofTags > n])
}

// withKeys returns the tags of a map whose keys are among some.
func withKeys(tags map[string]string, keys []string) map[string]string {
	some := map[string]string{}
	for k, v := range tags {
		if slices.ContainsFunc(keys, func(key string) bool { return strings.EqualFold(key, k) }) {
			some[k] = v
		}
	}
	return some
}
