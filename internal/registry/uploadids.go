package registry

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
)

// uploadIDs makes and checks upload ids: a UUID of version 7, which has the time in it, and a keyed hash over it and the
// repository. So an upload that never gets bytes costs nothing, however many a client starts, and any node can go on
// with it.
type uploadIDs struct {
	key    []byte
	old    [][]byte // that ids were made with before
	expiry time.Duration
}

const (
	uuidLen = 36
	macLen  = 24 // hexadecimal digits
)

func (u *uploadIDs) make(repo Repo, now time.Time) (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make upload id: %w", err)
	}
	var ms [8]byte // the age of an id is told by the clock it is checked with: RFC 9562, section 5.7
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(id[:6], ms[2:])
	s := id.String()
	return s + "-" + uploadMAC(u.key, s, repo), nil
}

func uploadMAC(key []byte, id string, repo Repo) string {
	h := hmac.New(sha256.New, key)
	io.WriteString(h, id+"\x00"+repo.Account+"\x00"+repo.Name)
	return hex.EncodeToString(h.Sum(nil))[:macLen]
}

func (u *uploadIDs) ours(id, sum string, repo Repo) bool {
	ok := hmac.Equal([]byte(sum), []byte(uploadMAC(u.key, id, repo)))
	for _, key := range u.old {
		ok = hmac.Equal([]byte(sum), []byte(uploadMAC(key, id, repo))) || ok
	}
	return ok
}

// check reports whether id is one of ours, for this repository, and not too old.
func (u *uploadIDs) check(id string, repo Repo, now time.Time) error {
	if len(id) != uuidLen+1+macLen || id[uuidLen] != '-' || !u.ours(id[:uuidLen], id[uuidLen+1:], repo) {
		return errUploadUnknown(id)
	}
	parsed, err := uuid.Parse(id[:uuidLen])
	if err != nil {
		return errUploadUnknown(id)
	}
	sec, nsec := parsed.Time().UnixTime()
	if now.Sub(time.Unix(sec, nsec)) > u.expiry {
		return errUploadUnknown(id)
	}
	return nil
}
