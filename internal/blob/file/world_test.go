package file_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/blobtest"
	"github.com/sekisho/sekisho/internal/blob/file"
	"github.com/sekisho/sekisho/internal/durable/faultfs"
)

// world is a store on a file system that fails, its clients, and what it has acknowledged to them.
type world struct {
	t     *testing.T
	fs    *faultfs.FS
	store *file.Store

	committed map[string]string // by key: bytes
	arrived   map[string]int    // by upload: its size, as it was acknowledged last
	failures  []error

	// orphans is whether a Commit that failed may have made an object, as when power is lost before it returns.
	orphans bool
}

// bodies are what the clients upload, in chunks: of nothing, one byte, one buffer, through a pipeline, and so on.
var bodies = []*upload{
	newUpload("empty", digest.SHA256, 0),
	newUpload("one", digest.SHA256, 1),
	newUpload("chunks", digest.SHA256, 100, 0, 70_000, 3),
	newUpload("sha512", digest.SHA512, 300, 300),
	newUpload("pipeline", digest.SHA256, 300_000),
}

type upload struct {
	id     string
	chunks []int
	data   []byte
	digest digest.Digest
}

func newUpload(id string, algorithm digest.Algorithm, chunks ...int) *upload {
	n := 0
	for _, c := range chunks {
		n += c
	}
	data := blobtest.Bytes(uint64(n), n)
	return &upload{id, chunks, data, algorithm.FromBytes(data)}
}

func newWorld(t *testing.T) *world {
	return &world{t: t, fs: faultfs.New(), committed: map[string]string{}, arrived: map[string]int{}}
}

// did notes whether a call worked. The script goes on anyway: it is not the only client.
func (w *world) did(err error) bool {
	if err != nil {
		w.failures = append(w.failures, err)
	}
	return err == nil
}

// script is what the clients do as long as nothing fails. It returns early when power is lost.
func (w *world) script() {
	if !w.open() {
		return
	}
	for _, b := range bodies {
		at, ok := 0, true
		for _, n := range b.chunks {
			if ok = w.append(b.id, at, bytes.NewReader(b.data[at:at+n])); !ok {
				break
			}
			at += n
		}
		if ok {
			w.commit(b.id, b.digest, b.data)
		}
	}
	// A client that hangs up, one that lies, and one that changes its mind.
	broken := errors.New("connection reset")
	w.append("hung-up", 0, io.MultiReader(strings.NewReader("begun"), iotest.ErrReader(broken)))
	if w.append("liar", 0, strings.NewReader("a lie")) {
		w.commit("liar", digest.FromString("the truth"), nil)
	}
	if w.append("cancelled", 0, strings.NewReader("no")) && w.did(w.store.Abort(w.t.Context(), "cancelled")) {
		delete(w.arrived, "cancelled")
	}
}

func (w *world) open() bool {
	s, err := file.Open(w.fs, "/data")
	w.store = s
	return w.did(err)
}

func (w *world) append(id string, at int, r io.Reader) bool {
	size, err := w.store.Append(w.t.Context(), id, int64(at), r)
	if err == nil {
		w.arrived[id] = int(size)
	}
	return w.did(err)
}

func (w *world) commit(id string, want digest.Digest, data []byte) bool {
	o, err := w.store.Commit(w.t.Context(), id, want)
	var mismatch *blob.DigestError
	if err == nil || errors.As(err, &mismatch) {
		delete(w.arrived, id)
	}
	if err == nil {
		w.committed[o.Key] = string(data)
	}
	return w.did(err)
}

// finish does what clients do after failures, when there are none any more: ask how far they got, go on from there, and
// begin anew if the digest turns out to be wrong, which may be where what was not acknowledged is damaged.
func (w *world) finish(damaged bool) {
	w.t.Helper()
	ctx := w.t.Context()
	tree := w.fs.Tree()
	for _, b := range bodies {
		if slices.Contains(slices.Collect(maps.Values(w.committed)), string(b.data)) {
			continue
		}
		for attempt := 0; ; attempt++ {
			size, err := w.store.UploadSize(ctx, b.id)
			if errors.Is(err, blob.ErrNotFound) {
				size, err = 0, nil
			}
			if err != nil {
				w.t.Fatalf("UploadSize(%s): %v", b.id, err)
			}
			if size < int64(w.arrived[b.id]) && !w.isOrphan(tree, b.data) {
				w.t.Fatalf("upload %s has %d bytes, %d were acknowledged", b.id, size, w.arrived[b.id])
			}
			if _, err := w.store.Append(ctx, b.id, size, bytes.NewReader(b.data[size:])); err != nil {
				w.t.Fatalf("Append(%s): %v", b.id, err)
			}
			o, err := w.store.Commit(ctx, b.id, b.digest)
			if err == nil {
				delete(w.arrived, b.id)
				w.committed[o.Key] = string(b.data)
				break
			}
			var mismatch *blob.DigestError
			if !damaged || attempt > 0 || !errors.As(err, &mismatch) {
				w.t.Fatalf("Commit(%s): %v", b.id, err)
			}
			delete(w.arrived, b.id)
		}
	}
	for _, id := range []string{"hung-up", "liar", "cancelled"} {
		if err := w.store.Abort(ctx, id); err != nil {
			w.t.Errorf("Abort(%s): %v", id, err)
		}
	}
}

// check holds what was acknowledged against what the store says, and every file against its name.
func (w *world) check() {
	w.t.Helper()
	for key, want := range w.committed {
		c, err := w.store.Open(w.t.Context(), key)
		if err != nil {
			w.t.Errorf("committed object %s: %v", key, err)
			continue
		}
		got, err := io.ReadAll(c)
		if err != nil || string(got) != want {
			w.t.Errorf("committed object %s has %d bytes, %v, not the %d committed", key, len(got), err, len(want))
		}
		c.Close()
	}
	tree := w.fs.Tree()
	for name, data := range tree {
		if key, ok := strings.CutPrefix(name, "data/blobs/"); ok {
			algorithm, rest, _ := strings.Cut(key, "/")
			hex, _, _ := strings.Cut(rest[3:], ".")
			if got := digest.Algorithm(algorithm).FromString(data).Encoded(); got != hex {
				w.t.Errorf("object %s holds %d bytes with the digest %s", name, len(data), got)
			}
		}
	}
	for _, b := range bodies {
		size := w.arrived[b.id]
		if !strings.HasPrefix(tree["data/uploads/"+b.id], string(b.data[:size])) && !w.isOrphan(tree, b.data) {
			w.t.Errorf("upload %s does not hold the %d bytes that were acknowledged", b.id, size)
		}
	}
}

// isOrphan says whether an upload may have become an object, and has.
func (w *world) isOrphan(tree map[string]string, data []byte) bool {
	return w.orphans && slices.Contains(slices.Collect(maps.Values(tree)), string(data))
}

// wantOnly checks that nothing is left but the given objects.
func (w *world) wantOnly(keys []string) {
	w.t.Helper()
	var got []string
	for name := range w.fs.Tree() {
		if name != "data/check" {
			got = append(got, strings.TrimPrefix(name, "data/blobs/"))
		}
	}
	slices.Sort(got)
	slices.Sort(keys)
	if diff := cmp.Diff(keys, got); diff != "" {
		w.t.Errorf("files (-want +got):\n%s", diff)
	}
}
