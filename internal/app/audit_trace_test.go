package app

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

// However much there is to tell, what decided is told, and what is told is JSON.
func TestTraceText(t *testing.T) {
	for _, tt := range []struct {
		name            string
		others, applies int
		limit           int
		want            []string // of what is told
		not             string
	}{
		{"all of it", 3, 1, 10_000, []string{"other 0", "other 2", "applies 0", "conclusion"}, "left out"},
		{"too many others", 1000, 1, 10_000, []string{"applies 0", "conclusion", "not about the request are left out"}, "other 5"},
		{"too many of all", 1000, 1000, 2000, []string{"conclusion", "too long to keep"}, "applies 0"},
		{"no room at all", 1, 1, 10, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trace := &policy.Trace{}
			for i := range tt.others {
				trace.Reasons = append(trace.Reasons, policy.Reason{Statement: "s", Text: fmt.Sprint("other ", i, strings.Repeat(".", 50))})
			}
			for i := range tt.applies {
				trace.Reasons = append(trace.Reasons, policy.Reason{Statement: "s", Applies: true, Text: fmt.Sprint("applies ", i, strings.Repeat(".", 50))})
			}
			trace.Reasons = append(trace.Reasons, policy.Reason{Statement: "s", Text: "conclusion"})
			text, err := traceText(trace, tt.limit)
			if err != nil || len(text) > tt.limit {
				t.Fatalf("%d bytes, %v", len(text), err)
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not told: %s", want, text)
				}
			}
			if tt.not != "" && strings.Contains(text, tt.not) {
				t.Errorf("%q is told", tt.not)
			}
			if text != "" && !json.Valid([]byte(text)) {
				t.Errorf("it is no JSON: %s", text)
			}
		})
	}
}
