package work

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

var (
	// ErrClaimLost means that the job was given to somebody else, or is over: stop, and tell nothing more.
	ErrClaimLost = errors.New("this agent's claim of the job no longer counts")
	// ErrNotFound is returned for an artifact or a run that is not there, or that the job may not read.
	ErrNotFound = errors.New("not found")
	// ErrLogFull means that a log has reached the server's limit; what follows is not kept.
	ErrLogFull = errors.New("the log has reached its limit")
)

// Lease is how long a claim is good after the server answered a renewal: then the job may be given to another agent, and an agent that
// could not renew must have ended it. Agents of other versions rely on it, so it may become longer and not shorter.
const Lease = 45 * time.Second

// IdentityPath is where a script of a job asks for the job's identity token, below the server's URL.
const IdentityPath = "/oidc/token"

// Server is what a running job asks of the server. All calls may be made concurrently, may be repeated, and return
// [ErrClaimLost] once the claim no longer counts. Connections that break are the business of whoever implements it:
// an error is final for that call.
type Server interface {
	// Update tells what became of steps and of the job.
	Update(ctx context.Context, records []Record) error
	// AppendLog adds to a log at an offset, in bytes, and returns how long the log is then. Bytes that are there already are
	// not added twice; an offset beyond the end is an error.
	AppendLog(ctx context.Context, log string, offset int64, data []byte) (size int64, err error)
	// Attach keeps an attachment.
	Attach(ctx context.Context, a Attachment) error
	// SetRunNumber renames the run (Build.BuildNumber), AddTag tags it.
	SetRunNumber(ctx context.Context, number string) error
	AddTag(ctx context.Context, tag string) error

	// PutFile adds a file to an artifact of this run. name is a relative, slash-separated path without "..". kind is "pipeline"
	// (an artifact's name can be used once a run) or "container" (files add up). Nothing is visible before FinishArtifact.
	PutFile(ctx context.Context, artifact, kind, name string, size int64, r io.Reader) error
	FinishArtifact(ctx context.Context, artifact, kind string, properties map[string]string) error
	// Artifacts lists those of a run (0: this one). Errors: [ErrNotFound].
	Artifacts(ctx context.Context, run int64) ([]Artifact, error)
	// Files lists an artifact's files, GetFile reads one.
	Files(ctx context.Context, run int64, artifact string) iter.Seq2[File, error]
	GetFile(ctx context.Context, run int64, artifact, name string) (io.ReadCloser, error)
	// Runs finds runs of a pipeline whose artifacts may be downloaded, the newest first.
	Runs(ctx context.Context, q RunQuery) ([]int64, error)

	// IdentityToken returns a token of the run's issuer for an audience.
	IdentityToken(ctx context.Context, audience string) (string, error)
	// Login returns fresh credentials of the job's identity.
	Login(ctx context.Context) (*Credentials, error)
	// Approve waits for people: the ManualValidation task. It returns when they answered or ctx ended.
	Approve(ctx context.Context, step, instructions string, notify []string, timeout time.Duration, onTimeout string) (Result, string, error)
}

// Artifact is what a run published under a name.
type Artifact struct {
	Name       string
	Kind       string
	Properties map[string]string
	Files      int
	Size       int64 // bytes
}

// File is a file of an artifact.
type File struct {
	Name   string
	Size   int64  // bytes
	SHA256 string // hex
}

// RunQuery says which runs' artifacts are meant.
type RunQuery struct {
	Project, Pipeline         string // names or ids
	Branch                    string // "refs/heads/main"; empty: any
	Tags                      []string
	Run                       int64 // not 0: this one
	AllowPartial, AllowFailed bool
}
