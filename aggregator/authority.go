package aggregator

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"tillwire/aggregator/identity"
)

// What can be done with the authority of a data folder without serving it. An
// aggregator that runs works with what it has read at its start.

// Authority is what people are told of it.
type Authority struct {
	Pin   string
	Roots []byte // PEM
	Ends  time.Time
	Near  bool
}

func told(ca *identity.CA, err error) (Authority, error) {
	if err != nil {
		return Authority{}, err
	}
	at, near := ca.Ends()
	return Authority{Pin: ca.Pin(), Roots: ca.RootsPEM(), Ends: at, Near: near}, nil
}

// InitAuthority makes one.
func InitAuthority(c Config) (Authority, error) {
	return told(identity.Init(c.DataDir, caName, time.Now))
}

// ShowAuthority reads it.
func ShowAuthority(c Config) (Authority, error) { return told(identity.Open(c.DataDir, time.Now)) }

// ExportRoot writes root and key to a file; remove takes the key out of the folder.
func ExportRoot(c Config, to string, remove bool) error {
	return identity.ExportRoot(c.DataDir, to, remove)
}

// RequestAuthority makes a request for an issuing certificate, to be signed elsewhere.
func RequestAuthority(c Config) ([]byte, error) {
	return identity.Request(c.DataDir, caName+" issuing")
}

// ImportAuthority has an issuing certificate of another authority sign from now on.
func ImportAuthority(c Config, chain, roots, key []byte) (Authority, error) {
	return told(identity.Import(c.DataDir, chain, roots, key, time.Now))
}

// TrustRoot adds a root to those that agents learn when they renew.
func TrustRoot(c Config, roots []byte) (Authority, error) {
	return told(identity.Trust(c.DataDir, roots, time.Now))
}

// AskTLS is how to reach the aggregator of a data folder over HTTPS, whatever name
// its certificate has: what counts is that the key is its own.
func AskTLS(c Config) (*tls.Config, error) {
	if !c.HTTP.secure() {
		return nil, nil //nolint:nilnil // no TLS is a configuration
	}
	var own func(leaf *x509.Certificate, shown []*x509.Certificate) error
	if c.HTTP.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.HTTP.CertFile, c.HTTP.KeyFile)
		if err != nil {
			return nil, err
		}
		own = func(leaf *x509.Certificate, _ []*x509.Certificate) error {
			if !leaf.Equal(pair.Leaf) {
				return errors.New("another certificate answers than that of http.cert_file")
			}
			return nil
		}
	} else {
		ca, err := identity.Open(c.DataDir, time.Now)
		if err != nil {
			return nil, err
		}
		own = func(_ *x509.Certificate, shown []*x509.Certificate) error { return ca.VerifyServer(shown) }
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection knows the very certificate
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("no certificate was shown")
			}
			return own(s.PeerCertificates[0], s.PeerCertificates)
		},
	}, nil
}
