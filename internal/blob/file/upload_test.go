package file

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sekisho/sekisho/internal/blob"
)

func TestRememberedUploadsAreBounded(t *testing.T) {
	table := uploads{known: map[string]*upload{}}
	held, err := table.claim("held")
	if err != nil {
		t.Fatal(err)
	}
	table.grown(held, 7)
	torn, err := table.claim("torn")
	if err != nil {
		t.Fatal(err)
	}
	table.grown(torn, 8)
	torn.torn = true
	table.release(torn)
	for i := range 2 * maxKnown {
		u, err := table.claim(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		table.grown(u, 1)
		table.release(u)
	}
	if len(table.known) > maxKnown {
		t.Errorf("%d uploads are remembered, want at most %d", len(table.known), maxKnown)
	}
	if _, err := table.claim("held"); !errors.Is(err, blob.ErrBusy) {
		t.Errorf("claim of an upload in use = %v, want ErrBusy", err)
	}
	if size, known := table.size("torn"); !known || size != 8 {
		t.Errorf("an upload that must be cut was forgotten")
	}
}

func TestUnknownUploadsAreForgotten(t *testing.T) {
	table := uploads{known: map[string]*upload{}}
	u, err := table.claim("nosuch")
	if err != nil {
		t.Fatal(err)
	}
	table.release(u)
	if len(table.known) != 0 {
		t.Errorf("%d uploads are remembered, want none", len(table.known))
	}
}
