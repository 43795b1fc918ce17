package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func sortedList(names []string) string {
	names = slices.DeleteFunc(names, func(s string) bool { return s == "" })
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ";")
}

// signed returns the head of a request that is signed as its parts say, in
// order, with whatever is wrong with them.
type signed struct {
	method, target string
	headers        []string // "Name: value"
	signs          string   // SignedHeaders
	credential     string
	date           string
	query          bool
	expires        string
	body           string
}

func valid() signed {
	return signed{
		method:     "POST",
		target:     "/",
		headers:    []string{"Host: h", "X-Amz-Date: 20150830T123600Z", "X-Amz-Target: T.Op"},
		signs:      "host;x-amz-date;x-amz-target",
		credential: "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request",
		date:       "20150830T123600Z",
		body:       "{}",
	}
}

func validQuery() signed {
	s := valid()
	s.query = true
	s.headers = []string{"Host: h", "X-Amz-Target: T.Op"}
	s.signs = "host;x-amz-target"
	s.expires = "60"
	return s
}

// build returns the request with a signature that is right for it.
func (s signed) build(t testing.TB) *http.Request {
	t.Helper()
	headers := append(slices.Clone(s.headers), fmt.Sprintf("Content-Length: %d", len(s.body)))
	target := s.target
	if s.query {
		target += "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + strings.ReplaceAll(s.credential, "/", "%2F") +
			"&X-Amz-Date=" + s.date + "&X-Amz-SignedHeaders=" + strings.ReplaceAll(s.signs, ";", "%3B")
		if s.expires != "" {
			target += "&X-Amz-Expires=" + s.expires
		}
	}
	r := request(t, s.method+" "+target+" HTTP/1.1\n"+strings.Join(headers, "\n"), s.body)
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256([]byte(s.body))
	canonical := canonicalRequest(r, query, strings.Split(s.signs, ";")) + hex.EncodeToString(hash[:])
	sum := sha256.Sum256([]byte(canonical))
	_, scope, _ := strings.Cut(s.credential, "/")
	signature := hex.EncodeToString(mac(deriveKey(testSecret, scope),
		"AWS4-HMAC-SHA256\n"+s.date+"\n"+scope+"\n"+hex.EncodeToString(sum[:])))
	if s.query {
		r.URL.RawQuery += "&X-Amz-Signature=" + signature
	} else {
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s.credential+", SignedHeaders="+s.signs+", Signature="+signature)
	}
	return r
}

