package command

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/agent/work"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		line       string
		want       Command
		ok, almost bool
	}{
		{"##vso[task.setvariable variable=a;isSecret=true]v=1;2]3", Command{"task", "setvariable", map[string]string{"variable": "a", "issecret": "true"}, "v=1;2]3"}, true, false},
		{"INFO ##VSO[x] ##vso[Task.LogIssue type=error]%3B%0D%0A%5D%AZP253B%", Command{"task", "logissue", map[string]string{"type": "error"}, ";\r\n]%3B%"}, true, false},
		{"##vso[task.debug]", Command{"task", "debug", map[string]string{}, ""}, true, false},
		{"##vso[task.x a=b=c; d=%5D;e;=f]", Command{"task", "x", map[string]string{"a": "b=c", "d": "]"}, ""}, true, false},
		{"##vso[task]x", Command{}, false, true},
		{"##vso[task.debug", Command{}, false, true},
		{"##vso [task.debug]", Command{}, false, true},
		{"nothing", Command{}, false, false},
	} {
		got, ok, almost := Parse(test.line)
		if !ok {
			got = Command{}
		}
		if ok != test.ok || almost != test.almost {
			t.Errorf("%s: ok %v, almost %v", test.line, ok, almost)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.line, diff)
		}
	}
}

func TestTagged(t *testing.T) {
	for line, want := range map[string][2]string{
		"##[section]Starting": {"section", "Starting"}, "##[Error]x": {"error", "x"}, "##[x]y": {"", "##[x]y"}, " ##[error]": {"", " ##[error]"}, "##[error": {"", "##[error"},
	} {
		tag, text := Tagged(line)
		if string(tag) != want[0] || text != want[1] {
			t.Errorf("%q: %q %q", line, tag, text)
		}
	}
}

// told is a State that remembers what it was told.
type told struct{ all []string }

func (t *told) say(format string, a ...any) error {
	t.all = append(t.all, fmt.Sprintf(format, a...))
	return nil
}

func (t *told) Variable(v work.Variable, output bool) error {
	return t.say("variable %s=%s %v %v %v", v.Name, v.Value, v.Secret, v.ReadOnly, output)
}
func (t *told) TaskVariable(v work.Variable) error {
	return t.say("task variable %s=%s", v.Name, v.Value)
}
func (t *told) Secret(v string) error { return t.say("secret %s", v) }
func (t *told) Issue(i work.Issue)    { _ = t.say("issue %+v", i) }
func (t *told) Complete(r work.Result, m string, done bool) {
	_ = t.say("complete %s %s %v", r, m, done)
}
func (t *told) Progress(p int, o string) { _ = t.say("progress %d %s", p, o) }
func (t *told) Attach(_ context.Context, kind, name, file string) error {
	return t.say("attach %s %s %s", kind, name, file)
}
func (t *told) PrependPath(d string) error                  { return t.say("path %s", d) }
func (t *told) Endpoint(a, b, c, d string) error            { return t.say("endpoint %s %s %s %s", a, b, c, d) }
func (t *told) RunNumber(_ context.Context, n string) error { return t.say("number %s", n) }
func (t *told) Tag(_ context.Context, n string) error       { return t.say("tag %s", n) }
func (t *told) Record(d Detail) error                       { return t.say("record %s %s %d", d.ID, d.State, d.Progress) }
func (t *told) Debug(string)                                {}
func (t *told) Warn(s string)                               { _ = t.say("warning %s", s) }
func (t *told) Upload(_ context.Context, a, f, p string, m map[string]string) error {
	return t.say("upload %s %q %s %v", a, f, p, m)
}
func (t *told) Associate(_ context.Context, a, k, l string, m map[string]string) error {
	return t.say("associate %s %s %s %v", a, k, l, m)
}

