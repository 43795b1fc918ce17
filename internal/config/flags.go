package config

import (
	"errors"
	"strings"

	"github.com/spf13/pflag"
)

// Flags are the settings given on a command line.
type Flags struct {
	given []assignment
}

// AddFlags declares the flags of settings on fs: --set for every one, and a flag of
// its own for those most used.
func AddFlags(fs *pflag.FlagSet) *Flags {
	flags := &Flags{}
	defaults := Default()
	for _, f := range fields(&defaults) {
		if f.flag == "" {
			continue
		}
		usage := "setting " + f.key
		if text := format(f.value); text != "" {
			usage += " (default " + text + ")"
		}
		fs.Var(&flagValue{flags: flags, key: f.key, origin: "--" + f.flag, list: isList(f.value.Type())}, f.flag, usage)
	}
	fs.Var(&flagValue{flags: flags, origin: "--set"}, "set", "any setting, as gc.interval=2h; repeatable")
	return flags
}

// flagValue collects what one flag is given.
type flagValue struct {
	flags  *Flags
	key    string // "": the text names it, key=value
	origin string
	list   bool // repeating the flag adds elements
}

func (v *flagValue) Set(text string) error {
	key, origin := v.key, v.origin
	if key == "" {
		var ok bool
		if key, text, ok = strings.Cut(text, "="); !ok {
			return errors.New("key=value is expected")
		}
		origin += " " + key
	}
	if v.list {
		for i := range v.flags.given {
			if a := &v.flags.given[i]; a.origin == origin {
				a.texts = append(a.texts, splitList(text)...)
				return nil
			}
		}
		v.flags.given = append(v.flags.given, assignment{key: key, texts: splitList(text), list: true, origin: origin})
		return nil
	}
	v.flags.given = append(v.flags.given, assignment{key: key, texts: []string{text}, origin: origin})
	return nil
}

func (v *flagValue) String() string { return "" }

func (v *flagValue) Type() string {
	if v.key == "" {
		return "key=value"
	}
	return "string"
}
