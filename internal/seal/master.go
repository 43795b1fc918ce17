package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// MasterKeySize is the length of a master key in bytes.
const MasterKeySize = 32

// What is derived from a master key is for one purpose each.
const (
	purposeSealingKeys = "sekisho seal sealing keys v1"
	purposeFingerprint = "sekisho seal master key fingerprint v1"
	purposeVersion1    = "sekisho iam access key secrets v1" // of values with versionDerived
)

// master is a master key and what it opens.
type master struct {
	key         []byte
	fingerprint string
	sealing     cipher.AEAD // sealing keys
	version1    cipher.AEAD // rows from before there were sealing keys
}

func newMaster(key []byte) (*master, error) {
	if len(key) != MasterKeySize {
		return nil, fmt.Errorf("a master key has %d bytes, not %d", MasterKeySize, len(key))
	}
	m := &master{key: append([]byte(nil), key...)}
	sum, err := m.derive(purposeFingerprint)
	if err != nil {
		return nil, err
	}
	m.fingerprint = hex.EncodeToString(sum[:8])
	for purpose, aead := range map[string]*cipher.AEAD{purposeSealingKeys: &m.sealing, purposeVersion1: &m.version1} {
		derived, err := m.derive(purpose)
		if err != nil {
			return nil, err
		}
		if *aead, err = newAEAD(derived); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *master) derive(purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, m.key, nil, purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return key, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errors.New("sealing key has a wrong length") // not what it is
	}
	return cipher.NewGCMWithRandomNonce(block)
}
