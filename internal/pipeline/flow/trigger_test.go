package flow

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sekisho/sekisho/internal/pipeline"
)

// filter makes a filter of "include, include -exclude".
func filter(text string) pipeline.Filter {
	var f pipeline.Filter
	for _, p := range strings.Fields(text) {
		if rest, ok := strings.CutPrefix(p, "-"); ok {
			f.Exclude = append(f.Exclude, rest)
		} else {
			f.Include = append(f.Include, p)
		}
	}
	return f
}

func TestMatchBranch(t *testing.T) {
	for _, tt := range []struct {
		filter, ref string
		want        bool
	}{
		{"", "refs/heads/main", true},
		{"main", "refs/heads/main", true},
		{"main", "refs/heads/mainline", false},
		{"main", "refs/heads/feature/main", false},
		{"refs/heads/main", "refs/heads/main", true},
		{"main releases/*", "refs/heads/releases/1", true},
		{"main releases/*", "refs/heads/releases/1/2", true},
		{"main releases/*", "refs/heads/releases", false},
		{"main releases/* -releases/old*", "refs/heads/releases/old1", false},
		{"main releases/* -releases/old*", "refs/heads/releases/new", true},
		{"-wip/*", "refs/heads/main", true},
		{"-wip/*", "refs/heads/wip/x", false},
		{"*", "refs/heads/any/thing", true},
		{"* -main", "refs/heads/main", false},
		{"v?", "refs/heads/v1", true},
		{"v?", "refs/heads/v10", false},
		{"v?", "refs/heads/vé", true},
		{"*/x/*", "refs/heads/a/x/b", true},
		{"*a*b*c", "refs/heads/xaxbxc", true},
		{"*a*b*c", "refs/heads/xaxbx", false},
		{"release-[0-9]", "refs/heads/release-1", false},
		{"release-[0-9]", "refs/heads/release-[0-9]", true},
		{"main", "refs/tags/main", false},
		{"refs/tags/*", "refs/tags/v1", true},
		{"Main", "refs/heads/main", false},
	} {
		if got := MatchBranch(filter(tt.filter), tt.ref); got != tt.want {
			t.Errorf("%q, %s: %v", tt.filter, tt.ref, got)
		}
	}
	// A hostile pattern is no problem.
	if matchGlob(strings.Repeat("*a", 5000), strings.Repeat("a", 4000)+"b") {
		t.Error("matches")
	}
}

func TestMatchPath(t *testing.T) {
	for _, tt := range []struct {
		filter, path string
		want         bool
	}{
		{"", "a", true},
		{"docs", "docs/a/b.md", true},
		{"docs/", "docs/a.md", true},
		{"/docs/*", "docs/a.md", true},
		{"docs/*", "docs/sub/a.md", true}, // the folder sub matches
		{"docs", "docs.md", false},
		{"docs", "src/docs/x", false},
		{"docs -docs/README.md", "docs/README.md", false},
		{"docs -docs/README.md", "docs/other.md", true},
		{"-docs", "src/x", true},
		{"-docs", "docs/x", false},
		{"-tools tools/run-on-these", "tools/run-on-these/x", true},
		{"-tools tools/run-on-these", "tools/x", false},
		{"-tools tools", "tools/x", false},
		{"src/**/myapp*", "src/app/x/myapp.c", true},
		{"src/**/myapp*", "src/myapp.c", true},
		{"src/**/myapp*", "src/app/other.c", false},
		{"*.md", "README.md", true},
		{"*.md", "docs/README.md", false},
		{"**/*.md", "docs/README.md", true},
		{"**", "a/b", true},
		{"* -docs/**", "docs/a", false},
		{"* -**/*.md", "docs/a.md", false},
		{"src/?.c", "src/a.c", true},
		{"src/?.c", "src/ab.c", false},
		{"src/{a,b}", "src/a", false},
		{"src/[ab]*", "src/[ab]c", true},
		{"Docs", "docs/a", false},
		{"/", "a", true},
	} {
		if got := MatchPath(filter(tt.filter), tt.path); got != tt.want {
			t.Errorf("%q, %s: %v", tt.filter, tt.path, got)
		}
	}
}

