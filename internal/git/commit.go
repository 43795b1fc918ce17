package git

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
)

// NewCommit is a commit to be made.
type NewCommit struct {
	Branch string
	// Parent is the commit that the branch must be at; "": the branch must not be there, and begins without history.
	Parent string
	// From begins a new branch at a commit, where the branch is not there and Parent is "".
	From    string
	Message string
	// Author and committer; empty: made of the caller.
	Author, Email string
	Files         []FileChange
}

// FileChange is a file to be written, or removed.
type FileChange struct {
	Path       string
	Data       []byte
	Executable bool
	Remove     bool
}

const (
	maxChanges       = 1000
	maxCommitMessage = 64 << 10
)

// CommitFiles makes a commit on a branch and returns it: all files or none. It needs what a push of it would need. Errors:
// *iam.DeniedError, kinds NotFound, Invalid, Conflict (the branch is not at Parent any more), Refused (by a rule), TooLarge.
func (s *Service) CommitFiles(ctx context.Context, c *iam.Caller, n Name, nc NewCommit) (commit string, err error) {
	r, err := s.allowed(ctx, c, "Pull", n)
	if err != nil {
		return "", err
	}
	if err := nc.check(); err != nil {
		return "", err
	}
	if r.Mirror {
		return "", errorf(Refused, "%s/%s mirrors another repository; change that one", r.Project, r.Name)
	}
	rules, err := s.rules(ctx, s.db, r.ID)
	if err != nil {
		return "", err
	}
	var told []string
	judge := &refJudge{s: s, c: c, r: r, rules: rules, tell: func(text string) { told = append(told, text) }}
	refused := func(reason string) error {
		if strings.HasPrefix(reason, "fetch first") || reason == "already exists" {
			return errorf(Conflict, "%s has changed meanwhile; look at it again", nc.Branch)
		}
		return errorf(Refused, "%s was not changed: %s", nc.Branch, strings.Join(append([]string{reason}, told...), "; "))
	}
	cmd := command{ref: branches + nc.Branch, old: zeroIfNone(nc.Parent)}
	if cmd.reason, err = judge.first(ctx, &cmd); err != nil {
		return "", err
	}
	if cmd.reason != "" {
		return "", refused(cmd.reason)
	}
	size, err := s.diskSize(r.ID)
	if err != nil {
		return "", err
	}
	if size > s.maxSize(r) {
		return "", errorf(TooLarge, "the repository has %s, and may have %s", bytesText(size), bytesText(s.maxSize(r)))
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	q, err := s.isolate(r)
	if err != nil {
		return "", err
	}
	defer q.discard()
	release, err := s.lock(ctx, r.ID, gcLock, true)
	if err != nil {
		return "", err
	}
	defer release()
	if cmd.new, err = s.buildCommit(ctx, q, c, judge, &nc); err != nil {
		return "", err
	}
	commands := []command{cmd}
	if err := s.judgeObjects(ctx, judge, q, commands); err != nil {
		return "", err
	}
	if commands[0].reason == "" {
		if err := s.apply(ctx, q, r, commands, true, Push{Source: FromCommit, Principal: c.Who(), RequestID: c.RequestID}); err != nil {
			return "", err
		}
	}
	if reason := commands[0].reason; reason != "" {
		return "", refused(reason)
	}
	return cmd.new, nil
}

func (nc *NewCommit) check() error {
	if err := checkBranch(nc.Branch); err != nil {
		return err
	}
	for _, h := range []string{nc.Parent, nc.From} {
		if h != "" && !IsHash(h) {
			return errorf(Invalid, "%q is not the full name of a commit", clip(h, 80))
		}
	}
	switch {
	case nc.Parent != "" && nc.From != "":
		return errorf(Invalid, "a commit goes onto a branch's Parent, or begins a branch From a commit, not both")
	case strings.TrimSpace(nc.Message) == "" || len(nc.Message) > maxCommitMessage || strings.ContainsRune(nc.Message, 0):
		return errorf(Invalid, "a commit has a message of at most %d bytes", maxCommitMessage)
	case len(nc.Files) == 0 || len(nc.Files) > maxChanges:
		return errorf(Invalid, "a commit changes 1 to %d files", maxChanges)
	}
	for _, text := range []string{nc.Author, nc.Email} {
		if strings.ContainsAny(text, "<>\n\x00") || len(text) > 200 {
			return errorf(Invalid, "a name and an e-mail address are one line without < and >")
		}
	}
	seen := map[string]bool{}
	for i := range nc.Files {
		p := nc.Files[i].Path
		if err := checkPath(p); err != nil {
			return err
		}
		if seen[p] {
			return errorf(Invalid, "%s is changed twice", p)
		}
		seen[p] = true
	}
	return nil
}

// buildCommit makes the objects of a commit in a quarantine.
func (s *Service) buildCommit(ctx context.Context, q *isolated, c *iam.Caller, judge *refJudge, nc *NewCommit) (string, error) {
	dir := s.folder(q.r.ID)
	env := append([]string{"GIT_INDEX_FILE=" + q.dir + "/tmp_index"}, q.env...)
	git := func(stdin string, args ...string) (string, error) {
		out, err := s.output(ctx, 1<<20, &program{dir: dir, args: args, env: env, stdin: strings.NewReader(stdin)})
		return strings.TrimSpace(string(out)), err
	}
	base := nc.Parent + nc.From
	if base != "" {
		kinds, err := q.look(ctx, []string{base})
		if err != nil {
			return "", err
		}
		if kinds[0].kind != "commit" {
			return "", errorf(NotFound, "the repository has no commit %s", base)
		}
		if _, err := git("", "read-tree", base); err != nil {
			return "", err
		}
	}
	most, rule := judge.maxFile(branches + nc.Branch)
	var index strings.Builder
	for i := range nc.Files {
		f := &nc.Files[i]
		if f.Remove {
			fmt.Fprintf(&index, "0 %s\t%s\x00", Zero, f.Path)
			continue
		}
		if int64(len(f.Data)) > most {
			what := fmt.Sprintf("%q has %s, and a file may have %s", f.Path, bytesText(int64(len(f.Data))), bytesText(most))
			if rule == nil {
				return "", errorf(TooLarge, "%s", what)
			}
			if why, err := judge.broken(ctx, rule, branches+nc.Branch, "large files: "+what); why != "" || err != nil {
				return "", errors.Join(err, errorf(TooLarge, "%s", what))
			}
		}
		hash, err := git(string(f.Data), "hash-object", "-w", "--stdin", "-t", "blob")
		if err != nil {
			return "", err
		}
		mode := "100644"
		if f.Executable {
			mode = "100755"
		}
		fmt.Fprintf(&index, "%s %s\t%s\x00", mode, hash, f.Path)
	}
	if _, err := git(index.String(), "update-index", "-z", "--replace", "--index-info"); err != nil {
		if e, ok := errors.AsType[*exitError](err); ok && exitCode(err) > 0 {
			return "", errorf(Invalid, "the files can't be in a repository so: %s", oneLine(e.stderr))
		}
		return "", err
	}
	tree, err := git("", "write-tree")
	if err != nil {
		return "", err
	}
	if base != "" {
		kinds, err := git("", "rev-parse", base+"^{tree}")
		if err != nil {
			return "", err
		}
		if kinds == tree {
			return "", errorf(Invalid, "the commit would change nothing")
		}
	}
	name, email := author(c)
	if nc.Author != "" {
		name = nc.Author
	}
	if nc.Email != "" {
		email = nc.Email
	}
	date := s.now().Format(time.RFC3339)
	env = append(env, "GIT_AUTHOR_NAME="+name, "GIT_AUTHOR_EMAIL="+email, "GIT_AUTHOR_DATE="+date,
		"GIT_COMMITTER_NAME="+name, "GIT_COMMITTER_EMAIL="+email, "GIT_COMMITTER_DATE="+date)
	args := []string{"commit-tree", tree, "-F", "-"}
	if base != "" {
		args = append(args, "-p", base)
	}
	return git(nc.Message, args...)
}

// author makes a person of a caller.
func author(c *iam.Caller) (name, email string) {
	if name = c.Name; name == "" {
		name = c.Who()[strings.LastIndexAny(c.Who(), ":/")+1:]
	}
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune("<>@", r) {
			return '-'
		}
		return r
	}, name)
	return clean, clean + "@" + c.Account + ".invalid"
}
