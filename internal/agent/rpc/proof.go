package rpc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Proof shows that whoever makes a call has an agent's key. It is signed over the method, the path with the query, the time, a
// nonce, the token and the body.
type Proof struct {
	Time  time.Time // to the millisecond
	Nonce string
	Body  [sha256.Size]byte

	signature []byte
}

// Window is how far the time of a proof may be from the server's.
const Window = 5 * time.Minute

const (
	proofVersion = "v1"
	nonceBytes   = 16
	maxProof     = 512
	maxSignature = 128
)

var (
	errForm      = errors.New("the proof is malformed")
	errSignature = errors.New("the proof is not signed by the agent's key")
)

var encoding = base64.RawURLEncoding.Strict()

// Sign returns the header of a call. target is its path and query as they are sent, token "" for none.
func Sign(key crypto.Signer, method, target, token string, body [sha256.Size]byte, now time.Time) (string, error) {
	var nonce [nonceBytes]byte
	_, _ = rand.Read(nonce[:]) // never fails
	p := Proof{Time: now, Nonce: encoding.EncodeToString(nonce[:]), Body: body}
	text := p.text(method, target, token)
	var err error
	switch key.Public().(type) {
	case ed25519.PublicKey:
		p.signature, err = key.Sign(rand.Reader, text, crypto.Hash(0))
	default:
		sum := sha256.Sum256(text)
		p.signature, err = key.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
	if err != nil {
		return "", fmt.Errorf("sign call: %w", err)
	}
	return fmt.Sprintf("%s t=%d n=%s b=%s s=%s", proofVersion, now.UnixMilli(), p.Nonce, encoding.EncodeToString(body[:]), encoding.EncodeToString(p.signature)), nil
}

// ParseProof reads the header of a call.
func ParseProof(header string) (*Proof, error) {
	if len(header) > maxProof {
		return nil, errForm
	}
	fields := strings.Split(header, " ")
	if len(fields) != 5 || fields[0] != proofVersion {
		return nil, errForm
	}
	values := make([]string, 4)
	for i, prefix := range []string{"t=", "n=", "b=", "s="} {
		var ok bool
		if values[i], ok = strings.CutPrefix(fields[i+1], prefix); !ok {
			return nil, errForm
		}
	}
	milli, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil || milli < 0 || strconv.FormatInt(milli, 10) != values[0] {
		return nil, errForm
	}
	p := &Proof{Time: time.UnixMilli(milli), Nonce: values[1]}
	if nonce, err := encoding.DecodeString(values[1]); err != nil || len(nonce) != nonceBytes {
		return nil, errForm
	}
	body, err := encoding.DecodeString(values[2])
	if err != nil || len(body) != len(p.Body) {
		return nil, errForm
	}
	copy(p.Body[:], body)
	if p.signature, err = encoding.DecodeString(values[3]); err != nil || len(p.signature) == 0 || len(p.signature) > maxSignature {
		return nil, errForm
	}
	return p, nil
}

// Verify reports whether the proof is signed by a key, which is an ed25519.PublicKey or an *ecdsa.PublicKey, for a call. That the
// time, the nonce and the body are right is for others to see.
func (p *Proof) Verify(key any, method, target, token string) error {
	text := p.text(method, target, token)
	switch k := key.(type) {
	case ed25519.PublicKey:
		if ed25519.Verify(k, text, p.signature) {
			return nil
		}
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(text)
		if ecdsa.VerifyASN1(k, sum[:], p.signature) {
			return nil
		}
	}
	return errSignature
}

// text is what is signed. No part but the last can hold a line break.
func (p *Proof) text(method, target, token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return []byte(strings.Join([]string{
		"sekisho agent proof " + proofVersion, method, strconv.FormatInt(p.Time.UnixMilli(), 10), p.Nonce,
		hex.EncodeToString(sum[:]), hex.EncodeToString(p.Body[:]), target,
	}, "\n"))
}

// KeyID is the name of a public key in PKIX form: its SHA-256 in hexadecimal.
func KeyID(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
