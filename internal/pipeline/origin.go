package pipeline

import (
	"regexp"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// Origin is what is known, before anything runs, of where a variable gets its value.
type Origin struct {
	Places []OriginPlace // all that set it, or may, in the order in which they were read
	Values []OriginValue // what it is for each job
}

// OriginPlace is a place that sets a variable, or may.
type OriginPlace struct {
	Pos     yaml.Pos
	Kind    string // "file", "group", "matrix", "step" (while the job runs), or where a known variable comes from
	Scope   string // "pipeline", "stage Build", "stage Build, job Test"
	Value   string
	Written string // other than Value where expressions were in it
	Group   string // of kind "group": it may hold the variable
	Via     []yaml.Pos
	Uses    []string
}

// OriginValue is what a variable is for one job when it starts.
type OriginValue struct {
	Stage, Job, Leg string
	Value           string
	From            *OriginPlace // nil: nothing in the file says
	Groups          []string     // groups that come later in the same scope, and win if they have it
}

// Explain tells where a variable comes from. known are the variables that the plan was compiled with.
//
// What is nearer to the job wins: its matrix, the job, the stage, the pipeline; then what was there before. In one list
// the later one wins.
func (p *Plan) Explain(name string, known []Known) *Origin {
	o := &Origin{}
	same := func(other string) bool { return strings.EqualFold(name, other) }
	for _, k := range known {
		if same(k.Name) {
			o.Places = append(o.Places, OriginPlace{Kind: k.From, Scope: "pipeline", Value: k.Value})
		}
	}
	var base OriginValue
	if n := len(o.Places); n > 0 {
		base.Value, base.From = o.Places[n-1].Value, &o.Places[n-1]
	}
	scope := func(list []Variable, where string, v OriginValue, show bool) OriginValue {
		groups := []string(nil)
		for i := range list {
			switch {
			case list[i].Group != "":
				place := OriginPlace{Pos: list[i].Pos, Kind: "group", Group: list[i].Group, Scope: where}
				if show {
					o.Places = append(o.Places, place)
				}
				groups = append(groups, list[i].Group)
			case same(list[i].Name):
				place := p.place(&list[i], where)
				if show {
					o.Places = append(o.Places, place)
				}
				v.Value, v.From, v.Groups, groups = list[i].Value, &place, nil, nil
			}
		}
		v.Groups = append(slices.Clone(v.Groups), groups...)
		return v
	}
	base = scope(p.Variables, "pipeline", base, true)
	for _, s := range p.Stages {
		inStage := scope(s.Variables, "stage "+s.Name, base, true)
		inStage.Stage = s.Name
		for _, j := range s.Jobs {
			where := "stage " + s.Name + ", job " + j.Name
			v := scope(j.Variables, where, inStage, true)
			v.Job = j.Name
			o.Values = append(o.Values, p.legs(o, j, where, v, same)...)
			for _, step := range j.steps() {
				for _, in := range step.Inputs {
					if sets(in.Value, name) {
						o.Places = append(o.Places, OriginPlace{Pos: step.Pos, Kind: "step", Scope: where, Value: "set while the job runs"})
					}
				}
			}
		}
	}
	return o
}

// place is a variable of the file, with what expansion knows of it.
func (p *Plan) place(v *Variable, scope string) OriginPlace {
	place := OriginPlace{Pos: v.Pos, Kind: "file", Scope: scope, Value: v.Value}
	for _, d := range p.Definitions {
		if d.Pos == v.Pos && strings.EqualFold(d.Name, v.Name) {
			place.Via, place.Uses = d.Via, d.Uses
			if d.Written != v.Value {
				place.Written = d.Written
			}
		}
	}
	return place
}

// legs are the values for each leg of a job's matrix; without one, there is one.
func (p *Plan) legs(o *Origin, j *Job, where string, v OriginValue, same func(string) bool) []OriginValue {
	if j.Strategy == nil || len(j.Strategy.Matrix) == 0 {
		return []OriginValue{v}
	}
	var list []OriginValue
	for _, leg := range j.Strategy.Matrix {
		of := v
		of.Leg = leg.Name
		for _, kv := range leg.Variables {
			if same(kv.Key) {
				place := OriginPlace{Pos: kv.Pos, Kind: "matrix", Scope: where + ", " + leg.Name, Value: kv.Value}
				o.Places = append(o.Places, place)
				of.Value, of.From, of.Groups = kv.Value, &place, nil
			}
		}
		list = append(list, of)
	}
	return list
}

var setVariable = regexp.MustCompile(`(?i)##vso\[task\.setvariable ([^\]]*)\]`)

// sets reports whether a script sets a variable by a logging command.
func sets(script, name string) bool {
	for _, found := range setVariable.FindAllStringSubmatch(script, -1) {
		for property := range strings.SplitSeq(found[1], ";") {
			key, v, _ := strings.Cut(property, "=")
			if strings.EqualFold(strings.TrimSpace(key), "variable") && strings.EqualFold(strings.TrimSpace(v), name) {
				return true
			}
		}
	}
	return false
}
