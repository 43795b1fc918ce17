package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/ca"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/transfer"
)

// holdFor is how long collection of bytes is held off at a time while an instance is copied.
const holdFor = time.Hour

// Backup copies the instance, which may be served meanwhile, into a folder that is not there yet. The folder is an
// instance itself, in the embedded form: it can be served, or restored from. It holds the keys and secrets.
func (in *Instance) Backup(ctx context.Context, dir string, progress func(transfer.Report)) (transfer.Report, error) {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return transfer.Report{}, fmt.Errorf("back up to %s: %w; name a folder that is not there yet", dir, fs.ErrExist)
	}
	// Made here, so that the folder of another backup, running or cut off, is not taken for ours.
	partial := dir + ".partial"
	if err := os.Mkdir(partial, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w; another backup is running there, or did not end: then delete it", err)
		}
		return transfer.Report{}, fmt.Errorf("back up to %s: %w", dir, err)
	}
	loaded, err := config.Load(config.Options{Env: []string{"SEKISHO_DATA=" + partial, "SEKISHO_REGION=" + in.Config.Region}})
	if err != nil {
		return transfer.Report{}, errors.Join(err, os.Remove(partial))
	}
	report, err := in.CopyTo(ctx, &loaded.Config, progress)
	if err != nil {
		return report, errors.Join(err, os.RemoveAll(partial))
	}
	if err := os.Rename(partial, dir); err != nil {
		return report, err
	}
	return report, durable.OS{}.SyncDir(filepath.Dir(dir))
}

// CopyTo copies the instance into an empty one at another place: the data folder, database and blob store that to names.
func (in *Instance) CopyTo(ctx context.Context, to *config.Config, progress func(transfer.Report)) (report transfer.Report, err error) {
	target := &Instance{Config: to, Log: in.Log, now: in.now}
	defer func() { err = errors.Join(err, target.Close()) }()
	if err := target.openFolder(Serve); err != nil {
		return report, err
	}
	if err := target.takeMasterKeys(in.master); err != nil {
		return report, err
	}
	if err := target.openState(ctx); err != nil {
		return report, err
	}
	release, err := in.hold(ctx)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, release()) }()
	report, err = transfer.Copy(ctx, transfer.End{DB: in.DB, Blobs: in.Blobs}, transfer.End{DB: target.DB, Blobs: target.Blobs}, progress)
	if err != nil {
		return report, err
	}
	if report.Repositories, err = in.Git.CopyTo(ctx, target.DB, to.Git.Path); err != nil {
		return report, err
	}
	if err := ca.Copy(in.Config.TLS.CA, to.TLS.CA); err != nil {
		return report, err
	}
	rootKey, err := os.ReadFile(in.path(rootKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return report, nil
	}
	if err != nil {
		return report, err
	}
	return report, writeFile(target.path(rootKeyFile), rootKey)
}

// hold keeps collection from deleting bytes until release is called, or for an hour after this process has died.
func (in *Instance) hold(ctx context.Context) (release func() error, err error) {
	id := "copy-" + strings.ToLower(rand.Text())
	again := func() error {
		return in.Collector.Hold(ctx, id, "the instance is being copied", in.now().Add(holdFor))
	}
	if err := again(); err != nil {
		return nil, err
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(holdFor / 4)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := again(); err != nil {
					in.Log.Warn("collection may go on before the copy is done", "err", err)
				}
			case <-stop:
				return
			}
		}
	}()
	return func() error {
		close(stop)
		<-stopped
		return in.Collector.Release(context.WithoutCancel(ctx), id)
	}, nil
}
