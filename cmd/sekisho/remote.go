package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/api/client"
)

// whichServer is the help of commands that call a server.
const whichServer = `The server is SEKISHO_SERVER or else AWS_ENDPOINT_URL, as "sekisho env" prints it. Who
calls it is a personal access token in SEKISHO_TOKEN, or else the access key in
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. Without any of these it is
the instance in the data folder, with its root access key. SEKISHO_CA_FILE or
AWS_CA_BUNDLE names the root certificates of a private authority.`

// remote returns a client of the server that is meant.
func (c *cli) remote(ctx context.Context) (*client.Client, error) {
	r := &client.Client{
		Server:      cmp.Or(c.getenv("SEKISHO_SERVER"), c.getenv("AWS_ENDPOINT_URL")),
		Token:       c.getenv("SEKISHO_TOKEN"),
		Credentials: aws.Credentials{AccessKeyID: c.getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: c.getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: c.getenv("AWS_SESSION_TOKEN")},
		Region:      cmp.Or(c.getenv("AWS_REGION"), c.getenv("AWS_DEFAULT_REGION")),
		UserAgent:   "sekisho/" + version(),
	}
	roots := cmp.Or(c.getenv("SEKISHO_CA_FILE"), c.getenv("AWS_CA_BUNDLE"))
	known := r.Token != "" || r.Credentials.AccessKeyID != "" && r.Credentials.SecretAccessKey != ""
	if r.Server == "" || !known {
		if r.Server != "" {
			return nil, &exitError{exitRefused, errors.New("there is no credential for " + r.Server + ": set SEKISHO_TOKEN, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")}
		}
		var err error
		if roots, err = c.localServer(ctx, r, known, roots); err != nil {
			return nil, err
		}
	}
	u, err := url.Parse(r.Server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, usage("the server %q is not http(s)://host[:port]", r.Server)
	}
	r.Server = u.Scheme + "://" + u.Host
	if r.Region == "" {
		r.Region = "us-east-1"
	}
	transport := http.DefaultTransport
	if roots != "" {
		if transport, err = trusting(roots); err != nil {
			return nil, err
		}
	}
	r.HTTP = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("the server redirects; name it by the address that it redirects to")
	}}
	return r, nil
}

// localServer completes r from the instance in the data folder and returns the file of its roots.
func (c *cli) localServer(ctx context.Context, r *client.Client, known bool, roots string) (string, error) {
	in, err := c.open(ctx)
	if err != nil {
		return "", &exitError{exitUsage, errors.New("which server is meant? Set SEKISHO_SERVER, or name the data folder of an instance on this machine with --data (" + err.Error() + ")")}
	}
	defer in.Close()
	if r.Server, err = in.URL(); err != nil {
		return "", err
	}
	r.Region = in.Config.Region
	if !known {
		key, err := in.ReadRootKey(ctx)
		if err != nil {
			return "", err
		}
		r.Credentials = aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey}
	}
	return cmp.Or(roots, in.CAFile()), nil
}

// call calls an operation of the server that is meant.
func (c *cli) call(cmd *cobra.Command, operation string, in, out any) error {
	r, err := c.remote(cmd.Context())
	if err != nil {
		return err
	}
	return told(r.Call(cmd.Context(), operation, in, out))
}

// told gives an error of the server's its exit code, and lays it out for people.
func told(err error) error {
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		return err
	}
	var text strings.Builder
	text.WriteString(e.Message)
	for _, p := range e.Details {
		if len(e.Details) > 1 || p.String() != e.Message {
			text.WriteString("\n  " + p.String())
		}
	}
	err = &toldError{text.String(), e}
	switch e.Code {
	case api.CodeUnauthenticated, api.CodeDenied:
		return &exitError{exitRefused, err}
	case api.CodeInvalid:
		return &exitError{exitUsage, err}
	}
	return err
}

// toldError is an error of the server's with a text for people.
type toldError struct {
	text string
	err  *api.Error
}

func (e *toldError) Error() string { return e.text }
func (e *toldError) Unwrap() error { return e.err }
