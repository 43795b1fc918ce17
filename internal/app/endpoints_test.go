package app_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/pires/go-proxyproto"

	"github.com/sekisho/sekisho/internal/audit"
)

const (
	buildID  = "vpce-0123456789abcdef0" // of build hosts: has an address of its own, and all services
	pullID   = "vpce-00000002"          // for pulling: a load balancer names it, and only the registry is there
	consoles = "vpce-00000003"          // only the console, which is not there yet
)

// entrances is a server with an ordinary address and private endpoints.
type entrances struct {
	*whole
	ordinary, balanced, build, console string
}

func serveEntrances(t *testing.T) *entrances {
	w := serveWhole(t, filepath.Join(t.TempDir(), "data"),
		"SEKISHO_PROXY_PROTOCOL_LISTEN=127.0.0.1:0", "SEKISHO_PROXY_PROTOCOL_TRUSTED=127.0.0.1", `SEKISHO_ENDPOINTS=[
			{"id": "`+buildID+`", "vpc": "vpc-00000001", "listen": ["127.0.0.1:0"]},
			{"id": "`+pullID+`", "services": ["ecr.dkr", "sts"]},
			{"id": "`+consoles+`", "listen": ["127.0.0.1:0"], "services": ["console"]}]`)
	text, err := os.ReadFile(filepath.Join(w.dir, "address"))
	if err != nil {
		t.Fatal(err)
	}
	addrs := strings.Fields(string(text))
	if len(addrs) != 4 {
		t.Fatal(addrs)
	}
	return &entrances{w, addrs[0], addrs[1], addrs[2], addrs[3]}
}

// through makes a PROXY header about a client at 198.51.100.7 that came through an endpoint, or through none.
func through(t *testing.T, id string) string {
	t.Helper()
	h := &proxyproto.Header{
		Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv4,
		SourceAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 4000}, DestinationAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 443},
	}
	if id != "" {
		if err := h.SetTLVs([]proxyproto.TLV{{Type: 0xEA, Value: append([]byte{1}, id...)}}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ask sends a request to an address, over a connection that begins with header.
func (w *entrances) ask(addr, header string, r *http.Request) (*http.Response, string) {
	w.t.Helper()
	r.URL.Scheme, r.URL.Host = "http", addr
	transport := &http.Transport{DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
		c, err := net.Dial(network, addr)
		if err == nil {
			_, err = io.WriteString(c, header)
		}
		return c, err
	}}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(body)
}

func (w *entrances) request(method, path string) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, "http://h"+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.SetBasicAuth(w.user, w.pass)
	return r
}

