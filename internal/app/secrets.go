package app

import (
	"cmp"
	"context"

	"github.com/sekisho/sekisho/internal/audit"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/secret"
)

// outward says where the values of secrets may refer to.
func (in *Instance) outward() secret.Outward {
	allowed := func(entries []string) (list []secret.Allowed) {
		for _, entry := range entries {
			account, name := config.SplitAccount(entry)
			list = append(list, secret.Allowed{Account: cmp.Or(account, in.Account), Name: name})
		}
		return list
	}
	return secret.Outward{Files: allowed(in.Config.Secrets.FileRoots), Env: allowed(in.Config.Secrets.Env)}
}

// secretChanged records a change of a secret in its own transaction.
func (in *Instance) secretChanged(ctx context.Context, tx *meta.Tx, ch secret.Change) error {
	e := event(ch.Caller, ch.Action, ch.ARN)
	e.Detail = ch.Detail
	return audit.AppendTx(ctx, tx, in.now(), e)
}
