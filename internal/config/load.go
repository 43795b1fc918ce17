package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Options say where Load looks.
type Options struct {
	File  string   // a YAML file; when empty, what SEKISHO_CONFIG names, if anything
	Env   []string // as os.Environ returns it
	Flags *Flags   // nil: none
	// Check, unless nil, looks for what this package can't judge, such as policies, once
	// nothing else is wrong. What it reports is refused like the rest.
	Check func(c *Config, report func(key string, err error))
}

// Loaded is a configuration and where it came from.
type Loaded struct {
	Config   Config
	Settings []Setting // all, in the order of the manual
	Warnings []string  // sentences
}

// Setting is the effective value of one setting.
type Setting struct {
	Key    string `json:"key" yaml:"key"`
	Value  string `json:"value" yaml:"value"`   // secrets masked
	Origin string `json:"origin" yaml:"origin"` // file:line, environment variable, flag, or "default"
}

// Problem is a reason to refuse a configuration.
type Problem struct {
	Origin string // as in Setting
	Key    string // "" when it is no setting's
	Text   string // what is wrong and what to do
}

func (p Problem) String() string {
	s := p.Origin
	for _, part := range []string{p.Key, p.Text} {
		if part != "" && s != "" {
			s += ": "
		}
		s += part
	}
	return s
}

// Error is everything that is wrong with a configuration.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// assignment is what a source says about a setting.
type assignment struct {
	key    string   // of the setting, or with _file added
	texts  []string // several only where the source can say a list
	list   bool     // texts is one; else texts[0] is the text of whatever it is
	node   *node    // in a file, of a list of groups; else its text is in texts
	origin string
}

// Load reads and validates the configuration. A refusal is an *Error; Loaded is then
// as far as it could be read. Other errors are those of reading the file.
func Load(o Options) (*Loaded, error) {
	l := &loader{Loaded: Loaded{Config: Default()}, origins: map[string]string{}, byKey: map[string]*field{}, secretFiles: map[string]string{}}
	l.fields = fields(&l.Config)
	for _, f := range l.fields {
		l.byKey[f.key] = f
		l.origins[f.key] = "default"
	}
	env := map[string]string{}
	for _, kv := range o.Env {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, envPrefix) && !strings.HasPrefix(name, envAgent) && !strings.HasPrefix(name, envCapability) {
			env[name] = value
		}
	}
	if o.File == "" {
		o.File = env[envConfig]
	}
	if o.File != "" {
		text, err := readLimited(o.File, maxFile)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		l.file = o.File
		l.apply(l.readYAML(o.File, text))
	}
	l.apply(l.readEnv(env))
	if o.Flags != nil {
		l.apply(o.Flags.given)
	}
	if len(l.problems) == 0 { // what is only half read would be blamed for what was not
		l.derive()
		l.validate()
		if len(l.problems) == 0 && o.Check != nil {
			o.Check(&l.Config, l.checkErr)
			l.sort()
		}
	}
	for _, f := range l.fields {
		l.Settings = append(l.Settings, Setting{Key: f.key, Value: format(f.value), Origin: l.origins[f.key]})
	}
	if len(l.problems) > 0 {
		return &l.Loaded, &Error{l.problems}
	}
	return &l.Loaded, nil
}

const (
	envConfig     = envPrefix + "CONFIG"
	envAgent      = envPrefix + "AGENT_"      // is for agents
	envCapability = envPrefix + "CAPABILITY_" // likewise
	maxFile       = 1 << 20
	maxSecretFile = 64 << 10
)

type loader struct {
	Loaded
	fields  []*field
	byKey   map[string]*field
	origins map[string]string // by key

	file        string            // the configuration's, "" for none
	secretFiles map[string]string // that secrets were read from, by key
	problems    []Problem
}

func (l *loader) problem(origin, key, format string, args ...any) {
	l.problems = append(l.problems, Problem{origin, key, fmt.Sprintf(format, args...)})
}

// find returns the field that key sets, and whether it names a file.
func (l *loader) find(key string) (f *field, file bool) {
	if f := l.byKey[key]; f != nil {
		return f, false
	}
	if base, ok := strings.CutSuffix(key, fileSuffix); ok {
		if f := l.byKey[base]; f != nil && f.secret() {
			return f, true
		}
	}
	return nil, false
}

// names returns every key that find finds.
func (l *loader) names() []string {
	var names []string
	for _, f := range l.fields {
		names = append(names, f.key)
		if f.secret() {
			names = append(names, f.key+fileSuffix)
		}
	}
	return names
}

// apply takes over what one source says.
func (l *loader) apply(source []assignment) {
	said := map[*field]string{} // the key it was said with
	for _, a := range source {
		f, file := l.find(a.key)
		if f == nil {
			l.problem(a.origin, "", "unknown setting %q%s", a.key, didYouMean(suggest(a.key, l.names())))
			continue
		}
		if before, ok := said[f]; ok && before != a.key {
			l.problem(a.origin, a.key, "%s is given as well: remove one of them", before)
			continue
		}
		said[f] = a.key
		if isRecords(f.value.Type()) {
			l.origins[f.key] = a.origin
			l.setRecords(f, a)
			continue
		}
		if err := set(f, file, a); err != nil {
			l.problem(a.origin, a.key, "%v", err)
			continue
		}
		if file {
			l.secretFiles[f.key] = a.texts[0]
		}
		l.origins[f.key] = a.origin
	}
}

func set(f *field, file bool, a assignment) error {
	switch {
	case isList(f.value.Type()):
		if !a.list {
			a.texts = splitList(a.texts[0])
		}
		return setList(f.value, a.texts)
	case a.list:
		return errors.New("one value is expected, not a list")
	case file:
		text, err := readLimited(a.texts[0], maxSecretFile)
		if err != nil {
			return err
		}
		secret := strings.TrimRight(string(text), "\r\n")
		if secret == "" {
			return fmt.Errorf("%s is empty", a.texts[0])
		}
		return setScalar(f.value, secret)
	default:
		return setScalar(f.value, a.texts[0])
	}
}

// readEnv reads the variables of settings. Others may be somebody else's, as those
// that Kubernetes makes for a service of this name, so they are not refused; one that
// looks like a slip is worth a word.
func (l *loader) readEnv(env map[string]string) []assignment {
	var source []assignment
	known := []string{envConfig}
	for _, key := range l.names() {
		name := (&field{key: key}).env()
		known = append(known, name)
		if value, ok := env[name]; ok {
			source = append(source, assignment{key: key, texts: []string{value}, origin: name})
		}
	}
	for name := range env {
		if slices.Contains(known, name) {
			continue
		}
		best := suggest(name, known)
		if best != "" && distance(name, best) <= 2 {
			l.Warnings = append(l.Warnings, fmt.Sprintf("%s is no setting%s", name, didYouMean(best)))
		}
	}
	slices.Sort(l.Warnings)
	return source
}

func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", name)
}

func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is over %s", name, Bytes(limit))
	}
	return text, nil
}
