package agent

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tool is a program that jobs may demand.
type tool struct {
	capability string
	program    string
	version    []string // arguments that make it say its version; nil: it isn't asked
}

var tools = []tool{
	{"aws", "aws", []string{"--version"}},
	{"bash", "bash", []string{"--version"}},
	{"buildah", "buildah", []string{"--version"}},
	{"buildctl", "buildctl", []string{"--version"}},
	{"buildkitd", "buildkitd", []string{"--version"}},
	{"cargo", "cargo", []string{"--version"}},
	{"cmake", "cmake", []string{"--version"}},
	{"curl", "curl", []string{"--version"}},
	{"docker", "docker", []string{"--version"}},
	{"dotnet", "dotnet", []string{"--version"}},
	{"gcc", "gcc", []string{"--version"}},
	{"git", "git", []string{"--version"}},
	{"go", "go", []string{"version"}},
	{"helm", "helm", []string{"version", "--short"}},
	{"java", "java", []string{"-version"}},
	{"kubectl", "kubectl", nil},
	{"make", "make", []string{"--version"}},
	{"maven", "mvn", nil},
	{"node.js", "node", []string{"--version"}},
	{"npm", "npm", nil},
	{"podman", "podman", []string{"--version"}},
	{"pwsh", "pwsh", []string{"--version"}},
	{"python", "python", []string{"--version"}},
	{"python3", "python3", []string{"--version"}},
	{"rsync", "rsync", []string{"--version"}},
	{"runc", "runc", []string{"--version"}},
	{"sh", "sh", nil},
	{"skopeo", "skopeo", []string{"--version"}},
	{"tar", "tar", []string{"--version"}},
	{"terraform", "terraform", nil},
	{"unzip", "unzip", nil},
	{"zip", "zip", nil},
}

// CapabilityPrefix is what variables begin with that give the agent capabilities of one's own: SEKISHO_CAPABILITY_gpu=a100 makes
// it one that meets the demand gpu. Other variables are not told: they may hold secrets.
const CapabilityPrefix = "SEKISHO_CAPABILITY_"

const toolTime = 5 * time.Second

var versionNumber = regexp.MustCompile(`\d+(\.\d+)+`)

// Capabilities finds out what this machine can do: programs by their path, with ".version", its processors and memory, and what the
// environment, "NAME=value", says.
func Capabilities(ctx context.Context, env []string) map[string]string {
	var mu sync.Mutex
	can := map[string]string{"Agent.CPUs": strconv.Itoa(runtime.NumCPU())}
	if memory := totalMemory(); memory > 0 {
		can["Agent.MemoryMiB"] = strconv.FormatInt(memory>>20, 10)
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for _, t := range tools {
		path, err := exec.LookPath(t.program)
		if err != nil {
			continue
		}
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			version := ""
			if t.version != nil {
				version = versionOf(ctx, path, t.version)
			}
			mu.Lock()
			defer mu.Unlock()
			if can[t.capability] = path; version != "" {
				can[t.capability+".version"] = version
			}
		})
	}
	wg.Wait()
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		if name, ok := strings.CutPrefix(name, CapabilityPrefix); ok && name != "" && len(name) <= 256 && len(value) <= 4096 {
			can[name] = value
		}
	}
	return can
}

// versions are those that programs said, by path: an agent of one job is configured and run by one process, and they take a second
// or two.
var versions sync.Map

// versionOf returns the first thing that looks like a version in what a program says of itself.
func versionOf(ctx context.Context, path string, args []string) string {
	if version, ok := versions.Load(path); ok {
		return version.(string)
	}
	ctx, cancel := context.WithTimeout(ctx, toolTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return ""
	}
	version := versionNumber.FindString(string(out))
	versions.Store(path, version)
	return version
}

// totalMemory returns the machine's memory in bytes, 0 where it can't be told.
func totalMemory() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			n, _ := strconv.ParseInt(kib, 10, 64)
			return n << 10
		}
	}
	return 0
}
