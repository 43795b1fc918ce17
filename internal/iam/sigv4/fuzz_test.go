package sigv4

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// FuzzParse reads requests as a server does. Whatever they are, they are refused
// with an Error, or claim something that verifies with nothing but the secret.
func FuzzParse(f *testing.F) {
	const vanilla = "GET / HTTP/1.1\r\nHost:example.amazonaws.com\r\nX-Amz-Date:20150830T123600Z\r\n" +
		"Authorization:AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=%\r\n\r\n"
	const presigned = "GET /a/../%2F?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request" +
		"&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600&X-Amz-Signature=% HTTP/1.1\r\nHost:example.amazonaws.com\r\n\r\n"
	f.Add(strings.Replace(vanilla, "%", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", 1))
	f.Add(strings.Replace(vanilla, "%", strings.Repeat("0", 64), 1))
	f.Add(strings.Replace(vanilla, "host;", ";", 1))
	f.Add(strings.Replace(vanilla, "AWS4-HMAC", "AWS4-ECDSA-P256", 1))
	f.Add(strings.Replace(presigned, "Signature=%", "Signature=e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d", 1))
	f.Add(strings.Replace(presigned, "3600", "-1", 1))
	f.Add("POST /?X-Amz-Signature HTTP/1.1\r\nHost:\r\nAuthorization: AWS4-HMAC-SHA256 =,=\r\n\r\n")
	empty := sha256.Sum256(nil)
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		v := New(func() time.Time { return testTime })
		c, err := v.Parse(r, testScope)
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Kind == 0 || e.Message == "" {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		if !c.Signs("host") || c.AccessKeyID == "" || len(c.scope) == 0 {
			t.Fatalf("claim %+v", c)
		}
		again, err := v.Parse(r, testScope)
		if err != nil || again.canonical != c.canonical {
			t.Fatalf("parsed again: %v\n%q\n%q", err, c.canonical, again.canonical)
		}
		if err := v.Verify(c, "not the secret", empty); err == nil {
			t.Fatal("verified with another secret")
		}
	})
}
