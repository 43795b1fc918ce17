package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the files made from the comments")

// TestManual holds the example file and the manual to the comments of Config.
func TestManual(t *testing.T) {
	m := readManual(t)
	for file, want := range map[string]string{"example.yaml": m.example(), "../../docs/config.md": m.markdown()} {
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s: run go generate here. -want +got:\n%s", file, diff)
		}
	}
}

// The example changes nothing, and with every line in force it is the defaults.
func TestExampleIsTheDefaults(t *testing.T) {
	var all []string
	for line := range strings.Lines(Example()) {
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		if rest := line[len(indent):]; strings.HasPrefix(rest, "#") && !strings.HasPrefix(rest, "# ") {
			line = indent + rest[1:]
		}
		all = append(all, line)
	}
	for name, text := range map[string]string{"as it is": Example(), "all": strings.Join(all, "")} {
		l, err := Load(Options{File: write(t, text)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, _ := Load(Options{})
		if diff := cmp.Diff(want.Config, l.Config, cmpConfig); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		for _, s := range l.Settings {
			if fromFile := s.Origin != "default"; fromFile != (name == "all") && s.Value != "" {
				t.Errorf("%s: %s is from %s", name, s.Key, s.Origin)
			}
		}
	}
}

type manual struct {
	docs     map[string]string // of Config's fields, by Type.Field
	defaults Config
}

func readManual(t *testing.T) *manual {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	m := &manual{docs: map[string]string{}, defaults: Default()}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			name := spec.Name.Name + "." + f.Names[0].Name
			if m.docs[name] = f.Doc.Text(); m.docs[name] == "" {
				t.Errorf("%s has no comment, which is its manual", name)
			}
		}
		return false
	})
	return m
}

// walk calls group and setting for everything in the order of declaration.
func (m *manual) walk(group func(key, doc string), setting func(f *field, doc string)) {
	byKey := map[string]*field{}
	for _, f := range fields(&m.defaults) {
		byKey[f.key] = f
	}
	var walk func(prefix string, t reflect.Type)
	walk = func(prefix string, t reflect.Type) {
		for sf := range t.Fields() {
			key, doc := prefix+sf.Tag.Get("yaml"), m.docs[t.Name()+"."+sf.Name]
			if isGroup(sf.Type) {
				group(key, doc)
				walk(key+".", sf.Type)
			} else {
				setting(byKey[key], doc)
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
}

func (m *manual) example() string {
	var b strings.Builder
	b.WriteString("# Configuration of `sekisho serve --config`. Everything is optional: each setting is shown\n" +
		"# with its default. `sekisho config check` shows what is in force and where it is from.\n")
	comment := func(key, doc string) (indent, name string) {
		parts := strings.Split(key, ".")
		indent = strings.Repeat("  ", len(parts)-1)
		b.WriteString("\n")
		for line := range strings.Lines(doc) {
			b.WriteString(indent + "# " + line)
		}
		return indent, parts[len(parts)-1]
	}
	m.walk(func(key, doc string) {
		indent, name := comment(key, doc)
		fmt.Fprintf(&b, "%s%s:\n", indent, name)
	}, func(f *field, doc string) {
		indent, name := comment(f.key, doc)
		value := format(f.value)
		if isRecords(f.value.Type()) {
			fmt.Fprintf(&b, "%s# Each of the list has:\n", indent)
			for sf := range f.value.Type().Elem().Fields() {
				fmt.Fprintf(&b, "%s#\n%s#   %s:\n", indent, indent, sf.Tag.Get("yaml"))
				for line := range strings.Lines(m.docs[f.value.Type().Elem().Name()+"."+sf.Name]) {
					b.WriteString(indent + "#     " + line)
				}
			}
			fmt.Fprintf(&b, "%s#%s: []\n", indent, name)
			return
		}
		if isList(f.value.Type()) {
			parts := splitList(value)
			for i, p := range parts {
				parts[i] = quoteYAML(p)
			}
			value = "[" + strings.Join(parts, ", ") + "]"
		} else {
			value = quoteYAML(value)
		}
		fmt.Fprintf(&b, "%s#%s: %s\n", indent, name, value)
	})
	return b.String()
}

func quoteYAML(s string) string {
	if s == "" || strings.ContainsAny(s, ":,[]{}#&*") {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// escape keeps <placeholders> from being read as HTML.
func escape(doc string) string { return strings.ReplaceAll(doc, "<", "&lt;") }

func (m *manual) markdown() string {
	var b strings.Builder
	b.WriteString("<!-- Made from the comments in internal/config/config.go: go generate ./internal/config -->\n" +
		"# Configuration\n\n" +
		"Every setting has a key. A value is taken from the first of these that gives one:\n\n" +
		"1. a flag: its own, or `--set key=value`, which takes every key;\n" +
		"2. an environment variable: `SEKISHO_` and the key in capitals, with `_` for each dot;\n" +
		"3. the YAML file that `--config` or `SEKISHO_CONFIG` names, where dots are levels;\n" +
		"4. the default.\n\n" +
		"A secret can also be read from a file, named under its key with `_file` added. Durations are written\n" +
		"`30s`, `1h30m`, `7d`; sizes `512`, `16KiB`, `4MiB`; lists, where there is one text for them, `a,b`. In the\n" +
		"file, unknown keys are refused.\n\n" +
		"`sekisho config check` lists what is in force and where it is from; `sekisho config example` prints a file\n" +
		"with everything below.\n")
	m.walk(func(key, doc string) {
		fmt.Fprintf(&b, "\n## %s\n\n%s", key, escape(doc))
	}, func(f *field, doc string) {
		level := "##"
		if strings.Contains(f.key, ".") {
			level = "###"
		}
		fmt.Fprintf(&b, "\n%s %s\n\n%s\n", level, f.key, escape(doc))
		if value := format(f.value); value != "" {
			fmt.Fprintf(&b, "Default `%s`. ", value)
		}
		fmt.Fprintf(&b, "Environment `%s`", f.env())
		if f.secret() {
			fmt.Fprintf(&b, " or `%s_FILE`; key `%s_file`", f.env(), f.key)
		}
		if isRecords(f.value.Type()) {
			b.WriteString(", as JSON: a list of objects")
		}
		if f.flag != "" {
			fmt.Fprintf(&b, ". Flag `--%s`", f.flag)
		}
		b.WriteString(".\n")
		if isRecords(f.value.Type()) {
			b.WriteString("\nEach of the list has:\n")
			for sf := range f.value.Type().Elem().Fields() {
				doc := m.docs[f.value.Type().Elem().Name()+"."+sf.Name]
				fmt.Fprintf(&b, "\n- `%s`: %s\n", sf.Tag.Get("yaml"), strings.TrimSpace(strings.ReplaceAll(escape(doc), "\n", "\n  ")))
			}
		}
	})
	return b.String()
}
