// Package ociserver serves the OCI distribution specification 1.1 over any [registry.Registry]: it reads requests,
// makes one call, and writes what came back. It knows no policy: who may do what is decided behind the interface.
//
// The paths are /v2/<repository>/… for the account that the host name says, or the default one, and
// /v2/<12 digits>/<repository>/… for any.
package ociserver

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
)

// Authenticator proves who sends an Authorization header. [iam.Service] is one.
type Authenticator interface {
	Authenticate(ctx context.Context, authorization string, from netip.Addr) (*iam.Principal, error)
}

// Server answers everything under /v2/.
type Server struct {
	Registry registry.Registry
	Auth     Authenticator
	Links    *Links
	// Account owns the paths that name no account.
	Account string
	// Region and Domain make the host names <account>.dkr.ecr.<region>.<domain>; Domain may be empty.
	Region, Domain string
	// Admit, if not nil, is asked about each caller that came through a private endpoint, once it is known who it is, with
	// the action, which may be empty. Its error is answered with 403.
	Admit func(c *iam.Caller, action string) error
}

// request is a parsed request.
type request struct {
	*http.Request
	caller *iam.Caller
	repo   registry.Repo
	path   string // the repository as the client wrote it, for addresses it gets back
	last   string // tag, digest or upload id
}

// Serve implements [httpx.Handler].
func (s *Server) Serve(w *httpx.Response, r *http.Request) error {
	w.Header()["Docker-Distribution-Api-Version"] = apiVersion
	rt, req, err := s.parse(w, r)
	if rt != nil {
		w.Event.Operation, w.Event.Action = rt.Operation, rt.Action
	}
	// Whoever shows no credential learns nothing, not even which paths there are.
	if aerr := s.authenticate(w, req); aerr != nil {
		err = aerr
	}
	if c := req.caller; c != nil && c.Endpoint != "" && s.Admit != nil {
		if refused := s.Admit(c, w.Event.Action); refused != nil {
			err = &protocolError{http.StatusForbidden, "DENIED", refused.Error()}
		}
	}
	if err == nil {
		w.Event.Repo = req.repo.Name
		err = rt.serve(s, w, req)
	}
	if err != nil {
		return s.fail(w, r, err)
	}
	return nil
}

var apiVersion = []string{"registry/2.0"}

// emptyBasic is what podman sends when it has no credential: no user, no password.
const emptyBasic = "Basic Og=="

// authenticate fills in who the caller is and where it calls from.
func (s *Server) authenticate(w *httpx.Response, req *request) error {
	arrived := time.Now()
	var principal *iam.Principal
	var err error
	if a := req.Header.Get("Authorization"); a != "" && a != emptyBasic {
		principal, err = s.Auth.Authenticate(req.Context(), a, w.Origin.Client)
	} else {
		principal, err = s.Links.principal(req.Request, w.Origin.Client)
	}
	if err != nil {
		return err
	}
	c := principal.Caller()
	c.Arrived = arrived
	c.FactsOf(w, req.Request)
	req.caller = c
	w.Event.Principal = c.ARN
	return nil
}

// parse finds what a request wants. The route is nil if the path is none of ours or the method is wrong; then, or with a
// malformed name, there is an error too.
func (s *Server) parse(w *httpx.Response, r *http.Request) (*Route, *request, error) {
	req := &request{Request: r}
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	kind, rest := kindOf(path)
	if kind == "" {
		return nil, req, &protocolError{http.StatusNotFound, "NAME_UNKNOWN", "there is nothing at this path; see the distribution specification for those that there are"}
	}
	req.path, req.last = rest, path[strings.LastIndexByte(path, '/')+1:]
	req.repo = s.repo(rest, s.account(w.Origin.Host))
	var rt *Route
	var allow []string
	for i := range Routes {
		if Routes[i].kind == kind {
			allow = append(allow, Routes[i].Method)
			if Routes[i].Method == r.Method {
				rt = &Routes[i]
			}
		}
	}
	if rt == nil {
		return nil, req, &methodError{strings.Join(allow, ", ")}
	}
	if kind != "ping" && kind != "catalog" {
		if err := oci.CheckName(req.repo.Name); err != nil {
			return rt, req, &protocolError{http.StatusBadRequest, "NAME_INVALID", err.Error()}
		}
	}
	return rt, req, nil
}

// kindOf tells paths apart by their end, because a repository's name may have any word in it.
func kindOf(path string) (kind, repo string) {
	switch path {
	case "":
		return "ping", ""
	case "_catalog":
		return "catalog", ""
	}
	rest, last, ok := cutLast(path)
	if !ok {
		return "", ""
	}
	repo, word, _ := cutLast(rest)
	switch {
	case word == "uploads" && strings.HasSuffix(repo, "/blobs"):
		repo = strings.TrimSuffix(repo, "/blobs")
		if last == "" {
			return "uploads", repo
		}
		return "upload", repo
	case word == "blobs" && last == "uploads":
		return "uploads", repo
	case word == "tags" && last == "list":
		return "tags", repo
	case word == "manifests" || word == "blobs" || word == "referrers":
		return word, repo
	}
	return "", ""
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// account returns the account that a host name of the form <account>.dkr.ecr.<region>.<domain> names, else the default.
func (s *Server) account(host string) string {
	account, rest, ok := strings.Cut(host, ".")
	if !ok || s.Domain == "" || !oci.IsAccount(account) {
		return s.Account
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		rest = rest[:i]
	}
	if !strings.EqualFold(rest, "dkr.ecr."+s.Region+"."+s.Domain) {
		return s.Account
	}
	return account
}

// repo reads a repository's name in which the account may stand first.
func (s *Server) repo(name, account string) registry.Repo {
	if len(name) > 12 && name[12] == '/' && oci.IsAccount(name[:12]) {
		return registry.Repo{Account: name[:12], Name: name[13:]}
	}
	return registry.Repo{Account: account, Name: name}
}

// digest reads the digest at the end of the path.
func (r *request) digest() (digest.Digest, error) {
	d, err := oci.ParseDigest(r.last)
	if err != nil {
		return "", &protocolError{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	}
	return d, nil
}

// protocolError is an answer that this package decides on by itself.
type protocolError struct {
	status  int
	code    string
	message string
}

func (e *protocolError) Error() string { return e.message }

// methodError is the answer to a method that a path doesn't have.
type methodError struct{ allow string }

func (e *methodError) Error() string { return "this method is not supported here, use " + e.allow }

var errBadLink = errors.New("the signed link is not valid: it was changed or has expired, or its access key is no longer in use; ask for a new one")

var errNoCredential = errors.New("no credential was sent; log in with an access key and its secret, or with AWS and a token of aws ecr get-login-password")
