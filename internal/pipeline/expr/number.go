package expr

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Numbers are decimals of the kind that .NET has: 96 bits of mantissa and at most 28 places. They are kept as their
// canonical text, without leading or trailing zeros, beside the float64 nearest to them.

var maxMantissa = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 96), big.NewInt(1))

// number makes a value of a canonical decimal.
func number(text string) Value {
	f, _ := strconv.ParseFloat(text, 64)
	return Value{kind: KindNumber, number: f, text: text}
}

func decimalOf(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "0"
	}
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		if f == 0 {
			return "0"
		}
		return strconv.FormatInt(int64(f), 10)
	}
	if text, ok := parseDecimal(strconv.FormatFloat(f, 'f', -1, 64), false); ok {
		return text
	}
	return strconv.FormatFloat(f, 'f', -1, 64) // beyond the range of decimals
}

// parseDecimal reads a number as literals have it: a sign, digits, a point. Strings that are converted may also have
// white space around them and commas between the digits before the point.
func parseDecimal(s string, loose bool) (canonical string, ok bool) {
	if loose {
		s = strings.Trim(s, "\t\n\v\f\r ")
	}
	negative := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		negative, s = s[0] == '-', s[1:]
	}
	whole := make([]byte, 0, min(len(s), 64))
	var places []byte
	digits, point := false, false
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits = true
			if !point {
				if len(whole) > 0 || c != '0' {
					whole = append(whole, c)
				}
				if len(whole) > 29 {
					return "", false // too big for a decimal
				}
			} else if len(places) < 60 {
				places = append(places, c)
			}
		case c == '.' && !point:
			point = true
		case c == ',' && loose && digits && !point:
		default:
			return "", false
		}
	}
	if !digits {
		return "", false
	}
	for scale := min(len(places), 28); ; scale-- {
		mantissa := roundHalfEven(whole, places, scale)
		if mantissa.CmpAbs(maxMantissa) <= 0 {
			return canonicalDecimal(negative, mantissa.String(), scale), true
		}
		if scale == 0 {
			return "", false
		}
	}
}

// roundHalfEven is whole.places times ten to the power of scale.
func roundHalfEven(whole, places []byte, scale int) *big.Int {
	n, _ := new(big.Int).SetString("0"+string(whole)+string(places[:scale]), 10)
	if rest := strings.TrimRight(string(places[scale:]), "0"); rest != "" {
		if rest[0] > '5' || rest[0] == '5' && (len(rest) > 1 || n.Bit(0) == 1) {
			n.Add(n, big.NewInt(1))
		}
	}
	return n
}

func canonicalDecimal(negative bool, mantissa string, scale int) string {
	if len(mantissa) <= scale {
		mantissa = strings.Repeat("0", scale-len(mantissa)+1) + mantissa
	}
	text := mantissa
	if scale > 0 {
		at := len(mantissa) - scale
		text = strings.TrimRight(mantissa[:at]+"."+mantissa[at:], "0")
		text = strings.TrimSuffix(text, ".")
	}
	if negative && text != "0" {
		text = "-" + text
	}
	return text
}

// formatNumber is the custom format 0.#######: at most seven places, halves rounded away from zero.
func formatNumber(text string) string {
	at := strings.IndexByte(text, '.')
	if at < 0 || len(text)-at-1 <= 7 {
		return text
	}
	negative := text[0] == '-'
	digits := strings.TrimPrefix(text[:at], "-") + text[at+1:at+8]
	n, _ := new(big.Int).SetString(digits, 10)
	if text[at+8] >= '5' {
		n.Add(n, big.NewInt(1))
	}
	return canonicalDecimal(negative, n.String(), 7)
}

// compareNumbers orders two numbers exactly.
func compareNumbers(a, b Value) int {
	switch {
	case a.number < b.number:
		return -1
	case a.number > b.number:
		return 1
	case a.text == b.text:
		return 0
	}
	// The same float64: more digits than it can hold.
	x, ok1 := new(big.Rat).SetString(a.text)
	y, ok2 := new(big.Rat).SetString(b.text)
	if !ok1 || !ok2 {
		return 0
	}
	return x.Cmp(y)
}

// version is two to four numbers; those that are missing are -1, so that 1.2 comes before 1.2.0.
type version [4]int32

func parseVersion(s string) (version, bool) {
	v := version{-1, -1, -1, -1}
	if len(s) > 100 {
		return v, false
	}
	parts := strings.Split(s, ".")
	if len(parts) < 2 || len(parts) > 4 {
		return v, false
	}
	for i, part := range parts {
		part = strings.TrimPrefix(strings.Trim(part, "\t\n\v\f\r "), "+")
		if part == "" || strings.ContainsAny(part, "+-_") {
			return v, false
		}
		n, err := strconv.ParseInt(part, 10, 32)
		if err != nil {
			return v, false
		}
		v[i] = int32(n)
	}
	return v, true
}

func (v version) String() string {
	var b strings.Builder
	for i, n := range v {
		if n < 0 {
			break
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strconv.Itoa(int(n)))
	}
	return b.String()
}

func (v version) compare(w version) int {
	for i := range v {
		if v[i] != w[i] {
			if v[i] < w[i] {
				return -1
			}
			return 1
		}
	}
	return 0
}
