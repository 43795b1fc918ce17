package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/file"
	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

func sqliteEnd(t *testing.T) End {
	t.Helper()
	dir := t.TempDir()
	db, err := meta.Open(t.Context(), "sqlite:"+filepath.Join(dir, "meta.db"), meta.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return end(t, db)
}

func end(t *testing.T, db *meta.DB) End {
	t.Helper()
	store, err := file.Open(durable.OS{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(store.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return End{db, store}
}

var repo = registry.Repo{Account: "123456789012", Name: "team/app"}

func local(t *testing.T, e End) *registry.Local {
	t.Helper()
	l, err := registry.NewLocal(e.DB, e.Blobs, registry.Options{UploadKey: bytes.Repeat([]byte("k"), 32)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// push stores an image with a small and a large layer and returns its digest.
func push(t *testing.T, l *registry.Local, tag string, seed byte) digest.Digest {
	t.Helper()
	ctx := t.Context()
	var descriptors []string
	for _, data := range [][]byte{{'{', '}', seed}, {}, bytes.Repeat([]byte{seed}, 100_000)} {
		d := digest.FromBytes(data)
		id, err := l.StartUpload(ctx, nil, repo)
		if err == nil {
			_, err = l.CompleteUpload(ctx, nil, repo, id, registry.UploadEnd{Digest: d, At: registry.AtEnd, Body: bytes.NewReader(data), Size: int64(len(data))})
		}
		if err != nil {
			t.Fatal(err)
		}
		descriptors = append(descriptors, fmt.Sprintf(`{"mediaType":"x","digest":%q,"size":%d}`, d, len(data)))
	}
	m, err := l.PutManifest(ctx, nil, repo, registry.ManifestPut{Tags: []string{tag}, MediaType: oci.TypeImage,
		Data: fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s,%s]}`, oci.TypeImage, descriptors[0], descriptors[1], descriptors[2])})
	if err != nil {
		t.Fatal(err)
	}
	return m.Digest
}

// content reads everything a repository has.
func content(t *testing.T, l *registry.Local) map[string]string {
	t.Helper()
	ctx := t.Context()
	all := map[string]string{}
	images, _, err := l.Images(ctx, nil, repo, registry.Page{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range images {
		m, err := l.Manifest(ctx, nil, repo, oci.Reference{Digest: i.Digest})
		if err != nil {
			t.Fatal(err)
		}
		all[string(i.Digest)] = fmt.Sprint(i.Tags, string(m.Data))
		parsed, err := oci.ParseManifest("", m.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Blobs {
			b, err := l.OpenBlob(ctx, nil, repo, d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			data := b.Data
			if b.Content != nil {
				if data, err = io.ReadAll(b.Content); err != nil {
					t.Fatal(err)
				}
			}
			if digest.FromBytes(data) != d.Digest || b.Close() != nil {
				t.Errorf("blob %s is not what it was", d.Digest)
			}
			all[string(d.Digest)] = fmt.Sprint(len(data))
		}
	}
	return all
}

func TestCopy(t *testing.T) {
	from := sqliteEnd(t)
	if err := from.DB.Update(t.Context(), func(tx *meta.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO accounts (id, created_at) VALUES ($1, 1)`, repo.Account)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	l := local(t, from)
	if _, err := l.CreateRepository(t.Context(), nil, repo, registry.RepositorySettings{}, map[string]string{"team": "a"}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		push(t, l, fmt.Sprint("v", i), byte('a'+i))
	}
	want := content(t, l)
	for name, target := range map[string]func(t *testing.T) End{
		"SQLite": sqliteEnd,
		"PostgreSQL": func(t *testing.T) End {
			db, err := meta.Open(t.Context(), metatest.PostgreSQL(t), meta.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return end(t, db)
		},
	} {
		t.Run(name, func(t *testing.T) {
			to := target(t)
			report, err := Copy(t.Context(), from, to, nil)
			if err != nil {
				t.Fatal(err)
			}
			if report.Objects != 5 || report.Bytes != 500_000 {
				t.Errorf("report %+v, want 5 objects of 500000 bytes", report)
			}
			if err := Check(t.Context(), to.DB); err != nil {
				t.Error(err)
			}
			copied := local(t, to)
			if d := cmp.Diff(want, content(t, copied)); d != "" {
				t.Error(d)
			}
			push(t, copied, "next", 'z') // new rows get numbers that are free
			if _, err := Copy(t.Context(), from, to, nil); !errors.Is(err, ErrNotEmpty) {
				t.Errorf("a second copy: %v, want ErrNotEmpty", err)
			}
			back := sqliteEnd(t)
			if _, err := Copy(t.Context(), to, back, nil); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(content(t, copied), content(t, local(t, back))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCopyFindsCorruption(t *testing.T) {
	from, to := sqliteEnd(t), sqliteEnd(t)
	l := local(t, from)
	if _, err := l.CreateRepository(t.Context(), nil, repo, registry.RepositorySettings{}, nil); err != nil {
		t.Fatal(err)
	}
	push(t, l, "latest", 'a')
	from.Blobs = &corrupt{from.Blobs}
	_, err := Copy(t.Context(), from, to, nil)
	if _, ok := errors.AsType[*blob.DigestError](err); !ok {
		t.Errorf("error %v, want a DigestError", err)
	}
	if err := Check(t.Context(), to.DB); !errors.Is(err, ErrUnfinished) {
		t.Errorf("the target's check: %v, want ErrUnfinished", err)
	}
	if err := Check(t.Context(), sqliteEnd(t).DB); err != nil {
		t.Errorf("an empty database's check: %v", err)
	}
}

// corrupt is a store whose objects have lost their last byte to something else.
type corrupt struct{ blob.Store }

func (c *corrupt) Open(ctx context.Context, key string) (blob.Content, error) {
	content, err := c.Store.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(content)
	if err != nil {
		return nil, err
	}
	data[len(data)-1]++
	return memory{bytes.NewReader(data), content}, nil
}

type memory struct {
	*bytes.Reader
	io.Closer
}

// TestEveryTable fails when a table is added that nobody thought of here.
func TestEveryTable(t *testing.T) {
	e := sqliteEnd(t)
	rows, err := e.DB.Query(t.Context(), `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		got = append(got, name)
	}
	want := slices.Concat(stored, access, left)
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
