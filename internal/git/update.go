package git

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/meta"
)

// Source says how refs came to change.
type Source string

// The sources.
const (
	FromPush   Source = "push"   // a client pushed
	FromCommit Source = "commit" // [Service.CommitFiles]
	FromMirror Source = "mirror" // fetched from outside
	FromDisk   Source = "found"  // nobody knows any more: the server was killed, or somebody was in the folder
)

// Push is a change of refs that happened.
type Push struct {
	Repository *Repository `json:"-"`
	Source     Source      `json:"source"`
	Principal  string      `json:"principal,omitempty"` // ARN of who did it; empty for what the server did by itself
	RequestID  string      `json:"request_id,omitempty"`
	Options    []string    `json:"options,omitempty"` // as in git push -o
	Updates    []RefUpdate `json:"updates"`
	Time       time.Time   `json:"time"`
	Initial    bool        `json:"initial,omitempty"` // there were no refs before
}

// RefUpdate is what became of one ref.
type RefUpdate struct {
	Ref string `json:"ref"`
	Old string `json:"old"` // Zero: it is new
	New string `json:"new"` // Zero: it is gone
}

// applyTime bounds an update of refs, which goes on when the client has gone.
const applyTime = 5 * time.Minute

// manyRefs is from how many refs on they are packed at once, rather than synced one by one.
const manyRefs = 64

// apply makes the updates that are still wanted, and sets the reasons of those that were not made. The caller holds gc.lock.
// When it returns nil, what was made is durable, and told or going to be.
func (s *Service) apply(ctx context.Context, q *isolated, r *Repository, commands []command, atomic bool, p Push) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTime)
	defer cancel()
	release, err := s.lock(ctx, r.ID, refsLock, false)
	if err != nil {
		return err
	}
	defer release()
	refs, err := s.readRefs(ctx, r.ID)
	if err != nil {
		return err
	}
	if err := s.catchUpIntents(ctx, r, refs); err != nil {
		return err
	}
	conflicts(refs, commands)
	p.Updates = nil
	for i := range commands {
		if c := &commands[i]; c.reason == "" {
			p.Updates = append(p.Updates, RefUpdate{c.ref, c.old, c.new})
		}
	}
	if atomic && len(p.Updates) < len(commands) {
		refuseRest(commands, "atomic push: another ref was refused")
		return nil
	}
	if len(p.Updates) == 0 {
		return nil
	}
	p.Time, p.Initial = s.now(), len(refs) == 0
	intent, err := s.intend(ctx, r, &p)
	if err != nil {
		return err
	}
	if q != nil {
		if err := q.migrate(); err != nil {
			return fmt.Errorf("keep objects of a push: %w", err)
		}
	}
	if err := s.updateRefs(ctx, r, p.Updates); err != nil {
		s.o.Logger.Error("refs were not updated", "repo", r.ARN, "err", err)
		// It may have been cut off in the middle: what is there counts.
		if refs, err = s.readRefs(ctx, r.ID); err != nil {
			return err
		}
		for i := range commands {
			c := &commands[i]
			now, ok := refs[c.ref]
			if c.reason == "" && now != c.new && (ok || !c.deletes()) {
				c.reason = "failed to update ref"
			}
		}
		return s.catchUp(ctx, r, refs)
	}
	if p.Initial {
		if err := s.adoptBranch(ctx, r, p.Updates); err != nil {
			s.o.Logger.Warn("the default branch is not the one that was pushed first", "repo", r.ARN, "err", err)
		}
	}
	if err := s.tell(ctx, r, []Push{p}, intent); err != nil {
		// They are updated, and that can't be taken back: it is told later.
		s.o.Logger.Error("updates of refs are not told yet", "repo", r.ARN, "err", err)
	}
	return nil
}

