package config

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
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
	type place struct {
		what, name string
		folder     bool
	}
	ours := []place{{"data", c.Data, true}, {"the configuration file", l.file, false}, {"tls.key", c.TLS.Key, false}, {"tls.ca", c.TLS.CA, true}}
	for _, pair := range c.TLS.Certificates {
		ours = append(ours, place{"tls.certificates.key", pair.Key, false})
	}
	for _, key := range slices.Sorted(maps.Keys(l.secretFiles)) {
		ours = append(ours, place{key + fileSuffix, l.secretFiles[key], false})
	}
	if file, ok := strings.CutPrefix(c.Database.URL.Reveal(), "sqlite:"); ok {
		ours = append(ours, place{"the database", file, false})
	}
	if folder, ok := strings.CutPrefix(c.Blobs.URL, "file:"); ok {
		ours = append(ours, place{"blobs.url", folder, true})
	}
	for _, entry := range c.Secrets.FileRoots {
		_, root := SplitAccount(entry)
		ok := filepath.IsAbs(root) && filepath.Clean(root) == root && root != "/"
		l.check("secrets.file_roots", ok, "%q is not a clean absolute path of a folder, such as /run/secrets", root)
		for _, p := range ours {
			if ok && p.name != "" && (within(root, p.name) || p.folder && within(p.name, root)) {
				l.check("secrets.file_roots", false, "secrets could tell what %s is: %s is not apart from it, name another folder", p.what, root)
				break
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
