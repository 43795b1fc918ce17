package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/app"
	"github.com/sekisho/sekisho/internal/ca"
	"github.com/sekisho/sekisho/internal/config"
	"github.com/sekisho/sekisho/internal/durable"
)

// authority is what the ca commands share.
type authority struct {
	*cli
	dir string // --dir
}

func newCA(c *cli) *cobra.Command {
	a := &authority{cli: c}
	cmd := group("ca", "Make and use a private certificate authority", a.newInit(), a.newIssue(), a.newShow())
	cmd.Long = `Make and use a private certificate authority, where there is no public one to ask.

Clients install its root, which sekisho ca show prints. The server issues its own
certificate from it with the setting tls.auto; sekisho ca issue makes certificates
for what else there is, such as a proxy in front.`
	cmd.PersistentFlags().StringVar(&a.dir, "dir", "", "folder of the authority (default: setting tls.ca, that is ca in the data folder)")
	return cmd
}

// folder returns where the authority is, and the configuration that says so.
func (a *authority) folder() (string, *config.Config, error) {
	loaded, err := a.config()
	if err != nil {
		return "", nil, err
	}
	if a.dir != "" {
		loaded.Config.TLS.CA = a.dir
	}
	return loaded.Config.TLS.CA, &loaded.Config, nil
}

func (a *authority) newInit() *cobra.Command {
	var permit []string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the authority",
		Long: `Make the authority: a root that is good for 10 years, and its key, which only you
can read and which is never printed. Keep a copy of the folder in a safe place.

Whoever installs the root trusts it for every name, unless --permit limits the
authority for good to some domains, with all below them, and addresses.`,
		Example: `  sekisho ca init
  sekisho ca init --permit example.com --permit 10.0.0.0/8`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, _, err := a.folder()
			if err != nil {
				return err
			}
			made, err := ca.Create(dir, permit, time.Now)
			if err != nil {
				return err
			}
			return a.describe(cmd, dir, made.Root())
		},
	}
	cmd.Flags().StringSliceVar(&permit, "permit", nil, "a domain, address or prefix it may issue for; repeatable (default: any)")
	return cmd
}

func (a *authority) newIssue() *cobra.Command {
	var out string
	var days int
	var force bool
	cmd := &cobra.Command{
		Use:   "issue [NAME...]",
		Short: "Issue a certificate for a server",
		Long: `Issue a certificate for host names, which may begin with *., and addresses; without
any, for those of the instance: of the settings public_url, domain, listen,
endpoints and tls.names, and localhost.

It is written to tls.crt, with its key in tls.key, readable by you alone.`,
		Example: `  sekisho ca issue --out /etc/sekisho
  sekisho ca issue proxy.example.com 10.0.0.5 --out proxy --days 90`,
		RunE: func(cmd *cobra.Command, names []string) error {
			if days < 1 || days > int(ca.MaxLife/(24*time.Hour)) {
				return usage("--days %d: from 1 to %d", days, ca.MaxLife/(24*time.Hour))
			}
			return a.issue(cmd, names, out, time.Duration(days)*24*time.Hour, force)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&out, "out", ".", "folder to write to, made if need be")
	flags.IntVar(&days, "days", 90, "how long it is good for")
	flags.BoolVar(&force, "force", false, "replace what is there")
	return cmd
}

func (a *authority) issue(cmd *cobra.Command, names []string, out string, life time.Duration, force bool) error {
	dir, c, err := a.folder()
	if err != nil {
		return err
	}
	certFile, keyFile := filepath.Join(out, "tls.crt"), filepath.Join(out, "tls.key")
	if !force {
		for _, name := range []string{certFile, keyFile} {
			if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is there already; --force replaces it", name)
			}
		}
	}
	certPEM, keyPEM, issued, err := app.IssueCertificate(c, names, life)
	if err != nil {
		return missing(dir, err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	// The key first: a server that reads both meanwhile finds that they don't match and keeps what it has.
	if err := durable.WriteFile(durable.OS{}, keyFile, keyPEM, 0o600); err != nil {
		return err
	}
	if err := durable.WriteFile(durable.OS{}, certFile, certPEM, 0o644); err != nil {
		return err
	}
	v := struct {
		Certificate string   `json:"certificate"`
		Key         string   `json:"key"`
		Names       []string `json:"names"`
	}{certFile, keyFile, issued}
	return a.print(cmd, v, &table{rows: [][]string{{"certificate", certFile}, {"key", keyFile}, {"for", strings.Join(issued, ", ")}}})
}

func (a *authority) newShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print the root certificate, for clients to install",
		Long: `Print the root certificate in PEM, for clients to install. With -o json or yaml, say
what it is.`,
		Example: "  sekisho ca show > sekisho-ca.crt",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, _, err := a.folder()
			if err != nil {
				return err
			}
			root, rootPEM, err := ca.ReadRoot(dir)
			if err != nil {
				return missing(dir, err)
			}
			if a.output == asTable {
				_, err := cmd.OutOrStdout().Write(rootPEM)
				return err
			}
			return a.describe(cmd, dir, root)
		},
	}
}

// describe prints what an authority is.
func (a *authority) describe(cmd *cobra.Command, dir string, root *x509.Certificate) error {
	permitted := append([]string{}, root.PermittedDNSDomains...)
	for _, n := range root.PermittedIPRanges {
		permitted = append(permitted, n.String())
	}
	sum := sha256.Sum256(root.Raw)
	v := struct {
		File        string    `json:"file"`
		Subject     string    `json:"subject"`
		Fingerprint string    `json:"sha256"`
		NotAfter    time.Time `json:"notAfter"`
		Permitted   []string  `json:"permitted"`
	}{filepath.Join(dir, ca.CertFile), root.Subject.String(), hex.EncodeToString(sum[:]), root.NotAfter, permitted}
	t := &table{rows: [][]string{
		{"root", v.File}, {"subject", v.Subject}, {"sha256", v.Fingerprint}, {"good until", timeCell(v.NotAfter)},
	}}
	if len(permitted) > 0 {
		t.rows = append(t.rows, []string{"permitted", strings.Join(permitted, ", ")})
	}
	return a.print(cmd, v, t)
}

// missing says what to do if there is no authority.
func missing(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no authority in %s; make one with sekisho ca init, or name its folder with --dir", dir)
	}
	return err
}
