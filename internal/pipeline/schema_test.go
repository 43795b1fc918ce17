package pipeline

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// withoutEffect are keys that a plan may not show, and why.
var withoutEffect = map[string]string{
	"templateContext": "for templates alone, which read it while they are expanded",
	"dependsOn":       "there is nothing else to depend on; see testdata/errors.txtar and roots.txtar",
	"parameters":      "read by package template",
	"resources":       "the least of it says just that there is self; each of its keys is walked",
}

// refusedWhole are objects that are refused with all that is in them.
var refusedWhole = []string{"rolling", "canary", "check", "build resource", "package resource", "webhook resource", "filter", "container trigger"}

// fitting are texts for keys that not just any text fits.
var fitting = map[string]string{
	"stage": "S", "job": "J", "deployment": "D", "phase": "P", "task": "T@1", "checkout": "self", "dependsOn": "", "condition": "always()",
	"matrix": "$[ variables['m'] ]", "cron": "0 3 * * *",
}

// TestEverything walks every definition and every key of the schema: a pipeline that uses it is compiled, and either the
// plan differs from that of the same pipeline without the key, or it is refused by its place.
func TestEverything(t *testing.T) {
	seen := 0
	walkSchema(schema().pipeline, nil, func(trail []step, o *object, k *key, alternative int) {
		if seen++; k.name == "parameters" {
			return
		}
		sample := sampleFor(k, alternative)
		with := build(trail, o, k, sample)
		name := trailName(trail) + "." + k.name + fmt.Sprint("#", alternative)
		plan, err := Compile(t.Context(), archive{"a.yml": string(yaml.Marshal(with))}, "a.yml", Options{})
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, yaml.Marshal(with))
			return
		}
		if k.required || withoutEffect[k.name] != "" || k.value.text == blank.text && alternative == 0 {
			return
		}
		for _, s := range trail {
			if slices.Contains(refusedWhole, s.o.name) && len(plan.Unsupported()) > 0 {
				return
			}
		}
		without, err := Compile(t.Context(), archive{"a.yml": string(yaml.Marshal(build(trail, o, k, nil)))}, "a.yml", Options{})
		if err != nil {
			return // it can't do without
		}
		if len(plan.Unsupported()) > len(without.Unsupported()) || shown(t, plan) != shown(t, without) {
			return
		}
		if k.value.text == booleans { // true is the default
			with = build(trail, o, k, text1("no"))
			plan, err = Compile(t.Context(), archive{"a.yml": string(yaml.Marshal(with))}, "a.yml", Options{})
			if err == nil && shown(t, plan) != shown(t, without) {
				return
			}
		}
		t.Errorf("%s has no effect, and isn't refused\n%s", name, yaml.Marshal(with))
	})
	if seen < 400 {
		t.Errorf("only %d keys were walked", seen)
	}
}

// TestUnknownKeys puts a key that there isn't into every object of the schema.
func TestUnknownKeys(t *testing.T) {
	tried := map[*object]bool{}
	walkSchema(schema().pipeline, nil, func(trail []step, o *object, _ *key, _ int) {
		if tried[o] || o.values != nil {
			return
		}
		tried[o] = true
		n := build(trail, o, &key{name: "zzz"}, text1("x"))
		_, err := Compile(t.Context(), archive{"a.yml": string(yaml.Marshal(n))}, "a.yml", Options{})
		if err == nil || !strings.Contains(err.Error(), "Unexpected value 'zzz'") {
			t.Errorf("%s: %v\n%s", trailName(trail), err, yaml.Marshal(n))
		}
	})
	if len(tried) < 40 {
		t.Errorf("only %d objects were tried", len(tried))
	}
}

func text1(s string) *yaml.Node { return &yaml.Node{Kind: yaml.Scalar, Value: s} }

// shown is what of a plan isn't its text or its places.
func shown(t *testing.T, p *Plan) string {
	t.Helper()
	c := *p
	c.Expanded, c.Definitions = nil, nil
	b, err := json.Marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	var strip func(any) any
	strip = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			delete(v, "Pos")
			for k := range v {
				v[k] = strip(v[k])
			}
		case []any:
			for i := range v {
				v[i] = strip(v[i])
			}
		}
		return v
	}
	b, _ = json.Marshal(strip(v))
	return string(b)
}

// step is one level on the way from the root to an object.
type step struct {
	o    *object
	k    string // the key whose value leads on; "" for a key of any name
	list bool   // the value is a sequence of it
}

func trailName(trail []step) string {
	name := ""
	for _, s := range trail {
		name += "." + s.o.name
	}
	return strings.TrimPrefix(name, ".")
}

