package run

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/registry"
)

// inline is up to how many bytes a file is kept in its row.
const inline = 4 << 10

// The kinds of artifacts.
const (
	pipelineArtifact  = "pipeline"
	containerArtifact = "container"
)

// checkFileName refuses names that mean another place somewhere: on any system that a file is downloaded to.
func checkFileName(name string) error {
	bad := name == "" || len(name) > 1000 || path.Clean(name) != name || name[0] == '/' || name == "." || name == ".." || strings.HasPrefix(name, "../")
	for _, part := range strings.Split(name, "/") {
		bad = bad || part == ".." || part == "." || len(part) > 255
	}
	for _, r := range name {
		bad = bad || r < ' ' || r == '\\' || r == 0x7f || r == 0xfffd
	}
	if len(name) > 1 && name[1] == ':' {
		bad = true
	}
	if bad {
		return errorf(Invalid, "%q can't name a file of an artifact: that is a relative path with slashes, without \"..\" and backslashes", clip(name, 100))
	}
	return nil
}

func checkArtifact(name, kind string) error {
	if name == "" || len(name) > maxName || strings.ContainsAny(name, `\/:|<>*?"`) || !plainName(name) || strings.TrimSpace(name) != name {
		return errorf(Invalid, "%q can't name an artifact: it has 1 to %d characters, and none of %s", clip(name, 100), maxName, `\ / : | < > * ? "`)
	}
	if kind != pipelineArtifact && kind != containerArtifact {
		return errorf(Invalid, "%q is no kind of artifact", clip(kind, 20))
	}
	return nil
}

// stored is bytes that were kept: in a row, or as an object.
type stored struct {
	size   int64
	sha256 string
	data   []byte
	object *blob.Object
	digest digest.Digest
	began  time.Time
}