func TestVerify(t *testing.T) {
	const mismatch = "The request signature we calculated does not match"
	for _, tt := range []struct {
		name string
		edit func(*signed)       // before signing
		mess func(*http.Request) // after signing
		at   time.Duration       // after the signature's time
		kind Kind                // zero: verified
		text string              // part of the message
	}{
		{name: "valid"},
		{name: "valid with a hash of the body", edit: func(s *signed) {
			s.headers = append(s.headers, "X-Amz-Content-Sha256: 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
			s.signs = "host;x-amz-content-sha256;x-amz-date;x-amz-target"
		}},
		{name: "valid with Date instead of X-Amz-Date", edit: func(s *signed) {
			s.headers = []string{"Host: h", "Date: Sun, 30 Aug 2015 12:36:00 GMT"}
			s.signs = "date;host"
		}},
		{name: "valid without spaces", mess: func(r *http.Request) {
			r.Header.Set("Authorization", strings.ReplaceAll(r.Header.Get("Authorization"), ", ", ","))
		}},
		{name: "valid at the earliest", at: -skew},
		{name: "valid at the latest", at: skew},

		{name: "expired", at: skew + time.Second, kind: Invalid,
			text: "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)"},
		{name: "of the future", at: -skew - time.Second, kind: Invalid,
			text: "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T122059Z + 15 min.)"},

		{name: "unsigned", mess: func(r *http.Request) { r.Header.Del("Authorization") }, kind: Missing, text: "Missing Authentication Token"},
		{name: "Basic", mess: func(r *http.Request) { r.Header.Set("Authorization", "Basic QVdTOng=") }, kind: Missing},
		{name: "empty", mess: func(r *http.Request) { r.Header.Set("Authorization", "") }, kind: Missing},
		{name: "SigV2", mess: func(r *http.Request) { r.Header.Set("Authorization", "AWS AKIDEXAMPLE:sig=") }, kind: Missing},
		{name: "SigV4a", mess: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", 1))
		}, kind: Incomplete, text: "Signature Version 4a"},
		{name: "other algorithm", mess: func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "SHA256", "SHA1", 1))
		}, kind: Incomplete, text: "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1'"},
		{name: "two headers", mess: func(r *http.Request) { r.Header.Add("Authorization", "Basic x") }, kind: Incomplete, text: "more than one 'Authorization'"},
		{name: "oversized", mess: func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 "+strings.Repeat("a", maxAuthorization))
		}, kind: Incomplete, text: "longer than 4096 bytes"},
		{name: "only the algorithm", mess: func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256") }, kind: Incomplete, text: "missing equal-sign"},
		{name: "nothing but a credential", mess: func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x")
			r.Header.Del("X-Amz-Date")
		}, kind: Incomplete, text: "requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. " +
			"Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."},
		{name: "parameter twice", mess: func(r *http.Request) {
			r.Header.Set("Authorization", r.Header.Get("Authorization")+", Signature=00")
		}, kind: Incomplete, text: "more than one 'Signature'"},
		{name: "unknown parameter", mess: func(r *http.Request) {
			r.Header.Set("Authorization", r.Header.Get("Authorization")+", Extra=00")
		}, kind: Incomplete, text: "'Extra' is not a parameter"},

		{name: "no time", mess: func(r *http.Request) { r.Header.Del("X-Amz-Date") }, kind: Incomplete, text: "requires existence of either"},
		{name: "two times", mess: func(r *http.Request) { r.Header.Add("X-Amz-Date", "20150830T123600Z") }, kind: Incomplete, text: "more than one 'X-Amz-Date'"},
		{name: "time in words", mess: func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") }, kind: Incomplete, text: "ISO-8601 'basic format'. Got 'yesterday'"},
		{name: "time with a fraction", mess: func(r *http.Request) { r.Header.Set("X-Amz-Date", "20150830T123600.5Z") }, kind: Incomplete, text: "ISO-8601"},
		{name: "impossible time", mess: func(r *http.Request) { r.Header.Set("X-Amz-Date", "20150230T123600Z") }, kind: Incomplete, text: "ISO-8601"},
		{name: "another time", mess: func(r *http.Request) { r.Header.Set("X-Amz-Date", "20150830T123601Z") }, kind: Invalid, text: mismatch},

		{name: "credential of one part", edit: func(s *signed) { s.credential = "AKIDEXAMPLE" }, kind: Incomplete, text: "exactly 5 slash-delimited elements"},
		{name: "credential of six parts", edit: func(s *signed) { s.credential = "a/" + s.credential }, kind: Incomplete, text: "exactly 5"},
		{name: "credential without a key", edit: func(s *signed) { s.credential = "/20150830/us-east-1/service/aws4_request" }, kind: Incomplete, text: "exactly 5"},
		{name: "oversized credential", edit: func(s *signed) {
			s.credential = strings.Repeat("A", 200) + "/20150830/us-east-1/service/aws4_request"
		}, kind: Incomplete, text: "exactly 5"},
		{name: "scope of another day", edit: func(s *signed) { s.credential = "AKIDEXAMPLE/20150831/us-east-1/service/aws4_request" }, kind: Invalid,
			text: "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150831' != '20150830', from '20150830T123600Z'."},
		{name: "scope of another region", edit: func(s *signed) { s.credential = "AKIDEXAMPLE/20150830/eu-west-1/service/aws4_request" }, kind: Invalid,
			text: "Credential should be scoped to a valid region, not 'eu-west-1'."},
		{name: "scope of another service", edit: func(s *signed) { s.credential = "AKIDEXAMPLE/20150830/us-east-1/s3/aws4_request" }, kind: Invalid,
			text: "Credential should be scoped to correct service: 'other' or 'service', not 's3'."},
		{name: "scope with another end", edit: func(s *signed) { s.credential = "AKIDEXAMPLE/20150830/us-east-1/service/aws5_request" }, kind: Invalid,
			text: "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'."},

		{name: "host not signed", edit: func(s *signed) { s.signs = "x-amz-date;x-amz-target" }, kind: Incomplete, text: "'Host' or ':authority' must be a 'SignedHeader'"},
		{name: "time not signed", edit: func(s *signed) { s.signs = "host;x-amz-target" }, kind: Incomplete, text: "'X-Amz-Date' must be a 'SignedHeader'"},
		{name: "Date not signed", edit: func(s *signed) {
			s.headers = []string{"Host: h", "Date: Sun, 30 Aug 2015 12:36:00 GMT"}
			s.signs = "host"
		}, kind: Incomplete, text: "'X-Amz-Date' or 'Date' must be"},
		{name: "target not signed", edit: func(s *signed) { s.signs = "host;x-amz-date" }, kind: Incomplete, text: "'X-Amz-Target' must be a 'SignedHeader'"},
		{name: "target added", mess: func(r *http.Request) { r.Header.Add("X-Amz-Target", "T.Other") }, kind: Incomplete, text: "more than one 'X-Amz-Target'"},
		{name: "signed headers not sorted", edit: func(s *signed) { s.signs = "x-amz-date;host;x-amz-target" }, kind: Incomplete, text: "sorted"},
		{name: "signed header twice", edit: func(s *signed) { s.signs = "host;host;x-amz-date;x-amz-target" }, kind: Incomplete, text: "duplicates"},
		{name: "signed header in capitals", edit: func(s *signed) { s.signs = "Host;x-amz-date;x-amz-target" }, kind: Incomplete, text: "'Host' in SignedHeaders"},
		{name: "empty signed header", edit: func(s *signed) { s.signs = "host;;x-amz-date" }, kind: Incomplete, text: "'' in SignedHeaders"},
		{name: "too many signed headers", edit: func(s *signed) { s.signs = strings.Repeat("a;", 70) + "host" }, kind: Incomplete, text: "more than 64"},

		{name: "unsigned body", edit: func(s *signed) {
			s.headers = append(s.headers, "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD")
			s.signs = "host;x-amz-content-sha256;x-amz-date;x-amz-target"
		}, kind: Invalid, text: "unsigned and chunked bodies are not accepted here. Got 'UNSIGNED-PAYLOAD'"},
		{name: "chunked body", edit: func(s *signed) {
			s.headers = append(s.headers, "X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
			s.signs = "host;x-amz-content-sha256;x-amz-date;x-amz-target"
		}, kind: Invalid, text: "chunked"},
		{name: "hash of another body", edit: func(s *signed) {
			s.headers = append(s.headers, "X-Amz-Content-Sha256: "+strings.Repeat("0", 64))
			s.signs = "host;x-amz-content-sha256;x-amz-date;x-amz-target"
		}, kind: Invalid, text: "does not match what was computed"},

		{name: "other path", mess: func(r *http.Request) { r.URL.Path = "/x" }, kind: Invalid, text: mismatch},
		{name: "other query", mess: func(r *http.Request) { r.URL.RawQuery = "a=b" }, kind: Invalid, text: mismatch},
		{name: "malformed query", mess: func(r *http.Request) { r.URL.RawQuery = "a=%zz" }, kind: Incomplete, text: "malformed at 'a=%zz'"},
		{name: "semicolon in the query", mess: func(r *http.Request) { r.URL.RawQuery = "a=b;c=d" }, kind: Incomplete, text: "malformed"},
		{name: "oversized query", mess: func(r *http.Request) { r.URL.RawQuery = strings.Repeat("a", maxQuery+1) }, kind: Incomplete, text: "longer than 16384"},
		{name: "other host", mess: func(r *http.Request) { r.Host = "other" }, kind: Invalid, text: mismatch},
		{name: "other target", mess: func(r *http.Request) { r.Header.Set("X-Amz-Target", "T.Other") }, kind: Invalid, text: mismatch},
		{name: "signature of zeros", mess: func(r *http.Request) {
			h := r.Header.Get("Authorization")
			r.Header.Set("Authorization", h[:len(h)-64]+strings.Repeat("0", 64))
		}, kind: Invalid, text: mismatch},
		{name: "short signature", mess: func(r *http.Request) {
			h := r.Header.Get("Authorization")
			r.Header.Set("Authorization", h[:len(h)-1])
		}, kind: Invalid, text: mismatch},
		{name: "signature in capitals", mess: func(r *http.Request) {
			h := r.Header.Get("Authorization")
			r.Header.Set("Authorization", h[:len(h)-64]+strings.ToUpper(h[len(h)-64:]))
		}, kind: Invalid, text: mismatch},
		{name: "both in header and query", mess: func(r *http.Request) { r.URL.RawQuery = "X-Amz-Signature=1" }, kind: Incomplete, text: "Only one authentication mechanism"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := valid()
			if tt.edit != nil {
				tt.edit(&s)
			}
			check(t, s, tt.mess, tt.at, tt.kind, tt.text)
		})
	}
}