// walkSchema visits each key of each object below a shape, once for each kind of value that it may have. trail leads to
// the object and ends with it.
func walkSchema(s *shape, trail []step, visit func(trail []step, o *object, k *key, alternative int)) {
	for _, o := range s.objects {
		here := append(slices.Clone(trail), step{o: o})
		for i := range o.keys {
			k := &o.keys[i]
			for a := range kinds(k.value) {
				visit(here, o, k, a)
			}
			inner := k.value
			list := false
			if inner.items != nil && len(inner.objects) == 0 {
				inner, list = inner.items, true
			}
			here[len(here)-1].k, here[len(here)-1].list = k.name, list
			walkSchema(inner, here, visit)
			if k.value.items != nil && len(k.value.objects) > 0 {
				here[len(here)-1].list = true
				walkSchema(k.value.items, here, visit)
			}
		}
	}
}

func kinds(s *shape) int {
	n := 0
	if s.text != nil || s.any {
		n++
	}
	if s.items != nil {
		n++
	}
	return n + len(s.objects)
}

// sampleFor is a value of a key.
func sampleFor(k *key, alternative int) *yaml.Node {
	n := sampleOf(k.value, alternative)
	if fit, ok := fitting[k.name]; ok && n.Kind == yaml.Scalar {
		n.Value = fit
	}
	if k.name == "dependsOn" {
		n.Items = nil
	}
	return n
}

// sampleOf is a value of a shape; alternative chooses the kind.
func sampleOf(s *shape, alternative int) *yaml.Node {
	if s.text != nil || s.any {
		if alternative == 0 {
			return text1(sampleText(s.text))
		}
		alternative--
	}
	if s.items != nil {
		if alternative == 0 {
			return &yaml.Node{Kind: yaml.Sequence, Items: []*yaml.Node{sampleOf(s.items, 0)}}
		}
		alternative--
	}
	o := s.objects[alternative]
	n := &yaml.Node{Kind: yaml.Mapping}
	for i, k := range o.keys {
		if k.required || o.leads && i == 0 {
			n.Pairs = append(n.Pairs, yaml.Pair{Key: text1(k.name), Value: sampleFor(&k, 0)})
		}
	}
	if len(n.Pairs) == 0 && len(o.keys) > 0 && o.name != "resources" {
		k := &o.keys[0]
		if deploy := o.key("deploy"); deploy != nil {
			k = deploy
		}
		n.Pairs = append(n.Pairs, yaml.Pair{Key: text1(k.name), Value: sampleFor(k, 0)})
	}
	if o.values != nil {
		n.Pairs = append(n.Pairs, yaml.Pair{Key: text1("other"), Value: sampleOf(o.values, 0)})
	}
	if o.name == "container resource" {
		n.Pairs = append(n.Pairs, yaml.Pair{Key: text1("image"), Value: text1("i")})
	}
	if o.name == "stage" {
		n.Pairs = append(n.Pairs, yaml.Pair{Key: text1("jobs"), Value: sampleOf(o.key("jobs").value, 0)})
	}
	if o.name == "deployment job" {
		n.Pairs = append(n.Pairs, yaml.Pair{Key: text1("strategy"), Value: sampleOf(o.key("strategy").value, 0)})
	}
	return n
}

func sampleText(r *rule) string {
	for _, s := range []string{"1", "true", "none", "sequential", "manual", "self", "productionReadinessPolicy", ""} {
		if r == nil || r.match == nil || r.match(s) {
			if s == "1" && r == booleans {
				continue
			}
			return s
		}
	}
	panic("no sample of " + r.says)
}

// build is a pipeline that leads along a trail to o, which has k, or hasn't if v is nil.
func build(trail []step, o *object, k *key, v *yaml.Node) *yaml.Node {
	last := trail[len(trail)-1]
	n := minimal(last.o)
	n.Pairs = slices.DeleteFunc(n.Pairs, func(p yaml.Pair) bool { return p.Key.Value == k.name && !k.required })
	if v != nil {
		set(n, k.name, v)
	}
	for i := len(trail) - 2; i >= 0; i-- {
		s := trail[i]
		if s.list {
			n = &yaml.Node{Kind: yaml.Sequence, Items: []*yaml.Node{n}}
		}
		outer := minimal(s.o)
		set(outer, s.k, n)
		n = outer
	}
	return n
}

// minimal is the least of an object that is valid.
func minimal(o *object) *yaml.Node {
	return sampleOf(&shape{objects: []*object{o}}, 0)
}

func set(n *yaml.Node, name string, v *yaml.Node) {
	for i := range n.Pairs {
		if n.Pairs[i].Key.Value == name {
			n.Pairs[i].Value = v
			return
		}
	}
	n.Pairs = append(n.Pairs, yaml.Pair{Key: text1(name), Value: v})
}
