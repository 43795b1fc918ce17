package blob_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
)

func TestCheckID(t *testing.T) {
	for id, ok := range map[string]bool{
		"a":                                    true,
		"0":                                    true,
		"3f0e6ad2-5d3b-4c39-9a4c-0d6f1f5a1b2c": true,
		strings.Repeat("a", 64):                true,
		strings.Repeat("a", 65):                false,
		"":                                     false,
		".":                                    false,
		"..":                                   false,
		"a/b":                                  false,
		"a\\b":                                 false,
		"A":                                    false,
		"a.b":                                  false,
		"a\x00":                                false,
		"é":                                    false,
	} {
		if err := blob.CheckID(id); (err == nil) != ok || err != nil && !errors.Is(err, blob.ErrInvalid) {
			t.Errorf("CheckID(%q) = %v", id, err)
		}
	}
}

func TestNewHash(t *testing.T) {
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		want := alg.FromString("content")
		h, err := blob.NewHash(want)
		if err != nil {
			t.Fatalf("NewHash(%s): %v", want, err)
		}
		h.Write([]byte("content"))
		if err := blob.CheckDigest(h, want); err != nil {
			t.Errorf("CheckDigest: %v", err)
		}
		h.Write([]byte("more"))
		var mismatch *blob.DigestError
		if err := blob.CheckDigest(h, want); !errors.As(err, &mismatch) || mismatch.Got != alg.FromString("contentmore") {
			t.Errorf("CheckDigest with more bytes: %v", err)
		}
	}
	for _, d := range []digest.Digest{
		"",
		"sha256:",
		"sha256:abc",
		"sha256:../../../../../../../../../../../../../../../../../../../../../x",
		"md5:d41d8cd98f00b204e9800998ecf8427e",
		digest.Digest("sha384:" + strings.Repeat("0", 96)),
		digest.Digest("sha256:" + strings.Repeat("A", 64)),
	} {
		if _, err := blob.NewHash(d); !errors.Is(err, blob.ErrInvalid) {
			t.Errorf("NewHash(%q) = %v, want ErrInvalid", d, err)
		}
	}
}
