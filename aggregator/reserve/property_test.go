package reserve

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
)

// state is the book as a checkpoint of all of it would tell; it changes nothing.
func state(t tester, b *Book) map[uint32]string {
	t.Helper()
	c := &Book{shards: b.shards, dirty: map[uint16]struct{}{}}
	for id := range b.all {
		c.dirty[shardOf(id)] = struct{}{}
	}
	out := map[uint32]string{}
	if err := c.Chunks(func(no uint32, data []byte) { out[no] = string(data) }); err != nil {
		t.Fatal(err)
	}
	return out
}

// disk is what a restart finds: the newest checkpoint, and where the log goes on.
type disk struct {
	chunks map[uint32][]byte
	from   int
}

func (d *desk) checkpoint(k *disk) {
	if err := d.b.Chunks(func(no uint32, data []byte) { k.chunks[no] = data }); err != nil {
		d.t.Fatal(err)
	}
	k.from = len(d.log)
}

// restart makes the book anew from what is on disk.
func (d *desk) restart(k *disk) *Book {
	b := New()
	for _, no := range slices.Sorted(maps.Keys(k.chunks)) {
		if err := b.Restore(no, k.chunks[no]); err != nil {
			d.t.Fatal(err)
		}
	}
	for _, x := range d.log[k.from:] {
		switch x := x.(type) {
		case *Change:
			b.Apply(x)
		case seen:
			b.Observe(x.ev, x.us)
		}
	}
	b.Advance(d.now)
	b.Settle(d.now)
	return b
}

// sums are what the live lines take, added up by hand.
func (d *desk) sums() map[Key][2]protocol.Quantity {
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
				if sums[k] = v; v == [2]protocol.Quantity{} {
					delete(sums, k)
				}
			})
		}
	}
	return sums
}

// check holds a book to its invariants: what is held is the sum of the live lines,
// explained line by line and never negative; nothing stays that nobody holds; only
// what can end by itself or by a command is live; each record could be read back.
func (d *desk) check(t *rapid.T) {
	d.b.Advance(d.now)
	sums := d.sums()
	n := 0
	for _, pl := range d.b.places {
		for _, p := range pl.skus {
			n++
			v := sums[p.key]
			if v != [2]protocol.Quantity{p.reserved, p.allocated} || p.reserved < 0 || p.allocated < 0 {
				t.Fatalf("%v: lines sum to %v, held are %s and %s", p.key, v, p.reserved, p.allocated)
			}
			var x [2]protocol.Quantity
			for _, h := range d.b.HoldsAt(p.key, d.now) {
				x[0], x[1] = x[0]+h.Reserved, x[1]+h.Allocated
			}
			if x != v {
				t.Fatalf("%v: explained %v, held %v", p.key, x, v)
			}
		}
	}
	if n != len(sums) {
		t.Fatalf("%d positions, %d are held", n, len(sums))
	}
	live, queued := 0, d.b.expiries.Len()
	for _, e := range d.b.all {
		if err := e.check(); err != nil {
			t.Fatal(err)
		}
		if e.live() {
			live++
		}
		if e.reserving() {
			queued--
		}
		if e.reserving() && e.ExpiresUS <= d.now {
			t.Fatalf("%s is held beyond its end", e.ID)
		}
	}
	if live != d.b.Live() || (live == 0) != (len(sums) == 0) || queued != 0 {
		t.Fatalf("%d live, %d are; %d expiries too many", live, d.b.Live(), queued)
	}
}

