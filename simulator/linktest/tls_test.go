package linktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"
)

// authority makes a certificate for loopback and the pool that trusts it.
func authority(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

func TestTLS(t *testing.T) {
	server, pool := authority(t)
	c := newChainTLS(t, server)
	trusting := newShop(c, "S1")
	trusting.tls = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}
	trusting.open()
	trusting.sell(300)
	trusting.settled(300)

	stranger := newShop(c, "S2") // the system's authorities do not know this one
	stranger.tls = &tls.Config{MinVersion: tls.VersionTLS13}
	stranger.open()
	stranger.sell(1)
	wait(t, "refusal", func() string {
		if st := stranger.link.Status(); st.DialErrors > 1 && !st.Connected && st.LastError != "" {
			return ""
		}
		return "not refused"
	})
	if c.sold("S2") != 0 {
		t.Fatal("an untrusted aggregator was told of sales")
	}
}
