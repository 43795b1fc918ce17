package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/oci"
)

// checkedManifest is a row of manifests with what is recorded of its needs.
type checkedManifest struct {
	Manifest
	repository      int64
	repo            Repo
	size            int64
	configMediaType string
	descriptor      string
}

const selectCheckedManifests = `SELECT m.id, m.repository_id, COALESCE(r.account, '?'), COALESCE(r.name, '?'), m.digest, m.media_type, m.artifact_type,
		m.config_media_type, m.subject, m.descriptor, m.size, m.data
	FROM manifests m LEFT JOIN repositories r ON r.id = m.repository_id WHERE m.id > $1 AND COALESCE(r.account, '?') <> '' ORDER BY m.id LIMIT $2`

func scanCheckedManifest(row interface{ Scan(...any) error }) (*checkedManifest, error) {
	var m checkedManifest
	return &m, row.Scan(&m.id, &m.repository, &m.repo.Account, &m.repo.Name, &m.Digest, &m.MediaType, &m.ArtifactType, &m.configMediaType, &m.Subject,
		&m.descriptor, &m.size, &m.Data)
}

// manifestPage is how many manifests, of up to 4 MiB each, are read at once.
const manifestPage = 8

// checkManifests hashes all manifests and compares what they name with what is recorded.
func (f *fsck) checkManifests(ctx context.Context) error {
	for after := int64(0); ; {
		var page []*checkedManifest
		var findings [][]finding
		// One snapshot, so that a manifest and its references are of the same time.
		err := f.l.db.View(ctx, func(tx *meta.Tx) error {
			rows, err := tx.Query(ctx, selectCheckedManifests, after, manifestPage)
			if err != nil {
				return err
			}
			if page, err = scanEach(rows, scanCheckedManifest); err != nil {
				return err
			}
			for _, m := range page {
				found, err := examineManifest(ctx, tx, m)
				if err != nil {
					return err
				}
				findings = append(findings, found)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, m := range page {
			f.manifests.Add(1)
			for _, found := range findings[i] {
				if err := f.manifestProblem(ctx, m, found); err != nil {
					return err
				}
			}
			after = m.id
		}
		f.tell(false)
		if len(page) < manifestPage {
			return nil
		}
	}
}

// finding is something wrong with a manifest, and how it is repaired: by a function, or if it is a blob that is nowhere in
// the database, by searching the store for it.
type finding struct {
	kind   ProblemKind
	digest digest.Digest // of what it is about; empty: the manifest
	detail string
	advice string
	repair func(ctx context.Context, f *fsck, tx *meta.Tx) error
	search bool
}

const advicePush = "push the image again"

// examineManifest compares a manifest with its bytes.
func examineManifest(ctx context.Context, tx *meta.Tx, m *checkedManifest) ([]finding, error) {
	if err := m.Digest.Validate(); err != nil {
		return []finding{{kind: ProblemManifestCorrupt, detail: "its digest is none: " + err.Error(), advice: advicePush}}, nil
	}
	if got := m.Digest.Algorithm().FromBytes(m.Data); got != m.Digest {
		return []finding{{kind: ProblemManifestCorrupt, detail: fmt.Sprintf("its %d bytes have the digest %s", len(m.Data), got),
			advice: "delete the image by its digest and push it again"}}, nil
	}
	parsed, err := oci.ParseManifest(m.MediaType, m.Data)
	if err != nil { // the row's media type may be what is wrong
		if parsed, err = oci.ParseManifest("", m.Data); err != nil {
			return []finding{{kind: ProblemManifestCorrupt, detail: "its bytes are no manifest: " + err.Error(), advice: advicePush}}, nil
		}
	}
	var all []finding
	if found := m.examineFields(parsed); found != nil {
		all = append(all, *found)
	}
	recorded, err := recordedNeeds(ctx, tx, m.id)
	if err != nil {
		return nil, err
	}
	named := map[digest.Digest]bool{}
	for _, b := range parsed.Blobs {
		if !named[b.Digest] && !recorded[b.Digest] {
			found, err := m.lostBlob(ctx, tx, b)
			if err != nil {
				return nil, err
			}
			all = append(all, found)
		}
		named[b.Digest] = true
	}
	for _, c := range parsed.Children {
		if !named[c.Digest] && !recorded[c.Digest] {
			found, err := m.lostChild(ctx, tx, c)
			if err != nil {
				return nil, err
			}
			all = append(all, found)
		}
		named[c.Digest] = true
	}
	for d := range recorded {
		if !named[d] {
			all = append(all, finding{kind: ProblemExtra, digest: d, detail: fmt.Sprintf("%s is recorded as needed, but the manifest doesn't name it", d), advice: "repair",
				repair: func(ctx context.Context, _ *fsck, tx *meta.Tx) error { return m.dropNeed(ctx, tx, d) }})
		}
	}
	slices.SortStableFunc(all, func(a, b finding) int {
		return strings.Compare(string(a.kind)+string(a.digest), string(b.kind)+string(b.digest))
	})
	return all, nil
}

// examineFields compares what a manifest's row repeats of its bytes.
func (m *checkedManifest) examineFields(parsed *oci.Manifest) *finding {
	want := Manifest{Digest: m.Digest, MediaType: parsed.MediaType, ArtifactType: parsed.ArtifactType, Data: m.Data}
	config, descriptor := "", ""
	if parsed.Config != nil {
		config = parsed.Config.MediaType
	}
	if parsed.Subject != nil {
		want.Subject = parsed.Subject.Digest
		w := manifestWrite{m: &want, parsed: parsed}
		descriptor = w.descriptor()
	}
	var wrong []string
	for _, field := range []struct{ name, got, want string }{
		{"media type", m.MediaType, want.MediaType},
		{"artifact type", m.ArtifactType, want.ArtifactType},
		{"configuration's media type", m.configMediaType, config},
		{"subject", string(m.Subject), string(want.Subject)},
		{"entry of a referrers list", m.descriptor, descriptor},
		{"size", fmt.Sprint(m.size), fmt.Sprint(len(m.Data))},
	} {
		if field.got != field.want {
			wrong = append(wrong, fmt.Sprintf("%s: %q instead of %q", field.name, field.got, field.want))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return &finding{kind: ProblemManifestFields, detail: "its row is not as its bytes say: " + strings.Join(wrong, ", "), advice: "repair",
		repair: func(ctx context.Context, _ *fsck, tx *meta.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE manifests SET media_type = $1, artifact_type = $2, config_media_type = $3, subject = $4, descriptor = $5, size = $6 WHERE id = $7`,
				want.MediaType, want.ArtifactType, config, string(want.Subject), descriptor, len(m.Data), m.id)
			return err
		}}
}

// recordedNeeds returns what is recorded as needed by a manifest, and is there, or was missing when it was pushed.
func recordedNeeds(ctx context.Context, q reader, manifest int64) (map[digest.Digest]bool, error) {
	list, err := stringsOf(q.Query(ctx, `SELECT b.digest FROM manifest_blobs mb JOIN repository_blobs rb ON rb.repository_id = mb.repository_id AND rb.blob_id = mb.blob_id
			JOIN blobs b ON b.id = mb.blob_id WHERE mb.manifest_id = $1
		UNION ALL SELECT c.digest FROM manifest_children mc JOIN manifests c ON c.id = mc.child_id WHERE mc.manifest_id = $1
		UNION ALL SELECT mm.digest FROM manifest_missing mm WHERE mm.manifest_id = $1`, manifest))
	all := map[digest.Digest]bool{}
	for _, d := range list {
		all[digest.Digest(d)] = true
	}
	return all, err
}

// dropNeed takes back a record of something that a manifest doesn't name.
func (m *checkedManifest) dropNeed(ctx context.Context, tx *meta.Tx, d digest.Digest) error {
	for _, q := range []string{
		`DELETE FROM manifest_blobs WHERE manifest_id = $1 AND blob_id IN (SELECT id FROM blobs WHERE digest = $2)`,
		`DELETE FROM manifest_children WHERE manifest_id = $1 AND child_id IN (SELECT id FROM manifests WHERE digest = $2)`,
		`DELETE FROM manifest_missing WHERE manifest_id = $1 AND digest = $2`,
	} {
		if _, err := tx.Exec(ctx, q, m.id, string(d)); err != nil {
			return err
		}
	}
	return nil
}

// lostBlob is a blob that the manifest names and that was there when it was pushed, or the manifest would not have been
// taken; or else it would be recorded as missing. So what is missing is the record.
func (m *checkedManifest) lostBlob(ctx context.Context, q reader, b oci.Descriptor) (finding, error) {
	found := finding{kind: ProblemReference, digest: b.Digest, advice: "repair",
		detail: fmt.Sprintf("it needs the blob %s, which is not recorded", b.Digest)}
	var there bool
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM blobs WHERE digest = $1)`, string(b.Digest)).Scan(&there); err != nil {
		return found, err
	}
	if !there {
		found.search = true
		found.detail = fmt.Sprintf("it needs the blob %s, which is not there", b.Digest)
		found.advice = "have it looked for in the store (repair); or else " + advicePush
		return found, nil
	}
	found.repair = func(ctx context.Context, f *fsck, tx *meta.Tx) error {
		return f.linkNeed(ctx, tx, manifestOf{m.id, m.repository}, b.Digest)
	}
	return found, nil
}

// linkNeed records that a manifest needs a blob, whose row is there.
func (f *fsck) linkNeed(ctx context.Context, tx *meta.Tx, m manifestOf, d digest.Digest) error {
	if err := f.l.link(ctx, tx, &repository{id: m.repository}, d); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO manifest_blobs (manifest_id, repository_id, blob_id) SELECT $1, $2, id FROM blobs WHERE digest = $3
		ON CONFLICT (manifest_id, blob_id) DO NOTHING`, m.id, m.repository, string(d))
	return err
}

func (m *checkedManifest) lostChild(ctx context.Context, q reader, c oci.Descriptor) (finding, error) {
	found := finding{kind: ProblemReference, digest: c.Digest, detail: fmt.Sprintf("it needs the manifest %s, which is not there", c.Digest),
		advice: "push that image again, by its digest, and repair"}
	var child int64
	err := q.QueryRow(ctx, `SELECT id FROM manifests WHERE repository_id = $1 AND digest = $2`, m.repository, string(c.Digest)).Scan(&child)
	if errors.Is(err, sql.ErrNoRows) {
		return found, nil
	}
	if err != nil {
		return found, err
	}
	found.detail = fmt.Sprintf("it needs the manifest %s, which is not recorded", c.Digest)
	found.advice = "repair"
	found.repair = func(ctx context.Context, _ *fsck, tx *meta.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO manifest_children (manifest_id, child_id) VALUES ($1, $2) ON CONFLICT (manifest_id, child_id) DO NOTHING`, m.id, child); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE manifests SET untagged_at = 0 WHERE id = $1`, child)
		return err
	}
	return found, nil
}

// manifestProblem repairs what was found, if it can and may, and reports it.
func (f *fsck) manifestProblem(ctx context.Context, m *checkedManifest, found finding) error {
	p := Problem{Kind: found.kind, Repo: m.repo, Digest: m.Digest, Detail: found.detail, Advice: found.advice}
	if f.o.Repair && found.search {
		if f.want(found.digest, func(w *wantedBlob) {
			w.problems = append(w.problems, p)
			if w.row == 0 {
				w.manifests = append(w.manifests, manifestOf{m.id, m.repository})
			}
		}) {
			return nil // it is reported when the store has been searched
		}
	}
	if f.o.Repair && found.repair != nil {
		err := f.change(ctx, func(tx *meta.Tx) error { return found.repair(ctx, f, tx) })
		switch {
		case err == nil:
			p.Repaired = true
		case meta.IsForeignKey(err): // gone meanwhile
			return nil
		default:
			return err
		}
	}
	return f.found(p)
}
