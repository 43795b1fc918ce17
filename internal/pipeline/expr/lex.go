package expr

import (
	"strings"
	"unicode"
)

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenOpen
	tokenClose
	tokenOpenIndex
	tokenCloseIndex
	tokenComma
	tokenDot
	tokenStar
	tokenLiteral
	tokenProperty // a keyword after a dot
	tokenKeyword
	tokenMalformed
)

type token struct {
	kind  tokenKind
	at    int // index of the first character
	text  string
	value Value // of a literal
}

type lexer struct {
	text []rune
	at   int
	last tokenKind
}

func (l *lexer) next() token {
	t := l.read()
	l.last = t.kind
	return t
}

func (l *lexer) read() token {
	for l.at < len(l.text) && unicode.IsSpace(l.text[l.at]) {
		l.at++
	}
	if l.at >= len(l.text) {
		return token{kind: tokenEnd, at: l.at}
	}
	c := l.text[l.at]
	if i := strings.IndexRune("()[],*", c); i >= 0 {
		l.at++
		return token{kind: [...]tokenKind{tokenOpen, tokenClose, tokenOpenIndex, tokenCloseIndex, tokenComma, tokenStar}[i],
			at: l.at - 1, text: string(c)}
	}
	switch {
	case c == '\'':
		return l.string()
	case c == '.':
		switch l.last {
		case tokenEnd, tokenComma, tokenOpenIndex, tokenOpen: // an operand must follow, so this is no access
			return l.number()
		}
		l.at++
		return token{kind: tokenDot, at: l.at - 1, text: "."}
	case c == '-' || c >= '0' && c <= '9':
		return l.number()
	}
	return l.keyword()
}

// word reads up to white space or punctuation.
func (l *lexer) word(dots bool) string {
	start := l.at
	for l.at++; l.at < len(l.text); l.at++ {
		c := l.text[l.at]
		if c == '.' && dots {
			continue
		}
		if unicode.IsSpace(c) || strings.ContainsRune("()[],.", c) {
			break
		}
	}
	return string(l.text[start:l.at])
}

func (l *lexer) number() token {
	t := token{kind: tokenMalformed, at: l.at}
	t.text = l.word(true)
	if strings.Count(t.text, ".") >= 2 {
		if v, ok := Version(t.text); ok {
			t.kind, t.value = tokenLiteral, v
		}
	} else if text, ok := parseDecimal(t.text, false); ok {
		t.kind, t.value = tokenLiteral, number(text)
	}
	return t
}

func (l *lexer) keyword() token {
	t := token{kind: tokenMalformed, at: l.at}
	t.text = l.word(false)
	if !isKeyword(t.text) {
		return t
	}
	switch {
	case l.last == tokenDot:
		t.kind = tokenProperty
	case strings.EqualFold(t.text, "true"):
		t.kind, t.value = tokenLiteral, Bool(true)
	case strings.EqualFold(t.text, "false"):
		t.kind, t.value = tokenLiteral, Bool(false)
	default:
		t.kind = tokenKeyword
	}
	return t
}

// isKeyword reports whether s may stand after a dot, or name something.
func isKeyword(s string) bool {
	for i, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func (l *lexer) string() token {
	t := token{kind: tokenMalformed, at: l.at}
	var b strings.Builder
	for l.at++; l.at < len(l.text); l.at++ {
		if l.text[l.at] == '\'' {
			if l.at+1 >= len(l.text) || l.text[l.at+1] != '\'' {
				l.at++
				t.kind, t.value = tokenLiteral, String(b.String())
				break
			}
			l.at++
		}
		b.WriteRune(l.text[l.at])
	}
	t.text = string(l.text[t.at:l.at])
	return t
}
