package app

import (
	"context"
	"sync"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/registry"
)

// Administer runs fn as the root principal of an account: whoever can open the data folder has its keys. fn goes through
// the choke point as everybody does, and what that noted is in the audit record on return. It is for an instance that
// does not [Instance.Run]. Errors: [iam.ErrUnknownAccount], and those of fn.
func (in *Instance) Administer(ctx context.Context, account string, fn func(r registry.Registry, c *iam.Caller) error) error {
	if _, err := in.IAM.Account(ctx, account); err != nil {
		return err
	}
	recording, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { in.Audit.Run(recording) })
	root := iam.Principal{Account: account, ARN: iam.RootARN(account), Type: iam.Root}
	return fn(in.Served(), root.Caller())
}
