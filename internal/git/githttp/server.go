// Package githttp serves git's smart HTTP protocol (gitprotocol-http) over package git, below /git/.
//
// The paths are /git/<project>/<repository>[.git]/… for the default account, and /git/<12 digits>/<project>/<repository>[.git]/…
// for any. It knows no policy and runs no program: it reads requests, makes one call, and writes what came back.
package githttp

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/git"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
)

// Authenticator proves who sends an Authorization header. [iam.Service] is one.
type Authenticator interface {
	Authenticate(ctx context.Context, authorization string, from netip.Addr) (*iam.Principal, error)
}

// Prefix is where the paths begin.
const Prefix = "/git/"

// Server answers everything below [Prefix].
type Server struct {
	Git  *git.Service
	Auth Authenticator
	// Account owns the paths that name no account.
	Account string
	// Admit, if not nil, is asked about each caller that came through a private endpoint, once it is known who it is, with
	// the action, which may be empty. Its error is answered with 403.
	Admit func(c *iam.Caller, action string) error
}

// route is what a path and method ask for.
type route struct {
	name      git.Name
	operation string // for the log and metrics
	action    string // the first one that is asked for
	push      bool
	advertise bool
}

// Serve implements [httpx.Handler].
func (s *Server) Serve(w *httpx.Response, r *http.Request) error {
	rt, err := s.parse(r)
	if err == nil {
		w.Event.Operation, w.Event.Action = rt.operation, rt.action
	}
	// Whoever shows no credential learns nothing, not even which paths there are.
	caller, aerr := s.authenticate(w, r)
	if aerr != nil {
		err = aerr
	}
	if caller != nil && caller.Endpoint != "" && s.Admit != nil {
		if refused := s.Admit(caller, w.Event.Action); refused != nil {
			err = &httpx.Error{Status: http.StatusForbidden, Message: refused.Error()}
		}
	}
	if err == nil {
		w.Event.Repo = rt.name.Project + "/" + rt.name.Repo
		err = s.serve(w, r, rt, caller)
	}
	if err != nil {
		return s.fail(w, err)
	}
	return nil
}

func (s *Server) authenticate(w *httpx.Response, r *http.Request) (*iam.Caller, error) {
	arrived := time.Now()
	header := r.Header.Get("Authorization")
	if header == "" {
		return nil, errNoCredential
	}
	principal, err := s.Auth.Authenticate(r.Context(), header, w.Origin.Client)
	if err != nil {
		return nil, err
	}
	c := principal.Caller()
	c.Arrived = arrived
	c.FactsOf(w, r)
	w.Event.Principal = c.ARN
	return c, nil
}

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
)

var (
	errNotHere   = &httpx.Error{Status: http.StatusNotFound, Message: "there is nothing here; repositories are at /git/<project>/<repository>"}
	errDumb      = &httpx.Error{Status: http.StatusForbidden, Message: "the dumb HTTP protocol is not served; use git 1.6.6 or later"}
	errLFS       = &httpx.Error{Status: http.StatusNotImplemented, Message: "Git LFS is not supported here; keep large files in the repository, up to its limits, or in the registry"}
	errNoService = &httpx.Error{Status: http.StatusForbidden, Message: "git-upload-pack and git-receive-pack are the services that there are"}
)

// parse finds what a request asks for.
func (s *Server) parse(r *http.Request) (*route, error) {
	rt, rest, err := s.splitPath(strings.TrimPrefix(r.URL.Path, Prefix))
	if err != nil {
		return nil, err
	}
	method := http.MethodPost
	switch {
	case rest == "info/refs":
		method = http.MethodGet
		switch r.URL.Query().Get("service") {
		case uploadPack:
			rt.operation, rt.action = "git-fetch-refs", "git:Pull"
		case receivePack:
			rt.operation, rt.action, rt.push = "git-push-refs", "git:Pull", true
		case "":
			return nil, errDumb
		default:
			return nil, errNoService
		}
		rt.advertise = true
	case rest == uploadPack:
		rt.operation, rt.action = "git-fetch", "git:Pull"
	case rest == receivePack:
		rt.operation, rt.action, rt.push = "git-push", "git:Push", true
	case rest == "HEAD" || strings.HasPrefix(rest, "objects/"):
		return nil, errDumb
	case rest == "info/lfs" || strings.HasPrefix(rest, "info/lfs/"):
		return nil, errLFS
	default:
		return nil, errNotHere
	}
	if r.Method != method {
		return nil, &methodError{method}
	}
	if method == http.MethodPost {
		want := "application/x-" + rest + "-request"
		if got := r.Header.Get("Content-Type"); got != want {
			return nil, &httpx.Error{Status: http.StatusUnsupportedMediaType, Message: "the request must have the content type " + want}
		}
	}
	return rt, nil
}

