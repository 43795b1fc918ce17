package secret_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/secret"
)

// names lists all pages of a query, on a new store for each, as after a restart.
func (w *world) names(q secret.Query) []string {
	w.t.Helper()
	got := []string{}
	for range 1000 {
		page, next, err := w.open(secret.Outward{}).List(w.t.Context(), root, q)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, x := range page {
			got = append(got, x.Name)
		}
		if next == nil {
			return got
		}
		if len(page) != q.Limit {
			w.t.Fatalf("a page of %d that is not the last", len(page))
		}
		q.After = next
	}
	w.t.Fatal("no end")
	return nil
}

func TestListOrders(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		var want []string
		for _, name := range []string{"b", "a", "C", "d/e", "d-e", "z"} {
			w.create(name, "v")
			want = append(want, name)
			w.advance(36 * time.Hour)
			if name != "C" && name != "z" {
				w.value(want[0], "", "")
			}
		}
		w.put("a", "w", 1)
		for _, limit := range []int{1, 2, 3, 100} {
			for _, c := range []struct {
				by   secret.Sort
				want []string
			}{
				{"", want},
				{secret.ByCreated, want},
				{secret.ByName, []string{"C", "a", "b", "d-e", "d/e", "z"}},
				{secret.ByChanged, []string{"b", "C", "d/e", "d-e", "z", "a"}},
			} {
				if diff := cmp.Diff(c.want, w.names(secret.Query{By: c.by, Limit: limit})); diff != "" {
					t.Errorf("by %q, %d a page: %s", c.by, limit, diff)
				}
				back := slices.Clone(c.want)
				slices.Reverse(back)
				if diff := cmp.Diff(back, w.names(secret.Query{By: c.by, Limit: limit, Descending: true})); diff != "" {
					t.Errorf("by %q backwards, %d a page: %s", c.by, limit, diff)
				}
			}
			if got := w.names(secret.Query{By: secret.ByAccessed, Limit: limit}); len(got) != 6 || got[5] != "b" {
				t.Errorf("by access: %v", got)
			}
		}
		_, next, err := w.List(t.Context(), root, secret.Query{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = w.List(t.Context(), root, secret.Query{Limit: 1, By: secret.ByName, After: next})
		is(t, "another order", err, secret.InvalidCursor)
	})
}

func TestListManyFiltered(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		var want []string
		for i := range 450 { // more than are read at a time
			name := fmt.Sprintf("n%03d", i)
			if i%50 == 7 {
				name = "found/" + name
				want = append(want, name)
			}
			if _, _, err := w.Create(t.Context(), root, secret.Draft{Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, w.names(secret.Query{Limit: 4, Filters: []secret.Filter{{secret.BySecretName, []string{"found/"}}}})); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFilters(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, d := range []secret.Draft{
			{Name: "prod/db", Description: "The Database of orders", Tags: map[string]string{"team": "Blue", "env": "prod"}},
			{Name: "prod/api", Description: "a key for the API", Tags: map[string]string{"team": "red"}},
			{Name: "dev/db", Tags: map[string]string{"owner": "blue-team"}},
			{Name: "gone"},
		} {
			if _, _, err := w.Create(t.Context(), root, d); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := w.Delete(t.Context(), root, "gone", 7, false); err != nil {
			t.Fatal(err)
		}
		f := func(key secret.FilterKey, values ...string) secret.Filter {
			return secret.Filter{Key: key, Values: values}
		}
		for _, c := range []struct {
			filters []secret.Filter
			want    string
		}{
			{nil, "prod/db prod/api dev/db"},
			{[]secret.Filter{f("name", "prod")}, "prod/db prod/api"},
			{[]secret.Filter{f("name", "Prod")}, ""},
			{[]secret.Filter{f("name", "db")}, ""},
			{[]secret.Filter{f("name", "prod/a", "dev")}, "prod/api dev/db"},
			{[]secret.Filter{f("name", "!prod")}, "dev/db"},
			{[]secret.Filter{f("name", "prod", "!prod/a")}, "prod/db"},
			{[]secret.Filter{f("description", "the database")}, "prod/db"},
			{[]secret.Filter{f("description", "KEY")}, "prod/api"},
			{[]secret.Filter{f("description", "atabase")}, ""},
			{[]secret.Filter{f("tag-key", "team")}, "prod/db prod/api"},
			{[]secret.Filter{f("tag-key", "Team")}, ""},
			{[]secret.Filter{f("tag-value", "Bl")}, "prod/db"},
			{[]secret.Filter{f("tag-key", "team"), f("tag-value", "red")}, "prod/api"},
			{[]secret.Filter{f("all", "blue")}, "prod/db dev/db"},
			{[]secret.Filter{f("all", "db ORDERS")}, "prod/db"},
			{[]secret.Filter{f("primary-region", "eu-")}, "prod/db prod/api dev/db"},
			{[]secret.Filter{f("primary-region", "us-")}, ""},
			{[]secret.Filter{f("owning-service", "rds")}, ""},
		} {
			if got := strings.Join(w.names(secret.Query{Limit: 10, Filters: c.filters}), " "); got != c.want {
				t.Errorf("%v: %q, want %q", c.filters, got, c.want)
			}
		}
		if got := w.names(secret.Query{Limit: 10, Deleted: true}); len(got) != 4 {
			t.Errorf("with those that are scheduled for deletion: %v", got)
		}
		for _, bad := range []secret.Filter{f("name"), f("color", "x")} {
			_, _, err := w.List(t.Context(), root, secret.Query{Limit: 1, Filters: []secret.Filter{bad}})
			is(t, fmt.Sprint(bad), err, secret.InvalidParameter)
		}
	})
}
