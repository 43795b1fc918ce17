package registry

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/blob"
)

func TestUploadIDs(t *testing.T) {
	ids := uploadIDs{key: bytes.Repeat([]byte("k"), 32), expiry: time.Hour}
	repo := Repo{Account: "111122223333", Name: "a/b"}
	made := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC) // by a clock that is not this machine's
	id, err := ids.make(repo, made)
	if err != nil {
		t.Fatal(err)
	}
	if err := blob.CheckID(id); err != nil {
		t.Errorf("the blob store won't take it: %v", err)
	}
	for _, tc := range []struct {
		name string
		ids  uploadIDs
		repo Repo
		now  time.Time
		ok   bool
	}{
		{"at once", ids, repo, made, true},
		{"at the last moment", ids, repo, made.Add(time.Hour), true},
		{"too late", ids, repo, made.Add(time.Hour + time.Second), false},
		{"clock a little behind", ids, repo, made.Add(-time.Second), true},
		{"another repository", ids, Repo{repo.Account, "a/c"}, made, false},
		{"another account", ids, Repo{"444455556666", repo.Name}, made, false},
		{"account and name joined elsewhere", ids, Repo{repo.Account + "a", "/b"}, made, false},
		{"the key before", uploadIDs{key: bytes.Repeat([]byte("x"), 32), old: [][]byte{ids.key}, expiry: time.Hour}, repo, made, true},
		{"another key", uploadIDs{key: bytes.Repeat([]byte("x"), 32), expiry: time.Hour}, repo, made, false},
	} {
		if err := tc.ids.check(id, tc.repo, tc.now); (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrOf(UploadUnknown)) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if again, err := ids.make(repo, made); err != nil || again == id {
		t.Errorf("made %s twice, %v", again, err)
	}
}

// FuzzUploadID: nobody makes an id but us, and what a client sends harms nothing.
func FuzzUploadID(f *testing.F) {
	ids := uploadIDs{key: bytes.Repeat([]byte("k"), 32), expiry: time.Hour}
	repo := Repo{Account: "111122223333", Name: "a/b"}
	made := uuid.MustParse("0192f0c1-2b3c-7def-8123-456789abcdef") // the same in every process that fuzzes
	id := made.String() + "-" + uploadMAC(ids.key, made.String(), repo)
	now := time.Unix(made.Time().UnixTime())
	f.Add(id)
	f.Add(id[:len(id)-1])
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if err := ids.check(s, repo, now); (err == nil) != (s == id) || err != nil && !errors.Is(err, ErrOf(UploadUnknown)) {
			t.Errorf("check(%q) = %v", s, err)
		}
	})
}
