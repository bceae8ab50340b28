package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

var shop = protocol.Origin{Store: "S0042", Agent: "server"}

// clock is set by the tests.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func day(n int) time.Time { return time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

func request(t *testing.T, name string) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func makeCA(t *testing.T, c *clock) (*CA, string) {
	t.Helper()
	dir := t.TempDir()
	ca, err := OpenOrInit(dir, "Test", c.now)
	if err != nil {
		t.Fatal(err)
	}
	return ca, dir
}

func TestNamesAreOursToWrite(t *testing.T) {
	c := &clock{day(0)}
	ca, dir := makeCA(t, c)
	_, csr := request(t, "S0001/server") // it asks for another store's name
	cert, err := ca.AgentCert(shop, csr, Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ca.Verify([]*x509.Certificate{cert}, Grace)
	if err != nil || p.Origin != shop || p.Expired || p.Issued.Key != KeyOf(cert) || p.Issued.US != day(0).UnixMicro() {
		t.Errorf("peer %+v %v", p, err)
	}
	if got := cert.NotAfter.Sub(day(0)); got != Lifetime {
		t.Errorf("good for %s", got)
	}
	for name, mode := range map[string]string{"root.key": "-rw-------", "issuing.key": "-rw-------"} {
		info, err := os.Stat(filepath.Join(dir, Folder, name))
		if err != nil || info.Mode().String() != mode {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	again, err := Open(dir, c.now)
	if err != nil || again.Pin() != ca.Pin() {
		t.Errorf("after a restart: %v", err)
	}
}

func TestWhatIsNotBelieved(t *testing.T) {
	c := &clock{day(0)}
	ca, _ := makeCA(t, c)
	stranger, _ := makeCA(t, c)
	key, csr := request(t, "")
	own, err := ca.AgentCert(shop, csr, Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := stranger.AgentCert(shop, csr, Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	server, err := NewServer(ca, []string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	forged := func(change func(*x509.Certificate)) *x509.Certificate {
		tpl := *own
		tpl.Raw, tpl.RawSubject = nil, nil
		change(&tpl)
		x, err := issue(&tpl, ca.chain[0], key.Public(), ca.key, day(0))
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	selfMade, err := issue(&x509.Certificate{Subject: pkix.Name{CommonName: shop.String()}, NotAfter: day(9), NotBefore: day(-1)}, nil, key.Public(), key, day(0))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		shown []*x509.Certificate
		at    time.Time
		want  error
	}{
		"nothing":                  {nil, day(0), ErrNoCertificate},
		"another authority":        {[]*x509.Certificate{foreign, stranger.chain[0], stranger.roots[0]}, day(0), ErrForeign},
		"made by itself":           {[]*x509.Certificate{selfMade}, day(0), ErrForeign},
		"the broker's own":         {[]*x509.Certificate{server.cert.Leaf}, day(0), ErrForeign},
		"a long chain":             {[]*x509.Certificate{own, own, own, own, own}, day(0), ErrForeign},
		"behind the grace":         {[]*x509.Certificate{own}, day(30 + 91), ErrExpired},
		"of tomorrow":              {[]*x509.Certificate{own}, day(-10), ErrForeign},
		"a name that is none":      {[]*x509.Certificate{forged(func(x *x509.Certificate) { x.Subject.CommonName = "S0042" })}, day(0), ErrForeign},
		"a wildcard":               {[]*x509.Certificate{forged(func(x *x509.Certificate) { x.Subject.CommonName = "+/server" })}, day(0), ErrForeign},
		"a URI of another":         {[]*x509.Certificate{forged(func(x *x509.Certificate) { x.Subject.CommonName = "S0001/server" })}, day(0), ErrForeign},
		"the issuing certificate":  {[]*x509.Certificate{ca.chain[0]}, day(0), ErrForeign},
		"signed by an agent's own": {[]*x509.Certificate{mustIssue(t, own, key), own}, day(0), ErrForeign},
	} {
		c.t = tc.at
		if p, err := ca.Verify(tc.shown, Grace); !errors.Is(err, tc.want) {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
	c.t = day(59)
	if p, err := ca.Verify([]*x509.Certificate{own}, Grace); err != nil || !p.Expired {
		t.Errorf("within the grace: %+v %v", p, err)
	}
}

func mustIssue(t *testing.T, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	x, err := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "S0001/server"}, NotBefore: day(-1), NotAfter: day(9)}, parent, key.Public(), key, day(0))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestRequestsThatAreNotSigned(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, weak)
	if err != nil {
		t.Fatal(err)
	}
	_, good := request(t, "x")
	block, _ := pem.Decode(good)
	block.Bytes[len(block.Bytes)-3] ^= 1 // its proof of holding the key
	for name, csr := range map[string][]byte{
		"nothing": nil, "no PEM": []byte("x"), "a certificate": []byte(strings.ReplaceAll(string(good), " REQUEST", "")),
		"RSA": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), "a wrong signature": pem.EncodeToMemory(block),
		"huge": append(good, make([]byte, csrBytesMax)...),
	} {
		if err := CheckRequest(csr); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServerCertificateIsIssuedAnew(t *testing.T) {
	c := &clock{day(0)}
	ca, _ := makeCA(t, c)
	s, err := NewServer(ca, []string{"stock.example", "10.0.0.7", "stock.example"})
	if err != nil {
		t.Fatal(err)
	}
	first, _ := s.Certificate(nil)
	for _, name := range []string{"stock.example", "10.0.0.7"} {
		if err := first.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	c.t = day(50)
	if same, _ := s.Certificate(nil); same != first {
		t.Error("it is issued anew too early")
	}
	c.t = day(61)
	if next, _ := s.Certificate(nil); next == first || next.Leaf.NotAfter.Before(day(150)) {
		t.Error("it is not issued anew at two thirds of its life")
	}
}

// TestAnotherAuthoritySigns: an intermediate signed elsewhere takes over; who has a
// certificate of before is still believed, and learns the new root.
func TestAnotherAuthoritySigns(t *testing.T) {
	c := &clock{day(0)}
	ca, dir := makeCA(t, c)
	_, csr := request(t, "")
	before, err := ca.AgentCert(shop, csr, Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	shown := append([]*x509.Certificate{before}, ca.chain...)
	corporate, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	root, err := issue(authority("Corporate", day(0), rootLife, 2), nil, corporate.Public(), corporate, day(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Trust(dir, certsPEM(root), c.now); err != nil {
		t.Fatal(err)
	}
	req, err := Request(dir, "Tillwire issuing")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(req)
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := issue(authority("Tillwire issuing", day(0), issuingLife, 0), root, parsed.PublicKey, corporate, day(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Import(dir, certsPEM(before), nil, nil, c.now); err == nil {
		t.Error("an agent's certificate becomes an authority")
	}
	fresh, err := Import(dir, certsPEM(signed, root), nil, nil, c.now)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := fresh.Verify(shown, Grace); err != nil || p.Origin != shop {
		t.Errorf("a certificate of before: %v", err)
	}
	after, err := fresh.AgentCert(shop, csr, Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Verify([]*x509.Certificate{after, signed}, Grace); !errors.Is(err, ErrForeign) {
		t.Errorf("who does not trust the new root believes it: %v", err)
	}
	if got, err := ParseCerts(fresh.RootsPEM()); err != nil || len(got) != 2 || !got[0].Equal(root) {
		t.Errorf("%d roots, %v", len(got), err)
	}
	if fresh.Pin() != PinOf(root) {
		t.Error("tokens pin the old root")
	}
}

func TestExportTakesTheRootAway(t *testing.T) {
	c := &clock{day(0)}
	_, dir := makeCA(t, c)
	out := filepath.Join(t.TempDir(), "root.pem")
	if err := ExportRoot(dir, out, true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, Folder, rootKey)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the root's key is still there: %v", err)
	}
	ca, err := Open(dir, c.now)
	if err != nil {
		t.Fatalf("without the root's key: %v", err)
	}
	_, csr := request(t, "")
	if _, err := ca.AgentCert(shop, csr, Lifetime); err != nil {
		t.Errorf("signing without the root's key: %v", err)
	}
}

// kept is a keeper that can fail.
type kept struct {
	m    map[string][]byte
	fail error
}

func (k *kept) keeper() Keeper {
	return Keeper{
		Get: func(key string) ([]byte, error) { return k.m[key], nil },
		Put: func(_ context.Context, key string, v []byte) error {
			if k.fail == nil {
				k.m[key] = v
			}
			return k.fail
		},
	}
}

func TestBook(t *testing.T) {
	c, k, ctx := &clock{day(0)}, &kept{m: map[string][]byte{}}, context.Background()
	b, err := OpenBook(k.keeper(), c.now)
	if err != nil {
		t.Fatal(err)
	}
	// A was issued on day 0, B on day 1, and so on.
	cert := func(key string) Issued {
		return Issued{Key: key, Serial: key, US: day(int(key[0] - 'A')).UnixMicro(), NotAfter: day(30)}
	}
	peer := func(key string) Peer { return Peer{Origin: shop, Issued: cert(key)} }
	check := func(when string, want map[string]error) {
		t.Helper()
		for range 2 { // the second time from what was kept
			for key, err := range want {
				if got := b.Admit(shop, cert(key)); !errors.Is(got, err) {
					t.Errorf("%s: %s: %v, want %v", when, key, got, err)
				}
			}
			if b, err = OpenBook(k.keeper(), c.now); err != nil {
				t.Fatal(err)
			}
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(b.Enrolled(ctx, shop, cert("A")))
	check("enrolled", map[string]error{"A": nil})
	do(b.Renewed(ctx, peer("A"), cert("B")))
	check("renewed", map[string]error{"A": nil, "B": nil})
	do(b.Seen(ctx, peer("A")))
	check("the old one connects", map[string]error{"A": nil, "B": nil})
	do(b.Seen(ctx, peer("B")))
	check("the new one connects", map[string]error{"A": ErrReplaced, "B": nil})
	if err := b.Renewed(ctx, peer("A"), cert("C")); !errors.Is(err, ErrReplaced) {
		t.Errorf("the old one renews: %v", err)
	}
	k.fail = errors.New("disk full")
	if err := b.Revoke(ctx, shop, "ann", "stolen"); err == nil {
		t.Error("a revocation that was not kept is told as done")
	}
	check("nothing was kept", map[string]error{"B": nil})
	k.fail = nil
	c.t = day(3)
	do(b.Revoke(ctx, shop, "ann", "stolen"))
	check("revoked", map[string]error{"A": ErrRevoked, "B": ErrRevoked})
	if err := b.AdmitToken(shop, day(-1)); !errors.Is(err, ErrRevoked) {
		t.Errorf("a token of before: %v", err)
	}
	do(b.Enrolled(ctx, shop, Issued{}))
	if err := b.AdmitToken(shop, day(3)); !errors.Is(err, ErrRevoked) {
		t.Errorf("a token of before, enrolled again: %v", err)
	}
	if err := b.AdmitToken(shop, b.TokenFrom(shop)); err != nil {
		t.Errorf("the new token: %v", err)
	}
	do(b.Enrolled(ctx, protocol.Origin{Store: "S0001", Agent: "server"}, cert("A")))
	c.t = day(26)
	var got []string
	for _, i := range b.List() {
		got = append(got, string(i.Store)+" "+i.Kind+" "+i.Status)
	}
	if d := cmp.Diff([]string{"S0001 certificate expiring", "S0042 token active"}, got); d != "" {
		t.Error(d)
	}
}

// TestABookThatWasSetBack: the ledger was restored from a copy of before a renewal, an
// enrolment and a revocation; nobody who was let in is locked out.
func TestABookThatWasSetBack(t *testing.T) {
	c, ctx := &clock{day(0)}, context.Background()
	ca, _ := makeCA(t, c)
	k := &kept{m: map[string][]byte{}}
	open := func() *Book {
		t.Helper()
		b, err := OpenBook(k.keeper(), c.now)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	fresh := func() Peer {
		t.Helper()
		_, csr := request(t, "")
		cert, err := ca.AgentCert(shop, csr, Lifetime)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ca.Verify([]*x509.Certificate{cert}, Grace)
		if err != nil {
			t.Fatal(err)
		}
		c.t = c.t.Add(time.Hour)
		return p
	}
	older := fresh()
	if err := open().Enrolled(ctx, shop, older.Issued); err != nil {
		t.Fatal(err)
	}
	copied := maps.Clone(k.m)
	newer := fresh() // issued and let in, and then the ledger was lost
	k.m = copied
	b := open()
	if err := b.Admit(shop, newer.Issued); err != nil {
		t.Errorf("newer than the book: %v", err)
	}
	if err := b.Seen(ctx, newer); err != nil {
		t.Fatal(err)
	}
	if err := open().Admit(shop, older.Issued); !errors.Is(err, ErrReplaced) {
		t.Errorf("the one that was followed: %v", err)
	}
	k.m = map[string][]byte{} // nothing was left
	b = open()
	if err := errors.Join(b.Admit(shop, newer.Issued), b.Seen(ctx, newer)); err != nil {
		t.Errorf("an empty book: %v", err)
	}
	if err := b.Admit(shop, older.Issued); !errors.Is(err, ErrReplaced) {
		t.Errorf("older, once the newer was seen: %v", err)
	}
	if err := b.Revoke(ctx, shop, "ann", ""); err != nil {
		t.Fatal(err)
	}
	c.t = c.t.Add(time.Hour)
	again := fresh() // enrolled again, and the ledger set back to the revocation
	if err := b.Admit(shop, newer.Issued); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoked: %v", err)
	}
	if err := errors.Join(b.Admit(shop, again.Issued), b.Seen(ctx, again)); err != nil || b.List()[0].Status != "active" {
		t.Errorf("enrolled after the revocation: %v %v", err, b.List())
	}
}
