package macro

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func lookup(vars map[string]string) Lookup {
	return func(name string) (string, bool) {
		for k, v := range vars {
			if strings.EqualFold(k, name) {
				return v, true
			}
		}
		return "", false
	}
}

var variables = map[string]string{
	"a": "1", "B": "$(a)$(a)", "c": "<$(b)>", "self": "x$(self)", "ping": "$(pong)", "pong": "$(ping)!", "empty": "",
	"Build.BuildId": "42", "half": "$(a", "dollar": "$",
}

func TestExpand(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "",
		"plain":               "plain",
		"$(a)":                "1",
		"$(A)$(b)":            "1$(a)$(a)",
		"x$(a)y$(a)z":         "x1y1z",
		"$(build.buildid)":    "42",
		"$(unknown)":          "$(unknown)",
		"$(unknown) $(a)":     "$(unknown) 1",
		"$(":                  "$(",
		"$()":                 "$()",
		"$(a":                 "$(a",
		"$$(a)":               "$1",
		"$($(a))":             "$(1)",
		"$(date +%s) $(a)":    "$(date +%s) 1",
		"[$(empty)]":          "[]",
		"$(echo $(a) $(b c))": "$(echo 1 $(b c))",
		"${a} $a":             "${a} $a",
	} {
		if got := Expand(text, lookup(variables)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestRecursive(t *testing.T) {
	for name, want := range map[string]string{
		"a": "1", "B": "11", "c": "<11>", "self": "x$(self)", "ping": "$(ping)!", "pong": "$(pong)!", "half": "$(a", "empty": "",
	} {
		got, err := Recursive(name, variables[name], lookup(variables))
		if err != nil || got != want {
			t.Errorf("%s: %s %v, want %s", name, got, err, want)
		}
	}
	// A chain of values is followed to the depth of MaxDepth.
	chain := map[string]string{}
	for i := range 100 {
		chain[fmt.Sprint("v", i)] = fmt.Sprintf("%d $(v%d)", i, i+1)
	}
	got, err := Recursive("v0", chain["v0"], lookup(chain))
	if err != nil || !strings.HasSuffix(got, fmt.Sprintf(" %d $(v%d)", MaxDepth, MaxDepth+1)) {
		t.Error(got, err)
	}
	// Values that double at each level are refused.
	bomb := map[string]string{}
	for i := range 40 {
		bomb[fmt.Sprint("v", i)] = fmt.Sprintf("$(v%d)$(v%d)", i+1, i+1)
	}
	bomb["v40"] = "0123456789"
	if _, err := Recursive("v0", bomb["v0"], lookup(bomb)); !errors.Is(err, ErrTooBig) {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	if d := cmp.Diff([]string{"a", "x $(b", "b", ""}, Names("$(a) $(x $(b) $()")); d != "" {
		t.Error(d)
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"$(a)", "$($(a)", "$(b)$(c)", "$(", "$(self)$(ping)"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		vars := map[string]string{"a": value, "b": "$(a)", "c": text}
		if Expand(text, func(string) (string, bool) { return "", false }) != text {
			t.Error("what is unknown does not stay")
		}
		Expand(text, lookup(vars))
		once, err := Recursive("c", text, lookup(vars))
		if err == nil && !strings.Contains(text, "$(") && once != text {
			t.Error(once)
		}
	})
}

// TestEmptyBomb: values that are empty in the end, and twice as many with each level, are too much like long ones.
func TestEmptyBomb(t *testing.T) {
	vars := map[string]string{}
	for i := range MaxDepth - 1 {
		vars[fmt.Sprintf("v%d", i)] = fmt.Sprintf("$(v%d)$(v%d)", i+1, i+1)
	}
	vars[fmt.Sprintf("v%d", MaxDepth-1)] = ""
	if _, err := Recursive("v", "$(v0)", lookup(vars)); !errors.Is(err, ErrTooBig) {
		t.Errorf("error %v, want ErrTooBig", err)
	}
}
