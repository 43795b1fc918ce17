package directory

import (
	"context"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
)

// Options are the settings of a Service.
type Options struct {
	Now func() time.Time // default time.Now
	// OnChange runs in the transaction of every change, for what must be true with it: the audit record.
	OnChange func(ctx context.Context, tx *meta.Tx, ch Change) error
	// OnDelete runs in the transaction that deletes a user or a role, for documents that name it: see [Forget].
	OnDelete func(ctx context.Context, tx *meta.Tx, arn, id string) error
}

// Change is one thing that was done.
type Change struct {
	Caller   *iam.Caller
	Action   string // "iam:CreateUser"
	Resource string // ARN
	Detail   string
}

// Service is the directory of all accounts of an instance. It is safe for concurrent use.
type Service struct {
	db    *meta.DB
	keys  *iam.Service
	judge *iam.Judge
	o     Options
}

// New returns a Service over db. Keys keeps the access keys.
func New(db *meta.DB, keys *iam.Service, judge *iam.Judge, o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{db: db, keys: keys, judge: judge, o: o}
}
