package iam

import (
	"fmt"
	"io"
	"time"
)

// KeyStatus says whether an access key can be used.
type KeyStatus string

// The statuses of an access key, as AWS spells them.
const (
	KeyActive   KeyStatus = "Active"
	KeyInactive KeyStatus = "Inactive"
)

// Account is an owner of a registry, identities and keys.
type Account struct {
	ID      string // 12 digits
	Created time.Time
}

// AccessKey is a long-lived credential of a principal.
type AccessKey struct {
	ID      string // "AKIA" and 16 letters or digits
	Account string
	ARN     string // the principal that it acts as
	Status  KeyStatus
	Created time.Time

	// Secret is set only in the answer to the creation of the key.
	Secret Secret
}

// Secret is a secret access key. It prints as "REDACTED" whatever the verb, and is marshalled so too, so that it
// reaches no log by accident; Reveal returns it.
type Secret struct{ s string }

const redacted = "REDACTED"

// NewSecret returns s as a Secret.
func NewSecret(s string) Secret { return Secret{s} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return s.s }

// Format implements [fmt.Formatter].
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements [encoding.TextMarshaler].
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
