package seal

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sekisho/sekisho/internal/meta"
)

// The first byte of what is sealed.
const (
	versionDerived = 1 // AES-256-GCM under a key derived from the master key, bound to the row's key alone; only opened
	versionRing    = 2 // the number of a sealing key in 4 bytes, big endian; AES-256-GCM, bound to header, table and row
)

const headerSize = 1 + 4

// ErrDoesNotOpen means that a value was not sealed for the row that it is in, was changed, or is no sealed value.
var ErrDoesNotOpen = errors.New("a sealed value does not open: the master key is not the one that the database was made with, or the row was changed")

// MasterKeyError means that no master key here opens the sealing keys of the database.
type MasterKeyError struct {
	Want string   // fingerprint
	Have []string // fingerprints
}

func (e *MasterKeyError) Error() string {
	return fmt.Sprintf("the database is sealed under the master key with fingerprint %s; given is %s", e.Want, strings.Join(e.Have, ", "))
}

// Reader is where sealing keys are read from: a [meta.DB], or in a transaction its [meta.Tx].
type Reader interface {
	QueryRow(ctx context.Context, q string, args ...any) *sql.Row
}

// Ring has the master keys, and the sealing keys that it came across. It is safe for concurrent use. Many nodes share
// the sealing keys of a database.
type Ring struct {
	masters []*master // the first one seals, all open

	mu   sync.RWMutex
	keys map[uint32]cipher.AEAD // those that are in the database, or were; guarded by mu
}

// New returns a ring with the master keys, of [MasterKeySize] bytes each: the first one seals, the others only open.
func New(masters ...[]byte) (*Ring, error) {
	r := &Ring{keys: map[uint32]cipher.AEAD{}}
	for _, key := range masters {
		m, err := newMaster(key)
		if err != nil {
			return nil, err
		}
		r.masters = append(r.masters, m)
	}
	if r.masters == nil {
		return nil, errors.New("there is no master key")
	}
	return r, nil
}

// Fingerprints name the master keys without telling anything about them, the first one first.
func (r *Ring) Fingerprints() []string {
	list := make([]string, len(r.masters))
	for i, m := range r.masters {
		list[i] = m.fingerprint
	}
	return list
}

