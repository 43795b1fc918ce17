package pipeline

import (
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// Files of the time before jobs say phases, queue, server and "resources: - repo: self"; the language still has these.
// They are rewritten as what replaced them, before anything else is.

// modernPipeline rewrites the root.
func modernPipeline(root *yaml.Node) *yaml.Node {
	root = rewrite(root, map[string]func(*yaml.Node) *yaml.Node{"resources": modernResources})
	if phases := root.Get("phases"); phases != nil {
		out := mappingAt(root.Pos)
		for _, pair := range root.Pairs {
			if pair.Key.Value == "phases" {
				pair = yaml.Pair{Key: textAt(pair.Key.Pos, "jobs"), Value: each(modernPhase)(pair.Value)}
			}
			out.Pairs = append(out.Pairs, pair)
		}
		return out
	}
	return modernTarget(root)
}

// modernPhase: a phase is a job.
func modernPhase(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.Mapping || n.Get("phase") == nil {
		return n
	}
	out := mappingAt(n.Pos)
	for _, pair := range n.Pairs {
		if pair.Key.Value == "phase" {
			pair.Key = textAt(pair.Key.Pos, "job")
		}
		out.Pairs = append(out.Pairs, pair)
	}
	return modernTarget(out)
}

// modernTarget: queue is pool and what else says where and how often a job runs; server is the pool of that name.
func modernTarget(n *yaml.Node) *yaml.Node {
	if n.Get("queue") == nil && n.Get("server") == nil {
		return n
	}
	out := mappingAt(n.Pos)
	for _, pair := range n.Pairs {
		pos := pair.Key.Pos
		switch pair.Key.Value {
		case "queue":
			out.Pairs = append(out.Pairs, queued(pos, pair.Value)...)
		case "server":
			if pair.Value.Kind == yaml.Scalar && strings.EqualFold(pair.Value.Value, "false") {
				continue
			}
			out.Pairs = append(out.Pairs, pairAt(pos, "pool", textAt(pos, "server")))
			if pair.Value.Kind == yaml.Mapping {
				out.Pairs = append(out.Pairs, queued(pos, pair.Value)...)
			}
		default:
			out.Pairs = append(out.Pairs, pair)
		}
	}
	return out
}

func queued(pos yaml.Pos, n *yaml.Node) []yaml.Pair {
	if n.Kind == yaml.Scalar {
		return []yaml.Pair{pairAt(pos, "pool", n)}
	}
	var list []yaml.Pair
	pool, strategy := mappingAt(n.Pos), mappingAt(n.Pos)
	matrix := n.Get("matrix") != nil
	for _, pair := range n.Pairs {
		switch name := pair.Key.Value; {
		case name == "name", name == "demands":
			pool.Pairs = append(pool.Pairs, pair)
		case name == "parallel" && matrix:
			strategy.Pairs = append(strategy.Pairs, yaml.Pair{Key: textAt(pair.Key.Pos, "maxParallel"), Value: pair.Value})
		case name == "parallel", name == "matrix":
			strategy.Pairs = append(strategy.Pairs, pair)
		default: // timeouts, container, workspace
			list = append(list, pair)
		}
	}
	if len(strategy.Pairs) > 0 {
		list = append([]yaml.Pair{pairAt(pos, "strategy", strategy)}, list...)
	}
	if len(pool.Pairs) > 0 {
		list = append([]yaml.Pair{pairAt(pos, "pool", pool)}, list...)
	}
	return list
}

// modernResources: a list has nothing but what the checkout of self is to do.
func modernResources(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.Sequence {
		return n
	}
	list := sequenceAt(n.Pos)
	for _, item := range n.Items {
		out := mappingAt(item.Pos)
		for _, pair := range item.Pairs {
			if pair.Key.Value == "repo" {
				pair.Key = textAt(pair.Key.Pos, "repository")
			}
			out.Pairs = append(out.Pairs, pair)
		}
		list.Items = append(list.Items, out)
	}
	return mappingAt(n.Pos, pairAt(n.Pos, "repositories", list))
}
