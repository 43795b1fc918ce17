// Package app is the composition root: it opens what an instance consists of, wires it by hand, runs it and shuts it
// down. There is no logic here that another package could have.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agentapi"
	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/audit"
	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/blob/file"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/directory"
	"github.com/sekisho/sekisho/internal/iam/issuer"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/iam/session"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/registry"
	"github.com/sekisho/sekisho/internal/run"
	"github.com/sekisho/sekisho/internal/seal"
	"github.com/sekisho/sekisho/internal/secret"
)

// Files of the data folder.
const (
	lockFile      = "lock"
	masterKeyFile = "master.key"
	rootKeyFile   = "root-access-key.json"
	addressFile   = "address"
)

// Mode says what an instance is opened for.
type Mode int

const (
	// Serve is to serve: the data folder is made on the first start, and locked.
	Serve Mode = iota
	// Exclusive is to change an instance that nobody serves: the data folder is locked.
	Exclusive
	// Shared is to read an instance, or enqueue jobs, beside the server that serves it.
	Shared
)

// ErrInUse means that another process has locked the data folder.
var ErrInUse = errors.New("another sekisho process uses this data folder; stop it first")

// Instance is an open instance.
type Instance struct {
	Config  *config.Config
	Log     *slog.Logger
	Account string         // the default one
	NewKey  *iam.AccessKey // the root access key, with its secret, if this start made it

	DB    *meta.DB
	Blobs blob.Store
	IAM   *iam.Service
	Audit *audit.Recorder
	Local *registry.Local
	Judge *registry.Judge

	Directory *directory.Service
	Sessions  *session.Service

	Pools *pool.Service
	Runs  *run.Service

	Git    *git.Service
	onPush func(ctx context.Context, tx *meta.Tx, p git.Push) error // nil: nobody is told

	Jobs      *job.Queue
	Collector *registry.Collector

	Seal    *seal.Ring
	Secrets *secret.Store

	Issuer   *issuer.Issuer
	Tokens   *iam.PersonalTokens
	Projects *project.Service
	lookups  map[project.Kind]lookup // each is set by who keeps that

	agents           *agentapi.Server
	api              *api.Server             // once requests are served
	endpointPolicies map[string]policy.Named // by the endpoint's id; those without one allow everything

	master   [][]byte // keys, the first one of which seals
	linkKeys [][]byte // the first one signs
	now      func() time.Time
	close    []func() error // in reverse order
}

