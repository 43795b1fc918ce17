package secret

import (
	"crypto/rand"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	maxName   = 512
	maxID     = 2048
	suffixLen = 6
)

var (
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]+$`)
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
)

// validName reports whether a secret can have a name. Its length is not in the pattern, which that would make a large program.
func validName(name string) bool { return len(name) <= maxName && nameForm.MatchString(name) }

var errName = &Error{InvalidName, "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"}

// reference is what a caller names a secret by: a name, an ARN, or an ARN without its last 7 characters.
type reference struct {
	given   string
	account string // whose secret is meant
	name    string // the name; of an ARN, what follows "secret:"
	arn     bool
}

// parseReference reads a SecretId of a caller in an account.
func (s *Store) parseReference(account, id string) (reference, error) {
	r := reference{given: id, account: account, name: id}
	if len(id) == 0 || len(id) > maxID || !utf8.ValidString(id) {
		return r, errName
	}
	if rest, ok := strings.CutPrefix(id, "arn:"); ok {
		parts := strings.SplitN(rest, ":", 6)
		if len(parts) != 6 || parts[0] != "aws" || parts[1] != "secretsmanager" || parts[4] != "secret" || !accountForm.MatchString(parts[3]) {
			return r, errorf(InvalidParameter, "The ARN is not that of a secret.")
		}
		if parts[2] != s.o.Region {
			return r, errNotFound
		}
		r.account, r.name, r.arn = parts[3], parts[5], true
		if len(r.name) > maxName+1+suffixLen || len(r.name) <= maxName && !nameForm.MatchString(r.name) ||
			len(r.name) > maxName && !nameForm.MatchString(r.name[:maxName]) {
			return r, errName
		}
		return r, nil
	}
	if !validName(id) {
		return r, errName
	}
	return r, nil
}

// arn returns the ARN of what stands in r's account under r's name, complete or not.
func (s *Store) arn(account, name string) string {
	return "arn:aws:secretsmanager:" + s.o.Region + ":" + account + ":secret:" + name
}

// newID returns a new id of a secret: account, name and what tells it from those that had the same name before.
func newID(account, name string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	return account + "/" + name + "-" + randomText(suffixLen, alphabet)
}

// splitID returns the account, the name, and the name with what follows it in an ARN.
func splitID(id string) (account, name, full string, ok bool) {
	account, full, ok = strings.Cut(id, "/")
	if !ok || !accountForm.MatchString(account) || len(full) <= 1+suffixLen || full[len(full)-1-suffixLen] != '-' {
		return "", "", "", false
	}
	return account, full[:len(full)-1-suffixLen], full, true
}

// randomText returns n of the characters of an alphabet, each as likely as the others.
func randomText(n int, alphabet string) string {
	limit := byte(256 / len(alphabet) * len(alphabet) % 256) // 0: all
	text := make([]byte, 0, n)
	var b [64]byte
	for len(text) < n {
		_, _ = rand.Read(b[:]) // never fails
		for _, c := range b {
			if (limit == 0 || c < limit) && len(text) < n {
				text = append(text, alphabet[int(c)%len(alphabet)])
			}
		}
	}
	return string(text)
}
