package blob

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"strings"

	"github.com/opencontainers/go-digest"
)

const maxID = 64

// CheckID returns nil when id can name an upload: 1 to 64 of the characters 0-9, a-z and "-". Such a name is safe in a
// path. Otherwise the error is [ErrInvalid].
func CheckID(id string) error {
	if id == "" || len(id) > maxID || strings.ContainsFunc(id, func(r rune) bool { return !idChar(r) }) {
		return fmt.Errorf("upload id %q: %w", id, ErrInvalid)
	}
	return nil
}

func idChar(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || r == '-'
}

// NewHash returns the hash that digests like d are made with: sha256 or sha512. When d is malformed or of another
// algorithm, the error is [ErrInvalid].
func NewHash(d digest.Digest) (hash.Hash, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w: %w", d, ErrInvalid, err)
	}
	switch d.Algorithm() {
	case digest.SHA256:
		return sha256.New(), nil
	case digest.SHA512:
		return sha512.New(), nil
	}
	return nil, fmt.Errorf("digest %q: algorithm: %w", d, ErrInvalid)
}

// CheckDigest returns nil when h, which has seen all bytes, yields want, and a [*DigestError] otherwise.
func CheckDigest(h hash.Hash, want digest.Digest) error {
	if got := digest.NewDigest(want.Algorithm(), h); got != want {
		return &DigestError{Want: want, Got: got}
	}
	return nil
}

// Fresh returns a part of a key that was never returned before: 26 of the characters 2-7 and a-z, 130 random bits.
func Fresh() string {
	return strings.ToLower(rand.Text())
}
