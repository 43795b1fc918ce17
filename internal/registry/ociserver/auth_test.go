package ociserver_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/oci"
	"github.com/sekisho/sekisho/internal/registry"
	"github.com/sekisho/sekisho/internal/registry/ociserver"
)

// everything is one request of each kind, for things that are there.
func everything(location string) []call {
	return []call{
		{method: "GET", path: "/v2/"}, {method: "HEAD", path: "/v2/"},
		{method: "GET", path: "/v2/_catalog"}, {method: "GET", path: "/v2/team/app/tags/list"}, {method: "GET", path: "/v2/team/app/referrers/" + sum(small)},
		{method: "GET", path: "/v2/team/app/manifests/v1"}, {method: "HEAD", path: "/v2/team/app/manifests/v1"},
		{method: "PUT", path: "/v2/team/app/manifests/v2", header: fields{"Content-Type": oci.TypeImage}, body: imageOf(oci.TypeImage, small)},
		{method: "DELETE", path: "/v2/team/app/manifests/v1"},
		{method: "GET", path: "/v2/team/app/blobs/" + sum(small)}, {method: "HEAD", path: "/v2/team/app/blobs/" + sum(small)}, {method: "DELETE", path: "/v2/team/app/blobs/" + sum(large)},
		{method: "POST", path: "/v2/team/app/blobs/uploads/"}, {method: "POST", path: "/v2/team/app/blobs/uploads/?digest=" + sum("x"), body: "x"},
		{method: "POST", path: "/v2/team/app/blobs/uploads/?from=from&mount=" + sum(large)},
		{method: "PATCH", path: location, body: "x"}, {method: "GET", path: location}, {method: "HEAD", path: location}, {method: "PUT", path: location + "?digest=" + sum("x"), body: "x"}, {method: "DELETE", path: location},
	}
}

// odd is what is not there, or not like that.
var odd = []call{
	{method: "GET", path: "/v2/team/none/manifests/v1"}, {method: "GET", path: "/v2/team/app/manifests/none"}, {method: "GET", path: "/v2/team/app/blobs/" + sum("none")},
	{method: "GET", path: "/v2/A/manifests/v1"}, {method: "GET", path: "/v2/team/app/manifests/-"}, {method: "GET", path: "/v2/team/app/blobs/sha256:x"},
	{method: "GET", path: "/v2/nothing"}, {method: "GET", path: "/v2/x/y/z"}, {method: "POST", path: "/v2/"}, {method: "BREW", path: "/v2/team/app/manifests/v1"},
	{method: "PATCH", path: "/v2/team/app/blobs/uploads/x", body: "x", header: fields{"Content-Range": "x"}}, {method: "GET", path: "/v2/team/app/tags/list?n=x"},
	{method: "GET", path: "/v2/" + other + "/team/app/manifests/v1"}, {method: "GET", path: "/v2/000000000000/team/app/manifests/v1"}, {method: "HEAD", path: "/v2/team/app/referrers/x"},
}

// scene has a repository with an image and an upload, whose Location it returns.
func scene(t *testing.T, s setup) (*instance, string) {
	in := newInstance(t, s)
	in.repositories("team/app", "from")
	in.push("team/app", small)
	in.push("from", large)
	in.put("team/app", "v1", oci.TypeImage, imageOf(oci.TypeImage, small))
	return in, startUpload(in)
}