func TestMatchPush(t *testing.T) {
	on := func(branches, tags, paths string) *pipeline.Trigger {
		return &pipeline.Trigger{Enabled: true, Branches: filter(branches), Tags: filter(tags), Paths: filter(paths)}
	}
	for _, tt := range []struct {
		trigger *pipeline.Trigger
		push    Push
		want    bool
		reason  string
	}{
		{nil, Push{Ref: "refs/heads/x"}, true, "every branch"},
		{nil, Push{Ref: "refs/tags/x"}, false, "only branches run"},
		{nil, Push{Ref: "refs/heads/x", Deleted: true}, false, "deleted"},
		{nil, Push{Ref: "refs/heads/x", Messages: []string{"a", "b [CI Skip]"}}, false, "a commit's message has [CI Skip]"},
		{&pipeline.Trigger{}, Push{Ref: "refs/heads/x"}, false, "trigger: none"},
		{on("main", "", ""), Push{Ref: "refs/heads/main"}, true, "the branch main matches the trigger"},
		{on("main", "", ""), Push{Ref: "refs/heads/x"}, false, "the branch x does not match"},
		{on("main", "", ""), Push{Ref: "refs/tags/v1"}, false, "names no tags"},
		{on("refs/tags/v*", "", ""), Push{Ref: "refs/tags/v1"}, true, "among the trigger's branches"},
		{on("refs/tags/v* -refs/tags/v0*", "", ""), Push{Ref: "refs/tags/v01"}, false, "not among"},
		{on("", "v*", ""), Push{Ref: "refs/tags/v1"}, true, "the tag v1 matches"},
		{on("", "v*", ""), Push{Ref: "refs/tags/x"}, false, "does not match"},
		{on("", "v*", ""), Push{Ref: "refs/heads/main"}, false, "names tags alone"},
		{on("main", "v*", ""), Push{Ref: "refs/heads/main"}, true, "the branch main"},
		{on("main", "v*", "src"), Push{Ref: "refs/tags/v1", Paths: []string{"docs/x"}}, true, "the tag v1"},
		{on("", "", "src"), Push{Ref: "refs/heads/x", Paths: []string{"docs/x", "src/y"}}, true, "the file src/y matches"},
		{on("", "", "src"), Push{Ref: "refs/heads/x", Paths: []string{"docs/x"}}, false, "none of the 1 changed files"},
		{on("", "", "src"), Push{Ref: "refs/heads/x", Paths: []string{}}, false, "none of the 0"},
		{on("", "", "src"), Push{Ref: "refs/heads/x"}, true, ""},
		{on("", "", ""), Push{Ref: "refs/heads/x"}, true, ""},
		{on("", "", ""), Push{Ref: "refs/pull/1/merge"}, false, "neither a branch nor a tag"},
	} {
		if got := MatchPush(tt.trigger, tt.push); got.Run != tt.want || !strings.Contains(got.Reason, tt.reason) {
			t.Errorf("%+v %+v: %+v", tt.trigger, tt.push, got)
		}
	}
}