func TestVerifyPresigned(t *testing.T) {
	const mismatch = "The request signature we calculated does not match"
	for _, tt := range []struct {
		name string
		edit func(*signed)
		mess func(*http.Request)
		at   time.Duration
		kind Kind
		text string
	}{
		{name: "valid"},
		{name: "valid for a week", edit: func(s *signed) { s.expires = "604800" }, at: maxExpires},
		{name: "valid for a second", edit: func(s *signed) { s.expires = "1" }, at: time.Second},
		{name: "valid without an end", edit: func(s *signed) { s.expires = "" }, at: skew},
		{name: "valid with a clock ahead", at: -skew},

		{name: "expired", at: 61 * time.Second, kind: Invalid,
			text: "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T123701Z - 1 min.)"},
		{name: "expired after seconds", edit: func(s *signed) { s.expires = "90" }, at: 91 * time.Second, kind: Invalid, text: "- 90 sec.)"},
		{name: "expired without an end", edit: func(s *signed) { s.expires = "" }, at: skew + time.Second, kind: Invalid, text: "- 15 min.)"},
		{name: "of the future", at: -skew - time.Second, kind: Invalid, text: "not yet current"},
		{name: "longer than a week", edit: func(s *signed) { s.expires = "604801" }, kind: Incomplete, text: "at most a week"},
		{name: "no life", edit: func(s *signed) { s.expires = "0" }, kind: Incomplete, text: "at least 1"},
		{name: "negative", edit: func(s *signed) { s.expires = "-60" }, kind: Incomplete, text: "at least 1"},
		{name: "signed number", edit: func(s *signed) { s.expires = "%2B60" }, kind: Incomplete, text: "should be a number"},
		{name: "huge number", edit: func(s *signed) { s.expires = "99999999999999999999" }, kind: Incomplete, text: "should be a number"},
		{name: "no number", edit: func(s *signed) { s.expires = "1h" }, kind: Incomplete, text: "should be a number"},
		{name: "empty number", mess: func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "X-Amz-Expires=60", "X-Amz-Expires=", 1)
		}, kind: Incomplete, text: "should be a number"},
		{name: "longer life", mess: func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "X-Amz-Expires=60", "X-Amz-Expires=600", 1)
		}, kind: Invalid, text: mismatch},
		{name: "parameter twice", mess: func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Expires=600" }, kind: Incomplete, text: "more than one 'X-Amz-Expires'"},
		{name: "signature twice", mess: func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Signature=0" }, kind: Incomplete, text: "more than one 'X-Amz-Signature'"},
		{name: "only a signature", mess: func(r *http.Request) { r.URL.RawQuery = "X-Amz-Signature=0" }, kind: Incomplete,
			text: "AWS query-string parameters must include 'X-Amz-Algorithm'. AWS query-string parameters must include 'X-Amz-Credential'. " +
				"AWS query-string parameters must include 'X-Amz-SignedHeaders'. AWS query-string parameters must include 'X-Amz-Date'. Re-examine"},
		{name: "SigV4a", mess: func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", 1)
		}, kind: Incomplete, text: "Signature Version 4a"},
		{name: "time in the header too", mess: func(r *http.Request) { r.Header.Set("X-Amz-Date", "20150830T123600Z") }, kind: Incomplete, text: "both as a header and in the query string"},
		{name: "parameter added", mess: func(r *http.Request) { r.URL.RawQuery += "&Action=Delete" }, kind: Invalid, text: mismatch},
		{name: "token added", mess: func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Security-Token=x" }, kind: Invalid, text: mismatch},
		{name: "token twice", mess: func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Security-Token=x&X-Amz-Security-Token=x" }, kind: Incomplete, text: "more than one 'X-Amz-Security-Token'"},
		{name: "target not signed", edit: func(s *signed) { s.signs = "host" }, kind: Incomplete, text: "'X-Amz-Target' must be"},
		{name: "unsigned body", mess: func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD" }, kind: Invalid, text: "unsigned"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := validQuery()
			if tt.edit != nil {
				tt.edit(&s)
			}
			check(t, s, tt.mess, tt.at, tt.kind, tt.text)
		})
	}
}