// TestAnonymous: who shows no credential, or a wrong one, is told how to log in and nothing else; all requests look alike.
func TestAnonymous(t *testing.T) {
	in, location := scene(t, setup{})
	const nothing = "no credential was sent; log in with an access key and its secret, or with AWS and a token of aws ecr get-login-password"
	for as, says := range map[string]string{
		nobody: nothing, basic("", ""): nothing,
		"Basic " + base64.StdEncoding.EncodeToString([]byte("AWS:wrong")): "the credentials are not valid: the access key or token is wrong, or no longer in use",
	} {
		for _, c := range append(everything(location), odd...) {
			c.as = as
			a := in.expect(c, want{status: 401, code: "UNAUTHORIZED", says: says})
			got := maps.Clone(a.header)
			for _, k := range []string{"Date", "X-Request-Id"} {
				delete(got, k)
			}
			header := http.Header{
				"Content-Length": {fmt.Sprint(len(`{"errors":[{"code":"UNAUTHORIZED","message":""}]}`) + len(says))}, "Content-Type": {"application/json"},
				"Docker-Distribution-Api-Version": {"registry/2.0"}, "Sekisho-Error": {"UNAUTHORIZED: " + says},
				"Www-Authenticate": {`Basic realm="http://` + in.addr + `/",service="ecr.amazonaws.com"`},
			}
			if a.header.Get("Connection") == "close" { // a body that was not read
				header.Set("Connection", "close")
			}
			if diff := cmp.Diff(header, got); diff != "" {
				t.Errorf("%s %s: %s", c.method, c.path, diff)
			}
		}
	}
	in.nothingStaged()
}

