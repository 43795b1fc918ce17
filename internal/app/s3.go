package app

import (
	"errors"

	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/config"
)

func openS3(c *config.Config, bucket string) (blob.Store, error) {
	return nil, errors.New("s3: not wired yet")
}
