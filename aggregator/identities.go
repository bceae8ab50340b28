package aggregator

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"tillwire/aggregator/broker"
	"tillwire/aggregator/identity"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// TLSOwn is the value of mqtt.tls and http.tls that has certificates issued by the
// aggregator's own authority.
const TLSOwn = "own"

const (
	expelEvery  = time.Second // sessions are looked at, so that a revocation ends one soon
	renewalsMax = 256         // that wait to be signed; beyond it agents ask again
)

// IdentityConfig is the chain's own authority: what agents prove themselves by.
type IdentityConfig struct {
	Lifetime Duration `toml:"lifetime" help:"how long an agent's certificate is good; it is renewed at about two thirds"`
	Grace    Duration `toml:"grace" help:"how long behind its end a certificate still serves to renew itself, for stores that were dark"`
	Names    []string `toml:"names" help:"further host names and addresses in the certificate that the aggregator issues to itself"`
}

func (c *Config) checkIdentity() error {
	for _, k := range []struct{ key, value string }{{"mqtt.tls", c.MQTT.TLS}, {"http.tls", c.HTTP.TLS}} {
		if k.value != "" && k.value != TLSOwn {
			return fmt.Errorf("%s %q is not empty or %q", k.key, k.value, TLSOwn)
		}
	}
	if (c.HTTP.CertFile == "") != (c.HTTP.KeyFile == "") {
		return errors.New("http.cert_file and http.key_file go together; set both or neither")
	}
	if c.Identity.Lifetime < Duration(time.Second) || c.Identity.Lifetime > Duration(366*24*time.Hour) || c.Identity.Grace < 0 {
		return errors.New("identity.lifetime must be 1s to 8784h, identity.grace not below 0")
	}
	return nil
}

func (c *Config) ownCA() bool { return c.MQTT.TLS == TLSOwn || c.HTTP.TLS == TLSOwn }

// names are those under which agents and people reach this aggregator.
func (c *Config) names() []string {
	names := append([]string{"localhost", "127.0.0.1", "::1"}, c.HTTP.Hosts...)
	addrs := []string{c.MQTT.Listen, c.HTTP.Listen}
	if u, err := url.Parse(c.MQTT.Advertise); err == nil {
		addrs = append(addrs, u.Host)
	}
	for _, addr := range addrs {
		host, _, err := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); err == nil && (ip == nil || !ip.IsUnspecified()) {
			names = append(names, host)
		}
	}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	return append(names, c.Identity.Names...)
}

func (a *Aggregator) openIdentity() error {
	a.renewals, a.seen = make(chan broker.Up, renewalsMax), make(chan identity.Peer, renewalsMax)
	var err error
	a.book, err = identity.OpenBook(identity.Keeper{
		Get: func(key string) ([]byte, error) {
			v, err := a.ledger.Fact(key)
			if errors.Is(err, ledger.ErrNotFound) {
				return nil, nil
			}
			return v, err
		},
		Put: func(ctx context.Context, key string, v []byte) error { return a.ingest.PutFact(ctx, key, v) },
	}, a.deps.Now)
	if err != nil {
		return fmt.Errorf("open identities: %w", err)
	}
	if !a.cfg.ownCA() {
		return nil
	}
	if a.ca, err = identity.OpenOrInit(a.cfg.DataDir, caName, a.deps.Now); err != nil {
		return fmt.Errorf("open authority: %w", err)
	}
	a.keys.Pin(a.ca.Pin())
	if at, near := a.ca.Ends(); near {
		a.deps.Log.Error().Time("not_after", at).Msg("the authority's own certificate ends soon; see `tillwire-aggregator ca`")
	}
	a.server, err = identity.NewServer(a.ca, a.cfg.names())
	return err
}

const caName = "Tillwire"

