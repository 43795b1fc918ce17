package iam

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/seal"
)

// instanceKeys are those that were read. They never change.
type instanceKeys struct {
	mu    sync.RWMutex
	known map[string][]byte // guarded by mu; by purpose
}

// instanceKey returns a key of 32 bytes that all nodes share. The first call makes it. Unlike those derived from the master
// key it stays when that is replaced: it is sealed again then.
func (s *Service) instanceKey(ctx context.Context, purpose string) ([]byte, error) {
	s.instance.mu.RLock()
	key := s.instance.known[purpose]
	s.instance.mu.RUnlock()
	if key != nil {
		return key, nil
	}
	key, err := s.readInstanceKey(ctx, purpose)
	if errors.Is(err, sql.ErrNoRows) {
		if err = s.makeInstanceKey(ctx, purpose); err == nil {
			key, err = s.readInstanceKey(ctx, purpose) // maybe another node's
		}
	}
	if err != nil {
		return nil, fmt.Errorf("key of the instance for %s: %w", purpose, err)
	}
	s.instance.mu.Lock()
	defer s.instance.mu.Unlock()
	if s.instance.known == nil {
		s.instance.known = make(map[string][]byte)
	}
	s.instance.known[purpose] = key
	return key, nil
}

func (s *Service) readInstanceKey(ctx context.Context, purpose string) ([]byte, error) {
	var sealed []byte
	if err := s.db.QueryRow(ctx, `SELECT value FROM instance_keys WHERE purpose = $1`, purpose).Scan(&sealed); err != nil {
		return nil, err
	}
	return s.seal.Open(ctx, s.db, seal.InstanceKeys(), sealed, purpose)
}

func (s *Service) makeInstanceKey(ctx context.Context, purpose string) error {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	return s.db.Update(ctx, func(tx *meta.Tx) error {
		sealed, err := s.seal.Seal(ctx, tx, seal.InstanceKeys(), key[:], purpose)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO instance_keys (purpose, value) VALUES ($1, $2) ON CONFLICT (purpose) DO NOTHING`, purpose, sealed)
		return err
	})
}
