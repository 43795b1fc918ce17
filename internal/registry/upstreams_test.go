package registry

import (
	"net/url"
	"strings"
	"testing"
)

func TestUpstreamKind(t *testing.T) {
	for _, tc := range []struct {
		url, kind string
		ok        bool
	}{
		{"444455556666.dkr.ecr.us-east-1.amazonaws.com", "ecr", true},
		{"444455556666.dkr.ecr.cn-north-1.amazonaws.com.cn", "ecr", true},
		{"444455556666.dkr-ecr-fips.us-east-1.on.aws", "ecr", true},
		{"public.ecr.aws", "ecr-public", true},
		{"quay.io", "quay", true},
		{"registry.k8s.io", "k8s", true},
		{"registry-1.docker.io", "docker-hub", true},
		{"ghcr.io", "github-container-registry", true},
		{"mine.azurecr.io", "azure-container-registry", true},
		{"registry.gitlab.com", "gitlab-container-registry", true},
		{"cgr.dev", "chainguard", true},
		{"quay.io.example.com", "", true},
		{"https://quay.io", "", true},
		{"localhost:5000", "", true},
		{"http://10.0.0.1:5000/v2", "", true},
		{"localhost", "", false},
		{"", "", false},
		{"https://", "", false},
		{"https://a b.example.com", "", false},
		{"https://example.com?x=y", "", false},
		{"https://example.com/#x", "", false},
		{"https://me@example.com", "", false},
		{"file:///etc/passwd", "", false},
		{"example.com/path", "", false},
		{strings.Repeat("a", 3000) + ".example.com", "", false},
	} {
		u := Upstream{URL: tc.url, Access: Access{CredentialARN: "arn"}}
		if err := u.resolve(); (err == nil) != tc.ok || u.Kind != tc.kind {
			t.Errorf("%.50q: kind %q, %v", tc.url, u.Kind, err)
		}
	}
}

func FuzzUpstream(f *testing.F) {
	for _, s := range []string{"quay.io", "https://example.com:8443/v2/", "http://me:you@example.com", "a.b:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u := Upstream{URL: s}
		if u.resolve() != nil {
			return
		}
		full := s
		if !strings.Contains(s, "://") {
			full = "https://" + s
		}
		p, err := url.Parse(full)
		if err != nil || p.Host == "" || p.User != nil || p.RawQuery != "" || (p.Scheme != "https" && p.Scheme != "http") {
			t.Errorf("%q was accepted: %v, %+v", s, err, p)
		}
	})
}
