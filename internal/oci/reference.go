// Package oci holds the pure types of the OCI distribution and image specifications that the registry needs to
// judge what a client sent: names, tags, digests, references, manifests and upload ranges. It does no I/O, keeps the
// bytes it was given as they are, and never converts one manifest format into another.
package oci

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Limits on names. A repository name is 2 to 256 characters as ECR has it; a tag at most 128 (distribution-spec,
// "Pulling manifests").
const (
	MinName = 2
	MaxName = 256
	MaxTag  = 128
)

// CheckName reports why name is no repository name, or nil.
//
// The grammar is distribution-spec's ("Pulling manifests"):
// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*
func CheckName(name string) error {
	if len(name) < MinName || len(name) > MaxName {
		return fmt.Errorf("repository name %s must have %d to %d characters, it has %d", quote(name), MinName, MaxName, len(name))
	}
	first, _, _ := strings.Cut(name, "/")
	if IsAccount(first) {
		return fmt.Errorf("repository name %s must not start with 12 digits: such a first component names an account", quote(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if !isComponent(part) {
			return fmt.Errorf("repository name %s: component %s must be lower-case letters and digits, joined by one '.', one or two '_', or any number of '-'", quote(name), quote(part))
		}
	}
	return nil
}

func isComponent(s string) bool {
	if s == "" || !isAlnum(s[0]) || !isAlnum(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if isAlnum(s[i]) {
			i++
			continue
		}
		start := i
		for i < len(s) && s[i] == s[start] {
			i++
		}
		if !isAlnum(s[i]) { // s ends in an alphanumeric, so i is in range
			return false
		}
		switch n := i - start; s[start] {
		case '.':
			if n > 1 {
				return false
			}
		case '_':
			if n > 2 {
				return false
			}
		case '-':
		default:
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// IsAccount reports whether s is an account: 12 digits.
func IsAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// CheckTag reports why tag is no tag, or nil. Grammar: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func CheckTag(tag string) error {
	if tag == "" || len(tag) > MaxTag {
		return fmt.Errorf("tag %s must have 1 to %d characters, it has %d", quote(tag), MaxTag, len(tag))
	}
	for i := range len(tag) {
		c := tag[i]
		ok := isAlnum(c) || 'A' <= c && c <= 'Z' || c == '_' || i > 0 && (c == '.' || c == '-')
		if !ok {
			return fmt.Errorf("tag %s must be letters, digits, '_', and after the first character '.' and '-'", quote(tag))
		}
	}
	return nil
}

// ParseDigest reads a digest in the two algorithms the registry keeps, sha256 and sha512.
func ParseDigest(s string) (digest.Digest, error) {
	algorithm, hex, ok := strings.Cut(s, ":")
	if !ok {
		return "", fmt.Errorf("digest %s must be an algorithm, a colon and hexadecimal digits", quote(s))
	}
	var want int
	switch digest.Algorithm(algorithm) {
	case digest.SHA256:
		want = 64
	case digest.SHA512:
		want = 128
	default:
		return "", fmt.Errorf("digest %s: algorithm %s is not supported, use sha256 or sha512", quote(s), quote(algorithm))
	}
	if len(hex) != want {
		return "", fmt.Errorf("digest %s: %s has %d hexadecimal digits, not %d", quote(s), algorithm, want, len(hex))
	}
	for i := range len(hex) {
		if c := hex[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("digest %s: only the digits 0-9 and a-f are allowed after the colon", quote(s))
		}
	}
	return digest.Digest(s), nil
}

// Reference is a tag or a digest; exactly one is set.
type Reference struct {
	Tag    string
	Digest digest.Digest
}

// ParseReference reads what follows /manifests/ in a path: a digest if it has a colon, else a tag.
func ParseReference(s string) (Reference, error) {
	if strings.Contains(s, ":") {
		d, err := ParseDigest(s)
		return Reference{Digest: d}, err
	}
	return Reference{Tag: s}, CheckTag(s)
}

// String is the tag or the digest.
func (r Reference) String() string {
	if r.Tag != "" {
		return r.Tag
	}
	return string(r.Digest)
}

// quote shows a client's string in an error: short, and with nothing unprintable in it.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return fmt.Sprintf("%q", s)
}
