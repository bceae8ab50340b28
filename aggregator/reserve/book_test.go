package reserve

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

// shelf is stock as a test states it.
type shelf struct {
	onHand map[Key]protocol.Quantity
	kits   map[protocol.SKU][]protocol.KitComponent
	source string
	moves  bool // conflicts are sourced again
}

func (s *shelf) Free(k Key, _ string) protocol.Quantity           { return s.onHand[k] }
func (s *shelf) OnHand(k Key) protocol.Quantity                   { return s.onHand[k] }
func (s *shelf) Explode(sku protocol.SKU) []protocol.KitComponent { return s.kits[sku] }
func (s *shelf) Sourcing(protocol.SKU) string                     { return s.source }
func (s *shelf) Resource(Key) bool                                { return s.moves }

func (s *shelf) Candidates(sku protocol.SKU, group string) (out []Candidate) {
	seen := map[protocol.StoreID]bool{}
	for k := range s.onHand {
		g := string(k.Location[:1])
		if !seen[k.Location] && (group == "" || g == group) {
			seen[k.Location] = true
			out = append(out, Candidate{Location: k.Location, Group: g, AgeUS: int64(len(k.Location))})
		}
	}
	return out
}

func at(loc, sku string) Key { return Key{protocol.StoreID(loc), protocol.SKU(sku)} }

func newShelf() *shelf {
	return &shelf{onHand: map[Key]protocol.Quantity{
		at("S1", "X"): 5000, at("S1", "Y"): 2000, at("S2", "X"): 3000, at("S2", "Y"): 9000, at("T3", "X"): 8000, at("T3", "W"): 1250,
	}, kits: map[protocol.SKU][]protocol.KitComponent{"SET": {{SKU: "X", Quantity: 1000}, {SKU: "Y", Quantity: 2000}}}}
}

const sec = int64(1_000_000)

func ask(id string, lines ...protocol.ReservationRequestLine) *protocol.ReservationRequest {
	return &protocol.ReservationRequest{ReservationID: id, Channel: "web", TTLS: 100, Lines: lines}
}

func want(sku string, units int64, loc string) protocol.ReservationRequestLine {
	return protocol.ReservationRequestLine{SKU: protocol.SKU(sku), Quantity: protocol.Units(units), Location: protocol.StoreID(loc)}
}

// tester is what testing.T, testing.F and rapid.T share.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// desk drives a book as the writer does, and keeps what was journaled.
type desk struct {
	t   tester
	b   *Book
	s   *shelf
	now int64
	log []any // *Change, or *protocol.Event with its time
}

type seen struct {
	ev *protocol.Event
	us int64
}

func newDesk(t tester) *desk { return &desk{t: t, b: New(), s: newShelf(), now: sec} }

func (d *desk) do(r Result, p *protocol.Problem) (protocol.Reservation, string) {
	if p != nil {
		return protocol.Reservation{}, p.Code
	}
	d.change(r.Change)
	for _, m := range r.Moves { // as the writer does: goods leave by a document that the book sees, too
		ev := reply(string(m.Location), m.HoldID, protocol.HoldCollected)
		for _, l := range m.Lines {
			d.s.onHand[Key{m.Location, l.SKU}] -= l.Quantity
			ev.Lines = append(ev.Lines, protocol.Line{SKU: l.SKU, Quantity: l.Quantity})
		}
		d.observe(ev)
	}
	return r.Answer, string(r.Answer.State)
}

func (d *desk) change(c *Change) {
	if c == nil {
		return
	}
	j, err := json.Marshal(c)
	if err != nil {
		d.t.Fatal(err)
	}
	var back Change
	if err := json.Unmarshal(j, &back); err != nil {
		d.t.Fatal(err)
	}
	d.b.Apply(&back)
	d.log = append(d.log, &back)
}

func (d *desk) reserve(r *protocol.ReservationRequest) (protocol.Reservation, string) {
	return d.do(d.b.Reserve(r, d.s, d.now))
}

