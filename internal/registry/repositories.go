package registry

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"strconv"
	"unicode/utf8"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/oci"
)

// AWS's limits of tags on a resource.
const (
	maxResourceTags = 50
	maxTagKey       = 128 // characters
	maxTagValue     = 256
)

// CreateRepository implements [Registry].
func (l *Local) CreateRepository(ctx context.Context, c *iam.Caller, repo Repo, s RepositorySettings, tags map[string]string) (*Repository, error) {
	return l.CreateByTemplate(ctx, c, repo, &Template{TemplateContent: TemplateContent{Settings: s, Tags: tags}})
}

// CreateByTemplate implements [Registry]. There is no moment at which the repository is there without its policy.
func (l *Local) CreateByTemplate(ctx context.Context, c *iam.Caller, repo Repo, t *Template) (*Repository, error) {
	if err := oci.CheckName(repo.Name); err != nil {
		return nil, errorf(NameInvalid, "%v", err)
	}
	if err := t.checkContent(); err != nil {
		return nil, err
	}
	tags := t.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	out := &Repository{Repo: repo, CreatedAt: l.timeOf(), Settings: t.Settings, Tags: tags}
	err := l.update(ctx, "create repository", func(tx *meta.Tx) error {
		var id int64
		err := tx.QueryRow(ctx, `INSERT INTO repositories (account, name, created_at, settings, tags) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (account, name) DO NOTHING RETURNING id`,
			repo.Account, repo.Name, out.CreatedAt.UnixMicro(), encode(t.Settings), encode(tags)).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return errRepositoryExists(repo)
		}
		if err == nil && t.RepositoryPolicy != "" {
			if err := l.decides(ctx, tx); err != nil {
				return err
			}
			if err := l.checkPrincipals(ctx, tx, t.RepositoryPolicy); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `INSERT INTO repository_policies (repository_id, document) VALUES ($1, $2)`, id, t.RepositoryPolicy)
		}
		if err == nil && t.LifecyclePolicy != "" {
			_, err = tx.Exec(ctx, `INSERT INTO lifecycle_policies (repository_id, document, evaluated_at) VALUES ($1, $2, 0)`, id, t.LifecyclePolicy)
		}
		if err != nil {
			return err
		}
		detail := ""
		if t.Prefix != "" {
			detail = "by the template " + t.Prefix
		}
		return l.changed(ctx, tx, c, "ecr:CreateRepository", repo, detail)
	})
	if err != nil {
		return nil, err
	}
	l.forgetRepository(repo)
	return out, nil
}

func checkResourceTags(tags map[string]string) error {
	if len(tags) > maxResourceTags {
		return errorf(TooManyTags, "tags: a resource has at most %d tags, there are %d", maxResourceTags, len(tags))
	}
	for k, v := range tags {
		if k == "" || utf8.RuneCountInString(k) > maxTagKey || utf8.RuneCountInString(v) > maxTagValue {
			return errorf(SettingInvalid, "tags: the key %q must have 1 to %d characters and its value at most %d", k, maxTagKey, maxTagValue)
		}
	}
	return nil
}

func (l *Local) forgetRepository(repo Repo) {
	if l.cache != nil {
		l.cache.forgetRepository(repo)
	}
}

// Repository implements [Registry].
func (l *Local) Repository(ctx context.Context, _ *iam.Caller, repo Repo) (*Repository, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return nil, err
	}
	return &r.Repository, nil
}

// Repositories implements [Registry].
func (l *Local) Repositories(ctx context.Context, _ *iam.Caller, account string, page Page) ([]Repository, bool, error) {
	limit := page.limit()
	rows, err := l.db.Query(ctx, selectRepository+` WHERE account = $1 AND name > $2 ORDER BY name LIMIT $3`, account, page.After, limit+1)
	if err != nil {
		return nil, false, wrap("list repositories", err)
	}
	defer rows.Close()
	var all []Repository
	for rows.Next() {
		r, err := scanRepository(rows)
		if err != nil {
			return nil, false, wrap("list repositories", err)
		}
		all = append(all, r.Repository)
	}
	return all[:min(len(all), limit)], len(all) > limit, wrap("list repositories", rows.Err())
}

