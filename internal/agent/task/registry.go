package task

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// Info is what is known of a native task.
type Info struct {
	Name     string   // "Bash", in the case in which it is published
	Versions []int    // major versions that this one function serves
	Also     []string // other names it goes by, such as its published id
}

type native struct {
	Info
	run Func
}

// natives are all native tasks, in the order of their names.
func natives() []native {
	return []native{
		{Info{Name: "ArchiveFiles", Versions: []int{2}, Also: []string{"d8b84976-e99a-4b86-b885-4849694435b0"}}, ArchiveFiles},
		{Info{Name: "AWSShellScript", Versions: []int{1}, Also: []string{"3aea39d2-803c-43c7-b8d6-8e71b670f816"}}, AWSShellScript},
		{Info{Name: "Bash", Versions: []int{3}, Also: []string{"6c731c3c-3c68-459a-a5c9-bde6e6595b5b"}}, Bash},
		{Info{Name: "CmdLine", Versions: []int{1, 2}, Also: []string{"d9bafed4-0b18-4f58-968d-86655b4d2ce9"}}, CmdLine},
		{Info{Name: "CopyFiles", Versions: []int{2}, Also: []string{"5bfb729a-a7c8-4a78-a7c3-8d717bb7c13c"}}, CopyFiles},
		{Info{Name: "DeleteFiles", Versions: []int{1}, Also: []string{"b7e8b412-0437-4065-9371-edc5881de25b"}}, DeleteFiles},
		{Info{Name: "Docker", Versions: []int{2}, Also: []string{"e28912f1-0114-4464-802a-a3a35437fd16"}}, Docker},
		{Info{Name: "DownloadBuildArtifacts", Versions: []int{0, 1}, Also: []string{"a433f589-fce1-4460-9ee6-44a624aeb1fb"}}, DownloadBuildArtifacts},
		{Info{Name: "DownloadPipelineArtifact", Versions: []int{1, 2}, Also: []string{"61f2a582-95ae-4948-b34d-a1b3c4f6a737", "30f35852-3f7e-4c0c-9a88-e127b4f97211"}}, DownloadPipelineArtifact},
		{Info{Name: "ECRPullImage", Versions: []int{1}, Also: []string{"ff19b049-2efa-4d42-ae91-630fee8c5e1f"}}, ECRPullImage},
		{Info{Name: "ECRPushImage", Versions: []int{1}, Also: []string{"467d1870-1a00-4755-b00d-9642129fe759"}}, ECRPushImage},
		{Info{Name: "ExtractFiles", Versions: []int{1}, Also: []string{"5e1e3830-fbfb-11e5-aab1-090c92bc4988"}}, ExtractFiles},
		{Info{Name: "NodeTool", Versions: []int{0}}, UseNode},
		{Info{Name: "PowerShell", Versions: []int{2}, Also: []string{"e213ff0f-5d5c-4791-802d-52ea3e7be1f1"}}, PowerShell},
		{Info{Name: "PublishBuildArtifacts", Versions: []int{1}, Also: []string{"2ff763a7-ce83-4e1f-bc89-0ae63477cebe"}}, PublishBuildArtifacts},
		{Info{Name: "PublishCodeCoverageResults", Versions: []int{1, 2}, Also: []string{"2a7ebc54-c13e-490e-81a5-d7561ab7cd97"}}, PublishCodeCoverageResults},
		{Info{Name: "PublishPipelineArtifact", Versions: []int{0, 1}, Also: []string{"ecdc45f6-832d-4ad9-b52b-ee49e94659be"}}, PublishPipelineArtifact},
		{Info{Name: "PublishTestResults", Versions: []int{2}, Also: []string{"0b0f01ed-7dde-43ff-9cbb-e48954daf9b1"}}, PublishTestResults},
		{Info{Name: "UseNode", Versions: []int{1}, Also: []string{"31c75bbb-bcdf-4706-8d7c-4da6a1959bc2"}}, UseNode},
		{Info{Name: "UsePythonVersion", Versions: []int{0}, Also: []string{"33c63b11-352b-45a2-ba1b-54cb568a29ca"}}, UsePythonVersion},
	}
}

// Lookup finds the native task that a step names: "Bash@3", "bash@3.227.1". The last result says whether there is one.
func Lookup(ref string) (Func, Info, bool) {
	name, version, err := Split(ref)
	if err != nil {
		return nil, Info{}, false
	}
	for _, n := range natives() {
		if !n.is(name) {
			continue
		}
		for _, v := range n.Versions {
			if v == version {
				return n.run, n.Info, true
			}
		}
	}
	return nil, Info{}, false
}

func (i Info) is(name string) bool {
	if strings.EqualFold(i.Name, name) {
		return true
	}
	for _, a := range i.Also {
		if strings.EqualFold(a, name) {
			return true
		}
	}
	return false
}

// Native lists the native tasks.
func Native() []Info {
	var all []Info
	for _, n := range natives() {
		all = append(all, n.Info)
	}
	return all
}

// Split takes a reference to a task apart: "Bash@3" is Bash and 3; of "3.227.1" only the major version counts.
func Split(ref string) (name string, major int, err error) {
	name, version, ok := strings.Cut(ref, "@")
	if !ok || name == "" {
		return "", 0, fmt.Errorf("%q names no task: it takes a name and a major version, such as Bash@3", ref)
	}
	first, _, _ := strings.Cut(version, ".")
	major, err = strconv.Atoi(first)
	if err != nil || major < 0 {
		return "", 0, fmt.Errorf("%q names no task: %q is no version", ref, version)
	}
	return name, major, nil
}

// Get returns the value of the first of some inputs that is there and not empty. Names are compared without regard to case;
// more than one is for inputs with aliases.
func (in Inputs) Get(names ...string) string {
	for _, n := range names {
		if v := in[strings.ToLower(n)]; v != "" {
			return v
		}
	}
	return ""
}

// Bool returns the value of an input that is true or false; def where it is not given.
func (in Inputs) Bool(def bool, names ...string) bool {
	switch strings.ToLower(in.Get(names...)) {
	case "":
		return def
	case "true":
		return true
	}
	return false
}

// Require returns the value of an input that must be given.
func (in Inputs) Require(names ...string) (string, error) {
	if v := in.Get(names...); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("input required: %s", names[0])
}

// Endpoint finds a service connection by its name or id.
func (c *Context) Endpoint(ref string) (*work.Endpoint, error) {
	for i := range c.Job.Endpoints {
		e := &c.Job.Endpoints[i]
		if e.ID == ref || strings.EqualFold(e.Name, ref) {
			return e, nil
		}
	}
	return nil, fmt.Errorf("there is no service connection %q that this job may use: it must exist in the project, be permitted to the pipeline (sekisho pipeline permit), and be named in a step's inputs literally", ref)
}
