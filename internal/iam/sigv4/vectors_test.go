package sigv4

import (
	"bufio"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	testKeyID  = "AKIDEXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var (
	testScope = Scope{Region: "us-east-1", Services: []string{"other", "service"}}
	testTime  = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
)

// request reads a request as a server does. Lines end in \n, the head in an empty line.
func request(t testing.TB, head, body string) *http.Request {
	t.Helper()
	raw := strings.ReplaceAll(strings.TrimSpace(head), "\n", "\r\n") + "\r\n\r\n" + body
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatalf("read request: %v\n%s", err, raw)
	}
	return r
}

// verify does what a server does with a request.
func verify(v *Verifier, r *http.Request, want Scope) (*Claim, error) {
	c, err := v.Parse(r, want)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	return c, v.Verify(c, testSecret, sha256.Sum256(body))
}

// TestVectors runs the requests of the AWS Signature Version 4 test suite that
// can be sent as they are written (its raw spaces and line folding can't), with
// the signatures it publishes for the header and for the query string.
func TestVectors(t *testing.T) {
	const token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/" +
		"kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+" +
		"scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
	const unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	const form = "Content-Type: application/x-www-form-urlencoded"
	const formHash = "x-amz-content-sha256: 9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"
	for _, tt := range []struct {
		name    string
		request string // the first line
		headers string
		token   string
		signed  string // besides host and x-amz-date
		body    string
		header  string // signature in the header
		query   string // signature in the query string
	}{
		{name: "get-header-key-duplicate", request: "GET /", headers: "My-Header1:value2\nMy-Header1:value2\nMy-Header1:value1", signed: "my-header1",
			header: "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea", query: "3349ee0b81b4b589da0ff28a395c3591e04de515651dd74f298fa992d1507a97"},
		{name: "get-header-value-order", request: "GET /", headers: "My-Header1:value4\nMy-Header1:value1\nMy-Header1:value3\nMy-Header1:value2", signed: "my-header1",
			header: "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01", query: "313720e71ca6202fdcfa9b20f88de01a4eb0638a83c833b1c184359a4eda864e"},
		{name: "get-header-value-trim", request: "GET /", headers: "My-Header1: value1\nMy-Header2: \"a   b   c\"", signed: "my-header1;my-header2",
			header: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736", query: "e7bb0fd515e125e1aec2ecc4c0c17484fb06f6846b927c35e46005dd3df3acd4"},
		{name: "get-relative", request: "GET /example/..",
			header: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", query: "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"},
		{name: "get-relative-relative", request: "GET /example1/example2/../..",
			header: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", query: "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"},
		{name: "get-slash-dot-slash", request: "GET /./",
			header: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", query: "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"},
		{name: "get-slash", request: "GET //",
			header: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", query: "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"},
		{name: "get-slash-pointless-dot", request: "GET /./example",
			header: "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5", query: "35034b1a0bdd969f346975386daf8aedfd4976573b8348cf4f67eaa41c5857de"},
		{name: "get-slashes", request: "GET //example//",
			header: "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84", query: "c1834e8fb0307243711f0f907f6ab7311ed300d87f13792d7ee4da89ab93e082"},
		{name: "get-unreserved", request: "GET /" + unreserved,
			header: "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f", query: "95968482db1b9e0fadef6efc1bd24689f77c77d9ef56919c96a28cc92e0d6005"},
		{name: "get-vanilla", request: "GET /",
			header: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", query: "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"},
		{name: "get-vanilla-empty-query-key", request: "GET /?Param1=value1",
			header: "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb", query: "49096700cbbaa5753443850f40df10f904fc2fdb544dc9512203cc77c471a9de"},
		{name: "get-vanilla-query-order-encoded", request: "GET /?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
			header: "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac", query: "c5f1848ceec943ac2ca68ee720460c23aaae30a2300586597ada94c4a65e4787"},
		{name: "get-vanilla-query-order-key-case", request: "GET /?Param2=value2&Param1=value1",
			header: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500", query: "86012e2c9ad4d77369f5d81c11f75158aae4f895a085212cc6d3f923d300bed5"},
		{name: "get-vanilla-query-unreserved", request: "GET /?" + unreserved + "=" + unreserved,
			header: "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197", query: "8e76a88a7433637b12778d5592799b29ad21ecd6cf6325051c21d86f0acda2bf"},
		{name: "get-vanilla-utf8-query", request: "GET /?ሴ=bar",
			header: "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04", query: "0bdd809b1519ac4f0c1dc3540e2cc46bd0c7f778eda408b2ebf3b913d21ff600"},
		{name: "get-vanilla-with-session-token", request: "GET /", token: "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267", signed: "x-amz-security-token",
			header: "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8", query: "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c"},
		{name: "post-header-key-sort", request: "POST /", headers: "My-Header1:value1", signed: "my-header1",
			header: "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c", query: "c09d07e0d55871f10f2a6d350d994acf6825a3cae70673d7def55616e6119dd7"},
		{name: "post-header-value-case", request: "POST /", headers: "My-Header1:VALUE1", signed: "my-header1",
			header: "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d", query: "0698bc9e4f7f9139065ba2909c0e99da257e8e2a42492a097bcd46d792391fed"},
		{name: "post-sts-header-before", request: "POST /", token: token, signed: "x-amz-security-token",
			header: "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead", query: "46c2e3c63c1dbe7d39f8ada16fe7f001c1f56c5791441565323677f96308871c"},
		{name: "post-vanilla", request: "POST /",
			header: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b", query: "2ce6e6d2e0cf2f9d1b55fafec88cd20574c31dc2e7631979f71ba2310083e95b"},
		{name: "post-vanilla-query", request: "POST /?Param1=value1",
			header: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11", query: "a9ef26247f293bffe40eeff86a0480ba8c14d31503b2e0c3399e3a16bf1a3682"},
		{name: "post-x-www-form-urlencoded", request: "POST /", headers: form + "\nContent-Length:13", signed: "content-length;content-type", body: "Param1=value1",
			header: "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b", query: "89a40deed0f26f9461242825a082d2222717248abc7ab41f552ad84a94ad46e9"},
		{name: "post-x-www-form-urlencoded-parameters", request: "POST /", headers: form + "; charset=utf-8\nContent-Length:13", signed: "content-length;content-type", body: "Param1=value1",
			header: "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422", query: "0dbeb9b026c7b6675f266b8427efec9b4fa8b1f6ef1477d717aea231106eab4d"},
	} {
		head := tt.headers + "\nHost:example.amazonaws.com\n"
		t.Run(tt.name+"/header", func(t *testing.T) {
			head := head + "X-Amz-Date:20150830T123600Z\n"
			signed := []string{"host", "x-amz-date"}
			if tt.body != "" { // where it signs a body, the suite adds its hash
				head += formHash + "\n"
				signed = append(signed, "x-amz-content-sha256")
			}
			if tt.token != "" {
				head += "X-Amz-Security-Token:" + tt.token + "\n"
			}
			head += "Authorization:AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=" +
				sortedList(append(signed, strings.Split(tt.signed, ";")...)) + ", Signature=" + tt.header
			checkVector(t, tt.request+" HTTP/1.1\n"+strings.TrimSpace(head), tt.body, tt.token)
		})
		t.Run(tt.name+"/query", func(t *testing.T) {
			signed := []string{"host"}
			query := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request" +
				"&X-Amz-Date=20150830T123600Z&X-Amz-Expires=3600"
			if tt.token != "" {
				query += "&X-Amz-Security-Token=" + strings.NewReplacer("/", "%2F", "+", "%2B", "=", "%3D").Replace(tt.token)
			} else {
				signed = append(signed, strings.Split(tt.signed, ";")...)
			}
			query += "&X-Amz-SignedHeaders=" + strings.ReplaceAll(sortedList(signed), ";", "%3B") + "&X-Amz-Signature=" + tt.query
			separator := "?"
			if strings.Contains(tt.request, "?") {
				separator = "&"
			}
			checkVector(t, tt.request+separator+query+" HTTP/1.1\n"+strings.TrimSpace(head), tt.body, tt.token)
		})
	}
}

func checkVector(t *testing.T, head, body, token string) {
	t.Helper()
	v := New(func() time.Time { return testTime })
	for range 2 { // the second time with the signing key from the cache
		c, err := verify(v, request(t, head, body), testScope)
		if err != nil {
			t.Fatalf("%v\n%s", err, head)
		}
		if c.AccessKeyID != testKeyID || c.SecurityToken != token || c.Service != "service" || !c.Time.Equal(testTime) {
			t.Errorf("claim of %q, token %q, at %v", c.AccessKeyID, c.SecurityToken, c.Time)
		}
	}
	tampered := request(t, head, body)
	tampered.Method = "PATCH"
	if _, err := verify(v, tampered, testScope); err == nil {
		t.Error("verified with another method")
	}
	if _, err := verify(v, request(t, head, body), Scope{Region: "us-east-1", Services: []string{"other"}}); err == nil {
		t.Error("verified for another service")
	}
}
