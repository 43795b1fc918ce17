package agent

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/go-jose/go-jose/v4"

	"github.com/sekisho/sekisho/internal/agent/rpc"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/pool"
)

// says fails the test unless err has a text in it.
func says(t *testing.T, what string, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want an error with %q", what, err, text)
	}
}

func TestEnrolByCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code, err := w.pools.CreateCode(t.Context(), w.root, "builders", "", true)
	if err != nil {
		t.Fatal(err)
	}
	byCode := func(o *ConfigureOptions) { o.Auth, o.Token, o.Pool = AuthCode, code.Secret.Reveal(), "" }
	if _, err := w.configure("one", byCode); err != nil {
		t.Fatal(err)
	}
	if a := w.agent("one"); !a.OneJob || a.Method != pool.MethodCode {
		t.Errorf("it is %+v", a)
	}
	_, err = w.configure("two", byCode)
	says(t, "a code that was used", err, "not good")

	if code, err = w.pools.CreateCode(t.Context(), w.root, "builders", "three", false); err != nil {
		t.Fatal(err)
	}
	_, err = w.configure("four", byCode)
	says(t, "a code for another name", err, "three")
	w.mu.Lock()
	w.skew = pool.CodeLife
	w.mu.Unlock()
	_, err = w.configure("three", byCode)
	says(t, "a code that has expired", err, "not good")
	if _, err := w.pools.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestEnrolByIdentityToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rule := pool.Rule{Kind: pool.ByOIDC, Issuer: w.issuer.URL, Audience: "sekisho", Subject: "system:serviceaccount:builds:*"}
	if _, err := w.pools.AddRule(t.Context(), w.root, "builders", rule); err != nil {
		t.Fatal(err)
	}
	token := func(subject, audience string) string {
		return w.issuer.Sign(t, "1", jose.ES256, map[string]any{
			"iss": w.issuer.URL, "sub": subject, "aud": audience, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "jti": subject,
		})
	}
	by := func(token string) func(o *ConfigureOptions) {
		return func(o *ConfigureOptions) { o.Auth, o.Token = AuthOIDC, token }
	}
	good := token("system:serviceaccount:builds:a", "sekisho")
	if _, err := w.configure("one", by(good)); err != nil {
		t.Fatal(err)
	}
	_, err := w.configure("two", by(good))
	says(t, "a token that was used", err, "was used")
	_, err = w.configure("two", by(token("system:serviceaccount:other:a", "sekisho")))
	says(t, "another subject", err, "No rule")
	_, err = w.configure("two", by(token("system:serviceaccount:builds:a", "sts.amazonaws.com")))
	says(t, "another audience", err, "refuses")
	_, err = w.configure("two", by("x.y.z"))
	says(t, "no token", err, "refuses")
	if _, err := w.pools.AddRule(t.Context(), w.root, "builders", pool.Rule{Kind: pool.ByOIDC, Issuer: w.issuer.URL, Audience: "a", Subject: "*"}); !errors.Is(err, pool.ErrOf(pool.Invalid)) {
		t.Errorf("a rule for everybody: %v", err)
	}
}

