package agent

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/sekisho/sekisho/internal/agent/rpc"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
)

// The authentication types.
const (
	AuthPAT  = "pat"     // a personal access token, or an access key as "<id>:<secret>"
	AuthCode = "code"    // a one-time code of the pool
	AuthOIDC = "oidc"    // an identity token that a rule of the pool is for
	AuthSTS  = "aws-sts" // the AWS credentials of the environment, that a rule of the pool is for
)

// AuthTypes are all there are, the default first.
var AuthTypes = []string{AuthPAT, AuthCode, AuthOIDC, AuthSTS}

// credential is what proves that one may have an agent.
type credential struct {
	header  string // of Authorization; empty: none
	message *agentv1.Credential
}

// newCredential makes a credential of an authentication type. public is the agent's key.
func newCredential(ctx context.Context, auth, token, account, server, region string, public []byte) (*credential, error) {
	switch auth {
	case AuthPAT:
		if strings.HasPrefix(token, "sac_") {
			return nil, errors.New("that is an enrolment code of a pool: its authentication type is code")
		}
		pair := token
		if !strings.Contains(token, ":") {
			pair = "agent:" + token
		}
		return &credential{header: "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))}, nil
	case AuthCode:
		return &credential{message: &agentv1.Credential{Kind: &agentv1.Credential_Code{Code: token}}}, nil
	case AuthOIDC:
		return &credential{message: &agentv1.Credential{Account: account, Kind: &agentv1.Credential_IdentityToken{IdentityToken: token}}}, nil
	case AuthSTS:
		headers, err := signIdentity(ctx, server, region, public)
		if err != nil {
			return nil, err
		}
		return &credential{message: &agentv1.Credential{Account: account, Kind: &agentv1.Credential_SignedRequest{SignedRequest: &agentv1.SignedRequest{Headers: headers}}}}, nil
	}
	return nil, fmt.Errorf("there is no authentication type %q; there are %s", auth, strings.Join(AuthTypes, ", "))
}

// signIdentity signs a request for sts:GetCallerIdentity with the AWS credentials that this machine has, and returns its headers.
// It is good for this server and this key alone.
func signIdentity(ctx context.Context, server, region string, public []byte) (map[string]string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	creds, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("this machine has no AWS credentials, in the environment, in files or from its instance: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/", nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set(rpc.ServerHeader, u.Host)
	r.Header.Set(rpc.KeyHeader, rpc.KeyID(public))
	sum := sha256.Sum256([]byte(rpc.IdentityBody))
	if err := v4.NewSigner().SignHTTP(ctx, creds, r, hex.EncodeToString(sum[:]), "sts", region, time.Now()); err != nil {
		return nil, fmt.Errorf("sign request: %w", err)
	}
	headers := map[string]string{"Host": u.Host}
	for name := range r.Header {
		headers[name] = r.Header.Get(name)
	}
	return headers, nil
}