// Open opens an instance.
func Open(ctx context.Context, c *config.Config, log *slog.Logger, mode Mode) (_ *Instance, err error) {
	in := &Instance{Config: c, Log: log, now: time.Now}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.Close())
		}
	}()
	if in.endpointPolicies, err = endpointPolicies(c); err != nil {
		return nil, err
	}
	if err := in.openFolder(mode); err != nil {
		return nil, err
	}
	if in.master, err = in.masterKeys(mode); err != nil {
		return nil, err
	}
	if in.Seal, err = seal.New(in.master...); err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	if err := in.openState(ctx); err != nil {
		return nil, err
	}
	if err := in.Seal.Check(ctx, in.DB); err != nil {
		return nil, err
	}
	if mode == Serve && len(in.master) > 1 && c.MasterKey.IsZero() {
		log.Warn("a rotation of the master key was cut off; run sekisho key rotate again while the server is stopped", "file", in.path(masterKeyFile))
	}
	if in.IAM, err = iam.New(in.DB, in.Seal, in.now); err != nil {
		return nil, err
	}
	if err := in.bootstrap(ctx, mode); err != nil {
		return nil, err
	}
	uploadKeys, err := in.Seal.Derive("sekisho upload ids")
	if err != nil {
		return nil, err
	}
	if in.linkKeys, err = in.Seal.Derive("sekisho download links"); err != nil {
		return nil, err
	}
	in.Audit = audit.New(in.DB, audit.Options{Logger: log, Now: in.now, Retention: c.Audit.Retention})
	in.Judge = &registry.Judge{Judge: iam.Judge{Note: in.note}, Region: c.Region}
	in.Local, err = registry.NewLocal(in.DB, in.Blobs, registry.Options{
		Logger:         log,
		Now:            in.now,
		UploadKey:      uploadKeys[0],
		OldUploadKeys:  uploadKeys[1:],
		CacheBytes:     int64(c.Limits.Cache),
		Grace:          c.GC.Grace,
		UploadExpiry:   c.GC.Uploads,
		MaxUploads:     int64(c.Limits.Uploads),
		MaxBlob:        int64(c.Limits.Layer),
		Redirect:       c.Blobs.S3.Redirect,
		RedirectExpiry: c.Blobs.S3.RedirectExpiry,
		Settings:       registry.Settings{CreateOnPush: c.CreateOnPush},
		OnChange:       in.changed,
		Generation:     in.IAM.Generation(),

		UnknownPrincipal: directory.UnknownPrincipal,
	})
	if err != nil {
		return nil, err
	}
	in.Judge.Guard = in.Local.Guard
	in.Secrets = secret.New(in.DB, in.Seal, &in.Judge.Judge, secret.Options{
		Region: c.Region, Now: in.now, Logger: log, Outward: in.outward(), OnChange: in.secretChanged,
		UnknownPrincipal: in.unknownPrincipal,
	})
	in.openIssuer()
	if err := in.openIdentities(); err != nil {
		return nil, err
	}
	in.openProjects()
	if err := in.openJobs(); err != nil {
		return nil, err
	}
	in.openGit()
	in.openRuns()
	return in, nil
}

// openState opens the database and the blob store.
func (in *Instance) openState(ctx context.Context) (err error) {
	c := in.Config
	if in.DB, err = meta.Open(ctx, c.Database.URL.Reveal(), meta.Options{Logger: in.Log, ReadConns: c.Database.Connections, MaxConns: c.Database.Connections}); err != nil {
		return err
	}
	in.close = append(in.close, in.DB.Close)
	if in.Blobs, err = openBlobs(ctx, c); err != nil {
		return err
	}
	in.close = append(in.close, in.Blobs.Close)
	return nil
}

// Close closes what Open opened.
func (in *Instance) Close() error {
	var errs []error
	for i := len(in.close) - 1; i >= 0; i-- {
		errs = append(errs, in.close[i]())
	}
	in.close = nil
	return errors.Join(errs...)
}

func (in *Instance) path(name string) string { return filepath.Join(in.Config.Data, name) }

// openFolder makes or checks the data folder, and locks it unless the mode is Shared.
func (in *Instance) openFolder(mode Mode) error {
	if mode == Serve {
		if err := durable.MkdirAll(durable.OS{}, in.Config.Data, 0o700); err != nil {
			return fmt.Errorf("make data folder: %w", err)
		}
	}
	info, err := os.Stat(in.Config.Data)
	if err != nil {
		return fmt.Errorf("open data folder: %w; name it with --data, or start sekisho serve to make one", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("data %s is not a folder", in.Config.Data)
	}
	if mode == Shared {
		return nil
	}
	unlock, err := lock(in.path(lockFile))
	if err != nil {
		return err
	}
	in.close = append(in.close, unlock)
	return nil
}

func writeFile(name string, data []byte) error {
	if err := durable.WriteFile(durable.OS{}, name, data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func openBlobs(ctx context.Context, c *config.Config) (blob.Store, error) {
	scheme, rest, _ := strings.Cut(c.Blobs.URL, ":")
	switch scheme {
	case "file":
		return file.Open(durable.OS{}, rest)
	case "s3":
		return openS3(ctx, c, strings.TrimPrefix(rest, "//"))
	}
	return nil, fmt.Errorf("blobs.url: %s is neither file:<folder> nor s3://<bucket>", c.Blobs.URL)
}