// TestBookKeepsItsPromises draws commands, events, time, checkpoints and restarts.
// No step may promise what is not there, whatever it is; and the book is at any
// time what its checkpoint and the log behind it make of it.
func TestBookKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &desk{t: t, b: New(), s: newShelf(), now: sec}
		d.s.moves = rapid.Bool().Draw(t, "source again")
		d.s.source = rapid.SampledFrom([]string{"", protocol.SourcingLeastSplits, protocol.SourcingNearest}).Draw(t, "sourcing")
		k := &disk{chunks: map[uint32][]byte{}}
		whole := &disk{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			d.now += rapid.SampledFrom([]int64{0, 0, sec, 60 * sec, 200 * sec, rememberUS}).Draw(t, "later")
			d.b.Advance(d.now)
			before := d.sums()
			d.step(t, rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "id"))
			for key, v := range d.sums() {
				if was := before[key]; v[0]+v[1] > was[0]+was[1] && v[0]+v[1] > d.s.onHand[key] {
					t.Fatalf("%v: %s promised of %s", key, v[0]+v[1], d.s.onHand[key])
				}
			}
			d.check(t)
			switch rapid.IntRange(0, 9).Draw(t, "disk") {
			case 0:
				d.checkpoint(k)
			case 1:
				was := state(t, d.b)
				d.b = d.restart(k)
				if diff := cmp.Diff(was, state(t, d.b)); diff != "" {
					t.Fatalf("a restart differs:\n%s", diff)
				}
				d.check(t)
			}
		}
		if diff := cmp.Diff(state(t, d.b), state(t, d.restart(whole))); diff != "" {
			t.Fatalf("a replay of everything differs:\n%s", diff)
		}
	})
}

func (d *desk) step(t *rapid.T, id string) {
	store := rapid.SampledFrom([]string{"S1", "S2", "T3"}).Draw(t, "store")
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0, 1, 2:
		d.reserve(d.request(t, id))
	case 3:
		d.do(d.b.Confirm(id, d.s, d.now))
	case 4:
		d.do(d.b.Release(id, d.now))
	case 5:
		d.do(d.b.Extend(id, 100, d.now))
	case 6:
		d.do(d.b.Fulfil(id, d.s, d.now))
	case 7:
		ev := sale(store, rapid.SampledFrom([]string{"", id}).Draw(t, "hold"))
		ev.OrderID = rapid.SampledFrom([]string{"", "o"}).Draw(t, "order")
		for _, sku := range rapid.SliceOfNDistinct(rapid.SampledFrom([]protocol.SKU{"X", "Y", "SET"}), 1, 2, rapid.ID[protocol.SKU]).Draw(t, "sold") {
			q := protocol.Units(rapid.Int64Range(1, 3).Draw(t, "units"))
			ev.Lines = append(ev.Lines, protocol.Line{SKU: sku, Quantity: q})
			(&Line{Location: ev.Store, SKU: sku, Quantity: q, Parts: d.s.kits[sku]}).each(func(k Key, q protocol.Quantity) { d.s.onHand[k] -= q })
		}
		d.observe(ev)
		d.conflicts(t)
	case 8:
		action := rapid.SampledFrom([]string{protocol.HoldAccept, protocol.HoldPicked, protocol.HoldReject, protocol.HoldCollected}).Draw(t, "action")
		if again := d.observe(reply(store, id, action)); again != "" {
			d.change(d.b.Resource(again, d.s, d.now))
		}
	case 9:
		for _, c := range d.b.Delivered(protocol.StoreID(store), d.b.Rev(protocol.StoreID(store)), d.now) {
			d.change(c)
		}
		d.s.onHand[at(store, "X")] = protocol.Units(rapid.Int64Range(0, 9).Draw(t, "counted"))
		d.conflicts(t)
	}
}

func (d *desk) request(t *rapid.T, id string) *protocol.ReservationRequest {
	var lines []protocol.ReservationRequestLine
	for range rapid.IntRange(1, 3).Draw(t, "lines") {
		lines = append(lines, want(rapid.SampledFrom([]string{"X", "Y", "SET"}).Draw(t, "sku"),
			rapid.Int64Range(1, 6).Draw(t, "qty"), rapid.SampledFrom([]string{"S1", "S2", ""}).Draw(t, "loc")))
	}
	q := ask(id, lines...)
	q.Mode = rapid.SampledFrom([]string{"", protocol.ModePartial}).Draw(t, "mode")
	q.Fulfilment = rapid.SampledFrom([]string{"", protocol.FulfilmentPickup, protocol.FulfilmentShip}).Draw(t, "fulfilment")
	q.OrderID = rapid.SampledFrom([]string{"", "o"}).Draw(t, "order")
	return q
}

