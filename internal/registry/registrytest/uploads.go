package registrytest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/registry"
)

var uploadTests = []test{
	{"in chunks", chunks},
	{"last chunk with the end", lastChunk},
	{"offsets", offsets},
	{"resumed", resumed},
	{"unknown length", unknownLength},
	{"truncated", truncated},
	{"wrong length", wrongLength},
	{"other digest", otherDigest},
	{"malformed digest", malformedDigest},
	{"cancelled", cancelled},
	{"completed", completed},
	{"foreign ids", foreignIDs},
	{"expired", expired},
	{"too large", tooLarge},
	{"two writers", twoWriters},
	{"two writers on two nodes", twoNodes},
	{"without bytes", withoutBytes},
}

// upload is one upload of a client.
type upload struct {
	*client
	id string
}

func (c *client) start() *upload {
	c.Helper()
	id, err := c.reg().StartUpload(c.Context(), c.as, c.repo)
	if err != nil {
		c.Fatalf("StartUpload: %v", err)
	}
	return &upload{c, id}
}

func (u *upload) append(at int64, r io.Reader) (int64, error) {
	return u.reg().AppendUpload(u.Context(), u.as, u.repo, u.id, at, r)
}

// grow appends a chunk.
func (u *upload) grow(at int64, chunk content, want int) {
	u.Helper()
	if size, err := u.append(at, bytes.NewReader(chunk)); err != nil || size != int64(want) {
		u.Fatalf("AppendUpload at %d of %d bytes: %d, %v, want %d", at, len(chunk), size, err, want)
	}
	u.wantSize(want)
}

func (u *upload) size() (int64, error) {
	return u.reg().UploadSize(u.Context(), u.as, u.repo, u.id)
}

func (u *upload) wantSize(want int) {
	u.Helper()
	if size, err := u.size(); err != nil || size != int64(want) {
		u.Errorf("UploadSize = %d, %v, want %d", size, err, want)
	}
}

func (u *upload) complete(end registry.UploadEnd) error {
	_, err := u.reg().CompleteUpload(u.Context(), u.as, u.repo, u.id, end)
	return err
}

// end completes an upload that has all its bytes.
func (u *upload) end(d digest.Digest) error {
	return u.complete(registry.UploadEnd{Digest: d, At: registry.AtEnd})
}

func (u *upload) cancel() error {
	return u.reg().CancelUpload(u.Context(), u.as, u.repo, u.id)
}

// wantUnknown checks that the upload can't be used any more, or never could.
func (u *upload) wantUnknown(what string) {
	u.Helper()
	b := u.small()
	_, err := u.size()
	u.wantKind(what+": UploadSize", err, registry.UploadUnknown)
	_, err = u.append(0, bytes.NewReader(b))
	u.wantKind(what+": AppendUpload", err, registry.UploadUnknown)
	_, err = u.append(registry.AtEnd, bytes.NewReader(b))
	u.wantKind(what+": AppendUpload at the end", err, registry.UploadUnknown)
	u.wantKind(what+": CompleteUpload", u.end(b.digest()), registry.UploadUnknown)
	u.wantKind(what+": CompleteUpload with a body", u.complete(registry.UploadEnd{Digest: b.digest(), At: registry.AtEnd, Body: bytes.NewReader(b), Size: int64(len(b))}), registry.UploadUnknown)
	u.wantKind(what+": CancelUpload", u.cancel(), registry.UploadUnknown)
	u.wantNoBlob(b.digest())
}

func chunks(c *client) {
	for _, n := range []int{3, 3000, 300_000} {
		b := c.random(n)
		u := c.start()
		u.wantSize(0)
		third := n / 3
		u.grow(0, b[:third], third)
		u.grow(registry.AtEnd, b[third:2*third], 2*third)
		c.wantNoBlob(b.digest())
		u.grow(int64(2*third), b[2*third:], n)
		if err := u.end(b.digest()); err != nil {
			c.Fatalf("CompleteUpload of %d bytes: %v", n, err)
		}
		c.wantBlob(b)
	}
}

