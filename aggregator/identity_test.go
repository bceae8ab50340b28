package aggregator_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/rs/zerolog"

	"tillwire/aggregator"
	"tillwire/aggregator/identity"
	"tillwire/protocol"
)

// chain is an aggregator whose agents have certificates, over real TLS, with a clock
// that the test sets ahead.
type chain struct {
	*running
	ahead atomic.Int64
	logs  *logged
	roots *x509.CertPool
}

type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startChain(t *testing.T, change func(*aggregator.Config)) *chain {
	t.Helper()
	c := aggregator.Defaults()
	c.DataDir, c.HTTP.Listen, c.MQTT.Listen, c.MQTT.TLS = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0", aggregator.TLSOwn
	if change != nil {
		change(&c)
	}
	x := &chain{running: &running{t: t, cfg: c}, logs: &logged{}}
	x.now = func() time.Time { return time.Now().Add(time.Duration(x.ahead.Load())) }
	x.log = zerolog.New(x.logs)
	x.contract()
	x.open()
	t.Cleanup(func() { x.stop() })
	key, err := aggregator.IssueKey(c, "admin", "ann", 0)
	if err != nil {
		t.Fatal(err)
	}
	x.key = key
	a, err := aggregator.ShowAuthority(c)
	if err != nil {
		t.Fatal(err)
	}
	x.roots = x509.NewCertPool()
	x.roots.AppendCertsFromPEM(a.Roots)
	return x
}

// host is a machine with a key of its own.
type host struct {
	origin protocol.Origin
	pair   tls.Certificate
	secret string // the token it enrolled with
}

func newKeyAndCSR(t *testing.T) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func pairOf(t *testing.T, certificate string, key *ecdsa.PrivateKey) tls.Certificate {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(certificate), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func (x *chain) enrol(store, agent string) *host {
	x.t.Helper()
	token := x.do("POST /v1/enrollment-tokens", "/v1/enrollment-tokens", fmt.Sprintf(`{"store":%q}`, store)).field(x.t, "token").(string)
	key, csr := newKeyAndCSR(x.t)
	body, _ := json.Marshal(protocol.Enroll{Token: token, Store: protocol.StoreID(store), Agent: protocol.AgentID(agent), CSR: csr})
	got := x.do("POST /v1/enroll", "/v1/enroll", string(body))
	if got.status != http.StatusCreated {
		x.t.Fatalf("enrol: %s", got.body)
	}
	return &host{protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)}, pairOf(x.t, got.field(x.t, "certificate").(string), key), token}
}

// line is a connection of a real MQTT client.
type line struct {
	mqtt.Client
	lost chan error
	down chan mqtt.Message
}

// dial connects as id with a certificate, or a password.
func (x *chain) dial(id string, pair *tls.Certificate, password string) (*line, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x.roots, ServerName: "localhost"}
	if pair != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	return connect(id, mqtt.NewClientOptions().AddBroker("ssl://"+x.agg.MQTTAddr()).SetTLSConfig(c).SetPassword(password))
}

// connect connects as id, and hears what is sent to it.
func connect(id string, o *mqtt.ClientOptions) (*line, error) {
	l := &line{lost: make(chan error, 1), down: make(chan mqtt.Message, 64)}
	l.Client = mqtt.NewClient(o.SetClientID(id).SetUsername(id).SetProtocolVersion(4).SetAutoReconnect(false).SetConnectTimeout(10 * time.Second).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { l.lost <- err }))
	if token := l.Connect(); token.Wait() && token.Error() != nil {
		return nil, token.Error()
	}
	token := l.Subscribe(protocol.TopicPrefix+id+"/dn/#", 1, func(_ mqtt.Client, m mqtt.Message) { l.down <- m })
	if token.Wait(); token.Error() != nil {
		return nil, token.Error()
	}
	return l, nil
}

func (x *chain) up(h *host) *line {
	x.t.Helper()
	l, err := x.dial(h.origin.String(), &h.pair, "")
	if err != nil {
		x.t.Fatalf("%s is not let in: %v\n%s", h.origin, err, x.logs)
	}
	x.t.Cleanup(func() { l.Disconnect(0) })
	return l
}

// said publishes and tells whether that was acknowledged.
func (l *line) said(o protocol.Origin, ch protocol.Channel, m any) bool {
	b, _ := protocol.EncodeControl(m)
	return l.Publish(protocol.Topic(o, ch, ""), 1, false, b).WaitTimeout(700 * time.Millisecond)
}

