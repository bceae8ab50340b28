//go:build !race

// The race detector of Go 1.26 crashes in this bubble, in about every third run:
// ThreadSanitizer's stack depot faults while the runtime fires the bubble's
// timers (synctestRun clears m.curg around them). `make test` therefore runs it
// without, before everything else with.

package simulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent"
	"tillwire/aggregator"
	"tillwire/protocol"
)

// pipeNet is a network of net.Pipe: one listener, as many dialers as wanted.
type pipeNet struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

func newPipeNet(port int) *pipeNet {
	return &pipeNet{conns: make(chan net.Conn), done: make(chan struct{}), addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}}
}

func (p *pipeNet) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipeNet) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipeNet) Addr() net.Addr { return p.addr }

// pipeConn gives a pipe the addresses that servers log and bound by.
type pipeConn struct {
	net.Conn
	local, remote net.Addr
}

func (c pipeConn) LocalAddr() net.Addr  { return c.local }
func (c pipeConn) RemoteAddr() net.Addr { return c.remote }

func (p *pipeNet) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	client := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50_000}
	select {
	case p.conns <- pipeConn{there, p.addr, client}:
		return pipeConn{here, client, p.addr}, nil
	case <-p.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// handlerTransport calls a handler without any network.
type handlerTransport struct{ h http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	r.RemoteAddr = "127.0.0.1:50000"
	t.h.ServeHTTP(w, r)
	return w.Result(), nil
}

const (
	bubbleStores  = 40
	bubbleBefore  = 10 * time.Minute
	bubbleOutage  = 3 * time.Hour
	bubbleAfter   = 10 * time.Minute
	bubbleSettle  = 30 * time.Minute
	bubbleSaleGap = 2 * time.Minute // mean time between two sales of a store
)

// Forty stores live through a three-hour outage in fake time: real paho, real
// mochi, real bbolt, the real aggregator, over pipes. Afterwards every event is
// merged once and every stock is the truth. Scheduling is not seeded, so
// nothing here depends on interleaving.
func TestBubbleOutageOfThreeHours(t *testing.T) {
	outage{stores: bubbleStores, lasts: bubbleOutage, gap: bubbleSaleGap}.run(t)
}

// Two stores sell for days without a line, and keep every sale: their retention
// is longer. They come back as if it had been an afternoon. The thirty days of the
// long campaign (TILLWIRE_DAYS_DARK=30) take two minutes.
func TestBubbleDaysDark(t *testing.T) {
	days := 4
	if n, err := strconv.Atoi(os.Getenv("TILLWIRE_DAYS_DARK")); err == nil {
		days = n
	}
	outage{stores: 2, lasts: time.Duration(days) * 24 * time.Hour, gap: 12 * time.Minute}.run(t)
}

type outage struct {
	stores int
	lasts  time.Duration
	gap    time.Duration // mean time between two sales of a store
}

func (o outage) run(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("hours of fake time take some real seconds")
	}
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, o)
		w.live(bubbleBefore)
		if left := w.left(); left > 0 {
			synctest.Wait()
			w.settle(2 * time.Minute)
		}
		for _, l := range w.lines {
			l.cut(false)
		}
		w.live(o.lasts)
		behind := w.left()
		if want := uint64(o.stores * int(o.lasts/o.gap) / 2); behind < want {
			t.Errorf("after the outage %d events wait, expected more than %d: the cut did not cut", behind, want)
		}
		for _, l := range w.lines {
			l.restore()
		}
		w.live(bubbleAfter)
		w.settle(bubbleSettle)
		v, err := judge(w.ctx, w.oracle, w.chain, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !v.OK() {
			var b bytes.Buffer
			v.print(&b)
			t.Errorf("after %d events of backlog:\n%s", behind, b.String())
		}
		t.Logf("%d events, %d of them through the outage, %d cells", v.Journaled, behind, v.Cells)
		w.end()
	})
	t.Logf("took %s", time.Since(began).Round(time.Millisecond))
}