// signed is a call of an AWS API.
func (w *entrances) signed(addr, service, target, contentType, body string) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), "POST", "http://"+addr+"/", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	if target != "" {
		r.Header.Set("X-Amz-Target", target)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(w.t.Context(), aws.Credentials{AccessKeyID: w.user, SecretAccessKey: w.pass}, r, hex.EncodeToString(sum[:]), service, "eu-west-1", time.Now()); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// TestEndpoints: each way in leads to the services that it has, and says so in the protocol of the one that it hasn't.
func TestEndpoints(t *testing.T) {
	w := serveEntrances(t)
	list := func(addr string) *http.Request { return w.request("GET", "/v2/_catalog") }
	head := func(addr string) *http.Request { return w.request("HEAD", "/v2/") }
	describe := func(addr string) *http.Request {
		return w.signed(addr, "ecr", "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories", "application/x-amz-json-1.1", "{}")
	}
	whoami := func(addr string) *http.Request {
		return w.signed(addr, "sts", "", "application/x-www-form-urlencoded; charset=utf-8", "Action=GetCallerIdentity&Version=2011-06-15")
	}
	page := func(path string) func(string) *http.Request {
		return func(string) *http.Request { return w.request("GET", path) }
	}
	const (
		unknown = "This server has no private endpoint vpce-0dead0000."
		no      = "The private endpoint " + consoles + " does not lead to the service "
		noAPI   = "The private endpoint " + pullID + " does not lead to the service ecr.api."
	)
	for _, tt := range []struct {
		name, addr, header string
		request            func(addr string) *http.Request
		status             int
		says               string
	}{
		{"ordinary", w.ordinary, "", list, 200, "repositories"},
		{"ordinary", w.ordinary, "", describe, 200, "repositories"},
		{"ordinary", w.ordinary, "", whoami, 200, w.in.Account},
		{"ordinary", w.ordinary, "", page("/metrics"), 200, "sekisho"},
		{"balanced", w.balanced, through(t, ""), list, 200, "repositories"},
		{"balanced", w.balanced, through(t, ""), describe, 200, "repositories"},
		{"balanced", w.balanced, through(t, ""), page("/metrics"), 404, ""}, // metrics.allow doesn't have 198.51.100.7
		{"build", w.build, "", list, 200, "repositories"},
		{"build", w.build, "", describe, 200, "repositories"},
		{"build", w.build, "", whoami, 200, w.in.Account},
		{"build", w.build, "", page("/healthz"), 200, "ok"},
		{"build", w.build, "", page("/metrics"), 404, ""},
		{"pull", w.balanced, through(t, pullID), list, 200, "repositories"},
		{"pull", w.balanced, through(t, pullID), whoami, 200, w.in.Account},
		{"pull", w.balanced, through(t, pullID), describe, 400, `"message":"` + noAPI},
		{"pull", w.balanced, through(t, buildID), describe, 200, "repositories"},
		{"console", w.console, "", list, 403, `{"errors":[{"code":"DENIED","message":"` + no + `ecr.dkr."`},
		{"console", w.console, "", head, 403, ""},
		{"console", w.console, "", describe, 400, `"message":"` + no + `ecr.api."`},
		{"console", w.console, "", whoami, 403, "<Code>AccessDenied</Code><Message>" + no + "sts.</Message>"},
		{"console", w.console, "", page("/readyz"), 200, "ok"},
		{"unknown", w.balanced, through(t, "vpce-0dead0000"), list, 403, unknown},
		{"unknown", w.balanced, through(t, "vpce-0dead0000"), describe, 400, unknown},
		{"unknown", w.balanced, through(t, "vpce-0dead0000"), whoami, 403, unknown},
		{"unknown", w.balanced, through(t, "vpce-0dead0000"), page("/healthz"), 403, unknown},
		{"unknown", w.balanced, through(t, "vpce-0dead0000"), page("/"), 403, unknown},
	} {
		r := tt.request(tt.addr)
		resp, body := w.ask(tt.addr, tt.header, r)
		if resp.StatusCode != tt.status || !strings.Contains(strings.NewReplacer("\n", "", "  ", "", `": "`, `":"`).Replace(body), tt.says) {
			t.Errorf("%s: %s %s %s: %d %s, want %d %s", tt.name, r.Method, r.URL.Path, r.Header.Get("X-Amz-Target"), resp.StatusCode, body, tt.status, tt.says)
		}
		if r.Method == "HEAD" && resp.Header.Get("Sekisho-Error") != "DENIED: "+no+"ecr.dkr." {
			t.Errorf("HEAD: %v", resp.Header)
		}
	}
}

// TestEndpointIsRecorded: where a request came from is in the log and in the audit record, as the listener knows it and not
// as the client says.
func TestEndpointIsRecorded(t *testing.T) {
	w := serveEntrances(t)
	lie := func(r *http.Request) *http.Request {
		for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Amzn-Vpce-Id", "X-Amz-Source-Vpce", "Endpoint"} {
			r.Header.Set(name, buildID)
		}
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		return r
	}
	type place struct{ Client, Endpoint string }
	want := []place{{"127.0.0.1", ""}, {"127.0.0.1", buildID}, {"198.51.100.7", ""}, {"198.51.100.7", pullID}, {"127.0.0.1", consoles}}
	for i, ask := range []struct{ addr, header string }{
		{w.ordinary, ""}, {w.build, ""}, {w.balanced, through(t, "")}, {w.balanced, through(t, pullID)}, {w.console, ""},
	} {
		resp, body := w.ask(ask.addr, ask.header, lie(w.request("GET", "/v2/_catalog")))
		if (resp.StatusCode == 200) != (i < 4) {
			t.Errorf("%s: %d %s", ask.addr, resp.StatusCode, body)
		}
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	var logged []place
	for line := range strings.Lines(w.log.String()) {
		var e struct {
			Msg, Client, Endpoint string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Msg == "request" {
			logged = append(logged, place{e.Client, e.Endpoint})
		}
	}
	if diff := cmp.Diff(want, logged); diff != "" {
		t.Errorf("logged: %s", diff)
	}
	again := serveWhole(t, w.dir)
	var recorded []place
	entries, err := audit.Find(t.Context(), again.in.DB, audit.Filter{Principal: "arn:aws:iam::" + w.in.Account + ":root"}, audit.Page{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		recorded = append(recorded, place{e.Source.String(), e.Endpoint})
		if wantReason := "The private endpoint " + consoles + " does not lead to the service ecr.dkr."; (e.Endpoint == consoles) != (e.Reason == wantReason) || e.Allowed == (e.Endpoint == consoles) {
			t.Errorf("%+v", e)
		}
	}
	for _, p := range want {
		if !slices.Contains(recorded, p) {
			t.Errorf("no entry of %v in %v", p, recorded)
		}
	}
}

// TestOnlyThisNetwork: a repository that is there for the office and for what comes through one endpoint, and for nobody
// else with the same credentials, its owner included.
func TestOnlyThisNetwork(t *testing.T) {
	w := serveEntrances(t)
	w.must(201, "POST", "/v2/team/app/blobs/uploads/?digest="+sum([]byte("x")), "", "x")
	document := `{"Version":"2012-10-17","Statement":[{"Sid":"OfficeOrBuildNetwork","Effect":"Deny","Principal":"*","Action":"ecr:*","Condition":{
		"NotIpAddressIfExists":{"aws:SourceIp":["198.51.100.0/24"]},"StringNotEqualsIfExists":{"aws:SourceVpce":"` + buildID + `"}}}]}`
	body, err := json.Marshal(map[string]string{"repositoryName": "team/app", "policyText": document})
	if err != nil {
		t.Fatal(err)
	}
	set := func(addr string) *http.Request {
		return w.signed(addr, "ecr", "AmazonEC2ContainerRegistry_V20150921.SetRepositoryPolicy", "application/x-amz-json-1.1", string(body))
	}
	if resp, text := w.ask(w.ordinary, "", set(w.ordinary)); resp.StatusCode != 400 || !strings.Contains(text, "InvalidParameterException") {
		t.Errorf("a policy that locks its author out: %d %s", resp.StatusCode, text)
	}
	if resp, text := w.ask(w.build, "", set(w.build)); resp.StatusCode != 200 {
		t.Fatalf("the policy: %d %s", resp.StatusCode, text)
	}
	const upload, list = "POST /v2/team/app/blobs/uploads/", "GET /v2/team/app/tags/list"
	for _, tt := range []struct {
		name, addr, header, request string
		status                      int
	}{
		{"build network", w.build, "", upload, 202},
		{"build network, by the load balancer", w.balanced, through(t, buildID), upload, 202},
		{"office", w.balanced, through(t, ""), list, 200},
		{"elsewhere", w.ordinary, "", upload, 403},
		{"elsewhere", w.ordinary, "", list, 403},
		{"the office's address in another network", w.balanced, through(t, pullID), list, 403},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		r := w.request(method, path)
		r.Header.Set("X-Forwarded-For", "198.51.100.7") // whoever says so
		resp, text := w.ask(tt.addr, tt.header, r)
		if resp.StatusCode != tt.status || tt.status == 403 && (!strings.Contains(text, "with an explicit deny in a resource-based policy") || !strings.Contains(text, "OfficeOrBuildNetwork")) {
			t.Errorf("%s: %s: %d %s, want %d", tt.name, tt.request, resp.StatusCode, text, tt.status)
		}
	}
}

// TestEndpointPolicy: what the policy of an endpoint does not allow is refused to everybody who comes through it, and to
// nobody else.
func TestEndpointPolicy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(`{"Statement":{"Effect":"Allow","Principal":"*","Action":["ecr:ListImages","ecr:BatchGetImage"],"Resource":"*"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	w := serveWhole(t, filepath.Join(t.TempDir(), "data"), `SEKISHO_ENDPOINTS=[{"id": "`+buildID+`", "listen": ["127.0.0.1:0"], "policy": "`+file+`"}]`)
	text, err := os.ReadFile(filepath.Join(w.dir, "address"))
	if err != nil {
		t.Fatal(err)
	}
	addrs := strings.Fields(string(text))
	in := &entrances{whole: w, ordinary: addrs[0], build: addrs[1]}
	w.must(202, "POST", "/v2/team/app/blobs/uploads/", "", "")
	if resp, text := in.ask(in.build, "", in.request("GET", "/v2/team/app/tags/list")); resp.StatusCode != 200 {
		t.Errorf("what it allows: %d %s", resp.StatusCode, text)
	}
	resp, body := in.ask(in.build, "", in.request("POST", "/v2/team/app/blobs/uploads/"))
	if resp.StatusCode != 403 || !strings.Contains(body, "because no VPC endpoint policy allows the ecr:InitiateLayerUpload action") {
		t.Errorf("what it does not: %d %s", resp.StatusCode, body)
	}
}
