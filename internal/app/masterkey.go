package app

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/config"
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
				return errors.New("master_key: the target must have the master key of what is copied into it, because secrets are sealed with it")
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