type bubble struct {
	t      *testing.T
	ctx    context.Context
	cancel context.CancelFunc
	runs   sync.WaitGroup
	client *http.Client
	lines  []*line
	tills  []*till
	shops  []*shop
	rng    *rand.Rand
	oracle *oracle
	chain  *chain
	gap    time.Duration
}

func newBubble(t *testing.T, o outage) *bubble {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &bubble{t: t, ctx: ctx, cancel: cancel, oracle: newOracle(), rng: rand.New(rand.NewPCG(11, 40)), gap: o.gap / time.Duration(o.stores)}
	dir := t.TempDir()
	broker, api := newPipeNet(7483), newPipeNet(7400)
	ps := places(o.stores)

	c := aggregator.Defaults()
	c.DataDir, c.Dev = filepath.Join(dir, "aggregator"), true
	agg, err := aggregator.New(c, aggregator.Deps{Log: zerolog.Nop(), MQTTListener: broker, HTTPListener: api})
	if err != nil {
		t.Fatal(err)
	}
	w.run("aggregator", agg)
	w.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: api.dial}}
	w.chain = &chain{base: "http://127.0.0.1:7400", http: w.client}

	codec, err := protocol.NewFrameCodec()
	if err != nil {
		t.Fatal(err)
	}
	all := articles(60)
	for i, p := range ps {
		l := newLine(broker.dial)
		c := agent.Defaults()
		c.Store, c.DataDir, c.Dev, c.Journal.BallastMiB = string(p.Store), filepath.Join(dir, string(p.Store)), true, 0
		c.HTTP.Listen, c.Link.Broker = "127.0.0.1:7410", "mqtt://127.0.0.1:7483"
		a, err := agent.New(c, agent.Deps{
			Log: zerolog.Nop(), Dial: l.Dial, Codec: codec,
			Listen: func(string, string) (net.Listener, error) { return newPipeNet(7410), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		w.run(string(p.Store), a)
		rng := rand.New(rand.NewPCG(11, uint64(i)))
		w.lines = append(w.lines, l)
		w.tills = append(w.tills, &till{store: p.Store, base: "http://127.0.0.1:7410", http: &http.Client{Transport: handlerTransport{a.Handler()}}})
		w.shops = append(w.shops, newShop(p, newAssortment(all, 40, rng), rng, nil))
		w.tell(i, w.shops[i].open(time.Now()))
	}
	return w
}

func (w *bubble) run(name string, p program) {
	w.runs.Go(func() {
		if err := p.Run(w.ctx); err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("%s ended: %v", name, err)
		}
	})
	select {
	case <-p.Ready():
	case <-time.After(time.Minute):
		w.t.Fatalf("%s is not ready after a minute", name)
	}
}

// live lets shops sell for d of fake time, one document at a time.
func (w *bubble) live(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		pause(w.ctx, time.Duration(w.rng.ExpFloat64()*float64(w.gap)))
		i := w.rng.IntN(len(w.shops))
		s := w.shops[i]
		for _, d := range s.backlog(time.Now()) {
			w.tell(i, d)
		}
		if d := s.next(time.Now()); d != nil && !s.isWithheld(d) {
			w.tell(i, d)
		}
	}
}

func (w *bubble) tell(i int, d *document) {
	w.t.Helper()
	a, err := w.tills[i].post(w.ctx, d)
	if err != nil {
		w.t.Fatalf("%s %s: %v", d.kind, d.DocumentID, err)
	}
	w.oracle.record(w.tills[i].store, d, a.Seq)
}

func (w *bubble) left() uint64 {
	w.t.Helper()
	marks, err := w.chain.stores(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	n, _ := outstanding(w.oracle, marks)
	return n
}

// settle posts what tills hold back and waits until the ledger has it all.
func (w *bubble) settle(d time.Duration) {
	w.t.Helper()
	last := ""
	ok, err := settle(w.ctx, w.oracle, w.chain, d, func(left uint64, stores int) { last = fmt.Sprintf("%d events of %d stores", left, stores) })
	if err != nil || !ok {
		w.t.Fatalf("not drained within %s: %s, %v", d, last, err)
	}
}

func (w *bubble) end() {
	w.client.CloseIdleConnections()
	w.cancel()
	w.runs.Wait()
}
