// Package client calls a server's own interface, package api. It knows how to show who one is and how errors come back;
// the operations are named by whoever calls.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sekisho/sekisho/internal/api"
)

// Client calls one server as one caller. It is for concurrent use.
type Client struct {
	// Server is scheme, host and port, without a path.
	Server string
	// Token is a personal access token. Without one, requests are signed with Credentials.
	Token       string
	Credentials aws.Credentials
	Region      string
	HTTP        *http.Client
	UserAgent   string
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 20

// Call calls an operation. out may be nil. Errors: [*api.Error], and those of the connection.
func (c *Client) Call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodPost, operation, nil, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s of %s: %w", operation, c.Server, err)
	case len(text) > maxAnswer:
		return fmt.Errorf("%s of %s: the answer has over %d bytes", operation, c.Server, maxAnswer)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s of %s: the answer is not what was expected: %w", operation, c.Server, err)
	}
	return nil
}

// Get opens a stream. path is below [api.Prefix], its parts escaped.
func (c *Client) Get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// do returns an answer that is a success.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte) (*http.Response, error) {
	address := strings.TrimSuffix(c.Server, "/") + api.Prefix + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.UserAgent != "" {
		req.Header.Set("User-Agent", c.UserAgent)
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	} else {
		sum := sha256.Sum256(body)
		if err := v4.NewSigner().SignHTTP(ctx, c.Credentials, req, hex.EncodeToString(sum[:]), api.SigningName, c.Region, time.Now()); err != nil {
			return nil, fmt.Errorf("sign the request: %w", err)
		}
	}
	resp, err := cmp.Or(c.HTTP, http.DefaultClient).Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, fmt.Errorf("call %s: %w", c.Server, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error *api.Error `json:"error"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Error == nil {
		return nil, fmt.Errorf("%s answered %s to %s: %s", c.Server, resp.Status, path, strings.TrimSpace(string(text[:min(len(text), 200)])))
	}
	answer.Error.Status = resp.StatusCode
	return nil, answer.Error
}
