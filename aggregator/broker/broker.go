package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// Errors of Publish.
var (
	ErrNotConnected = errors.New("agent is not connected")
	ErrSlow         = errors.New("agent does not read what it is sent")
)

// Up is one message from an agent.
type Up struct {
	Origin     protocol.Origin
	Channel    protocol.Channel
	Payload    []byte // the receiver's to keep
	ReceivedUS int64
	Caller     Caller
}

// Caller is who a certificate names, or a token.
type Caller struct {
	Origin    protocol.Origin
	Key       string    // of the certificate; "" with a token
	IssuedUS  int64     // of the certificate
	RenewOnly bool      // nothing else is heard
	Since     time.Time // of the session
}

// Options configure a broker. The funcs are called by connections' goroutines,
// several at once, and must not block.
type Options struct {
	Listener net.Listener
	TLS      *tls.Config // nil: plain

	ClientsMax     int // authenticated agents; 0 = 8192
	PerAddrMax     int // connections of one address; 0 = 64
	PerLoopbackMax int // connections of all loopback addresses; 0 = 8192

	// Identify judges the certificates that a TLS client showed; nil: tokens only. A
	// client that shows one is who that says, or nobody: its token is not looked at.
	Identify func(shown []*x509.Certificate) (Caller, error)
	// Authenticate says whether the token is the origin's.
	Authenticate func(o protocol.Origin, token string) error
	// OnUp takes a message. With an error the agent gets no PUBACK.
	OnUp func(Up) error
	// OnPresence tells of connections that come and go, in order per origin.
	OnPresence func(o protocol.Origin, connected bool)

	Log zerolog.Logger
	Now func() time.Time // of ReceivedUS; nil = time.Now

	handshake time.Duration // tests shorten it
}

// Stats are counters since start, but for Connected and Open.
type Stats struct {
	Open, Connected                          int64 // connections; authenticated ones
	Accepted, RefusedCap, RefusedHandshake   uint64
	RefusedAuth, Denied, Rejected, Retained  uint64
	Panics, Takeovers, Up, Down, DownDropped uint64
	Wills                                    uint64
}

type counters struct {
	accepted, refusedCap, refusedHandshake, refusedAuth, denied, rejected, retained atomic.Uint64
	panics, takeovers, up, down, downDropped, wills                                 atomic.Uint64
}

// Broker is an embedded broker. Run serves.
type Broker struct {
	o      Options
	log    zerolog.Logger
	server *mqtt.Server
	n      counters
	wg     sync.WaitGroup // connections

	mu       sync.Mutex
	open     map[net.Conn]string // to the address it is counted under
	perAddr  map[string]int
	sessions map[protocol.Origin]*session
	closed   bool
}

