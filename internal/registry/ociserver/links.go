package ociserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
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
// link acts as the principal it was made for, so what that principal may no longer do, the link can't do either.
type Links struct {
	Key []byte // 32 bytes, the same on every node
	Now func() time.Time
}

const (
	linkPrincipal = "Sekisho-Principal"
	linkAccount   = "Sekisho-Account"
	linkExpires   = "Sekisho-Expires"
	linkSignature = "Sekisho-Signature"
)

// Sign returns the path and query of a blob, signed for c, who must be a root principal until there are others.
func (l *Links) Sign(c *iam.Caller, repo registry.Repo, d digest.Digest) string {
	path := "/v2/" + repo.Account + "/" + repo.Name + "/blobs/" + string(d)
	expires := strconv.FormatInt(l.Now().Add(LinkExpiry).Unix(), 10)
	q := url.Values{linkPrincipal: {c.ARN}, linkAccount: {c.Account}, linkExpires: {expires}, linkSignature: {l.signature(path, c.Account, c.ARN, expires)}}
	return path + "?" + q.Encode()
}

func (l *Links) signature(path, account, arn, expires string) string {
	h := hmac.New(sha256.New, l.Key)
	for _, s := range []string{path, account, arn, expires} {
		h.Write([]byte(strconv.Itoa(len(s)) + ":" + s))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// principal returns who a signed request acts as, or nil if it isn't one, was changed, or is too late.
func (l *Links) principal(r *http.Request) *iam.Principal {
	if r.URL.RawQuery == "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil
	}
	q := r.URL.Query()
	account, arn, expires := q.Get(linkAccount), q.Get(linkPrincipal), q.Get(linkExpires)
	if !hmac.Equal([]byte(q.Get(linkSignature)), []byte(l.signature(r.URL.Path, account, arn, expires))) {
		return nil
	}
	until, err := strconv.ParseInt(expires, 10, 64)
	if err != nil || l.Now().Unix() >= until {
		return nil
	}
	if arn != iam.RootARN(account) {
		return nil
	}
	return &iam.Principal{Account: account, ARN: arn, Type: iam.Root}
}