func TestEnrolBySignedRequest(t *testing.T) {
	w := newWorld(t)
	rule := pool.Rule{Kind: pool.BySTS, Subject: "arn:aws:iam::" + testAccount + ":user/builder-*"}
	if _, err := w.pools.AddRule(t.Context(), w.root, "builders", rule); err != nil {
		t.Fatal(err)
	}
	id, secret := w.userKey("builder-7")
	t.Setenv("AWS_ACCESS_KEY_ID", id)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_SESSION_TOKEN", "")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	signed := func(o *ConfigureOptions) { o.Auth, o.Token = AuthSTS, "" }
	if _, err := w.configure("one", signed); err != nil {
		t.Fatal(err)
	}
	if a := w.agent("one"); a.Method != pool.MethodSTS || !strings.Contains(a.EnrolledBy, "user/builder-7") {
		t.Errorf("it is %+v", a)
	}

	// Signed for somebody else's server, or for another agent's key.
	key, _, public, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{key: key}
	c, err := newClient(&Route{URL: w.url()}, s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	check := func(headers map[string]string, public []byte) error {
		_, err := c.Check(t.Context(), connect.NewRequest(&agentv1.CheckRequest{PublicKey: public, Credential: &agentv1.Credential{
			Kind: &agentv1.Credential_SignedRequest{SignedRequest: &agentv1.SignedRequest{Headers: headers}},
		}}))
		return err
	}
	sign := func(server string) map[string]string {
		headers, err := signIdentity(t.Context(), server, testRegion, public)
		if err != nil {
			t.Fatal(err)
		}
		return headers
	}
	if err := check(sign(w.url()), public); err != nil {
		t.Errorf("for this server: %v", err)
	}
	says(t, "for another server", check(sign("https://other.example.com"), public), "for the server")
	says(t, "for another key", check(sign(w.url()), append([]byte(nil), public[1:]...)), "another agent's key")
	changed := sign("https://other.example.com")
	changed[rpc.ServerHeader] = w.addr
	says(t, "with the server changed", check(changed, public), "signature")

	other, otherSecret := w.userKey("someone")
	t.Setenv("AWS_ACCESS_KEY_ID", other)
	t.Setenv("AWS_SECRET_ACCESS_KEY", otherSecret)
	_, err = w.configure("two", signed)
	says(t, "another user", err, "No rule")
}

func TestEnrolByKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.configure("one", nil); err != nil {
		t.Fatal(err)
	}
	_, err := w.configure("ONE", nil)
	says(t, "a name that is taken", err, "already")
	before := w.agent("one").ID
	if _, err := w.configure("ONE", func(o *ConfigureOptions) { o.Replace = true }); err != nil {
		t.Fatal(err)
	}
	if a := w.agent("one"); a.ID == before || a.Name != "ONE" {
		t.Errorf("it is %+v after it was replaced", a)
	}
	_, err = w.configure("two", func(o *ConfigureOptions) { o.Pool = "other" })
	says(t, "a pool that is not there", err, "there are: builders")
	_, err = w.configure("two", func(o *ConfigureOptions) { o.Token = "AKIAAAAAAAAAAAAAAAAA:wrong" })
	says(t, "a wrong key", err, "refuses")
	_, err = w.configure("two", func(o *ConfigureOptions) { o.Auth = "negotiate" })
	says(t, "negotiate", err, "not supported")
	_, err = w.configure("two", func(o *ConfigureOptions) { o.URL = "http://192.0.2.1" })
	says(t, "no TLS", err, "--allow-http")
	_, err = w.configure("two", func(o *ConfigureOptions) { o.License = false })
	says(t, "no license", err, "license")
	_, err = w.configure("-two", nil)
	says(t, "a name that is none", err, "can't be the name")
}

