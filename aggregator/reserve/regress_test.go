package reserve

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tillwire/protocol"
)

// Bugs that this book had, or that its peers have. Each is named for what went
// wrong.

func (d *desk) state(id string) string {
	r, _ := d.b.Get(id, d.now)
	return string(r.State)
}

func (d *desk) ship(id string, lines ...protocol.ReservationRequestLine) {
	d.t.Helper()
	q := ask(id, lines...)
	q.Fulfilment = protocol.FulfilmentShip
	_, st := d.reserve(q)
	d.is(st, "held")
	_, st = d.do(d.b.Confirm(id, d.s, d.now))
	d.is(st, "confirmed")
}

// A start-up replays the log behind the checkpoint, and then settles. What the
// replay changed is not in any checkpoint yet.
func TestSettleDoesNotForgetWhatTheReplayChanged(t *testing.T) {
	d := newDesk(t)
	res, _ := d.b.Reserve(ask("r1", want("X", 5, "S1")), d.s, d.now)
	second := New() // an empty checkpoint, and the log
	second.Apply(res.Change)
	second.Advance(d.now)
	second.Settle(d.now)
	third := New() // the second's checkpoint
	if err := second.Chunks(func(no uint32, data []byte) {
		if err := third.Restore(no, data); err != nil {
			t.Fatal(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if r, _ := third.Held(at("S1", "X"), d.now); r != 5000 {
		t.Fatalf("after two restarts %s are held of 5: they can be sold twice", r)
	}
}

func TestTwoLinesSourcedAgainDoNotBothGetTheLastUnit(t *testing.T) {
	for _, rejected := range []bool{true, false} {
		d := newDesk(t)
		d.s.moves = true
		d.s.onHand = map[Key]protocol.Quantity{at("S1", "X"): 2000, at("S2", "X"): 1000}
		d.ship("r", want("X", 1, "S1"), want("X", 1, "S1"))
		if rejected {
			d.change(d.b.Resource(d.observe(reply("S1", "r", protocol.HoldReject)), d.s, d.now))
		} else {
			d.s.onHand[at("S1", "X")] = 0
			d.b.Conflicts([]Key{at("S1", "X")}, d.s, d.now)
		}
		d.held("S2", "X", 0, 1)
	}
}

// An answer to a task that nobody sent must not make a hold firm: nothing would
// ever end it.
func TestStoreAnswerDoesNotMakeAHoldLeak(t *testing.T) {
	for _, action := range []string{protocol.HoldAccept, protocol.HoldPicked, protocol.HoldReject} {
		d := newDesk(t)
		q := ask("r", want("X", 1, "S1"))
		q.Fulfilment = protocol.FulfilmentShip
		d.reserve(q)
		if id := d.observe(reply("S1", "r", action)); id != "" {
			d.change(d.b.Resource(id, d.s, d.now))
		}
		d.now += 101 * sec
		for k := range d.s.onHand {
			d.held(string(k.Location), string(k.SKU), 0, 0)
		}
	}
}

func TestPartialIsExpiredOrReleasedNotRejected(t *testing.T) {
	partial := func() *desk {
		d := newDesk(t)
		q := ask("r", want("X", 2, "S1"), want("W", 2, "S2"))
		q.Mode = protocol.ModePartial
		d.reserve(q)
		return d
	}
	d := partial()
	_, st := d.do(d.b.Release("r", d.now))
	d.is(st, "released")
	d = partial()
	d.now += 101 * sec
	d.is(d.state("r"), "expired")
	_, st = d.do(d.b.Confirm("r", d.s, d.now))
	d.is(st, "confirmed")
	d.held("S1", "X", 0, 2)
}

// The customer paid at another counter: the goods left there, so that nothing may
// leave the first store on the reservation's account, whoever reports it.
func TestCollectedElsewhereIsNotTakenASecondTime(t *testing.T) {
	for _, wait := range []int64{0, 101 * sec} {
		d := newDesk(t)
		d.reserve(ask("r", want("X", 2, "S1")))
		d.now += wait
		d.observe(sale("S2", "r", protocol.HoldLine{SKU: "X", Quantity: 2000}))
		res, p := d.b.Fulfil("r", d.s, d.now)
		if p != nil || len(res.Moves) != 0 || res.Change != nil {
			t.Fatalf("after %d s: %+v %v", wait/sec, res, p)
		}
		_, st := d.do(d.b.Confirm("r", d.s, d.now))
		d.is(st, "reservation_state")
		d.is(d.state("r"), "collected")
		d.held("S1", "X", 0, 0)
	}
}

// Sourced again from S1, the order is handed out at S1 all the same.
func TestCollectedWhereItWasSourcedAwayFromFreesTheOther(t *testing.T) {
	d := newDesk(t)
	d.ship("r", want("X", 3, "S1"))
	d.change(d.b.Resource(d.observe(reply("S1", "r", protocol.HoldReject)), d.s, d.now))
	d.held("T3", "X", 0, 3)
	d.observe(sale("S1", "r", protocol.HoldLine{SKU: "X", Quantity: 3000}))
	d.held("T3", "X", 0, 0)
	d.is(d.state("r"), "collected")
}

// A kit's parts are judged together: one that is there does not clear the mark
// that another put.
func TestKitStaysAtRiskWhileOnePartLacks(t *testing.T) {
	d := newDesk(t)
	d.reserve(ask("r", want("SET", 1, "S2")))
	d.s.onHand[at("S2", "X")] = 0
	both := []Key{at("S2", "X"), at("S2", "Y")}
	d.b.Conflicts(both, d.s, d.now)
	if r, _ := d.b.Get("r", d.now); !r.AtRisk {
		t.Error("not at risk")
	}
	if n := len(d.b.Conflicts(both, d.s, d.now)); n != 0 {
		t.Errorf("%d changes where nothing changed", n)
	}
	d.s.onHand[at("S2", "X")] = 1000
	d.b.Conflicts(both[:1], d.s, d.now)
	if r, _ := d.b.Get("r", d.now); r.AtRisk {
		t.Error("still at risk")
	}
}

func TestPickedGoodsAreSafe(t *testing.T) {
	d := newDesk(t)
	d.ship("r", want("X", 5, "S1"))
	d.s.onHand[at("S1", "X")] = 1000
	d.b.Conflicts([]Key{at("S1", "X")}, d.s, d.now)
	if r, _ := d.b.Get("r", d.now); !r.AtRisk {
		t.Error("not at risk")
	}
	d.observe(reply("S1", "r", protocol.HoldPicked))
	if r, _ := d.b.Get("r", d.now); r.AtRisk {
		t.Error("picked, and at risk for ever")
	}
}

// An order of two reservations, one per store: a sale that names the order speaks
// of the one at its own location.
func TestOrderWithTwoReservationsIsCollectedWhereItIs(t *testing.T) {
	d := newDesk(t)
	for i, loc := range []string{"S1", "S2"} {
		q := ask(fmt.Sprint("r", i+1), want("X", 2, loc))
		q.OrderID, q.Fulfilment = "o", protocol.FulfilmentPickup
		d.reserve(q)
	}
	ev := sale("S1", "", protocol.HoldLine{SKU: "X", Quantity: 2000})
	ev.OrderID = "o"
	d.observe(ev)
	d.held("S1", "X", 0, 0)
	d.held("S2", "X", 2, 0)
	d.is(d.state("r1")+" "+d.state("r2"), "collected held")
}

// What of a reservation was not sold is not called collected; it is free again.
func TestRemainderOfACollectionIsReleased(t *testing.T) {
	d := newDesk(t)
	d.reserve(ask("r", want("X", 2, "S1"), want("X", 1, "S1"), want("Y", 2, "S1")))
	d.observe(sale("S1", "r", protocol.HoldLine{SKU: "X", Quantity: 2000}))
	r, _ := d.b.Get("r", d.now)
	d.is(fmt.Sprint(r.Lines[0].State, r.Lines[1].State, r.Lines[2].State), "collectedreleasedreleased")
	d.is(string(r.State), "collected")
	d.held("S1", "X", 0, 0)
	d.held("S1", "Y", 0, 0)
}

// A journal's record is bounded: a change that could not be read back would stop
// the next start.
func TestChangeFitsAJournalRecord(t *testing.T) {
	d := newDesk(t)
	var parts []protocol.KitComponent
	for i := range protocol.KitPartsMax {
		sku := fmt.Sprintf("PART-%s-%d", strings.Repeat("x", 40), i)
		parts = append(parts, protocol.KitComponent{SKU: protocol.SKU(sku), Quantity: 1000})
		d.s.onHand[at("S1", sku)] = protocol.Units(1000)
	}
	d.s.kits["HUGE"] = parts
	var lines []protocol.ReservationRequestLine
	for range protocol.ReservationLinesMax {
		lines = append(lines, want("HUGE", 1, "S1"))
	}
	res, p := d.b.Reserve(ask("r", lines...), d.s, d.now)
	if p == nil {
		j, _ := json.Marshal(res.Change)
		t.Fatalf("a change of %d bytes was decided, a record holds %d", len(j), protocol.RecordBytesMax)
	}
	d.is(p.Code, "reservation_too_large")
}

// A repeat that spells a default out is the same request.
func TestRepeatWithDefaultsSpelledOutIsTheSame(t *testing.T) {
	d := newDesk(t)
	q := ask("r", want("X", 1, "S1"))
	q.TTLS = 0
	d.reserve(q)
	q.TTLS, q.Mode, q.Fulfilment, q.Traceparent = protocol.ReservationTTLUsualS, protocol.ModeAllOrNothing, protocol.FulfilmentDelivery, "00-1"
	_, st := d.reserve(q)
	d.is(st, "held")
}

func TestPickupOfSeveralLinesIsAtOneCounter(t *testing.T) {
	d := newDesk(t)
	d.s.onHand = map[Key]protocol.Quantity{at("S1", "X"): 1000, at("S2", "Y"): 1000, at("S2", "Z"): 1000}
	q := ask("r", want("X", 1, ""), want("Y", 1, ""), want("Z", 1, ""))
	q.Fulfilment = protocol.FulfilmentPickup
	_, st := d.reserve(q)
	d.is(st, "insufficient_stock")
	q.Mode = protocol.ModePartial
	r, _ := d.reserve(q)
	d.is(fmt.Sprint(r.Lines[0].State, r.Lines[1].Location, r.Lines[2].Location), "rejectedS2S2")
}

func TestLeastSplitsServesFromTheFewestLocations(t *testing.T) {
	d := newDesk(t)
	d.s.onHand = map[Key]protocol.Quantity{
		at("S1", "X"): 9000, at("S2", "Y"): 9000, at("S3", "Z"): 9000, // each has most of one
		at("S4", "X"): 1000, at("S4", "Y"): 1000, at("S5", "Z"): 1000,
	}
	q := ask("r", want("X", 1, ""), want("Y", 1, ""), want("Z", 1, ""))
	q.Sourcing = protocol.SourcingLeastSplits
	r, _ := d.reserve(q)
	seen := map[protocol.StoreID]bool{}
	for _, l := range r.Lines {
		seen[l.Location] = true
	}
	if len(seen) != 2 {
		t.Errorf("served from %v: two suffice", seen)
	}
}

// Damage must be refused, not divided by.
func TestRestoreRefusesWhatTheBookCouldNotHaveWritten(t *testing.T) {
	for _, bad := range []string{
		`{"why":"reserve","record":{"id":"","lines":[]}}`,
		`{"why":"reserve","record":{"id":"r","lines":[{"sku":"X","qty":-1,"loc":"S1","state":"held"}]}}`,
		`{"why":"reserve","record":{"id":"r","lines":[{"sku":"X","qty":1,"loc":"S1","state":"eaten"}]}}`,
		`{"why":"reserve","record":{"id":"r","lines":[{"sku":"X","qty":1,"loc":"S1","state":"held","parts":[{"sku":"Y","quantity":0}]}]}}`,
		`{"why":"reserve","record":{"id":"r","lines":[{"sku":"X","qty":1,"state":"held"}]}}`,
	} {
		var c Change
		if err := json.Unmarshal([]byte(bad), &c); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
}

// Extending and replaying leave nothing behind that grows.
func TestNothingGrowsWithWhatHasPassed(t *testing.T) {
	d := newDesk(t)
	d.reserve(ask("r", want("X", 1, "S1")))
	for range 20_000 {
		d.now++
		res, p := d.b.Extend("r", 100_000, d.now)
		if p != nil {
			t.Fatal(p)
		}
		d.b.Apply(res.Change)
	}
	if n := len(d.b.touched); n > 10_000 {
		t.Errorf("%d touched positions of one", n)
	}
	if n := d.b.expiries.Len(); n != 1 {
		t.Errorf("%d expiries of one hold", n)
	}
}

// A check of stock costs by what is at risk, not by how many hold the position.
func TestHotPositionIsNotWalkedWhenNothingIsWrong(t *testing.T) {
	d := newDesk(t)
	d.s.onHand[at("S1", "X")] = protocol.QuantityMax
	for i := range 5000 {
		res, _ := d.b.Reserve(ask(fmt.Sprint("r", i), want("X", 1, "S1")), d.s, d.now)
		d.b.Apply(res.Change)
	}
	keys := []Key{at("S1", "X")}
	if n := testing.AllocsPerRun(100, func() { d.b.Conflicts(keys, d.s, d.now) }); n > 4 {
		t.Errorf("%.0f allocations to see that all is well", n)
	}
}

// A disaster at a position that many hold is told in bounded pieces, and to its end.
func TestManyConflictsAreToldInPieces(t *testing.T) {
	d := newDesk(t)
	d.s.onHand[at("S1", "X")] = protocol.QuantityMax
	const n = conflictsMax + 100
	for i := range n {
		d.now++
		res, _ := d.b.Reserve(ask(fmt.Sprint("r", i), want("X", 1, "S1")), d.s, d.now)
		d.b.Apply(res.Change)
	}
	d.b.TakeTouched()
	d.s.onHand[at("S1", "X")] = 0
	told := 0
	for keys := []Key{at("S1", "X")}; len(keys) > 0; keys = d.b.TakeTouched() {
		list := d.b.Conflicts(keys, d.s, d.now)
		if told += len(list); len(list) > conflictsMax {
			t.Fatalf("%d changes at once", len(list))
		}
	}
	if told != n || d.b.position(at("S1", "X")).risk != n {
		t.Fatalf("%d of %d were told", told, n)
	}
}

// An extension changes nobody's stock: neither the display nor the store hears it.
func TestExtensionTouchesNothing(t *testing.T) {
	d := newDesk(t)
	d.reserve(ask("r", want("X", 1, "S1")))
	d.b.TakeTouched()
	rev := d.b.Rev("S1")
	d.do(d.b.Extend("r", 60, d.now))
	if keys := d.b.TakeTouched(); len(keys) != 0 || d.b.Rev("S1") != rev {
		t.Errorf("touched %v, revision %d after %d", keys, d.b.Rev("S1"), rev)
	}
}

// A partial pickup takes what one counter has, never a bit of several.
func TestPartialPickupIsAtOneCounter(t *testing.T) {
	d := newDesk(t)
	q := ask("r", want("X", 20, ""))
	q.Fulfilment, q.Mode = protocol.FulfilmentPickup, protocol.ModePartial
	r, _ := d.reserve(q)
	d.is(fmt.Sprintf("%d at %s, %s, %s short", len(r.Lines), r.Lines[0].Location, r.Lines[0].Quantity, r.Lines[0].Shortfall), "1 at T3, 8, 12 short")
	d = newDesk(t)
	q = ask("r", want("X", 20, ""), want("Y", 20, ""))
	q.Fulfilment, q.Mode = protocol.FulfilmentPickup, protocol.ModePartial
	r, _ = d.reserve(q)
	d.is(fmt.Sprint(r.Lines[0].Location, r.Lines[0].Quantity, r.Lines[1].Location, r.Lines[1].Quantity), "S23S29")
}

// One of two lines was sourced away. Whatever the store then says of the other,
// the replacement is somebody's goods; and what it hands out of the first after
// all frees the replacement only.
func TestCollectionTouchesOnlyWhatItSpeaksOf(t *testing.T) {
	for _, c := range []struct{ name, ev, x, state string }{
		{"the store's word of the line that stayed", "word", "T3", "confirmed"},
		{"a sale of the line that stayed", "Y", "T3", "confirmed"},
		{"a sale of both", "XY", "", "shipped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			d.s.moves = true
			d.ship("r", want("X", 3, "S1"), want("Y", 1, "S1"))
			d.s.onHand[at("S1", "X")] = 0
			d.b.Conflicts([]Key{at("S1", "X")}, d.s, d.now)
			d.held("T3", "X", 0, 3)
			switch c.ev {
			case "word":
				d.observe(reply("S1", "r", protocol.HoldCollected))
			case "Y":
				d.observe(sale("S1", "r", protocol.HoldLine{SKU: "Y", Quantity: 1000}))
			case "XY":
				d.observe(sale("S1", "r", protocol.HoldLine{SKU: "X", Quantity: 3000}, protocol.HoldLine{SKU: "Y", Quantity: 1000}))
			}
			d.held("T3", "X", 0, map[string]int64{"T3": 3}[c.x])
			d.held("S1", "Y", 0, 0)
			d.is(d.state("r"), c.state)
		})
	}
	d := newDesk(t) // X went from S1 to T3, Y is at S2; S1 hands X out after all, twice said
	d.ship("r", want("X", 3, "S1"), want("Y", 1, "S2"))
	d.change(d.b.Resource(d.observe(reply("S1", "r", protocol.HoldReject)), d.s, d.now))
	d.held("T3", "X", 0, 3)
	for range 2 {
		d.observe(sale("S1", "r", protocol.HoldLine{SKU: "X", Quantity: 3000}))
		d.held("T3", "X", 0, 0)
		d.held("S2", "Y", 0, 1)
	}
}
