package git

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
)

// The methods that read take an id and no caller: whoever calls them has judged, or asks MayRead first.

// MayRead returns the repository of a name if a caller may read it. Errors: *iam.DeniedError, kinds NotFound and Invalid.
func (s *Service) MayRead(ctx context.Context, c *iam.Caller, n Name) (*Repository, error) {
	return s.allowed(ctx, c, "Pull", n)
}

// Resolve returns the commit that a name stands for: HEAD or "" (the default branch), a full ref, the name of a branch, of a
// tag, or 40 digits. Errors: kinds NotFound and Invalid.
func (s *Service) Resolve(ctx context.Context, id, name string) (commit string, err error) {
	_, commit, err = s.ResolveRef(ctx, id, name)
	return commit, err
}

// ResolveRef is Resolve, and says which full ref the name is of; "" for 40 digits.
func (s *Service) ResolveRef(ctx context.Context, id, name string) (ref, commit string, err error) {
	var specs []string
	switch {
	case name == "" || name == "HEAD":
		r, err := s.ByID(ctx, id)
		if err != nil {
			return "", "", err
		}
		specs = []string{branches + r.DefaultBranch}
	case IsHash(name):
		specs = []string{name}
	case strings.HasPrefix(name, "refs/"):
		specs = []string{name}
	default:
		specs = []string{branches + name, tags + name}
	}
	for _, spec := range specs {
		if !IsHash(spec) {
			if err := CheckRef(spec); err != nil {
				return "", "", err
			}
		}
	}
	err = s.ask(ctx, id, func(r *reader) error {
		for _, spec := range specs {
			hash, kind, _, found, err := r.info(spec + "^{commit}")
			if err != nil {
				return err
			}
			if found && kind == "commit" {
				commit = hash
				if !IsHash(spec) {
					ref = spec
				}
				return nil
			}
		}
		return errorf(NotFound, "the repository has no branch, tag or commit %q", clip(name, 80))
	})
	return ref, commit, err
}

// File is a file as it was read.
type File struct {
	Hash string
	Data []byte
}