// New makes a broker on an open listener, which it owns from now on.
func New(o Options) (*Broker, error) {
	if o.Listener == nil || o.Authenticate == nil || o.OnUp == nil {
		return nil, errors.New("new broker: Listener, Authenticate and OnUp are required")
	}
	if o.OnPresence == nil {
		o.OnPresence = func(protocol.Origin, bool) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.handshake == 0 {
		o.handshake = handshakeTimeout
	}
	o.ClientsMax = orDefault(o.ClientsMax, clientsDefault)
	o.PerAddrMax = orDefault(o.PerAddrMax, perAddrDefault)
	o.PerLoopbackMax = orDefault(o.PerLoopbackMax, perLoopbackMaxDef)
	b := &Broker{
		o: o, log: o.Log, open: map[net.Conn]string{}, perAddr: map[string]int{}, sessions: map[protocol.Origin]*session{},
	}
	b.server = mqtt.New(&mqtt.Options{
		Capabilities: capabilities(o.ClientsMax), Logger: newLogger(o.Log), InlineClient: true, SysTopicResendInterval: sysTickS,
	})
	if err := b.server.AddHook(&hook{b: b}, nil); err != nil {
		return nil, fmt.Errorf("new broker: %w", err)
	}
	return b, nil
}

func orDefault(n, def int) int {
	if n <= 0 {
		return def
	}
	return n
}

func capabilities(clients int) *mqtt.Capabilities {
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumClients = int64(clients)
	c.MaximumClientWritesPending = writesPendingMax
	c.MaximumPacketSize = packetBytesMax
	c.MaximumInflight = inflightMax
	c.MaximumSessionExpiryInterval = 0
	c.TopicAliasMaximum = 0
	c.SharedSubAvailable = 0
	c.RetainAvailable = 0
	c.MinimumProtocolVersion = 4
	c.MaximumQos = 1
	return c
}

// Addr is where the broker listens.
func (b *Broker) Addr() string { return b.o.Listener.Addr().String() }

// Run serves until ctx ends or the listener fails; it returns when every
// connection has ended.
func (b *Broker) Run(ctx context.Context) error {
	if err := b.server.Serve(); err != nil {
		return fmt.Errorf("serve mqtt: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = b.o.Listener.Close() })
	err := b.accept(ctx)
	if stop() {
		_ = b.o.Listener.Close()
	}
	b.mu.Lock()
	b.closed = true
	for c := range b.open {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
	_ = b.server.Close()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // asked to end: what the listener says on closing is no failure
	}
	return err
}

// Publish sends a control message to one agent with QoS 1. It never waits: the
// message is queued, and lost where the connection ends first, so that whatever
// matters must be sent again when the agent asks.
func (b *Broker) Publish(o protocol.Origin, ch protocol.Channel, payload []byte) error {
	b.mu.Lock()
	s := b.sessions[o]
	b.mu.Unlock()
	if s == nil || !s.ready.Load() {
		return fmt.Errorf("publish %s to %s: %w", ch, o, ErrNotConnected)
	}
	select {
	case s.down <- message{protocol.Topic(o, ch, ""), payload}:
		b.n.down.Add(1)
		return nil
	default:
		b.n.downDropped.Add(1)
		return fmt.Errorf("publish %s to %s: %w", ch, o, ErrSlow)
	}
}

// Disconnect ends an agent's connection, if there is one.
func (b *Broker) Disconnect(o protocol.Origin) {
	b.mu.Lock()
	s := b.sessions[o]
	b.mu.Unlock()
	if s != nil {
		s.cl.Stop(errDisconnected)
	}
}

// Expel ends the sessions that are not allowed any more, and says how many.
func (b *Broker) Expel(allowed func(Caller) error) (ended int) {
	b.mu.Lock()
	all := make([]*session, 0, len(b.sessions))
	for _, s := range b.sessions {
		all = append(all, s)
	}
	b.mu.Unlock()
	for _, s := range all {
		err := allowed(s.caller)
		if err == nil {
			continue
		}
		ended++
		b.log.Warn().Str("store", string(s.origin.Store)).Str("agent", string(s.origin.Agent)).Err(err).Msg("agent expelled")
		s.cl.Stop(errDisconnected)
	}
	return ended
}

// Stats returns the counters.
func (b *Broker) Stats() Stats {
	b.mu.Lock()
	open, connected := len(b.open), len(b.sessions)
	b.mu.Unlock()
	n := &b.n
	return Stats{
		Open: int64(open), Connected: int64(connected),
		Accepted: n.accepted.Load(), RefusedCap: n.refusedCap.Load(), RefusedHandshake: n.refusedHandshake.Load(),
		RefusedAuth: n.refusedAuth.Load(), Denied: n.denied.Load(), Rejected: n.rejected.Load(), Retained: n.retained.Load(),
		Panics: n.panics.Load(), Takeovers: n.takeovers.Load(), Up: n.up.Load(), Down: n.down.Load(),
		DownDropped: n.downDropped.Load(), Wills: n.wills.Load(),
	}
}
