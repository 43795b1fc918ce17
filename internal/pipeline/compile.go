package pipeline

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/sekisho/sekisho/internal/pipeline/template"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// Options are what a pipeline is compiled with.
type Options struct {
	Parameters *yaml.Node // values of the root file's parameters, a mapping; nil: the defaults
	Variables  []Known    // that ${{ variables }} knows before the file says anything
	Limits     template.Limits
}

// Known is a variable that there is before the file is read: a predefined one, one of the pipeline's settings, or one
// that was given when the run was started.
type Known = template.Variable

// Compile reads a pipeline's root file, a path from the root of its repository, and what it names, and makes a plan.
//
// Errors are *yaml.Error or [yaml.Errors], in the order of files and lines: all that the language refuses. What the
// language has and this product doesn't run is no error here, see [Plan.Unsupported]. An error of another kind is the
// context's.
func Compile(ctx context.Context, source Source, path string, o Options) (*Plan, error) {
	result, err := template.Expand(ctx, template.Options{
		Source: adapter{source}, File: path, Parameters: o.Parameters, Variables: o.Variables, Normal: normalValue, Limits: o.Limits,
	})
	if err != nil {
		return nil, sorted(err, nil)
	}
	b := &builder{}
	b.check(result.Root, schema().pipeline)
	if len(b.errs) > 0 {
		return nil, sorted(yaml.Errors(b.errs), result.Files)
	}
	p := b.plan(normalPipeline(result.Root))
	if len(b.errs) > 0 {
		return nil, sorted(yaml.Errors(b.errs), result.Files)
	}
	for _, parameter := range result.Parameters {
		p.Parameters = append(p.Parameters, Parameter(parameter))
	}
	p.Files, p.Warnings, p.Definitions = result.Files, result.Warnings, result.Variables
	p.unsupported = b.refused
	order(p.unsupported, p.Files)
	order(b.warned, p.Files)
	p.Warnings = append(p.Warnings, slices.CompactFunc(b.warned, func(a, b *yaml.Error) bool { return *a == *b })...)
	return p, nil
}

// adapter is a Source as template has it.
type adapter struct{ source Source }

func (a adapter) File(ctx context.Context, r template.Repository, path string) ([]byte, error) {
	return a.source.File(ctx, Repository{Pos: r.Pos, Alias: r.Alias, Type: r.Type, Name: r.Name, Ref: r.Ref, Endpoint: r.Endpoint}, path)
}

// normalValue checks the value of a typed parameter, and makes it what templates see of it.
func normalValue(typ string, n *yaml.Node) (*yaml.Node, error) {
	c := &checker{}
	var normal func(*yaml.Node) *yaml.Node
	l := schema()
	switch typ {
	case "step":
		c.check(n, l.step)
		normal = normalStep
	case "job":
		c.check(n, l.job)
		normal = normalJob
	case "deployment":
		c.check(n, l.deployment)
		normal = normalJob
	case "stage":
		c.check(n, l.stage)
		normal = normalStage
	default:
		return n, nil
	}
	if len(c.errs) > 0 {
		return nil, yaml.Errors(c.errs).Err()
	}
	return normal(n), nil
}

// maxErrors is how many errors are told at once.
const maxErrors = 50

// sorted puts errors in order, and leaves out those that are there twice.
func sorted(err error, files []string) error {
	var list yaml.Errors
	if all, ok := errors.AsType[yaml.Errors](err); ok {
		list = slices.Clone(all)
	} else {
		return err
	}
	order(list, files)
	list = slices.CompactFunc(list, func(a, b *yaml.Error) bool { return *a == *b })
	if len(list) > maxErrors {
		list = list[:maxErrors]
	}
	return list.Err()
}

// order sorts by file, as they were read, and place.
func order(list []*yaml.Error, files []string) {
	slices.SortStableFunc(list, func(a, b *yaml.Error) int {
		if a.Pos.File != b.Pos.File {
			i, j := slices.Index(files, a.Pos.File), slices.Index(files, b.Pos.File)
			return cmp.Or(cmp.Compare(i, j), cmp.Compare(a.Pos.File, b.Pos.File))
		}
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
}
