package simulator

import (
	"fmt"
	"math/rand/v2"
	"time"

	"tillwire/protocol"
	"tillwire/simulator/scenario"
)

// shop makes up what happens in one store: customers, deliveries, theft, and
// people who count shelves. It knows the true shelf. It is driven by one
// goroutine, one document at a time, so that "before" and "after" are plain.
type shop struct {
	place
	goods  *assortment
	habits scenario.Shop
	rng    *rand.Rand
	peers  []protocol.StoreID // transfers go to these

	shelf    []protocol.Quantity // true, by index in goods
	boxed    []protocol.Quantity // picked for orders: in the house, but nobody can buy it
	low      []int               // articles to order
	number   int                 // of the last document
	last     time.Time           // of the last document, strictly rising
	sold     []*document         // recent sales that may be voided or brought back
	counting *document           // counted, not yet posted
	countDue time.Time
	clockSet bool // since an agent acknowledged last

	cutOffUntil time.Time // the kiosk till cannot reach its agent until then
	withheld    []*document

	uploadEvery time.Duration // an old POS keeps all sales and hands them over so often; 0: a modern one
	uploadDue   time.Time
	rush        rush // what is stormed just now
}

// rush is a flash sale as a till sees it: a share of the baskets is for a few
// articles alone.
type rush struct {
	share    float64
	articles int
}

const (
	kioskShare  = 0.3
	soldKept    = 24
	withheldMax = 24
)

func newShop(p place, goods *assortment, rng *rand.Rand, peers []protocol.StoreID) *shop {
	n := len(goods.articles)
	return &shop{
		place: p, goods: goods, habits: scenario.Default().Shop, rng: rng, peers: peers,
		shelf: make([]protocol.Quantity, n), boxed: make([]protocol.Quantity, n),
	}
}

// open is the first delivery: every article, enough for a while.
func (s *shop) open(now time.Time) *document {
	d := s.begin(kindReceipt, now)
	d.Source = "DC1"
	for k := range s.goods.articles {
		q := protocol.Units(int64(40 + s.rng.IntN(200)))
		if k < 12 {
			q *= 8
		}
		s.moveLine(d, k, q, q)
	}
	return d
}

// next makes up the next document; nil when nothing is to be told. What is due
// from before is handed out by backlog.
func (s *shop) next(now time.Time) *document {
	if len(s.low) > 0 {
		return s.delivery(now)
	}
	h := &s.habits
	if s.rng.IntN(1000) < h.Thefts {
		k := s.goods.pick()
		s.shelf[k] = max(0, s.shelf[k]-protocol.Units(1))
	}
	r := s.rng.IntN(1000)
	for _, c := range []struct {
		share int
		make  func(time.Time) *document
	}{
		{h.Returns, s.bringBack},
		{h.Voids, s.void},
		{h.Counts, s.count},
		{h.Adjustments, s.adjust},
		{h.Transfers, s.sendAway},
	} {
		if r < c.share {
			looked := s.counting
			if d := c.make(now); d != nil || s.counting != looked {
				return d // looking at a shelf is a moment of its own
			}
			break
		}
		r -= c.share
	}
	return s.sell(now)
}

func (s *shop) begin(kind string, now time.Time) *document {
	s.number++
	shown := now
	now = s.moment(now)
	if now.Sub(shown) < protocol.ClockSetBackUS*time.Microsecond {
		shown = now // the clock was not set back: no two documents have one time
	}
	reg := fmt.Sprintf("R%02d", 1+s.number%4)
	return &document{
		kind: kind, at: now, Register: reg, OccurredAt: tillTime(shown), BusinessDate: now.Format(time.DateOnly),
		DocumentID: fmt.Sprintf("%s-%s-%s-%06d", s.Store, reg, now.Format("150405"), s.number),
	}
}

// moment is a time that no document of the shop has yet, for the order of what
// happened: it does not go back, even where the shop's clock does.
func (s *shop) moment(now time.Time) time.Time {
	now = now.Truncate(time.Microsecond)
	if !now.After(s.last) {
		now = s.last.Add(time.Microsecond)
	}
	s.last = now
	return now
}

// moveLine adds a line that says q and moves the shelf by delta.
func (s *shop) moveLine(d *document, k int, q, delta protocol.Quantity) {
	a := s.goods.articles[k]
	d.Lines = append(d.Lines, docLine{Line: len(d.Lines) + 1, SKU: string(a.SKU), Quantity: q, UOM: a.uom()})
	d.effects = append(d.effects, effect{SKU: a.SKU, Delta: delta})
	s.shelf[k] += delta
}

