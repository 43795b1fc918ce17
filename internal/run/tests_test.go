package run

import (
	"testing"
	"time"
)

func FuzzJUnit(f *testing.F) {
	f.Add([]byte(`<testsuites><testsuite name="s"><testcase name="a" time="0.5"/><testcase name="b"><failure message="no">text</failure></testcase></testsuite></testsuites>`))
	f.Add([]byte(`<testcase></failure></testcase></testsuite>`))
	f.Add([]byte(`<testcase><failure>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseJUnit(data)
		if err == nil && (r.Passed < 0 || len(r.Failures) > maxFailures) {
			t.Errorf("%+v", r)
		}
	})
}

func FuzzFileName(f *testing.F) {
	for _, name := range []string{"a/b", "../a", "a/..", "/a", `a\b`, "C:a", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkFileName(name) != nil {
			return
		}
		for i, r := range name {
			if r == '\\' || r == 0 || i == 0 && r == '/' {
				t.Errorf("%q was taken", name)
			}
		}
	})
}

// TestParseTests reads what the agents' task sends.
func TestParseTests(t *testing.T) {
	r, err := parseTests([]byte(`{"title":"unit","total":3,"passed":1,"failed":1,"skipped":1,"seconds":1.5,"failures":[{"suite":"calc","name":"adds","message":"1 and 1 was 3"}]}`))
	if err != nil || r.Passed != 1 || r.Failed != 1 || r.Skipped != 1 || r.Duration != 1500*time.Millisecond || len(r.Failures) != 1 || r.Failures[0].Name != "adds" {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{``, `[]`, `{"passed":-1}`, `{"failed":2000000}`, `{"seconds":1e300}`} {
		if r, err := parseTests([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, r)
		}
	}
}