// TestQuestions answers the seven questions as a person does, with mistakes.
func TestQuestions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.pools.CreatePool(t.Context(), w.root, pool.Draft{Name: "other"}); err != nil {
		t.Fatal(err)
	}
	f, tasks := Folder(t.TempDir()), t.TempDir()
	in := bufio.NewReader(strings.NewReader("maybe\nY\nnonsense\n" + w.url() + "/\nkerberos\n\nwrong\n" + w.secret + "\nelsewhere\nBUILDERS\nbox\n\n"))
	var out strings.Builder
	o := ConfigureOptions{Version: "1", Out: &out, Tasks: []string{tasks}, Ask: func(q string, _ bool) (string, error) {
		out.WriteString(q)
		return in.ReadString('\n')
	}}
	if err := f.Configure(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	at := 0
	for _, q := range []string{
		"(Y/N) Accept the license", "Enter server URL >", "Enter authentication type (press enter for PAT) >", "Enter personal access token >",
		"Enter agent pool >", "Enter agent name (press enter for ", "Enter work folder (press enter for _work) >",
		"Scanning for tool capabilities.", "Connecting to the server.", "Successfully added the agent", "Testing agent connection.", "Settings Saved.",
	} {
		i := strings.Index(out.String()[at:], q)
		if i < 0 {
			t.Fatalf("it does not say %q in its place:\n%s", q, &out)
		}
		at += i
	}
	if strings.Contains(out.String(), w.secret) {
		t.Error("the token is shown")
	}
	settings, _, err := f.Load()
	if err != nil || settings.Name != "box" || settings.Pool != "builders" || settings.Work != "_work" || settings.URL != w.url() || !slices.Equal(settings.Tasks, []string{tasks}) {
		t.Errorf("it kept %+v, %v", settings, err)
	}
	for _, name := range []string{settingsFile, keyFile} {
		text, err := os.ReadFile(f.path(name))
		if err != nil || strings.Contains(string(text), strings.Split(w.secret, ":")[1]) {
			t.Errorf("%s: %v, or it has the token", name, err)
		}
		if info, err := os.Stat(f.path(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	says(t, "again", f.Configure(t.Context(), o), "already")

	nobody := Folder(t.TempDir())
	says(t, "tasks that are not there", nobody.Configure(t.Context(), ConfigureOptions{Tasks: []string{f.path("none")}}), "folder of tasks")
	says(t, "tasks in a file", nobody.Configure(t.Context(), ConfigureOptions{Tasks: []string{f.path(settingsFile)}}), "no folder")
	o.Ask = func(string, bool) (string, error) { return "", io.EOF }
	says(t, "nobody answers", nobody.Configure(t.Context(), o), "nobody answers")
	o.Unattended = true
	says(t, "unattended without the URL", nobody.Configure(t.Context(), func() ConfigureOptions { o.License = true; return o }()), "SEKISHO_AGENT_INPUT_URL")

	var said strings.Builder
	if err := f.Remove(t.Context(), "1", false, &said); err != nil {
		t.Fatal(err)
	}
	if _, err := w.pools.DescribeAgent(t.Context(), w.root, "builders", "box"); !errors.Is(err, pool.ErrOf(pool.NotFound)) {
		t.Errorf("after it was removed: %v", err)
	}
	if f.Configured() {
		t.Error("it is configured after it was removed")
	}
}

// TestLostAnswer repeats an enrolment whose answer did not arrive.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code, err := w.pools.CreateCode(t.Context(), w.root, "builders", "", false)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	w.wrap = func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/Enroll") && lost == 0 {
				lost++
				h.ServeHTTP(&nowhere{rw}, r)
				panic(http.ErrAbortHandler)
			}
			h.ServeHTTP(rw, r)
		})
	}
	if _, err := w.configure("one", func(o *ConfigureOptions) { o.Auth, o.Token = AuthCode, code.Secret.Reveal() }); err != nil {
		t.Fatal(err)
	}
	agents, err := w.pools.Agents(t.Context(), w.root, "builders")
	if err != nil || len(agents) != 1 || lost != 1 {
		t.Errorf("%d agents after %d answers were lost, %v", len(agents), lost, err)
	}
}

// nowhere is where an answer goes that is lost.
type nowhere struct{ http.ResponseWriter }

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