// ReadFile returns a file of a commit, which has at most limit bytes. Errors: kinds NotFound, TooLarge and Invalid.
func (s *Service) ReadFile(ctx context.Context, id, commit, name string, limit int64) (*File, error) {
	if err := checkAt(commit, name); err != nil {
		return nil, err
	}
	f := &File{}
	err := s.ask(ctx, id, func(r *reader) error {
		hash, kind, size, found, err := r.info(commit + ":" + name)
		switch {
		case err != nil:
			return err
		case !found:
			return s.missing(r, commit, name)
		case kind != "blob":
			return errorf(Invalid, "%s is a folder, not a file", name)
		case size > limit:
			return errorf(TooLarge, "%s has %s, and at most %s are read", name, bytesText(size), bytesText(limit))
		}
		f.Hash = hash
		_, f.Data, err = r.contents(hash, limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func checkAt(commit, name string) error {
	if !IsHash(commit) {
		return errorf(Invalid, "%q is not the full name of a commit", clip(commit, 80))
	}
	if name == "" {
		return nil
	}
	return checkPath(name)
}

// missing says whether a path or its commit is not there.
func (s *Service) missing(r *reader, commit, name string) error {
	_, _, _, found, err := r.info(commit)
	if err != nil {
		return err
	}
	if !found {
		return errorf(NotFound, "the repository has no commit %s", commit)
	}
	return errorf(NotFound, "there is no %s in commit %s", name, commit[:12])
}

// EntryKind is what an entry of a folder is.
type EntryKind string

// The kinds of entries.
const (
	RegularFile EntryKind = "file"
	Executable  EntryKind = "executable"
	Symlink     EntryKind = "symlink"
	Folder      EntryKind = "folder"
	Submodule   EntryKind = "submodule"
)

// Entry is an entry of a folder.
type Entry struct {
	Name string
	Kind EntryKind
	Hash string
}

// maxTree bounds the folder that is listed.
const maxTree = 8 << 20

// ListTree returns what is in a folder of a commit, "" being the uppermost, folders first. Errors: as those of ReadFile.
func (s *Service) ListTree(ctx context.Context, id, commit, name string) ([]Entry, error) {
	if err := checkAt(commit, name); err != nil {
		return nil, err
	}
	var data []byte
	err := s.ask(ctx, id, func(r *reader) error {
		spec := commit + "^{tree}"
		if name != "" {
			spec = commit + ":" + name
		}
		hash, kind, size, found, err := r.info(spec)
		switch {
		case err != nil:
			return err
		case !found:
			return s.missing(r, commit, path.Join("/", name))
		case kind != "tree":
			return errorf(Invalid, "%s is a file, not a folder", name)
		case size > maxTree:
			return errorf(TooLarge, "the folder %q has too much in it to be listed", name)
		}
		_, data, err = r.contents(hash, maxTree)
		return err
	})
	if err != nil {
		return nil, err
	}
	return parseTree(data)
}

// parseTree reads a tree object.
func parseTree(data []byte) ([]Entry, error) {
	var all []Entry
	for len(data) > 0 {
		mode, rest, ok := bytes.Cut(data, []byte{' '})
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(rest) < 20 || len(name) == 0 {
			return nil, errorf(Invalid, "the folder's object is damaged")
		}
		e := Entry{Name: string(name), Hash: hex.EncodeToString(rest[:20])}
		n, err := strconv.ParseUint(string(mode), 8, 32)
		if err != nil {
			return nil, errorf(Invalid, "the folder's object is damaged")
		}
		switch n & 0o170000 {
		case 0o040000:
			e.Kind = Folder
		case 0o120000:
			e.Kind = Symlink
		case 0o160000:
			e.Kind = Submodule
		default:
			e.Kind = RegularFile
			if n&0o111 != 0 {
				e.Kind = Executable
			}
		}
		all = append(all, e)
		data = rest[20:]
	}
	slices.SortStableFunc(all, func(a, b Entry) int {
		if (a.Kind == Folder) != (b.Kind == Folder) {
			if a.Kind == Folder {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, nil
}

// Commit is a commit without what is in it.
type Commit struct {
	Hash          string
	Parents       []string
	Author        Person
	Committer     Person
	Subject, Body string
}

// Person is who made a commit, as they say.
type Person struct {
	Name, Email string
	Time        time.Time
}

const (
	maxLog     = 500     // commits at a time
	maxMessage = 8 << 10 // bytes of a commit's body
)

// LogQuery says which commits [Service.Commits] returns.
type LogQuery struct {
	From  string // the commit to begin with
	Until string // without this one and those before it; "": none
	Path  string // only those that changed it; "": all
	Skip  int
	Limit int // at most 500; 0: 50
}

// Commits returns commits, the newest first. Errors: kinds NotFound and Invalid.
func (s *Service) Commits(ctx context.Context, id string, q LogQuery) ([]Commit, error) {
	if err := checkAt(q.From, q.Path); err != nil {
		return nil, err
	}
	if q.Until != "" && !IsHash(q.Until) || q.Skip < 0 || q.Limit < 0 || q.Limit > maxLog {
		return nil, errorf(Invalid, "a list of commits has at most %d, and ends before the full name of one", maxLog)
	}
	if q.Limit == 0 {
		q.Limit = 50
	}
	args := []string{"log", "-z", "--no-color", "--encoding=UTF-8", "--max-count=" + strconv.Itoa(q.Limit), "--skip=" + strconv.Itoa(q.Skip),
		"--format=%H%x1f%P%x1f%an%x1f%ae%x1f%at%x1f%cn%x1f%ce%x1f%ct%x1f%s%x1f%b", q.From}
	if q.Until != "" {
		args = append(args, "^"+q.Until)
	}
	args = append(args, "--")
	if q.Path != "" {
		args = append(args, ":(literal)"+q.Path)
	}
	out, err := s.inspect(ctx, 64<<20, id, args)
	if err != nil {
		return nil, err
	}
	var all []Commit
	for record := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		f := strings.SplitN(record, "\x1f", 10)
		if len(f) != 10 {
			continue
		}
		all = append(all, Commit{Hash: f[0], Parents: strings.Fields(f[1]), Author: person(f[2:5]), Committer: person(f[5:8]),
			Subject: clip(f[8], maxMessage), Body: clip(strings.TrimSpace(f[9]), maxMessage)})
	}
	return all, nil
}

func person(f []string) Person {
	at, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		at = 0
	}
	return Person{Name: clip(f[0], 200), Email: clip(f[1], 200), Time: time.Unix(at, 0).UTC()}
}

// inspect runs a program over the objects of a repository; that something is not there is an error of kind NotFound.
func (s *Service) inspect(ctx context.Context, limit int64, id string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out, err := s.output(ctx, limit, &program{dir: s.folder(id), args: args})
	if e, ok := err.(*exitError); ok && exitCode(err) == 128 {
		return nil, errorf(NotFound, "the repository has not what is asked for: %s", oneLine(e.stderr))
	}
	return out, err
}

// ChangedPaths returns the paths that differ between two commits, sorted; with old "" or [Zero] all of the new one. complete is
// false if there are more than limit. Errors: kinds NotFound and Invalid.
func (s *Service) ChangedPaths(ctx context.Context, id, old, new string, limit int) (paths []string, complete bool, err error) {
	if err := checkAt(new, ""); err != nil {
		return nil, false, err
	}
	args := []string{"ls-tree", "-r", "-z", "--name-only", "--full-tree", new}
	if old != "" && old != Zero {
		if err := checkAt(old, ""); err != nil {
			return nil, false, err
		}
		args = []string{"diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new}
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	w := &pathWriter{limit: limit}
	err = s.run(ctx, &program{dir: s.folder(id), args: args, stdout: w})
	if w.full {
		return w.paths, false, nil
	}
	if e, ok := err.(*exitError); ok && exitCode(err) > 0 {
		return nil, false, errorf(NotFound, "the repository has not what is asked for: %s", oneLine(e.stderr))
	}
	return w.paths, err == nil, err
}

// pathWriter takes paths that end in a zero.
type pathWriter struct {
	paths []string
	rest  []byte
	limit int
	full  bool
}

func (w *pathWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, 0)
		if i < 0 {
			if w.rest = append(w.rest, p...); len(w.rest) > 64<<10 {
				return 0, errOutput
			}
			return n, nil
		}
		if len(w.paths) == w.limit {
			w.full = true
			return 0, errOutput
		}
		w.paths = append(w.paths, string(w.rest)+string(p[:i]))
		w.rest, p = w.rest[:0], p[i+1:]
	}
}

// MergeBase returns the best common ancestor of two commits, or "" if there is none. Errors: kinds NotFound and Invalid.
func (s *Service) MergeBase(ctx context.Context, id, a, b string) (string, error) {
	for _, c := range []string{a, b} {
		if err := checkAt(c, ""); err != nil {
			return "", err
		}
	}
	out, err := s.inspect(ctx, 1<<10, id, []string{"merge-base", a, b})
	if exitCode(err) == 1 {
		return "", nil
	}
	return strings.TrimSpace(string(out)), err
}

// Ref is a ref and what it points to.
type Ref struct {
	Name   string
	Target string // the object; for an annotated tag, that of the tag
	Commit string // what it is in the end; "" if that is no commit
}

// Refs returns the refs below a prefix such as refs/heads/, by name, after the one named so, at most limit. Errors: kind Invalid.
func (s *Service) Refs(ctx context.Context, id, prefix, after string, limit int) ([]Ref, error) {
	if prefix != "" && (!strings.HasPrefix(prefix, "refs/") || !strings.HasSuffix(prefix, "/") || refProblem(prefix+"x/x") != "") {
		return nil, errorf(Invalid, "%q is not the beginning of refs, such as %s", clip(prefix, 80), branches)
	}
	args := []string{"for-each-ref", "--format=%(objectname) %(objecttype) %(*objectname) %(*objecttype) %(refname)"}
	if prefix != "" {
		args = append(args, strings.TrimSuffix(prefix, "/"))
	}
	out, err := s.output(ctx, maxRefBytes, &program{dir: s.folder(id), args: args})
	if err != nil {
		return nil, fmt.Errorf("read refs: %w", err)
	}
	var all []Ref
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(f) != 5 || f[4] <= after || strings.HasPrefix(f[4], "refs/sekisho/") {
			continue
		}
		if len(all) == limit {
			break
		}
		ref := Ref{Name: f[4], Target: f[0]}
		switch {
		case f[1] == "commit":
			ref.Commit = f[0]
		case f[3] == "commit":
			ref.Commit = f[2]
		}
		all = append(all, ref)
	}
	return all, nil
}
