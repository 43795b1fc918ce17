package flow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline/expr"
)

// MaxInstances is how many instances a job may become.
const MaxInstances = 256

// instances is what a job becomes, and how many of them may run at once (0: all).
func (f *Flow) instances(st *State, j *job) ([]Instance, int, error) {
	display := orElse(j.DisplayName, j.Name)
	if j.Strategy == nil {
		return []Instance{{DisplayName: display, Position: 1, Total: 1}}, 0, nil
	}
	var vars *scope
	var names map[string]expr.Value
	value := func(text string) (string, error) { // most strategies need no variables
		if !strings.Contains(text, "$") {
			return text, nil
		}
		if vars == nil {
			var err error
			if vars, names, err = f.jobScope(st, j, nil); err != nil {
				return "", err
			}
		}
		return f.value(vars, names, text)
	}
	number := func(what, text string, least, most int) (int, error) {
		text, err := value(text)
		if err != nil {
			return 0, fmt.Errorf("%s of job %s: %w", what, j.Name, err)
		}
		if strings.TrimSpace(text) == "" {
			return least, nil
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("%s of job %s is '%s', it must be a number between %d and %d", what, j.Name, shorten(text, 80), least, most)
		}
		return n, nil
	}
	limit, err := number("maxParallel", j.Strategy.MaxParallel, 0, 1<<30)
	if err != nil {
		return nil, 0, err
	}
	if j.Strategy.Parallel != "" {
		n, err := number("parallel", j.Strategy.Parallel, 1, MaxInstances)
		if err != nil {
			return nil, 0, err
		}
		all := make([]Instance, n)
		for i := range all {
			name := fmt.Sprintf("Job%d", i+1)
			all[i] = Instance{Name: name, DisplayName: display + " " + name, Position: i + 1, Total: n}
		}
		return all, limit, nil
	}
	var legs []leg
	if j.Strategy.MatrixExpression != "" {
		text, err := value(j.Strategy.MatrixExpression)
		if err != nil {
			return nil, 0, fmt.Errorf("the matrix of job %s: %w", j.Name, err)
		}
		if legs, err = parseMatrix(text); err != nil {
			return nil, 0, fmt.Errorf("the matrix of job %s: %w", j.Name, err)
		}
	}
	for _, l := range j.Strategy.Matrix {
		parsed := leg{name: l.Name}
		for _, kv := range l.Variables {
			text, err := value(kv.Value)
			if _, runtime := runtimeExpression(kv.Value); !runtime {
				text = kv.Value // macros are the agent's
			} else if err != nil {
				return nil, 0, fmt.Errorf("leg %s of the matrix of job %s: %w", l.Name, j.Name, err)
			}
			parsed.variables = append(parsed.variables, work.Variable{Name: kv.Key, Value: text})
		}
		legs = append(legs, parsed)
	}
	if err := checkLegs(legs); err != nil {
		return nil, 0, fmt.Errorf("the matrix of job %s: %w", j.Name, err)
	}
	all := make([]Instance, len(legs))
	for i, l := range legs {
		for k := range l.variables {
			l.variables[k].From = fmt.Sprintf("leg %s of the matrix of job %s", l.name, j.Name)
		}
		all[i] = Instance{Name: l.name, DisplayName: display + " " + l.name, Position: i + 1, Total: len(legs), Variables: l.variables}
	}
	return all, limit, nil
}

// value is a text that may be $[ ] as a whole, or hold macros.
func (f *Flow) value(vars *scope, names map[string]expr.Value, text string) (string, error) {
	if e, ok := runtimeExpression(text); ok {
		out, secret, err := f.evaluate(vars, e, names)
		if err == nil && secret {
			return "", errSecret // it would be shown
		}
		return out, err
	}
	return f.text(vars, text), nil
}

type leg struct {
	name      string
	variables []work.Variable
}

func checkLegs(legs []leg) error {
	if len(legs) > MaxInstances {
		return fmt.Errorf("it has %d legs, at most %d are possible", len(legs), MaxInstances)
	}
	seen := map[string]bool{}
	for _, l := range legs {
		if !isLegName(l.name) {
			return fmt.Errorf("the leg name '%s' is not possible: "+
				"names begin with a letter, have letters, digits and _, and at most 100 of them", shorten(l.name, 120))
		}
		if low := strings.ToLower(l.name); seen[low] {
			return fmt.Errorf("there are two legs called %s", l.name)
		}
		seen[strings.ToLower(l.name)] = true
	}
	return nil
}

func isLegName(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != "" && len(s) <= 100
}

// parseMatrix reads {"leg": {"variable": "value"}}, keeping the order. An empty text is a matrix without legs.
func parseMatrix(text string) ([]leg, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if len(text) > 1<<20 {
		return nil, errors.New("it is larger than 1 MiB")
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var legs []leg
	err := members(d, func(name string) error {
		l := leg{name: name}
		if len(legs) > MaxInstances {
			return fmt.Errorf("it has more than %d legs", MaxInstances)
		}
		err := members(d, func(key string) error {
			var v any
			if err := d.Decode(&v); err != nil {
				return err
			}
			value, err := scalar(v)
			if err != nil {
				return fmt.Errorf("leg %s, variable %s: %w", name, key, err)
			}
			l.variables = append(l.variables, work.Variable{Name: key, Value: value})
			return nil
		})
		legs = append(legs, l)
		return err
	})
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows its end")
		}
	}
	if err != nil {
		return nil, fmt.Errorf(`it is not JSON of the form {"leg": {"variable": "value"}}: %w. It begins: %s`, err, shorten(text, 80))
	}
	return legs, nil
}

// members calls f for each key of an object; f reads the value.
func members(d *json.Decoder, f func(key string) error) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return errors.New("an object is expected")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return errors.New("a key is expected")
		}
		if err := f(key); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// scalar is a JSON value as a variable has it.
func scalar(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool:
		return capital(v), nil
	case json.Number:
		return v.String(), nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSpace(b.String()), nil
}
