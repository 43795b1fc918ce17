package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCA(t *testing.T) {
	dir := t.TempDir()
	env := []string{"SEKISHO_DATA=" + filepath.Join(dir, "data"), "SEKISHO_PUBLIC_URL=https://registry.example.com:8443", "SEKISHO_DOMAIN=example.com",
		"SEKISHO_REGION=eu-west-1", "SEKISHO_LISTEN=10.0.0.5:443,internal.example.com:443",
		`SEKISHO_ENDPOINTS=[{"id":"vpce-00000001","listen":["10.1.0.5:443"]}]`, "SEKISHO_TLS_AUTO=true", "SEKISHO_TLS_NAMES=build.example.com"}
	sekisho(t, env, "", "ca", "issue").want(t, 1, "there is no authority in "+filepath.Join(dir, "data", "ca"))
	r := sekisho(t, env, "", "ca", "init", "-o", "json")
	r.want(t, 0, "")
	var made struct{ File, Subject, SHA256 string }
	if err := json.Unmarshal([]byte(r.stdout), &made); err != nil || made.File != filepath.Join(dir, "data", "ca", "ca.crt") || len(made.SHA256) != 64 || strings.Contains(r.stdout, "PRIVATE") {
		t.Errorf("%s: %v", r.stdout, err)
	}
	sekisho(t, env, "", "ca", "init").want(t, 1, "there is an authority already")
	shown := sekisho(t, env, "", "ca", "show")
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(shown.stdout)) || strings.Contains(shown.stdout, "PRIVATE") {
		t.Fatal(shown)
	}

	out := filepath.Join(dir, "made", "out")
	r = sekisho(t, env, "", "ca", "issue", "--out", out, "-o", "json")
	r.want(t, 0, "")
	if strings.Contains(r.stdout+r.stderr, "PRIVATE") {
		t.Errorf("a key was printed: %s", r.stdout)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(out, "tls.crt"), filepath.Join(out, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(out, "tls.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	want := []string{"registry.example.com", "*.dkr.ecr.eu-west-1.example.com", "api.ecr.eu-west-1.example.com", "ecr.eu-west-1.example.com", "sts.eu-west-1.example.com",
		"secretsmanager.eu-west-1.example.com", "sts.example.com", "iam.example.com", "build.example.com", "internal.example.com", "localhost"}
	if diff := cmp.Diff(want, pair.Leaf.DNSNames); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"123456789012.dkr.ecr.eu-west-1.example.com", "10.0.0.5", "10.1.0.5", "127.0.0.1", "::1", "localhost"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	sekisho(t, env, "", "ca", "issue", "--out", out).want(t, 1, "tls.crt is there already; --force replaces it")
	sekisho(t, env, "", "ca", "issue", "--out", out, "--force", "--days", "397", "Proxy.example.org").want(t, 0, "")
	pair, err = tls.LoadX509KeyPair(filepath.Join(out, "tls.crt"), filepath.Join(out, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	if days := time.Until(pair.Leaf.NotAfter).Hours() / 24; !cmp.Equal(pair.Leaf.DNSNames, []string{"proxy.example.org"}) || days < 396 || days > 397 {
		t.Errorf("%v for %v days", pair.Leaf.DNSNames, days)
	}
	sekisho(t, env, "", "ca", "issue", "--out", dir, "not a name").want(t, 1, `"not a name" is neither a host name nor an address`)

	limited := filepath.Join(dir, "limited")
	r = sekisho(t, env, "", "ca", "init", "--dir", limited, "--permit", "example.com,10.0.0.0/8")
	r.want(t, 0, "")
	if !strings.Contains(r.stdout, "permitted") || !strings.Contains(r.stdout, "10.0.0.0/8") {
		t.Error(r.stdout)
	}
	sekisho(t, env, "", "ca", "issue", "--dir", limited, "--out", limited).want(t, 0, "")
	sekisho(t, env, "", "ca", "issue", "--dir", limited, "--out", limited, "--force", "example.org").want(t, 1, "not permitted")
}

// TestAuto: a server with a certificate of its own is usable at once with what the commands print.
func TestAuto(t *testing.T) {
	in := start(t, "--set", "tls.auto=true")
	env := append(in.env, "SEKISHO_TLS_AUTO=true", "DOCKER_CONFIG="+t.TempDir())
	r := sekisho(t, env, "", "env")
	r.want(t, 0, "")
	root := filepath.Join(in.data, "ca", "ca.crt")
	if !strings.Contains(r.stdout, "export AWS_ENDPOINT_URL=https://"+in.addr+"\n") || !strings.Contains(r.stdout, "export AWS_CA_BUNDLE="+root+"\n") {
		t.Error(r.stdout)
	}
	sekisho(t, env, "", "login").want(t, 0, "is under a private authority: unless this machine trusts it, copy "+root+" to /etc/docker/certs.d/"+in.addr+"/ca.crt")
	sekisho(t, in.env, "", "login", "--username", "a", "--password-stdin", "https://"+in.addr).want(t, 2, "no password")
}

// TestEndpointPolicyIsChecked: what is wrong in the policy of an endpoint is found with the configuration, at its line.
func TestEndpointPolicyIsChecked(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sekisho.yaml")
	policy := filepath.Join(dir, "policy.json")
	text := "endpoints:\n- id: vpce-00000001\n  listen: [':1']\n  policy: " + policy + "\n"
	for path, text := range map[string]string{file: text, policy: `{"Statement": [{"Effect": "Alow", "Principal": "*", "Action": "*", "Resource": "*"}]}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := sekisho(t, nil, "", "config", "check", "--config", file)
	r.want(t, 2, file+":4: endpoints[0].policy: "+policy+": line 1, column ")
	if err := os.WriteFile(policy, []byte(`{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	sekisho(t, nil, "", "config", "check", "--config", file).want(t, 0, "")
	if err := os.Remove(policy); err != nil {
		t.Fatal(err)
	}
	sekisho(t, nil, "", "config", "check", "--config", file).want(t, 2, "it is neither a JSON object nor the name of a file")
}
