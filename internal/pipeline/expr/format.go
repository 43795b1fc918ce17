package expr

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// callFormat is format('{0} {1:yyyy}', …): braces are doubled to be themselves, specifiers are for dates alone.
// Arguments that are not named are not evaluated.
func callFormat(s *state, n *node) (Value, error) {
	format, err := s.text(n, 0)
	if err != nil {
		return Value{}, err
	}
	invalid := func() error { return s.fail(n, message("The following format string is invalid: "+format)) }
	cache := make([]*Value, len(n.args))
	var b strings.Builder
	write := func(text string) error {
		b.WriteString(text)
		return s.take(n, len(text))
	}
	for rest := format; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			if err := write(rest); err != nil {
				return Value{}, err
			}
			break
		}
		if i+1 < len(rest) && rest[i+1] == rest[i] {
			if err := write(rest[:i+1]); err != nil {
				return Value{}, err
			}
			rest = rest[i+2:]
			continue
		}
		if rest[i] == '}' {
			return Value{}, invalid()
		}
		index, specifiers, length, ok := placeholder(rest[i:])
		if !ok {
			return Value{}, invalid()
		}
		if index > len(n.args)-2 {
			return Value{}, s.fail(n, message(
				"The following format string references more arguments than were supplied: "+format))
		}
		if err := write(rest[:i]); err != nil {
			return Value{}, err
		}
		rest = rest[i+length:]
		if cache[index+1] == nil {
			v, err := s.eval(n.args[index+1])
			if err != nil {
				return Value{}, err
			}
			cache[index+1] = &v
		}
		v := *cache[index+1]
		text, ok := v.toString()
		if !ok {
			return Value{}, s.fail(n, convertError(v, KindString))
		}
		if specifiers != "" {
			t, isDate := v.Time()
			if !isDate {
				return Value{}, s.fail(n, specifiersError(specifiers, v.kind))
			}
			if text, ok = formatDate(t, specifiers); !ok {
				return Value{}, s.fail(n, specifiersError(specifiers, v.kind))
			}
		}
		if err := write(text); err != nil {
			return Value{}, err
		}
	}
	return String(b.String()), nil
}

func specifiersError(specifiers string, kind Kind) error {
	return message(fmt.Sprintf("The format specifiers '%s' are not valid for objects of type '%s'", specifiers, kind))
}

// placeholder reads {index} or {index:specifiers}.
func placeholder(s string) (index int, specifiers string, length int, ok bool) {
	i := 1
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	n, err := strconv.ParseUint(s[1:i], 10, 8)
	if err != nil || i >= len(s) {
		return 0, "", 0, false
	}
	if s[i] == '}' {
		return int(n), "", i + 1, true
	}
	if s[i] != ':' {
		return 0, "", 0, false
	}
	var b strings.Builder
	for i++; i < len(s); i++ {
		if s[i] == '}' {
			if i+1 >= len(s) || s[i+1] != '}' {
				return int(n), b.String(), i + 1, true
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return 0, "", 0, false
}

// FormatDate writes a time by .NET's specifiers, of which the language has yyyy yy MM M dd d HH H mm m ss s f to
// fffffff zzz K, escapes with \, and blanks.
func FormatDate(t time.Time, specifiers string) (string, bool) { return formatDate(t, specifiers) }

func formatDate(t time.Time, specifiers string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(specifiers); {
		c := specifiers[i]
		if c == '\\' {
			if i+1 >= len(specifiers) {
				return "", false
			}
			_, n := utf8.DecodeRuneInString(specifiers[i+1:])
			b.WriteString(specifiers[i+1 : i+1+n])
			i += 1 + n
			continue
		}
		end := i
		for end < len(specifiers) && specifiers[end] == c {
			end++
		}
		text, ok := dateSpecifier(t, specifiers[i:end])
		if !ok {
			return "", false
		}
		b.WriteString(text)
		i = end
	}
	return b.String(), true
}

func dateSpecifier(t time.Time, specifier string) (string, bool) {
	if strings.Trim(specifier, " ") == "" {
		return specifier, true
	}
	if strings.Trim(specifier, "f") == "" && len(specifier) <= 7 {
		return fmt.Sprintf("%09d", t.Nanosecond())[:len(specifier)], true
	}
	switch specifier {
	case "yyyy":
		return fmt.Sprintf("%04d", t.Year()), true
	case "yy":
		return fmt.Sprintf("%02d", t.Year()%100), true
	case "MM":
		return fmt.Sprintf("%02d", t.Month()), true
	case "M":
		return strconv.Itoa(int(t.Month())), true
	case "dd":
		return fmt.Sprintf("%02d", t.Day()), true
	case "d":
		return strconv.Itoa(t.Day()), true
	case "HH":
		return fmt.Sprintf("%02d", t.Hour()), true
	case "H":
		return strconv.Itoa(t.Hour()), true
	case "mm":
		return fmt.Sprintf("%02d", t.Minute()), true
	case "m":
		return strconv.Itoa(t.Minute()), true
	case "ss":
		return fmt.Sprintf("%02d", t.Second()), true
	case "s":
		return strconv.Itoa(t.Second()), true
	case "zzz", "K":
		return t.Format("-07:00"), true
	}
	return "", false
}

// parseDate reads 2006-01-02 15:04:05.1234567Z, with slashes for the dashes, T for the blank, and an offset for Z.
// A time without an offset is in UTC.
func parseDate(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if len(s) > 64 {
		return time.Time{}, false
	}
	ok := true
	digits := func(from, to int) int {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		if n < from || n > to {
			ok = false
			return 0
		}
		value, _ := strconv.Atoi(s[:n])
		s = s[n:]
		return value
	}
	one := func(of string) byte {
		if s == "" || strings.IndexByte(of, s[0]) < 0 {
			ok = false
			return 0
		}
		c := s[0]
		s = s[1:]
		return c
	}
	year := digits(4, 4)
	separator := one("-/")
	month := digits(1, 2)
	one(string(separator))
	day := digits(1, 2)
	one(" T")
	hour := digits(1, 2)
	one(":")
	minute := digits(1, 2)
	one(":")
	second := digits(1, 2)
	nanos := 0
	if ok && s != "" && s[0] == '.' {
		s = s[1:]
		before := len(s)
		nanos = digits(1, 7)
		for range 9 - (before - len(s)) {
			nanos *= 10
		}
	}
	zone := time.UTC
	if ok && s != "" {
		switch c := one("Z+-"); c {
		case '+', '-':
			offset := digits(1, 2) * 3600
			one(":")
			offset += digits(1, 2) * 60
			if c == '-' {
				offset = -offset
			}
			if offset > 14*3600 || offset < -14*3600 {
				ok = false
			}
			zone = time.FixedZone("", offset)
		}
	}
	if !ok || s != "" {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, zone)
	if year < 1 || int(t.Month()) != month || t.Day() != day || t.Hour() != hour || t.Minute() != minute || t.Second() != second {
		return time.Time{}, false // a 31 June, or 25:00
	}
	return t, true
}
