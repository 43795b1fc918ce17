package registrytest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

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