func (d *desk) observe(ev *protocol.Event) string {
	d.log = append(d.log, seen{ev, d.now})
	return d.b.Observe(ev, d.now)
}

func (d *desk) held(loc, sku string, reserved, allocated int64) {
	d.t.Helper()
	r, a := d.b.Held(at(loc, sku), d.now)
	if r != protocol.Units(reserved) || a != protocol.Units(allocated) {
		d.t.Fatalf("%s %s: %s reserved, %s allocated; want %d, %d", loc, sku, r, a, reserved, allocated)
	}
}

func (d *desk) is(got, want string) {
	d.t.Helper()
	if got != want {
		d.t.Fatalf("got %s, want %s", got, want)
	}
}

func sale(store, hold string, lines ...protocol.HoldLine) *protocol.Event {
	ev := &protocol.Event{Kind: protocol.KindSale, Store: protocol.StoreID(store), HoldID: hold}
	for _, l := range lines {
		ev.Lines = append(ev.Lines, protocol.Line{SKU: l.SKU, Quantity: l.Quantity})
	}
	return ev
}

func reply(store, hold, action string) *protocol.Event {
	return &protocol.Event{Kind: protocol.KindHold, Store: protocol.StoreID(store), HoldID: hold, Action: action}
}

func TestHoldLivesAndEnds(t *testing.T) {
	d := newDesk(t)
	_, st := d.reserve(ask("r1", want("X", 2, "S1")))
	d.is(st, "held")
	d.held("S1", "X", 2, 0)
	_, st = d.reserve(ask("r1", want("X", 2, "S1")))
	d.is(st, "held")
	d.held("S1", "X", 2, 0)
	_, st = d.reserve(ask("r1", want("X", 1, "S1")))
	d.is(st, "reservation_id_reused")
	d.now += 50 * sec
	_, st = d.do(d.b.Extend("r1", 100, d.now))
	d.is(st, "held")
	d.now += 99 * sec
	d.held("S1", "X", 2, 0)
	d.now += sec // to the microsecond of its end: it is over
	d.held("S1", "X", 0, 0)
	r, _ := d.b.Get("r1", d.now)
	d.is(string(r.State), "expired")
	_, st = d.do(d.b.Extend("r1", 100, d.now))
	d.is(st, "reservation_state")
	_, st = d.do(d.b.Confirm("r1", d.s, d.now)) // late, but there is stock: honoured
	d.is(st, "confirmed")
	d.held("S1", "X", 0, 2)
	_, st = d.do(d.b.Release("r1", d.now))
	d.is(st, "released")
	_, st = d.do(d.b.Release("r1", d.now))
	d.is(st, "released")
	d.held("S1", "X", 0, 0)
	_, st = d.do(d.b.Release("nobody", d.now))
	d.is(st, "unknown_reservation")
}

func TestLateConfirmWithoutStockIsRefused(t *testing.T) {
	d := newDesk(t)
	d.reserve(ask("r1", want("X", 4, "S1")))
	d.now += 101 * sec
	_, st := d.reserve(ask("r2", want("X", 4, "S1")))
	d.is(st, "held")
	_, st = d.do(d.b.Confirm("r1", d.s, d.now))
	d.is(st, "reservation_expired")
	d.held("S1", "X", 4, 0)
}

func TestFulfilOnce(t *testing.T) {
	d := newDesk(t)
	d.reserve(ask("r1", want("SET", 1, "S1")))
	d.held("S1", "Y", 2, 0)
	_, st := d.do(d.b.Fulfil("r1", d.s, d.now))
	d.is(st, "shipped")
	_, st = d.do(d.b.Fulfil("r1", d.s, d.now))
	d.is(st, "shipped")
	if d.s.onHand[at("S1", "X")] != 4000 || d.s.onHand[at("S1", "Y")] != 0 {
		t.Fatalf("shelf %v", d.s.onHand)
	}
	d.held("S1", "Y", 0, 0)
	_, st = d.do(d.b.Release("r1", d.now))
	d.is(st, "reservation_state")
}

