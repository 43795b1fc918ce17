package git

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	branches = "refs/heads/"
	tags     = "refs/tags/"
	notes    = "refs/notes/"
	pulls    = "refs/pull/"

	// Zero stands for no object: the old value of a new ref, the new value of a deleted one.
	Zero = "0000000000000000000000000000000000000000"

	maxRef  = 1024 // bytes of a ref's name
	maxPath = 4096 // bytes of a path in a tree
)

// nameForm is what projects and repositories can be called. A name that ends in .git or .lock would be two things.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// CheckName returns an error of kind Invalid unless a project or repository can have a name.
func CheckName(name string) error {
	lower := strings.ToLower(name)
	if !nameForm.MatchString(name) || strings.Contains(name, "..") || strings.HasSuffix(lower, ".git") || strings.HasSuffix(lower, ".lock") {
		return errorf(Invalid, "%q is no name: it has 1 to 63 letters, digits, dots, hyphens and underscores, begins with a letter or digit, has no two dots in a row and does not end in .git or .lock", clip(name, 80))
	}
	return nil
}

// IsHash reports whether s is a full object name.
func IsHash(s string) bool {
	if len(s) != len(Zero) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// CheckRef returns an error of kind Invalid unless name is a full ref name that git takes (git-check-ref-format), below refs/.
func CheckRef(name string) error {
	if why := refProblem(name); why != "" {
		return errorf(Invalid, "%q is not a ref's name: %s", clip(name, 80), why)
	}
	return nil
}

func refProblem(name string) string {
	switch {
	case len(name) > maxRef:
		return "it is too long"
	case !utf8.ValidString(name):
		return "it is not UTF-8"
	case !strings.HasPrefix(name, "refs/"):
		return "it does not begin with refs/"
	case strings.Contains(name, ".."), strings.Contains(name, "@{"):
		return "it has .. or @{ in it"
	case strings.HasSuffix(name, "."):
		return "it ends with a dot"
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`~^:?*[\`, c) >= 0 {
			return "it has a space, a control character, or one of ~ ^ : ? * [ \\ in it"
		}
	}
	n := 0
	for part := range strings.SplitSeq(name, "/") {
		n++
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return "a part of it is empty, begins with a dot, or ends with .lock"
		}
	}
	if n < 3 {
		return "it has fewer than three parts"
	}
	return ""
}

// checkPushable returns why clients can't update a ref, or "".
func checkPushable(name string) string {
	if why := refProblem(name); why != "" {
		return "funny refname"
	}
	for _, prefix := range []string{branches, tags, notes} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			if prefix == branches && (rest == "HEAD" || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "refs/")) {
				return "branches are not called so"
			}
			return ""
		}
	}
	if strings.HasPrefix(name, pulls) {
		return "refs/pull/ is the server's own"
	}
	return "only refs/heads/, refs/tags/ and refs/notes/ can be pushed to"
}

// checkPath returns an error of kind Invalid unless path names a file or folder in a tree: relative, clean, nothing git refuses.
func checkPath(path string) error {
	bad := func(why string) error {
		return errorf(Invalid, "%q is no path in a repository: %s", clip(path, 80), why)
	}
	switch {
	case path == "" || len(path) > maxPath:
		return bad("it is empty or too long")
	case !utf8.ValidString(path):
		return bad("it is not UTF-8")
	case strings.ContainsAny(path, "\x00\n\r"):
		return bad("it has a line end or a zero in it")
	}
	for part := range strings.SplitSeq(path, "/") {
		switch lower := strings.ToLower(part); {
		case part == "" || part == "." || part == "..":
			return bad("a part of it is empty, . or ..")
		case lower == ".git" || lower == "git~1" || strings.HasPrefix(lower, ".git:") || strings.Trim(lower[min(len(lower), 4):], " .") == "" && strings.HasPrefix(lower, ".git"):
			return bad("a part of it is .git")
		}
	}
	return nil
}

func clip(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