func TestMatchPullRequest(t *testing.T) {
	for _, tt := range []struct {
		trigger *pipeline.Trigger
		event   PullRequestEvent
		want    bool
	}{
		{nil, PullRequestEvent{Target: "refs/heads/x", Draft: true}, true},
		{&pipeline.Trigger{}, PullRequestEvent{Target: "refs/heads/x"}, false},
		{&pipeline.Trigger{Enabled: true, Branches: filter("main")}, PullRequestEvent{Target: "refs/heads/main"}, true},
		{&pipeline.Trigger{Enabled: true, Branches: filter("main")}, PullRequestEvent{Target: "refs/heads/x"}, false},
		{&pipeline.Trigger{Enabled: true}, PullRequestEvent{Target: "refs/heads/x", Draft: true}, false},
		{&pipeline.Trigger{Enabled: true, Drafts: true}, PullRequestEvent{Target: "refs/heads/x", Draft: true}, true},
		{&pipeline.Trigger{Enabled: true, Paths: filter("-docs")}, PullRequestEvent{Target: "refs/heads/x", Paths: []string{"docs/a"}}, false},
		{&pipeline.Trigger{Enabled: true}, PullRequestEvent{Target: "refs/heads/x", Messages: []string{"***NO_CI***"}}, false},
	} {
		if got := MatchPullRequest(tt.trigger, tt.event); got.Run != tt.want || got.Reason == "" {
			t.Errorf("%+v %+v: %+v", tt.trigger, tt.event, got)
		}
	}
}

func TestSkipCI(t *testing.T) {
	for message, want := range map[string]string{
		"fix": "", "": "", "skip ci": "", "[ skip ci ]": "",
		"fix [skip ci]": "[skip ci]", "[ci skip] x": "[ci skip]", "a\n\nskip-checks: true": "skip-checks: true", "skip-checks:true": "skip-checks:true",
		"[skip azurepipelines]": "[skip azurepipelines]", "[azurepipelines skip]": "[azurepipelines skip]", "[skip azpipelines]": "[skip azpipelines]",
		"[azpipelines skip]": "[azpipelines skip]", "[skip azp]": "[skip azp]", "[azp skip]": "[azp skip]", "x ***NO_CI***": "***NO_CI***",
		"İ [Skip CI]": "[skip ci]",
	} {
		if got := SkipCI(message); got != want {
			t.Errorf("%q: %q", message, got)
		}
	}
}

