package pipeline

import (
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline/yaml"
)

// Tasks that go by their id in the normal form: the agent knows them, the catalogue of tasks doesn't have them by the
// names that steps use. That of checkout and that of publish are published with the agent's sources; nothing published
// shows what a download step becomes, nor the names of its inputs.
const (
	checkoutID = "6d15af64-176c-496d-b583-fd2ae21d4df4"
	downloadID = "30f35852-3f7e-4c0c-9a88-e127b4f97211"
	publishID  = "ecdc45f6-832d-4ad9-b52b-ee49e94659be"
)

// shorthand is a kind of step that stands for a task.
type shorthand struct {
	key    string            // the step's first key
	task   string            // what it stands for
	value  string            // the input that takes the value of the first key
	fixed  []string          // names and values of inputs that it always has, before
	after  []string          // and after the first
	inputs map[string]string // other keys that are inputs; those without another name are there with an empty one
}

var powershellInputs = map[string]string{"errorActionPreference": "", "failOnStderr": "", "ignoreLASTEXITCODE": "", "workingDirectory": ""}

var shorthands = []shorthand{
	{key: "script", task: "CmdLine@2", value: "script", inputs: map[string]string{"failOnStderr": "", "workingDirectory": ""}},
	{key: "bash", task: "Bash@3", fixed: []string{"targetType", "inline"}, value: "script", inputs: map[string]string{"failOnStderr": "", "workingDirectory": ""}},
	{key: "powershell", task: "PowerShell@2", fixed: []string{"targetType", "inline"}, value: "script", inputs: powershellInputs},
	{key: "pwsh", task: "PowerShell@2", fixed: []string{"targetType", "inline"}, value: "script", after: []string{"pwsh", "true"}, inputs: powershellInputs},
	{key: "checkout", task: checkoutID + "@1", value: "repository", inputs: map[string]string{
		"clean": "", "fetchDepth": "", "fetchFilter": "", "fetchTags": "", "lfs": "", "persistCredentials": "", "submodules": "", "path": "",
		"sparseCheckoutDirectories": "", "sparseCheckoutPatterns": "", "workspaceRepo": "",
	}},
	{key: "download", task: downloadID + "@1", value: "alias", inputs: map[string]string{"artifact": "", "patterns": ""}},
	{key: "publish", task: publishID + "@1", value: "targetPath", inputs: map[string]string{"artifact": "artifactName"}},
	{key: "upload", task: publishID + "@1", value: "targetPath", inputs: map[string]string{"artifact": "artifactName"}},
	{key: "downloadBuild", task: "DownloadBuildArtifacts@0", value: "definition", inputs: map[string]string{"artifact": "artifactName", "path": "downloadPath", "patterns": "itemPattern"}},
	{key: "getPackage", task: "DownloadPackage@1", value: "definition", inputs: map[string]string{"path": "downloadPath"}},
	{key: "reviewApp", task: "ReviewApp@0", value: "resourceName"},
}

// normalStep is a task with inputs. What all steps can have stands in the order in which it was written, then the inputs.
func normalStep(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.Mapping || len(n.Pairs) == 0 {
		return n
	}
	first := n.Pairs[0]
	i := slices.IndexFunc(shorthands, func(s shorthand) bool { return s.key == first.Key.Value })
	if i < 0 {
		return rewrite(n, map[string]func(*yaml.Node) *yaml.Node{"target": named("container")})
	}
	s := &shorthands[i]
	pos := first.Key.Pos
	inputs := mappingAt(pos)
	fix := func(names []string) {
		for i := 0; i+1 < len(names); i += 2 {
			inputs.Pairs = append(inputs.Pairs, pairAt(pos, names[i], textAt(pos, names[i+1])))
		}
	}
	fix(s.fixed)
	inputs.Pairs = append(inputs.Pairs, pairAt(pos, s.value, first.Value))
	fix(s.after)
	out := mappingAt(n.Pos, pairAt(pos, "task", textAt(pos, s.task)))
	// "none" is a step that never runs: it is there so that the step there would be without it is not.
	// A condition that is written doesn't change that.
	never := (s.key == "checkout" || s.key == "download") && strings.EqualFold(first.Value.Value, "none")
	if never {
		out.Pairs = append(out.Pairs, pairAt(pos, "condition", textAt(pos, "false")))
	}
	for _, pair := range n.Pairs[1:] {
		name, input := s.inputs[pair.Key.Value]
		switch {
		case never && pair.Key.Value == "condition":
		case pair.Key.Value == "inputs": // downloadBuild has some
			inputs.Pairs = append(inputs.Pairs, pair.Value.Pairs...)
		case input:
			if name == "" {
				name = pair.Key.Value
			}
			inputs.Pairs = append(inputs.Pairs, yaml.Pair{Key: textAt(pair.Key.Pos, name), Value: pair.Value})
		case pair.Key.Value == "target":
			pair.Value = named("container")(pair.Value)
			out.Pairs = append(out.Pairs, pair)
		default:
			out.Pairs = append(out.Pairs, pair)
		}
	}
	out.Pairs = append(out.Pairs, yaml.Pair{Key: textAt(pos, "inputs"), Value: inputs})
	return out
}
