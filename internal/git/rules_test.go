package git

import (
	"net/netip"
	"testing"
)

func TestRuleMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, ref string
		want         bool
	}{
		{"main", "refs/heads/main", true},
		{"main", "refs/heads/feature/main", false},
		{"main", "refs/tags/main", false},
		{"release/*", "refs/heads/release/1", true},
		{"release/*", "refs/heads/release/1/a", false},
		{"release/**", "refs/heads/release/1/a", true},
		{"**", "refs/heads/a/b", true},
		{"refs/tags/v*", "refs/tags/v1", true},
		{"refs/tags/v*", "refs/heads/v1", false},
	} {
		r := Rule{Pattern: c.pattern}
		if got := r.matches(c.ref); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.ref, got)
		}
	}
}

func TestGuardCheck(t *testing.T) {
	for _, c := range []struct {
		host, ip string
		allow    []string
		want     bool
	}{
		{"example.com", "93.184.215.14", nil, true},
		{"example.com", "2606:2800:21f::1", nil, true},
		{"x", "127.0.0.1", nil, false},
		{"x", "169.254.169.254", nil, false},
		{"x", "fd00:ec2::254", nil, false},
		{"x", "fe80::1", nil, false},
		{"x", "::1", nil, false},
		{"x", "::ffff:10.0.0.1", nil, false},
		{"x", "64:ff9b::7f00:1", nil, false},
		{"x", "2002:7f00:1::", nil, false},
		{"x", "10.1.2.3", nil, false},
		{"x", "100.64.0.1", nil, false},
		{"x", "0.0.0.0", nil, false},
		{"x", "224.0.0.1", nil, false},
		{"x", "255.255.255.255", nil, false},
		{"git.internal", "10.1.2.3", []string{"git.internal"}, true},
		{"GIT.internal.", "10.1.2.3", []string{"git.internal"}, true},
		{"other.internal", "10.1.2.3", []string{"git.internal"}, false},
		{"x", "10.1.2.3", []string{"10.1.0.0/16"}, true},
		{"x", "10.2.2.3", []string{"10.1.0.0/16"}, false},
		{"x", "::ffff:10.1.2.3", []string{"10.1.2.3"}, true},
	} {
		g := &guard{allow: c.allow}
		if err := g.check(c.host, netip.MustParseAddr(c.ip)); (err == nil) != c.want {
			t.Errorf("%s at %s with %v: %v", c.host, c.ip, c.allow, err)
		}
	}
}
