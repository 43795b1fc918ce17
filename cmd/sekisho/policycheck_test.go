package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	rightPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:PutImage","Resource":"*"}]}`
	notedPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	wrongPolicy = `{"Version":"2012-10-17","Statement":[
  {"Sid":"Office","Effect":"Deny","Principal":"*","Action":"ecr:PutImag","Condition":{"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}}}]}`
)

func TestPolicyCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right, noted, wrong, large := file("right.json", rightPolicy), file("noted.json", notedPolicy), file("wrong.json", wrongPolicy), file("large.json", strings.Repeat(" ", maxPolicyFile+1))
	for _, tt := range []struct {
		name           string
		stdin          string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"right", "", []string{right}, 0, "checked as an identity policy, by the look of it", ""},
		{"notes only", "", []string{noted}, 0, "note administrator", ""},
		{"wrong", "", []string{wrong}, exitFailed, wrong + ":2:", "1 error, 1 warning"},
		{"both", "", []string{right, wrong}, exitFailed, "→ Did you mean ecr:PutImage?", "1 error, 1 warning"},
		{"standard input", wrongPolicy, []string{"-"}, exitFailed, "standard input:2:", "1 error"},
		{"another kind", "", []string{"--kind", "trust", right}, exitFailed, "error syntax", "1 error, 0 warnings"},
		{"said kind", "", []string{"--kind", "boundary", right}, 0, "checked as a boundary policy\n", ""},
		{"empty", "", []string{"-"}, exitFailed, "the document is empty", "1 error"},
		{"no kind", "", []string{"--kind", "bucket", right}, exitUsage, "", `--kind: "bucket" is none of identity`},
		{"no file", "", nil, exitUsage, "", "usage: sekisho policy check FILE"},
		{"twice", "", []string{"-", right, "-"}, exitUsage, "", "standard input can be read once"},
		{"missing", "", []string{filepath.Join(dir, "none")}, exitFailed, "", "no such file"},
		{"large", "", []string{large}, exitFailed, "", "more than 1024 KiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := sekisho(t, nil, tt.stdin, append([]string{"policy", "check"}, tt.args...)...)
			r.want(t, tt.code, tt.stderr)
			if !strings.Contains(r.stdout, tt.stdout) {
				t.Errorf("%q is not in\n%s", tt.stdout, r.stdout)
			}
		})
	}
}

// TestPolicyCheckForms has the output for programs.
func TestPolicyCheckForms(t *testing.T) {
	r := sekisho(t, nil, wrongPolicy, "policy", "check", "-o", "json", "-")
	r.want(t, exitFailed, "")
	var got []struct {
		File, Kind string
		Findings   []struct {
			Severity, Code, Statement, Message, Fix string
			Line, Column                            int
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	if len(got) != 1 || got[0].Kind != "repository" || len(got[0].Findings) != 2 {
		t.Fatalf("%s", r.stdout)
	}
	if f := got[0].Findings[0]; f.Code != "unknown-action" || f.Severity != "error" || f.Line != 2 || f.Column != 60 || f.Statement != "Office" || f.Fix == "" {
		t.Errorf("%+v", f)
	}
	r = sekisho(t, nil, rightPolicy, "policy", "check", "-o", "yaml", "-")
	r.want(t, 0, "")
	if !strings.Contains(r.stdout, "findings: []") {
		t.Errorf("%s", r.stdout)
	}
}
