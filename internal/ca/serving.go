package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"
)

// servingLife is how long a [Serving] certificate is good for. A new one is made when a
// third of it is left.
const servingLife = 90 * 24 * time.Hour

// Serving is a server's certificate that never ends: it and its key are in memory only,
// and made anew at each start and when it is time.
type Serving struct {
	authority *Authority
	names     []string

	mu    sync.Mutex
	pair  *tls.Certificate // guarded by mu
	renew time.Time        // guarded by mu
}

// Serve returns a certificate for names, as [Authority.Issue] takes them.
func (a *Authority) Serve(names []string) (*Serving, error) {
	s := &Serving{authority: a, names: names}
	_, err := s.Certificate(nil)
	return s, err
}

// Certificate returns the certificate of now. If it can't be renewed it is the old one
// as long as that lasts.
func (s *Serving) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.authority.now()
	if s.pair != nil && now.Before(s.renew) {
		return s.pair, nil
	}
	pair, err := s.make()
	if err != nil {
		if s.pair != nil && now.Before(s.pair.Leaf.NotAfter) {
			return s.pair, nil
		}
		return nil, fmt.Errorf("renew the certificate: %w", err)
	}
	s.pair = pair
	s.renew = now.Add(pair.Leaf.NotAfter.Sub(now) * 2 / 3)
	return s.pair, nil
}

func (s *Serving) make() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := s.authority.sign(key, s.names, servingLife)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
