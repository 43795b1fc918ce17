package git

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/job"
	"github.com/sekisho/sekisho/internal/meta"
)

// Options are those of [New]. Region and Path are required.
type Options struct {
	Region string
	// Path is the folder that repositories are in. Nodes over one database share it.
	Path   string
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default: discard
	// Program is the git program; default: git, looked for in PATH.
	Program string
	Limits  Limits

	// OnPush is told what became of refs, in the transaction that remembers it: at least once for each update. It must be quick,
	// as it runs in a transaction; what is slow is for a job. Nil: nobody is.
	OnPush func(ctx context.Context, tx *meta.Tx, p Push) error
	// OnChange is called in the transaction of each change of a repository's settings, to record it. Nil: nothing is recorded.
	OnChange func(ctx context.Context, tx *meta.Tx, ch Change) error
	// CheckProject returns an error unless a repository can be made in a project. Nil: in any.
	CheckProject func(ctx context.Context, account, project string) error

	// Credential returns user and password for a mirror, by what its settings call it. It is asked with the caller who sets that, so
	// that nobody has the server send a secret elsewhere which they can't read, and at each fetch with the server itself. Nil: there
	// are none.
	Credential func(ctx context.Context, c *iam.Caller, name string) (user, password string, err error)
	// MirrorAllow are hosts and networks that mirrors may be fetched from although they are private: names, addresses, prefixes.
	MirrorAllow []string
	// MirrorCA is a PEM file with more authorities for mirrors' certificates.
	MirrorCA string
}

// Limits bound what clients, and the programs run for them, may use. Zero values mean the defaults.
type Limits struct {
	Push     int64         // bytes of one push; default 2 GiB
	Object   int64         // bytes of one file; default 1 GiB
	Size     int64         // bytes of a repository on disk; default 20 GiB
	Memory   int64         // bytes of address space of one program; default 4 GiB, negative: any; not on macOS
	Programs int64         // that serve clients, at once; default 16
	Time     time.Duration // of one fetch or push; default 1 h
	Wait     time.Duration // for one of the programs; default 30 s
}

func (l *Limits) setDefaults() {
	l.Push = cmp.Or(l.Push, 2<<30)
	l.Object = cmp.Or(l.Object, 1<<30)
	l.Size = cmp.Or(l.Size, 20<<30)
	l.Memory = cmp.Or(l.Memory, 4<<30)
	l.Programs = cmp.Or(l.Programs, 16)
	l.Time = cmp.Or(l.Time, time.Hour)
	l.Wait = cmp.Or(l.Wait, 30*time.Second)
}

// Change is something that was done to a repository, other than by a push.
type Change struct {
	Caller *iam.Caller
	Action string // as in policies: "git:CreateRepository"
	ARN    string
	Detail string
}

// Service keeps the repositories of all accounts. It is safe for concurrent use, and many nodes may share database and folder.
type Service struct {
	db     *meta.DB
	judge  *iam.Judge
	jobs   *job.Queue
	o      Options
	room   *semaphore.Weighted // for programs that serve clients
	reader readers

	programOnce sync.Once
	program     string
	programErr  error
}

// New returns a Service. judge is asked before everything; jobs gets the background work, see [Service.Handle].
func New(db *meta.DB, judge *iam.Judge, jobs *job.Queue, o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.Limits.setDefaults()
	s := &Service{db: db, judge: judge, jobs: jobs, o: o, room: semaphore.NewWeighted(o.Limits.Programs)}
	s.reader.idle = make(map[string][]*reader)
	return s
}

// Close ends the programs that are kept for reading.
func (s *Service) Close() error { return s.reader.close() }

// now is the time, as the database keeps it.
func (s *Service) now() time.Time { return s.o.Now().UTC().Truncate(time.Microsecond) }

// enter takes one of the places for programs that serve clients.
func (s *Service) enter(ctx context.Context) (leave func(), err error) {
	wait, cancel := context.WithTimeout(ctx, s.o.Limits.Wait)
	defer cancel()
	if err := s.room.Acquire(wait, 1); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, errorf(Unavailable, "the server is busy with %d other fetches and pushes (git.programs); try again in a moment", s.o.Limits.Programs)
	}
	return func() { s.room.Release(1) }, nil
}

// changed records a change in its transaction.
func (s *Service) changed(ctx context.Context, tx *meta.Tx, c *iam.Caller, action, arn, detail string) error {
	if s.o.OnChange == nil {
		return nil
	}
	return s.o.OnChange(ctx, tx, Change{Caller: c, Action: "git:" + action, ARN: arn, Detail: detail})
}
