package worker

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sekisho/sekisho/internal/agent/mask"
	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline/macro"
)

// scope is the variables of a job. Names are compared without regard to case. It may be used concurrently.
type scope struct {
	masker *mask.Masker

	mu       sync.Mutex
	order    []string // names in lower case
	raw      map[string]work.Variable
	expanded map[string]work.Variable
}

func newScope(m *mask.Masker) *scope {
	return &scope{masker: m, raw: map[string]work.Variable{}, expanded: map[string]work.Variable{}}
}

// readOnlyError is a variable that may not be set.
type readOnlyError struct{ name string }

func (e *readOnlyError) Error() string {
	return fmt.Sprintf("the variable %s is read-only: it keeps its value", e.name)
}

// set sets a variable. One that was a secret stays one. Errors: [*readOnlyError], [mask.ErrTooMany].
func (s *scope) set(v work.Variable) error {
	key := strings.ToLower(v.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expanded[key].ReadOnly {
		return &readOnlyError{v.Name}
	}
	return s.put(key, v)
}

// define sets a variable whatever it was: it is for those of the agent itself.
func (s *scope) define(v work.Variable) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(strings.ToLower(v.Name), v)
}

func (s *scope) put(key string, v work.Variable) error {
	if v.Name == "" {
		return fmt.Errorf("a variable has no name")
	}
	if old, ok := s.expanded[key]; ok {
		v.Secret = v.Secret || old.Secret
	} else {
		s.order = append(s.order, key)
	}
	if v.Secret {
		if err := s.masker.Add(v.Value); err != nil {
			return err
		}
	}
	s.raw[key], s.expanded[key] = v, v
	return nil
}

func (s *scope) get(name string) (work.Variable, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.expanded[strings.ToLower(name)]
	return v, ok
}

func (s *scope) value(name string) string {
	v, _ := s.get(name)
	return v.Value
}

func (s *scope) is(name string) bool { return strings.EqualFold(s.value(name), "true") }

// all returns the variables, expanded, in the order in which they were first set.
func (s *scope) all() []work.Variable {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]work.Variable, 0, len(s.order))
	for _, key := range s.order {
		all = append(all, s.expanded[key])
	}
	return all
}

// expand replaces macros in a text once; what they bring in is not looked at again, and unknown ones stay.
func (s *scope) expand(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return macro.Expand(text, func(name string) (string, bool) {
		v, ok := s.expanded[strings.ToLower(name)]
		return v.Value, ok
	})
}

// maxValue bounds what macros may make of one value, in bytes: they can double it at each level.
const maxValue = 10 << 20

// maxMacros bounds how many macros are replaced for one value.
const maxMacros = 2000

// expandAll replaces macros in the values of all variables, recursively. A variable that gets a secret's value is a secret.
// It returns warnings: values that name themselves, or nest too deep, stay as they are.
func (s *scope) expandAll() (warnings []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range s.order {
		v := s.raw[key]
		if !strings.Contains(v.Value, "$(") {
			s.expanded[key] = v
			continue
		}
		e := expansion{raw: s.raw}
		value := e.text(v.Value, []string{key})
		if e.problem != "" {
			warnings = append(warnings, fmt.Sprintf("The variable %s %s: its macros are not replaced.", v.Name, e.problem))
			s.expanded[key] = v
			continue
		}
		v.Value, v.Secret = value, v.Secret || e.secret
		if v.Secret {
			if err := s.masker.Add(value); err != nil {
				return warnings, err
			}
		}
		s.expanded[key] = v
	}
	return warnings, nil
}

type expansion struct {
	raw     map[string]work.Variable
	secret  bool
	problem string
	size    int // bytes that were brought in
	count   int // macros that were replaced
}

func (e *expansion) text(text string, path []string) string {
	return macro.Expand(text, func(name string) (string, bool) {
		key := strings.ToLower(name)
		v, ok := e.raw[key]
		switch {
		case !ok || e.problem != "":
			return "", false
		case e.count >= maxMacros:
			e.problem = "has too many macros"
			return "", false
		case slices.Contains(path, key):
			e.problem = "names itself"
			return "", false
		case len(path) == macro.MaxDepth:
			e.problem = fmt.Sprintf("nests variables deeper than %d", macro.MaxDepth)
			return "", false
		}
		e.secret = e.secret || v.Secret
		value := e.text(v.Value, append(path[:len(path):len(path)], key))
		e.count++
		if e.size += len(value); e.size > maxValue {
			e.problem = "gets too long"
			return "", false
		}
		return value, true
	})
}

// envName is the name under which a variable stands in the environment.
func envName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '.' || r == ' ' || r == '=' || r == 0:
			return '_'
		}
		return r
	}, strings.ToUpper(name))
}