// adoptBranch has the default branch be one that is there, after the first push into an empty repository.
func (s *Service) adoptBranch(ctx context.Context, r *Repository, updates []RefUpdate) error {
	first := ""
	for _, u := range updates {
		name, ok := strings.CutPrefix(u.Ref, branches)
		if !ok {
			continue
		}
		if name == r.DefaultBranch {
			return nil
		}
		if first == "" || name == "main" || name == "master" && first != "main" {
			first = name
		}
	}
	if first == "" {
		return nil
	}
	if err := s.setHead(r.ID, first); err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE git_repositories SET default_branch = $2 WHERE id = $1`, r.ID, first)
		return err
	})
}

func refuseRest(commands []command, reason string) {
	for i := range commands {
		if commands[i].reason == "" {
			commands[i].reason = reason
		}
	}
}

// conflicts refuses what doesn't go with the refs as they are.
func conflicts(refs map[string]string, commands []command) {
	folders := map[string]bool{} // what refs are in
	parents := func(name string, f func(string)) {
		for i, c := range name {
			if c == '/' {
				f(name[:i])
			}
		}
	}
	names := maps.Clone(refs)
	for name := range refs {
		parents(name, func(p string) { folders[p] = true })
	}
	for i := range commands {
		c := &commands[i]
		if c.reason != "" {
			continue
		}
		now, ok := refs[c.ref]
		switch {
		case c.deletes() && !ok:
			c.reason = "there is no such ref"
		case c.creates() && ok && now != c.new:
			c.reason = "already exists"
		case !c.creates() && now != c.old && now != c.new:
			c.reason = "fetch first: it has changed meanwhile"
		case c.creates() && !ok && folders[c.ref]:
			c.reason = "there are refs below " + c.ref + "/"
		case c.creates() && !ok:
			parents(c.ref, func(p string) {
				if _, taken := names[p]; taken {
					c.reason = "there is a ref " + p
				}
			})
			if c.reason == "" {
				names[c.ref] = c.new
				parents(c.ref, func(p string) { folders[p] = true })
			}
		}
	}
}

// updateRefs makes updates in one transaction, durably.
func (s *Service) updateRefs(ctx context.Context, r *Repository, updates []RefUpdate) error {
	var in strings.Builder
	for _, u := range updates {
		if u.New == Zero {
			in.WriteString("delete " + u.Ref + "\x00" + u.Old + "\x00")
		} else {
			in.WriteString("update " + u.Ref + "\x00" + u.New + "\x00" + u.Old + "\x00")
		}
	}
	p := &program{dir: s.folder(r.ID), args: []string{"update-ref", "-z", "--no-deref", "--stdin"}, stdin: strings.NewReader(in.String())}
	many := len(updates) >= manyRefs
	if many {
		p.config = [][2]string{{"core.fsync", "none"}} // each would cost a sync; they are packed into one file below
	}
	if err := s.run(ctx, p); err != nil {
		return err
	}
	if many {
		return s.packRefs(ctx, r.ID)
	}
	dirs := map[string]bool{s.folder(r.ID): true} // a deletion rewrites packed-refs there
	for _, u := range updates {
		for d := filepath.Dir(u.Ref); d != "."; d = filepath.Dir(d) {
			dirs[filepath.Join(s.folder(r.ID), d)] = true
		}
	}
	for _, d := range slices.Sorted(maps.Keys(dirs)) {
		if err := (durable.OS{}).SyncDir(d); err != nil && !isNotExist(err) { // git removes empty ones
			return err
		}
	}
	return nil
}

func (s *Service) packRefs(ctx context.Context, id string) error {
	if err := s.run(ctx, &program{dir: s.folder(id), args: []string{"pack-refs", "--all", "--prune"}}); err != nil {
		return err
	}
	return durable.OS{}.SyncDir(s.folder(id))
}

// maxRefBytes bounds what is read of the refs of a repository.
const maxRefBytes = 512 << 20

// readRefs returns all refs of a repository, without the server's own.
func (s *Service) readRefs(ctx context.Context, id string) (map[string]string, error) {
	out, err := s.output(ctx, maxRefBytes, &program{dir: s.folder(id), args: []string{"for-each-ref", "--format=%(objectname) %(refname)"}})
	if err != nil {
		return nil, fmt.Errorf("read refs: %w", err)
	}
	refs := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		hash, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if ok && IsHash(hash) && !strings.HasPrefix(name, "refs/sekisho/") {
			refs[name] = hash
		}
	}
	return refs, nil
}

// intend remembers what is about to be done to refs.
func (s *Service) intend(ctx context.Context, r *Repository, p *Push) (id int64, err error) {
	text, err := json.Marshal(p)
	if err != nil {
		return 0, err
	}
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		return tx.QueryRow(ctx, `INSERT INTO git_intents (repository_id, push, created_at) VALUES ($1, $2, $3) RETURNING id`,
			r.ID, string(text), s.now().UnixMicro()).Scan(&id)
	})
	if err != nil {
		return 0, fmt.Errorf("remember a push: %w", err)
	}
	return id, nil
}

// tell has OnPush know of updates, remembers that it does, and forgets intents up to one.
func (s *Service) tell(ctx context.Context, r *Repository, pushes []Push, intent int64) error {
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		for _, p := range pushes {
			p.Repository = r
			for _, u := range p.Updates {
				var err error
				if u.New == Zero {
					_, err = tx.Exec(ctx, `DELETE FROM git_refs WHERE repository_id = $1 AND name = $2`, r.ID, u.Ref)
				} else {
					_, err = tx.Exec(ctx, `INSERT INTO git_refs (repository_id, name, target) VALUES ($1, $2, $3)
						ON CONFLICT (repository_id, name) DO UPDATE SET target = excluded.target`, r.ID, u.Ref, u.New)
				}
				if err != nil {
					return err
				}
			}
			if s.o.OnPush != nil {
				if err := s.o.OnPush(ctx, tx, p); err != nil {
					return err
				}
			}
		}
		if _, err := tx.Exec(ctx, `DELETE FROM git_intents WHERE repository_id = $1 AND id <= $2`, r.ID, intent); err != nil {
			return err
		}
		if len(pushes) == 0 {
			return nil
		}
		_, err := tx.Exec(ctx, `UPDATE git_repositories SET pushed_at = $2 WHERE id = $1`, r.ID, s.now().UnixMicro())
		return err
	})
}

// catchUpIntents is catchUp where a push was begun and its end is not known.
func (s *Service) catchUpIntents(ctx context.Context, r *Repository, refs map[string]string) error {
	var pending bool
	if err := s.db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM git_intents WHERE repository_id = $1)`, r.ID).Scan(&pending); err != nil {
		return fmt.Errorf("look for unfinished pushes: %w", err)
	}
	if !pending {
		return nil
	}
	return s.catchUp(ctx, r, refs)
}

