package config

import (
	"path/filepath"
	"regexp"
	"strings"
)

// Secrets says where the values of secrets may refer to.
type Secrets struct {
	// Folders, such as /run/secrets. A secret may refer to a file below one instead of
	// having a value of its own. Those of the default account may; for another one,
	// write its 12 digits and = in front.
	FileRoots []string `yaml:"file_roots"`
	// Environment variables of the server that a secret may refer to, in the same form.
	Env []string `yaml:"env"`
}

// SplitAccount splits what a list of [Secrets] has for another account than the default one, which is "".
func SplitAccount(entry string) (account, name string) {
	if account, name, ok := strings.Cut(entry, "="); ok && accountForm.MatchString(account) {
		return account, name
	}
	return "", entry
}

var envForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// secrets refuses what would let who may make a secret read what the server itself lives on.
func (l *loader) secrets() {
	c := &l.Config
	ours := map[string]string{"data": c.Data, "tls.key": c.TLS.Key, "the configuration file": l.file}
	for key, file := range l.secretFiles {
		ours[key+fileSuffix] = file
	}
	for _, entry := range c.Secrets.FileRoots {
		_, root := SplitAccount(entry)
		ok := filepath.IsAbs(root) && filepath.Clean(root) == root && root != "/"
		l.check("secrets.file_roots", ok, "%q is not a clean absolute path of a folder, such as /run/secrets", root)
		for what, file := range ours {
			if ok && file != "" && (within(root, file) || what == "data" && within(file, root)) {
				l.check("secrets.file_roots", false, "%s must not be under %s, or secrets could tell it: name another folder", what, root)
			}
		}
	}
	for _, entry := range c.Secrets.Env {
		_, name := SplitAccount(entry)
		l.check("secrets.env", envForm.MatchString(name), "%q is not the name of a variable", name)
		l.check("secrets.env", !strings.HasPrefix(name, envPrefix) && !strings.HasPrefix(name, "AWS_"),
			"%s is what the server itself is configured with: give the secret a variable of its own", name)
	}
}

// within reports whether a file is a folder or below it, by its name or by where links lead.
func within(folder, file string) bool {
	forms := func(name string) []string {
		list := []string{name}
		if abs, err := filepath.Abs(name); err == nil {
			list[0] = abs
		}
		if real, err := filepath.EvalSymlinks(list[0]); err == nil {
			list = append(list, real)
		}
		return list
	}
	for _, d := range forms(folder) {
		for _, f := range forms(file) {
			if f == d || strings.HasPrefix(f, strings.TrimSuffix(d, "/")+"/") {
				return true
			}
		}
	}
	return false
}
