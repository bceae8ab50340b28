package aggregator_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"tillwire/protocol"
)

// shop is a store's agent as the aggregator hears it: a journal in memory, over a real
// broker, on the test's clock.
type shop struct {
	*running
	o     protocol.Origin
	link  *line
	codec *protocol.FrameCodec
	w     protocol.Welcome
	boot  int
	recs  [][]byte
	chain []protocol.Chain // chain[n] is after record n
	sent  int
}

func (r *running) shop(store string) *shop {
	r.t.Helper()
	codec, err := protocol.NewFrameCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	return &shop{running: r, o: protocol.Origin{Store: protocol.StoreID(store), Agent: "server"}, codec: codec, chain: make([]protocol.Chain, 1)}
}

// says journals a document at the test's present moment.
func (s *shop) says(kind protocol.Kind, sku protocol.SKU, units int64) {
	us := s.now().UnixMicro()
	ev := protocol.Event{
		Kind: kind, Store: s.o.Store, DocumentID: fmt.Sprint("d", len(s.recs)), EventTime: protocol.Stamp{US: us},
		Lines: []protocol.Line{{Line: 1, SKU: sku, Quantity: protocol.Units(units), UOM: "EA"}},
	}
	ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
	rec := protocol.AppendRecord(nil, us, &ev)
	s.recs = append(s.recs, rec)
	s.chain = append(s.chain, s.chain[len(s.chain)-1].Next(rec))
}

// up connects, says hello and is welcomed.
func (s *shop) up() {
	s.t.Helper()
	s.boot++
	var err error
	if s.link, err = connect(s.o.String(), mqtt.NewClientOptions().AddBroker("tcp://"+s.agg.MQTTAddr())); err != nil {
		s.t.Fatal(err)
	}
	n := len(s.recs)
	s.tell(protocol.UpHello, protocol.Hello{V: 1, InstallID: "i", BootID: fmt.Sprint("b", s.boot), Epoch: s.w.Epoch, Tail: 1, Head: uint64(n), ChainHead: s.chain[n], SentUS: s.now().UnixMicro()})
	s.hear(protocol.DnWelcome, &s.w)
}

func (s *shop) tell(ch protocol.Channel, m any) {
	s.t.Helper()
	b, err := protocol.EncodeControl(m)
	if err != nil {
		s.t.Fatal(err)
	}
	s.publish(ch, b)
}

func (s *shop) publish(ch protocol.Channel, b []byte) {
	s.t.Helper()
	if t := s.link.Publish(protocol.Topic(s.o, ch, ""), 1, false, b); !t.WaitTimeout(10*time.Second) || t.Error() != nil {
		s.t.Fatalf("%s is not taken: %v", ch, t.Error())
	}
}

func (s *shop) hear(ch protocol.Channel, into any) {
	s.t.Helper()
	if err := protocol.DecodeControl(s.link.hear(s.t, 20*time.Second, ch), into); err != nil {
		s.t.Fatal(err)
	}
}

