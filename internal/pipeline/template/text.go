package template

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sekisho/sekisho/internal/pipeline/expr"
)

// text is a scalar that holds ${{ }}: what stands around the expressions, and the expressions; or one directive.
type text struct {
	parts     []part
	directive *directive
}

// part is literal text, or an expression.
type part struct {
	literal string
	expr    *expr.Expr // nil: literal
}

// lone returns the expression, if t is nothing but that.
func (t *text) lone() *expr.Expr {
	if len(t.parts) == 1 {
		return t.parts[0].expr
	}
	return nil
}

// directive is if, elseif, else, each or insert.
type directive struct {
	name string
	each string     // the variable of each
	expr *expr.Expr // of if and elseif the condition, of each the collection
}

// textError is an error worded as Azure Pipelines does, with capitals and full stops.
type textError string

func (e textError) Error() string { return string(e) }

func refuse(format string, args ...any) error { return textError(fmt.Sprintf(format, args...)) }

const opened, closed = "${{", "}}"

// parseText finds the expressions in a scalar. It returns nil for one that has none. The errors are worded as those of
// Azure Pipelines.
func parseText(s string) (*text, error) {
	if !strings.Contains(s, opened) {
		return nil, nil
	}
	t := &text{}
	for rest := s; rest != ""; {
		before, after, found := strings.Cut(rest, opened)
		if before != "" {
			t.parts = append(t.parts, part{literal: before})
		}
		if !found {
			break
		}
		end := closing(after)
		if end < 0 {
			return nil, refuse("The expression is not closed. An unescaped %s sequence was found, but the closing %s sequence was not found.", opened, closed)
		}
		source := strings.TrimFunc(after[:end], unicode.IsSpace)
		rest = after[end+len(closed):]
		d, err := parseDirective(source)
		if err != nil {
			return nil, err
		}
		if d != nil {
			if len(t.parts) > 0 || rest != "" {
				return nil, refuse("The directive '%s' is not allowed in this context. Directives are not supported for expressions that are embedded within a string. Directives are only supported when the entire value is an expression.", d.name)
			}
			t.directive = d
			return t, nil
		}
		e, err := parseExpr(source)
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, part{expr: e})
	}
	return t, nil
}

func parseExpr(source string) (*expr.Expr, error) {
	if source == "" {
		return nil, refuse("An expression was expected")
	}
	return expr.Parse(source)
}

// closing is the index of the }} that is in no string.
func closing(s string) int {
	inString := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\'':
			inString = !inString // two quotes in a string do no harm
		case !inString && strings.HasPrefix(s[i:], closed):
			return i
		}
	}
	return -1
}

// directives are the words, and how many things follow each.
var directives = []struct {
	name string
	args int
}{{"if", 1}, {"elseif", 1}, {"else", 0}, {"each", 3}, {"insert", 0}}

// parseDirective returns nil for what is no directive.
func parseDirective(source string) (*directive, error) {
	for _, known := range directives {
		after, ok := strings.CutPrefix(source, known.name)
		if !ok {
			continue
		}
		if r, _ := utf8.DecodeRuneInString(after); after != "" && !unicode.IsSpace(r) {
			continue
		}
		args := words(after)
		if len(args) != known.args {
			return nil, refuse("Exactly %d parameter(s) were expected following the directive '%s'. Actual parameter count: %d", known.args, known.name, len(args))
		}
		d := &directive{name: known.name}
		source := ""
		switch {
		case known.name == "each":
			if args[1] != "in" {
				return nil, refuse("The directive 'each' is written as ${{ each name in collection }}; there is '%s' where 'in' was expected", args[1])
			}
			if !isName(args[0]) {
				return nil, refuse("'%s' is no name for the variable of 'each': a name has letters, digits and _", args[0])
			}
			d.each, source = args[0], args[2]
		case known.args == 1:
			source = args[0]
		default:
			return d, nil
		}
		e, err := parseExpr(source)
		d.expr = e
		return d, err
	}
	return nil, nil
}

func isName(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// words splits at white space that is in no string and in no parentheses or brackets.
func words(s string) []string {
	var found []string
	start, depth, inString := -1, 0, false
	for i, r := range s {
		switch {
		case unicode.IsSpace(r) && !inString && depth == 0:
			if start >= 0 {
				found = append(found, s[start:i])
			}
			start = -1
			continue
		case r == '\'':
			inString = !inString
		case (r == '(' || r == '[') && !inString:
			depth++
		case (r == ')' || r == ']') && !inString:
			depth--
		}
		if start < 0 {
			start = i
		}
	}
	if start >= 0 {
		found = append(found, s[start:])
	}
	return found
}
