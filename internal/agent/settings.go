package agent

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/sekisho/sekisho/internal/durable"
)

// Files of an agent's folder.
const (
	settingsFile = ".agent"
	keyFile      = ".credentials"
	lockFile     = ".lock"
	diagFolder   = "_diag"
	spoolFolder  = "_spool"

	// DefaultWork is the work folder that is taken unless another is named.
	DefaultWork = "_work"
)

// ErrNotConfigured means that a folder has no agent.
var ErrNotConfigured = errors.New("no agent is configured here; run sekisho agent config")

// Settings are what an agent was configured with.
type Settings struct {
	URL       string `json:"url"` // of the server, without a slash at the end
	AgentID   string `json:"agentId"`
	Name      string `json:"name"`
	Pool      string `json:"pool"`
	Account   string `json:"account"`
	Work      string `json:"work"`              // as it was given: relative to the folder
	OneJob    bool   `json:"oneJob,omitempty"`  // it does one job
	Proxy     string `json:"proxy,omitempty"`   // URL; empty: as the environment says
	CAFile    string `json:"caFile,omitempty"`  // PEM, authorities beside the system's
	AllowHTTP bool   `json:"http,omitempty"`    // no TLS, over a network that one trusts
	MinFree   int64  `json:"minFree,omitempty"` // bytes of disk below which it takes no jobs; 0: the default
	// Tasks are folders with published tasks, absolute; they are used even where the agent has a task of its own.
	Tasks []string `json:"tasks,omitempty"`
}

// Folder is an agent's folder.
type Folder string

// Load returns the settings and the key. Errors: [ErrNotConfigured].
func (f Folder) Load() (*Settings, crypto.Signer, error) {
	text, err := os.ReadFile(f.path(settingsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, ErrNotConfigured
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the agent's settings: %w", err)
	}
	s := &Settings{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, nil, fmt.Errorf("%s is not the settings of an agent: %w", f.path(settingsFile), err)
	}
	key, err := f.key()
	return s, key, err
}

// Configured reports whether the folder has an agent.
func (f Folder) Configured() bool {
	_, err := os.Stat(f.path(settingsFile))
	return err == nil
}

// Work returns the work folder, absolute.
func (f Folder) Work(s *Settings) string {
	if filepath.IsAbs(s.Work) {
		return s.Work
	}
	return f.path(s.Work)
}

func (f Folder) path(name ...string) string {
	return filepath.Join(append([]string{string(f)}, name...)...)
}

func (f Folder) key() (crypto.Signer, error) {
	info, err := os.Stat(f.path(keyFile))
	if err != nil {
		return nil, fmt.Errorf("read the agent's key: %w; configure it again", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read the agent's key %s: configure the agent again, or if you know that nobody did, chmod 600 it", f.path(keyFile))
	}
	text, err := os.ReadFile(f.path(keyFile))
	if err != nil {
		return nil, fmt.Errorf("read the agent's key: %w", err)
	}
	return parseKey(text)
}

func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the agent's key is damaged: configure it again")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the agent's key is damaged: configure it again")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the agent's key is of no kind that signs: configure it again")
	}
	return signer, nil
}

// newKey makes a key and returns it in PEM form too, and its public half in PKIX form.
func newKey() (crypto.Signer, []byte, []byte, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, nil, err
	}
	pub, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, nil, nil, err
	}
	return private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pub, nil
}

// save keeps settings and key, the key first: an agent without settings is none.
func (f Folder) save(s *Settings, key []byte) error {
	if err := durable.WriteFile(durable.OS{}, f.path(keyFile), key, 0o600); err != nil {
		return fmt.Errorf("write the agent's key: %w", err)
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(durable.OS{}, f.path(settingsFile), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the agent's settings: %w", err)
	}
	return nil
}

// forget removes settings and key.
func (f Folder) forget() error {
	var errs []error
	for _, name := range []string{settingsFile, keyFile} {
		if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// CheckURL returns a server's URL as it is kept. Without TLS it must be on this machine, unless allowHTTP is set.
func CheckURL(text string, allowHTTP bool) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("%q is not the URL of a server; one is https://sekisho.example.com", text)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return "", fmt.Errorf("the server's URL is scheme, host and port, and no more: %s://%s", u.Scheme, u.Host)
	case u.Scheme == "http" && !allowHTTP && !loopback(u.Hostname()):
		return "", fmt.Errorf("%s has no TLS: whoever is in between sees the jobs' secrets. Take https://, or allow it with --allow-http", text)
	}
	return u.Scheme + "://" + u.Host, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// hostname is the name of this machine, without its domain.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "agent"
	}
	if net.ParseIP(name) == nil {
		name, _, _ = strings.Cut(name, ".")
	}
	return name
}