func TestDo(t *testing.T) {
	restricted := Restrictions{Restricted: true, Settable: []string{"ok*"}}
	for _, test := range []struct {
		line string
		r    Restrictions
		want string // what the state is told, or the error after "error: "
	}{
		{"##vso[task.setvariable variable=a]1", Restrictions{}, "variable a=1 false false false"},
		{"##vso[task.setvariable variable=a;isOutput=true;isReadOnly=TRUE]1", Restrictions{}, "variable a=1 false true true"},
		{"##vso[task.setvariable variable=a;issecret=true]1", Restrictions{}, "secret 1\nvariable a=1 true false false"},
		{"##vso[task.setvariable variable=a;issecret=true]1%0A2", Restrictions{}, "error: ##vso[task.setvariable]: " + errLines.Error()},
		{"##vso[task.setvariable]1", Restrictions{}, "error: ##vso[task.setvariable]: the property variable is missing"},
		{"##vso[task.setvariable variable=no]1", restricted, `warning "no" is not among the settableVariables of this step's target or task: it was not set`},
		{"##vso[task.setvariable variable=OKAY]1", restricted, "variable OKAY=1 false false false"},
		{"##vso[task.setvariable variable=a]1", Restrictions{Settable: []string{}}, `warning "a" is not among the settableVariables of this step's target or task: it was not set`},
		{"##vso[task.setvariable variable=OKAY]1", Restrictions{And: &Restrictions{Settable: []string{"no"}}}, `warning "OKAY" is not among the settableVariables of this step's target or task: it was not set`},
		{"##vso[task.prependpath]/x", restricted, "warning PATH is not among the settableVariables of this step's target or task: it was not changed"},
		{"##vso[task.prependpath]/x", Restrictions{}, "path /x"},
		{"##vso[task.setsecret]abc", restricted, "secret abc"},
		{"##vso[task.logissue type=Warning;sourcepath=a.go;linenumber=3;code=7]m", Restrictions{}, "issue {Type:warning Message:m Source:a.go Line:3 Column: Code:7}"},
		{"##vso[task.logissue type=x]m", Restrictions{}, `error: ##vso[task.logissue]: type must be error or warning, not "x"`},
		{"##vso[task.complete result=SucceededWithIssues;done=true]DONE", Restrictions{}, "complete succeededWithIssues DONE true"},
		{"##vso[task.setprogress value=250]half", Restrictions{}, "progress 100 half"},
		{"##vso[task.uploadsummary]/a/b.md", Restrictions{}, "attach Distributedtask.Core.Summary b.md /a/b.md"},
		{"##vso[task.uploadsummary]/a/b.md", restricted, "warning ##vso[task.uploadsummary] is not allowed in this step: its target, or its task, says commands: restricted"},
		{"##vso[task.uploadfile]/a/b.md", Restrictions{}, "attach Distributedtask.Core.FileAttachment b.md /a/b.md"},
		{"##vso[task.addattachment type=t;name=n]/f", Restrictions{}, "attach t n /f"},
		{"##vso[task.addattachment type=t;name=../n]/f", Restrictions{}, `error: ##vso[task.addattachment]: name may not hold a slash: "../n"`},
		{"##vso[task.settaskvariable variable=a]1", Restrictions{}, "task variable a=1"},
		{"##vso[task.setendpoint id=1;field=url]https://x", Restrictions{}, "endpoint 1 url  https://x"},
		{"##vso[task.setendpoint id=1;field=authParameter;key=k]v", Restrictions{}, "secret v\nendpoint 1 authparameter k v"},
		{"##vso[task.logdetail id=1;state=InProgress;progress=5]x", Restrictions{}, "record 1 inProgress 5"},
		{"##vso[build.updatebuildnumber]1.2", Restrictions{}, "number 1.2"},
		{"##vso[build.addbuildtag] t ", Restrictions{}, "tag t"},
		{"##vso[build.uploadlog]/l", Restrictions{}, "attach Distributedtask.Core.Log CustomToolLog /l"},
		{"##vso[artifact.upload containerfolder=f;artifactname=a;x=y]/p", Restrictions{}, `upload a "f" /p map[x:y]`},
		{"##vso[artifact.associate type=filepath;artifactname=a]//s/p", Restrictions{}, "associate a filepath //s/p map[]"},
		{"##vso[results.publish type=JUnit]x", Restrictions{}, "warning ##vso[results.publish] is not a logging command that this agent knows: it was not obeyed"},
	} {
		c, ok, _ := Parse(test.line)
		if !ok {
			t.Fatal(test.line)
		}
		s := &told{}
		err := Do(t.Context(), s, c, test.r)
		got := strings.Join(s.all, "\n")
		if err != nil {
			got = "error: " + err.Error()
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.line, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("##vso[task.setvariable variable=a;issecret=true]%3B")
	f.Add("##[section]a")
	f.Fuzz(func(t *testing.T, line string) {
		if got := Unescape(Escape(line)); got != line && !strings.Contains(line, "%") {
			t.Fatalf("%q became %q", line, got)
		}
		tag, text := Tagged(line)
		if len(text) > len(line) || tag == Plain && text != line {
			t.Fatalf("%q: %q %q", line, tag, text)
		}
		c, ok, _ := Parse(line)
		if !ok {
			return
		}
		if strings.ContainsAny(c.Name(), " ]") || c.Area == "" || c.Event == "" {
			t.Fatalf("%q is %+v", line, c)
		}
		_ = Do(t.Context(), &told{}, c, Restrictions{})
		// What was parsed can be written again.
		var b strings.Builder
		b.WriteString("##vso[" + c.Name() + " ")
		for k, v := range c.Properties {
			b.WriteString(k + "=" + Escape(v) + ";")
		}
		if !strings.ContainsAny(line, "%") {
			again, ok, _ := Parse(b.String() + "]" + Escape(c.Data))
			if !ok || !cmp.Equal(again, c) {
				t.Fatalf("%+v became %+v", c, again)
			}
		}
	})
}
