package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"github.com/sekisho/sekisho/internal/api"
)

// outputFormat is the value of --output.
type outputFormat string

const (
	asTable outputFormat = "table"
	asJSON  outputFormat = "json"
	asYAML  outputFormat = "yaml"
)

// Set implements [pflag.Value].
func (f *outputFormat) Set(s string) error {
	switch of := outputFormat(s); of {
	case asTable, asJSON, asYAML:
		*f = of
		return nil
	}
	return fmt.Errorf("%q is none of table, json, yaml", s)
}

func (f *outputFormat) String() string {
	if *f == "" {
		return string(asTable)
	}
	return string(*f)
}

// Type implements [pflag.Value].
func (f *outputFormat) Type() string { return "format" }

// table is what people read.
type table struct {
	header []string // nil: none
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes v as the user wants it: in JSON or YAML as it is, with the names of its json tags, or as a table.
func (c *cli) print(cmd *cobra.Command, v any, t *table) error {
	w := cmd.OutOrStdout()
	switch c.output {
	case asJSON:
		text, err := api.Marshal(v)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := json.Indent(&b, text, "", "  "); err != nil {
			return err
		}
		_, err = w.Write(b.Bytes())
		return err
	case asYAML:
		return printYAML(w, v)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if t.header != nil {
		fmt.Fprintln(tw, strings.Join(t.header, "\t"))
	}
	for _, row := range t.rows {
		line := ""
		for i, cell := range row {
			if i > 0 {
				line += "\t"
			}
			line += plain(cell)
		}
		fmt.Fprintln(tw, line)
	}
	return tw.Flush()
}

// printYAML goes through JSON, so that both forms have the same names and order.
func printYAML(w io.Writer, v any) error {
	text, err := api.Marshal(v)
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return err
	}
	blockStyle(&doc)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// blockStyle takes away braces and quotes; the encoder puts quotes where they are needed.
func blockStyle(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode {
		n.Style &^= yaml.FlowStyle
	} else if n.Tag == "!!str" {
		n.Style = 0
	}
	for _, child := range n.Content {
		blockStyle(child)
	}
}

// plain makes a cell of s: what came from a client must not move the cursor, or the columns.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// humanSize is a number of bytes for people.
func humanSize[T int | int64 | float64](n T) string { return humanize.IBytes(uint64(max(n, 0))) }

// timeCell formats a time for a table, "" if it is none.
func timeCell(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// isTerminal reports whether w is one.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// progressOn returns what shows a line of progress on w, if that is a terminal; "" takes the line away.
func progressOn(w io.Writer) func(line string) {
	if !isTerminal(w) {
		return func(string) {}
	}
	return func(line string) { fmt.Fprintf(w, "\r%s\x1b[K", line) }
}
