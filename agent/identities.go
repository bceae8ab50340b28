package agent

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"tillwire/agent/identity"
)

// Files of the identity, in the data folder: the service renews them there.
const (
	identityCert = "identity.crt"
	identityKey  = "identity.key"
	identityCA   = "ca.crt"
)

// Request makes a key for this host and asks for a certificate of it.
func Request(c *Config) (*ecdsa.PrivateKey, []byte, error) {
	return identity.NewRequest(c.Store + "/" + c.Agent)
}

// SaveIdentity keeps what a host was enrolled with in its data folder, and has the
// configuration name it.
func SaveIdentity(c *Config, certificate, ca []byte, key *ecdsa.PrivateKey) error {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	f := identity.Files{
		Cert: filepath.Join(c.DataDir, identityCert), Key: filepath.Join(c.DataDir, identityKey), CA: filepath.Join(c.DataDir, identityCA),
	}
	if err := identity.Save(f, certificate, ca, key); err != nil {
		return err
	}
	c.Link.CertFile, c.Link.KeyFile, c.Link.CAFile, c.Link.Token = f.Cert, f.Key, f.CA, ""
	return giveToOwner(c.DataDir, f.Cert, f.Key, f.CA)
}

// SaveCA keeps the authority behind the broker, where the host has a token.
func SaveCA(c *Config, ca []byte) error {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	c.Link.CAFile = filepath.Join(c.DataDir, identityCA)
	if err := os.WriteFile(c.Link.CAFile, ca, 0o600); err != nil {
		return fmt.Errorf("write authority: %w", err)
	}
	return giveToOwner(c.DataDir, c.Link.CAFile)
}

func (a *Agent) tlsConfig() (*tls.Config, error) {
	if !strings.HasPrefix(a.cfg.Link.Broker, "mqtts://") {
		return nil, nil //nolint:nilnil // no TLS is a configuration
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	if l := &a.cfg.Link; l.CertFile != "" {
		f := identity.Files{Cert: l.CertFile, Key: l.KeyFile}
		if filepath.Dir(l.CAFile) == filepath.Clean(a.cfg.DataDir) { // ours to renew; another is the operator's
			f.CA = l.CAFile
		}
		var err error
		if a.identity, err = identity.Open(f); err != nil {
			return nil, err
		}
		c.GetClientCertificate = a.identity.Certificate
	}
	if a.cfg.Link.CAFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(a.cfg.Link.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read link.ca_file: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read link.ca_file: %s holds no PEM certificate", a.cfg.Link.CAFile)
	}
	return c, nil
}
