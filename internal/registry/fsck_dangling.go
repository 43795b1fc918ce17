package registry

import (
	"context"
	"fmt"

	"github.com/sekisho/sekisho/internal/meta"
)

// dangling are the references that foreign keys make impossible, unless the database was damaged or changed by other
// means. What manifests name is rebuilt before; what is left of these refers to nothing, and goes.
var dangling = []struct {
	what   string
	find   string // yields account, name, what it is
	remove string // "" if nothing is to be done
}{
	{"a tag of no manifest",
		`SELECT COALESCE(r.account, '?'), COALESCE(r.name, '?'), t.name FROM tags t LEFT JOIN repositories r ON r.id = t.repository_id WHERE ` + tagOfNone,
		`DELETE FROM tags AS t WHERE ` + tagOfNone},
	{"a need of no blob",
		`SELECT COALESCE(r.account, '?'), COALESCE(r.name, '?'), m.digest FROM manifest_blobs t LEFT JOIN repositories r ON r.id = t.repository_id
			JOIN manifests m ON m.id = t.manifest_id WHERE ` + needOfNone,
		`DELETE FROM manifest_blobs AS t WHERE ` + needOfNone},
	{"a need of no manifest", `SELECT '?', '?', CAST(t.manifest_id AS TEXT) FROM manifest_blobs t WHERE ` + needByNone, `DELETE FROM manifest_blobs AS t WHERE ` + needByNone},
	{"a child of none or that is none", `SELECT '?', '?', CAST(t.child_id AS TEXT) FROM manifest_children t WHERE ` + childOfNone, `DELETE FROM manifest_children AS t WHERE ` + childOfNone},
	{"a link to no blob or of no repository", `SELECT '?', '?', CAST(t.blob_id AS TEXT) FROM repository_blobs t WHERE ` + linkOfNone, `DELETE FROM repository_blobs AS t WHERE ` + linkOfNone},
	{"a manifest of no repository", `SELECT '?', '?', t.digest FROM manifests t WHERE NOT EXISTS (SELECT 1 FROM repositories r WHERE r.id = t.repository_id)`, ""},
}

const (
	tagOfNone   = `NOT EXISTS (SELECT 1 FROM manifests m WHERE m.id = t.manifest_id AND m.repository_id = t.repository_id)`
	needOfNone  = `NOT EXISTS (SELECT 1 FROM repository_blobs rb JOIN blobs b ON b.id = rb.blob_id WHERE rb.repository_id = t.repository_id AND rb.blob_id = t.blob_id)`
	needByNone  = `NOT EXISTS (SELECT 1 FROM manifests m WHERE m.id = t.manifest_id)`
	childOfNone = `NOT EXISTS (SELECT 1 FROM manifests c JOIN manifests p ON p.repository_id = c.repository_id WHERE c.id = t.child_id AND p.id = t.manifest_id)`
	linkOfNone  = `(NOT EXISTS (SELECT 1 FROM blobs b WHERE b.id = t.blob_id) OR NOT EXISTS (SELECT 1 FROM repositories r WHERE r.id = t.repository_id))`
)

// checkDangling looks for rows that refer to nothing.
func (f *fsck) checkDangling(ctx context.Context) error {
	for _, d := range dangling {
		var found []Problem
		rows, err := f.l.db.Query(ctx, d.find+` LIMIT 10000`)
		if err != nil {
			return err
		}
		found, err = scanEach(rows, func(row interface{ Scan(...any) error }) (Problem, error) {
			p := Problem{Kind: ProblemDangling, Advice: "restore the database from a backup, or have what refers to nothing deleted (repair)"}
			var name string
			err := row.Scan(&p.Repo.Account, &p.Repo.Name, &name)
			p.Detail = fmt.Sprintf("%s: %s", d.what, name)
			return p, err
		})
		if err != nil {
			return err
		}
		repaired := false
		if f.o.Repair && d.remove != "" && len(found) > 0 {
			if err := f.change(ctx, func(tx *meta.Tx) error {
				_, err := tx.Exec(ctx, d.remove)
				return err
			}); err != nil {
				return err
			}
			repaired = true
		}
		for _, p := range found {
			p.Repaired = repaired
			if err := f.found(p); err != nil {
				return err
			}
		}
	}
	return nil
}
