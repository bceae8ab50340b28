package linktest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"tillwire/agent/link"
	"tillwire/aggregator/broker"
	"tillwire/aggregator/ingest"
	"tillwire/protocol"
	"tillwire/store/journal"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// quick are the durations of a link under test.
var quick = link.Timing{
	ReconnectMin: 5 * time.Millisecond, ReconnectCap: 40 * time.Millisecond, Heartbeat: 50 * time.Millisecond,
	AckTimeout: 300 * time.Millisecond, RefusedRest: 50 * time.Millisecond, Linger: 5 * time.Millisecond, ConnectTimeout: 3 * time.Second,
}

const waitMax = 30 * time.Second

func codec(t *testing.T) *protocol.FrameCodec {
	t.Helper()
	c, err := protocol.NewFrameCodec()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// chain is a real aggregator's receiving end.
type chain struct {
	t     *testing.T
	codec *protocol.FrameCodec
	dir   string
	addr  string // the same after a restart
	tls   *tls.Config

	broker *broker.Broker
	in     *ingest.Ingest
	ledger *bolt.Ledger
	stop   func()

	mischief func(u broker.Up, pass func(broker.Up) error) error // nil: none

	mu     sync.Mutex
	onHand map[protocol.StoreID]protocol.Quantity
	marks  map[protocol.Origin]ledger.Mark
	beats  map[protocol.Origin]protocol.Heartbeat
	nacks  map[protocol.NackReason]int
}

func newChain(t *testing.T) *chain {
	t.Helper()
	return newChainTLS(t, nil)
}

func newChainTLS(t *testing.T, cfg *tls.Config) *chain {
	t.Helper()
	c := &chain{tls: cfg, t: t, codec: codec(t), dir: t.TempDir(), addr: "127.0.0.1:0"}
	c.start()
	t.Cleanup(func() {
		c.stop()
		goleak.VerifyNone(t)
	})
	return c
}

func (c *chain) ledgerPath() string { return filepath.Join(c.dir, "ledger.db") }

// start opens the ledger and serves.
func (c *chain) start() {
	c.t.Helper()
	c.onHand, c.marks = map[protocol.StoreID]protocol.Quantity{}, map[protocol.Origin]ledger.Mark{}
	c.beats, c.nacks = map[protocol.Origin]protocol.Heartbeat{}, map[protocol.NackReason]int{}
	l, err := bolt.Open(bolt.Options{Path: c.ledgerPath(), Log: zerolog.Nop()})
	c.must(err)
	c.ledger = l
	c.in, err = ingest.Open(ingest.Options{
		Ledger: l, Codec: c.codec, Log: zerolog.Nop(), Now: time.Now,
		Send: func(o protocol.Origin, ch protocol.Channel, b []byte) error { return c.broker.Publish(o, ch, b) },
		Cells: func(cells []ingest.Position) {
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, x := range cells {
				c.onHand[x.Location] = x.OnHand
			}
		},
		Merged: func(o protocol.Origin, m ledger.Mark, _ int) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.marks[o] = m
		},
		Refused: func(_ protocol.Origin, why protocol.NackReason, _ string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.nacks[why]++
		},
	})
	c.must(err)
	c.in.Each(func(x ingest.Position) { c.onHand[x.Location] = x.OnHand })
	for _, m := range c.in.Marks() {
		c.marks[m.Origin] = m
	}
	ln, err := net.Listen("tcp", c.addr)
	c.must(err)
	c.addr = ln.Addr().String()
	c.broker, err = broker.New(broker.Options{
		Listener: ln, TLS: c.tls, Log: zerolog.Nop(), OnUp: c.up,
		Authenticate: func(o protocol.Origin, token string) error {
			if token != "token-"+o.String() {
				return fmt.Errorf("token of %s is wrong", o)
			}
			return nil
		},
	})
	c.must(err)
	c.stop = c.run(l)
}

func (c *chain) run(l io.Closer) func() {
	ctx, cancel := context.WithCancel(context.Background())
	bctx, bcancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- c.in.Run(ctx) }()
	go func() { ended <- c.broker.Run(bctx) }()
	return sync.OnceFunc(func() {
		bcancel()
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
		cancel()
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
		if err := l.Close(); err != nil {
			c.t.Error(err)
		}
	})
}

func (c *chain) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *chain) up(u broker.Up) error {
	if c.mischief != nil {
		return c.mischief(u, c.pass)
	}
	return c.pass(u)
}

func (c *chain) pass(u broker.Up) error {
	switch u.Channel { //nolint:exhaustive // wills and what goes down are not of this test
	case protocol.UpHello:
		return c.in.Hello(u.Origin, u.Payload)
	case protocol.UpJournal:
		return c.in.Frame(u.Origin, u.Payload, u.ReceivedUS)
	case protocol.UpHeartbeat:
		var h protocol.Heartbeat
		if err := protocol.DecodeControl(u.Payload, &h); err != nil {
			return err
		}
		c.mu.Lock()
		c.beats[u.Origin] = h
		c.mu.Unlock()
		return c.in.Heartbeat(u.Origin, &h)
	}
	return nil
}

// sold is how many units the chain believes that a store sold.
func (c *chain) sold(s protocol.StoreID) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return -int64(c.onHand[s]) / 1000
}

