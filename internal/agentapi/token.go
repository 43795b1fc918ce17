package agentapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sekisho/sekisho/internal/pool"
)

// TokenLife is how long a token is good.
const TokenLife = 15 * time.Minute

const (
	tokenPrefix  = "sat_"
	tokenVersion = 1
	payloadSize  = 1 + 16 + 8 + sha256.Size
	tokenSize    = payloadSize + sha256.Size
)

var tokenEncoding = base64.RawURLEncoding.Strict()

// token is what a token says: which agent has it, under which key, and until when.
type token struct {
	agent   uuid.UUID
	expires time.Time         // to the millisecond
	key     [sha256.Size]byte // SHA-256 of the agent's public key
}

func (t *token) encode(secret []byte) string {
	b := make([]byte, 0, tokenSize)
	b = append(b, tokenVersion)
	b = append(b, t.agent[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.expires.UnixMilli()))
	b = append(b, t.key[:]...)
	return tokenPrefix + tokenEncoding.EncodeToString(append(b, mac(secret, b)...))
}

func mac(secret, payload []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("sekisho agent token\n"))
	h.Write(payload)
	return h.Sum(nil)
}

// parseToken reads a token that one of the secrets signed.
func parseToken(secrets [][]byte, text string) (*token, bool) {
	text, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok || len(text) != tokenEncoding.EncodedLen(tokenSize) {
		return nil, false
	}
	b, err := tokenEncoding.DecodeString(text)
	if err != nil || b[0] != tokenVersion {
		return nil, false
	}
	payload, sum := b[:payloadSize], b[payloadSize:]
	for _, secret := range secrets {
		if !hmac.Equal(sum, mac(secret, payload)) {
			continue
		}
		t := &token{agent: uuid.UUID(payload[1:17]), expires: time.UnixMilli(int64(binary.BigEndian.Uint64(payload[17:25])))}
		copy(t.key[:], payload[25:])
		return t, true
	}
	return nil, false
}

// newToken returns a token of an agent. Its id is a UUID: it comes from the database.
func newToken(a *pool.Agent, now time.Time) *token {
	return &token{agent: uuid.MustParse(a.ID), expires: now.Add(TokenLife), key: sha256.Sum256(a.PublicKey)}
}
