// Package command is the logging commands, by which what a step runs talks to its agent: lines with ##vso[area.event …]
// that set variables, log issues, attach files; and lines such as ##[section] that are only shown in another way.
//
// What a command does is up to a [State]; here it is parsed, held against the restrictions of its step and checked.
// A line is hostile input: whoever prints a line of a log may print a command.
package command

import (
	"strings"
)

const prefix = "##vso["

// Command is a logging command.
type Command struct {
	Area, Event string            // in lower case
	Properties  map[string]string // by the name in lower case
	Data        string
}

// Name is what people call it: "task.setvariable".
func (c Command) Name() string { return c.Area + "." + c.Event }

// Parse finds the command of a line. It may stand after other text. Lines that look like a command and are none are
// told apart by the last result.
func Parse(line string) (c Command, ok, almost bool) {
	i := strings.Index(line, prefix)
	if i < 0 {
		return c, false, strings.Contains(line, "##vso")
	}
	info, data, ok := strings.Cut(line[i+len(prefix):], "]")
	if !ok {
		return c, false, true
	}
	name, properties, _ := strings.Cut(info, " ")
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '.' })
	if len(parts) != 2 {
		return c, false, true
	}
	c = Command{Area: strings.ToLower(parts[0]), Event: strings.ToLower(parts[1]), Properties: map[string]string{}, Data: Unescape(data)}
	for p := range strings.SplitSeq(properties, ";") {
		key, value, ok := strings.Cut(p, "=")
		if key = strings.TrimSpace(key); ok && key != "" && value != "" {
			c.Properties[strings.ToLower(key)] = Unescape(value)
		}
	}
	return c, true, false
}

// Unescape takes back what [Escape] did. The percent sign comes last, so that an escaped escape stays one.
func Unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	for _, e := range escapes {
		s = strings.ReplaceAll(s, e.escape, e.sign)
	}
	return strings.ReplaceAll(s, "%AZP25", "%")
}

// Escape makes a text one that may stand in a command.
func Escape(s string) string {
	s = strings.ReplaceAll(s, "%", "%AZP25")
	for _, e := range escapes {
		s = strings.ReplaceAll(s, e.sign, e.escape)
	}
	return s
}

var escapes = []struct{ sign, escape string }{{";", "%3B"}, {"\r", "%0D"}, {"\n", "%0A"}, {"]", "%5D"}}

// Tag says how a line is to be shown.
type Tag string

// The tags that lines may begin with: ##[section]Starting.
const (
	Plain   Tag = ""
	Section Tag = "section"
	Run     Tag = "command"
	Warning Tag = "warning"
	Error   Tag = "error"
	Debug   Tag = "debug"
	Group   Tag = "group"
	End     Tag = "endgroup"
)

// Tagged takes the tag off a line.
func Tagged(line string) (Tag, string) {
	rest, ok := strings.CutPrefix(line, "##[")
	if !ok {
		return Plain, line
	}
	name, text, ok := strings.Cut(rest, "]")
	if !ok {
		return Plain, line
	}
	switch t := Tag(strings.ToLower(name)); t {
	case Section, Run, Warning, Error, Debug, Group, End:
		return t, text
	}
	return Plain, line
}

// String is a line with its tag.
func (t Tag) String(text string) string {
	if t == Plain {
		return text
	}
	return "##[" + string(t) + "]" + text
}
