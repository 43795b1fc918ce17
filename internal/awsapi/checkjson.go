package awsapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxDepth  = 32
	maxValues = 50_000
)

var (
	errTruncated = errors.New("it ends too early")
	errTooDeep   = fmt.Errorf("it is nested deeper than %d", maxDepth)
	errTooMany   = fmt.Errorf("it has more than %d values", maxValues)
	errUTF8      = errors.New("it is not valid UTF-8")
	errSurrogate = errors.New("a \\u escape is half of a surrogate pair")
)

// checkJSON finds what encoding/json lets pass and what costs too much: depth, the number of values, duplicate members
// (whatever their case), and text that can't be kept as it is. It takes b for syntactically right, which the decoder that
// follows makes sure of.
func checkJSON(b []byte) error {
	if !utf8.Valid(b) {
		return errUTF8
	}
	// Each open object has the folded names of its members so far; an array has nil.
	var open []map[string]struct{}
	values := 0
	expectKey := false
	for i := 0; i < len(b); {
		switch b[i] {
		case '{', '[':
			if len(open) == maxDepth {
				return errTooDeep
			}
			expectKey = b[i] == '{'
			var members map[string]struct{}
			if expectKey {
				members = map[string]struct{}{}
			}
			open = append(open, members)
			i++
		case '}', ']':
			if len(open) == 0 {
				return errors.New("a bracket closes nothing")
			}
			open = open[:len(open)-1]
			expectKey = false
			i++
		case ',':
			expectKey = len(open) > 0 && open[len(open)-1] != nil
			i++
		case '"':
			end, err := stringEnd(b, i)
			if err != nil {
				return err
			}
			if expectKey {
				if err := addMember(open[len(open)-1], b[i:end]); err != nil {
					return err
				}
				expectKey = false
			}
			i = end
		case ':':
			i++
			continue // no value of its own
		default: // space, numbers and words: none holds a bracket, comma or quote
			i++
			continue
		}
		if values++; values > maxValues {
			return errTooMany
		}
	}
	return nil
}

// stringEnd returns where the string that starts at b[start] ends. Strings can be megabytes long, so it takes the strides
// of bytes.IndexByte, and no byte is looked at more than twice.
func stringEnd(b []byte, start int) (int, error) {
	quote := start
	for i := start + 1; ; {
		if quote < i {
			n := bytes.IndexByte(b[i:], '"')
			if n < 0 {
				return 0, errTruncated
			}
			quote = i + n
		}
		escape := bytes.IndexByte(b[i:quote], '\\')
		if escape < 0 {
			return quote + 1, nil
		}
		i += escape
		if b[i+1] != 'u' { // there is at least the quote
			i += 2
			continue
		}
		n, err := unicodeEscape(b[i:])
		if err != nil {
			return 0, err
		}
		i += n
	}
}

// unicodeEscape returns the length of the \uXXXX that b starts with, or of two that make a surrogate pair.
func unicodeEscape(b []byte) (int, error) {
	first, ok := hex4(b)
	if !ok {
		return 0, errTruncated
	}
	if !utf16.IsSurrogate(first) {
		return 6, nil
	}
	second, ok := hex4(b[6:])
	if !ok || utf16.DecodeRune(first, second) == unicode.ReplacementChar {
		return 0, errSurrogate
	}
	return 12, nil
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func addMember(members map[string]struct{}, quoted []byte) error {
	var name string
	if err := json.Unmarshal(quoted, &name); err != nil {
		return fmt.Errorf("the name of a member: %w", err)
	}
	folded := strings.Map(foldRune, name)
	if _, ok := members[folded]; ok {
		return fmt.Errorf("the member %.64q is there twice", name)
	}
	members[folded] = struct{}{}
	return nil
}

// foldRune maps the runes that encoding/json does not tell apart in names to one of them.
func foldRune(r rune) rune {
	for {
		next := unicode.SimpleFold(r)
		if next <= r {
			return next
		}
		r = next
	}
}