func TestCron(t *testing.T) {
	from := time.Date(2024, 3, 9, 7, 5, 4, 0, time.UTC) // a Saturday
	for _, tt := range []struct{ cron, want string }{
		{"0 0 * * *", "2024-03-10 00:00"},
		{"*/15 * * * *", "2024-03-09 07:15"},
		{"5 7 * * *", "2024-03-10 07:05"},
		{"6 7 * * *", "2024-03-09 07:06"},
		{"0 3 * * Mon-Fri", "2024-03-11 03:00"},
		{"0 3 * * monday", "2024-03-11 03:00"},
		{"0 12 * * 0", "2024-03-10 12:00"},
		{"0 12 * * Sun", "2024-03-10 12:00"},
		{"0 0 1,15,21 * *", "2024-03-15 00:00"},
		{"0 0 29 2 *", "2028-02-29 00:00"},
		{"0 0 1 Jan *", "2025-01-01 00:00"},
		{"0 0 13 * Fri", "2024-03-13 00:00"}, // either suffices
		{"0 0 */10 * Fri", "2024-05-31 00:00"},
		{"30 5-9/2 * * *", "2024-03-09 07:30"},
		{"10/20 * * * *", "2024-03-09 07:10"},
		{"0 0 * * 1,3,5", "2024-03-11 00:00"},
		{"0 22 * 3,4 *", "2024-03-09 22:00"},
		{"  0   0 * * *  ", "2024-03-10 00:00"},
	} {
		c, err := ParseCron(tt.cron)
		if err != nil {
			t.Errorf("%s: %v", tt.cron, err)
			continue
		}
		got, err := c.Next(from)
		if err != nil || got.Format("2006-01-02 15:04") != tt.want {
			t.Errorf("%s: %v %v, want %s", tt.cron, got, err, tt.want)
		}
		if zone := got.In(time.FixedZone("", 7200)); err == nil {
			if again, err := c.Next(zone); err != nil || !again.After(got) {
				t.Errorf("%s: %v comes after %v", tt.cron, again, got)
			}
		}
	}
	for cron, want := range map[string]string{
		"":               "has 0 fields",
		"* * * *":        "has 4 fields",
		"0 0 * * * *":    "has 6 fields",
		"60 0 * * *":     "the minute '60' is not between 0 and 59",
		"0 24 * * *":     "the hour '24' is not between 0 and 23",
		"0 0 0 * *":      "the day of the month '0'",
		"0 0 * 13 *":     "the month '13'",
		"0 0 * * 7":      "the day of the week '7' is not between 0 and 6",
		"0 0 * * Funday": "the day of the week 'Funday'",
		"0 0 30 2 *":     "never comes",
		"0 0 * * 5-1":    "ends before it begins",
		"*/0 * * * *":    "the step '0'",
		"*/x * * * *":    "the step 'x'",
		"@daily":         "has 1 fields",
		"0 0 L * *":      "the day of the month 'L'",
		", * * * *":      "the minute ''",
		"+5 * * * *":     "the minute '+5'",
	} {
		if _, err := ParseCron(cron); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", cron, err, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, tt := range []struct{ name, want, pattern string }{
		{"", "20240309.7", "20240309.\x00"},
		{"$(Date:yyyyMMdd)$(Rev:.r)", "20240309.7", "20240309.\x00"},
		{"$(TeamProject)_$(Build.DefinitionName)_$(SourceBranchName)_$(Date:yyyyMMdd)$(Rev:.r)", "shop_web_tools_20240309.7", "shop_web_tools_20240309.\x00"},
		{"v1.2.$(Rev:rrr)", "v1.2.007", "v1.2.\x00"},
		{"$(BuildID)-$(BuildDefinitionName)", "42-web", ""},
		{"$(DayOfMonth) $(DayOfYear) $(Hours) $(Minutes) $(Month) $(Seconds) $(Year:yy) $(Year:yyyy)", "9 69 7 5 3 4 24 2024", ""},
		{"$(Date:MMddyy) $(Date:yyyy-MM-dd HH.mm.ss) $(date:ddd MMM d h tt)", "030924 2024-03-09 07.05.04 Sat Mar 9 7 AM", ""},
		{"$(Date:'day' dd\\d)", "day 09d", ""},
		{"$(version)+$(unknown)", "1.42+$(unknown)", ""},
		{"$(Build.SourceVersionMessage)", "Fix it", ""},
		{"  plain  ", "plain", ""},
		{"$(Rev:r)$(Rev:r)", "7$(Rev", "!"},
		{"a/b", "", "!'a/b' has '/' in it"},
		{"x.", "", "!ends with a dot"},
		{"$(Build.SourceBranch)", "", "!has '/' in it"},
		{strings.Repeat("x", 256), "", "!has 256 characters"},
		{strings.Repeat("é", 255), strings.Repeat("é", 255), ""},
		{"$(empty)", "", "!it is empty"},
		{"$(secret)", "$(secret)", ""},
	} {
		plan := onePlan("A")
		plan.Name = tt.name
		plan.Variables = []pipeline.Variable{variable(1, "version", "1.$(Build.BuildId)"), variable(2, "empty", "")}
		run := *variablesRun()
		run.Settings[1].Name, run.Settings[1].Secret = "secret", true
		run.Queue = nil
		f, _ := newFlow(t, plan, &run)
		asked := ""
		got, err := f.Number(func(pattern string) (int64, error) {
			if asked != "" {
				t.Error("asked twice")
			}
			asked = pattern
			return 7, nil
		})
		if problem, ok := strings.CutPrefix(tt.pattern, "!"); ok {
			if !errors.Is(err, ErrNumber) || !strings.Contains(err.Error(), problem) {
				t.Errorf("%s: %q %v, want %s", tt.name, got, err, problem)
			}
			continue
		}
		if err != nil || got != tt.want || asked != tt.pattern {
			t.Errorf("%s: %q %v, want %q; asked %q", tt.name, got, err, tt.want, asked)
		}
	}
	broken := errors.New("broken")
	f, _ := newFlow(t, onePlan("A"), &testRun)
	if _, err := f.Number(func(string) (int64, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
}
