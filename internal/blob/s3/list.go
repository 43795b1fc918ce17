package s3

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sekisho/sekisho/internal/blob"
)

// inspecting is how many uploads of a listing are looked at at a time; each is a round trip.
const inspecting = 16

// Objects implements [blob.Store].
func (s *Store) Objects(ctx context.Context) iter.Seq2[blob.Object, error] {
	return func(yield func(blob.Object, error) bool) {
		for page, err := range s.pages(ctx, s.objectName("")) {
			if err != nil {
				yield(blob.Object{}, fmt.Errorf("list objects: %w", err))
				return
			}
			for _, o := range page {
				key := strings.TrimPrefix(aws.ToString(o.Key), s.objectName(""))
				if checkKey(key) == nil && !yield(blob.Object{Key: key, Size: aws.ToInt64(o.Size), ModTime: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

// Uploads implements [blob.Store]. Those whose parts were begun by an Append that did not live to store its state are
// listed with size 0.
func (s *Store) Uploads(ctx context.Context) iter.Seq2[blob.Upload, error] {
	return func(yield func(blob.Upload, error) bool) {
		for u, err := range s.listUploads(ctx) {
			if err != nil {
				yield(blob.Upload{}, fmt.Errorf("list uploads: %w", err))
				return
			}
			if !yield(u, nil) {
				return
			}
		}
	}
}

func (s *Store) listUploads(ctx context.Context) iter.Seq2[blob.Upload, error] {
	return func(yield func(blob.Upload, error) bool) {
		for page, err := range s.pages(ctx, s.stateName("")) {
			var found []blob.Upload
			if err == nil {
				found, err = s.inspect(ctx, page)
			}
			if err != nil {
				yield(blob.Upload{}, err)
				return
			}
			for _, u := range found {
				if !yield(u, nil) {
					return
				}
			}
		}
		for m, err := range s.multiparts(ctx, "") {
			if err != nil {
				yield(blob.Upload{}, err)
				return
			}
			id, _, _ := strings.Cut(strings.TrimPrefix(aws.ToString(m.Key), s.objectName("")), ".")
			if blob.CheckID(id) != nil {
				continue
			}
			if _, _, err = s.stat(ctx, id); err == nil {
				continue // listed already, or begun meanwhile
			}
			if errors.Is(err, blob.ErrNotFound) {
				err = nil
			}
			if !yield(blob.Upload{ID: id, ModTime: aws.ToTime(m.Initiated)}, err) || err != nil {
				return
			}
		}
	}
}

// inspect returns the uploads whose states are listed on a page, but for those that are gone by now.
func (s *Store) inspect(ctx context.Context, page []types.Object) ([]blob.Upload, error) {
	uploads, errs := make([]blob.Upload, len(page)), make([]error, len(page))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(inspecting, len(page)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(page)); i = next.Add(1) - 1 {
				id := strings.TrimPrefix(aws.ToString(page[i].Key), s.stateName(""))
				if errs[i] = blob.CheckID(id); errs[i] == nil {
					uploads[i].ID = id
					uploads[i].Size, uploads[i].ModTime, errs[i] = s.stat(ctx, id)
				}
			}
		})
	}
	workers.Wait()
	found := uploads[:0]
	for i, err := range errs {
		switch {
		case err == nil:
			found = append(found, uploads[i])
		case !errors.Is(err, blob.ErrNotFound) && !errors.Is(err, blob.ErrInvalid): // what is no upload is not ours
			return nil, err
		}
	}
	return found, nil
}

// pages yields, page by page, what S3 calls the objects whose names begin with prefix.
func (s *Store) pages(ctx context.Context, prefix string) iter.Seq2[[]types.Object, error] {
	return func(yield func([]types.Object, error) bool) {
		pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(page.Contents, nil) {
				return
			}
		}
	}
}

// multiparts yields the multipart uploads that are under way to keys which begin with prefix.
func (s *Store) multiparts(ctx context.Context, prefix string) iter.Seq2[types.MultipartUpload, error] {
	return func(yield func(types.MultipartUpload, error) bool) {
		in := &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: aws.String(s.objectName(prefix))}
		pages := s3.NewListMultipartUploadsPaginator(s.client, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(types.MultipartUpload{}, err)
				return
			}
			for _, m := range page.Uploads {
				if !yield(m, nil) {
					return
				}
			}
		}
	}
}