// mark is how far a journal is merged. The writer acknowledges before it tells of a mark:
// a turn of it later it has told.
func (c *chain) mark(o protocol.Origin) ledger.Mark {
	if _, err := c.in.OpenDrift(c.t.Context()); err != nil && !errors.Is(err, ingest.ErrBusy) && !errors.Is(err, ingest.ErrStopped) {
		c.t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.marks[o]
}

// shop is a real journal with a link.
type shop struct {
	t       *testing.T
	c       *chain
	origin  protocol.Origin
	path    string
	docs    int64 // documents ever sold, whatever became of the disk
	journal *journal.Journal
	link    *link.Link
	stop    func()
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	token   string
	boot    string // random where it is empty
	tls     *tls.Config
}

func newShop(c *chain, store string) *shop {
	o := protocol.Origin{Store: protocol.StoreID(store), Agent: "server"}
	s := &shop{t: c.t, c: c, origin: o, path: filepath.Join(c.t.TempDir(), "journal.db"), token: "token-" + o.String()}
	c.t.Cleanup(func() {
		if s.stop != nil {
			s.stop()
		}
	})
	return s
}

// open starts the agent: journal and link.
func (s *shop) open() {
	s.t.Helper()
	s.load()
	s.connect()
}

func (s *shop) load() {
	s.t.Helper()
	j, err := journal.Open(journal.Options{Path: s.path, Log: zerolog.Nop(), BallastBytes: -1})
	s.c.must(err)
	s.journal = j
	s.stop = sync.OnceFunc(func() { s.c.must(j.Close()) })
}

func (s *shop) connect() {
	s.t.Helper()
	scheme := "mqtt://"
	if s.tls != nil {
		scheme = "mqtts://"
	}
	l, err := link.New(link.Options{
		Origin: s.origin, Broker: scheme + s.c.addr, TLS: s.tls, Token: s.token, Journal: s.journal, Codec: s.c.codec, Dial: s.dial,
		Log: zerolog.Nop(), Version: "test", Timing: quick, BootID: s.boot,
	})
	s.c.must(err)
	s.link = l
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	j := s.journal
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
		if err := j.Close(); err != nil {
			s.t.Error(err)
		}
	})
}

// sell journals n sales of one unit each.
func (s *shop) sell(n int) {
	s.t.Helper()
	events := make([]*protocol.Event, 0, n)
	for range n {
		s.docs++
		events = append(events, s.sale(s.docs))
	}
	s.append(events)
}

func (s *shop) append(events []*protocol.Event) {
	s.t.Helper()
	for len(events) > 0 {
		k := min(len(events), 500)
		_, errs := s.journal.AppendAll(context.Background(), events[:k])
		for _, err := range errs {
			s.c.must(err)
		}
		events = events[k:]
	}
}

func (s *shop) sale(n int64) *protocol.Event {
	id := fmt.Sprintf("T-%d", n)
	now := time.Now()
	return &protocol.Event{
		ID: protocol.MakeEventID(s.origin.Store, protocol.KindSale, id), Kind: protocol.KindSale, Store: s.origin.Store, DocumentID: id,
		EventTime: protocol.Stamp{US: now.UnixMicro()}, Register: "1",
		Lines: []protocol.Line{{Line: 1, SKU: "ART-1", Quantity: protocol.Units(1)}},
	}
}

// settled waits until all that the journal holds is merged, and checks that the
// chain sold exactly want units.
func (s *shop) settled(want int64) {
	s.t.Helper()
	wait(s.t, fmt.Sprintf("%s merged", s.origin), func() string {
		st := s.journal.State()
		if st.Merged == st.Head && s.c.mark(s.origin).Seq == st.Head {
			return ""
		}
		return fmt.Sprintf("merged %d of %d, aggregator at %d, link %+v", st.Merged, st.Head, s.c.mark(s.origin).Seq, s.link.Status())
	})
	if got := s.c.sold(s.origin.Store); got != want {
		s.t.Fatalf("%s: chain counts %d units, sold were %d", s.origin, got, want)
	}
}

// wait polls until why is empty.
func wait(t *testing.T, what string, why func() string) {
	t.Helper()
	for until := time.Now().Add(waitMax); ; {
		w := why()
		if w == "" {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s not within %s: %s", what, waitMax, w)
		}
		time.Sleep(3 * time.Millisecond)
	}
}

// frail is a connection that breaks after so many bytes, in the middle of
// whatever is being written or read.
type frail struct {
	net.Conn
	left atomic.Int64
}

func (f *frail) Write(p []byte) (int, error) {
	if left := f.left.Add(-int64(len(p))); left < 0 {
		n, _ := f.Conn.Write(p[:max(0, len(p)+int(left))])
		_ = f.Close()
		return n, io.ErrClosedPipe
	}
	return f.Conn.Write(p)
}

func (f *frail) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if f.left.Add(-int64(n)) < 0 {
		_ = f.Close()
	}
	return n, err
}

// frailDial breaks each connection after low to high bytes, until healed.
func frailDial(healed *atomic.Bool, low, high int64) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil || healed.Load() {
			return c, err
		}
		f := &frail{Conn: c}
		f.left.Store(low + rand.Int64N(high-low))
		return f, nil
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
