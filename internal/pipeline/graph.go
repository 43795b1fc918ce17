package pipeline

import (
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// vertex is a stage or a job, as far as its dependencies go.
type vertex struct {
	pos     yaml.Pos
	name    string
	depends []string
	mark    int
}

// graph gives names to what has none and to stages the dependency that goes without saying, and checks that names are
// unique, that dependencies are there, and that there are no circles. Names are compared regardless of case, and a
// dependency that is found is written as what it names.
func (b *builder) graph(p *Plan) {
	named := func(kind, scope string, names []*string, positions []yaml.Pos) {
		seen := map[string]bool{}
		for i, name := range names {
			if *name == "" {
				continue
			}
			if seen[strings.ToLower(*name)] {
				b.add(positions[i], "The %s name '%s' appears more than once. %s names must be unique within %s", strings.ToLower(kind), *name, kind, scope)
			}
			seen[strings.ToLower(*name)] = true
		}
		for _, name := range names {
			for i := 1; *name == ""; i++ {
				free := kind
				if i > 1 {
					free = fmt.Sprintf("%s_%d", kind, i)
				}
				if !seen[strings.ToLower(free)] {
					*name = free
					seen[strings.ToLower(free)] = true
				}
			}
		}
	}
	var names []*string
	var positions []yaml.Pos
	for _, s := range p.Stages {
		names, positions = append(names, &s.Name), append(positions, s.Pos)
	}
	named("Stage", "a pipeline", names, positions)
	vertices := make([]*vertex, len(p.Stages))
	for i, s := range p.Stages {
		if s.DependsOn == nil && i > 0 && p.Expanded.Get("stages").Items[i].Get("dependsOn") == nil {
			s.DependsOn = []string{p.Stages[i-1].Name}
		}
		vertices[i] = &vertex{pos: s.Pos, name: s.Name, depends: s.DependsOn}
	}
	b.acyclic("Stage", "The pipeline", p.Expanded.Get("stages").Pos, vertices)
	for i, s := range p.Stages {
		names, positions = nil, nil
		for _, j := range s.Jobs {
			names, positions = append(names, &j.Name), append(positions, j.Pos)
		}
		named("Job", "a stage", names, positions)
		vertices = make([]*vertex, len(s.Jobs))
		for i, j := range s.Jobs {
			vertices[i] = &vertex{pos: j.Pos, name: j.Name, depends: j.DependsOn}
		}
		// That of a stage without the key is said in Unsupported: the reference has examples of such.
		if len(s.Jobs) > 0 || p.Expanded.Get("stages").Items[i].Get("jobs") != nil {
			b.acyclic("Job", "Stage "+s.Name, s.Pos, vertices)
		}
	}
}

// acyclic checks the dependencies of the vertices of one graph.
func (b *builder) acyclic(kind, owner string, pos yaml.Pos, vertices []*vertex) {
	byName := map[string]*vertex{}
	start := false
	for _, v := range vertices {
		byName[strings.ToLower(v.name)] = v
		start = start || len(v.depends) == 0
	}
	if !start {
		b.add(pos, "%s must contain at least one %s with no dependencies", owner, strings.ToLower(kind))
	}
	whole := true
	for _, v := range vertices {
		if b.full() {
			return
		}
		for i, name := range v.depends {
			other := byName[strings.ToLower(name)]
			switch {
			case other == nil:
				whole = false
				var names []string
				for _, o := range vertices {
					if o != v {
						names = append(names, o.name)
					}
				}
				hint := meant(name, names...)
				if hint == "" && kind == "Job" {
					hint = "; 'dependsOn' of a job names jobs of its own stage"
				}
				b.add(v.pos, "%s %s depends on unknown %s %s%s", kind, v.name, strings.ToLower(kind), shorten(name), hint)
			default:
				v.depends[i] = other.name
			}
		}
	}
	if !whole {
		return
	}
	var path []*vertex
	var visit func(v *vertex) bool
	visit = func(v *vertex) bool {
		v.mark = 1
		path = append(path, v)
		for _, name := range v.depends {
			other := byName[strings.ToLower(name)]
			if other.mark == 1 {
				circle := other.name
				for i := len(path) - 1; i >= 0 && path[i] != other; i-- {
					circle = path[i].name + " → " + circle
				}
				b.add(v.pos, "%s %s depends on %s, which creates a cycle in the dependency graph (%s → %s)", kind, v.name, other.name, other.name, circle)
				return false
			}
			if other.mark == 0 && !visit(other) {
				return false
			}
		}
		v.mark = 2
		path = path[:len(path)-1]
		return true
	}
	for _, v := range vertices {
		if v.mark == 0 && !visit(v) {
			return
		}
	}
}