// catchUp tells what became of refs that nobody was told of. The caller holds refs.lock.
func (s *Service) catchUp(ctx context.Context, r *Repository, refs map[string]string) error {
	return s.catchUpAs(ctx, r, refs, Push{Source: FromDisk})
}

// catchUpAs is catchUp, where what no intent explains is like p.
func (s *Service) catchUpAs(ctx context.Context, r *Repository, refs map[string]string, p Push) error {
	told, err := s.toldRefs(ctx, r.ID)
	if err != nil {
		return err
	}
	intents, last, err := s.intents(ctx, r.ID)
	if err != nil {
		return err
	}
	initial := len(told) == 0
	var pushes []Push
	for _, in := range intents {
		var made []RefUpdate
		for _, u := range in.Updates {
			before, now := zeroIfNone(told[u.Ref]), zeroIfNone(refs[u.Ref])
			if before == now || now != u.New {
				continue // it was not made, or something else was after it
			}
			made = append(made, RefUpdate{u.Ref, before, now})
			if now == Zero {
				delete(told, u.Ref)
			} else {
				told[u.Ref] = now
			}
		}
		if len(made) > 0 {
			in.Updates = made
			pushes = append(pushes, in)
		}
	}
	p.Updates = nil
	for name, now := range refs {
		if before := zeroIfNone(told[name]); before != now {
			p.Updates = append(p.Updates, RefUpdate{name, before, now})
		}
	}
	for name, before := range told {
		if _, ok := refs[name]; !ok {
			p.Updates = append(p.Updates, RefUpdate{name, before, Zero})
		}
	}
	if len(p.Updates) > 0 {
		slices.SortFunc(p.Updates, func(a, b RefUpdate) int { return strings.Compare(a.Ref, b.Ref) })
		p.Time, p.Initial = s.now(), initial
		pushes = append(pushes, p)
	}
	if len(pushes) == 0 && len(intents) == 0 {
		return nil
	}
	return s.tell(ctx, r, pushes, last)
}

func zeroIfNone(hash string) string {
	if hash == "" {
		return Zero
	}
	return hash
}

func (s *Service) toldRefs(ctx context.Context, id string) (map[string]string, error) {
	rows, err := s.db.Query(ctx, `SELECT name, target FROM git_refs WHERE repository_id = $1`, id)
	if err != nil {
		return nil, fmt.Errorf("read known refs: %w", err)
	}
	defer rows.Close()
	told := map[string]string{}
	for rows.Next() {
		var name, target string
		if err := rows.Scan(&name, &target); err != nil {
			return nil, fmt.Errorf("read known refs: %w", err)
		}
		told[name] = target
	}
	return told, rows.Err()
}

func (s *Service) intents(ctx context.Context, id string) (all []Push, last int64, err error) {
	rows, err := s.db.Query(ctx, `SELECT id, push FROM git_intents WHERE repository_id = $1 ORDER BY id`, id)
	if err != nil {
		return nil, 0, fmt.Errorf("read unfinished pushes: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		var p Push
		if err := rows.Scan(&last, &text); err != nil {
			return nil, 0, fmt.Errorf("read unfinished pushes: %w", err)
		}
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return nil, 0, fmt.Errorf("read unfinished push: %w", err)
		}
		all = append(all, p)
	}
	return all, last, rows.Err()
}

// Reconcile tells what became of the refs of a repository that nobody was told of.
func (s *Service) Reconcile(ctx context.Context, id string) error {
	r, err := s.ByID(ctx, id)
	if err != nil {
		return err
	}
	release, err := s.lock(ctx, id, refsLock, false)
	if err != nil {
		return err
	}
	defer release()
	refs, err := s.readRefs(ctx, id)
	if err != nil {
		return err
	}
	return s.catchUp(ctx, r, refs)
}

// ReconcileAll is Reconcile for all repositories. It goes on after errors.
func (s *Service) ReconcileAll(ctx context.Context) error {
	ids, err := s.ids(ctx, `SELECT id FROM git_repositories ORDER BY id`)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if err := s.Reconcile(ctx, id); err != nil && !errors.Is(err, ErrOf(NotFound)) {
			errs = append(errs, fmt.Errorf("repository %s: %w", id, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (s *Service) ids(ctx context.Context, q string, args ...any) ([]string, error) {
	rows, err := s.db.Query(ctx, q, args...)
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("list repositories: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
