// Package ca is a private certificate authority in a folder: one root, made once, that
// issues certificates for servers, where there is no public authority to ask.
//
// Invariants:
//
//   - The root's key never leaves its file, which only its owner can read, and memory.
//   - What is issued is for the names that were asked for and good for servers alone,
//     ends before the root does, and has been verified against it as a client would.
//   - The root signs servers' certificates only: it can make no further authority.
//
// It is no public key infrastructure: it keeps no list of what it issued and revokes
// nothing. Certificates end soon instead.
package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/durable"
)

// Files of the folder.
const (
	CertFile = "ca.crt"
	keyFile  = "ca.key"
)

const (
	rootLife = 10 * 365 * 24 * time.Hour
	// MaxLife is the longest that what is issued is good for: clients of some systems
	// refuse more (Apple, HT211025: 398 days, 825 under an authority of one's own).
	MaxLife = 397 * 24 * time.Hour
	// clockSkew is how far behind a client's clock may be.
	clockSkew = time.Hour
)

// ErrExists means that the folder has an authority already.
var ErrExists = errors.New("there is an authority already")

// Authority is an open authority.
type Authority struct {
	root *x509.Certificate
	pem  []byte
	key  *ecdsa.PrivateKey
	now  func() time.Time
}

// Create makes a folder and an authority in it. permit, if not empty, has the domains,
// with what is below them, addresses and prefixes that it can issue for at all; clients
// hold it to them. localhost and its addresses are always among them. now is time.Now
// outside tests. Errors: [ErrExists].
func Create(dir string, permit []string, now func() time.Time) (*Authority, error) {
	if err := vacant(dir); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := rootTemplate(key, permit, now())
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make root certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(durable.OS{}, dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of the authority: %w", err)
	}
	if err := put(dir, keyPEM, encodeCert(der)); err != nil {
		return nil, err
	}
	return Open(dir, now)
}

// Copy copies the authority of one folder to another, if there is one here and none
// there.
func Copy(from, to string) error {
	certPEM, err := os.ReadFile(filepath.Join(from, CertFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("copy authority: %w", err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(from, keyFile))
	if err != nil {
		return fmt.Errorf("copy authority: %w", err)
	}
	if err := vacant(to); errors.Is(err, ErrExists) {
		return nil
	} else if err != nil {
		return err
	}
	if err := durable.MkdirAll(durable.OS{}, to, 0o700); err != nil {
		return fmt.Errorf("copy authority: %w", err)
	}
	return put(to, keyPEM, certPEM)
}

// put writes the files of an authority, the certificate last: it is what says that there
// is one. Where that can't be written, the key is not left behind: it would be in the way of
// the next attempt.
func put(dir string, keyPEM, certPEM []byte) error {
	if err := durable.WriteFile(durable.OS{}, filepath.Join(dir, keyFile), keyPEM, 0o600); err != nil {
		return fmt.Errorf("write the authority's key: %w", err)
	}
	if err := durable.WriteFile(durable.OS{}, filepath.Join(dir, CertFile), certPEM, 0o644); err != nil {
		if _, there := os.Lstat(filepath.Join(dir, CertFile)); errors.Is(there, fs.ErrNotExist) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, keyFile)))
		}
		return fmt.Errorf("write root certificate: %w", err)
	}
	return nil
}

// vacant returns an error if something of an authority is in a folder.
func vacant(dir string) error {
	there := map[string]bool{}
	for _, name := range []string{keyFile, CertFile} {
		_, err := os.Lstat(filepath.Join(dir, name))
		if there[name] = err == nil; err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make authority: %w", err)
		}
	}
	switch {
	case there[CertFile]:
		return fmt.Errorf("make authority in %s: %w", dir, ErrExists)
	case there[keyFile]:
		return fmt.Errorf("make authority: %s has %s without %s: restore that, or remove the key", dir, keyFile, CertFile)
	}
	return nil
}

func rootTemplate(key *ecdsa.PrivateKey, permit []string, now time.Time) (*x509.Certificate, error) {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(public)
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		// A name of its own, so that nobody takes one authority's root for another's.
		Subject:               pkix.Name{Organization: []string{"Sekisho"}, CommonName: "Sekisho private CA " + hex.EncodeToString(id[:4])},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		SubjectKeyId:          id[:20],
	}
	if len(permit) == 0 {
		return t, nil
	}
	t.PermittedDNSDomainsCritical = true
	for _, p := range append(slices.Clone(permit), "localhost", "127.0.0.0/8", "::1") {
		if prefix, err := netip.ParsePrefix(p); err == nil {
			t.PermittedIPRanges = append(t.PermittedIPRanges, ipNet(prefix.Masked()))
		} else if addr, err := netip.ParseAddr(p); err == nil {
			t.PermittedIPRanges = append(t.PermittedIPRanges, ipNet(netip.PrefixFrom(addr, addr.BitLen())))
		} else if IsName(p) && !strings.HasPrefix(p, "*.") {
			t.PermittedDNSDomains = append(t.PermittedDNSDomains, strings.ToLower(p))
		} else {
			return nil, fmt.Errorf("%q is neither a domain nor an address nor a prefix such as 10.0.0.0/8", p)
		}
	}
	return t, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// ReadRoot reads the root certificate of a folder; the key may be elsewhere. Errors:
