package registrytest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/registry"
)

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