func TestStoreTask(t *testing.T) {
	d := newDesk(t)
	d.b.Settle(d.now)
	q := ask("r1", want("X", 2, "S1"))
	q.Fulfilment, q.OrderID = protocol.FulfilmentPickup, "o-1"
	d.reserve(q)
	if tasks, held, _ := d.b.Tasks("S1", d.now); len(tasks) != 0 || len(held) != 1 {
		t.Fatalf("a hold that nobody paid is no work: %v %v", tasks, held)
	}
	d.do(d.b.Confirm("r1", d.s, d.now))
	tasks, held, rev := d.b.Tasks("S1", d.now)
	want := []protocol.HoldTask{{HoldID: "r1", State: "confirmed", Fulfilment: "pickup", Channel: "web", OrderID: "o-1", CreatedUS: sec, Lines: []protocol.HoldLine{{SKU: "X", Quantity: 2000}}}}
	if diff := cmp.Diff(want, tasks); diff != "" || held[0].Quantity != 2000 {
		t.Fatal(diff, held)
	}
	for _, c := range d.b.Delivered("S1", rev, d.now) {
		d.change(c)
	}
	for _, step := range []struct{ action, state string }{
		{protocol.HoldAccept, "accepted"}, {protocol.HoldPicked, "picked"}, {protocol.HoldAccept, "picked"}, {protocol.HoldCollected, "collected"}, {protocol.HoldReject, "collected"},
	} {
		d.observe(reply("S1", "r1", step.action))
		r, _ := d.b.Get("r1", d.now)
		d.is(string(r.State), step.state)
	}
	d.held("S1", "X", 0, 0)
	if tasks, _, after := d.b.Tasks("S1", d.now); len(tasks) != 0 || after <= rev {
		t.Fatalf("%v at %d after %d", tasks, after, rev)
	}
}

func TestSaleCollectsByHoldOrOrder(t *testing.T) {
	for _, byOrder := range []bool{false, true} {
		d := newDesk(t)
		q := ask("r1", want("X", 2, "S1"), want("Y", 1, "S1"))
		q.OrderID = "o-1"
		d.reserve(q)
		ev := sale("S1", "r1", protocol.HoldLine{SKU: "X", Quantity: 1000})
		if byOrder {
			ev.HoldID, ev.OrderID = "", "o-1"
		}
		d.observe(ev)
		d.observe(ev)
		d.held("S1", "X", 0, 0)
		d.held("S1", "Y", 0, 0)
		r, _ := d.b.Get("r1", d.now)
		d.is(string(r.State), "collected")
		d.is(r.Lines[0].Reason, "1 of 2 taken")
	}
}

func TestCollectedAtAnotherCounterFreesTheFirst(t *testing.T) {
	d := newDesk(t)
	d.reserve(ask("r1", want("X", 2, "S1")))
	d.observe(sale("S2", "r1", protocol.HoldLine{SKU: "X", Quantity: 2000}))
	d.held("S1", "X", 0, 0)
	r, _ := d.b.Get("r1", d.now)
	d.is(string(r.State)+", "+string(r.Lines[0].State)+": "+r.Lines[0].Reason, "collected, released: collected at S2")
}

func TestRejectedIsSourcedAgain(t *testing.T) {
	d := newDesk(t)
	q := ask("r1", want("X", 3, "S1"))
	q.Fulfilment = protocol.FulfilmentShip
	d.reserve(q)
	d.do(d.b.Confirm("r1", d.s, d.now))
	id := d.observe(reply("S1", "r1", protocol.HoldReject))
	d.is(id, "r1")
	d.change(d.b.Resource(id, d.s, d.now))
	d.held("S1", "X", 0, 0)
	d.held("T3", "X", 0, 3)
	r, _ := d.b.Get("r1", d.now)
	d.is(string(r.State), "confirmed")
	id = d.observe(reply("T3", "r1", protocol.HoldReject))
	d.change(d.b.Resource(id, d.s, d.now))
	d.held("S2", "X", 0, 3)
	id = d.observe(reply("S2", "r1", protocol.HoldReject))
	if c := d.b.Resource(id, d.s, d.now); c != nil {
		t.Fatalf("sourced a fourth time: %+v", c)
	}
	r, _ = d.b.Get("r1", d.now)
	d.is(string(r.State), "rejected")
}

