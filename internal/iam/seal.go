package iam

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// MasterKeySize is the length of an instance's master key in bytes.
const MasterKeySize = 32

// The keys derived from the master key, each for one purpose.
const (
	purposeSecrets = "sekisho iam access key secrets v1"
	purposeTokens  = "sekisho iam authorization tokens v1"

	purposeSessions = "sekisho iam session tokens v1"
)

func derive(master []byte, purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, master, nil, purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return key, nil
}

// sealer encrypts secrets at rest with AES-256-GCM. What is sealed opens only
// under the name that it was sealed for, so that rows can't be exchanged.
type sealer struct{ aead cipher.AEAD }

// sealVersion is the first byte of what is sealed.
const sealVersion = 1

var errSealed = errors.New("a sealed secret does not open: the master key is not the one that the database was made with, or the row was changed")

func newSealer(key []byte) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	return &sealer{aead}, nil
}

func (s *sealer) seal(name, secret string) []byte {
	return s.aead.Seal([]byte{sealVersion}, nil, []byte(secret), []byte(name))
}

func (s *sealer) open(name string, sealed []byte) (string, error) {
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return "", errSealed
	}
	secret, err := s.aead.Open(nil, nil, sealed[1:], []byte(name))
	if err != nil {
		return "", errSealed
	}
	return string(secret), nil
}

// randomKeyID returns a new access key id as AWS forms them.
func randomKeyID() string {
	return keyIDPrefix + rand.Text()[:16] // 80 random bits; the id is no secret, only unique
}

// randomSecret returns 40 letters and digits, 238 random bits. AWS has "+" and
// "/" as well, which shells, URLs and YAML are known to stumble over.
func randomSecret() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	var b [64]byte
	secret := make([]byte, 0, 40)
	for {
		_, _ = rand.Read(b[:]) // never fails
		for _, c := range b {
			if c &= 63; int(c) < len(alphabet) {
				if secret = append(secret, alphabet[c]); len(secret) == cap(secret) {
					return string(secret)
				}
			}
		}
	}
}
