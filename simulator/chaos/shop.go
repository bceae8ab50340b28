package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"tillwire/protocol"
	"tillwire/store/journal"
	"tillwire/store/ledger"
)

// shop is the people of a store, its tills, and the truth: what is on the shelves.
type shop struct {
	w      *world
	origin protocol.Origin
	host   *host
	rng    *rand.Rand
	skus   []protocol.SKU
	shelf  map[protocol.SKU]int64
	docs   []*document // all that ever happened, in its order
	byID   map[protocol.EventID]*document
	tills  [2]till
	closed bool
	number int

	poisoned []protocol.EventID // acknowledged, and to be parked
}

// document is one paper of a shop, and what it truly did.
type document struct {
	ev      *protocol.Event
	at      int64
	delta   map[protocol.SKU]int64
	count   map[protocol.SKU]int64 // what was on the shelf
	till    int
	acked   bool
	ackedAt int64
	voided  bool
	fragile bool // its record is on no disk of the shop any more
	lost    bool // … and not in the ledger either: it has to be fed again
	refed   int
	tainted bool
}

// till is one register: it posts in order, and repeats what is not answered.
type till struct {
	queue  []*document
	asking bool
	cut    int64 // from its agent, until then
}

func newShop(w *world, n int, h *host) *shop {
	s := &shop{
		w: w, origin: h.origin, host: h, rng: stream(w.c.Seed, fmt.Sprintf("shop/%d", n)), shelf: map[protocol.SKU]int64{},
		byID: map[protocol.EventID]*document{},
	}
	for k := range skusPerAgent {
		s.skus = append(s.skus, protocol.SKU(fmt.Sprintf("A%d", k+1)))
	}
	return s
}

// live has people come: rushes and quiet hours.
func (s *shop) live() {
	if s.closed {
		return
	}
	gap := float64(50 * minute)
	if s.rng.IntN(3) > 0 {
		gap = float64(20 * second)
	}
	s.w.after(1+int64(s.rng.ExpFloat64()*gap), func() {
		if !s.closed {
			s.happen()
			s.live()
		}
	})
}

// happen makes one document of what people do.
func (s *shop) happen() {
	r := s.rng
	sku := s.skus[r.IntN(len(s.skus))]
	if s.counting(sku) && !s.lateCounts() {
		return // nobody touches what is being counted
	}
	switch n := r.IntN(100); {
	case n < 60:
		s.sell(sku)
	case n < 68:
		s.move(protocol.KindReturn, sku, 1+r.Int64N(2))
	case n < 76:
		s.move(protocol.KindReceipt, sku, 5+r.Int64N(20))
	case n < 82:
		s.move(protocol.KindAdjustment, sku, r.Int64N(7)-3)
	case n < 88:
		s.void()
	default:
		s.shelf[sku] -= r.Int64N(2) // what nobody writes down
		s.count(sku)
	}
}

func (s *shop) sell(sku protocol.SKU) {
	d := s.paper(protocol.KindSale)
	for n := 1 + s.rng.IntN(3); n > 0; n-- {
		if _, twice := d.delta[sku]; !twice && !(s.counting(sku) && !s.lateCounts()) {
			s.line(d, sku, 1+s.rng.Int64N(3), -1)
		}
		sku = s.skus[s.rng.IntN(len(s.skus))]
	}
	s.hand(d)
}

func (s *shop) move(k protocol.Kind, sku protocol.SKU, n int64) {
	if n == 0 {
		n = -1
	}
	d := s.paper(k)
	s.line(d, sku, n, 1)
	if k == protocol.KindReturn {
		d.ev.Lines[0].Disposition = protocol.DispositionSellable
	}
	s.hand(d)
}

// void takes an earlier document back, perhaps before the agent has it.
func (s *shop) void() {
	for tries := 0; tries < 8 && len(s.docs) > 0; tries++ {
		of := s.docs[len(s.docs)-1-s.rng.IntN(min(len(s.docs), 60))]
		if of.voided || of.count != nil || of.ev.Kind == protocol.KindVoid || of.tainted || s.touchesCounted(of) {
			continue
		}
		of.voided = true
		d := s.paper(protocol.KindVoid)
		d.ev.Voids, d.ev.VoidsKind = of.ev.DocumentID, of.ev.Kind
		for sku, n := range of.delta {
			d.delta[sku] = -n
			s.shelf[sku] -= n
		}
		s.hand(d)
		return
	}
}

func (s *shop) touchesCounted(d *document) bool {
	if s.lateCounts() {
		return false
	}
	for sku := range d.delta {
		if s.counting(sku) {
			return true
		}
	}
	return false
}

