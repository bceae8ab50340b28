package identity

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"tillwire/protocol"
)

// uriPrefix begins the URI in an agent's certificate: tillwire://store/agent.
const uriScheme = "tillwire"

// ErrRequest is what a host asked to be signed and may not be.
var ErrRequest = errors.New("certificate request is not acceptable")

// AgentCert signs a host's request for a certificate of an agent. Of the request
// only the key is taken: names are ours to write.
func (c *CA) AgentCert(o protocol.Origin, csr []byte, life time.Duration) (*x509.Certificate, error) {
	key, err := requested(csr)
	if err != nil {
		return nil, err
	}
	now := c.now()
	// A certificate must not outlive who signed it: nobody could verify it then.
	until := now.Add(life)
	if last := c.chain[0].NotAfter; until.After(last) {
		until = last
	}
	return issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: o.String()}, NotBefore: now.Add(-min(backdateMax, life/10)), NotAfter: until,
		URIs:        []*url.URL{{Scheme: uriScheme, Host: string(o.Store), Path: "/" + string(o.Agent)}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}, c.chain[0], key, c.key, now)
}

// CheckRequest says whether a request could be signed.
func CheckRequest(csr []byte) error {
	_, err := requested(csr)
	return err
}

func requested(csr []byte) (crypto.PublicKey, error) {
	if len(csr) > csrBytesMax {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrRequest, len(csr), csrBytesMax)
	}
	block, _ := pem.Decode(csr)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, fmt.Errorf("%w: it is no PEM CERTIFICATE REQUEST", ErrRequest)
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if err := r.CheckSignature(); err != nil { // proof that the host holds the key
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if r.PublicKeyAlgorithm != x509.ECDSA && r.PublicKeyAlgorithm != x509.Ed25519 {
		return nil, fmt.Errorf("%w: its key is %s; make an ECDSA P-256 or Ed25519 key", ErrRequest, r.PublicKeyAlgorithm)
	}
	return r.PublicKey, nil
}

// ChainPEM is a certificate with those between it and the root.
func (c *CA) ChainPEM(leaf *x509.Certificate) []byte {
	return certsPEM(append([]*x509.Certificate{leaf}, c.chain...)...)
}

// Peer is who a certificate names.
type Peer struct {
	Origin  protocol.Origin
	Issued  Issued
	Expired bool // within the grace: good for renewing and nothing else
}

// Errors of Verify.
var (
	ErrNoCertificate = errors.New("no client certificate was shown")
	ErrForeign       = errors.New("client certificate is not of this chain's authority")
	ErrExpired       = errors.New("client certificate has expired and its grace is over")
)

// Verify judges the certificates that a peer has shown, its own first. The
// handshake has proved that it holds the key.
func (c *CA) Verify(shown []*x509.Certificate, grace time.Duration) (Peer, error) {
	if len(shown) == 0 {
		return Peer{}, ErrNoCertificate
	}
	if len(shown) > chainMax {
		return Peer{}, fmt.Errorf("%w: %d certificates were shown, at most %d are read", ErrForeign, len(shown), chainMax)
	}
	leaf, now := shown[0], c.now()
	p := Peer{Issued: Of(leaf), Expired: now.After(leaf.NotAfter)}
	if p.Expired && now.Sub(leaf.NotAfter) > grace {
		return Peer{}, fmt.Errorf("%w: it ended %s; enrol the host again", ErrExpired, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	at := now
	if p.Expired {
		at = leaf.NotAfter
	}
	between := c.between.Clone()
	for _, i := range shown[1:] { // signed by an issuing certificate that was followed by another
		between.AddCert(i)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: c.pool, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if p.Origin, err = originOf(leaf); err != nil {
		return Peer{}, err
	}
	return p, nil
}

// originOf reads the names, which must agree.
func originOf(leaf *x509.Certificate) (protocol.Origin, error) {
	store, agent, ok := strings.Cut(leaf.Subject.CommonName, "/")
	if !ok || protocol.CheckName(store) != nil || protocol.CheckName(agent) != nil {
		return protocol.Origin{}, fmt.Errorf("%w: its name %q is not store/agent", ErrForeign, leaf.Subject.CommonName)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].Scheme != uriScheme || leaf.URIs[0].Host != store || leaf.URIs[0].Path != "/"+agent {
		return protocol.Origin{}, fmt.Errorf("%w: its URI does not name %s/%s", ErrForeign, store, agent)
	}
	return protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)}, nil
}

// Server keeps the certificate that this aggregator shows: issued from the
// authority, under the names given, and anew at two thirds of its life.
type Server struct {
	ca    *CA
	names []string

	mu   sync.Mutex // guards cert
	cert *tls.Certificate
}

// NewServer issues the first one.
func NewServer(ca *CA, names []string) (*Server, error) {
	s := &Server{ca: ca}
	for _, n := range names {
		if n != "" && !slices.Contains(s.names, n) {
			s.names = append(s.names, n)
		}
	}
	_, err := s.Certificate(nil)
	return s, err
}

// Certificate is for tls.Config.GetCertificate.
func (s *Server) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.ca.now()
	if s.cert != nil && now.Before(RenewAt(s.cert.Leaf)) {
		return s.cert, nil
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		Subject: pkix.Name{CommonName: "tillwire-aggregator"}, NotBefore: now.Add(-backdateMax), NotAfter: now.Add(serverLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if last := s.ca.chain[0].NotAfter; c.NotAfter.After(last) {
		c.NotAfter = last
	}
	for _, n := range s.names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	leaf, err := issue(c, s.ca.chain[0], key.Public(), s.ca.key, now)
	if err != nil {
		return nil, err
	}
	s.cert = s.ca.tlsCertificate(leaf, key)
	return s.cert, nil
}

// RenewAt is when two thirds of a certificate's life are over.
func RenewAt(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
}

// VerifyServer judges the certificates that an aggregator shows, by any name.
func (c *CA) VerifyServer(shown []*x509.Certificate) error {
	_, err := shown[0].Verify(x509.VerifyOptions{
		Roots: c.pool, Intermediates: c.between, CurrentTime: c.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}
