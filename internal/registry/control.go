package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// Control is what is told to a registry as a whole: its policy, account settings, creation templates, rules of upstreams,
// and the configurations of replication, scanning and signing.
//
// Each method asks the Judge for its action, named as ECR's, before it looks at any data. What the registry itself needs
// to know of all this it reads past the Judge, by methods of [Local].
type Control struct {
	l *Local
	j *Judge
}

// NewControl returns the Control of the registries that l keeps.
func NewControl(l *Local, j *Judge) *Control { return &Control{l, j} }

// Kinds of documents, beside the names of account settings. At most one of each is kept for an account.
const (
	documentPolicy      = "policy"
	documentReplication = "replication"
	documentScanning    = "scanning"
	documentSigning     = "signing"
)

// document returns a document, or "" if there is none.
func document(ctx context.Context, q reader, account, kind string) (string, error) {
	var text string
	err := q.QueryRow(ctx, `SELECT document FROM registry_documents WHERE account = $1 AND kind = $2`, account, kind).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return text, wrap("read "+kind+" of a registry", err)
}

// putDocument keeps a document.
func (k *Control) putDocument(ctx context.Context, c *iam.Caller, action, account, kind, text string) error {
	return k.putDocumentNoted(ctx, c, action, account, kind, text, text)
}

// putDocumentNoted is putDocument with something else in the record than the document.
func (k *Control) putDocumentNoted(ctx context.Context, c *iam.Caller, action, account, kind, text, detail string) error {
	return k.change(ctx, c, action, account, detail, func(tx *meta.Tx) error {
		if kind == documentPolicy {
			if err := k.l.checkPrincipals(ctx, tx, text); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `INSERT INTO registry_documents (account, kind, document, updated_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (account, kind) DO UPDATE SET document = excluded.document, updated_at = excluded.updated_at`,
			account, kind, text, k.l.now().UnixMicro())
		return err
	})
}

// deleteDocument deletes a document and returns it. Without one the error is missing.
func (k *Control) deleteDocument(ctx context.Context, c *iam.Caller, action, account, kind string, missing error) (string, error) {
	var text string
	err := k.change(ctx, c, action, account, kind, func(tx *meta.Tx) error {
		err := tx.QueryRow(ctx, `DELETE FROM registry_documents WHERE account = $1 AND kind = $2 RETURNING document`, account, kind).Scan(&text)
		if errors.Is(err, sql.ErrNoRows) {
			return missing
		}
		return err
	})
	return text, err
}

// change runs fn in a transaction, with the record of the change and the end of what nodes remember of before.
func (k *Control) change(ctx context.Context, c *iam.Caller, action, account, detail string, fn func(*meta.Tx) error) error {
	return k.l.update(ctx, action, func(tx *meta.Tx) error {
		if err := k.l.decides(ctx, tx); err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return err
		}
		return k.l.changed(ctx, tx, c, action, Repo{Account: account}, detail)
	})
}

// isThere returns what missing makes unless a statement found its row.
func isThere(res sql.Result, err, missing error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, missing)
	}
	return nil
}

// entries are how a table of an account's entries is worded: a document under a prefix, with its times.
type entries struct{ table string }

// entry is a row of such a table.
type entry struct {
	prefix, document     string
	createdAt, updatedAt time.Time
}

const selectEntry = `SELECT prefix, document, created_at, updated_at FROM `

func scanEntry(row interface{ Scan(...any) error }) (e entry, err error) {
	var created, updated int64
	err = row.Scan(&e.prefix, &e.document, &created, &updated)
	e.createdAt, e.updatedAt = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	return e, err
}

// get returns an entry, or missing.
func (t entries) get(ctx context.Context, q reader, account, prefix string, missing error) (entry, error) {
	return t.found(q.QueryRow(ctx, selectEntry+t.table+` WHERE account = $1 AND prefix = $2`, account, prefix), missing)
}

// lock is get for a transaction that changes the entry.
func (t entries) lock(ctx context.Context, tx *meta.Tx, account, prefix string, missing error) (entry, error) {
	find := selectEntry + t.table + ` WHERE account = $1 AND prefix = $2`
	if tx.Dialect() == meta.PostgreSQL {
		find += ` FOR UPDATE`
	}
	return t.found(tx.QueryRow(ctx, find, account, prefix), missing)
}

func (t entries) found(row *sql.Row, missing error) (entry, error) {
	e, err := scanEntry(row)
	if errors.Is(err, sql.ErrNoRows) {
		return e, missing
	}
	return e, wrap("read "+t.table, err)
}

// list returns entries in byte order of their prefixes, and whether there are more.
func (t entries) list(ctx context.Context, q reader, account string, page Page) ([]entry, bool, error) {
	limit := page.limit()
	rows, err := q.Query(ctx, selectEntry+t.table+` WHERE account = $1 AND prefix > $2 ORDER BY prefix LIMIT $3`, account, page.After, limit+1)
	if err != nil {
		return nil, false, wrap("list "+t.table, err)
	}
	defer rows.Close()
	var all []entry
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, false, wrap("list "+t.table, err)
		}
		all = append(all, e)
	}
	return all[:min(len(all), limit)], len(all) > limit, wrap("list "+t.table, rows.Err())
}

// insert adds an entry; exists is the error if the prefix is taken, and an account has at most limit entries.
func (t entries) insert(ctx context.Context, tx *meta.Tx, account string, e entry, limit int, what string, exists error) error {
	res, err := tx.Exec(ctx, `INSERT INTO `+t.table+` (account, prefix, document, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (account, prefix) DO NOTHING`, account, e.prefix, e.document, e.createdAt.UnixMicro())
	if err := isThere(res, err, exists); err != nil {
		return err
	}
	return underLimit(ctx, tx, t.table, account, limit, what)
}

// update replaces the document of an entry.
func (t entries) update(ctx context.Context, tx *meta.Tx, account string, e entry, missing error) error {
	res, err := tx.Exec(ctx, `UPDATE `+t.table+` SET document = $3, updated_at = $4 WHERE account = $1 AND prefix = $2`,
		account, e.prefix, e.document, e.updatedAt.UnixMicro())
	return isThere(res, err, missing)
}

// delete deletes an entry.
func (t entries) delete(ctx context.Context, tx *meta.Tx, account, prefix string, missing error) error {
	res, err := tx.Exec(ctx, `DELETE FROM `+t.table+` WHERE account = $1 AND prefix = $2`, account, prefix)
	return isThere(res, err, missing)
}

// underLimit refuses a transaction after which a table has too much of an account. Two of them at once may pass by one
// each on PostgreSQL: the limits keep lists short and are no promise.
func underLimit(ctx context.Context, tx *meta.Tx, table, account string, limit int, what string) error {
	var n int
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM `+table+` WHERE account = $1`, account).Scan(&n); err != nil {
		return err
	}
	if n > limit {
		return errorf(TooManyEntries, "The operation failed because a registry has at most %d %s", limit, what)
	}
	return nil
}

// errParameter words a broken constraint as ECR does.
func errParameter(member, format string, args ...any) error {
	return errorf(SettingInvalid, "Invalid parameter at '%s' failed to satisfy constraint: '%s'", member, fmt.Sprintf(format, args...))
}

// timeOf is a time as the database keeps it.
func (l *Local) timeOf() time.Time { return l.now().UTC().Truncate(time.Microsecond) }

// authorize asks for an action on a registry.
func (k *Control) authorize(ctx context.Context, c *iam.Caller, action, account string) error {
	return k.j.Registry(ctx, c, action, account, nil)
}