func lastChunk(c *client) {
	for _, n := range []int64{registry.AtEnd, 70_000} {
		b := c.random(100_000)
		u := c.start()
		u.grow(registry.AtEnd, b[:70_000], 70_000)
		if err := u.complete(registry.UploadEnd{Digest: b.digest(), At: n, Body: bytes.NewReader(b[70_000:]), Size: 30_000}); err != nil {
			c.Fatal(err)
		}
		c.wantBlob(b)
	}
	b := c.random(100_000)
	u := c.start()
	u.grow(0, b, len(b))
	// The end may say where it is though it brings nothing.
	if err := u.complete(registry.UploadEnd{Digest: b.digest(), At: 100_000, Body: strings.NewReader(""), Size: 0}); err != nil {
		c.Fatal(err)
	}
	c.wantBlob(b)
}

// wantRange checks that a chunk in the wrong place is refused with the place it should have.
func (u *upload) wantRange(what string, err error, size int64) {
	u.Helper()
	u.wantKind(what, err, registry.RangeInvalid)
	var e *registry.Error
	if errors.As(err, &e) && e.Offset != size {
		u.Errorf("%s: the error says that the upload has %d bytes, it has %d", what, e.Offset, size)
	}
}

func offsets(c *client) {
	b := c.random(100_000)
	u := c.start()
	_, err := u.append(1, bytes.NewReader(b[1:]))
	u.wantRange("a first chunk at 1", err, 0)
	u.wantRange("an end at 1", u.complete(registry.UploadEnd{Digest: b.digest(), At: 1, Body: bytes.NewReader(b[1:]), Size: int64(len(b)) - 1}), 0)
	u.wantRange("an end of nothing at 1", u.complete(registry.UploadEnd{Digest: b.digest(), At: 1}), 0)
	u.wantRange("a small end at 1", u.complete(registry.UploadEnd{Digest: b.digest(), At: 1, Body: bytes.NewReader(b[:5]), Size: 5}), 0)
	u.wantSize(0)
	u.grow(0, b[:60_000], 60_000)
	for _, at := range []int64{0, 1, 59_999, 60_001, 1 << 62} {
		_, err := u.append(at, bytes.NewReader(b[:10]))
		u.wantRange(fmt.Sprint("a chunk at ", at), err, 60_000)
		u.wantRange(fmt.Sprint("an end at ", at), u.complete(registry.UploadEnd{Digest: b.digest(), At: at, Body: bytes.NewReader(b[60_000:]), Size: 40_000}), 60_000)
		if at > 0 {
			u.wantRange(fmt.Sprint("an end of nothing at ", at), u.complete(registry.UploadEnd{Digest: b.digest(), At: at}), 60_000)
		}
		u.wantSize(60_000)
	}
	u.grow(60_000, b[60_000:], len(b))
	if err := u.end(b.digest()); err != nil {
		c.Fatal(err)
	}
	c.wantBlob(b)
}

// broken yields b and then the error of a client that went away.
func broken(b []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(b), errorReader{})
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func resumed(c *client) {
	b := c.random(500_000)
	u := c.start()
	size := int64(0)
	for i := range 5 {
		got, err := u.append(size, broken(b[size:(i+1)*80_000]))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			c.Fatalf("AppendUpload of a broken chunk: %d, %v", got, err)
		}
		size, err = u.size()
		if err != nil || size != got || size > int64((i+1)*80_000) {
			c.Fatalf("after a broken chunk of which %d bytes are said to be kept, UploadSize = %d, %v", got, size, err)
		}
	}
	if size == 0 {
		c.Error("nothing was kept of five broken chunks")
	}
	u.grow(size, b[size:], len(b))
	if err := u.end(b.digest()); err != nil {
		c.Fatal(err)
	}
	c.wantBlob(b)
}

