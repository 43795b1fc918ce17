package ociserver_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// fields are those of a header.
type fields map[string]string

// call is a request.
type call struct {
	method, path string
	host         string // default: the server's address
	as           string // nobody, an account, or an Authorization header; default: account
	header       fields
	body         string
	reader       io.Reader // instead of body; its length is not told to the server
}

// nobody shows no credential.
const nobody = "nobody"

func (in *instance) authorization(as string) string {
	switch as {
	case nobody:
		return ""
	case "":
		as = account
	}
	if k := in.keys[as]; k != nil {
		return basic(k.ID, k.Secret.Reveal())
	}
	return as
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// answer is a response.
type answer struct {
	status  int
	header  http.Header
	body    string
	code    string // of an error, in the body or for HEAD in the header
	message string
}

func (in *instance) do(c call) answer {
	in.Helper()
	url := c.path
	if strings.HasPrefix(url, "/") {
		url = "http://" + in.addr + url
	}
	var body io.Reader = strings.NewReader(c.body)
	if c.reader != nil {
		body = c.reader
	}
	req, err := http.NewRequestWithContext(in.Context(), c.method, url, body)
	if err != nil {
		in.Fatal(err)
	}
	if c.host != "" {
		req.Host = c.host
	}
	if a := in.authorization(c.as); a != "" {
		req.Header.Set("Authorization", a)
	}
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	resp, err := in.http.Do(req)
	if err != nil {
		in.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	a, err := read(c.method, resp)
	if err != nil {
		in.Errorf("%s %s: %v", c.method, c.path, err)
	}
	return a
}

// read reads a response and checks what all have in common.
func read(method string, resp *http.Response) (answer, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
	if v := resp.Header.Get("Docker-Distribution-Api-Version"); v != "registry/2.0" {
		return a, fmt.Errorf("status %d, Docker-Distribution-Api-Version is %q", a.status, v)
	}
	if resp.Header.Get("X-Request-Id") == "" {
		return a, fmt.Errorf("status %d, X-Request-Id is missing", a.status)
	}
	if method == http.MethodHead && len(body) > 0 {
		return a, fmt.Errorf("a HEAD was answered with a body: %s", body)
	}
	return a, a.checkError(method)
}

// checkError checks that a refusal has the form of the specification ("Error Codes"), and reads it.
func (a *answer) checkError(method string) error {
	named := a.header.Get("Sekisho-Error")
	if a.status < 400 {
		if named != "" {
			return fmt.Errorf("status %d has an error: %s", a.status, named)
		}
		return nil
	}
	if a.code, a.message, _ = strings.Cut(named, ": "); method == http.MethodHead {
		if a.message == "" {
			return fmt.Errorf("status %d of a HEAD has no reason in its header", a.status)
		}
		return nil
	}
	if t := a.header.Get("Content-Type"); t != "application/json" {
		return fmt.Errorf("status %d with Content-Type %q: %s", a.status, t, a.body)
	}
	if n, err := strconv.Atoi(a.header.Get("Content-Length")); err != nil || n != len(a.body) {
		return fmt.Errorf("status %d with a Content-Length of %q and %d bytes", a.status, a.header.Get("Content-Length"), len(a.body))
	}
	var doc struct {
		Errors []struct {
			Code, Message string
			Detail        any
		}
	}
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || len(doc.Errors) != 1 || doc.Errors[0].Message == "" {
		return fmt.Errorf("status %d with a malformed body, %v: %s", a.status, err, a.body)
	}
	if !regexp.MustCompile(`^[A-Z_]+$`).MatchString(doc.Errors[0].Code) {
		return fmt.Errorf("status %d with the code %q", a.status, doc.Errors[0].Code)
	}
	if doc.Errors[0].Code != a.code || named == "" {
		return fmt.Errorf("status %d with the code %q in the body and %q in the header", a.status, doc.Errors[0].Code, named)
	}
	a.message = doc.Errors[0].Message
	return nil
}

// want is what an answer must be.
type want struct {
	status int
	header fields // "": must not be there; after "~" a regular expression
	body   *string
	code   string // of an error
	says   string // part of its message
}

func text(s string) *string { return &s }

// expect does c and compares the answer.
func (in *instance) expect(c call, w want) answer {
	in.Helper()
	a := in.do(c)
	if a.status != w.status || a.code != w.code || !strings.Contains(a.message, w.says) {
		in.Errorf("%s %s: %d %s %q, want %d %s %q", c.method, c.path, a.status, a.code, a.message, w.status, w.code, w.says)
	}
	for k, v := range w.header {
		got := strings.Join(a.header.Values(k), ", ")
		if e, ok := strings.CutPrefix(v, "~"); ok {
			if !regexp.MustCompile("^(?:" + e + ")$").MatchString(got) {
				in.Errorf("%s %s: %s is %q, want it to match %s", c.method, c.path, k, got, e)
			}
		} else if got != v {
			in.Errorf("%s %s: %s is %q, want %q", c.method, c.path, k, got, v)
		}
	}
	if w.body != nil && a.body != *w.body {
		in.Errorf("%s %s: %d bytes, want %d: %.200q", c.method, c.path, len(a.body), len(*w.body), a.body)
	}
	return a
}
