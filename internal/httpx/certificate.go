package httpx

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateCheck is how often, at most, handshakes look whether the files changed.
const certificateCheck = 5 * time.Second

// Certificate is a key pair in PEM files, read again when they change, so that a
// renewal needs no restart.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	mu      sync.Mutex
	pair    *tls.Certificate
	stamp   [2]fileStamp // of the files pair was read from
	checked time.Time
}

// fileStamp changes when a file does, also when a symlink is switched to another.
type fileStamp struct {
	modified time.Time
	size     int64
}

// LoadCertificate reads the pair; now is time.Now outside tests.
func LoadCertificate(certFile, keyFile string, log *slog.Logger, now func() time.Time) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, now: now, checked: now()}
	if _, err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// get keeps serving the old pair while the new one cannot be read, or is half
// written: its certificate then does not match its key.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		switch changed, err := c.load(); {
		case err != nil:
			c.log.Error("TLS certificate not renewed, serving the old one", "err", err)
		case changed:
			c.log.Info("TLS certificate renewed", "file", c.certFile)
		}
	}
	return c.pair, nil
}

// load reads the files if they changed since they were last read.
func (c *Certificate) load() (changed bool, err error) {
	var stamp [2]fileStamp
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return false, fmt.Errorf("read TLS certificate: %w", err)
		}
		stamp[i] = fileStamp{info.ModTime(), info.Size()}
	}
	if stamp == c.stamp {
		return false, nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return false, fmt.Errorf("read TLS certificate %s and key %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair, c.stamp = &pair, stamp
	return true, nil
}