func unknownLength(c *client) {
	for _, n := range []int{0, 1, 100, 300_000} {
		b := c.random(n)
		u := c.start()
		// io.MultiReader hides the length.
		if err := u.complete(registry.UploadEnd{Digest: b.digest(), At: registry.AtEnd, Body: io.MultiReader(bytes.NewReader(b)), Size: -1}); err != nil {
			c.Fatalf("CompleteUpload of %d bytes: %v", n, err)
		}
		c.wantBlob(b)
		u = c.start()
		u.grow(registry.AtEnd, b, n)
		if err := u.complete(registry.UploadEnd{Digest: b.digest(), At: registry.AtEnd, Body: strings.NewReader(""), Size: -1}); err != nil {
			c.Fatalf("CompleteUpload after %d bytes: %v", n, err)
		}
		c.wantBlob(b)
	}
}

func truncated(c *client) {
	for _, n := range []int{100, 300_000} {
		b := c.random(n)
		u := c.start()
		for _, size := range []int64{int64(n), -1} {
			for _, k := range []int{0, n / 2, n} {
				err := u.complete(registry.UploadEnd{Digest: b.digest(), At: registry.AtEnd, Body: broken(b[:k]), Size: size})
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					c.Errorf("CompleteUpload with %d of %d bytes: %v", k, n, err)
				}
				u.wantSize(0) // a client that meant to send all at once does so again
			}
		}
		c.wantNoBlob(b.digest())
		if err := u.complete(registry.UploadEnd{Digest: b.digest(), At: registry.AtEnd, Body: bytes.NewReader(b), Size: int64(n)}); err != nil {
			c.Fatal(err)
		}
		c.wantBlob(b)
	}
	// What had come in earlier chunks stays.
	b := c.random(300_000)
	u := c.start()
	u.grow(0, b[:100_000], 100_000)
	err := u.complete(registry.UploadEnd{Digest: b.digest(), At: 100_000, Body: broken(b[100_000:200_000]), Size: 200_000})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		c.Errorf("CompleteUpload with half the last chunk: %v", err)
	}
	size, err := u.size()
	if err != nil || size < 100_000 || size > 200_000 {
		c.Fatalf("UploadSize = %d, %v", size, err)
	}
	if err := u.complete(registry.UploadEnd{Digest: b.digest(), At: size, Body: bytes.NewReader(b[size:]), Size: int64(len(b)) - size}); err != nil {
		c.Fatal(err)
	}
	c.wantBlob(b)
}

// wrongLength: a body shorter or longer than was said makes no blob of another digest.
func wrongLength(c *client) {
	b := c.random(100)
	for _, size := range []int64{99, 101, c.s.Limits.Inline} {
		u := c.start()
		err := u.complete(registry.UploadEnd{Digest: b.digest(), At: registry.AtEnd, Body: bytes.NewReader(b), Size: size})
		c.wantKind(fmt.Sprintf("100 bytes said to be %d", size), err, registry.LengthMismatch)
	}
	u := c.start()
	c.wantKind("a body said to be empty", u.complete(registry.UploadEnd{Digest: b.digest(), At: registry.AtEnd, Body: bytes.NewReader(b)}), registry.LengthMismatch)
	c.wantNoBlob(b.digest())
}

func otherDigest(c *client) {
	for _, n := range []int{100, 300_000} {
		b, want := c.random(n), c.small().digest()
		u := c.start()
		c.wantKind("one request", u.complete(registry.UploadEnd{Digest: want, At: registry.AtEnd, Body: bytes.NewReader(b), Size: int64(n)}), registry.DigestMismatch)
		u = c.start()
		u.grow(0, b, n)
		c.wantKind("chunks", u.end(want), registry.DigestMismatch)
		u = c.start()
		u.grow(0, b[:n/2], n/2)
		c.wantKind("chunks and an end", u.complete(registry.UploadEnd{Digest: digest.SHA512.FromString("x"), At: registry.AtEnd, Body: bytes.NewReader(b[n/2:]), Size: int64(n - n/2)}), registry.DigestMismatch)
		c.wantNoBlob(want)
		c.wantNoBlob(b.digest())
	}
	c.wantKind("nothing", c.start().end(c.small().digest()), registry.DigestMismatch)
}

