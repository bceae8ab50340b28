// Package identity keeps what an agent proves itself by: a key made on this host and
// the certificate that the aggregator signed for it. It asks for the next one at about
// two thirds of its life, and uses that from the next connection on.
//
// Promises: the key never leaves the host; at every moment the files hold a pair that
// was let in before, until another one was. It stops at the network: the link carries
// what is asked and answered.
package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"tillwire/protocol"
)

// next is appended to the names of a pair that was not let in yet.
const next = ".next"

// Files are where an identity is kept.
type Files struct {
	Cert string // PEM, with the certificates between it and the root
	Key  string // PEM, mode 0600
	CA   string // PEM roots that the aggregator is known by; "" leaves them alone
}

// Identity is an agent's pair. It is safe for concurrent use.
//
//	current ──Request, Take──▶ current + next ──let in with next──▶ current = next
//	                                 └──refused: the other one is tried, in turn
type Identity struct {
	f Files

	mu      sync.Mutex // guards what follows
	current tls.Certificate
	next    *tls.Certificate
	tries   int
	using   *tls.Certificate  // of the last Certificate
	asked   *ecdsa.PrivateKey // of a request without an answer yet
	csr     []byte
}

// Open reads the pair, finishing a change that a stop has cut.
func Open(f Files) (*Identity, error) {
	i := &Identity{f: f}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		// settle renames the key before the certificate.
		half, err2 := tls.LoadX509KeyPair(f.Cert+next, f.Key)
		if err2 != nil {
			return nil, fmt.Errorf("read link.cert_file and link.key_file: %w; enrol this host again with --again", err)
		}
		if err := os.Rename(f.Cert+next, f.Cert); err != nil {
			return nil, fmt.Errorf("finish the renewal: %w", err)
		}
		pair = half
	}
	i.current = pair
	if p, err := tls.LoadX509KeyPair(f.Cert+next, f.Key+next); err == nil {
		i.next = &p
	}
	return i, nil
}

// Certificate is what to show on the next connection; it is for
// tls.Config.GetClientCertificate.
func (i *Identity) Certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.using = &i.current
	if i.next != nil {
		if i.tries%2 == 0 {
			i.using = i.next
		}
		i.tries++
	}
	return i.using, nil
}

// Connected tells that the last Certificate was let in: where it is the new one, it
// takes the place of the other.
func (i *Identity) Connected() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.next == nil || i.using != i.next {
		return nil
	}
	// Between the two renames the key is the new one and the certificate is not: Open
	// knows that, and goes on from there.
	if err := os.Rename(i.f.Key+next, i.f.Key); err != nil {
		return fmt.Errorf("settle the renewed certificate: %w", err)
	}
	if err := os.Rename(i.f.Cert+next, i.f.Cert); err != nil {
		return fmt.Errorf("settle the renewed certificate: %w", err)
	}
	i.current, i.next, i.using, i.tries = *i.next, nil, nil, 0
	return nil
}

// Ends tells when the certificate in use ends, and when it is to be renewed.
func (i *Identity) Ends() (notAfter, renew time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current.Leaf.NotAfter, renewAt(i.current.Leaf)
}

// spreadShare is the share of a certificate's life over which renewals are spread.
const spreadShare = 12

// renewAt is when a certificate is to be renewed: at two thirds of its life, as ACME
// clients do, give or take a 24th of it. A chain that is enrolled by mass deployment
// within an hour would else ask in the same hour for ever; so its 4,000 hosts ask over
// 2.6 of 31 days, one a minute. The place in that window comes from a hash of the
// certificate: it needs no memory, is the same after a restart, and another with each
// certificate, so that hosts drift further apart. kubelet's window of 70 to 90 % is wider
// and later; here the latest moment leaves 7/24 of the life, nine days in which a store
// may be dark or the authority away, and stands well before 5/6 of the life, where the
// aggregator calls the certificate overdue.
func renewAt(c *x509.Certificate) time.Time {
	life := c.NotAfter.Sub(c.NotBefore)
	sum := sha256.Sum256(c.Raw)
	window := max(life/spreadShare, 1)
	at := time.Duration(binary.BigEndian.Uint64(sum[:8]) % uint64(window)) //nolint:gosec // below a window
	return c.NotBefore.Add(life*2/3 - window/2 + at)
}

// Request is the request for the next certificate, where one is due. The same is
// asked until it is answered; the aggregator signs it as often as it is asked.
func (i *Identity) Request(now time.Time) (csr []byte, due bool, err error) {
	if _, at := i.Ends(); now.Before(at) {
		return nil, false, nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.asked == nil {
		key, csr, err := NewRequest(i.current.Leaf.Subject.CommonName)
		if err != nil {
			return nil, false, err
		}
		i.asked, i.csr = key, csr
	}
	return i.csr, true, nil
}

// Take keeps the answer, durably, beside the pair in use.
func (i *Identity) Take(r *protocol.Renewed) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if r.Refused != "" {
		return fmt.Errorf("the aggregator does not renew the certificate: %s", r.Refused)
	}
	if i.asked == nil {
		return nil // answered before
	}
	pair, key, err := pairOf([]byte(r.Certificate), i.asked)
	if err != nil {
		return fmt.Errorf("take renewed certificate: %w", err)
	}
	if pair.Leaf.Subject.CommonName != i.current.Leaf.Subject.CommonName {
		return fmt.Errorf("take renewed certificate: it is for %q, this host is %q", pair.Leaf.Subject.CommonName, i.current.Leaf.Subject.CommonName)
	}
	err = write(i.f.Key+next, key)
	if err == nil {
		err = write(i.f.Cert+next, []byte(r.Certificate))
	}
	if err == nil && i.f.CA != "" && r.CA != "" && x509.NewCertPool().AppendCertsFromPEM([]byte(r.CA)) {
		err = write(i.f.CA, []byte(r.CA)) // read at the next start
	}
	if err != nil {
		return fmt.Errorf("keep renewed certificate: %w", err)
	}
	i.next, i.tries, i.asked, i.csr = &pair, 0, nil, nil
	return nil
}

// NewRequest makes a key and asks for a certificate of it.
func NewRequest(name string) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate request: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// Save writes a fresh identity over whatever the files held.
func Save(f Files, certificate, ca []byte, key *ecdsa.PrivateKey) error {
	_, pem, err := pairOf(certificate, key)
	if err != nil {
		return fmt.Errorf("take certificate: %w", err)
	}
	for _, old := range []string{f.Cert + next, f.Key + next} {
		if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the former renewal: %w", err)
		}
	}
	// As in Connected: the key first, so that Open can finish it.
	if err := errors.Join(write(f.Cert+next, certificate), write(f.CA, ca)); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	if err := write(f.Key, pem); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	if err := os.Rename(f.Cert+next, f.Cert); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}

func pairOf(certificate []byte, key *ecdsa.PrivateKey) (tls.Certificate, []byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	k := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	pair, err := tls.X509KeyPair(certificate, k)
	return pair, k, err
}

// write replaces a file whole or not at all, for its owner alone to read.
func write(path string, b []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
