// Package transfer copies a whole instance, metadata and bytes, from any pair of database and blob store to any other.
// A backup is a transfer into a folder, a restore one out of it, a migration one between two configurations: there is
// one way to do it, and what it makes is always an instance that can be served.
//
// The rows are one consistent snapshot of the source, which may be serving meanwhile; while bytes are read, collection
// must be held off. Every object is hashed on its way, and a digest that is wrong ends the transfer. The target must be
// empty, and is not to be served before the transfer has returned nil; [Check] refuses one that was cut off.
//
// Not copied: unfinished uploads, and what collection has yet to delete.
package transfer

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/meta"
)

// stored is copied in this order, in which no row comes before what it refers to.
var stored = []string{
	"registry_settings", "repositories", "blobs", "repository_blobs", "manifests", "tags",
	"manifest_blobs", "manifest_children", "manifest_missing", "repository_policies", "lifecycle_policies",
	"job", "audit",
	"sealing_keys", "secrets", "secret_versions", "secret_stages",
	"identities", "identity_tags", "inline_policies", "policy_versions", "attached_policies", "memberships", "account_aliases",
	"registry_documents", "creation_templates", "pull_through_rules", "pull_time_exclusions",
	"git_repositories", "git_refs", "git_intents", "git_rules", "git_mirrors",
	"projects", "pipelines", "pipeline_counters", "variable_groups", "project_variables", "service_connections", "project_secrets",
	"environments", "pipeline_authorizations",
	"instance_keys", "personal_access_tokens", "job_tokens", "issuer_keys",
	"pools", "pool_pipelines", "pool_agents", "pool_codes", "pool_rules", "pool_proofs",
	"held_objects", "runs", "run_plans", "run_states", "run_secrets", "run_tags", "run_stages", "run_phases", "run_jobs", "run_queue", "run_claims",
	"run_records", "run_outputs", "run_logs", "run_log_chunks", "run_log_objects", "run_artifacts", "run_files", "run_staged",
	"run_attachments", "run_tests", "run_events", "run_approvals", "run_answers", "run_locks", "run_leases", "run_batches", "run_seen",
	"run_schedules", "run_upstreams",
}

// access is copied after all else: by its accounts a target tells that it is whole, see [Check].
var access = []string{"accounts", "access_keys", "sessions", "job_sessions"}

// left are not copied.
var left = []string{"generation", "ended_uploads", "garbage", "gc_holds"}

const (
	rowsPerBatch = 256
	workers      = 4 // objects copied at a time
)

// End is one end of a transfer.
type End struct {
	DB    *meta.DB
	Blobs blob.Store
}

// Report says what was copied.
type Report struct {
	Rows    int64 `json:"rows" yaml:"rows"`
	Objects int64 `json:"objects" yaml:"objects"`
	Bytes   int64 `json:"bytes" yaml:"bytes"` // of the objects

	Repositories int64 `json:"repositories" yaml:"repositories"` // of git, which are not copied here
}

// ErrNotEmpty means that something is in the target already.
var ErrNotEmpty = errors.New("the target is not empty; name a new data folder, or a new database and bucket")

// ErrUnfinished means that a database is the target of a transfer that did not end.
var ErrUnfinished = errors.New("what is in the database was copied there only in part; empty it, and its blob store, and copy again")

const hasContent = `(EXISTS (SELECT 1 FROM repositories) OR EXISTS (SELECT 1 FROM blobs) OR EXISTS (SELECT 1 FROM sealing_keys))`

// Check returns [ErrUnfinished] if db is what a transfer left that was cut off.
func Check(ctx context.Context, db *meta.DB) error {
	var unfinished bool
	if err := db.QueryRow(ctx, `SELECT NOT EXISTS (SELECT 1 FROM accounts) AND `+hasContent).Scan(&unfinished); err != nil {
		return fmt.Errorf("look whether the database is whole: %w", err)
	}
	if unfinished {
		return ErrUnfinished
	}
	return nil
}