// sell is one basket; an article may stand in it twice, as it does on receipts.
func (s *shop) sell(now time.Time) *document {
	d := s.begin(kindSale, now)
	n := min(basketLinesMax, 1+int(s.rng.ExpFloat64()*(s.habits.Lines-1)))
	pick := s.goods.pick
	if s.rng.Float64() < s.rush.share && s.rush.articles > 0 {
		n, pick = 1+s.rng.IntN(2), func() int { return s.rng.IntN(min(s.rush.articles, len(s.shelf))) }
	}
	for range n {
		k := pick()
		q := min(s.goods.amount(k), s.shelf[k])
		if q <= 0 {
			s.low = append(s.low, k)
			continue
		}
		s.moveLine(d, k, q, -q)
		if s.shelf[k] < protocol.Units(10) {
			s.low = append(s.low, k)
		}
	}
	if len(d.Lines) == 0 {
		return nil
	}
	s.cutOff(d)
	return d
}

// cutOff decides whether a sale is rung up on a till that cannot reach the
// agent now: it is withheld, and posted late.
func (s *shop) cutOff(d *document) {
	if s.uploadEvery > 0 {
		s.withheld = append(s.withheld, d)
		return
	}
	if s.rng.IntN(1000) < s.habits.CutOffs && d.at.After(s.cutOffUntil.Add(cutOffMax)) && s.counting == nil {
		s.cutOffUntil = d.at.Add(cutOffMin + time.Duration(s.rng.Int64N(int64(cutOffMax-2*cutOffMin))))
	}
	if d.at.Before(s.cutOffUntil) && len(s.withheld) < withheldMax && s.rng.Float64() < kioskShare {
		d.Register = "K01"
		s.withheld = append(s.withheld, d)
		return
	}
	s.sold = append(s.sold, d)
	if len(s.sold) > soldKept {
		s.sold = append(s.sold[:0], s.sold[1:]...)
	}
}

// isWithheld tells whether d stays in the till for now.
func (s *shop) isWithheld(d *document) bool {
	n := len(s.withheld)
	return n > 0 && s.withheld[n-1] == d
}

// backlog hands out what is due: a count that was keyed in by now, and what the
// kiosk till kept, once all of it is late for sure.
func (s *shop) backlog(now time.Time) (out []*document) {
	if s.counting != nil && now.After(s.countDue) {
		out = append(out, s.counting)
		s.counting = nil
	}
	if s.uploadEvery > 0 {
		return append(out, s.upload(now)...)
	}
	if n := len(s.withheld); n > 0 && now.After(s.cutOffUntil) && now.Sub(s.withheld[n-1].at) >= cutOffMin {
		out = append(out, s.withheld...)
		s.withheld = nil
	}
	return out
}

// upload is what an old POS hands over when its time has come: all but the newest
// receipts, which are not late for sure.
func (s *shop) upload(now time.Time) []*document {
	if now.Before(s.uploadDue) {
		return nil
	}
	s.uploadDue = now.Add(s.uploadEvery)
	n := 0
	for n < len(s.withheld) && now.Sub(s.withheld[n].at) >= cutOffMin {
		n++
	}
	out := s.withheld[:n:n]
	s.withheld = append([]*document(nil), s.withheld[n:]...)
	return out
}

// closing hands out everything that is still to be posted.
func (s *shop) closing() []*document {
	out := s.withheld
	if s.counting != nil {
		out = append(out, s.counting)
	}
	s.withheld, s.counting = nil, nil
	return out
}

// bringBack returns one line of a recent sale.
func (s *shop) bringBack(now time.Time) *document {
	if len(s.sold) == 0 {
		return nil
	}
	k := s.rng.IntN(len(s.sold))
	sale := s.sold[k]
	s.sold = append(s.sold[:k:k], s.sold[k+1:]...)
	l := sale.Lines[s.rng.IntN(len(sale.Lines))]
	d := s.begin(kindReturn, now)
	d.OriginalDocument = sale.DocumentID
	i := s.index(protocol.SKU(l.SKU))
	s.moveLine(d, i, l.Quantity, l.Quantity)
	d.Lines[0].Disposition = []string{"sellable", "sellable", "sellable", "damaged", "quarantine", "unknown"}[s.rng.IntN(6)]
	return d
}

// void cancels a recent sale whole.
func (s *shop) void(now time.Time) *document {
	if len(s.sold) == 0 {
		return nil
	}
	k := s.rng.IntN(len(s.sold))
	sale := s.sold[k]
	s.sold = append(s.sold[:k:k], s.sold[k+1:]...)
	d := s.begin(kindVoid, now)
	d.Voids = sale.DocumentID
	for _, l := range sale.Lines {
		s.shelf[s.index(protocol.SKU(l.SKU))] += l.Quantity
		d.effects = append(d.effects, effect{SKU: protocol.SKU(l.SKU), Delta: l.Quantity})
	}
	return d
}

