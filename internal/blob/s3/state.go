package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sekisho/sekisho/internal/blob"
)

// sizeMetadata is the name of the state object's metadata that holds the upload's size, so that HEAD tells it.
const sizeMetadata = "upload-size"

// state is an upload between two calls. It is stored as a line of JSON, then the tail.
type state struct {
	Key       string `json:"key,omitempty"`       // of the object that the parts will be
	Multipart string `json:"multipart,omitempty"` // S3's upload id; "" while everything fits in the tail
	Parts     []part `json:"parts,omitempty"`
	Sum       []byte `json:"sum"` // SHA-256 in progress over parts and tail
	tail      []byte // bytes after the last part

	etag    string    // of the state as it is stored; "" when it is not
	modTime time.Time // when it was
}

type part struct {
	ETag string `json:"etag"`
	Size int64  `json:"size"`
}

// size is how many bytes the upload has.
func (st *state) size() int64 {
	n := int64(len(st.tail))
	for _, p := range st.Parts {
		n += p.Size
	}
	return n
}

// hash returns the SHA-256 in progress.
func (st *state) hash() (hash.Hash, error) {
	h := sha256.New()
	if st.Sum == nil {
		return h, nil
	}
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(st.Sum); err != nil {
		return nil, fmt.Errorf("upload state: %w", err)
	}
	return h, nil
}

// snapshot is what the Sum of a state is made of.
func snapshot(h hash.Hash) ([]byte, error) {
	return h.(encoding.BinaryMarshaler).MarshalBinary()
}

// load reads an upload's state. Errors: [blob.ErrNotFound].
func (s *Store) load(ctx context.Context, id string) (*state, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(s.stateName(id))})
	if err != nil {
		return nil, known(err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	if err != nil {
		return nil, err
	}
	header, tail, ok := bytes.Cut(data, []byte("\n"))
	if !ok {
		return nil, errors.New("upload state has no end of its header")
	}
	st := &state{tail: tail, etag: aws.ToString(out.ETag), modTime: aws.ToTime(out.LastModified)}
	if err := json.Unmarshal(header, st); err != nil {
		return nil, fmt.Errorf("upload state: %w", err)
	}
	return st, nil
}

// save stores an upload's state where it was loaded from, unless somebody else has since: that is [blob.ErrBusy].
func (s *Store) save(ctx context.Context, id string, st *state) error {
	header, err := json.Marshal(st)
	if err != nil {
		return err
	}
	in := &s3.PutObjectInput{
		Bucket:   &s.bucket,
		Key:      aws.String(s.stateName(id)),
		Body:     bytes.NewReader(append(append(header, '\n'), st.tail...)),
		Metadata: map[string]string{sizeMetadata: strconv.FormatInt(st.size(), 10)},
	}
	if st.etag == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = &st.etag
	}
	out, err := s.client.PutObject(ctx, in)
	if err != nil {
		return known(err)
	}
	st.etag = aws.ToString(out.ETag)
	return nil
}

// UploadSize implements [blob.Store].
func (s *Store) UploadSize(ctx context.Context, id string) (int64, error) {
	if err := blob.CheckID(id); err != nil {
		return 0, fmt.Errorf("upload size: %w", err)
	}
	size, _, err := s.stat(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("size of upload %s: %w", id, err)
	}
	return size, nil
}

func (s *Store) stat(ctx context.Context, id string) (size int64, modTime time.Time, err error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: aws.String(s.stateName(id))})
	if err != nil {
		return 0, time.Time{}, known(err)
	}
	size, err = strconv.ParseInt(out.Metadata[sizeMetadata], 10, 64)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("upload state has no size: %w", err)
	}
	return size, aws.ToTime(out.LastModified), nil
}

// drop removes an upload: the parts, then the state.
func (s *Store) drop(ctx context.Context, id string, st *state) error {
	if st.Multipart != "" {
		if err := s.abortMultipart(ctx, s.objectName(st.Key), st.Multipart); err != nil {
			return err
		}
	}
	return s.remove(ctx, s.stateName(id))
}

func (s *Store) abortMultipart(ctx context.Context, name, multipart string) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &name, UploadId: &multipart})
	if err = known(err); errors.Is(err, blob.ErrNotFound) {
		return nil
	}
	return err
}

// Abort implements [blob.Store]. It also finds the parts of an Append that did not live to store its state.
func (s *Store) Abort(ctx context.Context, id string) error {
	if err := s.claim(id); err != nil {
		return fmt.Errorf("abort upload %q: %w", id, err)
	}
	defer s.release(id)
	for m, err := range s.multiparts(ctx, id+".") {
		if err == nil {
			err = s.abortMultipart(ctx, aws.ToString(m.Key), aws.ToString(m.UploadId))
		}
		if err != nil {
			return fmt.Errorf("abort upload %s: %w", id, err)
		}
	}
	if err := s.remove(ctx, s.stateName(id)); err != nil {
		return fmt.Errorf("abort upload %s: %w", id, err)
	}
	return nil
}

// completed is the list of parts as S3 wants it when it puts them together.
func (st *state) completed() *types.CompletedMultipartUpload {
	c := &types.CompletedMultipartUpload{}
	for i, p := range st.Parts {
		c.Parts = append(c.Parts, types.CompletedPart{ETag: &p.ETag, PartNumber: aws.Int32(int32(i + 1))})
	}
	return c
}