// count says what is on the shelf. Nobody counts what a till has not posted yet.
func (s *shop) count(sku protocol.SKU) {
	for i := range s.tills {
		for _, d := range s.tills[i].queue {
			_, moves := d.delta[sku]
			_, counts := d.count[sku]
			if moves || counts {
				return
			}
		}
	}
	d := s.paper(protocol.KindCount)
	d.ev.Scope = protocol.ScopeSKU
	d.count = map[protocol.SKU]int64{sku: s.shelf[sku]}
	if s.shelf[sku] < 0 {
		s.shelf[sku] = 0 // what is not there cannot be counted below nothing
		d.count[sku] = 0
	}
	d.ev.Lines = append(d.ev.Lines, protocol.Line{Line: 1, SKU: sku, Quantity: protocol.Units(d.count[sku]), CountedAt: d.ev.EventTime})
	if s.lateCounts() && s.rng.IntN(2) == 0 {
		s.docs = append(s.docs, d)
		s.byID[d.ev.ID] = d
		s.w.n.Documents++
		d.till = 1
		wait := 1 + int64(s.rng.ExpFloat64()*float64(20*minute))
		s.tills[1].queue = append(s.tills[1].queue, d)
		d.till = 2 // held back by the one who counts
		s.w.after(wait, func() { d.till = 1; s.ask(1) })
		return
	}
	s.hand(d)
}

// lateCounts tells whether counts may be held back while goods go on moving. Not
// where clocks jump: what a shelf held then is told by a time alone.
//
// BUG(merge): nor where a journal loses its history: a count that was taken before
// and posted after is judged to have seen all that the old history holds.
func (s *shop) lateCounts() bool {
	return s.w.c.Faults.Has(LateCount) && s.w.c.Faults&(Clock|Rollback|Reinstall|Rot|Clone) == 0
}

// counting tells that a count of an article was taken and is not journaled yet.
func (s *shop) counting(sku protocol.SKU) bool {
	for i := range s.tills {
		for _, d := range s.tills[i].queue {
			if _, ok := d.count[sku]; ok {
				return true
			}
		}
	}
	return false
}

func (s *shop) paper(k protocol.Kind) *document {
	s.number++
	d := &document{at: s.w.now, delta: map[protocol.SKU]int64{}, till: s.rng.IntN(2)}
	id := fmt.Sprintf("%s-%s-%d", s.origin.Store, k, s.number)
	d.ev = &protocol.Event{
		ID: protocol.MakeEventID(s.origin.Store, k, id), Kind: k, Store: s.origin.Store, DocumentID: id,
		Register: fmt.Sprintf("R%d", d.till+1), EventTime: protocol.Stamp{US: s.w.now},
	}
	return d
}

func (s *shop) line(d *document, sku protocol.SKU, n, sign int64) {
	d.ev.Lines = append(d.ev.Lines, protocol.Line{Line: len(d.ev.Lines) + 1, SKU: sku, Quantity: protocol.Units(n)})
	d.delta[sku] += sign * n
	s.shelf[sku] += sign * n
}

// hand gives a document to its till.
func (s *shop) hand(d *document) {
	s.docs = append(s.docs, d)
	s.byID[d.ev.ID] = d
	s.w.n.Documents++
	s.enqueue(d)
}

func (s *shop) enqueue(d *document) {
	t := &s.tills[d.till]
	if t.queue = append(t.queue, d); len(t.queue) > queuedMax {
		s.w.violate("E", "%d documents wait at a till of %s", len(t.queue), s.origin)
	}
	s.ask(d.till)
}

// ask posts what stands first at a till.
func (s *shop) ask(n int) {
	t := &s.tills[n]
	if t.asking || len(t.queue) == 0 {
		return
	}
	if wait := t.cut - s.w.now; wait > 0 {
		t.asking = true
		s.w.after(min(wait, minute), func() { t.asking = false; s.ask(n) })
		return
	}
	next := slices.IndexFunc(t.queue, func(d *document) bool { return d.till != 2 }) // not the count that is still on paper
	if next < 0 {
		return
	}
	d := t.queue[next]
	t.asking = true
	s.host.post(&request{d.ev, func(got journal.Receipt, err error) { s.answered(n, d, got, err) }})
}

func (s *shop) answered(n int, d *document, _ journal.Receipt, err error) {
	w, t := s.w, &s.tills[n]
	t.asking = false
	var reused *journal.IDReusedError
	switch {
	case errors.As(err, &reused):
		w.violate("P", "%s says that %s was journaled with another content", s.origin, d.ev.DocumentID)
	case err != nil:
		w.after(second+w.about(second), func() { s.ask(n) })
		return
	}
	if !d.acked {
		d.acked, d.ackedAt = true, w.now
		w.n.Acked++
	}
	d.lost = false
	t.queue = slices.DeleteFunc(t.queue, func(x *document) bool { return x == d })
	s.again(d)
	s.ask(n)
}