func TestConflictNamesTheNewestFirst(t *testing.T) {
	for _, moves := range []bool{false, true} {
		d := newDesk(t)
		d.s.moves = moves
		for _, id := range []string{"old", "mid", "new"} {
			q := ask(id, want("X", 1, "S1"))
			q.Fulfilment = protocol.FulfilmentShip
			d.reserve(q)
			d.do(d.b.Confirm(id, d.s, d.now))
			d.now += sec
		}
		d.s.onHand[at("S1", "X")] = 2000 // offline tills sold three
		for _, c := range d.b.Conflicts([]Key{at("S1", "X")}, d.s, d.now) {
			d.log = append(d.log, c)
		}
		for _, id := range []string{"old", "mid", "new"} {
			r, _ := d.b.Get(id, d.now)
			if r.AtRisk != (id == "new" && !moves) {
				t.Errorf("moves %t: %s at risk: %t", moves, id, r.AtRisk)
			}
		}
		if moves {
			d.held("T3", "X", 0, 1)
			d.held("S1", "X", 0, 2)
			continue
		}
		d.s.onHand[at("S1", "X")] = 3000 // and the mark goes when stock is back
		if n := len(d.b.Conflicts([]Key{at("S1", "X")}, d.s, d.now)); n != 1 {
			t.Errorf("%d changes", n)
		}
		if again := d.b.Conflicts([]Key{at("S1", "X")}, d.s, d.now); len(again) != 0 {
			t.Errorf("said twice: %v", again)
		}
	}
}

