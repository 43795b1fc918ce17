package ociserver

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/registry"
)

// LinkExpiry is how long a download link is good.
const LinkExpiry = time.Hour

// Links signs addresses of blobs that can be fetched without a credential, as GetDownloadUrlForLayer gives them out. A
// link acts by the access key it was made for: what that key, or its principal, may no longer do, the link can't do either.
type Links struct {
	Key     []byte   // 32 bytes, the same on every node
	OldKeys [][]byte // of links that were signed before the key was replaced
	Keys    Keys
	Now     func() time.Time
}

// Keys finds who an access key in use acts as. [iam.Service] does.
type Keys interface {
	Secret(ctx context.Context, accessKeyID string, from netip.Addr) (iam.Secret, *iam.Principal, error)
}

const (
	linkKey       = "Sekisho-Access-Key"
	linkExpires   = "Sekisho-Expires"
	linkSignature = "Sekisho-Signature"
)

// Sign returns the path and query of a blob, signed for c.
func (l *Links) Sign(c *iam.Caller, repo registry.Repo, d digest.Digest) string {
	path := "/v2/" + repo.Account + "/" + repo.Name + "/blobs/" + string(d)
	expires := strconv.FormatInt(l.Now().Add(LinkExpiry).Unix(), 10)
	q := url.Values{linkKey: {c.AccessKeyID}, linkExpires: {expires}, linkSignature: {signature(l.Key, path, c.AccessKeyID, expires)}}
	return path + "?" + q.Encode()
}

// signed reports whether a signature over the fields was made with one of the keys.
func (l *Links) signed(by string, fields ...string) bool {
	ok := hmac.Equal([]byte(by), []byte(signature(l.Key, fields...)))
	for _, key := range l.OldKeys {
		ok = hmac.Equal([]byte(by), []byte(signature(key, fields...))) || ok
	}
	return ok
}

func signature(key []byte, fields ...string) string {
	h := hmac.New(sha256.New, key)
	for _, s := range fields {
		io.WriteString(h, strconv.Itoa(len(s))+":"+s)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// principal returns who a signed request acts as. Errors: errNoCredential if it isn't one; errBadLink if it was changed,
// is too late, or its access key is not in use any more.
func (l *Links) principal(r *http.Request, from netip.Addr) (*iam.Principal, error) {
	if r.URL.RawQuery == "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil, errNoCredential
	}
	q := r.URL.Query()
	if !q.Has(linkSignature) {
		return nil, errNoCredential
	}
	key, expires := q.Get(linkKey), q.Get(linkExpires)
	if !l.signed(q.Get(linkSignature), r.URL.Path, key, expires) {
		return nil, errBadLink
	}
	until, err := strconv.ParseInt(expires, 10, 64)
	if err != nil || l.Now().Unix() >= until {
		return nil, errBadLink
	}
	_, principal, err := l.Keys.Secret(r.Context(), key, from)
	if errors.Is(err, iam.ErrUnknownKey) {
		return nil, errBadLink
	}
	return principal, err
}
