package pipeline

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/expr"
	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// builder makes the typed plan of a tree in normal form. What contradicts itself becomes an error; what the language has
// and this product doesn't run goes to refused.
type builder struct {
	checker
	refused []*yaml.Error
	warned  []*yaml.Error
}

// warn notes what runs, though perhaps not as was meant.
func (b *builder) warn(pos yaml.Pos, format string, args ...any) {
	b.warned = append(b.warned, &yaml.Error{Pos: pos, Message: fmt.Sprintf(format, args...)})
}

func (b *builder) refuse(pos yaml.Pos, format string, args ...any) {
	b.refused = append(b.refused, &yaml.Error{Pos: pos, Message: fmt.Sprintf(format, args...)})
}

// value is the text of a key, "" if it isn't there.
func value(n *yaml.Node, name string) string {
	if v := n.Get(name); v != nil {
		return v.Value
	}
	return ""
}

// position is that of a key's value, or of n.
func position(n *yaml.Node, name string) yaml.Pos {
	if v := n.Get(name); v != nil {
		return v.Pos
	}
	return n.Pos
}

func values(n *yaml.Node) []string {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.Scalar {
		if n.Value == "" {
			return nil
		}
		return []string{n.Value}
	}
	list := make([]string, 0, len(n.Items))
	for _, item := range n.Items {
		list = append(list, item.Value)
	}
	return list
}

func keyValues(n *yaml.Node) []KeyValue {
	if n == nil {
		return nil
	}
	var list []KeyValue
	for _, pair := range n.Pairs {
		list = append(list, KeyValue{Pos: pair.Key.Pos, Key: pair.Key.Value, Value: pair.Value.Value})
	}
	return list
}

func (b *builder) plan(root *yaml.Node) *Plan {
	p := &Plan{
		Name:                         value(root, "name"),
		AppendCommitMessageToRunName: root.Get("appendCommitMessageToRunName") == nil || isTrue(value(root, "appendCommitMessageToRunName")),
		LockBehavior:                 value(root, "lockBehavior"),
		Trigger:                      b.trigger(root.Get("trigger")),
		PR:                           b.trigger(root.Get("pr")),
		Variables:                    b.variables(root.Get("variables")),
		Pool:                         b.pool(root.Get("pool")),
		Expanded:                     root,
	}
	if schedules := root.Get("schedules"); schedules != nil {
		for i, n := range schedules.Items {
			if i == maxSchedules {
				b.refuse(n.Pos, "a pipeline has at most %d schedules here, as each of them is there for each branch", maxSchedules)
			}
			if fields := len(strings.Fields(value(n, "cron"))); fields != 5 {
				b.refuse(position(n, "cron"), "a schedule has five fields, minute, hour, day of the month, month and day of the week; '%s' has %d", shorten(value(n, "cron")), fields)
			}
			p.Schedules = append(p.Schedules, Schedule{
				Pos: n.Pos, Cron: value(n, "cron"), DisplayName: value(n, "displayName"), Branches: filter(n.Get("branches")),
				Always: isTrue(value(n, "always")), Batch: isTrue(value(n, "batch")),
			})
		}
	}
	if resources := root.Get("resources"); resources != nil {
		p.Resources = b.resources(resources)
	}
	b.expression(root.Get("name"), anywhere)
	stages := root.Get("stages")
	if stages == nil {
		return p
	}
	for _, n := range stages.Items {
		p.Stages = append(p.Stages, b.stage(n))
	}
	b.graph(p)
	b.aliases(p)
	p.Resources.checkout(p.Stages)
	return p
}

func (b *builder) trigger(n *yaml.Node) *Trigger {
	if n == nil {
		return nil
	}
	said := func(name string, otherwise bool) bool {
		if v := n.Get(name); v != nil {
			return isTrue(v.Value)
		}
		return otherwise
	}
	return &Trigger{
		Pos: n.Pos, Enabled: said("enabled", true), Batch: said("batch", false), AutoCancel: said("autoCancel", true), Drafts: said("drafts", true),
		Branches: filter(n.Get("branches")), Tags: filter(n.Get("tags")), Paths: filter(n.Get("paths")),
	}
}

func filter(n *yaml.Node) Filter {
	if n == nil {
		return Filter{}
	}
	return Filter{Include: values(n.Get("include")), Exclude: values(n.Get("exclude"))}
}

