package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/blob"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/pool"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/seal"
)

// Times of the protocol with agents.
const (
	OfferTime = 12 * time.Second // in which a job that was given out must be acknowledged
	LeaseTime = work.Lease       // in which a claim must be renewed
	// StartTime is how long agents have after a start to renew claims that ended while nobody was there to renew them with.
	StartTime = 20 * time.Second
)

// Repositories is where the files of pipelines are: package git, as this package needs it.
type Repositories interface {
	// Resolve returns the full name of a ref and the commit that it, or a commit id, stands for; an empty ref is the default
	// branch. Errors: [work.ErrNotFound].
	Resolve(ctx context.Context, repository, ref string) (full, commit string, err error)
	// Contains reports whether a commit is another one or an ancestor of it.
	Contains(ctx context.Context, repository, tip, commit string) (bool, error)
	// Commit tells of a commit.
	Commit(ctx context.Context, repository, commit string) (*Commit, error)
	// File returns a file of a commit. Errors: [pipeline.ErrNoFile].
	File(ctx context.Context, repository, commit, path string) ([]byte, error)
	// Changed lists the paths that differ between two commits; an empty from means all of to.
	Changed(ctx context.Context, repository, from, to string) ([]string, error)
	// Find returns the id of a repository by its name, in a project.
	Find(ctx context.Context, account, project, name string) (*Repository, error)
	// Describe returns a repository by its id.
	Describe(ctx context.Context, repository string) (*Repository, error)
	// Branches lists the branches, full names, with their commits.
	Branches(ctx context.Context, repository string) (map[string]string, error)
}

// Commit is what runs show of a commit.
type Commit struct {
	ID, Message, Author string
	Time                time.Time
}

// Repository is one of the instance's.
type Repository struct{ ID, Account, Project, Name, DefaultBranch string }

// Options are what a Service is made of. All without a default must be there.
type Options struct {
	Region   string
	URL      func() string    // how people reach the server, for System.CollectionUri; nil or empty: not known
	Now      func() time.Time // default time.Now
	Logger   *slog.Logger     // default: discard
	Projects *project.Service
	Pools    *pool.Service
	// Repositories reads git.
	Repositories Repositories
	// Jobs does what can wait: packing logs, deleting runs, triggers.
	Jobs *job.Queue
	// OnChange records, in the transaction of each change. Nil: nothing is recorded.
	OnChange func(ctx context.Context, tx *meta.Tx, ch Change) error
	// Note records what is no change, such as a claim that no longer counts. Nil: nothing is.
	Note func(ch Change)
	// Tick is how often the clock and other nodes are looked at. Default 1 s; negative: never, a test calls [Service.Tick].
	Tick   time.Duration
	Limits Limits
	// RegistryHosts are names under which jobs reach the registry.
	RegistryHosts []string
}

// Limits bound what runs may take. Zero values are the defaults.
type Limits struct {
	Log           int64         // bytes of one log: 256 MiB
	RunLogs       int64         // bytes of a run's logs: 4 GiB
	File          int64         // bytes of a file in an artifact: 16 GiB
	Artifacts     int64         // bytes of a run's artifacts: 64 GiB
	Files         int64         // files of a run's artifacts: 200,000
	Attachment    int64         // bytes of an attachment: 16 MiB
	Attachments   int64         // of a run: 2,000
	Issues        int           // of a step that are kept: 200
	Steps         int           // of a job: 1,000
	Outputs       int           // of a step: 500
	OutputSize    int           // bytes of an output's value: 128 KiB
	RunOutputs    int64         // of a run: 20,000
	RunOutputSize int64         // bytes of their values: 16 MiB
	Jobs          int           // of a run: 5,000
	RetainDays    int           // 30
	RetainAtMost  int           // runs of a pipeline: 10,000
	MaxTimeout    time.Duration // of a job that wants none: 30 days
}

func (l *Limits) fill() {
	set := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	setInt := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&l.Log, 256<<20)
	set(&l.RunLogs, 4<<30)
	set(&l.File, 16<<30)
	set(&l.Artifacts, 64<<30)
	set(&l.Files, 200_000)
	set(&l.Attachment, 16<<20)
	set(&l.Attachments, 2000)
	setInt(&l.Issues, 200)
	setInt(&l.Steps, 1000)
	setInt(&l.Outputs, 500)
	setInt(&l.OutputSize, 128<<10)
	set(&l.RunOutputs, 20_000)
	set(&l.RunOutputSize, 16<<20)
	setInt(&l.Jobs, 5000)
	setInt(&l.RetainDays, 30)
	setInt(&l.RetainAtMost, 10_000)
	if l.MaxTimeout == 0 {
		l.MaxTimeout = 30 * 24 * time.Hour
	}
}

