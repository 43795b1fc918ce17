package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/agent/task"
)

// languageLists returns what of the language is refused, and what tasks, functions, commands and variables there are, as the
// code has them.
func languageLists(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("\n## Refused, by name\n\nThe language has these, and a file with one of them is not run. The message says where it is.\n\n")
	refused := refusals(t)
	for _, r := range refused {
		fmt.Fprintf(&b, "- %s\n", r)
	}

	b.WriteString("\n## Tasks\n\nBuilt in, by every version that is named:\n\n")
	var tasks []string
	for _, info := range task.Native() {
		var versions []string
		for _, v := range info.Versions {
			versions = append(versions, fmt.Sprintf("`%s@%d`", info.Name, v))
		}
		tasks = append(tasks, strings.Join(versions, ", "))
	}
	b.WriteString(wrapped(tasks, ", ") + "\nand `ManualValidation@0`, `ManualValidation@1` and `Delay@1` in jobs of the server.\n")

	commands := mapKeys(t, "../internal/agent/command/do.go", "commands")
	for _, list := range []struct {
		head, text string
		names      []string
	}{
		{"Functions", "In conditions also `always`, `canceled`, `failed`, `succeeded`, `succeededOrFailed`; in `$[ ]` of variables also `counter`. In all expressions:", functions(t)},
		{"Logging commands", "`##vso[…]` in what steps print:", commands},
		{"Predefined variables", "Where they mean something:", predefined(t)},
	} {
		if len(list.names) == 0 {
			t.Errorf("%s: none is found", list.head)
		}
		var quoted []string
		for _, n := range list.names {
			quoted = append(quoted, "`"+n+"`")
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n%s\n", list.head, list.text, wrapped(quoted, ", "))
	}
	return b.String()
}

// wrapped joins words in lines of at most 130 characters.
func wrapped(words []string, sep string) string {
	var b strings.Builder
	n := 0
	for i, w := range words {
		if i < len(words)-1 {
			w += strings.TrimRight(sep, " ")
		}
		switch {
		case n == 0:
		case n+1+len(w) > 130:
			b.WriteString("\n")
			n = 0
		default:
			b.WriteString(" ")
			n++
		}
		b.WriteString(w)
		n += len(w)
	}
	return b.String()
}

var verbs = regexp.MustCompile(`%[sqvd]`)

// refusals returns the messages about what the language has and is not run.
func refusals(t *testing.T) []string {
	var all []string
	calls(t, "../internal/pipeline/*.go", "refuse", func(call *ast.CallExpr) {
		format, ok := text(call.Args[1])
		if !ok {
			t.Errorf("a refusal has no text")
			return
		}
		format = strings.TrimSuffix(format, "%s") // a hint
		all = append(all, verbs.ReplaceAllString(strings.ReplaceAll(format, "<", "&lt;"), "…"))
	})
	if len(all) < 10 {
		t.Errorf("only %d refusals are in the code", len(all))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// functions returns those that all expressions have.
func functions(t *testing.T) []string {
	var all []string
	parse(t, "../internal/pipeline/expr/functions.go", func(n ast.Node) {
		lit, ok := n.(*ast.CompositeLit)
		if ok && lit.Type == nil && len(lit.Elts) == 4 { // {name, least, most, function}
			if name, ok := text(lit.Elts[0]); ok {
				all = append(all, name)
			}
		}
	})
	slices.Sort(all)
	return all
}

// mapKeys returns the keys of a map that a file declares.
func mapKeys(t *testing.T, file, name string) []string {
	var all []string
	parse(t, file, func(n ast.Node) {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != name || len(spec.Values) != 1 {
			return
		}
		lit, ok := spec.Values[0].(*ast.CompositeLit)
		if !ok {
			return
		}
		for _, e := range lit.Elts {
			if key, ok := text(e.(*ast.KeyValueExpr).Key); ok {
				all = append(all, key)
			}
		}
	})
	slices.Sort(all)
	return all
}

var variableName = regexp.MustCompile(`^(Agent|Build|Common|Environment|Pipeline|Strategy|System)\.[A-Z][A-Za-z.]*$`)

// predefined returns the variables that the server and the agent set.
func predefined(t *testing.T) []string {
	all := []string{"TF_BUILD"}
	for _, pattern := range []string{"../internal/pipeline/flow/*.go", "../internal/agent/worker/*.go"} {
		parse(t, pattern, func(n ast.Node) {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "add" || f.Sel.Name == "maybe") && len(n.Args) == 2 {
					if name, ok := text(n.Args[0]); ok && variableName.MatchString(name) {
						all = append(all, name)
					}
				}
			case *ast.CompositeLit:
				for i, e := range n.Elts {
					if kv, ok := e.(*ast.KeyValueExpr); ok {
						key, named := kv.Key.(*ast.Ident)
						if !named || key.Name != "Name" {
							continue
						}
						e = kv.Value
					} else if i > 0 {
						continue
					}
					if name, ok := text(e); ok && variableName.MatchString(name) {
						all = append(all, name)
					}
				}
			}
		})
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// calls visits the calls of a function or method in files.
func calls(t *testing.T, pattern, name string, visit func(*ast.CallExpr)) {
	parse(t, pattern, func(n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok {
			if f, ok := call.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == name && len(call.Args) > 1 {
				visit(call)
			}
		}
	})
}

// parse visits the nodes of files, tests left out.
func parse(t *testing.T, pattern string, visit func(ast.Node)) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: there is no such file", pattern)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if n != nil {
				visit(n)
			}
			return true
		})
	}
}

// text returns the value of a string literal.
func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
