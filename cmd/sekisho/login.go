package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/credfile"
)

type login struct {
	*cli
	client        string
	username      string
	passwordStdin bool
}

func newLogin(c *cli) *cobra.Command {
	l := &login{cli: c}
	cmd := &cobra.Command{
		Use:   "login [HOST]",
		Short: "Sign a container client in to a registry",
		Long: `Check a credential against a registry and put it where the client looks for it:
docker's config.json or the auth.json of podman, buildah and skopeo, and the
credential helpers that these name.

HOST is host or host:port as it stands in image references; without it, the
instance in the data folder is meant, and its root access key. The credential for
a HOST is the first of these that is there:

  --username, with the password on standard input (--password-stdin)
  AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
  the root access key, where HOST is the instance in the data folder

Exit code 4 means that the registry refused the credential.`,
		Example: `  sekisho login
  sekisho login --client podman
  sekisho login registry.example.com
  pass registry | sekisho login --username AKIA... --password-stdin registry.example.com`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			host := ""
			if len(args) > 0 {
				host = args[0]
			}
			return l.run(cmd, host)
		},
	}
	cmd.Flags().StringVar(&l.client, "client", "docker", "whose credential to write: docker or podman")
	cmd.Flags().StringVarP(&l.username, "username", "u", "", "user name, or access key id")
	cmd.Flags().BoolVar(&l.passwordStdin, "password-stdin", false, "read the password, or secret access key, from standard input")
	return cmd
}

func (l *login) run(cmd *cobra.Command, arg string) error {
	file, err := l.credentialFile()
	if err != nil {
		return err
	}
	to, err := parseServer(arg)
	if err != nil {
		return err
	}
	from, err := l.credential(cmd, &to)
	if err != nil {
		return err
	}
	if err := to.verify(cmd.Context(), from.Credential); err != nil {
		return fmt.Errorf("%w (the credential is from %s)", err, from.origin)
	}
	where, err := file.Put(cmd.Context(), to.host, from.Credential)
	if err != nil {
		return err
	}
	if to.scheme == "http" {
		l.warnPlain(cmd.ErrOrStderr(), to.host)
	}
	if to.roots != "" {
		l.warnPrivate(cmd.ErrOrStderr(), to)
	}
	out := struct {
		Registry string `json:"registry"`
		Username string `json:"username"`
		Stored   string `json:"stored"`
	}{to.host, from.Username, where}
	return l.print(cmd, out, &table{rows: [][]string{{"Signed in to " + to.host + " as " + from.Username + ". The credential is in " + where + "."}}})
}

func (l *login) credentialFile() (credfile.File, error) {
	switch l.client {
	case "docker":
		return credfile.Docker(l.getenv)
	case "podman":
		return credfile.Containers(l.getenv, runtime.GOOS, os.Getuid())
	}
	return credfile.File{}, usage("--client %q is neither docker nor podman", l.client)
}

// warnPlain says what else a client needs to be told.
func (l *login) warnPlain(w io.Writer, host string) {
	switch {
	case l.client == "podman":
		fmt.Fprintf(w, "note: %s speaks plain HTTP: give podman --tls-verify=false, or name it as insecure in registries.conf\n", host)
	case !isLoopback(host):
		fmt.Fprintf(w, "note: %s speaks plain HTTP: name it in insecure-registries in docker's daemon.json\n", host)
	}
}

// warnPrivate says where a client looks for the root of a private authority.
func (l *login) warnPrivate(w io.Writer, to server) {
	folder := "/etc/docker/certs.d"
	if l.client == "podman" {
		folder = "/etc/containers/certs.d"
	}
	fmt.Fprintf(w, "note: %s is under a private authority: unless this machine trusts it, copy %s to %s/%s/ca.crt\n", to.host, to.roots, folder, to.host)
}

// foundCredential is a credential and, for people, where it is from.
type foundCredential struct {
	credfile.Credential
	origin string
}

