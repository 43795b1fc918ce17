package lint

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// test is a key below an operator, taken apart.
type test struct {
	*policy.Test
	key      string // in lower case
	op       string // in lower case, without prefix, suffix and negation: "stringequals"
	negated  bool
	ifExists bool
	quantity string // "forallvalues", "foranyvalue" or ""
	spec     *keySpec
}

func newTest(t *policy.Test) *test {
	x := &test{Test: t, key: strings.ToLower(t.Key.Text), spec: specOf(t.Key.Text)}
	op := strings.ToLower(t.Operator.Text)
	if before, after, ok := strings.Cut(op, ":"); ok {
		x.quantity, op = before, after
	}
	op, x.ifExists = strings.CutSuffix(op, "ifexists")
	for _, kind := range []string{"string", "numeric", "date", "arn"} {
		if rest, ok := strings.CutPrefix(op, kind+"not"); ok {
			op, x.negated = kind+rest, true
		}
	}
	if op == "notipaddress" {
		op, x.negated = "ipaddress", true
	}
	x.op = op
	return x
}

// withoutKey returns what the test says of a request that does not have the key.
func (t *test) withoutKey() bool {
	switch {
	case t.op == "null":
		for _, v := range t.Values {
			if strings.EqualFold(v.Text, "true") {
				return true
			}
		}
		return false
	case t.ifExists && t.quantity != "foranyvalue" || t.quantity == "forallvalues":
		return true
	}
	return t.negated && t.quantity == ""
}

// needs reports whether the test holds of requests that have the key only.
func (t *test) needs() bool { return !t.withoutKey() }

func (t *test) kind() string {
	for _, kind := range []string{"string", "numeric", "date", "arn"} {
		if strings.HasPrefix(t.op, kind) {
			return kind
		}
	}
	return t.op
}

func testsOf(st *statement) []*test {
	all := make([]*test, len(st.Tests))
	for i := range st.Tests {
		all[i] = newTest(&st.Tests[i])
	}
	return all
}

// tests finds what is wrong with single conditions.
func (c *checker) tests(st *statement) {
	for _, t := range testsOf(st) {
		if c.key(st, t) {
			c.operator(st, t)
			c.values(st, t)
		}
	}
}

// consequence says what it means for the statement that a test always has one result.
func (st *statement) consequence(holds bool) string {
	switch {
	case !holds && st.Deny:
		return "this Deny never matches and denies nothing"
	case !holds:
		return "this Allow never matches"
	case st.Deny:
		return "the condition always holds and spares nobody"
	default:
		return "the condition always holds and restricts nothing"
	}
}

// key finds keys that no request has. It returns whether some may have it.
func (c *checker) key(st *statement, t *test) bool {
	name := t.Key.Text
	if _, rest, ok := strings.Cut(name, "/"); ok && t.spec != nil && strings.HasSuffix(t.spec.name, "/") && (strings.HasPrefix(rest, "${") || strings.EqualFold(rest, "tag-key")) {
		c.on(st, Error, "unknown-key", t.Key.Position, "Write the name of the tag, as in "+t.spec.name+"team.", "%s is how the documentation writes it: the name of a tag is to be put there; as it is, %s", name, st.consequence(t.withoutKey()))
		st.dead = st.dead || !t.withoutKey()
		return false
	}
	why, known := c.missing(st, name)
	if why == "" {
		return true
	}
	holds := t.withoutKey()
	fix := ""
	switch {
	case !known:
		c.suggestions--
		if near := closestKey(name); c.suggestions >= 0 && near != "" {
			fix = "Did you mean " + near + "?"
			if strings.HasSuffix(near, "/") {
				fix = "Did you mean " + near + " with the name of a tag behind it?"
			}
		}
		c.on(st, Error, "unknown-key", t.Key.Position, fix, "no request has the key %s: %s; %s", name, why, st.consequence(holds))
	case holds && (t.ifExists || t.op == "null" || t.quantity != ""):
		c.on(st, Note, "absent-key", t.Key.Position, "", "no request that this statement is about has the key %s: %s; %s", name, why, st.consequence(holds))
	default:
		if t.op == "null" {
			fix = "Remove the condition."
		} else if t.spec != nil && t.spec.never == "" {
			fix = "Put those actions into a statement of their own."
		} else {
			fix = "Use another key, or remove the condition."
		}
		c.on(st, Warning, "absent-key", t.Key.Position, fix, "no request that this statement is about has the key %s: %s; %s", name, why, st.consequence(holds))
	}
	st.dead = st.dead || !holds
	return false
}

