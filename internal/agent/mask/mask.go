// Package mask takes secrets out of text: each becomes ***, also in the forms in which programs write values (quoted,
// escaped, encoded), and wherever one write ends and the next begins.
//
// Whatever is added is masked from then on, by every Writer of the Masker. Values of fewer than [MinLength] characters are
// not masked: they would take words out of every line, and give themselves away by it. What is written
// grows with the text alone, not with the number of secrets.
//
// It is no scanner: what nobody said is a secret stays, but for passwords in URLs.
package mask

import (
	"errors"
	"strings"
	"sync"
	"unicode/utf8"
)

// MinLength is how many characters a secret must have to be masked.
const MinLength = 6

// Mask is what stands where a secret stood.
const Mask = "***"

// maxBytes bounds what a Masker holds, in bytes of all forms of all secrets.
const maxBytes = 64 << 20

// maxLength bounds one secret, in bytes.
const maxLength = 1 << 20

// ErrTooMany is returned when a Masker can't hold another secret. Whoever meets it must not go on as if it were masked.
var ErrTooMany = errors.New("there are too many secrets, or too long ones, to mask them all")

// Masker knows secrets. It may be used concurrently.
type Masker struct {
	mu    sync.Mutex
	known map[string]bool // forms that are held
	size  int             // bytes of known
	// layers hold the forms, in automatons of falling size, so that adding one secret does not build all anew.
	layers []*automaton
}

// New returns a Masker that knows no secrets yet.
func New() *Masker { return &Masker{known: map[string]bool{}} }

// Add has values masked from here on. A value of several lines is masked line by line as well as encoded as a whole.
// Errors: [ErrTooMany].
func (m *Masker) Add(values ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var add []string
	for _, v := range values {
		if len(v) > maxLength {
			m.grow(add)
			return ErrTooMany
		}
		for _, f := range forms(v) {
			if m.known[f] {
				continue
			}
			if m.size+len(f) > maxBytes {
				m.grow(add)
				return ErrTooMany
			}
			m.known[f] = true
			m.size += len(f)
			add = append(add, f)
		}
	}
	m.grow(add)
	return nil
}

// grow adds a layer, and joins layers until each is less than half as large as the one before it: every form is
// built into an automaton a logarithmic number of times. The slice is made anew, Writers may be reading the old one.
func (m *Masker) grow(patterns []string) {
	if len(patterns) == 0 {
		return
	}
	layers := append([]*automaton(nil), m.layers...)
	for len(layers) > 0 && layers[len(layers)-1].size <= 2*total(patterns) {
		patterns = append(patterns, layers[len(layers)-1].patterns...)
		layers = layers[:len(layers)-1]
	}
	m.layers = append(layers, build(patterns))
}

func total(patterns []string) int {
	n := 0
	for _, p := range patterns {
		n += len(p)
	}
	return n
}

func (m *Masker) current() []*automaton {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.layers
}

// String masks a text that is complete.
func (m *Masker) String(s string) string {
	var b strings.Builder
	w := m.Writer(&b)
	_, _ = w.Write([]byte(s)) // a Builder takes everything
	_ = w.Flush()
	return b.String()
}

// Contains reports whether a text has a secret in it.
func (m *Masker) Contains(s string) bool { return m.String(s) != s }

// short reports whether a value is too short to be masked.
func short(v string) bool { return len(v) < MinLength || utf8.RuneCountInString(v) < MinLength }