// identify judges a client's certificate for the broker. It must not wait.
func (a *Aggregator) identify(shown []*x509.Certificate) (broker.Caller, error) {
	p, err := a.ca.Verify(shown, time.Duration(a.cfg.Identity.Grace))
	if err != nil {
		return broker.Caller{}, err
	}
	who := broker.Caller{Origin: p.Origin, Key: p.Issued.Key, IssuedUS: p.Issued.US, RenewOnly: p.Expired}
	if err := a.allowed(who); err != nil {
		return broker.Caller{}, err
	}
	select {
	case a.seen <- p:
	default: // the former certificate stays good until this one connects again
	}
	return who, nil
}

func (a *Aggregator) authenticate(o protocol.Origin, token string) error {
	if a.cfg.Dev {
		return nil
	}
	if a.cfg.MQTT.TLS == TLSOwn && !a.cfg.MQTT.Tokens {
		return errors.New("a client certificate is needed: enrol the host, or set mqtt.tokens while a chain changes over")
	}
	issued, err := a.keys.CheckAgent(o, token)
	if err != nil {
		return err
	}
	return a.book.AdmitToken(o, issued)
}

// allowed tells whether a session may go on.
func (a *Aggregator) allowed(c broker.Caller) error {
	switch {
	case c.Key != "" && a.keys.CertRevoked(c.Key):
		return identity.ErrRevoked
	case c.Key != "":
		return a.book.Admit(c.Origin, certOf(c))
	case a.cfg.Dev:
		return nil
	case a.keys.AgentRevoked(c.Origin):
		return identity.ErrRevoked
	}
	return a.book.AdmitToken(c.Origin, c.Since)
}

func certOf(c broker.Caller) identity.Issued { return identity.Issued{Key: c.Key, US: c.IssuedUS} }

// followIdentities signs renewals, voids what they replace, and ends the sessions of
// who was shut out.
func (a *Aggregator) followIdentities(ctx context.Context) error {
	t := time.NewTicker(expelEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			a.broker.Expel(a.allowed)
		case p := <-a.seen:
			if err := a.book.Seen(ctx, p); err != nil && ctx.Err() == nil {
				a.deps.Log.Warn().Err(err).Msg("renewed certificate not noted; the former one stays good beside it")
			}
		case m := <-a.renewals:
			if ctx.Err() == nil {
				a.answerRenewal(ctx, m)
			}
		}
	}
}

// takeRenewal queues a request; unqueued, it is not acknowledged, and asked again.
func (a *Aggregator) takeRenewal(m broker.Up) error {
	if m.Caller.Key == "" {
		return errors.New("a session with a token has no certificate to renew")
	}
	select {
	case a.renewals <- m:
		return nil
	default:
		return errors.New("too many certificates wait to be signed")
	}
}

func (a *Aggregator) answerRenewal(ctx context.Context, m broker.Up) {
	log := a.deps.Log.With().Str("store", string(m.Origin.Store)).Str("agent", string(m.Origin.Agent)).Logger()
	var req protocol.Renew
	answer := protocol.Renewed{V: protocol.Version}
	err := protocol.DecodeControl(m.Payload, &req)
	var cert *x509.Certificate
	if err == nil {
		cert, err = a.ca.AgentCert(m.Origin, []byte(req.CSR), time.Duration(a.cfg.Identity.Lifetime))
	}
	if err == nil {
		err = a.book.Renewed(ctx, identity.Peer{Origin: m.Origin, Issued: certOf(m.Caller)}, identity.Of(cert))
	}
	if err != nil {
		answer.Refused = err.Error()
		log.Warn().Err(err).Msg("certificate not renewed")
	} else {
		answer.Certificate, answer.CA = string(a.ca.ChainPEM(cert)), string(a.ca.RootsPEM())
		log.Info().Time("not_after", cert.NotAfter).Msg("certificate renewed")
	}
	b, err := protocol.EncodeControl(&answer)
	if err == nil {
		err = a.broker.Publish(m.Origin, protocol.DnRenewed, b)
	}
	if err != nil {
		log.Debug().Err(err).Msg("renewed certificate not sent; the agent asks again")
	}
}