// [fs.ErrNotExist].
func ReadRoot(dir string) (root *x509.Certificate, rootPEM []byte, err error) {
	rootPEM, err = os.ReadFile(filepath.Join(dir, CertFile))
	if err != nil {
		return nil, nil, fmt.Errorf("read root certificate: %w", err)
	}
	block, _ := pem.Decode(rootPEM)
	if block == nil {
		return nil, nil, fmt.Errorf("read root certificate: %s is not PEM", filepath.Join(dir, CertFile))
	}
	if root, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, nil, fmt.Errorf("read root certificate: %w", err)
	}
	return root, rootPEM, nil
}

// Open opens the authority of a folder. Errors: [fs.ErrNotExist], if there is none.
func Open(dir string, now func() time.Time) (*Authority, error) {
	a := &Authority{now: now}
	var err error
	if a.root, a.pem, err = ReadRoot(dir); err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("read the authority's key: %v", err) // not ErrNotExist: there is an authority
	}
	key, _ := pem.Decode(keyPEM)
	if key == nil {
		return nil, fmt.Errorf("read the authority's key: %s is not PEM", filepath.Join(dir, keyFile))
	}
	private, err := x509.ParsePKCS8PrivateKey(key.Bytes)
	if err != nil {
		return nil, errors.New("read the authority's key: it is not in PKCS #8") // nothing of what the file has
	}
	var ok bool
	if a.key, ok = private.(*ecdsa.PrivateKey); !ok || !a.key.PublicKey.Equal(a.root.PublicKey) {
		return nil, fmt.Errorf("%s: %s is not the key of %s", dir, keyFile, CertFile)
	}
	return a, nil
}

// PEM returns the root certificate, for clients to install.
func (a *Authority) PEM() []byte { return bytes.Clone(a.pem) }

// Root returns the root certificate. It must not be changed.
func (a *Authority) Root() *x509.Certificate { return a.root }

// Issue returns a new certificate and its key, in PEM, for host names, which may begin
// with the wildcard *., and addresses. The first is also its common name. life is at
// most [MaxLife].
func (a *Authority) Issue(names []string, life time.Duration) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := a.sign(key, names, life)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err = encodeKey(key)
	return encodeCert(der), keyPEM, err
}

func (a *Authority) sign(key *ecdsa.PrivateKey, names []string, life time.Duration) ([]byte, error) {
	if len(names) == 0 || life <= 0 || life > MaxLife {
		return nil, fmt.Errorf("issue certificate: %d names for %s, at most %s", len(names), life, MaxLife)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := a.now()
	t := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if t.NotAfter.After(a.root.NotAfter) {
		t.NotAfter = a.root.NotAfter
	}
	for _, name := range names {
		if addr, err := netip.ParseAddr(name); err == nil {
			t.IPAddresses = append(t.IPAddresses, addr.Unmap().WithZone("").AsSlice())
		} else if IsName(name) {
			t.DNSNames = append(t.DNSNames, strings.ToLower(name))
		} else {
			return nil, fmt.Errorf("issue certificate: %q is neither a host name nor an address", name)
		}
	}
	if len(names[0]) <= 64 { // X.520's bound
		t.Subject.CommonName = names[0]
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.root, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	return der, a.verify(der, now)
}

// verify looks at a certificate as a client does.
func (a *Authority) verify(der []byte, now time.Time) error {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("issue certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.root)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
		return fmt.Errorf("issue certificate: %w", err)
	}
	return nil
}

// Permits reports whether the authority can issue for a name or address.
func (a *Authority) Permits(name string) bool {
	if len(a.root.PermittedDNSDomains)+len(a.root.PermittedIPRanges) == 0 {
		return true
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return slices.ContainsFunc(a.root.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(addr.AsSlice()) })
	}
	name = strings.ToLower(strings.TrimPrefix(name, "*."))
	return slices.ContainsFunc(a.root.PermittedDNSDomains, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
}

// IsName reports whether s is a host name that a certificate can be for; the leftmost
// label may be the wildcard.
func IsName(s string) bool {
	if s = strings.TrimPrefix(s, "*."); len(s) > 250 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || 'z' < c) && (c < 'A' || 'Z' < c) && (c < '0' || '9' < c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// newSerial returns 127 random bits (RFC 5280 section 4.1.2.2: positive, at most 20 octets).
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