// Copy copies from into to. progress is called now and then with what is done so far; it may be nil.
func Copy(ctx context.Context, from, to End, progress func(Report)) (Report, error) {
	var used bool
	if err := to.DB.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM accounts) OR `+hasContent).Scan(&used); err != nil {
		return Report{}, fmt.Errorf("look at target: %w", err)
	}
	if used {
		return Report{}, ErrNotEmpty
	}
	c := &copier{from: from, to: to, progress: progress}
	err := from.DB.View(ctx, func(tx *meta.Tx) error {
		if err := c.tables(ctx, tx, stored); err != nil {
			return err
		}
		if err := c.sequences(ctx); err != nil {
			return err
		}
		return c.tables(ctx, tx, access)
	})
	return c.report, err
}

type copier struct {
	from, to End
	progress func(Report)
	report   Report
}

func (c *copier) tables(ctx context.Context, tx *meta.Tx, names []string) error {
	for _, name := range names {
		if err := c.table(ctx, tx, name); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	return nil
}

// table copies the rows of a table, and with those that name objects the bytes.
func (c *copier) table(ctx context.Context, tx *meta.Tx, name string) error {
	rows, err := tx.Query(ctx, `SELECT * FROM `+name)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	insert := insertInto(name, columns)
	batch := make([][]any, 0, rowsPerBatch)
	for rows.Next() {
		row := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if batch = append(batch, row); len(batch) == rowsPerBatch {
			if err := c.write(ctx, name, columns, insert, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return c.write(ctx, name, columns, insert, batch)
}

func insertInto(table string, columns []string) string {
	values := make([]string, len(columns))
	for i := range values {
		values[i] = fmt.Sprintf("$%d", i+1)
	}
	return `INSERT INTO ` + table + ` (` + strings.Join(columns, ", ") + `) VALUES (` + strings.Join(values, ", ") + `)`
}

// write stores a batch of rows, durable when it returns.
func (c *copier) write(ctx context.Context, table string, columns []string, insert string, batch [][]any) error {
	if len(batch) == 0 {
		return nil
	}
	if table == "blobs" || table == "held_objects" {
		if err := c.objects(ctx, columns, batch); err != nil {
			return err
		}
	}
	err := c.to.DB.Update(ctx, func(tx *meta.Tx) error {
		for _, row := range batch {
			if _, err := tx.Exec(ctx, insert, row...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.report.Rows += int64(len(batch))
	if c.progress != nil {
		c.progress(c.report)
	}
	return nil
}

// objects copies the bytes of blob rows and writes into the rows where they are now.
func (c *copier) objects(ctx context.Context, columns []string, batch [][]any) error {
	digestAt, locationAt := -1, -1
	for i, name := range columns {
		switch name {
		case "digest":
			digestAt = i
		case "location":
			locationAt = i
		}
	}
	if digestAt < 0 || locationAt < 0 {
		return errors.New("the table has no digest or no location")
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	copied := make([]int64, len(batch))
	for i, row := range batch {
		location, _ := row[locationAt].(string)
		if location == "" {
			continue
		}
		d, _ := row[digestAt].(string)
		g.Go(func() error {
			object, err := c.object(ctx, location, digest.Digest(d))
			if err != nil {
				return fmt.Errorf("blob %s: %w", d, err)
			}
			row[locationAt], copied[i] = object.Key, object.Size
			return nil
		})
	}
	err := g.Wait()
	for i, row := range batch {
		if row[locationAt] != "" {
			c.report.Objects++
			c.report.Bytes += copied[i]
		}
	}
	return err
}

func (c *copier) object(ctx context.Context, location string, want digest.Digest) (blob.Object, error) {
	content, err := c.from.Blobs.Open(ctx, location)
	if err != nil {
		return blob.Object{}, err
	}
	defer content.Close()
	id := "transfer-" + strings.ToLower(rand.Text())
	// The wrapper hides that the source may be a file: the bytes have to be seen to be hashed.
	size, err := c.to.Blobs.Append(ctx, id, 0, struct{ io.Reader }{content})
	if err == nil && size != content.Size() {
		err = fmt.Errorf("%d bytes were read of %d", size, content.Size())
	}
	if err != nil {
		return blob.Object{}, errors.Join(err, c.to.Blobs.Abort(context.WithoutCancel(ctx), id))
	}
	return c.to.Blobs.Commit(ctx, id, want)
}

// sequences makes the numbers that PostgreSQL gives out go on after those that were copied. SQLite does so by itself.
func (c *copier) sequences(ctx context.Context) error {
	if c.to.DB.Dialect() != meta.PostgreSQL {
		return nil
	}
	return c.to.DB.Update(ctx, func(tx *meta.Tx) error {
		for _, table := range stored {
			var column string
			err := tx.QueryRow(ctx, `SELECT column_name FROM information_schema.columns
				WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'YES'`, table).Scan(&column)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err == nil {
				_, err = tx.Exec(ctx, `SELECT setval(pg_get_serial_sequence('`+table+`', '`+column+`'), (SELECT COALESCE(MAX(`+column+`), 0) + 1 FROM `+table+`), false)`)
			}
			if err != nil {
				return fmt.Errorf("set sequence of %s: %w", table, err)
			}
		}
		return nil
	})
}