func malformedDigest(c *client) {
	b := c.small()
	for _, d := range []digest.Digest{"", "sha256", "sha256:", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", digest.SHA384.FromBytes(b), digest.Digest(strings.ToUpper(string(b.digest()))), b.digest() + "0", "../../x"} {
		u := c.start()
		c.wantKind(fmt.Sprintf("digest %q", d), u.complete(registry.UploadEnd{Digest: d, At: registry.AtEnd, Body: bytes.NewReader(b), Size: int64(len(b))}), registry.DigestMismatch)
	}
}

func cancelled(c *client) {
	u := c.start()
	if err := u.cancel(); err != nil {
		c.Fatal(err)
	}
	u.wantUnknown("cancelled without bytes")
	for _, n := range []int{1, 300_000} {
		b := c.random(n)
		u := c.start()
		u.grow(0, b, n)
		if err := u.cancel(); err != nil {
			c.Fatal(err)
		}
		u.wantUnknown("cancelled")
		c.wantKind("CompleteUpload of what was cancelled", u.end(b.digest()), registry.UploadUnknown)
		c.wantNoBlob(b.digest())
	}
}

// completed: a client whose connection broke before the answer asks once more.
func completed(c *client) {
	for _, n := range []int{100, 300_000} {
		b := c.random(n)
		u := c.start()
		all := func() registry.UploadEnd {
			return registry.UploadEnd{Digest: b.digest(), At: registry.AtEnd, Body: bytes.NewReader(b), Size: int64(n)}
		}
		for range 2 {
			if err := u.complete(all()); err != nil {
				c.Errorf("CompleteUpload again, with the body: %v", err)
			}
		}
		c.wantBlob(b)
		b = c.random(n)
		u = c.start()
		u.grow(0, b, n)
		for range 2 {
			if err := u.end(b.digest()); err != nil {
				c.Errorf("CompleteUpload again, without a body: %v", err)
			}
		}
		c.wantBlob(b)
		// The bytes are no upload any more.
		if size, err := u.size(); err == nil && size > 0 {
			c.Errorf("a completed upload has %d bytes", size)
		}
		if _, err := u.append(int64(n), bytes.NewReader(b)); err == nil {
			c.Error("a completed upload went on")
		}
		c.wantKind("CompleteUpload with another digest", u.end(c.small().digest()), registry.DigestMismatch)
	}
}

func foreignIDs(c *client) {
	other, stranger := c.repository("team/other"), c.s.client(c.T)
	b := c.large()
	own, foreign, strange := c.start(), other.start(), stranger.start()
	own.grow(0, b, len(b))
	foreign.grow(0, b, len(b))
	strange.grow(0, b, len(b))
	flip := func(i int) string {
		id := []byte(own.id)
		id[i] ^= 1
		return string(id)
	}
	for name, id := range map[string]string{
		"empty":                   "",
		"short":                   "x",
		"path":                    "../../" + own.id[6:],
		"zeros":                   strings.Repeat("0", len(own.id)),
		"a UUID":                  "0192f0c1-2b3c-7def-8123-456789abcdef",
		"upper case":              strings.ToUpper(own.id),
		"longer":                  own.id + "0",
		"shorter":                 own.id[:len(own.id)-1],
		"first character changed": flip(0),
		"last character changed":  flip(len(own.id) - 1),
		"another repository's":    foreign.id,
		"another account's":       strange.id,
		"long":                    strings.Repeat("a", 1<<16),
		"not text":                "\x00\xff",
	} {
		(&upload{c, id}).wantUnknown(name)
	}
	(&upload{stranger, own.id}).wantUnknown("own id in another account")
	for _, u := range []*upload{own, foreign, strange} {
		u.wantSize(len(b))
		if err := u.end(b.digest()); err != nil {
			c.Error(err)
		}
	}
}

