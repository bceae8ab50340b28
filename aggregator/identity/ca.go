package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Files of the authority, in its folder.
//
//	root.crt     what agents pin; several may stand in it while one takes another's place
//	root.key     signs issuing certificates only; taken away by export-root
//	issuing.crt  with those above it, without the root
//	issuing.key  signs what agents and the broker show
//	request.key  of a request that is being signed elsewhere
const (
	Folder      = "ca"
	rootCert    = "root.crt"
	rootKey     = "root.key"
	issuingCert = "issuing.crt"
	issuingKey  = "issuing.key"
	requestKey  = "request.key"
)

// ErrNoCA says that a folder holds no authority yet.
var ErrNoCA = errors.New("there is no authority yet; `tillwire-aggregator ca init` makes one")

// CA issues. It is safe for concurrent use: nothing in it changes.
type CA struct {
	roots   []*x509.Certificate
	chain   []*x509.Certificate // issuing first
	key     crypto.Signer
	pool    *x509.CertPool
	between *x509.CertPool
	now     func() time.Time
}

// Open reads the authority of a data folder.
func Open(dataDir string, now func() time.Time) (*CA, error) {
	dir := filepath.Join(dataDir, Folder)
	if _, err := os.Stat(filepath.Join(dir, issuingCert)); errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoCA
	}
	roots, err := readCerts(filepath.Join(dir, rootCert))
	if err != nil {
		return nil, err
	}
	chain, err := readCerts(filepath.Join(dir, issuingCert))
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, issuingKey))
	if err != nil {
		return nil, err
	}
	return newCA(roots, chain, key, now)
}

func newCA(roots, chain []*x509.Certificate, key crypto.Signer, now func() time.Time) (*CA, error) {
	c := &CA{roots: roots, chain: chain, key: key, pool: x509.NewCertPool(), between: x509.NewCertPool(), now: now}
	for _, r := range roots {
		c.pool.AddCert(r)
	}
	for _, i := range chain {
		c.between.AddCert(i)
	}
	if !samePublic(chain[0].PublicKey, key.Public()) {
		return nil, errors.New("issuing.key is not the key of issuing.crt; import the pair that belongs together")
	}
	if !chain[0].IsCA {
		return nil, errors.New("issuing.crt is not a certificate of an authority (basicConstraints CA:TRUE)")
	}
	o := x509.VerifyOptions{Roots: c.pool, Intermediates: c.between, CurrentTime: now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if _, err := chain[0].Verify(o); err != nil {
		return nil, fmt.Errorf("issuing.crt: %w; import an issuing certificate that root.crt stands for", err)
	}
	return c, nil
}

// Init makes a root and an issuing certificate, where there are none.
func Init(dataDir, name string, now func() time.Time) (*CA, error) {
	dir := filepath.Join(dataDir, Folder)
	if _, err := os.Stat(filepath.Join(dir, rootCert)); err == nil {
		return nil, fmt.Errorf("%s has an authority already; every agent trusts it", dir)
	}
	rk, err := newKey()
	if err != nil {
		return nil, err
	}
	root, err := issue(authority(name+" root", now(), rootLife, 1), nil, rk.Public(), rk, now())
	if err != nil {
		return nil, err
	}
	ik, err := newKey()
	if err != nil {
		return nil, err
	}
	issuing, err := issue(authority(name+" issuing "+now().UTC().Format("2006-01-02"), now(), issuingLife, 0), root, ik.Public(), rk, now())
	if err != nil {
		return nil, err
	}
	// issuing.crt comes last: before it the folder holds no authority, and the next
	// start makes it anew.
	err = os.MkdirAll(dir, 0o700)
	for _, step := range []func() error{
		func() error { return writeKey(filepath.Join(dir, rootKey), rk) },
		func() error { return writeKey(filepath.Join(dir, issuingKey), ik) },
		func() error { return writeFile(filepath.Join(dir, rootCert), certsPEM(root)) },
		func() error { return writeFile(filepath.Join(dir, issuingCert), certsPEM(issuing)) },
	} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write authority: %w", err)
	}
	return Open(dataDir, now)
}

// OpenOrInit is Open, making an authority at the first time.
func OpenOrInit(dataDir, name string, now func() time.Time) (*CA, error) {
	c, err := Open(dataDir, now)
	if errors.Is(err, ErrNoCA) {
		_ = os.Remove(filepath.Join(dataDir, Folder, rootCert)) // of a first start that did not come to its end
		return Init(dataDir, name, now)
	}
	return c, err
}

func authority(name string, now time.Time, life time.Duration, below int) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdateMax), NotAfter: now.Add(life),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: below, MaxPathLenZero: below == 0,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// issue signs a certificate; parent nil signs it with itself. The serial number begins
// with the moment, in microseconds: of two certificates of one name it tells which is
// the newer one, also to a book that was restored from before both.
func issue(c, parent *x509.Certificate, public any, key crypto.Signer, now time.Time) (*x509.Certificate, error) {
	if parent == nil {
		parent = c
	}
	serial := binary.BigEndian.AppendUint64(nil, uint64(max(now.UnixMicro(), 1)))
	serial = append(serial, make([]byte, 8)...)
	_, _ = rand.Read(serial[8:]) // never fails
	c.SerialNumber = new(big.Int).SetBytes(serial)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", c.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

func newKey() (*ecdsa.PrivateKey, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return k, nil
}

func samePublic(a, b any) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// RootsPEM is what agents pin.
func (c *CA) RootsPEM() []byte { return certsPEM(c.roots...) }

// Pin names the newest root in an enrolment token: whoever got the token from
// central ops knows by it whether the authority that answers is theirs.
func (c *CA) Pin() string { return PinOf(c.roots[0]) }

// PinOf is the first 16 bytes of SHA-256 of a certificate's public key.
func PinOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// issuedUS is the moment in a serial number.
func issuedUS(c *x509.Certificate) int64 {
	b := c.SerialNumber.Bytes()
	if len(b) > 16 || len(b) < 9 {
		return 0
	}
	var whole [16]byte
	copy(whole[16-len(b):], b)
	return int64(binary.BigEndian.Uint64(whole[:8]) & (1<<63 - 1))
}

// Of is a certificate as the book writes it down.
func Of(c *x509.Certificate) Issued {
	return Issued{Key: KeyOf(c), Serial: fmt.Sprintf("%x", c.SerialNumber), US: issuedUS(c), NotAfter: c.NotAfter}
}

// KeyOf names a key: SHA-256 of it as it stands in a certificate.
func KeyOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return fmt.Sprintf("%x", sum)
}

// Ends tells when the authority's own certificates end, the first of them, and
// whether that is near enough to be spoken of.
func (c *CA) Ends() (at time.Time, near bool) {
	at = c.chain[0].NotAfter
	for _, x := range append(c.chain[1:], c.roots...) {
		if x.NotAfter.Before(at) {
			at = x.NotAfter
		}
	}
	return at, at.Sub(c.now()) < tellExpiry
}

// tlsCertificate is a certificate with what a peer needs to build its chain.
func (c *CA) tlsCertificate(leaf *x509.Certificate, key crypto.Signer) *tls.Certificate {
	out := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, i := range append(append([]*x509.Certificate{}, c.chain...), c.roots[0]) { // the root too: who enrols knows only its pin
		out.Certificate = append(out.Certificate, i.Raw)
	}
	return out
}
