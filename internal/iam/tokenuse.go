package iam

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/meta"
)

// flushTokens is how often the last uses of personal access tokens are written, and how exact they are.
const flushTokens = time.Minute

// tokenUses gathers who was there last, so that no request writes.
type tokenUses struct {
	mu   sync.Mutex
	used map[string]int64 // guarded by mu; Unix microseconds by id
}

// note takes note of a use, once in a minute for each token.
func (u *tokenUses) note(k *liveKey, now time.Time) {
	minute := now.Truncate(flushTokens).UnixMicro()
	if k.used.Load() >= minute {
		return
	}
	k.used.Store(minute)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.used == nil {
		u.used = make(map[string]int64)
	}
	u.used[k.principal.AccessKeyID] = minute
}

func (u *tokenUses) take() map[string]int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := u.used
	u.used = nil
	return taken
}

// putBack keeps what could not be written for the next time.
func (u *tokenUses) putBack(used map[string]int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.Copy(used, u.used)
	u.used = used
}

// FlushTokens writes the last uses of personal access tokens, and removes tokens that have been over for long.
func (s *Service) FlushTokens(ctx context.Context) error {
	used := s.uses.take()
	now := s.now()
	err := s.db.Update(ctx, func(tx *meta.Tx) error {
		for id, at := range used {
			if _, err := tx.Exec(ctx, `UPDATE personal_access_tokens SET used_at = $1 WHERE id = $2 AND used_at < $1`, at, id); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `DELETE FROM personal_access_tokens WHERE expires_at < $1`, now.Add(-keepExpired).UnixMicro()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM job_tokens WHERE expires_at < $1`, now.UnixMicro())
		return err
	})
	if err != nil {
		if used != nil {
			s.uses.putBack(used)
		}
		return fmt.Errorf("write the last uses of tokens: %w", err)
	}
	return nil
}

// RunTokens flushes until ctx ends, and then once more. An error is for report to tell; the next time is another try.
func (s *Service) RunTokens(ctx context.Context, report func(error)) {
	tick := time.NewTicker(flushTokens)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
			defer cancel()
			if err := s.FlushTokens(last); err != nil {
				report(err)
			}
			return
		case <-tick.C:
			if err := s.FlushTokens(ctx); err != nil && ctx.Err() == nil {
				report(err)
			}
		}
	}
}