// splitPath splits <project>/<repository>/<what>, with an account before it or not.
func (s *Server) splitPath(path string) (*route, string, error) {
	rt := &route{name: git.Name{Account: s.Account}}
	if len(path) > 12 && path[12] == '/' && strings.Trim(path[:12], "0123456789") == "" {
		rt.name.Account, path = path[:12], path[13:]
	}
	project, path, ok := strings.Cut(path, "/")
	repo, rest, ok2 := strings.Cut(path, "/")
	rt.name.Project, rt.name.Repo = project, strings.TrimSuffix(repo, ".git")
	if !ok || !ok2 || git.CheckName(rt.name.Project) != nil || git.CheckName(rt.name.Repo) != nil {
		return nil, "", errNotHere
	}
	return rt, rest, nil
}

// maxProtocol bounds the Git-Protocol header.
const maxProtocol = 256

func (s *Server) serve(w *httpx.Response, r *http.Request, rt *route, c *iam.Caller) error {
	ctx := r.Context()
	protocol := r.Header.Get("Git-Protocol")
	if len(protocol) > maxProtocol {
		protocol = ""
	}
	protocol = git.Protocol(protocol)
	service := uploadPack
	if rt.push {
		service = receivePack
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	h.Set("Expires", "Fri, 01 Jan 1980 00:00:00 GMT")
	h.Set("Pragma", "no-cache")
	kind := "result"
	if rt.advertise {
		kind = "advertisement"
	}
	out := &typed{w: w, contentType: "application/x-" + service + "-" + kind}
	if rt.advertise {
		if rt.push {
			return out.end(s.Git.AdvertisePush(ctx, c, rt.name, out))
		}
		return out.end(s.Git.AdvertiseFetch(ctx, c, rt.name, protocol, out))
	}
	body, err := decoded(r)
	if err != nil {
		return err
	}
	if rt.push {
		return out.end(s.Git.Receive(ctx, c, rt.name, body, out))
	}
	return out.end(s.Git.Upload(ctx, c, rt.name, protocol, body, out))
}

// decoded returns a request's body as it was before it was compressed.
func decoded(r *http.Request) (io.Reader, error) {
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		return r.Body, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, badBody(err)
		}
		return &gzipBody{z}, nil
	default:
		return nil, &httpx.Error{Status: http.StatusUnsupportedMediaType, Message: "a request's body may be compressed with gzip, and with nothing else"}
	}
}

// gzipBody has damage be the client's fault. How much comes out is bounded by who reads.
type gzipBody struct{ z *gzip.Reader }

func (b *gzipBody) Read(p []byte) (int, error) {
	n, err := b.z.Read(p)
	if err != nil && err != io.EOF {
		err = badBody(err)
	}
	return n, err
}

func badBody(err error) error {
	if e, ok := errors.AsType[*httpx.BodyError](err); ok {
		return e
	}
	return &httpx.BodyError{Status: http.StatusBadRequest, Err: err}
}

// typed says what the answer is once there is one, so that an error before it can be answered in its own form.
type typed struct {
	w           *httpx.Response
	contentType string
}

func (t *typed) Write(p []byte) (int, error) {
	if !t.w.Written() {
		t.w.Header().Set("Content-Type", t.contentType)
	}
	return t.w.Write(p)
}

// FlushError sends what was written, so that progress shows.
func (t *typed) FlushError() error { return t.w.FlushError() }

// end answers with nothing where that is the answer.
func (t *typed) end(err error) error {
	if err == nil && !t.w.Written() {
		t.w.Header().Set("Content-Type", t.contentType)
		t.w.WriteHeader(http.StatusOK)
	}
	return err
}