func TestSourcing(t *testing.T) {
	cases := []struct {
		name, how, group, fulfilment string
		lines                        []protocol.ReservationRequestLine
		want                         string
	}{
		{"most stock", "most_stock", "", "", []protocol.ReservationRequestLine{want("X", 2, "")}, "T3:2 "},
		{"freshest", "freshest", "S", "", []protocol.ReservationRequestLine{want("X", 2, "")}, "S1:2 "},
		{"nearest asks its group first", "nearest", "S", "", []protocol.ReservationRequestLine{want("X", 2, "")}, "S1:2 "},
		{"nearest goes further when its group has too little", "nearest", "S", "", []protocol.ReservationRequestLine{want("X", 7, "")}, "T3:7 "},
		{"whole from one place before split", "most_stock", "", "", []protocol.ReservationRequestLine{want("X", 4, ""), want("Y", 2, "")}, "S1:4 S1:2 "},
		{"split where no place has all", "most_stock", "", "", []protocol.ReservationRequestLine{want("X", 15, "")}, "T3:8 S1:5 S2:2 "},
		{"a pickup is at one counter", "most_stock", "", "pickup", []protocol.ReservationRequestLine{want("X", 15, "")}, "insufficient_stock"},
		{"kits are whole", "most_stock", "", "", []protocol.ReservationRequestLine{want("SET", 3, "")}, "S2:3 "},
		{"more than there is", "most_stock", "", "", []protocol.ReservationRequestLine{want("X", 17, "")}, "insufficient_stock"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			q := ask("r", c.lines...)
			q.Sourcing, q.Group, q.Fulfilment = c.how, c.group, c.fulfilment
			r, st := d.reserve(q)
			got := ""
			for _, l := range r.Lines {
				got += fmt.Sprintf("%s:%s ", l.Location, l.Quantity)
			}
			if st != "held" {
				got = st
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestPartialTellsWhatLacks(t *testing.T) {
	d := newDesk(t)
	q := ask("r", want("X", 9, "S1"), want("SET", 1, "S1"), want("W", 2, "T3"))
	q.Mode = protocol.ModePartial
	r, st := d.reserve(q)
	d.is(st, "held")
	var got []string
	for _, l := range r.Lines {
		got = append(got, fmt.Sprintf("%s %s of %s, %s short, %s", l.SKU, l.Quantity, l.Location, l.Shortfall, l.State))
	}
	w := []string{"X 5 of S1, 4 short, held", "SET 0 of S1, 1 short, rejected", "W 1.25 of T3, 0.75 short, held"}
	if diff := cmp.Diff(w, got); diff != "" {
		t.Error(diff)
	}
}

// The bugs that every peer has had.

func TestTwoLinesOfOneRequestDoNotBothPass(t *testing.T) {
	d := newDesk(t)
	_, st := d.reserve(ask("r", want("X", 3, "S1"), want("X", 3, "S1")))
	d.is(st, "insufficient_stock")
	_, st = d.reserve(ask("r2", want("SET", 1, "S1"), want("Y", 1, "S1"))) // the kit takes both Y
	d.is(st, "insufficient_stock")
	d.s.kits["TWICE"] = []protocol.KitComponent{{SKU: "X", Quantity: 2000}, {SKU: "X", Quantity: 2000}}
	_, st = d.reserve(ask("r3", want("TWICE", 2, "S1"))) // 8 of 5
	d.is(st, "insufficient_stock")
	d.held("S1", "X", 0, 0)
}

func TestCheckAndAllocationAreOneStep(t *testing.T) {
	d := newDesk(t)
	for i := range 10 { // a decision that is not applied yet has taken nothing; the writer applies before the next
		_, st := d.reserve(ask(fmt.Sprint("r", i), want("X", 1, "S1")))
		if w := map[bool]string{true: "held", false: "insufficient_stock"}[i < 5]; st != w {
			t.Fatalf("%d: %s", i, st)
		}
	}
	d.held("S1", "X", 5, 0)
}

func TestReservedNeverGoesNegative(t *testing.T) {
	d := newDesk(t)
	d.reserve(ask("r", want("X", 2, "S1")))
	ev := sale("S1", "r", protocol.HoldLine{SKU: "X", Quantity: 5000}) // more than held, twice, and then released and expired
	d.observe(ev)
	d.observe(ev)
	d.do(d.b.Release("r", d.now))
	d.now += 1000 * sec
	d.held("S1", "X", 0, 0)
}

func TestCandidatesAreNotDrainedByTheCheck(t *testing.T) {
	d := newDesk(t)
	_, st := d.reserve(ask("r", want("X", 8, ""), want("X", 5, ""), want("X", 3, "")))
	d.is(st, "held") // three lines, each asks the candidates anew
}

func TestWhatIsOverIsForgottenAfterAWeek(t *testing.T) {
	d := newDesk(t)
	d.reserve(ask("r", want("X", 2, "S1")))
	d.now += 101 * sec
	d.b.Advance(d.now)
	d.now += rememberUS - sec
	d.b.Advance(d.now)
	if d.b.Len() != 1 {
		t.Fatal("forgotten too early: a repeat would hold again")
	}
	d.now += 2 * sec
	d.b.Advance(d.now)
	if d.b.Len() != 0 || d.b.position(at("S1", "X")) != nil {
		t.Fatal("not forgotten")
	}
}

func TestListAndFilter(t *testing.T) {
	d := newDesk(t)
	for _, id := range []string{"b", "a", "c"} {
		d.reserve(ask(id, want("X", 1, "S1")))
	}
	d.do(d.b.Confirm("b", d.s, d.now))
	ids := func(f Filter) (out []string) {
		for _, r := range d.b.List(f, d.now) {
			out = append(out, r.ReservationID)
		}
		return out
	}
	if got := ids(Filter{}); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Error(got)
	}
	if got := ids(Filter{State: "held", After: "a", Limit: 1}); !slices.Equal(got, []string{"c"}) {
		t.Error(got)
	}
	if got := ids(Filter{Location: "S2"}); len(got) != 0 {
		t.Error(got)
	}
}
