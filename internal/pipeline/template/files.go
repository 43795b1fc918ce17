package template

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// file is a file that was read.
type file struct {
	repo Repository
	path string
	name string // as people are told it
	root *yaml.Node
	bad  bool            // it has errors, which were said
	read map[string]bool // the kinds as which it was scanned; false: with errors
}

// resolve finds the repository and the path of a template: relative to the file that names it; from the root of the
// repository if that is another one, or the path begins with a slash. What is given to a template of another repository
// is taken as if that one named it, but for names without an alias.
func (e *expander) resolve(f *frame, at *yaml.Node) (Repository, string, bool) {
	name := strings.ReplaceAll(strings.TrimSpace(at.Value), `\`, "/")
	repo, from := f.file.repo, path.Dir(f.file.path)
	if i := strings.LastIndexByte(name, '@'); i >= 0 {
		alias := name[i+1:]
		name = name[:i]
		other, ok := e.repos[strings.ToLower(alias)]
		if strings.EqualFold(alias, Self) {
			other, ok = Repository{Alias: Self}, true
		}
		if !ok {
			e.fail(at.Pos, "The repository '%s' of the template is not among resources.repositories; declare it there as - repository: %s", alias, alias)
			return repo, "", false
		}
		if !strings.EqualFold(other.Alias, repo.Alias) || f.given != "" && !strings.EqualFold(other.Alias, f.given) {
			from = ""
		}
		repo = other
	}
	if name == "" {
		e.fail(at.Pos, "The template has no file name")
		return repo, "", false
	}
	if strings.HasPrefix(name, "/") {
		from = ""
	}
	full := path.Join(from, strings.TrimLeft(name, "/"))
	if full == ".." || strings.HasPrefix(full, "../") || full == "." {
		e.fail(at.Pos, "The template '%s' is not inside its repository", at.Value)
		return repo, "", false
	}
	return repo, full, true
}

// load reads a file, once.
func (e *expander) load(repo Repository, name string, at yaml.Pos) *file {
	shown := name
	if repo.Alias != Self {
		shown += "@" + repo.Alias
	}
	if fl, ok := e.files[strings.ToLower(repo.Alias)+"\x00"+name]; ok {
		return fl
	}
	fl := &file{repo: repo, path: name, name: shown, read: map[string]bool{}, bad: true}
	if len(e.files) >= e.limits.Files {
		e.stop(at, "The pipeline has more than %d files", e.limits.Files)
		return fl
	}
	e.files[strings.ToLower(repo.Alias)+"\x00"+name] = fl
	data, err := e.o.Source.File(e.ctx, repo, name)
	switch {
	case errors.Is(err, ErrNoFile) && repo.Alias == Self:
		e.fail(at, "File /%s not found in the repository of the pipeline", name)
		return fl
	case errors.Is(err, ErrNoFile):
		e.fail(at, "File /%s not found in repository %s (%s)", name, repo.Alias, strings.TrimSuffix(repo.Name+" "+repo.Ref, " "))
		return fl
	case e.ctx.Err() != nil:
		e.stopped, e.cause = true, e.ctx.Err()
		return fl
	case err != nil:
		e.fail(at, "File /%s of repository %s can't be read: %v", name, repo.Alias, err)
		return fl
	}
	e.order = append(e.order, shown)
	if e.size += len(data); e.size > e.limits.Bytes {
		e.stop(at, "The files of the pipeline have more than the %d bytes that all of them together may have", e.limits.Bytes)
		return fl
	}
	fl.root, err = yaml.Parse(shown, data, yaml.Limits{})
	if err != nil {
		e.failAll(yaml.Pos{File: shown}, err)
		return fl
	}
	fl.bad = false
	return fl
}

// as checks that a file can be what it is used as: that expressions stand where they may, that they can be parsed, that
// it has no other keys at its root.
func (e *expander) as(fl *file, k kind) bool {
	if fl.bad {
		return false
	}
	good, done := fl.read[k.name]
	if done {
		return good
	}
	before, quiet := len(e.errs), e.quiet
	e.quiet = 0
	if fl.root.Kind != yaml.Mapping {
		e.fail(fl.root.Pos, "Expected a mapping")
	} else {
		e.scan(fl.root, k.root)
		e.keys(fl, k)
	}
	e.quiet = quiet
	fl.read[k.name] = len(e.errs) == before
	return fl.read[k.name]
}

// keys checks the keys at the root of a template.
func (e *expander) keys(fl *file, k kind) {
	if k.only == nil {
		return
	}
	has, before := map[string]bool{}, len(e.errs)
	var body string
	for _, p := range fl.root.Pairs {
		key := p.Key.Value
		switch {
		case !slices.Contains(k.only, key):
			e.fail(p.Key.Pos, "Unexpected value '%s'", key)
		case slices.Contains(bodies, key) && body != "":
			e.fail(p.Key.Pos, "Unexpected value '%s'", key)
		case slices.Contains(bodies, key):
			body = key
		}
		has[key] = true
	}
	if len(e.errs) > before {
		return
	}
	switch {
	case k.key == "jobs" && has["phases"]:
	case k.key != "" && !has[k.key]:
		e.fail(fl.root.Pos, "The file %s is used as a %s, but has no '%s'", fl.name, k.name, k.key)
	case k.key == "" && body == "":
		e.fail(fl.root.Pos, "The file %s is used as a %s, but has none of stages, jobs, steps and extends", fl.name, k.name)
	}
}

// scan parses the expressions of a tree. It reports those that can't be parsed and those that can't stand where they do,
// whether or not they would ever be evaluated.
func (e *expander) scan(n *yaml.Node, p *place) {
	switch n.Kind {
	case yaml.Sequence:
		for _, item := range n.Items {
			if item.Kind == yaml.Mapping && len(item.Pairs) == 1 && item.Pairs[0].Value.Kind != yaml.Mapping && strings.Contains(item.Pairs[0].Key.Value, opened) {
				if t := e.scanText(item.Pairs[0].Key, p); t != nil && t.directive != nil {
					e.scan(item.Pairs[0].Value, p)
					continue
				}
			}
			e.scan(item, p.item())
		}
	case yaml.Mapping:
		for _, pair := range n.Pairs {
			t := e.scanText(pair.Key, p)
			switch {
			case t != nil && t.directive != nil:
				e.scan(pair.Value, p)
			case t != nil:
				e.scan(pair.Value, p.below(""))
			default:
				e.scan(pair.Value, p.below(pair.Key.Value))
			}
		}
	default:
		if t := e.scanText(n, p); t != nil && t.directive != nil {
			e.fail(n.Pos, "The expression directive '%s' is not supported in this context", t.directive.name)
		}
	}
}

func (e *expander) scanText(n *yaml.Node, p *place) *text {
	if !strings.Contains(n.Value, opened) {
		return nil
	}
	if p.literal {
		e.fail(n.Pos, "A template expression is not allowed in this context")
		return nil
	}
	t, err := parseText(n.Value)
	if err != nil {
		e.fail(n.Pos, "%v", err)
		return nil
	}
	e.texts[n] = t
	return t
}

// include puts what a template has in the place of the item that names it.
func (e *expander) include(f *frame, item *yaml.Node, p *place, out *yaml.Node) {
	k := fileKinds[p.template]
	in, fl := e.enter(f, item, k)
	if in == nil {
		return
	}
	for _, pair := range fl.root.Pairs {
		if key := pair.Key.Value; key != k.key && (key != "phases" || k.key != "jobs") {
			continue
		}
		switch body := e.node(in, pair.Value, p); {
		case body.Kind == yaml.Sequence:
			out.Items = append(out.Items, body.Items...)
		case body.Kind == yaml.Mapping && p == variables:
			for _, v := range body.Pairs {
				out.Items = append(out.Items, &yaml.Node{Kind: yaml.Mapping, Pos: v.Key.Pos, Pairs: []yaml.Pair{
					{Key: word("name", v.Key.Pos), Value: v.Key}, {Key: word("value", v.Value.Pos), Value: v.Value}}})
			}
		case !isBlank(body):
			e.fail(pair.Value.Pos, "Expected a sequence")
		}
	}
}

// enter makes the frame in which a template is evaluated. item has template and parameters.
func (e *expander) enter(f *frame, item *yaml.Node, k kind) (*frame, *file) {
	at := item.Pairs[0].Value
	var given *yaml.Node
	good := true
	for _, pair := range item.Pairs[1:] {
		if pair.Key.Value == "parameters" {
			given = pair.Value
			continue
		}
		e.fail(pair.Key.Pos, "Unexpected value '%s'", pair.Key.Value)
		good = false
	}
	switch {
	case at.Kind != yaml.Scalar:
		e.fail(at.Pos, "A %s was not expected", kindName(at))
		good = false
	case at.Value == "":
		e.fail(at.Pos, "Expected a non-empty string: the file of the template")
		good = false
	}
	if isBlank(given) {
		given = nil
	}
	if given != nil && given.Kind != yaml.Mapping {
		e.fail(given.Pos, "Expected a mapping")
		good = false
	}
	if !good || e.stopped {
		return nil, nil
	}
	repo, name, ok := e.resolve(f, at)
	if !ok {
		return nil, nil
	}
	fl := e.load(repo, name, at.Pos)
	chain := append(slices.Clip(f.chain), fl.name)
	if len(chain) > e.limits.Depth+1 {
		e.stop(at.Pos, "Templates are nested more than %d levels deep: %s", e.limits.Depth, cycle(chain))
		return nil, nil
	}
	if !e.as(fl, k) {
		return nil, nil
	}
	in := &frame{file: fl, vars: f.vars, labels: f.labels, via: append(slices.Clip(f.via), at.Pos), chain: chain}
	// What is given to it may name templates of repositories that it declares.
	e.known(in)
	if !e.parameters(in, f, given, at.Pos) {
		return nil, nil
	}
	return in, fl
}

// cycle shows the files that name each other, if they do, and otherwise the last few.
func cycle(chain []string) string {
	last := chain[len(chain)-1]
	for i := len(chain) - 2; i >= 0; i-- {
		if chain[i] == last {
			return fmt.Sprintf("%s is a cycle", strings.Join(chain[i:], " → "))
		}
	}
	return "… → " + strings.Join(chain[max(0, len(chain)-5):], " → ")
}