func (b *builder) variables(n *yaml.Node) []Variable {
	if n == nil {
		return nil
	}
	var list []Variable
	for _, item := range n.Items {
		if group := item.Get("group"); group != nil {
			list = append(list, Variable{Pos: item.Pos, Group: group.Value})
			continue
		}
		v := Variable{Pos: position(item, "value"), Name: value(item, "name"), Value: value(item, "value"), ReadOnly: isTrue(value(item, "readonly"))}
		if strings.TrimSpace(v.Name) == "" {
			b.add(item.Pos, "Unexpected value ''; a variable needs a name")
		}
		b.expression(item.Get("value"), ofVariable)
		list = append(list, v)
	}
	return list
}

func (b *builder) pool(n *yaml.Node) *Pool {
	if n == nil {
		return nil
	}
	p := &Pool{Pos: n.Pos, Name: value(n, "name"), VMImage: value(n, "vmImage"), Demands: values(n.Get("demands"))}
	if strings.EqualFold(p.Name, "server") {
		p.Name, p.Server = "", true
	} else if p.Name == "" && p.VMImage != "" {
		b.warn(position(n, "vmImage"), "vmImage '%s' names an image of hosted agents, which there are none of here: jobs without the name of a pool wait for an agent of the pool 'Default'; write 'pool: NAME' to choose another", shorten(p.VMImage))
	}
	for _, pair := range n.Pairs {
		switch name := pair.Key.Value; name {
		case "name", "vmImage", "demands":
		default:
			hint := meant(name, "name", "vmImage", "demands")
			if hint == "" {
				hint = "; a pool has 'name', 'vmImage' and 'demands'"
			}
			b.refuse(pair.Key.Pos, "'%s' of a pool is not known here%s", shorten(name), hint)
		}
	}
	return p
}

// amount checks a number that may also be an expression or hold macros.
func (b *builder) amount(n *yaml.Node, name string) string {
	v := n.Get(name)
	if v == nil {
		return ""
	}
	if strings.Contains(v.Value, "$(") {
		return v.Value
	}
	if runtimeExpression(v.Value) != "" {
		b.expression(v, anywhere)
		return v.Value
	}
	if f, err := strconv.ParseFloat(v.Value, 64); err != nil || !(f >= 0 && f <= 1<<31-1) {
		b.add(v.Pos, "Unexpected value '%s'; '%s' is a number, not below zero", shorten(v.Value), name)
	}
	return v.Value
}

// place says what an expression may name and call.
type place struct {
	names     []string
	functions map[string]expr.Function
}

var (
	status = map[string]expr.Function{
		"always": {Min: 0, Max: 0}, "canceled": {Min: 0, Max: 0}, "succeeded": {Min: 0, Max: -1}, "succeededOrFailed": {Min: 0, Max: -1}, "failed": {Min: 0, Max: -1},
	}
	runtimeNames = []string{"variables", "dependencies", "stageDependencies", "pipeline", "resources"}
	anywhere     = &place{names: runtimeNames}
	ofVariable   = &place{names: runtimeNames, functions: map[string]expr.Function{"counter": {Min: 0, Max: 2}}}
	ofJob        = &place{names: runtimeNames, functions: status}
	ofStep       = &place{names: []string{"variables"}, functions: status}
)

// runtimeExpression is what stands in $[ ], "" if a text isn't one.
func runtimeExpression(s string) string {
	if inside, ok := strings.CutPrefix(strings.TrimSpace(s), "$["); ok {
		if inside, ok = strings.CutSuffix(inside, "]"); ok {
			return inside
		}
	}
	return ""
}

// expression checks a text that is a runtime expression if it is in $[ ].
func (b *builder) expression(n *yaml.Node, where *place) {
	if n == nil || n.Kind != yaml.Scalar {
		return
	}
	if inside := runtimeExpression(n.Value); inside != "" {
		b.parse(n.Pos, inside, where)
	}
}

// condition checks a text that is an expression as it is.
func (b *builder) condition(n *yaml.Node, where *place) string {
	v := n.Get("condition")
	if v == nil {
		return ""
	}
	inside := runtimeExpression(v.Value)
	if inside == "" {
		inside = v.Value
	}
	if strings.TrimSpace(inside) != "" {
		b.parse(v.Pos, inside, where)
	}
	return v.Value
}

func (b *builder) parse(pos yaml.Pos, text string, where *place) {
	e, err := expr.Parse(text)
	if err == nil && where != nil {
		err = e.Check(where.names, where.functions)
	}
	if err != nil {
		b.add(pos, "%s", err)
	}
}
