package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
)

// pinOf is the authority that an enrolment token names: the token came from central
// ops, so what it says is believed; "" where it names none.
func pinOf(token string) string {
	f := strings.Split(token, ".")
	if len(f) != 7 || f[0] != "twe2" {
		return ""
	}
	return f[5]
}

func matches(c *x509.Certificate, pin string) bool {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return base64.RawURLEncoding.EncodeToString(sum[:16]) == pin
}

func holdsPin(ca []byte, pin string) bool {
	for block, rest := pem.Decode(ca); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && matches(c, pin) {
			return true
		}
	}
	return false
}

// pinned trusts what this machine trusts, and the authority that the token names.
func pinned(host, pin string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         host,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies, by the system or by the pin
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("the server shows no certificate")
			}
			o := x509.VerifyOptions{DNSName: host, Intermediates: x509.NewCertPool()}
			for _, c := range s.PeerCertificates[1:] {
				o.Intermediates.AddCert(c)
			}
			_, err := s.PeerCertificates[0].Verify(o)
			if err == nil {
				return nil
			}
			for _, c := range s.PeerCertificates[1:] {
				if matches(c, pin) {
					o.Roots = x509.NewCertPool()
					o.Roots.AddCert(c)
					_, err = s.PeerCertificates[0].Verify(o)
				}
			}
			return err
		},
	}
}