func check(t *testing.T, s signed, mess func(*http.Request), at time.Duration, kind Kind, text string) {
	t.Helper()
	r := s.build(t)
	if mess != nil {
		mess(r)
	}
	c, err := verify(New(func() time.Time { return testTime.Add(at) }), r, testScope)
	if kind == 0 {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		if c.AccessKeyID != testKeyID || c.Presigned != s.query {
			t.Errorf("claim %+v", c)
		}
		return
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind != kind || !strings.Contains(e.Message, text) {
		t.Errorf("got  %#v\nwant kind %d, %q", err, kind, text)
	}
}

// TestMismatchDetail checks that a client that signed something else is told
// what, in a place that logs don't read.
func TestMismatchDetail(t *testing.T) {
	r := valid().build(t)
	r.Host = "proxied"
	_, err := verify(New(func() time.Time { return testTime }), r, testScope)
	e, ok := errors.AsType[*Error](err)
	if !ok || !strings.Contains(e.Detail, "host:proxied\n") || strings.Contains(e.Error(), "proxied") {
		t.Errorf("got %#v", err)
	}
}

func TestOtherSecret(t *testing.T) {
	v := New(func() time.Time { return testTime })
	r := valid().build(t)
	c, err := v.Parse(r, testScope)
	if err != nil {
		t.Fatal(err)
	}
	body := sha256.Sum256([]byte("{}"))
	for i, tt := range []struct {
		secret string
		ok     bool
	}{{testSecret + "x", false}, {testSecret, true}, {testSecret + "x", false}, {"", false}, {testSecret, true}} {
		if err := v.Verify(c, tt.secret, body); (err == nil) != tt.ok {
			t.Errorf("%d: verified = %v, want %v", i, err == nil, tt.ok)
		}
	}
}

func TestKeyCacheIsBounded(t *testing.T) {
	v := New(time.Now)
	for i := range 2 * maxKeys {
		v.cacheKey(keyID{accessKeyID: fmt.Sprint(i)}, derivedKey{})
	}
	if len(v.keys) != maxKeys {
		t.Errorf("%d keys, want %d", len(v.keys), maxKeys)
	}
}

func BenchmarkVerify(b *testing.B) {
	v := New(func() time.Time { return testTime })
	r := valid().build(b)
	body := sha256.Sum256([]byte("{}"))
	b.ReportAllocs()
	for b.Loop() {
		c, err := v.Parse(r, testScope)
		if err == nil {
			err = v.Verify(c, testSecret, body)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// TestReplay sends the same request again and again: it is good until its time is up, and for nothing but what it says.
func TestReplay(t *testing.T) {
	for name, tt := range map[string]struct {
		signed signed
		life   time.Duration
	}{"header": {valid(), skew}, "query": {validQuery(), time.Minute}} {
		t.Run(name, func(t *testing.T) {
			now := testTime
			v := New(func() time.Time { return now })
			for _, at := range []time.Duration{0, time.Second, tt.life} {
				now = testTime.Add(at)
				if _, err := verify(v, tt.signed.build(t), testScope); err != nil {
					t.Errorf("after %v: %v", at, err)
				}
			}
			other := tt.signed.build(t)
			other.Header.Set("X-Amz-Target", "T.Other")
			if _, err := verify(v, other, testScope); err == nil {
				t.Error("good for another operation")
			}
			now = testTime.Add(tt.life + time.Second)
			if _, err := verify(v, tt.signed.build(t), testScope); err == nil {
				t.Error("good when its time is up")
			}
		})
	}
}