// Change is something that was done, or refused, for the record.
type Change struct {
	Caller  *iam.Caller
	Action  string // "pipelines:StartRun"
	ARN     string
	Detail  string
	Refused string // why; empty for what was done
}

// Service has all runs of an instance. It is safe for concurrent use, and many nodes may share a database.
type Service struct {
	db    *meta.DB
	store blob.Store
	ring  *seal.Ring
	judge *iam.Judge
	o     Options
	hub   *hub
	plans *planCache

	identities identities

	opened  time.Time
	stop    context.CancelFunc
	running sync.WaitGroup
	poke    chan struct{} // holds one: something is due
	tickMu  sync.Mutex    // one tick at a time
}

// New returns a service over a database and a store of bytes. Start begins its work in the background.
func New(db *meta.DB, store blob.Store, ring *seal.Ring, judge *iam.Judge, o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Tick == 0 {
		o.Tick = time.Second
	}
	o.Limits.fill()
	return &Service{db: db, store: store, ring: ring, judge: judge, o: o, hub: newHub(), plans: newPlanCache(), poke: make(chan struct{}, 1)}
}

func (s *Service) now() time.Time { return s.o.Now() }

// Open begins the work in the background. It must be closed.
func (s *Service) Open(context.Context) error {
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.opened = stop, s.now()
	if s.o.Tick > 0 {
		s.running.Go(func() { s.loop(ctx) })
	}
	s.running.Go(func() { s.serverAgent(ctx) })
	return nil
}

// Close ends the work in the background and waits for it. What it leaves is done after the next start.
func (s *Service) Close() {
	if s.stop != nil {
		s.stop()
	}
	s.running.Wait()
}

func (s *Service) loop(ctx context.Context) {
	ticker := time.NewTicker(s.o.Tick)
	defer ticker.Stop()
	for {
		if err := s.Tick(ctx); err != nil && ctx.Err() == nil {
			s.o.Logger.Warn("what is due in runs can't be done", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.poke:
		}
	}
}

// Tick does what the clock says is due, and looks at what other nodes did.
func (s *Service) Tick(ctx context.Context) error {
	s.tickMu.Lock()
	defer s.tickMu.Unlock()
	return errors.Join(
		s.endLeases(ctx),
		s.endDeadlines(ctx),
		s.endApprovals(ctx),
		s.openHours(ctx),
		s.startScheduled(ctx),
		s.lookAtOthers(ctx),
	)
}

// check asks the judge for an action on something.
func (s *Service) check(ctx context.Context, c *iam.Caller, action, arn string, keys map[string][]string) error {
	r := iam.On(c, "pipelines:"+action, arn)
	r.Keys = keys
	return s.judge.Check(ctx, c, r)
}

// runARN is the ARN of a run.
func (s *Service) runARN(account, project string, id int64) string {
	return fmt.Sprintf("arn:aws:pipelines:%s:%s:project/%s/run/%d", s.o.Region, account, project, id)
}

func (s *Service) pipelineARN(account, project, name string) string {
	return fmt.Sprintf("arn:aws:pipelines:%s:%s:project/%s/pipeline/%s", s.o.Region, account, project, name)
}

func (s *Service) changed(ctx context.Context, tx *meta.Tx, ch Change) error {
	if s.o.OnChange == nil {
		return nil
	}
	return s.o.OnChange(ctx, tx, ch)
}

// refused records a claim that does not count.
func (s *Service) refused(c Claim, action, why string) error {
	if s.o.Note != nil {
		account := ""
		s.o.Note(Change{Caller: iam.SystemCaller(account, "agent/"+c.Agent), Action: "agents:" + action, ARN: c.Job, Refused: why,
			Detail: fmt.Sprintf("attempt %d", c.Attempt)})
	}
	return &errStale{why}
}

// jobID names a claim for what is bound to it: tokens, credentials.
func jobID(c Claim) string { return fmt.Sprintf("%s#%d", c.Job, c.Attempt) }

var _ work.Server = (*server)(nil)