// again is what tills do wrong after an answer.
func (s *shop) again(d *document) {
	w := s.w
	if w.has(Retry) && w.chance(0.05) {
		w.n.Repeats++
		w.after(w.about(hour), func() { s.host.post(&request{d.ev, func(journal.Receipt, error) {}}) })
	}
	if w.has(Poison) && w.chance(0.03) {
		s.poison()
	}
	if w.has(Reuse) && w.chance(0.05) && len(d.ev.Lines) > 0 {
		w.n.Reused++
		other := *d.ev
		other.Lines = append([]protocol.Line(nil), d.ev.Lines...)
		other.Lines[0].Quantity += protocol.Units(7)
		life := s.host.installs
		w.after(w.about(second), func() {
			if !d.fragile {
				s.host.post(&request{&other, func(_ journal.Receipt, err error) {
					if err == nil && s.host.installs == life && !d.fragile {
						w.violate("P", "%s took another body under the id of %s", s.origin, d.ev.DocumentID)
					}
				}})
			}
		})
	}
}

// hold tells which of the documents a journal holds.
func (h *host) holds() map[protocol.EventID]bool {
	out := map[protocol.EventID]bool{}
	j, err := journal.OpenHand(&h.disk.cache, segment, "")
	if err != nil {
		return out
	}
	st := j.State()
	for from := st.Tail; from <= st.Head; {
		records, _, _, err := j.Read(from, 4096, 1<<30, nil)
		if err != nil || len(records) == 0 {
			break
		}
		var e protocol.Event
		for _, r := range records {
			if _, err := protocol.DecodeRecord(r, &e); err == nil {
				out[e.ID] = true
			}
		}
		from += uint64(len(records))
	}
	return out
}

// diskChanged looks at what a disaster took from a disk. What is neither on a disk
// of the shop nor in the ledger is gone: the shop is told, and feeds it again. What
// is in the ledger alone is fragile.
func (w *world) diskChanged(h *host) {
	for _, s := range w.shops {
		if s.host != h {
			continue
		}
		held := h.holds()
		for _, d := range s.docs {
			if !d.acked || d.lost || held[d.ev.ID] {
				continue
			}
			if _, ok := w.cloud.ledger.ids[d.ev.ID]; ok {
				d.fragile = true
				continue
			}
			s.refeed(d)
		}
	}
}

// ledgerLost looks at what a restore took from the ledger. Only what is on no disk
// any more may be missing: all else comes again by itself.
func (s *shop) ledgerLost(ids map[protocol.EventID]ledger.Position) {
	for _, d := range s.docs {
		if _, ok := ids[d.ev.ID]; !ok && d.acked && d.fragile && !d.lost {
			s.refeed(d)
		}
	}
}

// refeed has the till post a document again, when the operator has told it to.
func (s *shop) refeed(d *document) {
	w := s.w
	d.lost, d.fragile = true, false
	d.refed++
	w.n.Refed++
	w.log("%s: %s is on no disk any more and will be posted again", s.origin, d.ev.DocumentID)
	w.after(refeedAfter+w.about(minute), func() {
		d.till = min(d.till, 1)
		s.enqueue(d)
	})
}

// trimmed checks records that a host is about to drop.
func (s *shop) trimmed(h *host, values [][]byte) {
	w := s.w
	from := w.cloud.img
	if w.cloud.backed {
		if from = w.cloud.backup; from == nil {
			w.violate("P", "%s trims before there is any backup", h)
			return
		}
	}
	ids := map[protocol.EventID]bool{}
	for i := range from.entries {
		ids[from.entries[i].EventID] = true
	}
	var e protocol.Event
	for _, v := range values {
		if _, err := protocol.DecodeRecord(v[28:], &e); err != nil {
			continue // a lost record's marker
		}
		if d := s.byID[e.ID]; d != nil && !ids[e.ID] && !d.tainted {
			w.violate("P", "%s trims %s, which no backup holds", h, d.ev.DocumentID)
			return
		}
	}
}

// poison journals a record that no fold can take: it must be parked by itself.
func (s *shop) poison() {
	w := s.w
	s.number++
	id := fmt.Sprintf("%s-poison-%d", s.origin.Store, s.number)
	ev := &protocol.Event{
		ID: protocol.MakeEventID(s.origin.Store, protocol.KindSale, id), Kind: protocol.KindSale, Store: s.origin.Store, DocumentID: id,
		EventTime: protocol.Stamp{US: w.now}, Lines: []protocol.Line{{Line: 1, SKU: s.skus[0], Quantity: protocol.Units(1000)}},
	}
	switch s.rng.IntN(3) {
	case 0:
		ev.ID[3] ^= 1
	case 1:
		ev.Store = "elsewhere"
		ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, id)
	case 2:
		ev.Kind = protocol.KindPolicy
		ev.ID = protocol.MakeEventID(s.origin.Store, ev.Kind, id)
	}
	s.host.post(&request{ev, func(_ journal.Receipt, err error) {
		if err == nil {
			s.poisoned = append(s.poisoned, ev.ID)
		}
	}})
}
