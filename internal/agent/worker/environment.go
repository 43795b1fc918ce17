package worker

import (
	"path"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// Allowed are the variables of the agent's environment that steps see: what programs need to find themselves, their
// user, the language, and the way out of a private network. Everything else stays with the agent.
func Allowed() []string {
	return []string{
		"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "TMPDIR", "HOSTNAME",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
		"SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE", "CURL_CA_BUNDLE",
		"DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "CONTAINER_HOST", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF", "BUILDKIT_HOST", "BUILDAH_ISOLATION",
		"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS",
		// Windows
		"SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "TEMP", "TMP", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES", "PROGRAMFILES(X86)", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE", "PSMODULEPATH",
	}
}

// allowed is what of an environment is on the list.
func allowed(env, more []string) []string {
	list := append(Allowed(), more...)
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return name == "" || !slices.ContainsFunc(list, func(pattern string) bool {
			ok, err := path.Match(pattern, name)
			return err == nil && ok
		})
	})
}

// environment is what a step's processes see: the agent's allowed environment on the host, the step's own, and the
// job's public variables, which win.
func (j *job) environment(s *work.Step, inContainer bool) []string {
	e := envSet{index: map[string]int{}}
	if !inContainer {
		for _, v := range j.base {
			name, value, _ := strings.Cut(v, "=")
			e.set(name, value)
		}
		if lookEnv(j.base, "HOME") == "" {
			e.set("HOME", j.dirs.Temp)
		}
	} else {
		e.set("HOME", j.dirs.Temp)
	}
	e.set("TF_BUILD", "True")
	for _, p := range s.Env {
		if name := strings.TrimSpace(p.Name); name != "" {
			e.set(name, strings.TrimSpace(j.vars.expand(p.Value)))
		}
	}
	for _, v := range j.vars.all() {
		if v.Secret {
			continue
		}
		if strings.EqualFold(v.Name, "agent.jobstatus") {
			e.set("agent.jobstatus", v.Value)
		}
		e.set(envName(v.Name), v.Value)
	}
	j.notes.Lock()
	folders := slices.Clone(j.prepend)
	j.notes.Unlock()
	if len(folders) > 0 {
		slices.Reverse(folders)
		now, ok := e.get("PATH")
		if !ok && inContainer {
			now = j.engine.path(s, j)
		}
		e.set("PATH", strings.Join(append(folders, now), ":"))
	}
	return e.list
}

// envSet is an environment in which each name is there once.
type envSet struct {
	list  []string
	index map[string]int
}

func (e *envSet) set(name, value string) {
	if strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
		return // no process can have it
	}
	if i, ok := e.index[name]; ok {
		e.list[i] = name + "=" + value
		return
	}
	e.index[name] = len(e.list)
	e.list = append(e.list, name+"="+value)
}

func (e *envSet) get(name string) (string, bool) {
	i, ok := e.index[name]
	if !ok {
		return "", false
	}
	return strings.TrimPrefix(e.list[i], name+"="), true
}
