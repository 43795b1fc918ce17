package ca

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func create(t *testing.T, permit ...string) (*Authority, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "made", "ca")
	a, err := Create(dir, permit, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

func TestCreate(t *testing.T) {
	a, dir := create(t)
	for name, mode := range map[string]fs.FileMode{"": 0o700, keyFile: 0o600, CertFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if _, err := Create(dir, nil, time.Now); !errors.Is(err, ErrExists) {
		t.Errorf("again: %v", err)
	}
	again, err := Open(dir, time.Now)
	if err != nil || !again.Root().Equal(a.Root()) || string(again.PEM()) != string(a.PEM()) {
		t.Errorf("opened again: %v", err)
	}
	if strings.Contains(string(a.PEM()), "PRIVATE") {
		t.Error("the key is beside the certificate")
	}
	root := a.Root()
	if !root.IsCA || !root.MaxPathLenZero || root.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || root.NotAfter.Sub(root.NotBefore) < 9*365*24*time.Hour {
		t.Errorf("%+v", root)
	}
	other, _ := create(t)
	if other.Root().Subject.String() == root.Subject.String() {
		t.Error("two authorities have one name")
	}

	if err := os.WriteFile(filepath.Join(dir, CertFile), other.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, time.Now); err == nil || !strings.Contains(err.Error(), "is not the key of") {
		t.Errorf("the key of another: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, CertFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, time.Now); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no certificate: %v", err)
	}
	if _, err := Create(dir, nil, time.Now); err == nil || !strings.Contains(err.Error(), "remove the key") {
		t.Errorf("over a key: %v", err)
	}
}

// TestCreateFails: what could not be made leaves nothing that is in the way of the next attempt.
func TestCreateFails(t *testing.T) {
	dir := t.TempDir()
	obstacle := filepath.Join(dir, CertFile+".tmp", "x")
	if err := os.MkdirAll(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, nil, time.Now); err == nil || !strings.Contains(err.Error(), "write root certificate") {
		t.Fatalf("error %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, keyFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key: %v", err)
	}
	if err := os.RemoveAll(filepath.Dir(obstacle)); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, nil, time.Now); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestCopy(t *testing.T) {
	a, dir := create(t)
	to := filepath.Join(t.TempDir(), "copied", "ca")
	if err := Copy(dir, to); err != nil {
		t.Fatal(err)
	}
	copied, err := Open(to, time.Now)
	if err != nil || !copied.Root().Equal(a.Root()) {
		t.Errorf("%v", err)
	}
	if info, err := os.Stat(filepath.Join(to, keyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	_, other := create(t)
	if err := Copy(other, to); err != nil {
		t.Errorf("over another: %v", err)
	}
	if kept, err := Open(to, time.Now); err != nil || !kept.Root().Equal(a.Root()) {
		t.Errorf("what was there is not any more: %v", err)
	}
	none := filepath.Join(t.TempDir(), "none")
	if err := Copy(t.TempDir(), none); err != nil {
		t.Errorf("nothing: %v", err)
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("a copy of nothing")
	}
}

var instance = []string{"registry.example.com", "*.dkr.ecr.eu-west-1.example.com", "localhost", "127.0.0.1", "::1", "10.0.1.5"}

func TestIssue(t *testing.T) {
	a, _ := create(t)
	certPEM, keyPEM, err := a.Issue(instance, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	leaf := pair.Leaf
	if diff := cmp.Diff([]string{"registry.example.com", "*.dkr.ecr.eu-west-1.example.com", "localhost"}, leaf.DNSNames); diff != "" {
		t.Error(diff)
	}
	if leaf.IsCA || leaf.Subject.CommonName != instance[0] || !cmp.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) || leaf.SerialNumber.BitLen() < 64 {
		t.Errorf("%+v", leaf)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.PEM())
	for name, want := range map[string]bool{
		"registry.example.com": true, "123456789012.dkr.ecr.eu-west-1.example.com": true, "10.0.1.5": true, "[::1]": true,
		"other.example.com": false, "dkr.ecr.eu-west-1.example.com": false, "a.b.dkr.ecr.eu-west-1.example.com": false, "10.0.1.6": false,
	} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("it is good for clients")
	}
	for name, names := range map[string][]string{"none": nil, "URL": {"https://x"}, "space": {"a b"}, "empty": {""}, "wildcard within": {"a.*.b"}, "long": {strings.Repeat("a.", 200)}} {
		if _, _, err := a.Issue(names, time.Hour); err == nil {
			t.Errorf("%s was issued for", name)
		}
	}
	for _, life := range []time.Duration{0, -1, MaxLife + 1} {
		if _, _, err := a.Issue(instance, life); err == nil {
			t.Errorf("for %s", life)
		}
	}
	late := *a
	late.now = func() time.Time { return a.root.NotAfter.Add(-time.Hour) }
	certPEM, _, err = late.Issue(instance, 48*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(certPEM)
	if leaf, err := x509.ParseCertificate(block.Bytes); err != nil || leaf.NotAfter.After(a.root.NotAfter) {
		t.Errorf("it outlives the root: %v", err)
	}
	late.now = func() time.Time { return a.root.NotAfter.Add(time.Hour) }
	if _, _, err := late.Issue(instance, time.Hour); err == nil {
		t.Error("an authority that has ended still issues")
	}
}

func TestPermit(t *testing.T) {
	a, _ := create(t, "Example.com", "10.0.0.0/16", "fd00::7")
	if _, _, err := a.Issue(instance, time.Hour); err != nil {
		t.Errorf("what is permitted: %v", err)
	}
	for name, want := range map[string]bool{
		"example.com": true, "a.EXAMPLE.com": true, "*.b.example.com": true, "localhost": true, "10.0.9.9": true, "127.0.0.1": true, "::1": true, "fd00::7": true,
		"example.org": false, "badexample.com": false, "10.1.0.1": false, "fd00::8": false,
	} {
		_, _, err := a.Issue([]string{name}, time.Hour)
		if (err == nil) != want || a.Permits(name) != want {
			t.Errorf("%s: %v, Permits %v", name, err, a.Permits(name))
		}
	}
	for _, bad := range []string{"a b", "*.example.com", "10.0.0.0/40", ""} {
		if _, err := Create(t.TempDir(), []string{bad}, time.Now); err == nil {
			t.Errorf("%q was permitted", bad)
		}
	}
}

func TestServing(t *testing.T) {
	a, _ := create(t)
	now := time.Now()
	a.now = func() time.Time { return now }
	s, err := a.Serve([]string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	get := func() *tls.Certificate {
		t.Helper()
		c, err := s.Certificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		if now.Before(c.Leaf.NotBefore) || now.After(c.Leaf.NotAfter) {
			t.Fatalf("at %s it is good from %s to %s", now, c.Leaf.NotBefore, c.Leaf.NotAfter)
		}
		return c
	}
	first := get()
	if now = now.Add(59 * 24 * time.Hour); get() != first {
		t.Error("renewed early")
	}
	now = now.Add(2 * 24 * time.Hour)
	second := get()
	if second == first {
		t.Error("not renewed")
	}
	a.root.NotAfter = now // it can't be renewed any more
	if now = now.Add(61 * 24 * time.Hour); get() != second {
		t.Error("the old one is not kept")
	}
	now = now.Add(30 * 24 * time.Hour)
	if _, err := s.Certificate(nil); err == nil {
		t.Error("served after its end")
	}
}

// TestClients: what is issued is taken by the TLS of others, with and without what the root permits.
func TestClients(t *testing.T) {
	for name, permit := range map[string][]string{"any": nil, "permitted": {"example.com", "10.0.0.0/8"}} {
		t.Run(name, func(t *testing.T) {
			a, dir := create(t, permit...)
			s, err := a.Serve(instance)
			if err != nil {
				t.Fatal(err)
			}
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			srv.Listener = tls.NewListener(srv.Listener, &tls.Config{GetCertificate: s.Certificate})
			srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
			srv.Start()
			defer srv.Close()
			_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
			file := filepath.Join(dir, CertFile)

			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(a.PEM())
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
			defer client.CloseIdleConnections()
			resp, err := client.Get("https://127.0.0.1:" + port)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()

			for _, tt := range []struct {
				args []string
				ok   bool
			}{
				{[]string{"curl", "--silent", "--show-error", "--cacert", file, "https://localhost:" + port}, true},
				{[]string{"curl", "--silent", "--show-error", "--cacert", file, "https://127.0.0.1:" + port}, true},
				{[]string{"curl", "--silent", "--show-error", "--cacert", file, "--connect-to", "::127.0.0.1:" + port, "https://123456789012.dkr.ecr.eu-west-1.example.com"}, true},
				{[]string{"curl", "--silent", "--show-error", "--cacert", file, "--connect-to", "::127.0.0.1:" + port, "https://other.example.com"}, false},
				{[]string{"curl", "--silent", "--show-error", "https://localhost:" + port}, false},
				{[]string{"openssl", "s_client", "-brief", "-verify_return_error", "-x509_strict", "-verify_hostname", "registry.example.com", "-CAfile", file, "-connect", "127.0.0.1:" + port}, true},
				{[]string{"openssl", "s_client", "-brief", "-verify_return_error", "-verify_hostname", "elsewhere.example.com", "-CAfile", file, "-connect", "127.0.0.1:" + port}, false},
			} {
				if _, err := exec.LookPath(tt.args[0]); err != nil {
					t.Logf("SKIPPED: %s is not installed", tt.args[0])
					continue
				}
				if out, err := exec.Command(tt.args[0], tt.args[1:]...).CombinedOutput(); (err == nil) != tt.ok {
					t.Errorf("%v: %v\n%s", tt.args, err, out)
				}
			}
		})
	}
}
