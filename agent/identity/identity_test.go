package identity

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
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
	_, at := i.Ends()
	if _, due, err := i.Request(at.Add(-time.Second)); due || err != nil {
		t.Errorf("before its moment: %v %v", due, err)
	}
	csr, due, err := i.Request(at)
	if !due || err != nil {
		t.Fatalf("at its moment: %v %v", due, err)
	}
	if again, _, _ := i.Request(at.AddDate(0, 0, 1)); string(again) != string(csr) {
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

// TestRenewalsOfAChainAreSpread: certificates that were all made in one moment are
// renewed evenly over a 12th of their life, and none near its end.
func TestRenewalsOfAChainAreSpread(t *testing.T) {
	const hosts, parts = 4000, 24
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for _, life := range []time.Duration{31 * 24 * time.Hour, time.Hour, 5 * time.Minute, time.Second} {
		var n [parts]int
		earliest, latest := life*5/8, life*17/24
		for i := range hosts {
			c := &x509.Certificate{Raw: fmt.Appendf(nil, "certificate %d", i), NotBefore: from, NotAfter: from.Add(life)}
			at := renewAt(c).Sub(from)
			if at < earliest || at > latest {
				t.Fatalf("one of %s is renewed after %s, not within %s and %s", life, at, earliest, latest)
			}
			if again := renewAt(c).Sub(from); again != at {
				t.Fatalf("one certificate has two moments, %s and %s", at, again)
			}
			n[min(int((at-earliest)*parts/(latest-earliest)), parts-1)]++
		}
		for i, got := range n { // 167 each; four standard deviations are 51
			if got < hosts/parts-51 || got > hosts/parts+51 {
				t.Errorf("of %d certificates of %s %d are renewed in part %d of %d", hosts, life, got, i+1, parts)
			}
		}
	}
	if at := renewAt(&x509.Certificate{NotBefore: from, NotAfter: from}); !at.Equal(from) {
		t.Errorf("a certificate without a life is renewed %s", at)
	}
	var seen []time.Time // of certificates as they are: each has a moment of its own
	for range 20 {
		f, _ := enrolled(t, from)
		end, at := open(t, f).Ends()
		if _, again := open(t, f).Ends(); !again.Equal(at) || slices.ContainsFunc(seen, at.Equal) || end.Sub(at) < end.Sub(from)*7/24 {
			t.Errorf("%s, after a restart %s, beside %v", at, again, seen)
		}
		seen = append(seen, at)
	}
}

// TestAStopBetweenTwoRenames: at every step of settling, Open finds a pair.
func TestAStopBetweenTwoRenames(t *testing.T) {
	from := time.Now().AddDate(0, 0, -22)
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