// credential makes what an agent proves itself by, and writes it down; whatever was
// issued under its name before is void from now on.
func (a *Aggregator) credential(ctx context.Context, o protocol.Origin, csr string) (protocol.Enrolled, error) {
	e := protocol.Enrolled{Store: o.Store, Agent: o.Agent, Broker: a.brokerURL()}
	if k := a.cfg.Releases; len(k.Keys) > 0 {
		e.Update = &protocol.Update{Keys: k.Keys, Threshold: k.Threshold, KeysVersion: k.KeysVersion}
	}
	var kept identity.Issued
	if csr != "" && a.cfg.MQTT.TLS == TLSOwn {
		cert, err := a.ca.AgentCert(o, []byte(csr), time.Duration(a.cfg.Identity.Lifetime))
		if err != nil {
			return e, csrProblem(err)
		}
		kept = identity.Of(cert)
		e.Certificate, e.CA = string(a.ca.ChainPEM(cert)), string(a.ca.RootsPEM())
	} else {
		e.Token = a.keys.AgentFrom(o, a.book.TokenFrom(o))
		if a.ca != nil {
			e.CA = string(a.ca.RootsPEM())
		}
	}
	if err := a.book.Enrolled(ctx, o, kept); err != nil {
		return e, err
	}
	a.broker.Expel(a.allowed)
	return e, nil
}

// checkCSR refuses a request before a code is spent for it.
func (a *Aggregator) checkCSR(csr string) error {
	switch {
	case a.cfg.MQTT.TLS != TLSOwn:
		return nil
	case csr != "":
		return csrProblem(identity.CheckRequest([]byte(csr)))
	case a.cfg.MQTT.Tokens:
		return nil
	}
	return csrProblem(fmt.Errorf("%w: there is none, and this chain's agents have certificates", identity.ErrRequest))
}

func csrProblem(err error) error {
	if err == nil || !errors.Is(err, identity.ErrRequest) {
		return err
	}
	p := protocol.NewProblem(http.StatusUnprocessableEntity, "invalid_field", "A field is not acceptable", "/csr "+err.Error(),
		"use `tillwire-agent enroll` of this version, or send a PEM CERTIFICATE REQUEST of an ECDSA or Ed25519 key")
	p.Errors = []protocol.FieldError{{Pointer: "/csr", Message: err.Error()}}
	return p
}

// signIdentity enrols a host whose request was brought by hand.
func (a *Aggregator) signIdentity(ctx context.Context, o protocol.Origin, csr string) (protocol.Enrolled, error) {
	if err := a.checkCSR(csr); err != nil {
		return protocol.Enrolled{}, err
	}
	return a.credential(ctx, o, csr)
}

// revokeIdentity shuts an agent out and ends its session.
func (a *Aggregator) revokeIdentity(ctx context.Context, o protocol.Origin, by, reason string) (protocol.Identity, error) {
	// Beside the ledger too: one that is restored from before must not forget it.
	if err := a.keys.RevokeCerts(o, a.book.KeysOf(o)); err != nil {
		return protocol.Identity{}, err
	}
	if err := a.book.Revoke(ctx, o, by, reason); err != nil {
		return protocol.Identity{}, err
	}
	a.deps.Log.Warn().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Str("who", by).Str("reason", reason).Msg("identity revoked")
	a.broker.Expel(a.allowed)
	i, _ := a.book.Of(o)
	return i, nil
}

// revoked lists what is void, by name.
func (a *Aggregator) revoked() []string {
	out := slices.DeleteFunc(a.keys.Revoked(), func(name string) bool { return strings.HasPrefix(name, "cert/") })
	for _, i := range a.book.List() {
		if i.Status == "revoked" {
			out = append(out, string(i.Store)+"/"+string(i.Agent))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
