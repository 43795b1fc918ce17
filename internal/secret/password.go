package secret

import (
	"context"
	"crypto/rand"
	"math/big"
	"strings"

	"github.com/sekisho/sekisho/internal/iam"
)

// PasswordRules say what a random password is made of.
type PasswordRules struct {
	Length    int    // 1 to 4096; 0: 32
	Exclude   string // characters
	NoNumbers bool
	NoPunct   bool
	NoUpper   bool
	NoLower   bool
	Space     bool
	// AnyMix lets types of characters be missing that are included.
	AnyMix bool
}

const (
	defaultPassword = 32
	maxPassword     = 4096
)

// Password returns a random password. Errors: *iam.DeniedError; an [*Error] of kind InvalidParameter where the rules leave
// nothing.
func (s *Store) Password(ctx context.Context, c *iam.Caller, r PasswordRules) (Value, error) {
	if err := s.anywhere(ctx, c, "GetRandomPassword"); err != nil {
		return Value{}, err
	}
	if r.Length == 0 {
		r.Length = defaultPassword
	}
	if r.Length < 0 || r.Length > maxPassword {
		return Value{}, errorf(InvalidParameter, "The password length must be between 1 and %d.", maxPassword)
	}
	var all strings.Builder
	var types []string
	for _, t := range []struct {
		without bool
		chars   string
	}{
		{r.NoLower, "abcdefghijklmnopqrstuvwxyz"}, {r.NoUpper, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}, {r.NoNumbers, "0123456789"},
		{r.NoPunct, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"}, {!r.Space, " "},
	} {
		if t.without {
			continue
		}
		left := strings.Map(func(c rune) rune {
			if strings.ContainsRune(r.Exclude, c) {
				return -1
			}
			return c
		}, t.chars)
		if left != "" {
			types = append(types, left)
			all.WriteString(left)
		}
	}
	if len(types) == 0 {
		return Value{}, errorf(InvalidParameter, "The rules leave no characters to make a password of.")
	}
	if r.AnyMix {
		return Text(randomText(r.Length, all.String())), nil
	}
	if r.Length < len(types) {
		return Value{}, errorf(InvalidParameter, "Password length is too short based on the required types.")
	}
	// One of each type, the rest of any, then mixed.
	password := []byte(randomText(r.Length-len(types), all.String()))
	for _, t := range types {
		password = append(password, randomText(1, t)[0])
	}
	for i := len(password) - 1; i > 0; i-- {
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(i+1))) // never fails
		j := n.Int64()
		password[i], password[j] = password[j], password[i]
	}
	return Text(string(password)), nil
}
