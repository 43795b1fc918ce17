// Package template expands a pipeline's root file, with the templates it names, into one tree: compile-time expressions
// are evaluated, directives followed, parameters given their types, and what comes from other files is put in place.
//
// What it returns holds no ${{ }} any more, but is not checked against the schema: that a step is a step is seen to by
// package pipeline, which finds in every node where it was written. Of the schema it knows only where templates may be
// named, where expressions may stand, and what a file of templates may hold; see table.go.
//
// It is pure but for its [Source], and bounded: in files, their nesting and size, in nodes made, and in the work of
// expressions.
package template

import (
	"context"
	"errors"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// ErrNoFile is what errors of a Source must be, for errors.Is, when the file, repository or ref is not there.
var ErrNoFile = errors.New("no such file")

// Source is where files come from.
type Source interface {
	// File returns a file by its slash-separated path from the root of a repository. Errors: [ErrNoFile]; of all others
	// the text is shown.
	File(ctx context.Context, repo Repository, path string) ([]byte, error)
}

// Self is the alias of the repository that the root file stands in.
const Self = "self"

// Repository is a repository resource, evaluated: of self only the alias is known.
type Repository struct {
	Pos      yaml.Pos
	Alias    string
	Type     string
	Name     string
	Ref      string
	Endpoint string
}

// Options say what to expand, and with what.
type Options struct {
	Source Source
	File   string // the root file, from the root of its repository

	// Parameters are values for parameters of the root file; their positions are quoted in errors.
	Parameters *yaml.Node // a mapping; nil: none
	// Variables are those that ${{ variables }} knows before the root file says anything: the predefined ones that are
	// there when a run is made, and those given when it was started.
	Variables []Variable
	// Normal brings a value of a parameter of type step, job, deployment or stage, or of an item of their lists, into its
	// normal form, which is what templates see of it: a script is a task with inputs. The value is expanded. nil: as it is.
	// typ is "step", "job", "deployment" or "stage". Errors should be *yaml.Error or yaml.Errors.
	Normal func(typ string, value *yaml.Node) (*yaml.Node, error)

	Limits Limits // zero fields: the defaults
}

// Limits bound an expansion.
type Limits struct {
	Files int // different ones: 100
	Depth int // of templates in templates: 20
	Bytes int // of all files: 10 MB
	Nodes int // made: 500,000
	Work  int // bytes of text made and looked at by expressions: 256 MiB
}

// Variable is a variable that is known from the beginning.
type Variable struct {
	Name, Value string
	From        string // where it comes from, for people: "predefined", "given when the run was started"
}

// Result is an expanded pipeline.
type Result struct {
	// Root is a mapping with the keys of the root file in their order; instead of extends, those of the template that it
	// extends. parameters is as it was written; variables stay a sequence or a mapping.
	// A scalar that an expression made has the Type of its value, and the value's text: "True", "1.5", "".
	Root *yaml.Node

	Parameters   []Parameter  // of the root file
	Repositories []Repository // of the resources, without self
	Files        []string     // read, each once, the root first: "azure-pipelines.yml", "templates/build.yml@shared"
	Variables    []Definition // every definition that expansion came across, in order
	Warnings     []*yaml.Error
}

// Parameter is a parameter of the root file.
type Parameter struct {
	Pos         yaml.Pos
	Name        string
	DisplayName string
	Type        string     // "string" if nothing was said
	Default     *yaml.Node // nil: none
	Values      []string   // allowed ones; nil: any
	Value       *yaml.Node // what it had in this expansion
}

// Definition is a place that gives a variable its value, or the group that may.
type Definition struct {
	Pos     yaml.Pos   // of the value, as it is written; of a group's name
	Name    string     // of the variable; empty for a group
	Group   string     // empty for a variable
	Value   string     // as it was expanded; $( ) and $[ ] are as they were written
	Written string     // the text in the file; differs from Value where expressions are in it
	Scope   []string   // where it holds: nil for the whole pipeline; "stage Build"; "stage Build", "job Test"
	Via     []yaml.Pos // the template references that led there, the outermost first
	Uses    []string   // "variables.a", "parameters.b": what its expressions name
}
