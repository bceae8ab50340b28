package availability

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"tillwire/protocol"
)

// follower looks at what changed and tells it. All of it belongs to Run.
type follower struct {
	m       *Model
	cursor  uint64
	watches []*watch
	chain   []*watch // those of the chain
	local   []*watch // those of a location
	rev     uint64   // of watches
	view    look
	sums    []protocol.Quantity // per chain, scratch
	out     map[*watch][]Event  // not yet published
	outs    int                 // of them
	items   int                 // in the feed's ring
	oldest  uint64              // batch in the feed's ring

	table *table // that the sweep walks
	at    int    // slot that it comes to next
	pass  uint64 // counts its passes, from 1
}

// Run follows the changes until ctx ends: it alone works out who passed a
// threshold, for all subscribers at once, and wakes whoever waits. The writer
// never waits for it: where it falls behind by more than the ring of changes
// holds, subscribers are told to read anew. It may run once.
func (m *Model) Run(ctx context.Context) error {
	if !m.feed.started.CompareAndSwap(false, true) {
		return errors.New("follow changes: somebody does already, or did")
	}
	f := &follower{m: m, cursor: m.Cursor(), oldest: m.feed.next.Load(), table: m.table.Load(), pass: 1}
	m.changes.led.Store(true)
	m.changes.bell.chime() // nobody sleeps through the change of who rings
	defer func() {
		m.changes.led.Store(false)
		m.changes.bell.chime()
		close(m.feed.stopped)
	}()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	pace := time.NewTimer(0)
	defer pace.Stop()
	ready, waiting := false, false // the pace allows a look; there is something to look at
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pace.C:
			ready = true
		case <-m.changes.follow:
			waiting = true
		case <-m.feed.asked:
			waiting = true
		case <-sweep.C:
			m.feed.watches.expire(m.now().UnixMicro())
			f.refresh()
			f.sweep(len(m.table.Load().slots)/sweepPass + 1)
		}
		if ready && waiting {
			began := time.Now()
			waiting, ready = f.turn(), false
			rest := time.Since(began) // half of one core at most
			if !waiting {
				rest = max(rest, feedPace)
			}
			pace.Reset(rest)
		}
	}
}

// turn looks at what changed, and brings new watches to life. It tells whether
// there is more to do.
func (f *follower) turn() (more bool) {
	f.m.changes.bell.chime()
	f.refresh()
	more = f.catchUp()
	if f.starting() {
		f.sweep(math.MaxInt)
	}
	return more || f.starting()
}

// refresh takes the watches as they are wanted now.
func (f *follower) refresh() {
	if f.m.feed.watches.rev.Load() == f.rev {
		return
	}
	if !f.starting() {
		f.at = 0 // nobody waits for the pass that is going on: begin one that new watches see whole
	}
	f.watches, f.rev = f.m.feed.watches.copy()
	f.chain, f.local = nil, nil
	for _, w := range f.watches {
		if w.location == "" {
			f.chain = append(f.chain, w)
		} else {
			f.local = append(f.local, w)
		}
		if w.pass == 0 {
			w.pass = f.wholePass()
		}
	}
	f.sums = make([]protocol.Quantity, len(f.chain))
}

// wholePass is the next pass of the sweep that begins at the beginning.
func (f *follower) wholePass() uint64 {
	if f.at > 0 {
		return f.pass + 1
	}
	return f.pass
}

// starting tells whether a watch is not live yet.
func (f *follower) starting() bool {
	for _, w := range f.watches {
		if !w.live.Load() {
			return true
		}
	}
	return false
}

// catchUp looks at what changed until there is nothing more, a batch at a time.
// It tells whether it stopped before.
func (f *follower) catchUp() (more bool) {
	limit := max(batchSKUsMax/max(1, len(f.watches)), batchSKUsMin)
	for range catchUpMax {
		list, next, ok := f.m.changes.since(f.cursor, limit)
		f.cursor = next
		if !ok {
			f.lose()
			return true
		}
		if len(list) == 0 {
			return false
		}
		b := &batch{changed: make([]protocol.SKU, len(list))}
		for i, e := range list {
			b.changed[i] = e.sku
			f.look(e)
		}
		f.publish(b)
	}
	return true
}

// lose tells that changes were missed: every watch begins again.
func (f *follower) lose() {
	f.at = 0
	for _, w := range f.watches {
		w.live.Store(false)
		w.pass = f.pass
	}
	f.publish(&batch{lost: true})
}

// publish adds a batch, with the events found so far, and wakes the subscribers.
func (f *follower) publish(b *batch) {
	d := &f.m.feed
	b.no = d.next.Load()
	b.events, f.out, f.outs = f.out, nil, 0
	f.items += b.items()
	for f.oldest+batchesKept <= b.no || f.items > batchItemsAll && f.oldest < b.no {
		slot := &d.ring[f.oldest%batchesKept]
		f.items -= slot.Load().items()
		slot.Store(nil)
		f.oldest++
	}
	d.ring[b.no%batchesKept].Store(b)
	d.next.Store(b.no + 1)
	d.bell.chime()
}

