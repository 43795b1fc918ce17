package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sekisho/sekisho/internal/api"
	"github.com/sekisho/sekisho/internal/api/client"
	"github.com/sekisho/sekisho/internal/awsapi"
	"github.com/sekisho/sekisho/internal/httpx"
	"github.com/sekisho/sekisho/internal/iam"
	"github.com/sekisho/sekisho/internal/meta/metatest"
	"github.com/sekisho/sekisho/internal/seal"
)

const (
	account = "111122223333"
	region  = "eu-west-1"
)

type greeting struct {
	Name  string `json:"name"`
	Times int    `json:"times"`
}

// instance serves two operations and a stream to the root of one account.
type instance struct {
	url string
	key *iam.AccessKey
}

func newInstance(t *testing.T) instance {
	t.Helper()
	ring, err := seal.New(bytes.Repeat([]byte{7}, seal.MasterKeySize))
	if err != nil {
		t.Fatal(err)
	}
	auth, err := iam.New(metatest.Open(t, metatest.SQLite(t)), ring, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := auth.Bootstrap(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	s := api.New(api.Options{Auth: auth, Signed: awsapi.New(region, auth, time.Now)})
	api.Handle(s, "Greet", "test:Greet", func(_ context.Context, c *iam.Caller, in *greeting) (greeting, error) {
		return greeting{Name: in.Name + " from " + c.ARN, Times: in.Times + 1}, nil
	})
	api.Handle(s, "Fail", "test:Fail", func(context.Context, *iam.Caller, *api.Nothing) (api.Nothing, error) {
		return api.Nothing{}, errors.New("a detail that is nobody's business")
	})
	s.Stream(http.MethodGet, "things/{id}/lines/{rest...}", "test:Read", func(w *httpx.Response, r *http.Request, c *iam.Caller) error {
		_, err := fmt.Fprintf(w, "%s %s %s %s", r.PathValue("id"), r.PathValue("rest"), r.URL.Query().Get("q"), c.Account)
		return err
	})
	srv := httptest.NewServer(httpx.New(s.Handler(), httpx.Options{Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(srv.Close)
	return instance{srv.URL, key}
}

func (in instance) client() *client.Client {
	return &client.Client{Server: in.url, Region: region,
		Credentials: aws.Credentials{AccessKeyID: in.key.ID, SecretAccessKey: in.key.Secret.Reveal()}}
}

func TestCall(t *testing.T) {
	in := newInstance(t)
	var out greeting
	if err := in.client().Call(t.Context(), "Greet", greeting{Name: "hello", Times: 1}, &out); err != nil {
		t.Fatal(err)
	}
	if want := (greeting{"hello from " + iam.RootARN(account), 2}); out != want {
		t.Errorf("%+v, want %+v", out, want)
	}
}

func TestStream(t *testing.T) {
	in := newInstance(t)
	body, err := in.client().Get(t.Context(), "things/a%2Fb/lines/c/d", url.Values{"q": {"x y"}})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if want := "a/b c/d x y " + account; err != nil || string(text) != want {
		t.Errorf("%q, %v; want %q", text, err, want)
	}
}

func TestRefused(t *testing.T) {
	in := newInstance(t)
	basic := func(r *http.Request) { r.SetBasicAuth(in.key.ID, in.key.Secret.Reveal()) }
	for name, tt := range map[string]struct {
		method, path, body string
		as                 func(*http.Request)
		status             int
		says               string
	}{
		"no credential":     {"POST", "Greet", "{}", func(*http.Request) {}, 401, `"code":"Unauthenticated"`},
		"wrong secret":      {"POST", "Greet", "{}", func(r *http.Request) { r.SetBasicAuth(in.key.ID, "wrong") }, 401, `"code":"Unauthenticated"`},
		"bad signature":     {"POST", "Greet", "{}", func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x") }, 401, `"code":"Unauthenticated"`},
		"stream, anonymous": {"GET", "things/a/lines/b", "", func(*http.Request) {}, 401, `"code":"Unauthenticated"`},
		"unknown member":    {"POST", "Greet", `{"nam":"x"}`, basic, 400, `unknown field \"nam\"`},
		"wrong type":        {"POST", "Greet", `{"times":"x"}`, basic, 400, `"message":"times is a JSON string where a number belongs","field":"times"`},
		"two objects":       {"POST", "Greet", `{}{}`, basic, 400, "something after the object"},
		"no JSON":           {"POST", "Greet", `x`, basic, 400, "not the JSON object"},
		"too long":          {"POST", "Greet", `{"name":"` + strings.Repeat("x", 1<<20) + `"}`, basic, 413, `"code":"TooLarge"`},
		"unknown operation": {"POST", "Gret", `{}`, basic, 404, `there is no operation \"Gret\"`},
		"wrong method":      {"GET", "Greet", ``, basic, 405, "POST"},
		"internal":          {"POST", "Fail", ``, basic, 500, `"requestId":"`},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, in.url+api.Prefix+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			tt.as(req)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(text), tt.says) || strings.Contains(string(text), "nobody's business") {
				t.Errorf("%d %s, %v; want %d with %s", resp.StatusCode, text, err, tt.status, tt.says)
			}
		})
	}
	c := in.client()
	c.Credentials.SecretAccessKey = "wrong"
	if e, ok := errors.AsType[*api.Error](c.Call(t.Context(), "Greet", greeting{}, nil)); !ok || e.Code != api.CodeUnauthenticated || e.Status != 401 {
		t.Errorf("error %+v, want Unauthenticated", e)
	}
}
