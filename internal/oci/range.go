package oci

import (
	"fmt"
	"strconv"
	"strings"
)

// ContentRange reads the Content-Range of an upload's chunk, "<first>-<last>", both inclusive (distribution-spec,
// "Pushing a blob in chunks"). The RFC 9110 form "bytes <first>-<last>/<size>" is accepted too: some clients send it.
func ContentRange(s string) (first, last int64, err error) {
	bad := func(why string) (int64, int64, error) {
		return 0, 0, fmt.Errorf("Content-Range %s %s; it must be <first>-<last>, such as 0-1023", quote(s), why)
	}
	t := strings.TrimPrefix(s, "bytes ")
	if len(t) < len(s) {
		t, _, _ = strings.Cut(t, "/")
	}
	a, b, ok := strings.Cut(t, "-")
	if !ok {
		return bad("has no '-'")
	}
	if first, ok = decimal(a); !ok {
		return bad("does not start with a number")
	}
	if last, ok = decimal(b); !ok {
		return bad("does not end with a number")
	}
	if last < first {
		return bad("ends before it starts")
	}
	return first, last, nil
}

func decimal(s string) (int64, bool) {
	if s == "" || len(s) > 19 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
