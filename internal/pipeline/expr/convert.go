package expr

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ConvertError is a conversion that the language does not have.
type ConvertError struct {
	From, To Kind
	Value    string // as it is written in an expression; hidden by [Context.Mask]
}

func (e *ConvertError) Error() string {
	return fmt.Sprintf("Unable to convert from %s to %s. Value: %s", e.From, e.To, e.Value)
}

func convertError(v Value, to Kind) error {
	return &ConvertError{From: v.kind, To: to, Value: v.literal()}
}

// literal is v as messages quote it.
func (v Value) literal() string {
	switch v.kind {
	case KindString:
		text := v.text
		if utf8.RuneCountInString(text) > 100 {
			text = string([]rune(text)[:100]) + "…"
		}
		return quote(text)
	case KindVersion:
		return "v" + v.ref.(version).String()
	case KindDate:
		return "(DateTime)" + v.ref.(time.Time).Format(dateLayout)
	case KindNull, KindArray, KindObject:
		return v.kind.String()
	}
	s, _ := v.ToString()
	return s
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// dateLayout is how dates become text.
const dateLayout = "2006-01-02 15:04:05-07:00"

// ToBool converts to a boolean: null, zero and the empty string are false, all else is true.
func (v Value) ToBool() bool {
	switch v.kind {
	case KindNull:
		return false
	case KindBool:
		return v.number != 0
	case KindNumber:
		return v.text != "0"
	case KindString:
		return v.text != ""
	}
	return true
}

// ToNumber converts to a number. Errors: [*ConvertError].
func (v Value) ToNumber() (float64, error) {
	n, ok := v.toNumber()
	if !ok {
		return 0, convertError(v, KindNumber)
	}
	return n.number, nil
}

func (v Value) toNumber() (Value, bool) {
	switch v.kind {
	case KindNumber:
		return v, true
	case KindNull:
		return Value{kind: KindNumber, text: "0"}, true
	case KindBool:
		return Number(v.number), true
	case KindString:
		if v.text == "" {
			return Value{kind: KindNumber, text: "0"}, true
		}
		text, ok := parseDecimal(v.text, true)
		if !ok {
			return Value{}, false
		}
		return number(text), true
	}
	return Value{}, false
}

// ToString converts to a string. Arrays and objects have none. Errors: [*ConvertError].
func (v Value) ToString() (string, error) {
	s, ok := v.toString()
	if !ok {
		return "", convertError(v, KindString)
	}
	return s, nil
}

func (v Value) toString() (string, bool) {
	switch v.kind {
	case KindNull:
		return "", true
	case KindBool:
		if v.number != 0 {
			return "True", true
		}
		return "False", true
	case KindNumber:
		return formatNumber(v.text), true
	case KindString:
		return v.text, true
	case KindVersion:
		return v.ref.(version).String(), true
	case KindDate:
		return v.ref.(time.Time).Format(dateLayout), true
	}
	return "", false
}

func (v Value) toVersion() (version, bool) {
	switch v.kind {
	case KindVersion:
		return v.ref.(version), true
	case KindNumber, KindString:
		s, _ := v.toString()
		return parseVersion(s)
	}
	return version{}, false
}

func (v Value) toDate() (time.Time, bool) {
	switch v.kind {
	case KindDate:
		return v.ref.(time.Time), true
	case KindString:
		return parseDate(v.text)
	}
	return time.Time{}, false
}

// Equal reports whether a equals b, which is converted to what a is; a conversion that fails makes them differ.
// Arrays and objects equal only themselves.
func Equal(a, b Value) bool {
	switch a.kind {
	case KindNull:
		return b.kind == KindNull || b.kind == KindString && b.text == ""
	case KindBool:
		return a.ToBool() == b.ToBool()
	case KindNumber:
		n, ok := b.toNumber()
		return ok && compareNumbers(a, n) == 0
	case KindVersion:
		w, ok := b.toVersion()
		return ok && a.ref.(version) == w
	case KindDate:
		t, ok := b.toDate()
		return ok && a.ref.(time.Time).Equal(t)
	case KindString:
		s, ok := b.toString()
		return ok && compareText(a.text, s) == 0
	}
	return a.kind == b.kind && a.ref == b.ref
}

// Compare orders a and b, which is converted to what a is; null, arrays and objects on the left are first converted to
// a number. Errors: [*ConvertError].
func Compare(a, b Value) (int, error) {
	switch a.kind {
	case KindNull, KindArray, KindObject:
		n, ok := a.toNumber()
		if !ok {
			return 0, convertError(a, KindNumber)
		}
		a = n
	}
	switch a.kind {
	case KindBool:
		x, y := a.ToBool(), b.ToBool()
		switch {
		case x == y:
			return 0, nil
		case y:
			return -1, nil
		}
		return 1, nil
	case KindVersion:
		w, ok := b.toVersion()
		if !ok {
			return 0, convertError(b, KindVersion)
		}
		return a.ref.(version).compare(w), nil
	case KindDate:
		t, ok := b.toDate()
		if !ok {
			return 0, convertError(b, KindDate)
		}
		return a.ref.(time.Time).Compare(t), nil
	case KindString:
		s, ok := b.toString()
		if !ok {
			return 0, convertError(b, KindString)
		}
		return compareText(a.text, s), nil
	}
	n, ok := b.toNumber()
	if !ok {
		return 0, convertError(b, KindNumber)
	}
	return compareNumbers(a, n), nil
}

// compareText orders strings by their characters in upper case.
func compareText(a, b string) int {
	for a != "" && b != "" {
		x, n := utf8.DecodeRuneInString(a)
		y, m := utf8.DecodeRuneInString(b)
		a, b = a[n:], b[m:]
		if x == y {
			continue
		}
		if x, y = unicode.ToUpper(x), unicode.ToUpper(y); x != y {
			if x < y {
				return -1
			}
			return 1
		}
	}
	switch {
	case a != "":
		return 1
	case b != "":
		return -1
	}
	return 0
}

// fold maps a string such that strings which are equal regardless of case become equal.
func fold(s string) string { return strings.Map(unicode.ToUpper, s) }
