package flow

import (
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sekisho/sekisho/internal/pipeline"
)

// Push is what a push did to one ref.
type Push struct {
	Ref      string // "refs/heads/main", "refs/tags/v1"
	Deleted  bool
	Messages []string // of the commits that are new
	Paths    []string // of the files that changed, from the root of the repository; nil: not known, which matches any filter
}

// Match is whether something starts a run, and why (not), for people.
type Match struct {
	Run    bool
	Reason string
}

func no(format string, args ...any) Match  { return Match{false, fmt.Sprintf(format, args...)} }
func yes(format string, args ...any) Match { return Match{true, fmt.Sprintf(format, args...)} }

// MatchPush says whether a push starts a run. A pipeline without a trigger (nil) runs for every branch and for no tag.
func MatchPush(t *pipeline.Trigger, p Push) Match {
	if p.Deleted {
		return no("%s was deleted", p.Ref)
	}
	for _, message := range p.Messages {
		if form := SkipCI(message); form != "" {
			return no("a commit's message has %s", form)
		}
	}
	tag, isTag := strings.CutPrefix(p.Ref, "refs/tags/")
	branch, isBranch := strings.CutPrefix(p.Ref, "refs/heads/")
	switch {
	case t == nil && isBranch:
		return yes("without a trigger every branch runs")
	case t == nil:
		return no("without a trigger only branches run, and %s is none", p.Ref)
	case !t.Enabled:
		return no("the pipeline has trigger: none")
	case isTag:
		if isEmpty(t.Tags) {
			// Tags may also be named among the branches, in full.
			if !hasTags(t.Branches) {
				return no("the trigger names no tags")
			}
			if matchRef(t.Branches, p.Ref, "") {
				return yes("the tag %s is among the trigger's branches", tag)
			}
			return no("the tag %s is not among the trigger's branches", tag)
		}
		if matchRef(t.Tags, p.Ref, tag) {
			return yes("the tag %s matches the trigger", tag)
		}
		return no("the tag %s does not match the trigger", tag)
	case !isBranch:
		return no("%s is neither a branch nor a tag", p.Ref)
	case isEmpty(t.Branches) && !isEmpty(t.Tags):
		return no("the trigger names tags alone")
	case !MatchBranch(t.Branches, p.Ref):
		return no("the branch %s does not match the trigger", branch)
	}
	return matchPaths(t.Paths, p.Paths, "the branch "+branch+" matches the trigger")
}

// PullRequestEvent is what happened to a pull request.
type PullRequestEvent struct {
	Target   string // the ref it is to be merged into
	Draft    bool
	Messages []string
	Paths    []string // as in [Push]
}

// MatchPullRequest says whether a pull request starts a run. A pipeline without pr (nil) runs for those into any branch.
func MatchPullRequest(t *pipeline.Trigger, p PullRequestEvent) Match {
	for _, message := range p.Messages {
		if form := SkipCI(message); form != "" {
			return no("a commit's message has %s", form)
		}
	}
	branch := strings.TrimPrefix(p.Target, "refs/heads/")
	switch {
	case t == nil:
		return yes("without pr every pull request runs")
	case !t.Enabled:
		return no("the pipeline has pr: none")
	case p.Draft && !t.Drafts:
		return no("it is a draft, and the pipeline has drafts: false")
	case !MatchBranch(t.Branches, p.Target):
		return no("its target branch %s does not match pr", branch)
	}
	return matchPaths(t.Paths, p.Paths, "its target branch "+branch+" matches pr")
}

func matchPaths(f pipeline.Filter, paths []string, reason string) Match {
	if isEmpty(f) || paths == nil {
		return Match{true, reason}
	}
	for _, p := range paths {
		if MatchPath(f, p) {
			return yes("%s, and the file %s matches its paths", reason, p)
		}
	}
	return no("none of the %d changed files matches the trigger's paths", len(paths))
}

func isEmpty(f pipeline.Filter) bool { return len(f.Include) == 0 && len(f.Exclude) == 0 }

