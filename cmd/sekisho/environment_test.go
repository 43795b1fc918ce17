package main

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseHours(t *testing.T) {
	for _, tt := range []struct {
		text, want string // "" for an error
	}{
		{"Mon-Fri 09:00-17:30 Europe/Berlin", "[Monday Tuesday Wednesday Thursday Friday] 09:00 17:30 Europe/Berlin"},
		{"sat-mon,Wednesday 00:00-24:00", "[Saturday Sunday Monday Wednesday] 00:00 24:00 "},
		{"Mon 9-17", "[Monday] 9 17 "}, // the server says what is wrong with the times
		{"09:00-17:30", ""},
		{"Mon-Fry 09:00-17:30", ""},
		{"Mon 09:00", ""},
		{"Mon, 09:00-10:00", ""},
	} {
		got := ""
		if h, err := parseHours(tt.text); err == nil {
			got = fmt.Sprint(h.Days, " ", h.From, " ", h.To, " ", h.Zone)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.text, diff)
		}
	}
}
