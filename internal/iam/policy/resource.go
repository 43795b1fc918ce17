package policy

import "strings"

// resourcePattern is an entry of Resource or NotResource.
type resourcePattern struct {
	pattern
	// typeWildcard is set when the part that names the type of the resource, as
	// "repository" in repository/x, has wildcards. AWS documents that they can't
	// be there, so nothing is allowed by such a pattern; a Deny stands.
	typeWildcard bool
}

// newResourcePattern returns the compiled entry and what is wrong with it.
// Incomplete ARNs are completed with wildcards where complete is set.
func newResourcePattern(s string, variables, complete bool) (resourcePattern, string) {
	tokens, problem := tokenize(s, syntax{wildcards: true, variables: variables})
	if problem != "" {
		tokens = []token{{kind: literal, text: s}}
	}
	var p resourcePattern
	colons := narrow(tokens)
	if strings.HasPrefix(s, "arn:") && complete {
		for ; colons < 5; colons++ {
			tokens = append(tokens, token{kind: literal, text: ":"}, token{kind: star})
		}
	}
	p.pattern = newPattern(s, join(tokens), false)
	p.typeWildcard = wildcardType(s)
	if problem == "" && s != "*" {
		problem = checkResource(s, complete)
	}
	return p, problem
}

// checkResource says what AWS refuses in the ARN of a Resource.
func checkResource(s string, complete bool) string {
	parts := strings.SplitN(s, ":", 6)
	switch {
	case parts[0] != "arn" || len(parts) < 3:
		return `a resource is an ARN or "*"`
	case !knownPartition(parts[1]):
		return "there is no partition " + parts[1] + " here; write arn:" + partition + ":…"
	case parts[2] == "" || strings.ContainsAny(parts[2], "*?$"):
		return "the service in an ARN is written out, without wildcards"
	case len(parts) < 6 && !complete:
		return "an ARN has six parts with colons between them"
	}
	return ""
}

// partition is the one that this implementation knows.
const partition = "aws"

func knownPartition(s string) bool { return s == partition || s == "*" }

// narrow marks the wildcards of an ARN that match no colon, and returns how many
// colons the pattern has. "If the * wildcard is the last character of a resource
// ARN segment, it can expand to match beyond the colon boundaries" (the page of
// the Resource element); what stands in the resource part may hold colons.
func narrow(tokens []token) (colons int) {
	for i := range tokens {
		switch t := &tokens[i]; t.kind {
		case literal:
			colons += strings.Count(t.text, ":")
		case one:
			t.narrow = colons < 5
		case star:
			last := i+1 == len(tokens) || tokens[i+1].kind == literal && tokens[i+1].text[0] == ':'
			t.narrow = colons < 5 && !last
		}
	}
	return colons
}

// join makes one token of literals that follow each other, and of stars that do.
func join(tokens []token) []token {
	out := tokens[:0:0]
	for _, t := range tokens {
		if n := len(out); n > 0 && t.kind == out[n-1].kind {
			if t.kind == literal {
				out[n-1].text += t.text
				continue
			}
			if t.kind == star {
				out[n-1].narrow = out[n-1].narrow && t.narrow
				continue
			}
		}
		out = append(out, t)
	}
	return out
}

// typed are services whose resources start with the name of their type. Those
// of others, such as execute-api and sns, start with names that may vary.
var typed = wordSet(`autoscaling cloudformation codebuild codepipeline dynamodb ec2 ecr ecr-public ecs eks
	elasticloadbalancing events glue iam kinesis kms lambda logs rds route53 secretsmanager ssm states sts`)

// wildcardType reports whether an ARN's resource part names its type with wildcards.
func wildcardType(s string) bool {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" || !typed[parts[2]] || strings.Contains(s, "${") {
		return false
	}
	kind, rest, ok := cutAny(parts[5], "/:")
	if !ok || strings.Trim(rest, "*") == "" && strings.Trim(kind, "*") == "" {
		return false // the whole part is wildcards
	}
	return strings.ContainsAny(kind, "*?")
}

func cutAny(s, chars string) (before, after string, found bool) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// matchResource reports whether the statement is about the resource.
func (st *statement) matchResource(e *evaluator) bool {
	if st.attached {
		return true
	}
	for i := range st.resources {
		if st.matchOneResource(e, &st.resources[i]) {
			return !st.notResource
		}
	}
	return st.notResource
}

func (st *statement) matchOneResource(e *evaluator, p *resourcePattern) bool {
	// What widens the statement is read strictly for an Allow, and widely for a Deny.
	if widens := st.deny == st.notResource; p.typeWildcard && widens {
		return false
	}
	if e.wildcardResource {
		some := st.deny && e.denySome || !st.deny && !e.allowAll
		if some != st.notResource {
			return p.overlaps(e, e.r.Resource)
		}
	}
	return p.match(e, e.r.Resource)
}

// overlaps reports whether there is a string that matches both p and the
// pattern other. It allocates: only questions about patterns come here.
func (p *pattern) overlaps(e *evaluator, other string) bool {
	if p.any() || other == "*" {
		return true
	}
	a := make([]rune, 0, len(p.source))
	const anyRune, anyRunes = -1, -2
	for i := range p.tokens {
		switch t := &p.tokens[i]; t.kind {
		case literal:
			a = append(a, []rune(t.text)...)
		case one:
			a = append(a, anyRune)
		case star:
			a = append(a, anyRunes)
		case variable:
			value, ok := e.variable(t)
			if !ok {
				return false
			}
			a = append(a, []rune(value)...)
		}
	}
	b := []rune(other)
	for i, c := range b {
		switch c {
		case '*':
			b[i] = anyRunes
		case '?':
			b[i] = anyRune
		}
	}
	// row[j]: the rest of a from i and the rest of b from j overlap.
	row, below := make([]bool, len(b)+1), make([]bool, len(b)+1)
	for i := len(a); i >= 0; i-- {
		for j := len(b); j >= 0; j-- {
			switch {
			case i == len(a) && j == len(b):
				row[j] = true
			case i < len(a) && a[i] == anyRunes:
				row[j] = below[j] || j < len(b) && row[j+1]
			case j < len(b) && b[j] == anyRunes:
				row[j] = row[j+1] || i < len(a) && below[j]
			default:
				row[j] = i < len(a) && j < len(b) && (a[i] == b[j] || a[i] == anyRune || b[j] == anyRune) && below[j+1]
			}
		}
		row, below = below, row
	}
	return below[0]
}
