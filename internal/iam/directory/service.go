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
	// OnRename runs in the transaction in which the ARN of a user or a role stops to name it, for documents elsewhere that
	// name it as a principal: see [ReplacePrincipal]. To is its new ARN, or its unique id if it is deleted. It runs again for the
	// sessions of a role that is deleted.
	OnRename func(ctx context.Context, tx *meta.Tx, from, to string) error
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
	db         *meta.DB
	keys       *iam.Service
	judge      *iam.Judge
	generation *iam.Generation
	o          Options
	compiled   compiled
	uses       uses
}

// New returns a Service over db. Keys keeps the access keys.
func New(db *meta.DB, keys *iam.Service, judge *iam.Judge, o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnChange == nil {
		o.OnChange = func(context.Context, *meta.Tx, Change) error { return nil }
	}
	if o.OnRename == nil {
		o.OnRename = func(context.Context, *meta.Tx, string, string) error { return nil }
	}
	return &Service{db: db, keys: keys, judge: judge, generation: keys.Generation(), o: o}
}
