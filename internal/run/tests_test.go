package run

import "testing"

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
