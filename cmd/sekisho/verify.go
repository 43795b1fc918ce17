package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/credfile"
)

// verifyTimeout bounds one request to a registry.
const verifyTimeout = 30 * time.Second

// maxAnswer bounds what is read of a registry's answer.
const maxAnswer = 64 << 10

var errNotRegistry = errors.New("it does not answer as a registry does")

// verify asks the server whether it takes a credential, and finds out the scheme if it isn't known: https, or http on
// this machine, as docker does. The credential is sent only to a server that answers as a registry and asks for it.
func (s *server) verify(ctx context.Context, c credfile.Credential) error {
	client := &http.Client{
		Timeout: verifyTimeout,
		// A credential is for this server and not for where it sends us.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	if s.roots != "" {
		transport, err := trusting(s.roots)
		if err != nil {
			return err
		}
		client.Transport = transport
	}
	scheme := cmp.Or(s.scheme, "https")
	challenge, err := s.get(ctx, client, scheme, ping, nil)
	if errors.Is(err, http.ErrSchemeMismatch) && scheme == "https" {
		if s.scheme != "" || !isLoopback(s.host) {
			return fmt.Errorf("%s speaks plain HTTP; if that is meant, sign in to http://%s: %w", s.host, s.host, err)
		}
		scheme = "http"
		challenge, err = s.get(ctx, client, scheme, ping, nil)
	}
	if err != nil {
		return unreachable(s.host, err)
	}
	s.scheme = scheme
	switch name, _, _ := strings.Cut(challenge.Header.Get("Www-Authenticate"), " "); {
	case challenge.StatusCode == http.StatusOK: // it lets everybody in, or looks at credentials later
	case challenge.StatusCode != http.StatusUnauthorized:
		return fmt.Errorf("%s: %w: GET /v2/ is %s", s.host, errNotRegistry, challenge.Status)
	case !strings.EqualFold(name, "Basic"):
		return fmt.Errorf("%s wants %s authentication, which this command does not do; use docker login or podman login", s.host, cmp.Or(name, "no known"))
	}
	answer, err := s.get(ctx, client, scheme, ping, &c)
	if err != nil {
		return unreachable(s.host, err)
	}
	switch answer.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return &exitError{exitRefused, fmt.Errorf("%s refused to sign in %s: %s", s.host, c.Username, answer.reason)}
	}
	return fmt.Errorf("%s: GET /v2/ is %s: %s", s.host, answer.Status, answer.reason)
}

// trusting returns a transport that trusts the authority in a file, besides those that the system knows.
func trusting(file string) (http.RoundTripper, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM(text)
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots}
	return t, nil
}

// ping is the path that tells a registry (distribution-spec, "Determining Support").
const ping = "/v2/"

// registryAnswer is a registry's answer, without its body.
type registryAnswer struct {
	*http.Response
	reason string // of an error
}

func (s *server) get(ctx context.Context, client *http.Client, scheme, path string, c *credfile.Credential) (*registryAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+s.host+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "sekisho/"+version())
	if c != nil {
		req.SetBasicAuth(c.Username, c.Password)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	answer := &registryAnswer{Response: resp, reason: "no reason is given"}
	var said struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &said) == nil && len(said.Errors) > 0 && said.Errors[0].Message != "" {
		answer.reason = plain(said.Errors[0].Message)
	}
	return answer, nil
}

func unreachable(host string, err error) error {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("the certificate of %s is signed by nobody this machine knows; SSL_CERT_FILE can name the file with the authority's certificate: %w", host, err)
	}
	return fmt.Errorf("%s can't be reached: %w", host, err)
}