// Derive returns a key of 32 bytes for a purpose, for each master key: the first one is for what is made from now on, all
// are good to check what was made. What they signed ends when the master key goes.
func (r *Ring) Derive(purpose string) ([][]byte, error) {
	keys := make([][]byte, len(r.masters))
	for i, m := range r.masters {
		var err error
		if keys[i], err = m.derive(purpose); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// String keeps the keys out of what is printed.
func (r *Ring) String() string { return "keys " + strings.Join(r.Fingerprints(), ", ") }

// GoString keeps the keys out of what is printed.
func (r *Ring) GoString() string { return r.String() }

// Seal encrypts a value for a row of a column, in the transaction that writes it there.
func (r *Ring) Seal(ctx context.Context, tx *meta.Tx, c *Column, value []byte, row ...string) ([]byte, error) {
	id, aead, err := r.newest(ctx, tx)
	if err != nil {
		return nil, err
	}
	return sealWith(id, aead, c, value, row)
}

func sealWith(id uint32, aead cipher.AEAD, c *Column, value []byte, row []string) ([]byte, error) {
	header := binary.BigEndian.AppendUint32([]byte{versionRing}, id)
	bound, err := c.bind(header, row)
	if err != nil {
		return nil, err
	}
	return aead.Seal(header, nil, value, bound), nil
}

// Open decrypts what Seal made for the same row. Errors: [ErrDoesNotOpen], [*MasterKeyError].
func (r *Ring) Open(ctx context.Context, from Reader, c *Column, sealed []byte, row ...string) ([]byte, error) {
	if len(sealed) < headerSize {
		return nil, ErrDoesNotOpen
	}
	switch sealed[0] {
	case versionDerived:
		return r.openDerived(c, sealed, row)
	case versionRing:
		aead, err := r.key(ctx, from, binary.BigEndian.Uint32(sealed[1:]))
		if err != nil {
			return nil, err
		}
		return openWith(aead, c, sealed, row)
	}
	return nil, ErrDoesNotOpen
}

func openWith(aead cipher.AEAD, c *Column, sealed []byte, row []string) ([]byte, error) {
	bound, err := c.bind(sealed[:headerSize], row)
	if err != nil {
		return nil, err
	}
	value, err := aead.Open(nil, nil, sealed[headerSize:], bound)
	if err != nil {
		return nil, ErrDoesNotOpen
	}
	return value, nil
}

func (r *Ring) openDerived(c *Column, sealed []byte, row []string) ([]byte, error) {
	if c != accessKeySecrets || len(row) != 1 { // there were no others
		return nil, ErrDoesNotOpen
	}
	for _, m := range r.masters {
		if value, err := m.version1.Open(nil, nil, sealed[1:], []byte(row[0])); err == nil {
			return value, nil
		}
	}
	return nil, ErrDoesNotOpen
}

// key returns the sealing key with a number.
func (r *Ring) key(ctx context.Context, from Reader, id uint32) (cipher.AEAD, error) {
	if aead := r.cached(id); aead != nil {
		return aead, nil
	}
	var fingerprint string
	var sealed []byte
	err := from.QueryRow(ctx, `SELECT master, key FROM sealing_keys WHERE id = $1`, int64(id)).Scan(&fingerprint, &sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("sealing key %d is not in the database: %w", id, ErrDoesNotOpen)
	}
	if err != nil {
		return nil, fmt.Errorf("read sealing key %d: %w", id, err)
	}
	aead, _, err := r.unwrap(id, fingerprint, sealed)
	if err != nil {
		return nil, err
	}
	// A key that is not committed may never be, and its number be given to another.
	if tx, ok := from.(*meta.Tx); ok {
		tx.OnCommit(func() { r.remember(id, aead) })
	} else {
		r.remember(id, aead)
	}
	return aead, nil
}

func (r *Ring) cached(id uint32) cipher.AEAD {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys[id]
}

func (r *Ring) remember(id uint32, aead cipher.AEAD) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[id] = aead
}

// newest returns the sealing key to seal with, and has it stay until the transaction is over. The first call makes it.
func (r *Ring) newest(ctx context.Context, tx *meta.Tx) (uint32, cipher.AEAD, error) {
	read := `SELECT id, master, key FROM sealing_keys ORDER BY id DESC LIMIT 1`
	if tx.Dialect() == meta.PostgreSQL {
		read += ` FOR KEY SHARE` // deleting it waits for us
	}
	for range 3 {
		var id uint32
		var fingerprint string
		var sealed []byte
		err := tx.QueryRow(ctx, read).Scan(&id, &fingerprint, &sealed)
		if err == nil {
			if aead := r.cached(id); aead != nil {
				return id, aead, nil
			}
			aead, _, err := r.unwrap(id, fingerprint, sealed)
			if err == nil {
				tx.OnCommit(func() { r.remember(id, aead) })
			}
			return id, aead, err
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return 0, nil, fmt.Errorf("read sealing keys: %w", err)
		}
		// There is none, or the one that was the newest is just being deleted in favour of one that we didn't see.
		if err := r.insertFirst(ctx, tx); err != nil {
			return 0, nil, err
		}
	}
	return 0, nil, errors.New("read sealing keys: they are changed all the time")
}

func (r *Ring) insertFirst(ctx context.Context, tx *meta.Tx) error {
	_, err := tx.Exec(ctx, `INSERT INTO sealing_keys (id, master, key) SELECT 1, $1, $2
		WHERE NOT EXISTS (SELECT 1 FROM sealing_keys) ON CONFLICT (id) DO NOTHING`, r.masters[0].fingerprint, r.wrap(1, newKey()))
	if err != nil {
		return fmt.Errorf("make sealing key: %w", err)
	}
	return nil
}

func newKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return key
}

// wrap seals a sealing key under the first master key.
func (r *Ring) wrap(id uint32, key []byte) []byte {
	return r.masters[0].sealing.Seal(nil, nil, key, wrapName(id))
}

// unwrap opens a sealing key. Its bytes are for wrapping it again.
func (r *Ring) unwrap(id uint32, fingerprint string, sealed []byte) (cipher.AEAD, []byte, error) {
	i := slices.IndexFunc(r.masters, func(m *master) bool { return m.fingerprint == fingerprint })
	if i < 0 {
		return nil, nil, &MasterKeyError{Want: fingerprint, Have: r.Fingerprints()}
	}
	key, err := r.masters[i].sealing.Open(nil, nil, sealed, wrapName(id))
	if err != nil {
		return nil, nil, fmt.Errorf("sealing key %d: %w", id, ErrDoesNotOpen)
	}
	aead, err := newAEAD(key)
	return aead, key, err
}

func wrapName(id uint32) []byte { return fmt.Appendf(nil, "sealing key %d", id) }
