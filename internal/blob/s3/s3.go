// Package s3 is a [blob.Store] in a bucket of S3 or of what speaks its protocol:
//
//	<prefix>blobs/<id>.<fresh>     an object; its key is the name below blobs
//	<prefix>uploads/<id>           the state of an upload, see state
//	<prefix>check                  written and read by Check
//
// A large upload goes in parts straight to the name of the object it will be, by S3's multipart upload, which makes it
// visible whole or not at all; a small one lies in its state until it is committed. All state is in the bucket, so
// successive calls for an upload may come from different nodes. Between nodes an Append that lost a race is refused by a
// conditional write of the state where the service has that; everywhere, parts are named by their ETags when they are
// put together, so that a part which another node overwrote makes Commit fail rather than the object wrong.
//
// It is no cache and keeps nothing on disk.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/sekisho/sekisho/internal/blob"
)

const (
	// MinPartSize is the least S3 takes, in bytes, for all parts but the last.
	MinPartSize = 5 << 20
	// DefaultPartSize makes the largest object 78 GiB, as S3 takes 10,000 parts.
	DefaultPartSize = 8 << 20
	maxParts        = 10_000

	// maxSpares bounds how many buffers of a part a store has beyond one for each Append.
	maxSpares = 16
	// idleConnections are kept open to the service. Fewer than there are requests at a time means a new TLS handshake for
	// many of them.
	idleConnections = 64
)

// Options says where the bucket is and who asks.
type Options struct {
	Bucket string
	// Prefix goes before every name, for a bucket that is used for other things too; as in "registry/".
	Prefix string
	Region string
	// Endpoint is the service's URL; "" means AWS.
	Endpoint string
	// AccessKeyID and SecretAccessKey sign requests. When the first is "", the environment, the shared configuration files
	// and the machine's role are asked, in the order of the AWS SDK.
	AccessKeyID, SecretAccessKey string
	// PathStyle puts the bucket's name in the path rather than the host name.
	PathStyle bool
	// PartSize is the bytes in a part of an upload, [DefaultPartSize] when 0, at least [MinPartSize]. An Append holds about
	// as much memory as it has received, up to this, and all together up to 16 times this for what is on its way to S3.
	PartSize int
	// HTTPClient makes the requests; nil means one of our own.
	HTTPClient *http.Client
}

// Store is a bucket of objects and uploads.
type Store struct {
	client   *s3.Client
	presign  *s3.PresignClient
	bucket   string
	prefix   string
	partSize int
	spares   chan struct{} // one element for each buffer in use that is not an Append's first

	mu   sync.Mutex
	busy map[string]bool // ids of uploads that this process is changing; guarded by mu
}

var (
	_ blob.Store     = (*Store)(nil)
	_ blob.Presigner = (*Store)(nil)
)

// Open returns the store in a bucket, which must exist. It makes no request to S3; see Check.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Bucket == "" {
		return nil, errors.New("open blob store: no bucket")
	}
	if o.PartSize == 0 {
		o.PartSize = DefaultPartSize
	}
	if o.PartSize < MinPartSize {
		return nil, fmt.Errorf("open blob store: part size is %d bytes, S3 takes no less than %d", o.PartSize, MinPartSize)
	}
	cfg := aws.Config{Region: o.Region}
	if o.AccessKeyID != "" {
		cfg.Credentials = credentials.NewStaticCredentialsProvider(o.AccessKeyID, o.SecretAccessKey, "")
	} else {
		var err error
		if cfg, err = config.LoadDefaultConfig(ctx, config.WithRegion(o.Region)); err != nil {
			return nil, fmt.Errorf("open blob store: %w", err)
		}
	}
	if o.HTTPClient != nil {
		cfg.HTTPClient = o.HTTPClient
	} else {
		cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConnsPerHost = idleConnections
		})
	}
	client := s3.NewFromConfig(cfg, func(c *s3.Options) {
		if o.Endpoint != "" {
			c.BaseEndpoint = aws.String(o.Endpoint)
		}
		c.UsePathStyle = o.PathStyle
		// The signature covers the SHA-256 of every body, and not all services know the newer checksums.
		c.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		c.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	return &Store{
		client:   client,
		presign:  s3.NewPresignClient(client),
		bucket:   o.Bucket,
		prefix:   o.Prefix,
		partSize: o.PartSize,
		spares:   make(chan struct{}, maxSpares),
		busy:     map[string]bool{},
	}, nil
}

func (s *Store) objectName(key string) string { return s.prefix + "blobs/" + key }

func (s *Store) stateName(id string) string { return s.prefix + "uploads/" + id }

// claim makes the caller the only one in this process to change an upload, until release.
func (s *Store) claim(id string) error {
	if err := blob.CheckID(id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[id] {
		return blob.ErrBusy
	}
	s.busy[id] = true
	return nil
}

func (s *Store) release(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, id)
}

// Check implements [blob.Store]. It writes and reads a small object.
func (s *Store) Check(ctx context.Context) error {
	if err := s.check(ctx); err != nil {
		return fmt.Errorf("check blob store: %w", err)
	}
	return nil
}

func (s *Store) check(ctx context.Context) error {
	name := aws.String(s.prefix + "check")
	want := []byte("ok")
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &s.bucket, Key: name, Body: bytes.NewReader(want)})
	if err != nil {
		return known(err)
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: name})
	if err != nil {
		return err
	}
	defer out.Body.Close()
	got, err := io.ReadAll(io.LimitReader(out.Body, 64))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("an object does not hold what was written to it")
	}
	return nil
}

// Close implements [blob.Store].
func (s *Store) Close() error {
	if c, ok := s.client.Options().HTTPClient.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
	return nil
}

// known makes an error of S3 the error of package blob that says the same, if there is one. Not every code that a
// service sends with status 404 says that an object is missing: a missing bucket is another matter.
func known(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	switch api.ErrorCode() {
	case "NoSuchKey", "NotFound", "NoSuchUpload":
		return fmt.Errorf("%w: %w", blob.ErrNotFound, err)
	case "PreconditionFailed", "ConditionalRequestConflict":
		return fmt.Errorf("%w: %w", blob.ErrBusy, err)
	case "QuotaExceeded", "InsufficientStorage", "XMinioStorageFull":
		return fmt.Errorf("%w: %w", blob.ErrFull, err)
	}
	var response *awshttp.ResponseError
	if errors.As(err, &response) && response.HTTPStatusCode() == http.StatusInsufficientStorage {
		return fmt.Errorf("%w: %w", blob.ErrFull, err)
	}
	return err
}