func expired(c *client) {
	b := c.large()
	begun, untouched := c.start(), c.start()
	begun.grow(0, b[:10], 10)
	c.s.Advance(c.s.Limits.UploadExpiry / 2)
	begun.grow(10, b[10:20], 20)
	c.s.Advance(c.s.Limits.UploadExpiry/2 + time.Minute)
	begun.wantUnknown("expired")
	untouched.wantUnknown("expired without bytes")
	u := c.start()
	u.grow(0, b, len(b))
	if err := u.end(b.digest()); err != nil {
		c.Fatal(err)
	}
}

func tooLarge(c *client) {
	most := int(c.s.Limits.MaxBlob)
	b := c.random(most + 1)
	u := c.start()
	_, err := u.append(0, bytes.NewReader(b))
	c.wantKind("one chunk", err, registry.TooLarge)
	if err := u.cancel(); err != nil {
		c.Error(err)
	}
	u = c.start()
	u.grow(0, b[:1000], 1000)
	_, err = u.append(1000, bytes.NewReader(b[1000:]))
	c.wantKind("the second chunk", err, registry.TooLarge)
	if err := u.cancel(); err != nil {
		c.Error(err)
	}
	for _, size := range []int64{int64(len(b)), -1} {
		u = c.start()
		c.wantKind("one request", u.complete(registry.UploadEnd{Digest: b.digest(), At: registry.AtEnd, Body: bytes.NewReader(b), Size: size}), registry.TooLarge)
		u.wantSize(0)
	}
	c.wantNoBlob(b.digest())
	largest := b[:most]
	u = c.start()
	u.grow(0, largest[:10], 10)
	u.grow(10, largest[10:], most)
	if err := u.end(largest.digest()); err != nil {
		c.Fatalf("CompleteUpload of as much as is allowed: %v", err)
	}
	c.wantBlob(largest)
}

// twoWriters: while one request writes to an upload another is told so, and does no harm.
func twoWriters(c *client) {
	c = c.at(0)
	for _, complete := range []bool{false, true} {
		b := c.random(600_000)
		u := c.start()
		r, w := io.Pipe()
		done := make(chan error)
		go func() {
			if complete {
				done <- u.complete(registry.UploadEnd{Digest: b.digest(), At: 0, Body: r, Size: int64(len(b))})
				return
			}
			_, err := u.append(0, r)
			done <- err
		}()
		if _, err := w.Write(b[:300_000]); err != nil {
			c.Fatal(err)
		}
		for _, err := range []error{
			fail(u.append(0, bytes.NewReader(b))),
			fail(u.append(registry.AtEnd, bytes.NewReader(b))),
			u.complete(registry.UploadEnd{Digest: b.digest(), At: 0, Body: bytes.NewReader(b), Size: int64(len(b))}),
			u.cancel(),
		} {
			var e *registry.Error
			if !errors.As(err, &e) || e.Kind != registry.UploadBusy && e.Kind != registry.RangeInvalid {
				c.Errorf("a second writer: %v, want UploadBusy", err)
			}
		}
		if _, err := w.Write(b[300_000:]); err != nil {
			c.Fatal(err)
		}
		w.Close()
		if err := <-done; err != nil {
			c.Errorf("the first writer: %v", err)
			continue
		}
		if !complete {
			u.wantSize(len(b))
			if err := u.end(b.digest()); err != nil {
				c.Error(err)
			}
		}
		c.wantBlob(b)
	}
}

