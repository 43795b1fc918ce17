package config

import (
	"encoding"
	"reflect"
	"strings"
)

// field is one setting of a Config.
type field struct {
	key   string // gc.interval
	flag  string // name of a flag of its own, "" for most
	value reflect.Value
}

func (f *field) secret() bool { return f.value.Type() == reflect.TypeFor[Secret]() }

// env returns the name of the field's environment variable.
func (f *field) env() string { return envPrefix + strings.ToUpper(strings.ReplaceAll(f.key, ".", "_")) }

const (
	envPrefix  = "SEKISHO_"
	fileSuffix = "_file" // after the key of a secret: the file that holds it
)

// fields returns the settings of c in the order of their declaration.
func fields(c *Config) []*field {
	return appendFields(nil, "", reflect.ValueOf(c).Elem())
}

func appendFields(list []*field, prefix string, v reflect.Value) []*field {
	for sf, fv := range v.Fields() {
		key := prefix + sf.Tag.Get("yaml")
		if isGroup(sf.Type) {
			list = appendFields(list, key+".", fv)
			continue
		}
		list = append(list, &field{key: key, flag: sf.Tag.Get("flag"), value: fv})
	}
	return list
}

// isGroup reports whether t holds settings, rather than being one.
func isGroup(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// isRecords reports whether a setting of type t is a list of groups.
func isRecords(t reflect.Type) bool { return isList(t) && isGroup(t.Elem()) }

// suggest returns the one of names that unknown is likely to mean, or "".
func suggest(unknown string, names []string) string {
	best, bestDistance := "", max(1, len(unknown)/3)+1
	for _, name := range names {
		if d := distance(unknown, name); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	if best != "" {
		return best
	}
	for _, name := range names { // the right name in the wrong place
		if strings.HasSuffix(name, "."+unknown) || strings.HasSuffix(unknown, "."+name) {
			return name
		}
	}
	return ""
}

// distance is the number of single-character edits between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
