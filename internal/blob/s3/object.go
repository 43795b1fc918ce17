package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho/sekisho/internal/blob"
)

const contentType = "application/octet-stream"

// keyPattern is what newKey makes.
var keyPattern = regexp.MustCompile(`^[0-9a-z-]{1,64}\.[2-7a-z]{26}$`)

func newKey(id string) string { return id + "." + blob.Fresh() }

func checkKey(key string) error {
	if !keyPattern.MatchString(key) {
		return fmt.Errorf("key: %w", blob.ErrInvalid)
	}
	return nil
}

// Open implements [blob.Store]. It begins to read at the start; a Seek elsewhere costs another request.
func (s *Store) Open(ctx context.Context, key string) (blob.Content, error) {
	c, err := s.open(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("open object %q: %w", key, err)
	}
	return c, nil
}

func (s *Store) open(ctx context.Context, key string) (*content, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(s.objectName(key))})
	if err != nil {
		return nil, known(err)
	}
	return &content{store: s, ctx: ctx, key: key, size: aws.ToInt64(out.ContentLength), body: out.Body}, nil
}

// content reads an object by one request as long as it is read on, and by another after a Seek.
type content struct {
	store *Store
	ctx   context.Context // of the call of Open, whose requests these are
	key   string
	size  int64
	off   int64         // of the next Read
	body  io.ReadCloser // nil when there is none
	at    int64         // where body is
}

func (c *content) Size() int64 { return c.size }

// Seek implements [io.Seeker].
func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += c.off
	case io.SeekEnd:
		offset += c.size
	default:
		return 0, errors.New("seek: unknown whence")
	}
	if offset < 0 {
		return 0, errors.New("seek: before the start")
	}
	c.off = offset
	return offset, nil
}

// Read implements [io.Reader].
func (c *content) Read(p []byte) (int, error) {
	if c.off >= c.size {
		return 0, io.EOF
	}
	if c.body == nil || c.at != c.off {
		if err := c.request(); err != nil {
			return 0, fmt.Errorf("read object %s at %d: %w", c.key, c.off, err)
		}
	}
	n, err := c.body.Read(p)
	c.off += int64(n)
	c.at = c.off
	if err == io.EOF && c.off < c.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read object %s at %d: %w", c.key, c.off, err)
	}
	return n, err
}

func (c *content) request() error {
	if err := c.Close(); err != nil {
		return err
	}
	out, err := c.store.client.GetObject(c.ctx, &s3.GetObjectInput{
		Bucket: &c.store.bucket,
		Key:    aws.String(c.store.objectName(c.key)),
		Range:  aws.String(fmt.Sprintf("bytes=%d-", c.off)),
	})
	if err != nil {
		return known(err)
	}
	if left := aws.ToInt64(out.ContentLength); left != c.size-c.off {
		out.Body.Close()
		return fmt.Errorf("service sends %d bytes, not %d", left, c.size-c.off)
	}
	c.body, c.at = out.Body, c.off
	return nil
}

// Close implements [io.Closer].
func (c *content) Close() error {
	if c.body == nil {
		return nil
	}
	err := c.body.Close()
	c.body = nil
	return err
}

// PresignGet implements [blob.Presigner].
func (s *Store) PresignGet(ctx context.Context, key string, expires time.Duration) (string, error) {
	if err := checkKey(key); err != nil {
		return "", fmt.Errorf("presign object %q: %w", key, err)
	}
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(s.objectName(key))}
	request, err := s.presign.PresignGetObject(ctx, in, s3.WithPresignExpires(expires))
	if err != nil {
		return "", fmt.Errorf("presign object %q: %w", key, err)
	}
	return request.URL, nil
}

// Delete implements [blob.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	err := checkKey(key)
	if err == nil {
		err = s.remove(ctx, s.objectName(key))
	}
	if err != nil {
		return fmt.Errorf("delete object %q: %w", key, err)
	}
	return nil
}

// remove removes what S3 calls an object, which may be gone already.
func (s *Store) remove(ctx context.Context, name string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &name})
	if err = known(err); errors.Is(err, blob.ErrNotFound) {
		return nil
	}
	return err
}