// sweep looks at the SKUs of the next slots, whether they changed or not: what
// time alone does (a buffer that grows with silence, a dated policy, a location
// that is dark) has no change. At the end of a pass, watches that saw all of it
// are live.
func (f *follower) sweep(slots int) {
	if len(f.watches) == 0 {
		return
	}
	if f.at == 0 {
		f.table = f.m.table.Load()
	}
	cells := 0
	for ; slots > 0 && cells < sweepCells; slots-- {
		if e := f.table.slots[f.at].Load(); e != nil {
			f.look(e)
			cells += len(*e.cells.Load())
			if f.outs >= batchSKUsMax {
				f.publish(&batch{})
			}
		}
		cells++
		if f.at++; f.at == len(f.table.slots) {
			f.endPass()
			break
		}
	}
	if f.outs > 0 {
		f.publish(&batch{})
	}
}

func (f *follower) endPass() {
	born := false
	for _, w := range f.watches {
		if !w.live.Load() && w.pass <= f.pass {
			w.since.Store(f.m.feed.next.Load())
			w.live.Store(true)
			born = true
		}
	}
	f.pass++
	f.at = 0
	if born {
		f.publish(&batch{}) // wakes those who wait for it
	}
}

// look takes down the states of a SKU in every watch.
func (f *follower) look(e *entry) {
	if len(f.watches) == 0 {
		return
	}
	s := f.m.set.Load()
	if s.kits != nil && len(s.kits(e.sku)) > 0 {
		f.lookKit(s, e)
		return
	}
	v := &f.view
	v.nowUS = f.m.now().UnixMicro()
	v.rows = e.view(v.rows, nil)
	list := f.m.locs.Load().list // after the rows: it knows all their locations
	h := s.holdbacks(e, e.sku, v.nowUS)
	clear(f.sums)
	var p Promise
	for i := range v.rows {
		held := f.promise(&p, s, &v.rows[i], list, h)
		for k, w := range f.chain {
			f.sums[k] += p.availableFor(w.channel, held)
		}
	}
	for k, w := range f.chain {
		f.judge(e, w, f.sums[k], s.lowAt(e.sku, w, h.Default.LowAt))
	}
	for _, w := range f.local {
		available := protocol.Quantity(0)
		if r := f.rowAt(w.location); r != nil {
			held := f.promise(&p, s, r, list, h)
			available = p.availableFor(w.channel, held)
		}
		f.judge(e, w, available, s.lowAt(e.sku, w, h.For(w.location).LowAt))
	}
}

// promise works one location out, with nothing fenced off.
func (f *follower) promise(p *Promise, s *settings, r *row, list []*location, h *protocol.Holdbacks) *protocol.Holdback {
	l, held := list[r.loc], &h.Default
	if len(h.At) > 0 {
		held = h.For(l.name)
	}
	s.promise(p, r, l.state.Load(), held, "", f.view.nowUS)
	return held
}

// availableFor is what a channel may have of what was worked out for none.
func (p *Promise) availableFor(channel string, held *protocol.Holdback) protocol.Quantity {
	if len(held.Fences) == 0 {
		return p.Available
	}
	return max(0, p.Free-held.FencedForOthers(channel)-p.Reserved-p.Allocated)
}

// rowAt finds a location in the rows, which stand in order of number.
func (f *follower) rowAt(loc protocol.StoreID) *row {
	no, ok := f.m.byName.Load(loc)
	if !ok {
		return nil
	}
	i, ok := slices.BinarySearchFunc(f.view.rows, no.(uint32), func(r row, no uint32) int { return cmp.Compare(r.loc, no) })
	if !ok {
		return nil
	}
	return &f.view.rows[i]
}

// lookKit reads a kit once per channel: which part is scarcest may differ.
func (f *follower) lookKit(s *settings, e *entry) {
	v := &f.view
	for i, first := range f.watches {
		if slices.ContainsFunc(f.watches[:i], func(w *watch) bool { return w.channel == first.channel }) {
			continue
		}
		f.m.begin(v, nil, first.channel)
		f.m.read(v, e.sku)
		h := s.holdbacks(e, e.sku, v.nowUS)
		sum := protocol.Quantity(0)
		for k := range v.shares {
			sum += v.shares[k].Available
		}
		for _, w := range f.watches[i:] {
			switch {
			case w.channel != first.channel:
			case w.location == "":
				f.judge(e, w, sum, s.lowAt(e.sku, w, h.Default.LowAt))
			default:
				available := protocol.Quantity(0)
				if x := v.at(w.location); x != nil {
					available = x.Available
				}
				f.judge(e, w, available, s.lowAt(e.sku, w, h.For(w.location).LowAt))
			}
		}
	}
}

// at is a location's share, or nil.
func (v *look) at(loc protocol.StoreID) *share {
	i, ok := slices.BinarySearchFunc(v.shares, loc, func(x share, loc protocol.StoreID) int {
		return strings.Compare(string(x.name), string(loc))
	})
	if !ok {
		return nil
	}
	return &v.shares[i]
}

// judge takes down a state. What a live watch has not seen yet is new in the
// chain, and was out until now.
func (f *follower) judge(e *entry, w *watch, available, lowAt protocol.Quantity) {
	if w.slot >= len(e.states) {
		e.states = append(e.states, make([]State, w.slot+1-len(e.states))...)
	}
	was, is := e.states[w.slot], judged(available, lowAt)
	e.states[w.slot] = is
	if was == StateUnknown {
		was = StateOut
	}
	if was == is || !w.live.Load() {
		return
	}
	if f.out == nil {
		f.out = map[*watch][]Event{}
	}
	f.outs++
	f.out[w] = append(f.out[w], Event{
		SKU: e.sku, Channel: w.channel, Location: w.location, State: is, Was: was, Available: available, LowAt: lowAt,
		At: time.UnixMicro(f.view.nowUS).UTC(),
	})
}
