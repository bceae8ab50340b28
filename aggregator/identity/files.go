package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func readCerts(path string) ([]*x509.Certificate, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	list, err := ParseCerts(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return list, nil
}

// ParseCerts reads PEM certificates, one at least.
func ParseCerts(b []byte) ([]*x509.Certificate, error) {
	if len(b) > fileBytesMax {
		return nil, fmt.Errorf("has %d bytes, at most %d are read", len(b), fileBytesMax)
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no PEM certificate")
	}
	return out, nil
}

func readKey(path string) (crypto.Signer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := parseKey(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return key, nil
}

func parseKey(b []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			key2, err2 := x509.ParseECPrivateKey(block.Bytes)
			if err2 != nil {
				return nil, fmt.Errorf("key is neither PKCS#8 nor EC: %w; convert it with `openssl pkcs8 -topk8 -nocrypt`", err)
			}
			return key2, nil
		}
		if s, ok := key.(crypto.Signer); ok {
			return s, nil
		}
		return nil, errors.New("key cannot sign")
	}
	return nil, errors.New("holds no PEM key")
}

func certsPEM(list ...*x509.Certificate) []byte {
	var b []byte
	for _, c := range list {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return b
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// writeFile writes whole or not at all, readable by the owner alone.
func writeFile(path string, b []byte) error {
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

// ExportRoot copies the root with its key to a file, and takes the key out of the
// folder where remove is set: the aggregator works without it.
func ExportRoot(dataDir, to string, remove bool) error {
	dir := filepath.Join(dataDir, Folder)
	cert, err := os.ReadFile(filepath.Join(dir, rootCert))
	if err != nil {
		return fmt.Errorf("read root: %w", err)
	}
	key, err := os.ReadFile(filepath.Join(dir, rootKey))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("root.key is not in %s: it was exported before, or never was here", dir)
	}
	if err != nil {
		return fmt.Errorf("read root: %w", err)
	}
	if _, err := os.Stat(to); err == nil {
		return fmt.Errorf("%s exists; name a file that does not", to)
	}
	if err := writeFile(to, append(cert, key...)); err != nil {
		return fmt.Errorf("write root: %w", err)
	}
	if !remove {
		return nil
	}
	if err := os.Remove(filepath.Join(dir, rootKey)); err != nil {
		return fmt.Errorf("remove root key: %w", err)
	}
	return nil
}

// Request makes a key and asks for an issuing certificate of it, to be signed by an
// authority elsewhere and brought back by Import.
func Request(dataDir, name string) (csr []byte, err error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	dir := filepath.Join(dataDir, Folder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	if err := writeKey(filepath.Join(dir, requestKey), key); err != nil {
		return nil, fmt.Errorf("write request key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// Import makes another authority's certificate the issuing one. chain begins with
// it and ends with the root or below it; roots holds the root where chain does not;
// key is nil where the key is that of Request. Roots known before stay trusted, so
// that agents which pinned one learn the new one when they renew: bring the new root
// first (Trust), and the new issuing certificate a lifetime later.
func Import(dataDir string, chain, roots []byte, key []byte, now func() time.Time) (*CA, error) {
	dir := filepath.Join(dataDir, Folder)
	list, err := ParseCerts(chain)
	if err != nil {
		return nil, fmt.Errorf("chain %w", err)
	}
	signer, err := importedKey(dir, key)
	if err != nil {
		return nil, err
	}
	var between, tops []*x509.Certificate
	for _, c := range list {
		if c.CheckSignatureFrom(c) == nil && c != list[0] {
			tops = append(tops, c)
			continue
		}
		between = append(between, c)
	}
	if len(roots) > 0 {
		more, err := ParseCerts(roots)
		if err != nil {
			return nil, fmt.Errorf("root %w", err)
		}
		tops = append(tops, more...)
	}
	known, err := readCerts(filepath.Join(dir, rootCert))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	tops = unique(append(tops, known...))
	if len(tops) == 0 {
		return nil, errors.New("no root: add the root's certificate to the chain, or name it")
	}
	if _, err := newCA(tops, between, signer, now); err != nil {
		return nil, err
	}
	// issuing.key before issuing.crt: a stop between the two is told at the next start,
	// and the same import mends it.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	if err := errors.Join(writeFile(filepath.Join(dir, rootCert), certsPEM(tops...)), writeKey(filepath.Join(dir, issuingKey), signer)); err != nil {
		return nil, fmt.Errorf("write authority: %w", err)
	}
	if err := writeFile(filepath.Join(dir, issuingCert), certsPEM(between...)); err != nil {
		return nil, fmt.Errorf("write authority: %w", err)
	}
	_ = os.Remove(filepath.Join(dir, requestKey)) // it is issuing.key now, or was not used
	return Open(dataDir, now)
}

func importedKey(dir string, key []byte) (crypto.Signer, error) {
	if key != nil {
		return parseKey(key)
	}
	s, err := readKey(filepath.Join(dir, requestKey))
	if err != nil {
		return nil, fmt.Errorf("find the request's key: %w; name the issuing certificate's key with --key", err)
	}
	return s, nil
}

// Trust adds roots to those that agents learn at their next renewal.
func Trust(dataDir string, roots []byte, now func() time.Time) (*CA, error) {
	c, err := Open(dataDir, now)
	if err != nil {
		return nil, err
	}
	more, err := ParseCerts(roots)
	if err != nil {
		return nil, fmt.Errorf("root %w", err)
	}
	if err := writeFile(filepath.Join(dataDir, Folder, rootCert), certsPEM(unique(append(c.roots, more...))...)); err != nil {
		return nil, fmt.Errorf("write roots: %w", err)
	}
	return Open(dataDir, now)
}

func unique(list []*x509.Certificate) (out []*x509.Certificate) {
	for _, c := range list {
		known := false
		for _, o := range out {
			known = known || o.Equal(c)
		}
		if !known {
			out = append(out, c)
		}
	}
	return out
}
