package link

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// Journal is what a link needs of the journal.
type Journal interface {
	State() journal.State
	Read(from uint64, maxEvents, maxBytes int, buf [][]byte) (records [][]byte, prev, last protocol.Chain, err error)
	ChainAt(seq uint64) (protocol.Chain, error)
	SetMerged(epoch, merged, safe, generation uint64) error
	SetLease(lease uint64)
	// Appended is signalled after appends; the link is its only reader.
	Appended() <-chan struct{}
}

// Options configure a link. Origin, Broker, Journal and Codec are required.
type Options struct {
	Origin  protocol.Origin
	Broker  string // mqtt://host:port or mqtts://host:port
	Token   string
	Journal Journal
	Codec   *protocol.FrameCodec
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer
	TLS     *tls.Config                                                       // of mqtts; nil: the system's authorities
	Now     func() time.Time                                                  // wall clock; nil: time.Now
	Log     zerolog.Logger

	Version    string // of the agent
	BootID     string // random per process start; empty: made here
	BootReason string // empty: the journal's
	Timing     Timing
	Counters   func() map[string]uint64 // of the rest of the agent, for heartbeats

	// Holds takes a part of the store's desired tasks and holds; an error is logged
	// and the part asked for again by saying an older HoldsRev. nil: nobody cares.
	Holds    func(*protocol.Holds) error
	HoldsRev func() uint64 // of what is kept, for heartbeats; nil: 0
	// Digest sums up the journal behind a seq, for a session that begins with a
	// backlog; nil where there is nothing to say. nil func: nothing is announced.
	Digest func(ctx context.Context, after uint64) (*protocol.Digest, error)
	// Desired and Command take what is wanted of the agent; they must not wait. nil:
	// nobody cares. DesiredState tells heartbeats which version is applied, and why a
	// newer one is not.
	Desired      func(*protocol.Desired)
	Command      func(*protocol.Command)
	DesiredState func() (version uint64, refused string)
	Update       func() *protocol.UpdateState // of the program; nil, or returning nil: nothing to tell
	// Renewal keeps the certificate that TLS shows. nil: the link has a token.
	Renewal Renewal
	// Clock is told the estimate of the agent's clock, microseconds aggregator −
	// agent and the bound of its error, whenever there is a new one. nil: nobody.
	Clock func(offsetUS, errorUS int64)
}

// Status is how a link stands.
type Status struct {
	Connected     bool      // to the broker
	Session       string    // offline, greeting, resting, sending
	Since         time.Time // of the last change of Connected
	LastError     string    // in words; empty once a session is open
	Epoch         uint64
	Lease         uint64
	ClockOffsetUS int64 // aggregator − agent
	ClockErrorUS  int64
	Reconnects    uint64 // connections made after the first
	DialErrors    uint64
	FramesSent    uint64
	EventsSent    uint64
	InboxDropped  uint64    // control messages that found the queue full
	Unreadable    uint64    // control messages that could not be decoded
	UnknownTopics uint64    // messages on topics that are not the agent's
	Unwelcome     bool      // the broker did not accept certificate or token at the last try
	NextTry       time.Time // of the next dial, or of the HELLO that a rest ends with; zero where none is planned
	Superseded    uint64
	Refused       uint64 // Acks and WELCOMEs that were not believed
	Counts        Counts
}

// Link is an agent's way up. Run works it.
type Link struct {
	o       Options
	host    string
	secure  bool
	started time.Time    // monotonic
	mono    func() int64 // of a link that is worked by hand; nil: since started

	core     *session
	clock    clock
	drain    drain
	asking   asking // for the next certificate
	inbox    chan message
	asks     chan ask
	every    atomic.Int64 // nanoseconds between heartbeats
	pumps    sync.WaitGroup
	lastNote string
	lastDown string // why the last attempt failed
	unread   uint64 // control messages that could not be decoded
	node     string // of the aggregator, as the last WELCOME named it

	mu     sync.Mutex
	status Status
}

// New checks the options and makes a link.
func New(o Options) (*Link, error) {
	if err := errors.Join(protocol.CheckName(string(o.Origin.Store)), protocol.CheckName(string(o.Origin.Agent))); err != nil {
		return nil, fmt.Errorf("new link: origin %s: store and agent %w", o.Origin, err)
	}
	if o.Journal == nil || o.Codec == nil {
		return nil, errors.New("new link: Journal and Codec are required")
	}
	u, err := url.Parse(o.Broker)
	if err != nil || (u.Scheme != "mqtt" && u.Scheme != "mqtts") || u.Hostname() == "" || u.Port() == "" {
		return nil, fmt.Errorf("new link: broker %q is not mqtt://host:port or mqtts://host:port", o.Broker)
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.BootID == "" {
		var b [8]byte
		_, _ = rand.Read(b[:]) // crypto/rand does not fail
		o.BootID = hex.EncodeToString(b[:])
	}
	o.Timing.setDefaults()
	return &Link{
		o: o, host: u.Host, secure: u.Scheme == "mqtts", started: time.Now(),
		core: newSession(o.BootID, o.Timing), inbox: make(chan message, inboxMax), asks: make(chan ask),
		status: Status{Since: o.Now(), Session: offline.String()},
	}, nil
}

// Status tells how the link stands.
func (l *Link) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

func (l *Link) update(fn func(*Status)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn(&l.status)
}

// Run keeps the link up until ctx ends. It returns when all has ended.
func (l *Link) Run(ctx context.Context) error {
	defer l.pumps.Wait()
	b := backoff{t: l.o.Timing}
	lostAt := l.now()
	for n := 0; ; n++ {
		if n > 0 {
			wait := b.next(time.Duration(l.now()-lostAt) * time.Microsecond)
			l.update(func(s *Status) { s.NextTry = l.o.Now().Add(wait) })
			if !l.pause(ctx, wait) {
				return nil
			}
			l.update(func(s *Status) { s.NextTry = time.Time{} })
		}
		up, err := l.attempt(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if up > 0 {
			lostAt = l.now()
		}
		b.was(up)
		l.failed(err, up)
	}
}

// failed logs what a person must know once: that the link went down, and each
// new reason why it does not come up. Attempts that fail the same way are told
// to those who look for them.
func (l *Link) failed(err error, up time.Duration) {
	if err == nil {
		return
	}
	why := clip(err.Error())
	if errors.Is(err, errRenewed) {
		l.o.Log.Info().Msg("certificate renewed; connecting with it")
		return
	}
	level := zerolog.DebugLevel
	if up > 0 || why != l.lastDown {
		level = zerolog.WarnLevel
	}
	l.lastDown = why
	l.o.Log.WithLevel(level).Err(err).Str("broker", l.o.Broker).Dur("up_ms", up).Msg("link is down; journaling goes on")
	l.update(func(s *Status) { s.LastError = why })
}

// pause waits; it is false where ctx ended first.
func (l *Link) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// now is in microseconds since the link was made; it never goes back.
func (l *Link) now() int64 {
	if l.mono != nil {
		return l.mono()
	}
	return time.Since(l.started).Microseconds()
}
