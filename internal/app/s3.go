package app

import (
	"context"
	"strings"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/s3"
	"github.com/sekisho/sekisho/internal/config"
)

// openS3 opens the bucket that what follows s3:// names, with a prefix or without.
func openS3(ctx context.Context, c *config.Config, where string) (blob.Store, error) {
	bucket, prefix, _ := strings.Cut(where, "/")
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	o := c.Blobs.S3
	return s3.Open(ctx, s3.Options{
		Bucket: bucket, Prefix: prefix, Region: o.Region, Endpoint: o.Endpoint, PathStyle: o.PathStyle,
		AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey.Reveal(),
	})
}
