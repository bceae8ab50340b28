package aggregator

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const certLookEvery = 5 * time.Second

// certFiles is a certificate in files, read again when they change: whoever renews it
// (certbot, cert-manager) need not restart anything. A pair that does not fit, as
// between the writing of two files, leaves the one before in use.
type certFiles struct {
	cert, key string
	log       zerolog.Logger

	mu     sync.Mutex // guards what follows
	now    *tls.Certificate
	looked time.Time
	seen   [2]time.Time // modification times of what is in use, or was refused last
}

func openCertFiles(cert, key string, log zerolog.Logger) (*certFiles, error) {
	c := &certFiles{cert: cert, key: key, log: log}
	c.seen = c.times()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	c.now, c.looked = &pair, time.Now()
	return c, nil
}

func (c *certFiles) times() (t [2]time.Time) {
	for i, path := range []string{c.cert, c.key} {
		if info, err := os.Stat(path); err == nil {
			t[i] = info.ModTime()
		}
	}
	return t
}

// get is for tls.Config.GetCertificate.
func (c *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < certLookEvery {
		return c.now, nil
	}
	c.looked = time.Now()
	t := c.times()
	if t == c.seen {
		return c.now, nil
	}
	c.seen = t
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		c.log.Error().Err(err).Str("file", c.cert).Msg("certificate changed and cannot be read; the one before stays in use")
		return c.now, nil
	}
	c.log.Info().Str("file", c.cert).Time("not_after", pair.Leaf.NotAfter).Msg("certificate read again")
	c.now = &pair
	return c.now, nil
}

// tlsConfig is that of a port: a certificate from files, or issued by our own authority.
func (a *Aggregator) tlsConfig(what, certFile, keyFile string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true} // each connection shows its certificate anew
	if certFile == "" {
		c.GetCertificate = a.server.Certificate
		return c, nil
	}
	files, err := openCertFiles(certFile, keyFile, a.deps.Log)
	if err != nil {
		return nil, fmt.Errorf("load %s certificate: %w", what, err)
	}
	c.GetCertificate = files.get
	return c, nil
}
