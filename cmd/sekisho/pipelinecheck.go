package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

func newPipelineValidate(c *cli) *cobra.Command {
	var from pipelineFlags
	cmd := &cobra.Command{
		Use:   "validate FILE",
		Short: "Find what is wrong with a pipeline before it runs",
		Long: `Find what is wrong with a pipeline before it runs: what the language refuses, and what
the language has but is not run here. FILE and all templates that it names are read; nothing
is asked of a server. Every finding is a line on standard error, file:line:column: message.

The exit code is 0 if a run could start, and 1 if not.`,
		Example: `  sekisho pipeline validate azure-pipelines.yml
  sekisho pipeline validate azure-pipelines.yml --repo templates=../templates`,
		Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := from.open(args[0])
			if err != nil {
				return err
			}
			defer p.Close()
			plan, err := p.compile(cmd.Context())
			found, err := findings(err)
			if err != nil {
				return err
			}
			if plan != nil {
				found = plan.Unsupported()
				warn(cmd, plan)
			}
			tell(cmd, found)
			result := validated{File: p.path, Valid: len(found) == 0, Findings: []finding{}}
			for _, e := range found {
				result.Findings = append(result.Findings, finding{e.Pos.File, e.Pos.Line, e.Pos.Column, e.Message})
			}
			t := &table{}
			if plan != nil {
				result.Files, result.Stages = plan.Files, len(plan.Stages)
				for _, s := range plan.Stages {
					result.Jobs += len(s.Jobs)
				}
			}
			if result.Valid {
				t.add(p.path, "ok", counted(result.Stages, "stage")+", "+counted(result.Jobs, "job")+", "+counted(len(result.Files), "file"))
			}
			if err := c.print(cmd, result, t); err != nil {
				return err
			}
			return refusedPipeline(p.path, found)
		},
	}
	from.add(cmd)
	return cmd
}

// validated is what validate prints.
type validated struct {
	File     string    `json:"file"`
	Valid    bool      `json:"valid"`
	Findings []finding `json:"findings"`
	Files    []string  `json:"files,omitempty"`
	Stages   int       `json:"stages"`
	Jobs     int       `json:"jobs"`
}

type finding struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// findings are the errors with a place that err is made of; another error is returned.
func findings(err error) ([]*yaml.Error, error) {
	if err == nil {
		return nil, nil
	}
	if all, ok := errors.AsType[yaml.Errors](err); ok {
		return all, nil
	}
	if one, ok := errors.AsType[*yaml.Error](err); ok {
		return []*yaml.Error{one}, nil
	}
	return nil, err
}

// tell writes findings to standard error. What they quote comes from a file, and must not move the cursor.
func tell(cmd *cobra.Command, found []*yaml.Error) {
	for _, e := range found {
		fmt.Fprintln(cmd.ErrOrStderr(), plain(e.Error()))
	}
}

func warn(cmd *cobra.Command, plan *pipeline.Plan) {
	for _, w := range plan.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), plain(w.Pos.String()+": warning: "+w.Message))
	}
}

func refusedPipeline(path string, found []*yaml.Error) error {
	if len(found) == 0 {
		return nil
	}
	return &exitError{exitFailed, fmt.Errorf("%s is refused: %s", path, counted(len(found), "error"))}
}

