package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/rogpeppe/go-internal/testscript"
)

const issuerKeyID = "e2e"

// cmdIssuer makes an issuer of identity tokens, whose public key set goes to a file: issuer FILE.
func cmdIssuer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: issuer FILE")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	worldOf(ts).issuer = key
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: key.Public(), KeyID: issuerKeyID, Algorithm: string(jose.ES256), Use: "sig"},
	}})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), set, 0o600))
}

// cmdIDToken writes an identity token of the issuer, good for some minutes: idtoken FILE CLAIM=VALUE...
func cmdIDToken(ts *testscript.TestScript, neg bool, args []string) {
	key := worldOf(ts).issuer
	if neg || len(args) < 2 || key == nil {
		ts.Fatalf("usage: idtoken FILE CLAIM=VALUE..., after issuer")
	}
	now := time.Now()
	claims := map[string]any{"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	for _, claim := range args[1:] {
		name, value, _ := strings.Cut(claim, "=")
		claims[name] = value
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: issuerKeyID}}, nil)
	ts.Check(err)
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(token), 0o600))
}
