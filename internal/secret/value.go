package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// MaxValue is the most bytes that a value has.
const MaxValue = 65_536

const redacted = "REDACTED"

// Value is what a secret is about: text or bytes. No way of printing shows it.
type Value struct {
	data   []byte
	binary bool
	set    bool
}

// Text returns a value that is text.
func Text(s string) Value { return Value{data: []byte(s), set: true} }

// Binary returns a value that is bytes. It keeps b.
func Binary(b []byte) Value { return Value{data: b, binary: true, set: true} }

// Reveal returns the value. It must not be changed.
func (v Value) Reveal() []byte { return v.data }

// IsBinary reports whether the value is bytes rather than text.
func (v Value) IsBinary() bool { return v.binary }

// IsZero reports whether there is no value.
func (v Value) IsZero() bool { return !v.set }

// equal compares in a time that does not depend on where they differ.
func (v Value) equal(other Value) bool {
	return v.binary == other.binary && subtle.ConstantTimeCompare(v.data, other.data) == 1
}

// Format implements [fmt.Formatter] for every verb.
func (v Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// String implements [fmt.Stringer].
func (v Value) String() string { return redacted }

// MarshalText implements [encoding.TextMarshaler], for JSON and YAML too.
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements [slog.LogValuer].
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }
