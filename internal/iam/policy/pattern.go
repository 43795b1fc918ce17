package policy

import "strings"

// tokenKind is what a piece of a pattern stands for.
type tokenKind uint8

const (
	literal  tokenKind = iota
	variable           // the value of a condition key
	one                // any single character
	star               // any characters, or none
)

// token is a piece of a pattern.
type token struct {
	kind tokenKind
	// narrow is set on wildcards that match no colon: those inside one of the
	// first five segments of an ARN.
	narrow     bool
	text       string // of a literal; the default of a variable
	key        key    // of a variable
	hasDefault bool
}

// pattern is a string of a policy that values are compared with. The zero
// pattern matches the empty string.
type pattern struct {
	source string
	fold   bool // ASCII letters are compared without case
	// simple patterns are one literal (exact), or one literal and a star that
	// matches everything (prefix); text is the literal.
	exact, prefix bool
	text          string
	variables     bool // there is a variable among the tokens
	tokens        []token
}

// newPattern returns the pattern that s is, given its tokens.
func newPattern(s string, tokens []token, fold bool) pattern {
	p := pattern{source: s, fold: fold, tokens: tokens}
	switch {
	case len(tokens) == 0:
		p.exact = true
	case len(tokens) == 1 && tokens[0].kind == literal:
		p.exact, p.text = true, tokens[0].text
	case len(tokens) == 1 && tokens[0].kind == star && !tokens[0].narrow:
		p.prefix = true
	case len(tokens) == 2 && tokens[0].kind == literal && tokens[1].kind == star && !tokens[1].narrow:
		p.prefix, p.text = true, tokens[0].text
	}
	for i := range tokens {
		if tokens[i].kind == variable {
			p.variables = true
		}
	}
	return p
}

// any reports whether p matches everything.
func (p *pattern) any() bool { return p.prefix && p.text == "" }

// match reports whether s matches p, with the values of variables from e. A
// pattern with a variable that has no value matches nothing.
func (p *pattern) match(e *evaluator, s string) bool {
	if p.exact {
		return len(s) == len(p.text) && hasPrefix(s, p.text, p.fold)
	}
	if p.prefix {
		return hasPrefix(s, p.text, p.fold)
	}
	return p.known(e) && p.glob(e, s)
}

// known reports whether every variable in p has a value.
func (p *pattern) known(e *evaluator) bool {
	if p.variables {
		for i := range p.tokens {
			if t := &p.tokens[i]; t.kind == variable {
				if _, ok := e.variable(t); !ok {
					return false
				}
			}
		}
	}
	return true
}

// glob matches by going back to the last star. A narrow star that meets a
// colon is given up for the last one that may pass it; earlier ones can't
// help, as whatever they would add, the later one can add as well.
func (p *pattern) glob(e *evaluator, s string) bool {
	if last := &p.tokens[len(p.tokens)-1]; last.kind == literal && !p.fold && !strings.HasSuffix(s, last.text) {
		return false
	}
	// Where to go on when what a star took was too little: behind which token, from which position. -1: there is none.
	wide, narrow := -1, -1
	var widePos, narrowPos int
	t, pos := 0, 0
	for {
		matched := false
		if t < len(p.tokens) {
			switch tok := &p.tokens[t]; tok.kind {
			case star:
				if t++; tok.narrow {
					narrow, narrowPos = t, pos
				} else {
					wide, widePos, narrow = t, pos, -1
				}
				if pos = p.next(t, s, pos, tok.narrow); pos >= 0 {
					if tok.narrow {
						narrowPos = pos
					} else {
						widePos = pos
					}
					continue
				}
				if !tok.narrow {
					return false
				}
				narrow = -1
			case one:
				if pos < len(s) && !(tok.narrow && s[pos] == ':') {
					matched = !e.wildcardResource || s[pos] != '*'
					pos += runeLen(s[pos:])
				}
			case literal:
				if matched = hasPrefix(s[pos:], tok.text, p.fold); matched {
					pos += len(tok.text)
				}
			case variable:
				value, _ := e.variable(tok)
				if matched = hasPrefix(s[pos:], value, p.fold); matched {
					pos += len(value)
				}
			}
		} else if pos == len(s) {
			return true
		}
		if matched {
			t++
			continue
		}
		if narrow >= 0 && narrowPos < len(s) && s[narrowPos] != ':' {
			if pos = p.next(narrow, s, narrowPos+1, true); pos >= 0 {
				t, narrowPos = narrow, pos
				continue
			}
		}
		if narrow = -1; wide < 0 || widePos >= len(s) {
			return false
		}
		if pos = p.next(wide, s, widePos+1, false); pos < 0 {
			return false
		}
		t, widePos = wide, pos
	}
}

// next returns the first position from pos on where the token behind a star may
// match, or -1 if there is none that the star can reach.
func (p *pattern) next(t int, s string, pos int, narrow bool) int {
	if t == len(p.tokens) {
		if !narrow {
			return len(s)
		}
		return pos
	}
	if p.tokens[t].kind != literal || p.fold {
		return pos
	}
	n := strings.Index(s[pos:], p.tokens[t].text)
	if n < 0 || narrow && strings.IndexByte(s[pos:pos+n], ':') >= 0 {
		return -1
	}
	return pos + n
}

// runeLen returns the length in bytes of the first character of s, which is not empty.
func runeLen(s string) int {
	n := 1
	for n < len(s) && s[n]&0xC0 == 0x80 {
		n++
	}
	return n
}

// hasPrefix is strings.HasPrefix, without case when fold is set.
func hasPrefix(s, prefix string, fold bool) bool {
	if len(s) < len(prefix) {
		return false
	}
	if !fold {
		return s[:len(prefix)] == prefix
	}
	for i := range len(prefix) {
		if lower(s[i]) != lower(prefix[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// syntax says what is special in a string.
type syntax struct {
	wildcards bool // * and ?
	variables bool // ${…}
}

// tokenize takes s apart. It returns an error text for ${…} that is no variable.
func tokenize(s string, x syntax) (tokens []token, problem string) {
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			tokens = append(tokens, token{kind: literal, text: text.String()})
			text.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case x.wildcards && c == '*':
			flush()
			if n := len(tokens); n == 0 || tokens[n-1].kind != star {
				tokens = append(tokens, token{kind: star})
			}
		case x.wildcards && c == '?':
			flush()
			tokens = append(tokens, token{kind: one})
		case x.variables && strings.HasPrefix(s[i:], "${"):
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return nil, "a policy variable is not closed: " + s[i:]
			}
			inner := s[i+2 : i+end]
			i += end
			if inner == "*" || inner == "?" || inner == "$" {
				text.WriteString(inner)
				continue
			}
			t, ok := parseVariable(inner)
			if !ok {
				return nil, "${" + inner + "} is no policy variable; write ${key} or ${key, 'default'}"
			}
			flush()
			tokens = append(tokens, t)
		default:
			text.WriteByte(c)
		}
	}
	flush()
	return tokens, ""
}

// parseVariable parses what stands between the braces: key, or key, 'default'.
func parseVariable(inner string) (token, bool) {
	name, rest, hasDefault := strings.Cut(inner, ",")
	name = strings.TrimSpace(name)
	if name == "" || strings.ContainsAny(name, "*?$'{") {
		return token{}, false
	}
	t := token{kind: variable, key: newKey(name), hasDefault: hasDefault}
	if hasDefault {
		rest = strings.TrimSpace(rest)
		if len(rest) < 2 || rest[0] != '\'' || rest[len(rest)-1] != '\'' {
			return token{}, false
		}
		t.text = rest[1 : len(rest)-1]
	}
	return t, true
}
