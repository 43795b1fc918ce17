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
	root := iam.Principal{Account: account, ARN: iam.RootARN(account), Type: iam.Root, ID: account}
	return in.as(ctx, root.Caller(), func(c *iam.Caller) error { return fn(in.Served(), c) })
}

// Repair runs fn as the server itself, whom no policy stops, in an account. It is for what nobody else can mend, such as a policy
// that locks everybody out; otherwise it is as Administer.
func (in *Instance) Repair(ctx context.Context, account string, fn func(c *iam.Caller) error) error {
	return in.as(ctx, iam.SystemCaller(account, "repair"), fn)
}

func (in *Instance) as(ctx context.Context, c *iam.Caller, fn func(c *iam.Caller) error) error {
	account := c.Account
	if _, err := in.IAM.Account(ctx, account); err != nil {
		return err
	}
	recording, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { in.Audit.Run(recording) })
	return fn(c)
}