// keep reads size bytes (-1: any number up to limit) and keeps them.
func (s *Service) keep(ctx context.Context, size, limit int64, r io.Reader) (*stored, error) {
	if size > limit {
		return nil, errorf(Limit, "a file has at most %d bytes", limit)
	}
	h := sha256.New()
	counted := &counter{r: io.TeeReader(io.LimitReader(r, limit+1), h)}
	head, err := io.ReadAll(io.LimitReader(counted, inline+1))
	if err != nil {
		return nil, err
	}
	out := &stored{began: time.Now()}
	if len(head) <= inline {
		out.data = head
		if out.data == nil {
			out.data = []byte{}
		}
	} else {
		id := "run-" + blob.Fresh()
		fail := func(err error) (*stored, error) {
			return nil, errors.Join(err, s.store.Abort(context.WithoutCancel(ctx), id))
		}
		if _, err := s.store.Append(ctx, id, 0, io.MultiReader(strings.NewReader(string(head)), counted)); err != nil {
			return fail(err)
		}
		if counted.n > limit {
			return fail(errorf(Limit, "a file has at most %d bytes", limit))
		}
		if size >= 0 && counted.n != size {
			return fail(errorf(Invalid, "%d bytes came of a file of %d", counted.n, size))
		}
		out.digest = digest.NewDigest(digest.SHA256, h)
		o, err := s.store.Commit(ctx, id, out.digest)
		if err != nil {
			return fail(err)
		}
		out.object = &o
	}
	if size >= 0 && counted.n != size {
		return nil, errorf(Invalid, "%d bytes came of a file of %d", counted.n, size)
	}
	out.size, out.sha256 = counted.n, hex.EncodeToString(h.Sum(nil))
	return out, nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// hold names what was kept, and returns the id of the object, or NULL.
func (k *stored) hold(ctx context.Context, tx *meta.Tx) (any, error) {
	if k.object == nil {
		return nil, nil
	}
	return registry.HoldObject(ctx, tx, holder, *k.object, k.digest, k.began, time.Now())
}

// drop forgets what was kept, after a transaction that was to name it and was refused. One that failed otherwise may have been
// committed all the same, with its answer lost: then it is for collection to find out.
func (s *Service) drop(ctx context.Context, k *stored, why error) {
	_, refused := errors.AsType[*Error](why)
	if k.object != nil && (refused || errors.Is(why, work.ErrClaimLost)) {
		_ = s.store.Delete(context.WithoutCancel(ctx), k.object.Key) // else collection finds it
	}
}

// PutFile keeps a file for an artifact that the claim's job is making: work.Server. It can be seen after FinishArtifact.
func (s *Service) PutFile(ctx context.Context, c Claim, artifact, kind, name string, size int64, r io.Reader) error {
	if err := checkArtifact(artifact, kind); err != nil {
		return err
	}
	if err := checkFileName(name); err != nil {
		return err
	}
	if size < 0 {
		return errorf(Invalid, "the size of a file must be said")
	}
	if _, err := s.verify(ctx, s.db, c, "PutFile"); err != nil {
		return err
	}
	if err := s.artifactRoom(ctx, c, size); err != nil {
		return err
	}
	k, err := s.keep(ctx, size, s.o.Limits.File, r)
	if err != nil {
		return fmt.Errorf("store %s of artifact %s: %w", clip(name, 100), artifact, err)
	}
	err = s.db.Update(ctx, func(tx *meta.Tx) error {
		if err := s.holdClaim(ctx, tx, c); err != nil {
			return err
		}
		var old sql.NullInt64
		err := tx.QueryRow(ctx, `SELECT object FROM run_staged WHERE job = $1 AND attempt = $2 AND artifact = $3 AND name = $4`, c.Job, c.Attempt, fold(artifact), name).Scan(&old)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		object, err := k.hold(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO run_staged (job, attempt, artifact, name, size, sha256, object, data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (job, attempt, artifact, name) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, object = excluded.object, data = excluded.data`,
			c.Job, c.Attempt, fold(artifact), name, k.size, k.sha256, object, k.data)
		if err == nil && old.Valid {
			err = registry.DropObject(ctx, tx, old.Int64, s.now())
		}
		return err
	})
	if err != nil {
		s.drop(ctx, k, err)
		return fmt.Errorf("store %s of artifact %s: %w", clip(name, 100), artifact, err)
	}
	return nil
}

// artifactRoom refuses a file that a run has no room for.
func (s *Service) artifactRoom(ctx context.Context, c Claim, size int64) error {
	var bytes, files int64
	err := s.db.QueryRow(ctx, `SELECT
		(SELECT coalesce(sum(a.size), 0) FROM run_artifacts a WHERE a.run = j.run) + (SELECT coalesce(sum(f.size), 0) FROM run_staged f WHERE f.job = j.id),
		(SELECT coalesce(sum(a.files), 0) FROM run_artifacts a WHERE a.run = j.run) + (SELECT count(*) FROM run_staged f WHERE f.job = j.id)
		FROM run_jobs j WHERE j.id = $1`, c.Job).Scan(&bytes, &files)
	switch {
	case err != nil:
		return fmt.Errorf("look at artifacts: %w", err)
	case bytes+size > s.o.Limits.Artifacts:
		return errorf(Limit, "the artifacts of a run have at most %d bytes", s.o.Limits.Artifacts)
	case files >= s.o.Limits.Files:
		return errorf(Limit, "the artifacts of a run have at most %d files", s.o.Limits.Files)
	}
	return nil
}

// FinishArtifact has the files be seen that the claim's job put: all at once. A name can be used once a run by a pipeline
// artifact; container artifacts add up.
func (s *Service) FinishArtifact(ctx context.Context, c Claim, artifact, kind string, properties map[string]string) error {
	if err := checkArtifact(artifact, kind); err != nil {
		return err
	}
	if properties == nil {
		properties = map[string]string{}
	}
	if text := toJSON(properties); len(text) > 64<<10 {
		return errorf(Limit, "the properties of an artifact have at most %d bytes", 64<<10)
	}
	return s.claimed(ctx, c, "FinishArtifact", func(x *change, _ *claimRow) error {
		tx := x.tx
		var id int64
		var was, by string
		err := tx.QueryRow(ctx, `SELECT id, kind, job FROM run_artifacts WHERE run = $1 AND folded = $2`, x.run.ID, fold(artifact)).Scan(&id, &was, &by)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err == nil {
			var staged int
			if err := tx.QueryRow(ctx, `SELECT count(*) FROM run_staged WHERE job = $1 AND attempt = $2 AND artifact = $3`, c.Job, c.Attempt, fold(artifact)).Scan(&staged); err != nil {
				return err
			}
			if was == kind && by == jobID(c) && staged == 0 {
				return nil // the call was repeated
			}
			if was != kind || kind == pipelineArtifact && !replaces(by, c) {
				return errorf(Conflict, "run %d has an artifact %s already", x.run.ID, artifact)
			}
			if kind == pipelineArtifact { // of an earlier attempt of the same job
				if err := x.dropArtifact(id); err != nil {
					return err
				}
				id = 0
			}
		}
		if id == 0 {
			err = tx.QueryRow(ctx, `INSERT INTO run_artifacts (run, name, folded, kind, properties, files, size, job, created_at) VALUES ($1, $2, $3, $4, $5, 0, 0, $6, $7) RETURNING id`,
				x.run.ID, artifact, fold(artifact), kind, toJSON(properties), jobID(c), x.now.UnixMicro()).Scan(&id)
			if err != nil {
				return fmt.Errorf("store artifact %s: %w", artifact, err)
			}
		}
		rows, err := tx.Query(ctx, `SELECT f.object FROM run_files f JOIN run_staged n ON n.name = f.name AND n.job = $2 AND n.attempt = $3 AND n.artifact = $4
			WHERE f.artifact = $1 AND f.object IS NOT NULL`, id, c.Job, c.Attempt, fold(artifact))
		replaced, err := collect(rows, err, func(row scanner) (n int64, err error) { return n, row.Scan(&n) })
		if err == nil {
			_, err = tx.Exec(ctx, `INSERT INTO run_files (artifact, name, size, sha256, object, data)
				SELECT CAST($1 AS BIGINT), name, size, sha256, object, data FROM run_staged WHERE job = $2 AND attempt = $3 AND artifact = $4
				ON CONFLICT (artifact, name) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, object = excluded.object, data = excluded.data`,
				id, c.Job, c.Attempt, fold(artifact))
		}
		if err == nil {
			_, err = tx.Exec(ctx, `DELETE FROM run_staged WHERE job = $1 AND attempt = $2 AND artifact = $3`, c.Job, c.Attempt, fold(artifact))
		}
		for _, object := range replaced {
			if err == nil {
				err = registry.DropObject(ctx, tx, object, x.now)
			}
		}
		if err == nil {
			_, err = tx.Exec(ctx, `UPDATE run_artifacts SET job = $2, files = (SELECT count(*) FROM run_files WHERE artifact = $1),
				size = (SELECT coalesce(sum(size), 0) FROM run_files WHERE artifact = $1) WHERE id = $1`, id, jobID(c))
		}
		if err != nil {
			return fmt.Errorf("store artifact %s: %w", artifact, err)
		}
		x.tell(Event{Type: ArtifactEvent, Job: c.Job, Claim: c.Attempt, Name: artifact})
		return nil
	})
}

// replaces reports whether an artifact is of an earlier claim of the same job, or of the job in an earlier attempt of its
// stage, so that its successor may publish it again.
func replaces(by string, c Claim) bool {
	base := func(id string) string {
		id, _, _ = strings.Cut(id, "#")
		id, _, _ = strings.Cut(id, "~")
		return id
	}
	return by != jobID(c) && base(by) == base(c.Job)
}

// dropArtifact deletes an artifact.
func (x *change) dropArtifact(id int64) error {
	rows, err := x.tx.Query(x.ctx, `SELECT object FROM run_files WHERE artifact = $1 AND object IS NOT NULL`, id)
	objects, err := collect(rows, err, func(row scanner) (n int64, err error) { return n, row.Scan(&n) })
	if err == nil {
		_, err = x.tx.Exec(x.ctx, `DELETE FROM run_artifacts WHERE id = $1`, id)
	}
	for _, object := range objects {
		if err == nil {
			err = registry.DropObject(x.ctx, x.tx, object, x.now)
		}
	}
	return err
}

// Artifacts lists what a run published, by name.
func (s *Service) Artifacts(ctx context.Context, c *iam.Caller, id int64) ([]work.Artifact, error) {
	if _, err := s.visible(ctx, c, "ReadArtifacts", id); err != nil {
		return nil, err
	}
	return s.artifacts(ctx, id)
}

func (s *Service) artifacts(ctx context.Context, id int64) ([]work.Artifact, error) {
	rows, err := s.db.Query(ctx, `SELECT name, kind, properties, files, size FROM run_artifacts WHERE run = $1 ORDER BY folded`, id)
	list, err := collect(rows, err, func(row scanner) (a work.Artifact, err error) {
		var properties string
		if err := row.Scan(&a.Name, &a.Kind, &properties, &a.Files, &a.Size); err != nil {
			return a, err
		}
		return a, json.Unmarshal([]byte(properties), &a.Properties)
	})
	if err != nil {
		return nil, fmt.Errorf("list artifacts of run %d: %w", id, err)
	}
	return list, nil
}

// Files lists an artifact's files, by name.
func (s *Service) Files(ctx context.Context, c *iam.Caller, id int64, artifact string) iter.Seq2[work.File, error] {
	return func(yield func(work.File, error) bool) {
		if _, err := s.visible(ctx, c, "ReadArtifacts", id); err != nil {
			yield(work.File{}, err)
			return
		}
		s.files(ctx, id, artifact)(yield)
	}
}

const filePage = 1000

func (s *Service) files(ctx context.Context, id int64, artifact string) iter.Seq2[work.File, error] {
	return func(yield func(work.File, error) bool) {
		var of int64
		err := s.db.QueryRow(ctx, `SELECT id FROM run_artifacts WHERE run = $1 AND folded = $2`, id, fold(artifact)).Scan(&of)
		if err != nil {
			yield(work.File{}, notFound(err, "run %d has no artifact %s", id, artifact))
			return
		}
		after := ""
		for {
			rows, err := s.db.Query(ctx, `SELECT name, size, sha256 FROM run_files WHERE artifact = $1 AND name > $2 ORDER BY name LIMIT $3`, of, after, filePage)
			page, err := collect(rows, err, func(row scanner) (f work.File, err error) { return f, row.Scan(&f.Name, &f.Size, &f.SHA256) })
			if err != nil {
				yield(work.File{}, fmt.Errorf("list files of artifact %s: %w", artifact, err))
				return
			}
			for _, f := range page {
				if after = f.Name; !yield(f, nil) {
					return
				}
			}
			if len(page) < filePage {
				return
			}
		}
	}
}

// OpenFile opens a file of an artifact.
func (s *Service) OpenFile(ctx context.Context, c *iam.Caller, id int64, artifact, name string) (io.ReadCloser, int64, error) {
	if _, err := s.visible(ctx, c, "ReadArtifacts", id); err != nil {
		return nil, 0, err
	}
	return s.openFile(ctx, id, artifact, name)
}

func (s *Service) openFile(ctx context.Context, id int64, artifact, name string) (io.ReadCloser, int64, error) {
	var size int64
	var data []byte
	var location sql.NullString
	err := s.db.QueryRow(ctx, `SELECT f.size, f.data, h.location FROM run_artifacts a JOIN run_files f ON f.artifact = a.id LEFT JOIN held_objects h ON h.id = f.object
		WHERE a.run = $1 AND a.folded = $2 AND f.name = $3`, id, fold(artifact), name).Scan(&size, &data, &location)
	if err != nil {
		return nil, 0, notFound(err, "artifact %s of run %d has no file %s", artifact, id, name)
	}
	r, err := s.openStored(ctx, data, location)
	return r, size, err
}

func (s *Service) openStored(ctx context.Context, data []byte, location sql.NullString) (io.ReadCloser, error) {
	if !location.Valid {
		return io.NopCloser(strings.NewReader(string(data))), nil
	}
	return s.store.Open(ctx, location.String)
}
