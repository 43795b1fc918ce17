package pool

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/oidc"
	"github.com/sekisho/sekisho/internal/meta"
)

// Options are those of [New].
type Options struct {
	Region string           // as it stands in ARNs; required
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default: discard
	// Tokens verifies identity tokens with which agents join. Nil: none do.
	Tokens Verifier
	// OnChange is called in the transaction of each change, to record it. Nil: nothing is recorded.
	OnChange func(ctx context.Context, tx *meta.Tx, ch Change) error
}

// Verifier verifies identity tokens, as [oidc.Verifier] does.
type Verifier interface {
	Verify(ctx context.Context, p *oidc.Provider, token string) (*oidc.Identity, error)
}

// Change is something that was done to a pool or in it.
type Change struct {
	Caller *iam.Caller
	Action string // as in policies: "agents:CreatePool"
	ARN    string
	Detail string
}

// Service keeps the pools of all accounts. It is safe for concurrent use, and many nodes may share a database.
type Service struct {
	db    *meta.DB
	judge *iam.Judge
	o     Options

	mu   sync.Mutex
	seen map[string]time.Time // guarded by mu; agents heard of since the last write, by id
}

// New returns a Service over db. judge is asked before everything that a caller asks for.
func New(db *meta.DB, judge *iam.Judge, o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{db: db, judge: judge, o: o, seen: map[string]time.Time{}}
}

// now is the time, as the database keeps it.
func (s *Service) now() time.Time { return s.o.Now().UTC().Truncate(time.Microsecond) }

// moment returns a time of the database, zero for 0.
func moment(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func accountOf(c *iam.Caller) string {
	if c == nil {
		return ""
	}
	return c.Account
}

// may asks the judge for an action on a pool of the caller's account.
func (s *Service) may(ctx context.Context, c *iam.Caller, action, name string) error {
	arn := "*"
	if name != "" {
		arn = s.arn(accountOf(c), name)
	}
	return s.judge.Check(ctx, c, iam.On(c, "agents:"+action, arn))
}

// arn returns the ARN of a pool. There is one of each name whatever its case, so the ARN has it in the case it was made with
// where it is there, and as it was asked for where it isn't.
func (s *Service) arn(account, name string) string {
	return "arn:aws:agents:" + s.o.Region + ":" + account + ":pool/" + name
}

// changed records a change in its transaction.
func (s *Service) changed(ctx context.Context, tx *meta.Tx, c *iam.Caller, action, arn, detail string) error {
	if s.o.OnChange == nil {
		return nil
	}
	return s.o.OnChange(ctx, tx, Change{Caller: c, Action: "agents:" + action, ARN: arn, Detail: detail})
}

const (
	maxPoolName    = 63
	maxAgentName   = 64
	maxDescription = 1024
)

// checkName refuses names that would not survive in a path, a policy or a command line.
func checkName(what, name string, limit int) error {
	ok := name != "" && len(name) <= limit && name == strings.TrimSpace(name) && !strings.ContainsAny(name[:1], "._- ")
	for _, r := range name {
		ok = ok && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("._- ", r))
	}
	if !ok {
		return errorf(Invalid, "%q can't be the name of %s: a name has 1 to %d letters, digits, spaces, dots, underscores and hyphens, "+
			"begins with a letter or digit and ends with no space.", cut(name), what, limit)
	}
	return nil
}

// checkText refuses what no database and no page takes.
func checkText(what, text string, limit int) error {
	switch {
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
		return errorf(Invalid, "%s has characters that can't be printed.", what)
	case len(text) > limit:
		return errorf(Invalid, "%s has %d bytes; %d are the most.", what, len(text), limit)
	}
	return nil
}

// cut shortens what somebody sent, for a message.
func cut(text string) string {
	const most = 80
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

func fold(name string) string { return strings.ToLower(name) }
