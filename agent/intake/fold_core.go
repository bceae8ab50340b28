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

// inside tells whether a movement was off the shelf when the cell was counted.
func (c *cell) inside(e *protocol.Event, seq uint64, recordUS int64) bool {
	return c.countedUS != 0 && e.Counted(seq, recordUS, c.cut, c.countedUS)
}

// before tells that the cell's count is older than another: its cut was earlier.
func (c *cell) before(cut uint64, countedUS int64) bool {
	return c.cut < cut || c.cut == cut && c.countedUS <= countedUS
}

// apply adds a movement of e that is outside of the count.
func (c *cell) apply(m protocol.Move, e *protocol.Event, seq uint64, recordUS int64) {
	if !c.inside(e, seq, recordUS) {
		c.onHand += m.OnHand
	}
	c.unavailable += m.Unavailable
	c.lastUS = max(c.lastUS, recordUS)
}

// anchor sets the cell to a count line. Lines of one session add up, and the
// last one's cut counts; since is what moved behind that cut.
func (c *cell) anchor(l *protocol.Line, session string, countedUS int64, since protocol.Quantity) {
	if c.session != session || c.countedUS == 0 {
		if !c.before(l.Cut, countedUS) {
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
	if c.session == session || !c.before(cut, countedUS) {
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