func hasTags(f pipeline.Filter) bool {
	for _, p := range f.Include {
		if strings.HasPrefix(p, "refs/tags/") {
			return true
		}
	}
	return false
}

// MatchBranch reports whether a ref is among a filter's branches: it is included and not excluded. Patterns name branches
// with or without refs/heads/; * stands for any characters, ? for one. To exclude alone includes all others; an empty
// filter includes all.
func MatchBranch(f pipeline.Filter, ref string) bool {
	branch, _ := strings.CutPrefix(ref, "refs/heads/")
	return matchRef(f, ref, branch)
}

func matchRef(f pipeline.Filter, ref, short string) bool {
	matches := func(patterns []string) bool {
		for _, p := range patterns {
			if strings.HasPrefix(p, "refs/") {
				if matchGlob(p, ref) {
					return true
				}
			} else if short != "" && matchGlob(p, short) {
				return true
			}
		}
		return false
	}
	return (len(f.Include) == 0 || matches(f.Include)) && !matches(f.Exclude)
}

// matchGlob matches * to any characters, slashes too, and ? to one.
func matchGlob(pattern, s string) bool {
	// Going back only to the last star suffices, and keeps hostile patterns cheap.
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			i += runeLen(s[i:])
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark += runeLen(s[mark:])
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func runeLen(s string) int {
	for i := range s {
		if i > 0 {
			return i
		}
	}
	return len(s)
}

// MatchPath reports whether a file is among a filter's paths. A pattern names a file, or a folder with all in it; * and ?
// stay within a folder, ** does not. Of the patterns that match, the one that goes deepest decides; include loses against
// exclude of the same depth. To exclude alone includes all others.
func MatchPath(f pipeline.Filter, path string) bool {
	path = strings.Trim(path, "/")
	included, excluded := depth(f.Include, path), depth(f.Exclude, path)
	if len(f.Include) == 0 {
		included = 0
	}
	return included > excluded
}

// depth is how deep the deepest pattern goes that matches, -1 if none does.
func depth(patterns []string, path string) int {
	deepest := -1
	for _, pattern := range patterns {
		pattern = strings.Trim(strings.TrimPrefix(pattern, "./"), "/")
		if !matchesPath(pattern, path) {
			continue
		}
		d := 0
		for _, part := range strings.Split(pattern, "/") {
			if part != "" && strings.Trim(part, "*") != "" { // a part that is all stars says nothing
				d++
			}
		}
		deepest = max(deepest, d)
	}
	return deepest
}

// matchesPath reports whether a pattern names a file, or one of the folders it is in.
func matchesPath(pattern, path string) bool {
	if pattern == "" {
		return true // the root
	}
	if !strings.ContainsAny(pattern, "*?") {
		return path == pattern || strings.HasPrefix(path, pattern+"/")
	}
	// Braces and brackets are not special in these patterns.
	pattern = globEscape.Replace(pattern)
	for end := 0; ; end++ {
		next := strings.IndexByte(path[end:], '/')
		if next < 0 {
			break
		}
		end += next
		if ok, err := doublestar.Match(pattern, path[:end]); err == nil && ok {
			return true
		}
	}
	ok, err := doublestar.Match(pattern, path)
	return err == nil && ok
}

var globEscape = strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, "{", `\{`, "}", `\}`)

var skipForms = []string{
	"[skip ci]", "[ci skip]", "skip-checks: true", "skip-checks:true", "[skip azurepipelines]", "[azurepipelines skip]",
	"[skip azpipelines]", "[azpipelines skip]", "[skip azp]", "[azp skip]", "***no_ci***",
}

// SkipCI returns what in a commit's message asks that a push of it starts no run; empty if nothing does.
func SkipCI(message string) string {
	low := strings.ToLower(message)
	for _, form := range skipForms {
		if i := strings.Index(low, form); i >= 0 {
			if len(low) == len(message) {
				return message[i : i+len(form)]
			}
			return form
		}
	}
	return ""
}
