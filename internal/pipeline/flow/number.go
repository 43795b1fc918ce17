package flow

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/pipeline/macro"
)

// DefaultNumber is the format of run numbers of pipelines without a name.
const DefaultNumber = "$(Date:yyyyMMdd).$(Rev:r)"

// maxNumber is how long a run number may be, in characters.
const maxNumber = 255

// ErrNumber is in the chain of errors about run numbers that are not possible.
var ErrNumber = errors.New("the run number is not possible")

// Number is the run number that the plan asks for, with the tokens and variables of its format replaced.
//
// rev gives the value of $(Rev:r): one more than the last run of this pipeline has whose number is the same but for it; it is
// given that number, with a NUL where the revision goes. It is asked at most once. Errors: what rev returned, and errors
// with [ErrNumber] in their chain; the run is then called by its id.
func (f *Flow) Number(rev func(pattern string) (int64, error)) (string, error) {
	vars, err := f.runScope()
	if err != nil {
		return "", err
	}
	at := f.run.StartTime.UTC()
	digits, prefix, revision := 0, "", false
	lookup := func(name string) (string, bool) {
		if spec, ok := cutFold(name, "Rev:"); ok {
			lead := strings.TrimRight(spec, "r")
			if n := len(spec) - len(lead); n > 0 && n <= 20 && !strings.Contains(lead, "\x00") && !revision {
				digits, prefix, revision = n, lead, true
				return "\x00", true
			}
			return "", false
		}
		if value, ok := f.token(name, at); ok {
			return value, true
		}
		v, ok := vars.value(name)
		if e := vars.get(name); !ok || e.Secret {
			return "", false
		}
		text, _ := v.ToString()
		return strings.ReplaceAll(text, "\x00", ""), true
	}
	format := strings.ReplaceAll(f.plan.Name, "\x00", "")
	number := strings.TrimSpace(macro.Expand(orElse(strings.TrimSpace(format), DefaultNumber), lookup))
	if revision {
		pattern := strings.Replace(number, "\x00", prefix+"\x00", 1)
		n, err := rev(pattern)
		if err != nil {
			return "", fmt.Errorf("revision of the run number: %w", err)
		}
		number = strings.Replace(pattern, "\x00", fmt.Sprintf("%0*d", digits, n), 1)
	}
	return number, CheckNumber(number)
}

// CheckNumber reports why a run can't be called so.
func CheckNumber(number string) error {
	const rules = `it may have up to 255 characters, none of them " / : < > \ | ? @ * or a control character, and must not end with a dot`
	switch i := strings.IndexFunc(number, func(c rune) bool { return c < ' ' || c == 0x7f || strings.ContainsRune(`"/:<>\|?@*`, c) }); {
	case number == "":
		return fmt.Errorf("%w: it is empty; %s", ErrNumber, rules)
	case i >= 0:
		c := []rune(number[i:])[0]
		return fmt.Errorf("%w: '%s' has %q in it; %s", ErrNumber, shorten(number, 100), c, rules)
	case len([]rune(number)) > maxNumber:
		return fmt.Errorf("%w: '%s' has %d characters; %s", ErrNumber, shorten(number, 100), len([]rune(number)), rules)
	case strings.HasSuffix(number, "."):
		return fmt.Errorf("%w: '%s' ends with a dot; %s", ErrNumber, shorten(number, 100), rules)
	}
	return nil
}

// token is the value of one of the tokens that only run numbers know.
func (f *Flow) token(name string, at time.Time) (string, bool) {
	if format, ok := cutFold(name, "Date:"); ok {
		return formatDate(at, format), true
	}
	if format, ok := cutFold(name, "Year:"); ok && format != "" && strings.Trim(format, "y") == "" {
		return formatDate(at, format), true
	}
	switch strings.ToLower(name) {
	case "builddefinitionname":
		return f.run.Pipeline, true
	case "buildid":
		return strconv.FormatInt(f.run.ID, 10), true
	case "date":
		return formatDate(at, "yyyyMMdd"), true
	case "dayofmonth":
		return strconv.Itoa(at.Day()), true
	case "dayofyear":
		return strconv.Itoa(at.YearDay()), true
	case "hours":
		return strconv.Itoa(at.Hour()), true
	case "minutes":
		return strconv.Itoa(at.Minute()), true
	case "month":
		return strconv.Itoa(int(at.Month())), true
	case "seconds":
		return strconv.Itoa(at.Second()), true
	case "sourcebranchname":
		return BranchName(f.run.Ref), true
	case "teamproject":
		return f.run.Project, true
	}
	return "", false
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return "", false
}

// formatDate writes a time by .NET's custom format specifiers, in English; what is none of them stays.
func formatDate(t time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format); {
		c := format[i]
		end := i + 1
		switch c {
		case '\\':
			if end < len(format) {
				b.WriteByte(format[end])
			}
			i = end + 1
			continue
		case '\'', '"':
			closing := strings.IndexByte(format[end:], c)
			if closing < 0 {
				closing = len(format) - end
			}
			b.WriteString(format[end : end+closing])
			i = end + closing + 1
			continue
		}
		for end < len(format) && format[end] == c {
			end++
		}
		b.WriteString(dateSpecifier(t, format[i:end]))
		i = end
	}
	return b.String()
}

func dateSpecifier(t time.Time, s string) string {
	n := len(s)
	number := func(v int) string {
		if n == 1 {
			return strconv.Itoa(v)
		}
		return fmt.Sprintf("%02d", v)
	}
	switch s[0] {
	case 'y':
		if n <= 2 {
			return number(t.Year() % 100)
		}
		return fmt.Sprintf("%0*d", n, t.Year())
	case 'M':
		switch n {
		case 1, 2:
			return number(int(t.Month()))
		case 3:
			return t.Format("Jan")
		}
		return t.Format("January")
	case 'd':
		switch n {
		case 1, 2:
			return number(t.Day())
		case 3:
			return t.Format("Mon")
		}
		return t.Format("Monday")
	case 'H':
		return number(t.Hour())
	case 'h':
		return number((t.Hour()+11)%12 + 1)
	case 'm':
		return number(t.Minute())
	case 's':
		return number(t.Second())
	case 'f':
		if n <= 7 {
			return fmt.Sprintf("%09d", t.Nanosecond())[:n]
		}
	case 't':
		return t.Format("PM")[:min(n, 2)]
	case 'K':
		return "Z"
	case 'z':
		return [...]string{"+0", "+00", "+00:00"}[min(n, 3)-1]
	}
	return s
}
