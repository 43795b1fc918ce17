package pool

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// demand is what a job wants of an agent: that it has a capability, has it with a value, or with a version above one.
type demand struct {
	name     string
	operator string // "", "-equals", "-gtVersion"
	value    string
}

func parseDemand(text string) (demand, error) {
	fields := strings.Fields(text)
	switch {
	case len(fields) == 1:
		return demand{name: fields[0]}, nil
	case len(fields) >= 3 && (strings.EqualFold(fields[1], "-equals") || strings.EqualFold(fields[1], "-gtVersion")):
		_, value, _ := strings.Cut(text, fields[1])
		return demand{fields[0], strings.ToLower(fields[1]), strings.TrimSpace(value)}, nil
	}
	return demand{}, errorf(Invalid, "%q is no demand: one is a capability's name, or name -equals value, or name -gtVersion version.", cut(text))
}

// CheckDemand returns an error if a text is no demand.
func CheckDemand(text string) error {
	_, err := parseDemand(text)
	return err
}

func (d *demand) meets(value string) bool {
	switch d.operator {
	case "-equals":
		return strings.EqualFold(value, d.value)
	case "-gtversion":
		return compareVersions(value, d.value) > 0
	}
	return true
}

// compareVersions compares dotted numbers; what is no number counts as lower.
func compareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if c := cmp.Compare(part(as, i), part(bs, i)); c != 0 {
			return c
		}
	}
	return 0
}

func part(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, err := strconv.Atoi(parts[i])
	if err != nil {
		return -1
	}
	return n
}

// Outside is the capability of agents that may have jobs of pull requests from outside, whose steps anybody may have written:
// agents of one job, which leave nothing to a next one, and those that people say so of.
const Outside = "Sekisho.Outside"

// Capabilities returns what the agent can do: what it found, what people gave it, and what it is.
func (a *Agent) Capabilities() map[string]string {
	can := maps.Clone(a.System)
	if can == nil {
		can = map[string]string{}
	}
	maps.Copy(can, a.Custom)
	for name, value := range map[string]string{
		"Agent.Name": a.Name, "Agent.Version": a.Version, "Agent.OS": osName(a.OS), "Agent.OSArchitecture": archName(a.Arch),
		"Agent.ComputerName": a.Host,
	} {
		if value != "" {
			can[name] = value
		}
	}
	if a.OneJob {
		can[Outside] = "true"
	}
	return can
}

// osName and archName are how pipelines that exist name them.
func osName(goos string) string {
	switch goos {
	case "linux":
		return "Linux"
	case "darwin":
		return "Darwin"
	case "windows":
		return "Windows_NT"
	}
	return goos
}

func archName(goarch string) string {
	switch goarch {
	case "amd64":
		return "X64"
	case "386":
		return "X86"
	}
	return strings.ToUpper(goarch)
}

// Matches returns the demands that the agent doesn't meet. Names of capabilities are the same whatever their case.
func (a *Agent) Matches(demands []string) (missing []string) {
	if len(demands) == 0 {
		return nil
	}
	folded := map[string]string{}
	can := a.Capabilities()
	for _, name := range slices.Sorted(maps.Keys(can)) {
		folded[fold(name)] = can[name]
	}
	for _, text := range demands {
		d, err := parseDemand(text)
		if err == nil {
			value, has := folded[fold(d.name)]
			if has && d.meets(value) {
				continue
			}
		}
		missing = append(missing, text)
	}
	return missing
}
