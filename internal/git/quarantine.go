package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/durable"
)

// isolated holds objects that are not part of a repository yet. Programs see them, with those of the repository, through env.
type isolated struct {
	s   *Service
	r   *Repository
	dir string
	env []string
}

// isolate makes an empty quarantine.
func (s *Service) isolate(r *Repository) (*isolated, error) {
	objects := filepath.Join(s.folder(r.ID), "objects")
	dir, err := os.MkdirTemp(objects, quarantine)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errorf(NotFound, "the repository is not there any more")
	}
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"pack", "info"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	return &isolated{s: s, r: r, dir: dir, env: []string{
		"GIT_OBJECT_DIRECTORY=" + dir, "GIT_ALTERNATE_OBJECT_DIRECTORIES=" + objects, "GIT_QUARANTINE_PATH=" + dir,
	}}, nil
}

// discard deletes what is left.
func (q *isolated) discard() {
	if err := os.RemoveAll(q.dir); err != nil {
		q.s.o.Logger.Warn("objects of a push were not deleted", "repo", q.r.ID, "err", err)
	}
}

// strictness is what fsck minds: everything, except three old faults that many repositories have and nobody is hurt by.
const strictness = "--strict=badTimezone=ignore,missingSpaceBeforeDate=ignore,zeroPaddedFilemode=ignore"

// unpack stores a pack. Its objects are checked, and what they link to must be there.
func (q *isolated) unpack(ctx context.Context, in io.Reader, progress io.Writer) error {
	args := []string{"index-pack", "--stdin", "--fix-thin", strictness}
	if progress != nil {
		args = append(args, "--show-resolving-progress")
	}
	return q.s.run(ctx, &program{dir: q.s.folder(q.r.ID), args: args, env: q.env, stdin: in, stdout: io.Discard, stderr: progress})
}

// known is what an object is.
type known struct {
	kind string // commit, tree, blob, tag; "" if it is not there
	size int64
}

// look says what objects are.
func (q *isolated) look(ctx context.Context, hashes []string) ([]known, error) {
	out, err := q.s.output(ctx, int64(len(hashes))*128+1024, &program{
		dir: q.s.folder(q.r.ID), args: []string{"cat-file", "--batch-check=%(objecttype) %(objectsize)", "--buffer"}, env: q.env,
		stdin: strings.NewReader(strings.Join(hashes, "\n") + "\n"),
	})
	if err != nil {
		return nil, err
	}
	all := make([]known, 0, len(hashes))
	for line := range strings.Lines(string(out)) {
		kind, size, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			kind = ""
		}
		all = append(all, known{kind, n})
	}
	if len(all) != len(hashes) {
		return nil, fmt.Errorf("git cat-file answered %d of %d questions", len(all), len(hashes))
	}
	return all, nil
}

// maxOther bounds trees, commits and tags, which are held in memory whole.
const maxOther = 32 << 20