func (l *line) hear(t *testing.T, within time.Duration, what protocol.Channel) []byte {
	t.Helper()
	for {
		select {
		case m := <-l.down:
			if strings.HasSuffix(m.Topic(), string(what)) {
				return m.Payload()
			}
		case err := <-l.lost:
			t.Fatalf("connection lost: %v", err)
		case <-time.After(within):
			t.Fatalf("no %s within %s", what, within)
		}
	}
}

func (l *line) cutWithin(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-l.lost:
	case <-time.After(d):
		t.Errorf("the session goes on after %s", d)
	}
}

func (x *chain) renew(h *host, l *line) *host {
	x.t.Helper()
	key, csr := newKeyAndCSR(x.t)
	l.said(h.origin, protocol.UpRenew, protocol.Renew{V: 1, CSR: csr})
	var r protocol.Renewed
	if err := protocol.DecodeControl(l.hear(x.t, 5*time.Second, protocol.DnRenewed), &r); err != nil || r.Refused != "" {
		x.t.Fatalf("renewed: %v %s", err, r.Refused)
	}
	return &host{h.origin, pairOf(x.t, r.Certificate, key), h.secret}
}

func (x *chain) status(h *host) (status string) {
	x.t.Helper()
	for _, i := range x.do("GET /v1/identities", "/v1/identities", "").field(x.t, "identities").([]any) {
		if m := i.(map[string]any); m["store"] == string(h.origin.Store) && m["agent"] == string(h.origin.Agent) {
			return m["status"].(string)
		}
	}
	return ""
}

var hello = protocol.Hello{V: 1, InstallID: "i", BootID: "b", Tail: 1}

func TestIdentityComesFromTheCertificateAlone(t *testing.T) {
	x := startChain(t, nil)
	h, other := x.enrol("S1", "server"), x.enrol("S2", "server")
	l := x.up(h)
	if !l.said(h.origin, protocol.UpHello, hello) {
		t.Error("its own HELLO is not taken")
	}
	l.hear(t, 5*time.Second, protocol.DnWelcome)
	stranger := startChain(t, nil).enrol("S1", "server") // of another chain's authority
	token, err := aggregator.IssueAgent(x.cfg, "S1", "server")
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]struct {
		id       string
		pair     *tls.Certificate
		password string
	}{
		"another store's certificate":        {"S1/server", &other.pair, ""},
		"that, with the right token":         {"S1/server", &other.pair, token},
		"another agent's name":               {"S1/till-1", &h.pair, ""},
		"another authority":                  {"S1/server", &stranger.pair, ""},
		"a token where certificates are due": {"S1/server", nil, token},
		"nothing at all":                     {"S1/server", nil, ""},
	} {
		if l, err := x.dial(try.id, try.pair, try.password); err == nil {
			l.Disconnect(0)
			t.Errorf("%s is let in", name)
		}
	}
	if x.roots = x509.NewCertPool(); true { // an agent that pinned another authority
		if _, err := x.dial("S1/server", &h.pair, ""); err == nil {
			t.Error("a broker of an authority that was not pinned is believed")
		}
	}
	if !l.IsConnectionOpen() {
		t.Error("strangers cost the agent its session")
	}
	conn, err := tls.Dial("tcp", x.agg.MQTTAddr(), &tls.Config{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true})
	if err == nil {
		_ = conn.Close()
		t.Error("TLS 1.2 is spoken")
	}
	if topic := l.Publish("tw/v1/S2/server/up/hello", 1, false, "{}"); topic.WaitTimeout(2*time.Second) && topic.Error() == nil {
		t.Error("it speaks as another store")
	}
}

func TestRevocationCutsALiveSession(t *testing.T) {
	x := startChain(t, nil)
	h := x.enrol("S1", "server")
	l, neighbour := x.up(h), x.up(x.enrol("S2", "server"))
	got := x.do("POST /v1/identities/{store}/{agent}/revoke", "/v1/identities/S1/server/revoke", `{"reason":"stolen"}`)
	if got.field(t, "status") != "revoked" || got.field(t, "revoked_by") != "ann" {
		t.Errorf("answer: %s", got.body)
	}
	l.cutWithin(t, 5*time.Second)
	if _, err := x.dial("S1/server", &h.pair, ""); err == nil {
		t.Error("a revoked certificate is let in")
	}
	x.stop()
	x.open()
	if _, err := x.dial("S1/server", &h.pair, ""); err == nil || x.status(h) != "revoked" {
		t.Error("a revocation does not outlive a restart")
	}
	_ = neighbour // its session ended with the restart, not before
	again := x.enrol("S1", "server")
	x.up(again)
	if _, err := x.dial("S1/server", &h.pair, ""); err == nil {
		t.Error("the stolen certificate is good again with the new one")
	}
}