// drain sends what is journaled, in frames of so many records, and a heartbeat: from
// then on nothing is missing.
func (s *shop) drain(most int) {
	s.t.Helper()
	for part := range slices.Chunk(s.recs[s.sent:], most) {
		first := s.sent + 1
		s.sent += len(part)
		b, err := s.codec.Append(nil, &protocol.Frame{
			Epoch: s.w.Epoch, Lease: s.w.Lease, FirstSeq: uint64(first), PrevChain: s.chain[first-1], LastChain: s.chain[s.sent], Records: part, SentUS: s.now().UnixMicro(),
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.publish(protocol.UpJournal, b)
		var a protocol.Ack
		for s.hear(protocol.DnAck, &a); a.MergedSeq < uint64(s.sent); s.hear(protocol.DnAck, &a) {
			if a.Nack != "" {
				s.t.Fatalf("%+v", a)
			}
		}
	}
	n := uint64(len(s.recs))
	s.tell(protocol.UpHeartbeat, protocol.Heartbeat{V: 1, Epoch: s.w.Epoch, Lease: s.w.Lease, BootID: fmt.Sprint("b", s.boot), SentUS: s.now().UnixMicro(), Head: n, Merged: n, Tail: 1})
}

// position is what a channel is promised of an article there.
func (s *shop) position(sku string) string {
	s.t.Helper()
	a := s.do(routeAvail, "/v1/availability/"+sku+"?location="+string(s.o.Store), "")
	l := a.field(s.t, "locations").([]any)[0].(map[string]any)
	return fmt.Sprintf("%v on hand, %v kept back, %v available", l["on_hand"], l["risk_buffer"], l["available"])
}

func (s *shop) promise(id, sku string, units, want int) {
	s.t.Helper()
	a := s.do(routeReserve, "/v1/reservations", fmt.Sprintf(`{"reservation_id":%q,"channel":"web","ttl_s":86400,"lines":[{"sku":%q,"quantity":%d,"location":%q}]}`, id, sku, units, s.o.Store))
	if a.status != want {
		s.t.Errorf("%s: %d of %s: %d, not %d: %s", id, units, sku, a.status, want, a.body)
	}
}

// TestEscrowOutcomes is a day with an escrow of 3: what the chain promises while a
// store is dark leaves it 3 of each article, and the week's outcomes tell what became
// of that. Every number is worked out by hand:
//
//	A: 10, promised 6 online and 1 dark. The store sells 3: 7 for 7.     all is well
//	B: 10, promised 10 online. The store sells 1, and is heard:  9 for 10. at risk
//	C: 10, promised 7 dark. The store sells 4, in two documents: 6 for 7.  at risk, a breach
//	D: 10, promised 10 online. The store sells 2 dark:           8 for 10. at risk, but 2 are its own
//	E: 2,  promised nothing. The store sells 4 dark:             −2.       below zero
func TestEscrowOutcomes(t *testing.T) {
	r := start(t, true)
	r.stop()
	begun, wednesday := time.Now(), time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	var ahead atomic.Int64
	r.now = func() time.Time { return wednesday.Add(time.Since(begun) + time.Duration(ahead.Load())) }
	r.open()
	r.do(routePutPolicy, "/v1/policies/dark", `{"policy_id":"dark","scope":{"location":"S1"},"values":{"escrow":3,"dark_after_s":600,"service_level":0}}`, asJSON)
	s := r.shop("S1")
	s.up()
	for sku, units := range map[protocol.SKU]int64{"A": 10, "B": 10, "C": 10, "D": 10, "E": 2} {
		s.says(protocol.KindReceipt, sku, units)
	}
	s.drain(10)
	wait(t, "the store is heard", func() bool { return s.position("A") == "10 on hand, 0 kept back, 10 available" })
	s.promise("a-online", "A", 6, http.StatusCreated)
	s.promise("b", "B", 10, http.StatusCreated)
	s.promise("d", "D", 10, http.StatusCreated)
	s.says(protocol.KindSale, "B", 1)
	s.drain(10)
	s.link.Disconnect(0)

	ahead.Add(int64(time.Hour))
	wait(t, "the store is dark", func() bool { return s.position("A") == "10 on hand, 3 kept back, 1 available" })
	s.promise("a-much", "A", 2, http.StatusConflict)
	s.promise("a-dark", "A", 1, http.StatusCreated)
	s.promise("c-much", "C", 8, http.StatusConflict)
	s.promise("c", "C", 7, http.StatusCreated)
	for _, x := range []struct {
		sku   protocol.SKU
		units int64
	}{{"A", 3}, {"C", 2}, {"D", 2}, {"E", 4}} {
		s.says(protocol.KindSale, x.sku, x.units)
	}
	ahead.Add(int64(2 * time.Hour))
	s.says(protocol.KindSale, "C", 2) // just before it is heard again
	s.up()
	s.drain(2)
	wait(t, "the store is heard again", func() bool { return s.position("A") == "7 on hand, 0 kept back, 0 available" })

	r.do(routeConfirm, "/v1/reservations/a-online/confirm", "")
	r.do(routeFulfil, "/v1/reservations/a-online/fulfil", "")
	r.do(routeConfirm, "/v1/reservations/d/confirm", "")
	r.do(routeDelete, "/v1/reservations/d", "")
	a := r.do("GET /v1/outcomes", "/v1/outcomes?group=week,store,channel&from=2026-11-25&to=2026-11-25", "")
	var rows []string
	for _, x := range a.field(t, "rows").([]any) {
		m := x.(map[string]any)
		o, f := m["oversells"].(map[string]any), m["fulfilment"].(map[string]any)
		rows = append(rows, fmt.Sprint(m["week"], " ", m["store"], " by ", m["channel"], ": ", o["promises_at_risk"], " at risk, ", o["escrow_breaches"], " breaches, ", o["below_zero"], " below zero, ", o["total"], " in all; ",
			f["kept"], " kept, ", f["cancelled"], " cancelled; ", m["sync_window"].(map[string]any)["documents"], " documents"))
	}
	want := []string{
		"2026-11-23 S1 by <nil>: 0 at risk, 0 breaches, 1 below zero, 1 in all; 0 kept, 0 cancelled; 11 documents",
		"2026-11-23 S1 by web: 3 at risk, 1 breaches, 0 below zero, 3 in all; 1 kept, 1 cancelled; 0 documents",
	}
	if !slices.Equal(rows, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
	open := func() (list []string) {
		for _, x := range r.exceptions("state=open") {
			list = append(list, fmt.Sprint(x["code"], " of ", x["about"]))
		}
		slices.Sort(list)
		return list
	}
	if got, want := open(), []string{"escrow_breach of c", "promise_at_risk of b"}; !slices.Equal(got, want) { // that of d ended with it
		t.Errorf("open are %q, not %q", got, want)
	}
	s.says(protocol.KindReceipt, "B", 1)
	s.drain(1)
	if got, want := open(), []string{"escrow_breach of c"}; !slices.Equal(got, want) { // b is covered again
		t.Errorf("open are %q, not %q", got, want)
	}
}
