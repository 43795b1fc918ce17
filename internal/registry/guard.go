package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/iam/policy"
	"github.com/sekisho/sekisho/internal/meta"
)

// repositoryPolicyName is what reasons call a repository's policy.
const repositoryPolicyName = "repository policy"

// Guard returns what a repository brings along to a decision about a caller: its tags and policy, and the policy of its
// registry. Of a repository that is not there, or has no name, it is what the registry brings.
//
// It comes from memory, where it is good for one [iam.Generation]: so a grant that was taken away ends at once, on every
// node.
func (l *Local) Guard(ctx context.Context, c *iam.Caller, repo Repo) (*Guard, error) {
	if repo.Name == "*" { // all of them
		repo.Name = ""
	}
	if l.o.Generation == nil {
		g, _, err := l.readGuard(ctx, repo)
		return g, err
	}
	var arrived time.Time
	if c != nil {
		arrived = c.Arrived
	}
	n, err := l.o.Generation.Since(ctx, arrived)
	if err != nil {
		return nil, err
	}
	if g := l.guards.get(n, repo); g != nil {
		return g, nil
	}
	g, found, err := l.readGuard(ctx, repo)
	if err == nil && found { // the creation of a repository begins no generation
		l.guards.keep(n, repo, g)
	}
	return g, err
}

// readGuard reads a guard, and says whether there is such a repository. A registry is always there.
func (l *Local) readGuard(ctx context.Context, repo Repo) (g *Guard, found bool, err error) {
	g = &Guard{}
	if g.Policies, g.Bringing, err = l.registryPolicies(ctx, repo.Account); err != nil || repo.Name == "" {
		return g, true, err
	}
	var tags, document string
	err = l.db.QueryRow(ctx, `SELECT r.tags, COALESCE(p.document, '') FROM repositories r LEFT JOIN repository_policies p ON p.repository_id = r.id
		WHERE r.account = $1 AND r.name = $2`, repo.Account, repo.Name).Scan(&tags, &document)
	if errors.Is(err, sql.ErrNoRows) {
		return g, false, nil
	}
	if err != nil {
		return nil, false, wrap("read repository policy", err)
	}
	if err := decode("repository tags", tags, &g.Tags); err != nil {
		return nil, false, err
	}
	if document != "" {
		p, err := storedPolicy(document)
		if err != nil { // whoever can't tell what a policy says must not guess
			return nil, false, fmt.Errorf("read the policy of %s: %w", repo.Name, err)
		}
		g.Policies = slices.Concat(g.Policies, []policy.Named{{Name: repositoryPolicyName, Policy: p}}) // those of the registry are shared
	}
	return g, true, nil
}

// storedPolicy compiles a policy that was accepted once, maybe by rules that were not as strict.
func storedPolicy(document string) (*policy.Policy, error) {
	p, err := policy.Parse([]byte(document), policy.Resource)
	if err != nil {
		return policy.ParseLenient([]byte(document), policy.Resource)
	}
	return p, nil
}

// with returns the guard that a repository would have with another policy.
func (g *Guard) with(p *policy.Policy) *Guard {
	out := &Guard{Tags: g.Tags, Bringing: g.Bringing}
	for _, n := range g.Policies {
		if n.Name != repositoryPolicyName {
			out.Policies = append(out.Policies, n)
		}
	}
	out.Policies = append(out.Policies, policy.Named{Name: repositoryPolicyName, Policy: p})
	return out
}

// decides begins a new generation: tx changes what a guard says.
func (l *Local) decides(ctx context.Context, tx *meta.Tx) error {
	if l.o.Generation == nil {
		return nil
	}
	return l.o.Generation.Bump(ctx, tx)
}

// guardCache remembers guards of one generation.
type guardCache struct {
	mu         sync.RWMutex
	generation int64           // guarded by mu
	byRepo     map[Repo]*Guard // guarded by mu
}

func (c *guardCache) get(generation int64, repo Repo) *Guard {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.generation != generation {
		return nil
	}
	return c.byRepo[repo]
}

// keep remembers a guard that was read when the generation had begun.
func (c *guardCache) keep(generation int64, repo Repo, g *Guard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byRepo == nil || generation > c.generation || len(c.byRepo) >= maxRepositories {
		c.byRepo = map[Repo]*Guard{}
	}
	c.generation = max(c.generation, generation)
	if generation == c.generation {
		c.byRepo[repo] = g
	}
}
