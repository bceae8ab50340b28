package identity

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tillwire/protocol"
)

// sign plays the aggregator's authority.
func sign(t *testing.T, csr []byte, name string, from time.Time) string {
	t.Helper()
	block, _ := pem.Decode(csr)
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := NewRequest("ca")
	if err != nil {
		t.Fatal(err)
	}
	parent := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: from.AddDate(0, 0, 30),
	}, parent, req.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func enrolled(t *testing.T, from time.Time) (Files, string) {
	t.Helper()
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"), filepath.Join(dir, "ca.crt")}
	key, csr, err := NewRequest("S1/server")
	if err != nil {
		t.Fatal(err)
	}
	cert := sign(t, csr, "S1/server", from)
	if err := Save(f, []byte(cert), []byte(cert), key); err != nil {
		t.Fatal(err)
	}
	return f, cert
}

func open(t *testing.T, f Files) *Identity {
	t.Helper()
	i, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func shown(t *testing.T, i *Identity) *ecdsa.PublicKey {
	t.Helper()
	c, err := i.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf.PublicKey.(*ecdsa.PublicKey)
}

func TestRenewal(t *testing.T) {
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	f, _ := enrolled(t, from)
	i := open(t, f)
	first := shown(t, i)
	if _, due, err := i.Request(from.AddDate(0, 0, 19)); due || err != nil {
		t.Errorf("before two thirds: %v %v", due, err)
	}
	csr, due, err := i.Request(from.AddDate(0, 0, 20))
	if !due || err != nil {
		t.Fatalf("at two thirds: %v %v", due, err)
	}
	if again, _, _ := i.Request(from.AddDate(0, 0, 21)); string(again) != string(csr) {
		t.Error("each request has a key of its own")
	}
	if err := i.Take(&protocol.Renewed{Refused: "no"}); err == nil {
		t.Error("a refusal is taken for a certificate")
	}
	if err := i.Take(&protocol.Renewed{Certificate: sign(t, csr, "S2/server", from)}); err == nil {
		t.Error("a certificate of another name is taken")
	}
	_, foreign, _ := NewRequest("x")
	if err := i.Take(&protocol.Renewed{Certificate: sign(t, foreign, "S1/server", from)}); err == nil {
		t.Error("a certificate of another key is taken")
	}
	ca := sign(t, csr, "new root", from)
	if err := i.Take(&protocol.Renewed{Certificate: sign(t, csr, "S1/server", from.AddDate(0, 0, 20)), CA: ca}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(f.CA); string(b) != ca {
		t.Error("the new root is not kept")
	}
	for _, j := range []*Identity{i, open(t, f)} { // the second after a restart
		a, b, c := shown(t, j), shown(t, j), shown(t, j)
		if a.Equal(first) || !b.Equal(first) || !c.Equal(a) {
			t.Error("new and old are not tried in turn")
		}
	}
	if shown(t, i).Equal(first) { // in turn: the old one
		if err := i.Connected(); err != nil || !shown(t, open(t, f)).Equal(shown(t, i)) {
			t.Errorf("let in with the old one: %v", err)
		}
	}
	for shown(t, i).Equal(first) {
	}
	if err := i.Connected(); err != nil {
		t.Fatal(err)
	}
	j := open(t, f)
	for range 2 {
		if shown(t, j).Equal(first) {
			t.Error("the old one is shown again")
		}
	}
	if end, _ := j.Ends(); !end.Equal(from.AddDate(0, 0, 50)) {
		t.Errorf("ends %s", end)
	}
	if info, err := os.Stat(f.Key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v %v", info, err)
	}
}

// TestAStopBetweenTwoRenames: at every step of settling, Open finds a pair.
func TestAStopBetweenTwoRenames(t *testing.T) {
	from := time.Now().AddDate(0, 0, -21)
	f, _ := enrolled(t, from)
	i := open(t, f)
	csr, _, err := i.Request(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Take(&protocol.Renewed{Certificate: sign(t, csr, "S1/server", time.Now())}); err != nil {
		t.Fatal(err)
	}
	want := shown(t, i)
	if err := os.Rename(f.Key+next, f.Key); err != nil { // and then the power goes
		t.Fatal(err)
	}
	if got := shown(t, open(t, f)); !got.Equal(want) {
		t.Error("the new pair is not found")
	}
	if got := shown(t, open(t, f)); !got.Equal(want) {
		t.Error("the new pair is not settled")
	}
	if err := os.Remove(f.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(f); err == nil {
		t.Error("no key, no complaint")
	}
}