// twoNodes: nodes don't know of each other's requests. Of two that write to an upload at once one at most succeeds, and
// the upload has its bytes and no others.
func twoNodes(c *client) {
	for range 5 {
		all := []content{c.random(300_000), c.random(300_000)}
		u := c.start()
		r, w := io.Pipe()
		var errs [2]error
		together(
			func() {
				_, errs[0] = (&upload{c.at(0), u.id}).append(0, r)
				r.CloseWithError(errs[0]) // if it was refused, nobody reads on
			},
			func() {
				if _, err := w.Write(all[0][:200_000]); err == nil {
					_, errs[1] = (&upload{c.at(1), u.id}).append(0, bytes.NewReader(all[1]))
					_, _ = w.Write(all[0][200_000:])
				}
				w.Close()
			},
		)
		won := -1
		for i, err := range errs {
			switch {
			case err == nil && won >= 0:
				c.Error("two writers succeeded")
			case err == nil:
				won = i
			case !isKind(err, registry.UploadBusy, registry.RangeInvalid):
				c.Errorf("AppendUpload: %v", err)
			}
		}
		if won < 0 {
			c.Errorf("no writer succeeded: %v", errs)
			continue
		}
		u.wantSize(len(all[won]))
		if err := u.end(all[won].digest()); err != nil {
			c.Errorf("CompleteUpload: %v", err)
		}
		c.wantBlob(all[won])
	}
}

func withoutBytes(c *client) {
	for range 3 * c.s.Limits.MaxUploads {
		u := c.start()
		for range 3 {
			u.grow(registry.AtEnd, nil, 0)
		}
		if size, err := u.append(0, broken(nil)); err == nil || size != 0 {
			c.Errorf("AppendUpload of a broken body: %d, %v", size, err)
		}
	}
	u := c.start()
	u.grow(0, nil, 0)
	if err := u.end(content(nil).digest()); err != nil {
		c.Errorf("CompleteUpload of an empty blob: %v", err)
	}
	c.wantBlob(nil)
}

// tooManyUploads: so many unfinished uploads hold bytes and no more, however uploads end.
func tooManyUploads(c *client) {
	b := c.random(100_000)
	full := func(u *upload) {
		c.Helper()
		_, err := u.append(0, bytes.NewReader(b))
		c.wantKind("one upload more", err, registry.TooManyUploads)
	}
	for round := range 3 {
		var open []*upload
		for range c.s.Limits.MaxUploads {
			u := c.start()
			u.grow(0, b[:1000], 1000)
			open = append(open, u)
		}
		extra := c.start()
		full(extra)
		c.wantKind("a large blob", extra.complete(registry.UploadEnd{Digest: b.digest(), At: 0, Body: bytes.NewReader(b), Size: int64(len(b))}), registry.TooManyUploads)
		c.blobs(c.small()) // takes no upload
		open[0].grow(1000, b[1000:2000], 2000)
		// Each way to end one makes room for one.
		ends := []func(*upload){
			func(u *upload) {
				if err := u.cancel(); err != nil {
					c.Errorf("CancelUpload: %v", err)
				}
			},
			func(u *upload) { c.wantKind("CompleteUpload", u.end(c.small().digest()), registry.DigestMismatch) },
			func(u *upload) {
				size, err := u.size()
				if err != nil {
					c.Error(err)
				}
				if err := u.complete(registry.UploadEnd{Digest: b.digest(), At: size, Body: bytes.NewReader(b[size:]), Size: int64(len(b)) - size}); err != nil {
					c.Errorf("CompleteUpload: %v", err)
				}
			},
		}
		for i, u := range open {
			ends[(i+round)%len(ends)](u)
			// What fails leaves neither bytes nor a gap in the count.
			u := c.start()
			err := u.complete(registry.UploadEnd{Digest: b.digest(), At: 0, Body: broken(b[:i*2000]), Size: int64(len(b))})
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				c.Errorf("CompleteUpload of a broken body: %v", err)
			}
			u.grow(0, b[:1000], 1000)
			full(c.start())
			open[i] = u
		}
		for _, u := range open {
			if err := u.cancel(); err != nil {
				c.Errorf("CancelUpload: %v", err)
			}
		}
	}
}
