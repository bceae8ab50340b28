package reserve

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
)

// state is the book as its chunks tell it.
func state(t tester, b *Book) map[uint32]string {
	t.Helper()
	for id := range b.all {
		b.dirty[shardOf(id)] = struct{}{}
	}
	out := map[uint32]string{}
	if err := b.Chunks(func(no uint32, data []byte) {
		if len(data) > 1 {
			out[no] = string(data)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// check holds a book to its invariants.
func (d *desk) check(t *rapid.T) {
	sums := map[Key][2]protocol.Quantity{}
	for _, e := range d.b.all {
		for i := range e.Lines {
			l := &e.Lines[i]
			l.each(func(k Key, q protocol.Quantity) {
				v := sums[k]
				if l.reserves() {
					v[0] += q
				} else if l.allocates() {
					v[1] += q
				}
				sums[k] = v
			})
		}
	}
	for k := range d.s.onHand {
		r, a := d.b.Held(k, d.now)
		if v := sums[k]; v != [2]protocol.Quantity{r, a} || r < 0 || a < 0 {
			t.Fatalf("%v: lines sum to %v, held are %s and %s", k, v, r, a)
		}
		var x [2]protocol.Quantity
		for _, h := range d.b.HoldsAt(k, d.now) {
			x[0], x[1] = x[0]+h.Reserved, x[1]+h.Allocated
		}
		if x != [2]protocol.Quantity{r, a} {
			t.Fatalf("%v: explained %v, held %s and %s", k, x, r, a)
		}
	}
}

// TestBookKeepsItsSums draws commands, events and time, and holds the book to
// its invariants after each, and a replay and a restored checkpoint to the book.
func TestBookKeepsItsSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &desk{t: t, b: New(), s: newShelf(), now: sec}
		d.s.moves = rapid.Bool().Draw(t, "source again")
		ids := []string{"a", "b", "c", "d"}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			d.now += rapid.SampledFrom([]int64{0, sec, 60 * sec, 200 * sec, rememberUS}).Draw(t, "later")
			d.step(t, rapid.SampledFrom(ids).Draw(t, "id"))
			d.check(t)
		}
		replay := New()
		for _, x := range d.log {
			switch x := x.(type) {
			case *Change:
				replay.Apply(x)
			case seen:
				replay.Observe(x.ev, x.us)
			}
		}
		replay.Advance(d.now)
		d.b.Advance(d.now)
		if diff := cmp.Diff(state(d.t, d.b), state(d.t, replay)); diff != "" {
			t.Fatalf("a replay differs:\n%s", diff)
		}
		back := New()
		for no, data := range state(d.t, d.b) {
			if err := back.Restore(no, []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		back.Settle(d.now)
		back.Advance(d.now)
		if diff := cmp.Diff(state(d.t, d.b), state(d.t, back)); diff != "" {
			t.Fatalf("restored differs:\n%s", diff)
		}
		for k := range d.s.onHand {
			r1, a1 := d.b.Held(k, d.now)
			if r2, a2 := back.Held(k, d.now); r1 != r2 || a1 != a2 {
				t.Fatalf("%v restored: %s %s, was %s %s", k, r2, a2, r1, a1)
			}
		}
	})
}

func (d *desk) step(t *rapid.T, id string) {
	line := func() protocol.ReservationRequestLine {
		return want(rapid.SampledFrom([]string{"X", "Y", "SET"}).Draw(t, "sku"), rapid.Int64Range(1, 6).Draw(t, "qty"), rapid.SampledFrom([]string{"S1", "S2", ""}).Draw(t, "loc"))
	}
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0, 1, 2:
		q := ask(id, line(), line())
		q.Mode = rapid.SampledFrom([]string{"", protocol.ModePartial}).Draw(t, "mode")
		q.Fulfilment = rapid.SampledFrom([]string{"", protocol.FulfilmentPickup, protocol.FulfilmentShip}).Draw(t, "fulfilment")
		free := map[Key]protocol.Quantity{}
		for k, q := range d.s.onHand {
			r, a := d.b.Held(k, d.now)
			free[k] = q - r - a
		}
		res, p := d.b.Reserve(q, d.s, d.now)
		d.do(res, p)
		if res.Created {
			for k := range free {
				if r, a := d.b.Held(k, d.now); r+a > max(d.s.onHand[k]-free[k], d.s.onHand[k]) {
					t.Fatalf("%v oversold: %s held of %s", k, r+a, d.s.onHand[k])
				}
			}
		}
	case 3:
		d.do(d.b.Confirm(id, d.s, d.now))
	case 4:
		d.do(d.b.Release(id, d.now))
	case 5:
		d.do(d.b.Extend(id, 100, d.now))
	case 6:
		d.do(d.b.Fulfil(id, d.s, d.now))
	case 7:
		k := at(rapid.SampledFrom([]string{"S1", "S2"}).Draw(t, "store"), "X")
		q := protocol.Units(rapid.Int64Range(0, 3).Draw(t, "sold"))
		ev := sale(string(k.Location), rapid.SampledFrom([]string{"", id}).Draw(t, "hold"), protocol.HoldLine{SKU: "X", Quantity: q})
		d.s.onHand[k] -= q
		d.observe(ev)
		for _, c := range d.b.Conflicts([]Key{k}, d.s, d.now) {
			d.log = append(d.log, c)
		}
	case 8:
		action := rapid.SampledFrom([]string{protocol.HoldAccept, protocol.HoldPicked, protocol.HoldReject, protocol.HoldCollected}).Draw(t, "action")
		if again := d.observe(reply(rapid.SampledFrom([]string{"S1", "S2", "T3"}).Draw(t, "store"), id, action)); again != "" {
			d.change(d.b.Resource(again, d.s, d.now))
		}
	case 9:
		for _, c := range d.b.Delivered("S1", d.b.Rev("S1"), d.now) {
			d.change(c)
		}
		d.s.onHand[at("S1", "X")] = protocol.Units(rapid.Int64Range(0, 9).Draw(t, "counted"))
	}
}
