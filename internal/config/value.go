package config

import (
	"encoding"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bytes is a number of bytes, written as a number and optionally B, KiB, MiB, GiB or TiB.
type Bytes int64

var byteUnits = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	number, size := string(text), int64(1)
	for _, u := range byteUnits {
		if n, ok := strings.CutSuffix(number, u.name); ok {
			number, size = strings.TrimSpace(n), u.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/size {
		return fmt.Errorf("%q is not a size such as 16MiB", text)
	}
	*b = Bytes(n * size)
	return nil
}

// String writes b in the largest unit that divides it.
func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b != 0 && int64(b)%u.size == 0 && u.size > 1 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Secret is a value that no way of printing shows. The zero value is no secret.
type Secret struct{ value string }

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the secret.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether there is none.
func (s Secret) IsZero() bool { return s.value == "" }

// String masks the secret. Of a database's URL it keeps what is none: not the
// password, and nothing of the query.
func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	u, err := url.Parse(s.value)
	if err != nil || !slices.Contains([]string{"sqlite", "postgres", "postgresql"}, u.Scheme) || u.Opaque != "" {
		return "********"
	}
	if u.RawQuery != "" {
		u.RawQuery = "********"
	}
	return u.Redacted()
}

// GoString masks the secret for %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText masks the secret in JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue masks the secret in logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// UnmarshalText takes text as it is.
func (s *Secret) UnmarshalText(text []byte) error {
	s.value = string(text)
	return nil
}

// parseDuration adds days, in front, to what time.ParseDuration reads: 7d, 1d12h.
func parseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration such as 30s, 1h30m or 7d", s)
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		days, rest = "0", s
	} else if rest == "" {
		rest = "0"
	}
	n, err := strconv.ParseUint(days, 10, 16) // at most 179 years
	if err != nil {
		return 0, bad
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 {
		return 0, bad
	}
	return time.Duration(n)*24*time.Hour + d, nil
}

func formatDuration(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	var days string
	if n := d / (24 * time.Hour); n > 0 {
		days = strconv.FormatInt(int64(n), 10) + "d"
		if d -= n * 24 * time.Hour; d == 0 {
			return days
		}
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return days + s
}

// parsePrefix also reads a single address.
func parsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p != p.Masked() {
			return netip.Prefix{}, fmt.Errorf("%q has bits beyond its length: write %s, or an address", s, p.Masked())
		}
		return p, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not an address or prefix such as 10.0.0.0/8", s)
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// setScalar reads text into v, a scalar.
func setScalar(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		d, err := parseDuration(text)
		*p = d
		return err
	case *netip.Prefix:
		prefix, err := parsePrefix(text)
		*p = prefix
		return err
	case *slog.Level:
		switch text {
		case "debug", "info", "warn", "error":
			return p.UnmarshalText([]byte(text))
		}
		return fmt.Errorf("%q is none of debug, info, warn, error", text)
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	case *string:
		*p = text
	case *bool:
		switch text {
		case "true", "false":
			*p = text == "true"
		default:
			return fmt.Errorf("%q is neither true nor false", text)
		}
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a whole number from 0 up", text)
		}
		*p = n
	case *float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%q is not a number", text)
		}
		*p = f
	default:
		panic(fmt.Sprintf("config: a field of type %s has no text form", v.Type())) // a test loads every field
	}
	return nil
}

// isList reports whether a setting of type t holds several values.
func isList(t reflect.Type) bool { return t.Kind() == reflect.Slice }

// setList reads one text for each element.
func setList(v reflect.Value, texts []string) error {
	list := reflect.MakeSlice(v.Type(), len(texts), len(texts))
	for i, text := range texts {
		if err := setScalar(list.Index(i), text); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

// splitList reads the form a list has where there is only one text: a,b.
func splitList(text string) []string {
	list := []string{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// format writes v as setScalar and splitList read it, except that secrets are masked.
func format(v reflect.Value) string {
	if isRecords(v.Type()) {
		return formatRecords(v)
	}
	if isList(v.Type()) {
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = format(v.Index(i))
		}
		return strings.Join(parts, ",")
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return formatDuration(x)
	case slog.Level:
		return strings.ToLower(x.String())
	default:
		return fmt.Sprint(x)
	}
}