// TestStolenToken uses an agent's token without its key, and its calls again.
func TestStolenToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, err := w.configure("one", nil)
	if err != nil {
		t.Fatal(err)
	}
	settings, key, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	capture := &captured{}
	honest := &signer{key: key, agent: settings.AgentID}
	c, err := newClient(&Route{URL: w.url()}, honest)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	capture.under = honest.under
	honest.under = capture
	report := connect.NewRequest(&agentv1.ReportRequest{Facts: &agentv1.Facts{Version: "1"}})
	if _, err := c.Report(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	again := func(change func(r *http.Request), body []byte) int {
		t.Helper()
		r := capture.last.Clone(context.Background())
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
		change(r)
		resp, err := capture.under.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	thief, _, _, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	prove := func(by *signer, at time.Time, target string) func(r *http.Request) {
		return func(r *http.Request) {
			p, err := payloadOf(r)
			if err != nil {
				t.Fatal(err)
			}
			r.Body, _ = p.open()
			token := strings.TrimPrefix(r.Header.Get("Authorization"), rpc.TokenScheme+" ")
			proof, err := rpc.Sign(by.key, r.Method, target, token, p.sum, at)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set(rpc.ProofHeader, proof)
		}
	}
	path := capture.last.URL.RequestURI()
	now := time.Now()
	for _, x := range []struct {
		what   string
		change func(r *http.Request)
		body   []byte
		status int
	}{
		{"the same call again", func(*http.Request) {}, capture.body, 401},
		{"without a proof", func(r *http.Request) { r.Header.Del(rpc.ProofHeader) }, capture.body, 401},
		{"a proof that is none", func(r *http.Request) { r.Header.Set(rpc.ProofHeader, "v1 x") }, capture.body, 401},
		{"with the thief's key", prove(&signer{key: thief}, now, path), capture.body, 401},
		{"with the agent's key", prove(honest, now, path), capture.body, 200},
		{"for another path", prove(honest, now, path+"x"), capture.body, 401},
		{"from the past", prove(honest, now.Add(-rpc.Window-time.Minute), path), capture.body, 401},
		{"from the future", prove(honest, now.Add(rpc.Window+time.Minute), path), capture.body, 401},
		{"another body", func(*http.Request) {}, []byte("x"), 401},
		{"another token", func(r *http.Request) {
			r.Header.Set("Authorization", "Agent sat_"+strings.Repeat("A", 119))
			prove(honest, now, path)(r)
		}, capture.body, 401},
		{"no token", func(r *http.Request) { r.Header.Del("Authorization"); prove(honest, now, path)(r) }, capture.body, 401},
	} {
		if got := again(x.change, x.body); got != x.status {
			t.Errorf("%s: %d, want %d", x.what, got, x.status)
		}
	}

	// Of an agent that was replaced, nothing is good any more.
	if _, err := w.configure("one", func(o *ConfigureOptions) { o.Replace = true }); err != nil {
		t.Fatal(err)
	}
	if got := again(prove(honest, now, path), capture.body); got != 401 {
		t.Errorf("after it was replaced: %d", got)
	}
	if err := w.run(f, nil).wait(t); !errors.Is(err, ErrGone) {
		t.Errorf("an agent that was replaced runs until %v", err)
	}
}

// captured keeps the last call.
type captured struct {
	under http.RoundTripper
	last  *http.Request
	body  []byte
}

func (c *captured) RoundTrip(r *http.Request) (*http.Response, error) {
	var err error
	if c.body, err = io.ReadAll(r.Body); err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(strings.NewReader(string(c.body)))
	c.last = r.Clone(context.Background())
	return c.under.RoundTrip(r)
}

// TestClock has agents whose clocks are wrong, and tokens that get old.
func TestClock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, err := w.configure("one", nil)
	if err != nil {
		t.Fatal(err)
	}
	settings, key, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	report := connect.NewRequest(&agentv1.ReportRequest{Facts: &agentv1.Facts{Version: "1"}})
	for _, off := range []time.Duration{-3 * time.Hour, 0, 36 * time.Hour} {
		s := &signer{key: key, agent: settings.AgentID, now: func() time.Time { return time.Now().Add(off) }}
		c, err := newClient(&Route{URL: w.url()}, s)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := c.Report(t.Context(), report); err != nil {
				t.Errorf("%s off: %v", off, err)
			}
		}
		first := s.token
		s.now = func() time.Time { return time.Now().Add(off + 11*time.Minute) }
		w.mu.Lock()
		w.skew += 11 * time.Minute
		w.mu.Unlock()
		if _, err := c.Report(t.Context(), report); err != nil || s.token == first {
			t.Errorf("%s off, later: %v, or the token is still the first one", off, err)
		}
		w.mu.Lock()
		w.skew += time.Hour // it has expired, and the agent doesn't know
		w.mu.Unlock()
		if _, err := c.Report(t.Context(), report); err != nil {
			t.Errorf("%s off, much later: %v", off, err)
		}
		c.close()
	}
}
