package httpx

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestOrigin(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	tests := []struct {
		name      string
		peer      string // default 10.0.0.1:80
		tls       bool
		forwarded bool
		header    []string // name: value
		want      string   // client scheme host
	}{
		{name: "direct", peer: "192.0.2.1:1234", want: "192.0.2.1 http h:5000"},
		{name: "direct TLS", peer: "192.0.2.1:1234", tls: true, want: "192.0.2.1 https h:5000"},
		{name: "direct v6", peer: "[2001:db8::1%eth0]:1", want: "2001:db8::1 http h:5000"},
		{name: "mapped", peer: "[::ffff:192.0.2.1]:1", want: "192.0.2.1 http h:5000"},
		{name: "Unix socket", peer: "@", want: "invalid IP http h:5000"},
		{name: "untrusted peer", peer: "192.0.2.1:1", header: []string{"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil"},
			want: "192.0.2.1 http h:5000"},
		{name: "trusted, says nothing", want: "10.0.0.1 http h:5000"},
		{name: "one proxy", header: []string{"X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: reg.example"},
			want: "192.0.2.7 https reg.example"},
		{name: "TLS behind the proxy only", tls: true, header: []string{"X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http"}, want: "192.0.2.7 http h:5000"},
		{name: "client lies", header: []string{"X-Forwarded-For: 127.0.0.1, 10.9.9.9, 192.0.2.7"}, want: "192.0.2.7 http h:5000"},
		{name: "chain", header: []string{"X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.0.0.3", "X-Forwarded-For: 10.0.0.2"}, want: "192.0.2.7 http h:5000"},
		{name: "all trusted", header: []string{"X-Forwarded-For: 10.1.1.1, 10.0.0.2"}, want: "10.1.1.1 http h:5000"},
		{name: "with port", header: []string{"X-Forwarded-For: 192.0.2.7:99"}, want: "192.0.2.7 http h:5000"},
		{name: "v6", header: []string{"X-Forwarded-For: 2001:db8::7, [fd00::1]:80"}, want: "2001:db8::7 http h:5000"},
		{name: "nonsense stops", header: []string{"X-Forwarded-For: 192.0.2.7, unknown, 10.0.0.2"}, want: "10.0.0.2 http h:5000"},
		{name: "empty", header: []string{"X-Forwarded-For: "}, want: "10.0.0.1 http h:5000"},
		{name: "nearest proto and host", header: []string{"X-Forwarded-Proto: http, https", "X-Forwarded-Host: a, b"}, want: "10.0.0.1 https b"},
		{name: "bad host", header: []string{"X-Forwarded-Host: a/b?c"}, want: "10.0.0.1 http h:5000"},
		{name: "bad proto", header: []string{"X-Forwarded-Proto: gopher"}, want: "10.0.0.1 http h:5000"},
		{name: "other form ignored", header: []string{"Forwarded: for=192.0.2.7"}, want: "10.0.0.1 http h:5000"},
		{name: "too many hops", header: []string{"X-Forwarded-For: 192.0.2.7" + strings.Repeat(", 10.0.0.2", 20)}, want: "10.0.0.2 http h:5000"},

		{name: "RFC 7239", forwarded: true, header: []string{`Forwarded: For="[2001:db8:cafe::17]:4711";proto=https;host=reg.example`}, want: "2001:db8:cafe::17 https reg.example"},
		{name: "RFC 7239 chain", forwarded: true, header: []string{`Forwarded: for=1.1.1.1;host=evil, for=192.0.2.7;proto=https;host=a.example`, `Forwarded: for=10.0.0.2;proto=http;host=b.example`},
			want: "192.0.2.7 https a.example"},
		{name: "RFC 7239 obfuscated", forwarded: true, header: []string{`Forwarded: for=192.0.2.7, for=_hidden, for=10.0.0.2`}, want: "10.0.0.2 http h:5000"},
		{name: "RFC 7239, other form ignored", forwarded: true, header: []string{"X-Forwarded-For: 192.0.2.7"}, want: "10.0.0.1 http h:5000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: "10.0.0.1:80", Host: "h:5000", Header: http.Header{}}
			if tt.peer != "" {
				r.RemoteAddr = tt.peer
			}
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			for _, h := range tt.header {
				name, value, _ := strings.Cut(h, ": ")
				r.Header.Add(name, value)
			}
			p := Proxies{Trusted: trusted, Forwarded: tt.forwarded}
			o := p.origin(r, false)
			scheme, host, _ := strings.Cut(o.BaseURL(), "://")
			if got := o.Client.String() + " " + scheme + " " + host; got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// What proxies say never makes an origin that is none, and without trust it says
// nothing.
func FuzzOrigin(f *testing.F) {
	f.Add("192.0.2.7, 10.0.0.2", "https", "reg.example:5000", false)
	f.Add(`for="[2001:db8::1]:80";proto=https;host=a, for=10.0.0.1`, "", "", true)
	f.Fuzz(func(t *testing.T, hops, proto, host string, forwarded bool) {
		r := &http.Request{RemoteAddr: "10.0.0.1:80", Host: "h", Header: http.Header{
			"X-Forwarded-For": {hops}, "Forwarded": {hops}, "X-Forwarded-Proto": {proto}, "X-Forwarded-Host": {host},
		}}
		p := Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Forwarded: forwarded}
		o := p.origin(r, false)
		if !o.Client.IsValid() || o.Client.Zone() != "" || o.Client.Is4In6() {
			t.Errorf("client %v", o.Client)
		}
		if o.Host == "" || strings.ContainsAny(o.Host, "/\\@?# \t\r\n\"<>") {
			t.Errorf("host %q", o.Host)
		}
		want := Origin{Client: netip.MustParseAddr("10.0.0.1"), Host: "h"}
		if diff := cmp.Diff(want, new(Proxies).origin(r, false), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"":           "",
		"n=1&last=a": "n=1&last=a",
		"X-Amz-Signature=ab&x-amz-security-token=c%2Fd&X-Amz-Date=2": "X-Amz-Signature=REDACTED&x-amz-security-token=REDACTED&X-Amz-Date=2",
		`open "https://h/k?access_token=a": EOF`:                     `open "https://h/k?access_token=REDACTED": EOF`,
		"secret=a&client_secret=b&passwd=c&n=1":                      "secret=REDACTED&client_secret=REDACTED&passwd=REDACTED&n=1",
		"digest=sha256:00&_state=abc":                                "digest=sha256:00&_state=abc",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNewRequestID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newRequestID()
		if len(id) != 26 || seen[id] {
			t.Fatalf("%q", id)
		}
		seen[id] = true
	}
}
