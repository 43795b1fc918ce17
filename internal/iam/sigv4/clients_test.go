package sigv4_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sekisho/sekisho/internal/iam/sigv4"
)

const (
	keyID  = "AKIDEXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

// server answers 200 to requests signed for sts in eu-west-1, else 403 and why.
func server(t *testing.T) *httptest.Server {
	v := sigv4.New(time.Now)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var c *sigv4.Claim
		if err == nil {
			c, err = v.Parse(r, sigv4.Scope{Region: "eu-west-1", Services: []string{"sts"}})
		}
		if err == nil {
			err = v.Verify(c, secret, sha256.Sum256(body))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

// targets are requests whose canonical form takes some care.
var targets = []string{
	"/",
	"/a/b",
	"/a%20b/c%2Fd/%C3%A9",
	"/?b=2&a=1&a=0",
	"/?key=a%20b%2Bc%26d%3De&empty=",
	"/?utf=%E1%88%B4&tilde=~-_.&star=%2A%27%28%29",
}

func TestGoSigner(t *testing.T) {
	srv := server(t)
	creds := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
	for _, target := range targets {
		for _, body := range []string{"", `{"a":1}`} {
			hash := sha256.Sum256([]byte(body))
			newRequest := func() *http.Request {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+target, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/x-amz-json-1.1")
				r.Header.Set("X-Amz-Target", "A.B")
				r.Header.Set("X-Spaces", "  a   b  ")
				return r
			}

			r := newRequest()
			if err := v4.NewSigner().SignHTTP(t.Context(), creds, r, hex.EncodeToString(hash[:]), "sts", "eu-west-1", time.Now()); err != nil {
				t.Fatal(err)
			}
			expectOK(t, r)

			r = newRequest()
			q := r.URL.Query()
			q.Set("X-Amz-Expires", "60")
			r.URL.RawQuery = q.Encode()
			uri, headers, err := v4.NewSigner().PresignHTTP(t.Context(), creds, r, hex.EncodeToString(hash[:]), "sts", "eu-west-1", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			presigned, err := http.NewRequestWithContext(t.Context(), http.MethodPost, uri, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			for name, values := range headers {
				if name != "Host" && name != "Content-Length" {
					presigned.Header[name] = values
				}
			}
			expectOK(t, presigned)
		}
	}
}

func expectOK(t *testing.T, r *http.Request) {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Errorf("%s %s: %s %s", r.Method, r.URL, resp.Status, text)
	}
}

// TestBotocore signs the same requests with botocore, which the AWS CLI and boto3 use.
func TestBotocore(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err == nil {
		err = exec.CommandContext(t.Context(), python, "-c", "import botocore").Run()
	}
	if err != nil {
		if os.Getenv("SEKISHO_REQUIRE_TOOLS") == "1" {
			t.Fatalf("python3 with botocore is required: %v", err)
		}
		t.Skipf("SKIPPED: no python3 with botocore: %v", err)
	}
	const script = `
import sys
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

url, key, secret, bad = sys.argv[1], sys.argv[2], sys.argv[3], 0
for target in sys.argv[4:]:
    for body in (b'', b'{"a":1}'):
        for auth in (SigV4Auth, SigV4QueryAuth):
            headers = {'Content-Type': 'application/x-amz-json-1.1', 'X-Amz-Target': 'A.B', 'X-Spaces': '  a   b  '}
            request = AWSRequest(method='POST', url=url + target, data=body, headers=headers)
            auth(Credentials(key, secret), 'sts', 'eu-west-1').add_auth(request)
            response = URLLib3Session().send(request.prepare())
            if response.status_code != 200:
                bad += 1
                print(auth.__name__, target, body, response.status_code, response.text)
sys.exit(bad > 0)
`
	args := append([]string{"-c", script, server(t).URL, keyID, secret}, targets...)
	args = append(args, "/a//b/./c/../d/") // Go's signer leaves such paths as they are
	cmd := exec.CommandContext(t.Context(), python, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}