// count looks at some shelves now; the document is posted a while later, when
// more has been sold. While a till is cut off, nobody counts until its sales
// are late for sure: an agent that hears of a sale within the minute takes the
// order of hearing, and so would the person with the clipboard.
func (s *shop) count(now time.Time) *document {
	if !s.mayCount(now) {
		return nil
	}
	d := s.begin(kindCount, now)
	d.Scope, d.Session = "sku", d.DocumentID
	seen := map[int]bool{}
	for range 1 + s.rng.IntN(sessionLinesMax) {
		k := s.goods.pick()
		if seen[k] {
			continue
		}
		seen[k] = true
		s.look(d, k)
	}
	lag := time.Duration(s.rng.ExpFloat64() * float64(countLagMean))
	s.counting, s.countDue = d, now.Add(min(lag, countLagMax))
	return nil
}

// mayCount tells whether what is on the shelf now can be told from what was: not
// while sales are withheld, nor before an agent has heard of the shop's clock as it is:
// the story's clock has no monotonic reading that says by how much it was set.
func (s *shop) mayCount(now time.Time) bool {
	return s.counting == nil && !now.Before(s.cutOffUntil) && len(s.withheld) == 0 && !s.clockSet
}

// look adds one shelf as it is seen.
func (s *shop) look(d *document, k int) {
	a, q := s.goods.articles[k], s.shelf[k]+s.boxed[k]
	d.Lines = append(d.Lines, docLine{Line: len(d.Lines) + 1, SKU: string(a.SKU), Quantity: q, UOM: a.uom(), CountedAt: d.OccurredAt})
	d.effects = append(d.effects, effect{SKU: a.SKU, Delta: q, Count: true})
}

// countAll is the stock-take: every shelf, in one document. What else the chain
// believes to be here is nothing.
func (s *shop) countAll(now time.Time) *document {
	d := s.begin(kindCount, now)
	d.Scope, d.Session = "full", d.DocumentID
	for k := range s.shelf {
		s.look(d, k)
	}
	d.effects = append(d.effects, effect{SKU: probeSKU(), Count: true})
	return d
}

func (s *shop) adjust(now time.Time) *document {
	k := s.goods.pick()
	q := min(protocol.Units(int64(1+s.rng.IntN(3))), s.shelf[k])
	if q <= 0 {
		return nil
	}
	d := s.begin(kindAdjustment, now)
	d.Reason = []string{"damage", "expiry", "internal_use", "found"}[s.rng.IntN(4)]
	if d.Reason != "found" {
		q = -q
	}
	s.moveLine(d, k, q, q)
	return d
}

// delivery fills up what runs low.
func (s *shop) delivery(now time.Time) *document {
	d := s.begin(kindReceipt, now)
	d.Source = "DC1"
	for _, k := range s.low {
		if s.shelf[k] < protocol.Units(40) {
			q := protocol.Units(int64(80 + s.rng.IntN(160)))
			s.moveLine(d, k, q, q)
		}
	}
	s.low = s.low[:0]
	if len(d.Lines) == 0 {
		return nil
	}
	return d
}

// sendAway starts a transfer; the peer's half is made from it by receive.
func (s *shop) sendAway(now time.Time) *document {
	if len(s.peers) == 0 {
		return nil
	}
	k := s.rng.IntN(len(s.goods.articles) / 2) // what every store carries
	q := protocol.Units(4)
	if s.shelf[k] < 4*q || s.goods.articles[k].Weighed {
		return nil
	}
	d := s.begin(kindTransfer, now)
	d.Direction, d.Counterparty = "out", string(s.peers[s.rng.IntN(len(s.peers))])
	d.TransferID = "T-" + d.DocumentID
	s.moveLine(d, k, q, -q)
	return d
}

// receive books a parcel in.
func (s *shop) receive(out *document, from protocol.StoreID, now time.Time) *document {
	d := s.begin(kindTransfer, now)
	d.Direction, d.Counterparty, d.TransferID = "in", string(from), out.TransferID
	for _, l := range out.Lines {
		s.moveLine(d, s.index(protocol.SKU(l.SKU)), l.Quantity, l.Quantity)
	}
	return d
}

func (s *shop) index(sku protocol.SKU) int {
	if k, ok := s.carries(sku); ok {
		return k
	}
	panic("simulator: " + string(s.Store) + " does not carry " + string(sku)) //nolint:forbidigo // a shop only sells its own goods
}
