package simulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent"
	"tillwire/agent/link"
	"tillwire/aggregator"
	"tillwire/protocol"
)

// gate lets frames pass one by one. All else passes freely.
type gate struct {
	net.Conn

	tokens <-chan struct{}
	gone   chan struct{}
	once   sync.Once
}

func (g *gate) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("/up/journal/")) {
		select {
		case <-g.tokens:
		case <-g.gone:
			return 0, net.ErrClosed
		}
	}
	return g.Conn.Write(b)
}

func (g *gate) Close() error {
	g.once.Do(func() { close(g.gone) })
	return g.Conn.Close()
}

// laneWorld is one shop and its aggregator, behind a gate.
type laneWorld struct {
	t      *testing.T
	ctx    context.Context
	till   *chain
	head   *chain
	line   *line
	tokens chan struct{}
	now    string
}

func newLaneWorld(t *testing.T) *laneWorld {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &laneWorld{t: t, ctx: ctx, tokens: make(chan struct{}), now: time.Now().UTC().Format(time.RFC3339)}
	ended := make(chan error, 2)
	programs := 0
	t.Cleanup(func() {
		cancel()
		w.open()
		for range programs {
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
	run := func(p program) {
		programs++
		go func() { ended <- p.Run(ctx) }()
		<-p.Ready()
	}
	c := aggregator.Defaults()
	c.DataDir, c.Dev, c.MQTT.Listen, c.HTTP.Listen = filepath.Join(t.TempDir(), "head"), true, "127.0.0.1:0", "127.0.0.1:0"
	head, err := aggregator.New(c, aggregator.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	run(head)
	w.line = newLine(func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &gate{Conn: c, tokens: w.tokens, gone: make(chan struct{})}, err
	})
	ac := agent.Defaults()
	ac.Store, ac.DataDir, ac.Dev, ac.Journal.BallastMiB = "S1", filepath.Join(t.TempDir(), "agent"), true, 0
	ac.HTTP.Listen, ac.Link.Broker, ac.Link.Token = "127.0.0.1:0", "mqtt://"+head.MQTTAddr(), "any"
	a, err := agent.New(ac, agent.Deps{Log: zerolog.Nop(), Dial: w.line.Dial, Timing: link.Timing{
		ReconnectMin: 5 * time.Millisecond, ReconnectCap: 50 * time.Millisecond, LongOutageSpread: 50 * time.Millisecond, AckTimeout: time.Minute,
	}})
	if err != nil {
		t.Fatal(err)
	}
	run(a)
	w.head, w.till = newChain(head.HTTPAddr()), newChain(a.HTTPAddr())
	return w
}

// pass lets one frame through; open lets all.
func (w *laneWorld) pass() { w.tokens <- struct{}{} }

func (w *laneWorld) open() {
	go func() {
		for {
			select {
			case w.tokens <- struct{}{}:
			case <-time.After(5 * time.Second): // nobody has written for long: the world is gone
				return
			}
		}
	}()
}

func (w *laneWorld) post(path, body string) {
	w.t.Helper()
	var answer map[string]any
	if err := w.till.do(w.ctx, http.MethodPost, path, []byte(body), &answer); err != nil {
		w.t.Fatal(err)
	}
	if n, ok := answer["refused"].(float64); ok && n > 0 {
		w.t.Fatalf("%v", answer)
	}
}

// trade is a day's work in bulk: sales, returns, voids and counts.
func (w *laneWorld) trade(rng *rand.Rand, skus, documents int) {
	w.t.Helper()
	var docs []string
	line := func(q int) string { return fmt.Sprintf(`[{"sku":"A-%02d","quantity":%d}]`, rng.IntN(skus), q) }
	flush := func() {
		if len(docs) > 0 {
			w.post("/v1/events", "["+strings.Join(docs, ",")+"]")
			docs = docs[:0]
		}
	}
	for n := range documents {
		d := fmt.Sprintf(`"document_id":"d%d","register":"R1","occurred_at":%q`, n, w.now)
		switch k := rng.IntN(40); {
		case k == 0 && n > 0:
			docs = append(docs, fmt.Sprintf(`{"kind":"void",%s,"voids":"d%d","voids_kind":"sale"}`, strings.Replace(d, fmt.Sprintf(`"d%d"`, n), fmt.Sprintf(`"v%d"`, n), 1), n-1))
		case k == 1:
			docs = append(docs, `{"kind":"return",`+d+`,"original_document_id":"x","lines":`+line(1)+`}`)
		case k == 2:
			flush() // a count's moment is now: what was posted before is off the shelf
			docs = append(docs, fmt.Sprintf(`{"kind":"count",%s,"scope":"sku","lines":%s}`, strings.Replace(d, w.now, time.Now().UTC().Format(time.RFC3339Nano), 1), line(rng.IntN(60))))
			flush()
		default:
			docs = append(docs, `{"kind":"sale",`+d+`,"lines":`+line(1+rng.IntN(3))+`}`)
		}
		if len(docs) == 200 {
			flush()
		}
	}
	flush()
}

// shop is what the agent's own stock says, article by article.
func (w *laneWorld) shop(skus int) map[protocol.SKU]protocol.Quantity {
	w.t.Helper()
	out := map[protocol.SKU]protocol.Quantity{}
	for k := range skus {
		var x struct {
			OnHand protocol.Quantity `json:"on_hand"`
		}
		sku := fmt.Sprintf("A-%02d", k)
		if err := w.till.do(w.ctx, http.MethodGet, "/v1/stock/"+sku, nil, &x); err != nil {
			w.t.Fatal(err)
		}
		out[protocol.SKU(sku)] = x.OnHand
	}
	return out
}

func (w *laneWorld) shown(skus int) map[protocol.SKU]protocol.Quantity {
	w.t.Helper()
	var list []protocol.SKU
	for k := range skus {
		list = append(list, protocol.SKU(fmt.Sprintf("A-%02d", k)))
	}
	got, err := w.head.onHand(w.ctx, list)
	if err != nil {
		w.t.Fatal(err)
	}
	return got["S1"]
}

func (w *laneWorld) merged() uint64 {
	w.t.Helper()
	m, err := w.head.stores(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return m["S1"].MergedSeq
}

func (w *laneWorld) until(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); {
		if time.Now().After(deadline) {
			w.t.Fatalf("after 20 s still not: %s", what)
		}
		pause(w.ctx, 10*time.Millisecond)
	}
}

func (w *laneWorld) metric(name string) string {
	w.t.Helper()
	resp, err := w.head.http.Get(w.head.base + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // of the test
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n"+name+" ")
	v, _, _ := strings.Cut(rest, "\n")
	return v
}

func differ(a, b map[protocol.SKU]protocol.Quantity) string {
	for sku, q := range a {
		if b[sku] != q {
			return fmt.Sprintf("%s is %s, the shop has %s", sku, q, b[sku])
		}
	}
	return ""
}

// A shop comes back from an outage with a day's work. Before a single frame of it
// is merged the chain shows the shop's true stock, and it shows the same after
// each frame, to the last.
func TestAvailabilityIsRightBeforeTheBacklogIsMerged(t *testing.T) {
	const skus, documents = 40, 900
	w := newLaneWorld(t)
	var receipt []string
	for k := range skus {
		receipt = append(receipt, fmt.Sprintf(`{"sku":"A-%02d","quantity":200}`, k))
	}
	w.post("/v1/receipts", fmt.Sprintf(`{"document_id":"r","occurred_at":%q,"lines":[%s]}`, w.now, strings.Join(receipt, ",")))
	for w.merged() < 1 { // its frame, and that of the first clock reading
		select {
		case w.tokens <- struct{}{}:
		case <-time.After(20 * time.Millisecond):
		}
	}
	w.line.cut(false)
	w.trade(rand.New(rand.NewPCG(4, 2)), skus, documents)
	truth, before := w.shop(skus), w.merged()
	w.line.restore()
	w.until("the backlog is announced", func() bool { return w.metric("tillwire_ingest_digests_total") == "1" })
	frames := 0
	for {
		if d := differ(w.shown(skus), truth); d != "" {
			t.Fatalf("after %d frames (merged seq %d): %s", frames, w.merged(), d)
		}
		x, err := w.head.explain(w.ctx, "A-07", "S1")
		if err != nil {
			t.Fatal(err)
		}
		if x.OnHand != truth["A-07"] {
			t.Errorf("explained as %s, the shop has %s: %s", x.OnHand, truth["A-07"], x.Sum)
		}
		if w.metric("tillwire_ingest_digests_kept_total") == "1" {
			break
		}
		if frames == 0 && (w.merged() != before || len(x.OnTheWay) != 1 || !strings.Contains(x.Sum, "announced by server and on its way")) {
			t.Errorf("merged %d, %d before; on the way %+v; %s", w.merged(), before, x.OnTheWay, x.Sum)
		}
		m := w.merged()
		w.pass()
		frames++
		w.until("a frame is merged", func() bool { return w.merged() > m })
	}
	if frames < documents/protocol.FrameEventsMax {
		t.Errorf("only %d frames: nothing was shown on the way", frames)
	}
	if wrong, dropped := w.metric("tillwire_ingest_digests_wrong_total"), w.metric("tillwire_ingest_digests_dropped_total"); wrong != "0" || dropped != "0" {
		t.Errorf("%s digests wrong, %s dropped", wrong, dropped)
	}
	if x, err := w.head.explain(w.ctx, "A-07", "S1"); err != nil || len(x.OnTheWay) != 0 {
		t.Errorf("still on the way: %+v, %v", x.OnTheWay, err)
	}
}
