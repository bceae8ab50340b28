package intake

import "tillwire/protocol"

// The shop's own stock is a fold over its own journal, by the same rules as the
// chain's: on hand = latest count + movements outside its cut. It knows nothing
// of what other journals of the shop hold.

// cell is the stock of one article.
type cell struct {
	onHand, unavailable protocol.Quantity
	counted             protocol.Quantity // of the anchor
	cut                 uint64            // movements up to it are inside the count
	countedUS           int64             // 0: never counted
	session             string
	lastUS              int64 // record time of the last movement or count
}

// move is what one document does to one article.
type move struct {
	sku                 protocol.SKU
	onHand, unavailable protocol.Quantity
}

// movesOf lists the movements of a document. Counts and voids have none of
// their own.
func movesOf(e *protocol.Event, into []move) []move {
	for i := range e.Lines {
		l := &e.Lines[i]
		m := move{sku: l.SKU}
		switch e.Kind {
		case protocol.KindSale:
			m.onHand = -l.Quantity
		case protocol.KindReturn:
			m.onHand = l.Quantity
			if !sellable(l.Disposition) || l.Disposition == protocol.DispositionNone && e.OriginalDocument == "" {
				m.unavailable = l.Quantity // without receipt or judgement
			}
		case protocol.KindReceipt, protocol.KindAdjustment:
			m.onHand = l.Quantity
			if !sellable(l.Disposition) {
				m.unavailable = l.Quantity
			}
		case protocol.KindTransfer:
			m.onHand = l.Quantity
			if e.Direction == protocol.DirectionOut {
				m.onHand = -l.Quantity
			}
		case protocol.KindStatusChange:
			if !sellable(l.From) {
				m.unavailable -= l.Quantity
			}
			if !sellable(l.To) {
				m.unavailable += l.Quantity
			}
		case protocol.KindHold:
			if e.Action != protocol.HoldCollected {
				continue
			}
			m.onHand = -l.Quantity
		case protocol.KindKit:
			m.onHand = l.Quantity
			if e.Action == protocol.KitBreak {
				m.onHand = -l.Quantity
			}
		default:
			continue
		}
		into = append(into, m)
	}
	return into
}

func sellable(d protocol.Disposition) bool {
	return d == protocol.DispositionNone || d == protocol.DispositionSellable
}

// inside tells whether a movement was off the shelf when the cell was counted.
// One that its till posted late is judged by its own time instead of its seq.
func (c *cell) inside(seq uint64, recordUS, eventUS int64) bool {
	if c.countedUS == 0 {
		return false
	}
	if recordUS-eventUS > protocol.LateToleranceUS {
		return eventUS <= c.countedUS
	}
	return seq <= c.cut
}

// apply adds a movement that is outside of the count.
func (c *cell) apply(m move, seq uint64, recordUS, eventUS int64) {
	if !c.inside(seq, recordUS, eventUS) {
		c.onHand += m.onHand
	}
	c.unavailable += m.unavailable
	c.lastUS = max(c.lastUS, recordUS)
}

// anchor sets the cell to a count line. Lines of one session add up, and the
// last one's cut counts; since is what moved behind that cut.
func (c *cell) anchor(l *protocol.Line, session string, countedUS int64, since protocol.Quantity) {
	if c.session != session || c.countedUS == 0 {
		if c.countedUS > countedUS {
			return // an older count that came late changes variance only
		}
		c.counted, c.cut, c.countedUS, c.session = 0, 0, 0, session
	}
	c.counted += l.Quantity
	c.cut, c.countedUS = max(c.cut, l.Cut), max(c.countedUS, countedUS)
	c.onHand = c.counted + since
	c.lastUS = max(c.lastUS, countedUS)
}

// zero is what a full count says of an article that it did not find.
func (c *cell) zero(session string, cut uint64, countedUS int64, since protocol.Quantity) {
	if c.session == session || c.countedUS > countedUS {
		return
	}
	c.counted, c.cut, c.countedUS, c.session = 0, cut, countedUS, session
	c.onHand = since
}

// ring remembers where the last events stand, to find a void's original.
type ring struct {
	most int
	ids  []protocol.EventID
	next int
	seqs map[protocol.EventID]uint64
}

func newRing(n int) *ring {
	return &ring{most: n, seqs: map[protocol.EventID]uint64{}}
}

func (r *ring) add(id protocol.EventID, seq uint64) {
	if len(r.ids) < r.most {
		r.ids = append(r.ids, id)
	} else {
		delete(r.seqs, r.ids[r.next])
		r.ids[r.next] = id
		r.next = (r.next + 1) % len(r.ids)
	}
	r.seqs[id] = seq
}

// voidable are the kinds that a void may mean, in the order of looking.
var voidable = []protocol.Kind{
	protocol.KindSale, protocol.KindReturn, protocol.KindReceipt,
	protocol.KindAdjustment, protocol.KindTransfer, protocol.KindStatusChange,
}

// originals are the ids that a void may mean.
func originals(e *protocol.Event) []protocol.EventID {
	kinds := voidable
	if e.VoidsKind != protocol.KindInvalid {
		kinds = []protocol.Kind{e.VoidsKind}
	}
	ids := make([]protocol.EventID, len(kinds))
	for i, k := range kinds {
		ids[i] = protocol.MakeEventID(e.Store, k, e.Voids)
	}
	return ids
}
