package pipeline

import (
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// The normal form is one way of writing for each thing that the language has several for: stages hold jobs hold steps,
// steps are tasks with inputs, variables are a list of names and values, pools, containers, environments and targets are
// mappings, dependencies are lists. Nothing is added but what a shorthand stands for, and the order of keys is kept.
// Texts stay as they were written, with their macros and runtime expressions.
//
// What is here takes a tree that passed its schema.

// Names of what a file leaves out.
const (
	implicitStage = "__default"
	implicitJob   = "Job"
)

func textAt(pos yaml.Pos, s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.Scalar, Pos: pos, Value: s}
}

func pairAt(pos yaml.Pos, name string, value *yaml.Node) yaml.Pair {
	return yaml.Pair{Key: textAt(pos, name), Value: value}
}

func mappingAt(pos yaml.Pos, pairs ...yaml.Pair) *yaml.Node {
	return &yaml.Node{Kind: yaml.Mapping, Pos: pos, Pairs: pairs}
}

func sequenceAt(pos yaml.Pos, items ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.Sequence, Pos: pos, Items: items}
}

// rewrite makes a mapping of n with values that rules make of n's; keys without a rule stay as they are.
func rewrite(n *yaml.Node, rules map[string]func(*yaml.Node) *yaml.Node) *yaml.Node {
	if n.Kind != yaml.Mapping {
		return n
	}
	out := mappingAt(n.Pos)
	for _, pair := range n.Pairs {
		if rule, ok := rules[pair.Key.Value]; ok {
			pair.Value = rule(pair.Value)
		}
		out.Pairs = append(out.Pairs, pair)
	}
	return out
}

// each applies a rule to the items of a sequence.
func each(rule func(*yaml.Node) *yaml.Node) func(*yaml.Node) *yaml.Node {
	return func(n *yaml.Node) *yaml.Node {
		if n.Kind != yaml.Sequence {
			return n
		}
		out := sequenceAt(n.Pos)
		for _, item := range n.Items {
			out.Items = append(out.Items, rule(item))
		}
		return out
	}
}

// named makes a mapping with one key of a text.
func named(key string) func(*yaml.Node) *yaml.Node {
	return func(n *yaml.Node) *yaml.Node {
		if n.Kind != yaml.Scalar {
			return n
		}
		return mappingAt(n.Pos, pairAt(n.Pos, key, n))
	}
}

// normalPipeline is the normal form of a file.
func normalPipeline(root *yaml.Node) *yaml.Node {
	root = modernPipeline(root)
	out := mappingAt(root.Pos)
	var job []yaml.Pair // keys of the implicit job
	steps := root.Get("steps") != nil
	at := -1 // where stages go
	for _, pair := range root.Pairs {
		switch pair.Key.Value {
		case "trigger", "pr":
			pair.Value = normalTrigger(pair.Value)
		case "variables":
			pair.Value = normalVariables(pair.Value)
		case "resources":
			pair.Value = normalResources(pair.Value)
		case "stages":
			pair.Value = each(normalStage)(pair.Value)
		case "jobs":
			pair = yaml.Pair{Key: textAt(pair.Key.Pos, "stages"), Value: sequenceAt(pair.Key.Pos, mappingAt(pair.Key.Pos,
				pairAt(pair.Key.Pos, "stage", textAt(pair.Key.Pos, implicitStage)),
				yaml.Pair{Key: pair.Key, Value: each(normalJob)(pair.Value)}))}
		case "steps":
			at = len(out.Pairs)
			out.Pairs = append(out.Pairs, yaml.Pair{})
			job = append(job, pair)
			continue
		case "pool", "strategy", "continueOnError", "container", "services", "workspace", "timeoutInMinutes", "cancelTimeoutInMinutes":
			// All of these are the job's where there is just one, and it isn't written.
			if steps {
				job = append(job, pair)
				continue
			}
			if pair.Key.Value == "pool" {
				pair.Value = normalPool(pair.Value)
			}
		}
		out.Pairs = append(out.Pairs, pair)
	}
	if at < 0 {
		return out
	}
	pos := root.Pos
	for _, pair := range job {
		if pair.Key.Value == "steps" {
			pos = pair.Key.Pos
		}
	}
	named := mappingAt(pos, append([]yaml.Pair{pairAt(pos, "job", textAt(pos, implicitJob))}, last(job, "steps")...)...)
	stage := mappingAt(pos, pairAt(pos, "stage", textAt(pos, implicitStage)), pairAt(pos, "jobs", sequenceAt(pos, normalJob(named))))
	out.Pairs[at] = pairAt(pos, "stages", sequenceAt(pos, stage))
	return out
}