func newPipelineExpand(c *cli) *cobra.Command {
	var from pipelineFlags
	cmd := &cobra.Command{
		Use:   "expand FILE",
		Short: "Print a pipeline with its templates in place",
		Long: `Print a pipeline in full: templates in their places, ${{ }} evaluated, and one way of
writing for each thing that the language has several for. Runtime expressions, $[ ], and
macros, $( ), stay as they were written.

What the language refuses is told on standard error, file:line:column: message, and the
exit code is 1. What the language has but is not run here is printed all the same;
pipeline validate tells of it.`,
		Example: `  sekisho pipeline expand azure-pipelines.yml
  sekisho pipeline expand azure-pipelines.yml --parameters values.yml -o json`,
		Args: usageOf(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := from.open(args[0])
			if err != nil {
				return err
			}
			defer p.Close()
			plan, err := p.compile(cmd.Context())
			found, err := findings(err)
			if err != nil {
				return err
			}
			if found != nil {
				tell(cmd, found)
				return refusedPipeline(p.path, found)
			}
			warn(cmd, plan)
			if c.output != asJSON {
				return yaml.Encode(cmd.OutOrStdout(), plan.Expanded)
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			return enc.Encode(jsonNode{plan.Expanded})
		},
	}
	from.add(cmd)
	return cmd
}

// jsonNode is a node in JSON: plain scalars are what they are in YAML.
type jsonNode struct{ *yaml.Node }

// MarshalJSON implements [json.Marshaler].
func (j jsonNode) MarshalJSON() ([]byte, error) {
	n := j.Node
	switch n.Kind {
	case yaml.Sequence:
		list := make([]jsonNode, len(n.Items))
		for i, item := range n.Items {
			list[i] = jsonNode{item}
		}
		return json.Marshal(list)
	case yaml.Mapping:
		var b strings.Builder
		b.WriteByte('{')
		for i, pair := range n.Pairs {
			if i > 0 {
				b.WriteByte(',')
			}
			name, err := json.Marshal(pair.Key.Value)
			if err != nil {
				return nil, err
			}
			v, err := jsonNode{pair.Value}.MarshalJSON()
			if err != nil {
				return nil, err
			}
			b.Write(name)
			b.WriteByte(':')
			b.Write(v)
		}
		b.WriteByte('}')
		return []byte(b.String()), nil
	}
	kind := n.Type
	if kind == yaml.String && !n.Quoted {
		kind = n.Resolve()
	}
	switch kind {
	case yaml.Bool:
		return []byte(strconv.FormatBool(strings.EqualFold(n.Value, "true"))), nil
	case yaml.Number:
		if json.Valid([]byte(n.Value)) {
			return []byte(n.Value), nil
		}
	}
	return json.Marshal(n.Value)
}

func newPipelineExplainVar(c *cli) *cobra.Command {
	var from pipelineFlags
	cmd := &cobra.Command{
		Use:   "explain-var NAME FILE",
		Short: "Show where a variable of a pipeline gets its value",
		Long: `Show where a variable of a pipeline gets its value: every place that sets it, in the
order in which they are read, and which of them wins for each job. Nearer to the job wins:
the job's matrix, the job, the stage, the pipeline. In one list the later one wins. What a
variable group holds is not known here, nor what steps set while a job runs; both are named.`,
		Example: `  sekisho pipeline explain-var imageTag azure-pipelines.yml`,
		Args:    usageOf(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := from.open(args[1])
			if err != nil {
				return err
			}
			defer p.Close()
			plan, err := p.compile(cmd.Context())
			found, err := findings(err)
			if err != nil {
				return err
			}
			if found != nil {
				tell(cmd, found)
				return refusedPipeline(p.path, found)
			}
			return c.printOrigin(cmd, args[0], plan.Explain(args[0], p.options.Variables))
		},
	}
	from.add(cmd)
	return cmd
}

// explained is what explain-var prints.
type explained struct {
	Name   string           `json:"name"`
	Places []explainedPlace `json:"places"`
	Values []explainedValue `json:"values"`
}

type explainedPlace struct {
	Place   string   `json:"place,omitempty"`
	Kind    string   `json:"kind"`
	Scope   string   `json:"scope"`
	Value   string   `json:"value,omitempty"`
	Written string   `json:"written,omitempty"`
	Group   string   `json:"group,omitempty"`
	Via     []string `json:"via,omitempty"`
	Uses    []string `json:"uses,omitempty"`
}

type explainedValue struct {
	Stage  string   `json:"stage"`
	Job    string   `json:"job"`
	Leg    string   `json:"leg,omitempty"`
	Value  string   `json:"value"`
	From   string   `json:"from,omitempty"`
	Groups []string `json:"groups,omitempty"`
}

func (c *cli) printOrigin(cmd *cobra.Command, name string, o *pipeline.Origin) error {
	e := explained{Name: name, Places: []explainedPlace{}, Values: []explainedValue{}}
	t := &table{header: []string{"SET AT", "SCOPE", "VALUE", "NOTE"}}
	wins := &table{header: []string{"FOR", "FROM", "VALUE", "NOTE"}}
	certain := false
	for i := range o.Places {
		at := &o.Places[i]
		place := explainedPlace{Place: whereIs(at), Kind: at.Kind, Scope: at.Scope, Value: at.Value, Written: at.Written, Group: at.Group, Uses: at.Uses}
		note := ""
		switch {
		case at.Kind == "group":
			note = "the variable group '" + at.Group + "' may have it"
		case at.Written != "":
			note = "written " + at.Written
		}
		for _, via := range at.Via {
			place.Via = append(place.Via, via.String())
		}
		if len(place.Via) > 0 {
			note = strings.TrimPrefix(note+", by way of "+strings.Join(place.Via, ", "), ", ")
		}
		certain = certain || at.Kind != "group"
		e.Places = append(e.Places, place)
		t.add(place.Place, place.Scope, place.Value, note)
	}
	for i := range o.Values {
		at := &o.Values[i]
		v := explainedValue{Stage: at.Stage, Job: at.Job, Leg: at.Leg, Value: at.Value, Groups: at.Groups}
		who, note := at.Stage+"/"+at.Job, ""
		if at.Leg != "" {
			who += "/" + at.Leg
		}
		if at.From != nil {
			v.From = whereIs(at.From)
		} else {
			note = "nothing in the file sets it"
		}
		if len(at.Groups) > 0 {
			note = strings.TrimPrefix(note+"; unless in the group "+strings.Join(at.Groups, ", "), "; ")
		}
		e.Values = append(e.Values, v)
		wins.add(who, v.From, v.Value, note)
	}
	if !certain {
		fmt.Fprintf(cmd.ErrOrStderr(), "no place in the file sets %s\n", plain(name))
	}
	if err := c.print(cmd, e, t); err != nil || c.output == asJSON || c.output == asYAML {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout())
	return c.print(cmd, e, wins)
}

func whereIs(at *pipeline.OriginPlace) string {
	if at.Pos.File != "" {
		return at.Pos.String()
	}
	return at.Kind
}