// large returns the new objects that are over their kind's limit: of files the given one.
func (q *isolated) large(ctx context.Context, limit int64) (map[string]known, error) {
	packs, err := filepath.Glob(filepath.Join(q.dir, "pack", "*.idx"))
	if err != nil {
		return nil, err
	}
	found := map[string]known{}
	for _, pack := range packs {
		index, err := os.Open(pack)
		if err != nil {
			return nil, err
		}
		err = q.s.largeOf(ctx, q, index, limit, found)
		if cerr := index.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// largeOf streams the names in a pack's index through cat-file.
func (s *Service) largeOf(ctx context.Context, q *isolated, index io.Reader, limit int64, found map[string]known) error {
	names, toNames := io.Pipe()
	dir := s.folder(q.r.ID)
	shown := make(chan error, 1)
	go func() {
		err := s.run(ctx, &program{dir: dir, args: []string{"show-index"}, stdin: index, stdout: &lineWriter{line: func(line string) error {
			fields := strings.Fields(line)
			if len(fields) < 2 {
				return fmt.Errorf("git show-index printed %q", line)
			}
			_, err := io.WriteString(toNames, fields[1]+"\n")
			return err
		}}})
		toNames.CloseWithError(err) // nil: the end
		shown <- err
	}()
	err := s.run(ctx, &program{dir: dir, args: []string{"cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", "--buffer"}, env: q.env,
		stdin: names, stdout: &lineWriter{line: func(line string) error {
			fields := strings.Fields(line)
			if len(fields) != 3 {
				return fmt.Errorf("git cat-file printed %q", line)
			}
			size, err := strconv.ParseInt(fields[2], 10, 64)
			if err != nil {
				return err
			}
			if fields[1] == "blob" && size > limit || fields[1] != "blob" && size > maxOther {
				if len(found) < 1000 { // more are not told
					found[fields[0]] = known{fields[1], size}
				}
			}
			return nil
		}}})
	names.CloseWithError(io.ErrClosedPipe)
	return errors.Join(err, <-shown)
}

// lineWriter calls line with each line.
type lineWriter struct {
	line func(string) error
	rest []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := slices.Index(p, '\n')
		if i < 0 {
			if len(l.rest)+len(p) > 64<<10 {
				return 0, errOutput
			}
			l.rest = append(l.rest, p...)
			return n, nil
		}
		line := string(p[:i])
		if len(l.rest) > 0 {
			line, l.rest = string(l.rest)+line, l.rest[:0]
		}
		if err := l.line(line); err != nil {
			return 0, err
		}
		p = p[i+1:]
	}
}

// connected reports whether everything that objects link to is there, up to what refs have already.
func (q *isolated) connected(ctx context.Context, hashes []string) (bool, error) {
	err := q.s.run(ctx, &program{
		dir: q.s.folder(q.r.ID), args: []string{"rev-list", "--objects", "--stdin", "--not", "--all", "--quiet"}, env: q.env,
		stdin: strings.NewReader(strings.Join(hashes, "\n") + "\n"), stdout: io.Discard,
	})
	if err == nil {
		return true, nil
	}
	if exitCode(err) > 0 {
		return false, nil
	}
	return false, err
}

// isAncestor reports whether a commit is another one, or comes before it.
func (q *isolated) isAncestor(ctx context.Context, before, after string) (bool, error) {
	err := q.s.run(ctx, &program{dir: q.s.folder(q.r.ID), args: []string{"merge-base", "--is-ancestor", before, after}, env: q.env, stdout: io.Discard})
	switch exitCode(err) {
	case 1:
		return false, nil
	default:
		return err == nil, err
	}
}

// path returns a path at which a new commit has one of some objects, with the object.
func (q *isolated) path(ctx context.Context, tip string, wanted map[string]known) (hash, path string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := errors.New("found")
	err = q.s.run(ctx, &program{
		dir: q.s.folder(q.r.ID), args: []string{"rev-list", "--objects", tip, "--not", "--all"}, env: q.env,
		stdout: &lineWriter{line: func(line string) error {
			h, p, _ := strings.Cut(line, " ")
			if _, ok := wanted[h]; !ok {
				return nil
			}
			hash, path = h, p
			return stop
		}},
	})
	if hash != "" {
		return hash, path, nil
	}
	return "", "", err
}

// migrate makes the objects part of the repository, durably. The bytes were synced by who wrote them.
func (q *isolated) migrate() error {
	objects := filepath.Dir(q.dir)
	touched := map[string]bool{}
	var files []string
	err := filepath.WalkDir(q.dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b string) int { return migrateOrder(a) - migrateOrder(b) })
	for _, from := range files {
		rel, err := filepath.Rel(q.dir, from)
		if err != nil {
			return err
		}
		if strings.HasPrefix(filepath.Base(rel), "tmp_") {
			continue
		}
		to := filepath.Join(objects, rel)
		if _, err := os.Lstat(to); err == nil {
			continue // the same object, or the same pack, is there
		}
		dir := filepath.Dir(to)
		if err := os.Mkdir(dir, 0o700); err == nil {
			touched[objects] = true
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := os.Rename(from, to); err != nil {
			return err
		}
		touched[dir] = true
	}
	for dir := range touched {
		if err := (durable.OS{}).SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// migrateOrder has an index come after what it is an index of: by it others find a pack.
func migrateOrder(name string) int {
	switch filepath.Ext(name) {
	case ".idx":
		return 3
	case ".rev":
		return 2
	case ".pack":
		return 1
	}
	return 0
}