func TestAHostTakesTheOthersPlace(t *testing.T) {
	x := startChain(t, nil)
	old := x.enrol("S1", "server")
	l := x.up(old)
	x.enrol("S1", "till-1") // another agent of the shop is no reason
	fresh := x.enrol("S1", "server")
	l.cutWithin(t, 5*time.Second)
	x.up(fresh)
	if _, err := x.dial("S1/server", &old.pair, ""); err == nil {
		t.Error("two hosts have one identity")
	}
}

func TestRenewal(t *testing.T) {
	x := startChain(t, nil)
	h := x.enrol("S1", "server")
	x.ahead.Store(int64(21 * 24 * time.Hour)) // two thirds of 30 days
	l := x.up(h)
	lostAnswer := x.renew(h, l) // the agent never connects with this one
	fresh := x.renew(h, l)
	x.up(h) // both are good until the new one was let in
	x.up(fresh)
	deadline := time.Now().Add(5 * time.Second)
	for {
		if _, err := x.dial("S1/server", &h.pair, ""); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the former certificate stays good")
		}
	}
	if _, err := x.dial("S1/server", &lostAnswer.pair, ""); err == nil {
		t.Error("a certificate that another followed is good")
	}
	x.ahead.Store(int64(40 * 24 * time.Hour))
	x.up(fresh)
	if x.status(h) != "active" {
		t.Errorf("status %s", x.status(h))
	}
}

// TestADarkStoreRenewsFirst: a store that was dark for 30 days has a certificate that
// has ended; it may renew it, and say nothing else before.
func TestADarkStoreRenewsFirst(t *testing.T) {
	x := startChain(t, nil)
	h, gone := x.enrol("S1", "server"), x.enrol("S2", "server")
	x.ahead.Store(int64(49 * 24 * time.Hour)) // it went dark just before day 20
	if x.status(h) != "expired" {
		t.Errorf("status %s", x.status(h))
	}
	l := x.up(h)
	if l.said(h.origin, protocol.UpHello, hello) {
		t.Error("an ended certificate says HELLO")
	}
	fresh := x.renew(h, l)
	l2 := x.up(fresh)
	if !l2.said(h.origin, protocol.UpHello, hello) {
		t.Error("HELLO with the new one is not taken")
	}
	l2.hear(t, 5*time.Second, protocol.DnWelcome)
	x.do("POST /v1/identities/{store}/{agent}/revoke", "/v1/identities/S2/server/revoke", "")
	if _, err := x.dial("S2/server", &gone.pair, ""); err == nil {
		t.Error("the grace opens to the revoked")
	}
	x.ahead.Store(int64((49 + 30 + 91) * 24 * time.Hour))
	if _, err := x.dial("S1/server", &fresh.pair, ""); err == nil {
		t.Error("the grace never ends")
	}
}

func TestTokensWhileAChainChangesOver(t *testing.T) {
	x := startChain(t, func(c *aggregator.Config) { c.MQTT.Tokens = true })
	token, err := aggregator.IssueAgent(x.cfg, "S1", "server")
	if err != nil {
		t.Fatal(err)
	}
	l, err := x.dial("S1/server", nil, token)
	if err != nil {
		t.Fatal(err)
	}
	x.do("POST /v1/identities/{store}/{agent}/revoke", "/v1/identities/S1/server/revoke", "{}")
	l.cutWithin(t, 5*time.Second)
	if _, err := x.dial("S1/server", nil, token); err == nil {
		t.Error("a revoked token is let in")
	}
	x.up(x.enrol("S1", "server"))
	if _, err := x.dial("S1/server", nil, token); err == nil {
		t.Error("a token is good beside the certificate that took its place")
	}
}