// credential finds the credential for a server, and, where that is the instance in the data folder, completes the server.
func (l *login) credential(cmd *cobra.Command, to *server) (foundCredential, error) {
	key, secret := l.getenv("AWS_ACCESS_KEY_ID"), l.getenv("AWS_SECRET_ACCESS_KEY")
	switch {
	case l.username != "" || l.passwordStdin:
		if err := l.locate(cmd.Context(), to); err != nil {
			return foundCredential{}, err
		}
		return l.given(cmd.InOrStdin())
	case to.host != "" && key != "" && secret != "":
		if l.getenv("AWS_SESSION_TOKEN") != "" {
			return foundCredential{}, usage("AWS_SESSION_TOKEN is set, and a session's key is no user name; use aws ecr get-login-password | sekisho login --username AWS --password-stdin %s", to.host)
		}
		return foundCredential{credfile.Credential{Username: key, Password: secret}, "AWS_ACCESS_KEY_ID"}, nil
	}
	in, err := l.open(cmd.Context())
	if err != nil {
		if to.host != "" {
			err = &exitError{exitUsage, fmt.Errorf("there is no credential for %s: give --username and --password-stdin, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and it is not the instance in a data folder: %w)", to.host, err)}
		}
		return foundCredential{}, err
	}
	defer in.Close()
	if is, err := to.completeFrom(in); err != nil {
		return foundCredential{}, err
	} else if !is {
		return foundCredential{}, usage("there is no credential for %s: give --username and --password-stdin, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", to.host)
	}
	root, err := in.ReadRootKey(cmd.Context())
	if err != nil {
		return foundCredential{}, err
	}
	return foundCredential{credfile.Credential{Username: root.AccessKeyID, Password: root.SecretAccessKey}, in.RootKeyFile()}, nil
}

// locate finds the server that is meant without HOST.
func (l *login) locate(ctx context.Context, to *server) error {
	if to.host != "" {
		return nil
	}
	in, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = to.completeFrom(in)
	return err
}

// maxPassword bounds what is read from standard input.
const maxPassword = 64 << 10

// given is what the command line says.
func (l *login) given(stdin io.Reader) (foundCredential, error) {
	if l.username == "" || !l.passwordStdin {
		return foundCredential{}, usage("--username and --password-stdin go together")
	}
	text, err := io.ReadAll(io.LimitReader(stdin, maxPassword+1))
	if err != nil {
		return foundCredential{}, fmt.Errorf("read the password: %w", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" || len(text) > maxPassword {
		return foundCredential{}, usage("there is no password on standard input, or it is too long")
	}
	return foundCredential{credfile.Credential{Username: l.username, Password: password}, "--username and standard input"}, nil
}

// server is the registry to sign in to.
type server struct {
	host   string // host or host:port
	scheme string // http, https, or "" while it isn't known
	roots  string // file of the authority that the server's certificate is under; "": the system's
}

// parseServer reads HOST, in which a scheme is allowed and a path isn't.
func parseServer(arg string) (server, error) {
	if arg == "" {
		return server{}, nil
	}
	to := server{host: arg}
	if scheme, rest, ok := strings.Cut(arg, "://"); ok {
		if scheme != "http" && scheme != "https" {
			return server{}, usage("%q: a registry is reached by http or https", arg)
		}
		to = server{host: strings.TrimSuffix(rest, "/"), scheme: scheme}
	}
	u, err := url.Parse("//" + to.host)
	if err != nil || u.Host == "" || u.Host != to.host || u.Hostname() == "" {
		return server{}, usage("%q is not host or host:port, such as registry.example.com or 127.0.0.1:5000", arg)
	}
	return to, nil
}

// completeFrom takes scheme and, if there is none, host from an instance, and reports whether that is what is meant.
func (s *server) completeFrom(in *app.Instance) (bool, error) {
	base, err := in.URL()
	if err != nil {
		return false, err
	}
	scheme, host, _ := strings.Cut(base, "://")
	c := in.Config
	name, _, _ := strings.Cut(s.host, ":")
	switch {
	case s.host == "":
		*s = server{host: host, scheme: scheme}
	case strings.EqualFold(s.host, host), isLoopback(s.host) && isLoopback(host) && port(s.host) == port(host):
		s.scheme = scheme
	case c.Domain != "" && strings.EqualFold(name, in.Account+".dkr.ecr."+c.Region+"."+c.Domain):
	default:
		return false, nil
	}
	s.roots = in.CAFile()
	return true, nil
}

// isLoopback reports whether docker would try plain HTTP too.
func isLoopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

func port(hostport string) string {
	_, p, err := net.SplitHostPort(hostport)
	if err != nil {
		return ""
	}
	return p
}
