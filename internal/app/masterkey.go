package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/audit"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta"
	"github.com/sekisho/sekisho/internal/seal"
	"github.com/sekisho/sekisho/internal/transfer"
)

// masterKeys returns the configured master keys, or those in the data folder, where the first start makes one. The first
// of them seals, the others only open.
func (in *Instance) masterKeys(mode Mode) ([][]byte, error) {
	if keys, err := in.Config.DecodeMasterKeys(); err != nil || keys != nil {
		return keys, err
	}
	name := in.path(masterKeyFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && mode == Serve {
		key := newMasterKey()
		return [][]byte{key}, in.writeMasterKeys(key)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read master key: %w; name the folder of an instance, or the key with master_key_file", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read master key: %w", err)
	}
	keys, err := config.ParseMasterKeys(string(text))
	if err != nil || keys == nil {
		return nil, fmt.Errorf("%s must hold %d bytes in hexadecimal; restore it from a backup", name, seal.MasterKeySize)
	}
	return keys, nil
}

func newMasterKey() []byte {
	key := make([]byte, seal.MasterKeySize)
	_, _ = rand.Read(key) // never fails
	return key
}

// writeMasterKeys replaces the keys in the data folder, one in a line, at once and durably.
func (in *Instance) writeMasterKeys(keys ...[]byte) error {
	var text strings.Builder
	for _, key := range keys {
		text.WriteString(hex.EncodeToString(key) + "\n")
	}
	return writeFile(in.path(masterKeyFile), []byte(text.String()))
}

// takeMasterKeys makes keys the target's: without them, what was sealed with them is lost.
func (in *Instance) takeMasterKeys(keys [][]byte) error {
	own, err := in.Config.DecodeMasterKeys()
	if err != nil {
		return err
	}
	if own != nil {
		for _, key := range keys {
			if !slices.ContainsFunc(own, func(o []byte) bool { return string(o) == string(key) }) {
				return errors.New("master_key: the target must have the master key of what is copied into it, because secrets are sealed with it: name that one, " + masterKeyFile + " of the old data folder unless it was configured")
			}
		}
		return nil
	}
	name := in.path(masterKeyFile)
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already: %w", name, transfer.ErrNotEmpty)
	}
	return in.writeMasterKeys(keys...)
}

// KeyState says which master keys an instance has, by their fingerprints, and what they seal.
type KeyState struct {
	Masters []string   // fingerprints; the first one seals
	File    string     // where they are; empty: in the configuration
	Keys    []seal.Key // sealing keys of the database
}

// KeyState returns which master keys are in use.
func (in *Instance) KeyState(ctx context.Context) (*KeyState, error) {
	keys, err := seal.InUse(ctx, in.DB)
	if err != nil {
		return nil, err
	}
	s := &KeyState{Masters: in.Seal.Fingerprints(), Keys: keys}
	if in.Config.MasterKey.IsZero() {
		s.File = in.path(masterKeyFile)
	}
	return s, nil
}

// ErrOneMasterKey means that the configuration has the master key, and no other one to go over to.
var ErrOneMasterKey = errors.New("master_key names one key: give every node the old one and the new one, old,new, and when all have them new,old; then rotate")

// RotateMasterKey replaces the master key and seals everything in the database anew.
//
// A key in the data folder is replaced by a new one: the instance must be open as Exclusive. Should this be cut off at any
// point, the folder has both keys, everything opens, and the next call goes on. A key in the configuration is replaced by
// the first of those that are there, while others may serve with the same keys.
func (in *Instance) RotateMasterKey(ctx context.Context) (seal.Report, error) {
	if !in.Config.MasterKey.IsZero() {
		if len(in.master) == 1 {
			return seal.Report{}, ErrOneMasterKey
		}
		return in.sealAnew(ctx, in.Seal)
	}
	ring := in.Seal
	if len(in.master) == 1 { // else an earlier call was cut off
		masters := [][]byte{newMasterKey(), in.master[0]}
		var err error
		if ring, err = seal.New(masters...); err != nil {
			return seal.Report{}, err
		}
		if err := in.writeMasterKeys(masters...); err != nil {
			return seal.Report{}, err
		}
		in.master = masters
	}
	report, err := in.sealAnew(ctx, ring)
	if err != nil {
		return report, err
	}
	return report, in.writeMasterKeys(in.master[0])
}

func (in *Instance) sealAnew(ctx context.Context, ring *seal.Ring) (seal.Report, error) {
	report, err := ring.Rotate(ctx, in.DB)
	if err != nil {
		return report, fmt.Errorf("seal the database anew: %w", err)
	}
	e := event(iam.SystemCaller(in.Account, "key-rotation"), "sekisho:RotateMasterKey", "*")
	e.Detail = "fingerprint " + report.Master
	return report, in.DB.Update(ctx, func(tx *meta.Tx) error { return audit.AppendTx(ctx, tx, in.now(), e) })
}
