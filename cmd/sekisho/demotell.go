package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// teller writes what the demo does for people.
type teller struct {
	w     io.Writer
	color bool
}

// newTeller returns a teller that uses color on a terminal, unless NO_COLOR is set (no-color.org).
func newTeller(w io.Writer, getenv func(string) string) *teller {
	return &teller{w, isTerminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
)

// in returns text in a style, an SGR parameter of ECMA-48.
func (t *teller) in(style, text string) string {
	if !t.color {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (t *teller) say(format string, args ...any) { fmt.Fprintf(t.w, format+"\n", args...) }

// step does something and says what came of it and how long it took.
func (t *teller) step(title string, do func() (string, error)) error {
	const width = 52
	start := time.Now()
	detail, err := do()
	took := duration(time.Since(start))
	if err != nil {
		t.say("%s %s", t.in(red, "✗"), t.in(bold, title))
		return fmt.Errorf("%s: %w", strings.ToLower(title[:1])+title[1:], err)
	}
	t.say("%s %s%s", t.in(green, "✓"), t.in(bold, fmt.Sprintf("%-*s", width, title)), t.in(faint, fmt.Sprintf("%9s", took)))
	t.say("  %s", plain(detail))
	return nil
}

// suggestion is something to try by hand.
type suggestion struct {
	title    string
	commands []string
}

func (t *teller) next(list []suggestion) {
	t.say("\nIt serves until you press Ctrl-C. Try by hand, in another terminal:")
	for _, s := range list {
		t.say("\n%s", t.in(bold, s.title))
		for _, c := range s.commands {
			t.say("  %s", c)
		}
	}
}

func duration(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