// TestRealm: the realm is the address that the client knows, also behind a proxy that is trusted, and so is the account.
func TestRealm(t *testing.T) {
	for name, proxies := range map[string]httpx.Proxies{"trusted": {Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, "not trusted": {}} {
		t.Run(name, func(t *testing.T) {
			in := newInstance(t, setup{proxies: proxies})
			host := other + ".dkr.ecr." + region + "." + domain
			realm, account := "http://localhost/", account
			if name == "trusted" {
				realm, account = "https://"+host+"/", other
			}
			h := fields{"X-Forwarded-Proto": "https", "X-Forwarded-Host": host}
			in.expect(call{method: "GET", path: "/v2/", host: "localhost", as: nobody, header: h},
				want{status: 401, code: "UNAUTHORIZED", header: fields{"Www-Authenticate": `Basic realm="` + realm + `",service="ecr.amazonaws.com"`}})
			in.expect(call{method: "GET", path: "/v2/x1/tags/list", host: "localhost", as: account, header: h}, want{status: 404, code: "NAME_UNKNOWN", says: account})
		})
	}
}

func TestCredentials(t *testing.T) {
	in, _ := scene(t, setup{})
	key := in.keys[account]
	c := root(account)
	c.AccessKeyID = key.ID
	token, expires, err := in.iam.IssueToken(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	second, err := in.iam.CreateRootKey(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	good := basic(key.ID, key.Secret.Reveal())
	bare := strings.TrimPrefix(good, "Basic ")
	try := func(authorization string, w want) {
		t.Helper()
		for _, path := range []string{"/v2/", "/v2/team/app/manifests/v1"} {
			in.expect(call{method: "GET", path: path, as: authorization}, w)
			in.expect(call{method: "HEAD", path: path, as: authorization}, w)
		}
	}
	fine := want{status: 200}
	wrong := want{status: 401, code: "UNAUTHORIZED", says: "not valid", header: fields{"Www-Authenticate": `~Basic realm="http://.*/",service="ecr.amazonaws.com"`}}
	for _, a := range []string{good, "basic " + bare, "BASIC  " + bare, basic("AWS", token)} {
		try(a, fine)
	}
	for _, a := range []string{
		"Basic", "Basic ", "Basic  ", "x", "Bearer " + bare, bare, "Basic" + bare, "Basic\t" + bare, "Basic " + bare + " ,", good + ", " + good, "Basic " + strings.TrimRight(bare, "=") + "!",
		"Basic %%%", "Basic " + base64.StdEncoding.EncodeToString([]byte("no colon")), basic("AWS", ""), basic("AWS", token[:len(token)-1]), basic("AWS", token+"A"),
		basic("AWS", "B"+token[1:]), basic("aws", token), basic("AWS ", token), basic(key.ID, ""), basic(key.ID, "x"), basic(key.ID, key.Secret.Reveal()+"x"),
		basic(key.ID, second.Secret.Reveal()), basic(strings.ToLower(key.ID), key.Secret.Reveal()), basic("AKIA0000000000000000", "x"), basic("\x00", "\xff"), basic(key.ID, token),
		basic("AWS", strings.Repeat("A", 10_000)), "Basic " + strings.Repeat("A", 30_000),
		"AWS4-HMAC-SHA256 Credential=" + key.ID + "/20260101/eu-west-1/ecr/aws4_request, SignedHeaders=host, Signature=00",
	} {
		try(a, wrong)
	}
	try(basic("", ""), want{status: 401, code: "UNAUTHORIZED", says: "no credential was sent"}) // podman's way to send none
	try(basic("AWS", token), fine)                                                              // whatever others tried
	in.clock.advance(time.Until(expires) + time.Minute)
	try(basic("AWS", token), want{status: 403, code: "DENIED", says: "Your authorization token has expired. Reauthenticate and try again.", header: fields{"Www-Authenticate": ""}})
	try(good, fine)

	for _, tc := range []struct {
		do   func() error
		want want
	}{
		{func() error { return in.iam.SetKeyStatus(t.Context(), account, second.ID, iam.KeyInactive) }, wrong},
		{func() error { return in.iam.SetKeyStatus(t.Context(), account, second.ID, iam.KeyActive) }, fine},
		{func() error { return in.iam.DeleteKey(t.Context(), account, second.ID) }, wrong},
	} {
		c.AccessKeyID = second.ID
		token, _, err := in.iam.IssueToken(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := tc.do(); err != nil {
			t.Fatal(err)
		}
		try(basic("AWS", token), tc.want)
		try(basic(second.ID, second.Secret.Reveal()), tc.want)
	}
}

// TestThrottle: who guesses keys is told to wait, and does not lock out those of the same address who need not guess.
func TestThrottle(t *testing.T) {
	in, _ := scene(t, setup{})
	in.expect(call{method: "GET", path: "/v2/"}, want{status: 200})
	for i := range 1000 {
		a := in.do(call{method: "GET", path: "/v2/", as: basic(fmt.Sprintf("AKIA%016d", i), "x")})
		if a.status == http.StatusTooManyRequests {
			in.expect(call{method: "GET", path: "/v2/", as: basic("AKIA9999999999999999", "x")}, want{status: 429, code: "TOOMANYREQUESTS", says: "failed sign-in attempts", header: fields{"Retry-After": "10"}})
			in.expect(call{method: "GET", path: "/v2/"}, want{status: 200})
			return
		}
		if a.status != http.StatusUnauthorized {
			t.Fatalf("%d: status %d", i, a.status)
		}
	}
	t.Error("a thousand keys could be tried")
}

// TestDenied: who may not do something is told what, on what and why, and not whether it is there.
func TestDenied(t *testing.T) {
	in, location := scene(t, setup{})
	for _, repo := range []string{"team/app", "team/none"} {
		for _, tc := range []struct{ method, path, action string }{
			{"GET", "/manifests/v1", "BatchGetImage"}, {"GET", "/manifests/none", "BatchGetImage"}, {"HEAD", "/manifests/v1", "BatchGetImage"},
			{"GET", "/blobs/" + sum(small), "GetDownloadUrlForLayer"}, {"HEAD", "/blobs/" + sum(small), "BatchCheckLayerAvailability"},
			{"GET", "/tags/list", "ListImages"}, {"POST", "/blobs/uploads/", "InitiateLayerUpload"},
			{"PATCH", location[strings.Index(location, "/blobs/"):], "UploadLayerPart"}, {"PATCH", "/blobs/uploads/x", "UploadLayerPart"}, {"DELETE", "/manifests/v1", "BatchDeleteImage"},
		} {
			a := in.expect(call{method: tc.method, path: "/v2/" + account + "/" + repo + tc.path, as: other}, want{status: 403, code: "DENIED", header: fields{"Www-Authenticate": ""}})
			want := "User: arn:aws:iam::" + other + ":root is not authorized to perform: ecr:" + tc.action + " on resource: arn:aws:ecr:" + region + ":" + account + ":repository/" + repo +
				" because no identity-based policy allows the ecr:" + tc.action + " action; more: sekisho why " + a.header.Get("X-Request-Id")
			if a.message != want {
				t.Errorf("%s %s: %s, want %s", tc.method, tc.path, a.message, want)
			}
		}
	}
	in.expect(call{method: "GET", path: "/v2/", as: other}, want{status: 200})
}

// TestLinks: a signed link is good for one blob, to read, for an hour, as long as its principal may read it.
func TestLinks(t *testing.T) {
	in, location := scene(t, setup{})
	repo, d := registry.Repo{Account: account, Name: "team/app"}, digest.Digest(sum(small))
	sign := func(account string) string {
		c := root(account)
		c.AccessKeyID = in.keys[account].ID
		return in.links.Sign(c, repo, d)
	}
	signed := sign(account)
	path, query, _ := strings.Cut(signed, "?")
	fine := want{status: 200}
	get := func(path string, w want) {
		t.Helper()
		in.expect(call{method: "GET", path: path, as: nobody}, w)
		in.expect(call{method: "HEAD", path: path, as: nobody}, w)
	}
	get(signed, fine)
	in.expect(call{method: "GET", path: signed, as: nobody}, want{status: 200, body: &small})
	in.expect(call{method: "GET", path: signed, as: "Basic x"}, want{status: 401, code: "UNAUTHORIZED"}) // a credential counts for more
	unauthorized := want{status: 401, code: "UNAUTHORIZED"}
	changed := func(key, value string) string {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		q.Set(key, value)
		return path + "?" + q.Encode()
	}
	for _, p := range []string{
		path, strings.Replace(signed, sum(small), sum(large), 1), strings.Replace(signed, "team/app", "from", 1), strings.Replace(signed, account+"/", "", 1),
		strings.Replace(signed, "/blobs/", "/manifests/", 1), changed("Sekisho-Signature", ""), changed("Sekisho-Signature", "x"), changed("Sekisho-Expires", "99999999999"), changed("Sekisho-Expires", "x"),
		changed("Sekisho-Access-Key", in.keys[other].ID), "/v2/?" + query, "/v2/_catalog?" + query,
	} {
		get(p, unauthorized)
	}
	for _, c := range everything(location) {
		if c.method != "GET" && c.method != "HEAD" {
			c.as, c.path = nobody, strings.Split(c.path, "?")[0]+"?"+query
			in.expect(c, unauthorized)
		}
	}
	in.expect(call{method: "DELETE", path: signed, as: nobody}, unauthorized)
	get(sign(other), want{status: 403, code: "DENIED", says: other})
	now := *in.links
	in.links.Key, in.links.OldKeys = bytes.Repeat([]byte("n"), 32), [][]byte{now.Key} // the key is being replaced
	get(signed, fine)
	get(sign(account), fine)
	in.links.OldKeys = nil
	get(signed, unauthorized)
	*in.links = now
	get(in.links.Sign(iam.SystemCaller(account, "x"), repo, d), unauthorized)
	if err := in.iam.SetKeyStatus(t.Context(), account, in.keys[account].ID, iam.KeyInactive); err != nil {
		t.Fatal(err)
	}
	get(signed, unauthorized)
	if err := in.iam.SetKeyStatus(t.Context(), account, in.keys[account].ID, iam.KeyActive); err != nil {
		t.Fatal(err)
	}
	in.clock.advance(ociserver.LinkExpiry - time.Minute)
	get(signed, fine)
	in.clock.advance(2 * time.Minute)
	get(signed, unauthorized)
}
