package meta

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPositional(t *testing.T) {
	for _, tt := range []struct {
		q, want string
		order   []int
	}{
		{`SELECT 1`, `SELECT 1`, nil},
		{`SELECT $1, $2`, `SELECT ?, ?`, nil},
		{`SELECT $2, $1`, `SELECT ?, ?`, []int{1, 0}},
		{`SELECT $1, $1`, `SELECT ?, ?`, []int{0, 0}},
		{`SELECT $10, $2`, `SELECT ?, ?`, []int{9, 1}},
		{`SELECT '$1', "$2", $1`, `SELECT '$1', "$2", ?`, nil},
		{`SELECT 'it''s $1' || $1`, `SELECT 'it''s $1' || ?`, nil},
		{"SELECT $1 -- not $2\n, $2", "SELECT ? \n, ?", nil},
		{`SELECT $1 -- to the end $2`, `SELECT ? `, nil},
		{`SELECT 'open`, `SELECT 'open`, nil},
		{`SELECT $`, `SELECT $`, nil},
		{`SELECT a - $1`, `SELECT a - ?`, nil},
	} {
		got, order := positional(tt.q)
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.q, got, tt.want)
		}
		if diff := cmp.Diff(tt.order, order); diff != "" {
			t.Errorf("%s: order (-want +got):\n%s", tt.q, diff)
		}
	}
}
