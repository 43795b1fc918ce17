package registry

import (
	"context"
	"database/sql"
	"errors"
	"sort"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/oci"
)

// selectImage's tags come as one text; a tag has no space in it.
const selectImage = `SELECT m.digest, m.media_type, m.artifact_type, m.config_media_type, m.subject, m.content_size, m.pushed_at, m.pulled_at, m.archived_at, m.activated_at,
		COALESCE((SELECT string_agg(t.name, ' ') FROM tags t WHERE t.manifest_id = m.id), '') FROM manifests m `

func scanImage(row interface{ Scan(...any) error }) (Image, error) {
	var i Image
	var pushed, pulled, archived, activated int64
	var tags string
	if err := row.Scan(&i.Digest, &i.MediaType, &i.ArtifactType, &i.ConfigMediaType, &i.Subject, &i.Size, &pushed, &pulled, &archived, &activated, &tags); err != nil {
		return i, err
	}
	i.PushedAt = time.UnixMicro(pushed).UTC()
	i.PulledAt, i.ArchivedAt, i.ActivatedAt = timeOrZero(pulled), timeOrZero(archived), timeOrZero(activated)
	i.Archived = archived > activated
	i.Tags = strings.Fields(tags)
	sort.Strings(i.Tags)
	return i, nil
}

// timeOrZero is a time of the database in which 0 is never.
func timeOrZero(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// Image implements [Registry].
func (l *Local) Image(ctx context.Context, _ *iam.Caller, repo Repo, ref oci.Reference) (*Image, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return nil, err
	}
	var row *sql.Row
	if ref.Tag != "" {
		row = l.db.QueryRow(ctx, selectImage+`JOIN tags x ON x.manifest_id = m.id WHERE x.repository_id = $1 AND x.name = $2`, r.id, ref.Tag)
	} else {
		row = l.db.QueryRow(ctx, selectImage+`WHERE m.repository_id = $1 AND m.digest = $2`, r.id, string(ref.Digest))
	}
	i, err := scanImage(row)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errManifestUnknown(repo, ref.Tag, ref.Digest)
	}
	return &i, wrap("describe image", err)
}

// Images implements [Registry].
func (l *Local) Images(ctx context.Context, _ *iam.Caller, repo Repo, page Page) ([]Image, bool, error) {
	r, err := l.repository(ctx, repo)
	if err != nil {
		return nil, false, err
	}
	limit := page.limit()
	rows, err := l.db.Query(ctx, selectImage+`WHERE m.repository_id = $1 AND m.digest > $2 ORDER BY m.digest LIMIT $3`, r.id, page.After, limit+1)
	if err != nil {
		return nil, false, wrap("describe images", err)
	}
	defer rows.Close()
	var all []Image
	for rows.Next() {
		i, err := scanImage(rows)
		if err != nil {
			return nil, false, wrap("describe images", err)
		}
		all = append(all, i)
	}
	return all[:min(len(all), limit)], len(all) > limit, wrap("describe images", rows.Err())
}

// ImageIDs implements [Registry].
func (l *Local) ImageIDs(ctx context.Context, c *iam.Caller, repo Repo, page Page) ([]Image, bool, error) {
	return l.Images(ctx, c, repo, page)
}
