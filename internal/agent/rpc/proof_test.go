package rpc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"
)

func TestProof(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	body := sha256.Sum256([]byte("body"))
	for name, key := range map[string]crypto.Signer{"ed25519": ed, "p256": ec} {
		t.Run(name, func(t *testing.T) {
			header, err := Sign(key, "POST", "/a?b=c", "token", body, time.UnixMilli(1234))
			if err != nil {
				t.Fatal(err)
			}
			p, err := ParseProof(header)
			if err != nil {
				t.Fatal(err)
			}
			if p.Time.UnixMilli() != 1234 || p.Body != body {
				t.Errorf("read back %+v", p)
			}
			for _, c := range []struct {
				what                  string
				key                   any
				method, target, token string
				ok                    bool
			}{
				{"as signed", key.Public(), "POST", "/a?b=c", "token", true},
				{"another method", key.Public(), "PUT", "/a?b=c", "token", false},
				{"another query", key.Public(), "POST", "/a?b=d", "token", false},
				{"another token", key.Public(), "POST", "/a?b=c", "token2", false},
				{"no token", key.Public(), "POST", "/a?b=c", "", false},
				{"another key", other.Public(), "POST", "/a?b=c", "token", false},
				{"no key", nil, "POST", "/a?b=c", "token", false},
			} {
				if err := p.Verify(c.key, c.method, c.target, c.token); (err == nil) != c.ok {
					t.Errorf("%s: %v", c.what, err)
				}
			}
			p.Body[0] ^= 1
			if p.Verify(key.Public(), "POST", "/a?b=c", "token") == nil {
				t.Error("another body is taken")
			}
		})
	}
}

func FuzzParseProof(f *testing.F) {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	header, _ := Sign(key, "POST", "/", "", sha256.Sum256(nil), time.UnixMilli(1))
	f.Add(header)
	f.Add("v1 t=-1 n= b= s=")
	f.Fuzz(func(t *testing.T, header string) {
		p, err := ParseProof(header)
		if err != nil {
			return
		}
		if len(p.signature) == 0 || p.Nonce == "" {
			t.Errorf("%q gives %+v", header, p)
		}
		_ = p.Verify(key.Public(), "POST", "/", "")
	})
}