// DeleteRepository implements [Registry]. The repository is gone for everybody at once; its rows go in the background,
// by collection, so that a large one does not hold up the writers.
func (l *Local) DeleteRepository(ctx context.Context, c *iam.Caller, repo Repo, force bool) (*Repository, error) {
	var r *repository
	err := l.update(ctx, "delete repository", func(tx *meta.Tx) (err error) {
		if err := l.decides(ctx, tx); err != nil {
			return err
		}
		if r, err = l.readRepository(ctx, tx, repo); err != nil {
			return err
		}
		// No account is named "", and so nobody can name this repository any more. On PostgreSQL this waits for the pushes
		// that are under way, and those that come wait for it: so it comes before the look whether the repository is empty.
		res, err := tx.Exec(ctx, `UPDATE repositories SET account = '', name = $2 WHERE id = $1 AND account <> ''`, r.id, strconv.FormatInt(r.id, 10))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errRepositoryUnknown(repo)) // another node was quicker
		}
		if !force {
			var used bool
			if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM manifests WHERE repository_id = $1)`, r.id).Scan(&used); err != nil {
				return err
			}
			if used {
				return errRepositoryNotEmpty(repo)
			}
		}
		if l.cache != nil {
			l.cache.setGoing(r.id, true)
		}
		return l.changed(ctx, tx, c, "ecr:DeleteRepository", repo, "")
	})
	if err == nil {
		l.forgetRepository(repo)
	}
	if l.cache != nil && r != nil {
		l.cache.setGoing(r.id, false)
	}
	if err != nil {
		return nil, err
	}
	return &r.Repository, nil
}

// RepositoryTags implements [Registry].
func (l *Local) RepositoryTags(ctx context.Context, _ *iam.Caller, repo Repo) (map[string]string, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return nil, err
	}
	return r.Repository.Tags, nil
}

// TagRepository implements [Registry].
func (l *Local) TagRepository(ctx context.Context, c *iam.Caller, repo Repo, set map[string]string, remove []string) error {
	err := l.update(ctx, "tag repository", func(tx *meta.Tx) error {
		if err := l.decides(ctx, tx); err != nil {
			return err
		}
		r, err := l.lockRepository(ctx, tx, repo)
		if err != nil {
			return err
		}
		tags := maps.Clone(r.Repository.Tags)
		maps.Copy(tags, set)
		for _, k := range remove {
			delete(tags, k)
		}
		if err := checkResourceTags(tags); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE repositories SET tags = $2 WHERE id = $1`, r.id, encode(tags)); err != nil {
			return err
		}
		action := "ecr:TagResource"
		if len(set) == 0 {
			action = "ecr:UntagResource"
		}
		return l.changed(ctx, tx, c, action, repo, "")
	})
	l.forgetRepository(repo)
	return err
}

// Settings implements [Registry].
func (l *Local) Settings(ctx context.Context, _ *iam.Caller, account string) (Settings, error) {
	return l.settingsOf(ctx, l.db, account)
}

func (l *Local) settingsOf(ctx context.Context, q reader, account string) (Settings, error) {
	var text string
	err := q.QueryRow(ctx, `SELECT settings FROM registry_settings WHERE account = $1`, account).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return l.o.Settings, nil
	}
	var s Settings
	if err != nil {
		return s, wrap("read registry settings", err)
	}
	return s, decode("registry settings", text, &s)
}

// PutSettings implements [Registry].
func (l *Local) PutSettings(ctx context.Context, c *iam.Caller, account string, s Settings) error {
	return l.update(ctx, "put registry settings", func(tx *meta.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO registry_settings (account, settings) VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET settings = excluded.settings`,
			account, encode(s)); err != nil {
			return err
		}
		return l.changed(ctx, tx, c, "ecr:PutAccountSetting", Repo{Account: account}, encode(s))
	})
}