// last moves a key to the end.
func last(pairs []yaml.Pair, name string) []yaml.Pair {
	var out, end []yaml.Pair
	for _, pair := range pairs {
		if pair.Key.Value == name {
			end = append(end, pair)
		} else {
			out = append(out, pair)
		}
	}
	return append(out, end...)
}

// normalTrigger: none is a trigger that isn't enabled, a list is one of branches.
func normalTrigger(n *yaml.Node) *yaml.Node {
	switch n.Kind {
	case yaml.Scalar:
		enabled := "true"
		if strings.EqualFold(n.Value, "none") {
			enabled = "false"
		}
		return mappingAt(n.Pos, pairAt(n.Pos, "enabled", textAt(n.Pos, enabled)))
	case yaml.Sequence:
		return mappingAt(n.Pos, pairAt(n.Pos, "branches", included(n)))
	}
	return n
}

// included: a list says what to include.
func included(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.Sequence {
		return n
	}
	return mappingAt(n.Pos, pairAt(n.Pos, "include", n))
}

// normalVariables: a mapping is a list of names and values.
func normalVariables(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.Mapping {
		return n
	}
	out := sequenceAt(n.Pos)
	for _, pair := range n.Pairs {
		out.Items = append(out.Items, mappingAt(pair.Key.Pos, pairAt(pair.Key.Pos, "name", pair.Key), pairAt(pair.Key.Pos, "value", pair.Value)))
	}
	return out
}

// normalList: a text is a list of one, an empty one is a list of none.
func normalList(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.Scalar {
		return n
	}
	if n.Value == "" {
		return sequenceAt(n.Pos)
	}
	return sequenceAt(n.Pos, n)
}

func normalPool(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.Scalar && n.Value == "" { // the default one
		return mappingAt(n.Pos)
	}
	return rewrite(named("name")(n), map[string]func(*yaml.Node) *yaml.Node{"demands": normalList})
}

func normalResources(n *yaml.Node) *yaml.Node {
	return rewrite(n, map[string]func(*yaml.Node) *yaml.Node{
		"repositories": each(func(n *yaml.Node) *yaml.Node {
			return rewrite(n, map[string]func(*yaml.Node) *yaml.Node{"trigger": normalTrigger})
		}),
		"containers": each(func(n *yaml.Node) *yaml.Node {
			return rewrite(n, map[string]func(*yaml.Node) *yaml.Node{"trigger": normalResourceTrigger})
		}),
		"pipelines": each(func(n *yaml.Node) *yaml.Node {
			return rewrite(n, map[string]func(*yaml.Node) *yaml.Node{"trigger": normalResourceTrigger})
		}),
	})
}

func normalResourceTrigger(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.Mapping {
		rules := map[string]func(*yaml.Node) *yaml.Node{"branches": included}
		return rewrite(n, rules)
	}
	return normalTrigger(n)
}

func normalStage(n *yaml.Node) *yaml.Node {
	return rewrite(n, map[string]func(*yaml.Node) *yaml.Node{
		"dependsOn": normalList,
		"variables": normalVariables,
		"pool":      normalPool,
		"jobs":      each(normalJob),
	})
}

func normalJob(n *yaml.Node) *yaml.Node {
	return rewrite(n, map[string]func(*yaml.Node) *yaml.Node{
		"dependsOn":   normalList,
		"variables":   normalVariables,
		"pool":        normalPool,
		"container":   named("alias"),
		"environment": named("name"),
		"steps":       each(normalStep),
		"strategy":    normalStrategy,
	})
}

// normalStrategy is for a deployment job; a matrix stays as it is.
func normalStrategy(n *yaml.Node) *yaml.Node {
	hook := func(n *yaml.Node) *yaml.Node {
		return rewrite(n, map[string]func(*yaml.Node) *yaml.Node{"steps": each(normalStep), "pool": normalPool})
	}
	hooks := func(n *yaml.Node) *yaml.Node {
		return rewrite(n, map[string]func(*yaml.Node) *yaml.Node{
			"preDeploy": hook, "deploy": hook, "routeTraffic": hook, "postRouteTraffic": hook,
			"on": func(n *yaml.Node) *yaml.Node {
				return rewrite(n, map[string]func(*yaml.Node) *yaml.Node{"failure": hook, "success": hook})
			},
		})
	}
	return rewrite(n, map[string]func(*yaml.Node) *yaml.Node{"runOnce": hooks, "rolling": hooks, "canary": hooks})
}
