package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/project"
	"github.com/sekisho/sekisho/internal/run"
)

// maxIdentityBody bounds the body of a request for an identity token, in bytes.
const maxIdentityBody = 4 << 10

// identityInput is what the body may say.
type identityInput struct {
	Audience string `json:"audience"`
}

// identityOutput is the answer, in the form that tools know from Azure's jobs.
type identityOutput struct {
	Token string `json:"oidcToken"`
}

// JobIdentity returns what gives scripts of jobs the identity token of their job, in the form of System.OidcRequestUri. Through a
// private endpoint it is there if that leads to service.
func (s *Server) JobIdentity(runs *run.Service, service string) httpx.Handler {
	serve := func(w *httpx.Response, r *http.Request) error {
		w.Event.Operation, w.Event.Action = "JobIdentityToken", run.IdentityAction
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			return &Error{Status: http.StatusMethodNotAllowed, Code: CodeUnknownOperation, Message: "identity tokens are asked for with POST"}
		}
		scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") { // not a password: a page in a browser can't send this by itself
			w.Header().Set("WWW-Authenticate", `Bearer realm="sekisho"`)
			return &Error{Status: http.StatusUnauthorized, Code: CodeUnauthenticated, Message: "send the job's token, System.AccessToken, as Authorization: Bearer"}
		}
		c, _, err := s.caller(w, r, false)
		if err != nil {
			return err
		}
		if s.o.Admit != nil && c.Endpoint != "" {
			if err := s.o.Admit(c, service, run.IdentityAction); err != nil {
				return err
			}
		}
		audience, err := askedAudience(r.URL.RawQuery)
		if err != nil {
			return err
		}
		body, err := httpx.ReadBody(r, maxIdentityBody)
		if err != nil {
			return err
		}
		var in identityInput
		if err := decode(body, &in); err != nil {
			return err
		}
		switch {
		case audience == "":
			audience = in.Audience
		case in.Audience != "" && in.Audience != audience:
			return invalid.answer("the address and the body name different audiences", "audience")
		}
		if audience == "" {
			audience = project.STSAudience
		}
		token, err := runs.IdentityToken(r.Context(), c, audience)
		if err != nil {
			return err
		}
		return write(w, http.StatusOK, identityOutput{token})
	}
	return func(w *httpx.Response, r *http.Request) error {
		err := serve(w, r)
		if err == nil || w.Written() {
			return err
		}
		return s.fail(w, err)
	}
}

// askedAudience returns the audience that an address asks for. Tools for Azure add two things, which mean nothing here: there is one
// version, and the token is the job's, whatever it is for.
func askedAudience(query string) (string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", invalid.answer("the address is not well-formed: what follows ? can't be read", "")
	}
	for name, list := range values {
		switch name {
		case "api-version", "serviceConnectionId":
		case "audience":
			if len(list) != 1 {
				return "", invalid.answer("a token is for one audience", "audience")
			}
		default:
			return "", invalid.answer(fmt.Sprintf("there is no parameter %.40q; there is audience", name), "")
		}
	}
	return values.Get("audience"), nil
}