// operator finds operators that read the values of their key as what they are not.
func (c *checker) operator(st *statement, t *test) {
	if t.op == "null" || t.spec == nil {
		return
	}
	if t.spec.multi && t.quantity == "" {
		c.on(st, Warning, "quantifier-missing", t.Operator.Position, "Write ForAllValues:"+t.Operator.Text+" or ForAnyValue:"+t.Operator.Text+".",
			"%s can have several values, and %s compares one: with several, an Allow does not match", t.spec.name, t.Operator.Text)
	}
	if !t.spec.multi && t.quantity != "" {
		c.quantified(st, t)
	}
	if strings.HasSuffix(t.spec.name, "/") {
		return // tags can be anything
	}
	want := map[form]string{address: "IpAddress", date: "DateLessThan or DateGreaterThan", boolean: "Bool", arn: "ArnLike", number: "NumericEquals"}[t.spec.form]
	problem := ""
	switch kind := t.kind(); {
	case kind == "ipaddress" && t.spec.form != address && t.spec.form != text,
		kind == "arn" && t.spec.form != arn && t.spec.form != text,
		kind == "date" && t.spec.form != date && t.spec.form != number,
		kind == "numeric" && t.spec.form != number && t.spec.form != date && t.spec.form != text,
		kind == "bool" && t.spec.form != boolean && t.spec.form != text:
		problem = fmt.Sprintf("%s can't read the values of %s", t.Operator.Text, t.spec.name)
		if want == "" {
			want = "StringEquals"
		}
	case kind == "string" && t.spec.form == address:
		for _, v := range t.Values {
			if strings.Contains(v.Text, "/") {
				problem = fmt.Sprintf("%s compares %s, which is one address, with the text %q", t.Operator.Text, t.spec.name, v.Text)
			}
		}
		if t.negated {
			want = "NotIpAddress"
		}
	case kind == "string" && t.spec.form == date:
		problem = fmt.Sprintf("%s compares times as texts", t.Operator.Text)
	}
	if problem != "" {
		c.on(st, Warning, "operator-type", t.Operator.Position, "Use "+want+".", "%s", problem)
	}
}

// quantified is about ForAllValues and ForAnyValue on keys that have one value.
func (c *checker) quantified(st *statement, t *test) {
	if t.quantity == "forallvalues" && !st.Deny && !t.spec.always && !c.guarded(st, t) {
		c.on(st, Warning, "forallvalues-allow", t.Operator.Position, "Leave ForAllValues: out.",
			"%s holds also of requests without the key %s, and that has one value at most: the Allow matches more than it says", t.Operator.Text, t.Key.Text)
		return
	}
	c.on(st, Note, "quantifier-unneeded", t.Operator.Position, "", "%s has one value at most: %s is for keys with several", t.Key.Text, t.Operator.Text)
}

// guarded reports whether another condition of the statement demands the key.
func (c *checker) guarded(st *statement, t *test) bool {
	for _, o := range testsOf(st) {
		if o.key == t.key && o.quantity != "forallvalues" && o.needs() {
			return true
		}
	}
	return false
}

var (
	endpointForm     = regexp.MustCompile(`^vpce-[0-9a-f]{8,17}$`)
	networkForm      = regexp.MustCompile(`^vpc-[0-9a-f]{8,17}$`)
	organizationForm = regexp.MustCompile(`^o-[a-z0-9]{10,32}$`)
	principalForm    = regexp.MustCompile(`^(Account|User|FederatedUser|AssumedRole|Anonymous)$`)
	booleanForm      = regexp.MustCompile(`^(?i:true|false)$`)
	arnForm          = regexp.MustCompile(`^arn:[^:]*:[^:]*:[^:]*:[^:]*:.+$`)
)

