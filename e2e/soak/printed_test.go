package soak

import (
	"strings"
	"testing"
)

// TestPrinted has the checks of logs see what they are for.
func TestPrinted(t *testing.T) {
	const stamp, id = "2026-01-02T03:04:05.0000006Z ", "__default.a.b"
	stamped := func(text string) string {
		var b strings.Builder
		for line := range strings.Lines(text) {
			b.WriteString(stamp + line)
		}
		return b.String()
	}
	want := linesOf(id, "first", 20)
	good := stamped("##[section]Starting: first\n" + want + "##[section]Finishing: first\n")
	middle := strings.Index(good, "line 10 of")
	chunk := good[middle : middle+300]
	for name, test := range map[string]struct {
		log         string
		whole, half bool // is it good as one of an attempt that is done, and as one that was cut off?
	}{
		"as it was printed":      {good, true, true},
		"cut off at a line":      {good[:strings.Index(good, stamp+id+"/first line 7")], false, true},
		"cut off within a line":  {good[:middle], false, true},
		"cut off within a stamp": {good[:strings.Index(good, stamp+id+"/first line 7")+5], false, true},
		"nothing":                {"", false, true},
		"a byte is lost":         {good[:middle] + good[middle+1:], false, false},
		"a byte is doubled":      {good[:middle] + good[middle-1:], false, false},
		"a line is lost":         {strings.Replace(good, stamp+strings.SplitAfter(want, "\n")[4], "", 1), false, false},
		"a line is doubled":      {strings.Replace(good, stamp+strings.SplitAfter(want, "\n")[4], strings.Repeat(stamp+strings.SplitAfter(want, "\n")[4], 2), 1), false, false},
		"a part is doubled":      {good[:middle] + chunk + good[middle:], false, false},
		"a part is lost":         {good[:middle] + good[middle+300:], false, false},
		"all of it twice":        {good + good, false, false},
	} {
		for _, whole := range []bool{true, false} {
			text, err := plain([]byte(test.log), whole)
			if err == nil {
				err = printed(text, id, want, whole)
			}
			expected := test.half
			if whole {
				expected = test.whole
			}
			if (err == nil) != expected {
				t.Errorf("%s, whole %t: %v", name, whole, err)
			}
		}
	}
}