// conflicts looks at all positions. Where nothing moves, a second look has nothing
// to say, and where no kit is held, exactly as many of the newest are marked as it
// takes.
func (d *desk) conflicts(t *rapid.T) {
	keys := slices.SortedFunc(maps.Keys(d.s.onHand), Key.compare)
	for _, c := range d.b.Conflicts(keys, d.s, d.now) {
		j, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		back := &Change{}
		if err := json.Unmarshal(j, back); err != nil {
			t.Fatal(err)
		}
		d.log = append(d.log, back)
	}
	if d.s.moves { // what could not move then may move later
		return
	}
	if again := d.b.Conflicts(keys, d.s, d.now); len(again) != 0 {
		t.Fatalf("a second look says %s of %+v", again[0].Why, again[0].Record)
	}
	for _, k := range keys {
		p := d.b.position(k)
		if p == nil || slices.ContainsFunc(p.by.oldest(), func(e *entry) bool {
			return slices.ContainsFunc(e.Lines, func(l Line) bool { return l.Parts != nil })
		}) {
			continue
		}
		left := p.reserved + p.allocated - d.s.OnHand(k)
		p.by.newest(func(e *entry) bool {
			for i := range e.Lines {
				if l := &e.Lines[i]; l.live() && l.of(k) > 0 && l.Risk != (left > 0 && l.State != protocol.ReservationPicked) {
					t.Fatalf("%v: %s line %d is at risk: %t, %s too much is promised", k, e.ID, i, l.Risk, left)
				}
			}
			free, _ := e.exposed(k)
			left -= free
			return true
		})
	}
}

// FuzzRestore reads damaged checkpoints: an error or a book that works.
func FuzzRestore(f *testing.F) {
	for _, b := range samples(f) {
		for no, data := range state(f, b) {
			f.Add(no, []byte(data))
		}
	}
	f.Fuzz(func(t *testing.T, no uint32, data []byte) {
		b := New()
		if err := b.Restore(no, data); err != nil {
			if b.Len() != 0 {
				t.Fatal("half a chunk was taken")
			}
			return
		}
		was := state(t, b)
		again := New()
		for no, data := range was {
			if err := again.Restore(no, []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(was, state(t, again)); diff != "" {
			t.Fatal(diff)
		}
		use(b)
	})
}

// FuzzChange reads damaged journal entries.
func FuzzChange(f *testing.F) {
	for _, b := range samples(f) {
		for _, e := range b.all {
			j, err := json.Marshal(change("reserve", e.Record))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(j)
		}
	}
	f.Fuzz(func(_ *testing.T, j []byte) {
		var c Change
		if json.Unmarshal(j, &c) == nil {
			b := New()
			b.Apply(&c)
			use(b)
		}
	})
}

// samples are books with something of everything.
func samples(t tester) (out []*Book) {
	for i := range 4 {
		d := newDesk(t)
		q := ask(fmt.Sprint("r", i), want("X", 2, "S1"), want("SET", 1, ""), want("W", 3, "T3"))
		q.Mode, q.OrderID, q.Fulfilment = protocol.ModePartial, "o", protocol.FulfilmentShip
		d.reserve(q)
		if i > 0 {
			d.do(d.b.Confirm(q.ReservationID, d.s, d.now))
		}
		if i > 1 {
			d.change(d.b.Resource(d.observe(reply("S1", q.ReservationID, protocol.HoldReject)), d.s, d.now))
		}
		if i > 2 {
			d.observe(sale("T3", q.ReservationID, protocol.HoldLine{SKU: "W", Quantity: 1000}))
		}
		out = append(out, d.b)
	}
	return out
}

// use asks a book everything.
func use(b *Book) {
	s := newShelf()
	s.moves = true
	for _, r := range b.List(Filter{}, 0) {
		_, _ = b.Confirm(r.ReservationID, s, 0)
		_, _ = b.Fulfil(r.ReservationID, s, 0)
		for _, l := range r.Lines {
			k := Key{l.Location, l.SKU}
			b.HoldsAt(k, 0)
			b.Tasks(l.Location, 0)
			b.Conflicts([]Key{k}, s, 0)
			b.Observe(sale(string(l.Location), r.ReservationID, protocol.HoldLine{SKU: l.SKU, Quantity: 1}), 0)
		}
	}
	b.Advance(1 << 60)
}