// valueForms say what values of keys look like: exactly, as a pattern that patterns can be held against, and in words.
var valueForms = map[form]struct {
	exact   *regexp.Regexp
	pattern string
	words   string
}{
	endpointID:     {endpointForm, "vpce-*", "ids of private endpoints are vpce- and 8 to 17 hexadecimal digits"},
	networkID:      {networkForm, "vpc-*", "ids of networks are vpc- and 8 to 17 hexadecimal digits"},
	organizationID: {organizationForm, "o-*", "ids of organizations are o- and 10 to 32 letters and digits"},
	account:        {accountForm, "????????????", "accounts have 12 digits"},
	principalType:  {principalForm, "*", "the types are Account, User, FederatedUser, AssumedRole and Anonymous"},
	boolean:        {booleanForm, "*", "the key is true or false"},
	arn:            {arnForm, "arn:*:*:*:*:*", "the key is an ARN: arn:aws:iam::111122223333:role/name"},
}

// values finds values that the key never has.
func (c *checker) values(st *statement, t *test) {
	kind := t.kind()
	if kind != "string" && kind != "arn" || t.spec == nil || strings.HasSuffix(t.spec.name, "/") {
		if kind == "string" && t.op != "stringlike" {
			c.wildcards(st, t)
		}
		return
	}
	wrong := 0
	f := valueForms[t.spec.form]
	for _, v := range t.Values {
		if strings.Contains(v.Text, "${") {
			continue
		}
		problem, fix := "", ""
		open := kind == "arn" || t.op == "stringlike"
		switch {
		case !open && c.wildcard(t, v):
			problem, fix = fmt.Sprintf("%s takes the wildcards in %q for characters", t.Operator.Text, v.Text), "Write "+like(t)+"."
		case f.exact == nil:
		case open && wild(v.Text):
			if !overlap(v.Text, f.pattern) && kind != "arn" {
				problem = f.words
			}
		case kind == "string" && !f.exact.MatchString(v.Text):
			problem = f.words
		}
		if problem == "" && t.key == "aws:principalarn" && strings.Contains(v.Text, ":assumed-role/") {
			problem, fix = "aws:PrincipalArn of a session is the ARN of its role", "Write arn:aws:iam::<account>:role/<name>."
		}
		if problem == "" {
			continue
		}
		wrong++
		code := "value-never"
		if strings.Contains(problem, "wildcards") {
			code = "wildcard-literal"
		}
		tail := ""
		if wrong == len(t.Values) && t.quantity == "" {
			tail = "; " + st.consequence(t.negated)
			if !t.negated && t.ifExists {
				tail = ""
			} else if !t.negated {
				st.dead = true
			}
		}
		c.on(st, Warning, code, v.Position, fix, "%s is never %q: %s%s", t.Key.Text, v.Text, problem, tail)
	}
}

// wildcard reports whether a value for an operator without wildcards was meant to have some.
func (c *checker) wildcard(t *test, v policy.Text) bool {
	if strings.Contains(v.Text, "*") {
		return true
	}
	return strings.Contains(v.Text, "?") && t.spec != nil && t.spec.form != text
}

// wildcards finds those in the values of tags and claims.
func (c *checker) wildcards(st *statement, t *test) {
	for _, v := range t.Values {
		if !strings.Contains(v.Text, "${") && c.wildcard(t, v) {
			tail := ""
			if len(t.Values) == 1 && t.quantity == "" && (t.negated || !t.ifExists) {
				tail = "; " + st.consequence(t.negated)
			}
			c.on(st, Warning, "wildcard-literal", v.Position, "Write "+like(t)+".", "%s takes the wildcards in %q for characters%s", t.Operator.Text, v.Text, tail)
		}
	}
}

// like returns the operator with wildcards that is otherwise the same.
func like(t *test) string {
	prefix, _, ok := strings.Cut(t.Operator.Text, ":")
	op := "StringLike"
	if t.negated {
		op = "StringNotLike"
	}
	if ok {
		op = prefix + ":" + op
	}
	if t.ifExists {
		op += "IfExists"
	}
	return op
}

// private reports whether all values are ranges of addresses that are not of the internet.
func (t *test) private() bool {
	for _, v := range t.Values {
		p, ok := prefixOf(v.Text)
		if !ok || !p.Addr().IsPrivate() {
			return false
		}
	}
	return len(t.Values) > 0
}

func prefixOf(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}