// TestTheLedgerIsLost: agents whose certificates the new ledger never saw are let in,
// and a revocation is not forgotten with the old one.
func TestTheLedgerIsLost(t *testing.T) {
	x := startChain(t, nil)
	h, stolen := x.enrol("S1", "server"), x.enrol("S2", "server")
	x.do("POST /v1/identities/{store}/{agent}/revoke", "/v1/identities/S2/server/revoke", "")
	x.stop()
	if err := os.Remove(filepath.Join(x.cfg.DataDir, aggregator.LedgerFile)); err != nil {
		t.Fatal(err)
	}
	x.open()
	l := x.up(h)
	if !l.said(h.origin, protocol.UpHello, hello) {
		t.Error("its HELLO is not taken")
	}
	if _, err := x.dial("S2/server", &stolen.pair, ""); err == nil {
		t.Error("the revocation is forgotten")
	}
	deadline := time.Now().Add(5 * time.Second)
	for x.status(h) != "active" {
		if time.Now().After(deadline) {
			t.Fatal("who was let in is not written down")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestWhatIsSignedByHand(t *testing.T) {
	x := startChain(t, nil)
	key, csr := newKeyAndCSR(t)
	body, _ := json.Marshal(map[string]string{"store": "S7", "agent": "server", "csr": csr})
	got := x.do("POST /v1/identities", "/v1/identities", string(body))
	x.up(&host{protocol.Origin{Store: "S7", Agent: "server"}, pairOf(t, got.field(t, "certificate").(string), key), ""})
	x.refused("no request", x.do("POST /v1/identities", "/v1/identities", `{"store":"S7","agent":"server","csr":"x"}`), 422, "invalid_field", "/csr")
	code := x.do("POST /v1/enrollment-tokens", "/v1/enrollment-tokens", `{"store":"S8"}`).field(t, "token").(string)
	bad := x.do("POST /v1/enroll", "/v1/enroll", fmt.Sprintf(`{"token":%q,"store":"S8","agent":"server"}`, code))
	x.refused("no request at enrolment", bad, 422, "invalid_field", "/csr")
	_, csr = newKeyAndCSR(t)
	body, _ = json.Marshal(protocol.Enroll{Token: code, Store: "S8", Agent: "server", CSR: csr})
	if got := x.do("POST /v1/enroll", "/v1/enroll", string(body)); got.status != 201 {
		t.Errorf("a request that was refused has spent the code: %s", got.body)
	}
}

// TestTheLogHoldsNoSecrets walks an enrolment, a renewal and refusals at debug level.
func TestTheLogHoldsNoSecrets(t *testing.T) {
	x := startChain(t, func(c *aggregator.Config) { c.MQTT.Tokens = true })
	token, err := aggregator.IssueAgent(x.cfg, "S9", "server")
	if err != nil {
		t.Fatal(err)
	}
	h := x.enrol("S1", "server")
	l := x.up(h)
	x.renew(h, l)
	_, _ = x.dial("S1/server", nil, token)
	_, _ = x.dial("S9/server", nil, token+"x")
	x.do("POST /v1/identities/{store}/{agent}/revoke", "/v1/identities/S1/server/revoke", "")
	l.cutWithin(t, 5*time.Second)
	x.stop()
	said := x.logs.String()
	for _, want := range []string{"agent enrolled", "certificate renewed", "identity revoked", "agent refused", "agent expelled"} {
		if !strings.Contains(said, want) {
			t.Errorf("the log does not tell: %s", want)
		}
	}
	for name, secret := range map[string]string{"enrolment token": h.secret, "agent's token": token, "API key": x.key, "a key": "PRIVATE KEY", "a MAC": token[len(token)-20:]} {
		if strings.Contains(said, secret) {
			t.Errorf("the log holds %s", name)
		}
	}
}

func TestHTTPSWithoutAProxy(t *testing.T) {
	x := startChain(t, func(c *aggregator.Config) { c.HTTP.TLS = aggregator.TLSOwn; c.Stores = nil })
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: x.roots}}}
	get := func(path string, change func(*http.Request)) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+x.agg.HTTPAddr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		change(req)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp
	}
	resp := get("/v1/stores", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+x.key) })
	if resp.StatusCode != http.StatusOK || resp.TLS.Version != tls.VersionTLS13 || !strings.HasPrefix(resp.Header.Get("Strict-Transport-Security"), "max-age=") {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	if resp := get("/v1/availability/A", func(*http.Request) {}); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the fast path over TLS without a key: %s", resp.Status)
	}
	form := strings.NewReader("key=" + x.key)
	req, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, "https://"+x.agg.HTTPAddr()+"/login", form)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Origin", "https://"+x.agg.HTTPAddr())
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	login, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = login.Body.Close()
	if c := login.Cookies(); len(c) != 1 || !c[0].Secure || !c[0].HttpOnly || c[0].SameSite == http.SameSiteNoneMode {
		t.Errorf("cookie %+v (%s)", c, login.Status)
	}
	if _, err := http.Get("http://" + x.agg.HTTPAddr() + "/healthz"); err == nil {
		t.Log("plain HTTP is answered with an error of TLS") // net/http says so in words
	}
}

func TestAuthorityIsKept(t *testing.T) {
	x := startChain(t, nil)
	x.stop()
	if _, err := aggregator.InitAuthority(x.cfg); err == nil {
		t.Error("a second authority takes the first one's place")
	}
	if _, err := identity.Open(t.TempDir(), time.Now); !errors.Is(err, identity.ErrNoCA) {
		t.Errorf("none: %v", err)
	}
	x.open()
}
