package intake

import "tillwire/protocol"

// registerClocks learns how the registers' clocks stand off the agent's: a
// document that is posted at once is recorded a moment after its event, so that
// the least record − event of a register's recent documents is its clock's
// offset and the least delay. What a till posts after it was cut off is then told
// with that offset, and the chain can say whether it was before a count.
type registerClocks struct {
	seen map[string]*registerClock
}

type registerClock struct {
	gaps [registerGaps]int64 // record − event, newest documents
	at   [registerGaps]int64 // record times
	n    int
}

func newRegisterClocks() *registerClocks { return &registerClocks{seen: map[string]*registerClock{}} }

// learn takes a document as it is recorded, and returns what to stamp it with: a
// document that looks late, or ahead, by more than the tolerance. errorUS 0 says
// that nothing is known.
func (c *registerClocks) learn(register string, eventUS, recordUS int64) (offsetUS, errorUS int64) {
	gap := recordUS - eventUS
	r := c.seen[register]
	offset, spread, known := r.offset(recordUS)
	odd := gap > protocol.LateToleranceUS || -gap > protocol.LateToleranceUS
	// In time by the register's own clock: it tells how that clock stands.
	if !odd || !known || gap-offset <= protocol.LateToleranceUS && offset-gap <= protocol.LateToleranceUS {
		if r == nil {
			if len(c.seen) >= registersMax || register == "" {
				return 0, 0
			}
			r = &registerClock{}
			c.seen[register] = r
		}
		if !odd || known {
			r.gaps[r.n%registerGaps], r.at[r.n%registerGaps] = gap, recordUS
			r.n++
		} else {
			r.doubt(gap, recordUS)
		}
	}
	if !odd || !known {
		return 0, 0
	}
	return offset, max(spread, registerErrorMinUS)
}

// doubt takes a gap that is odd while nothing is known of the register: its clock
// may be off, or it was cut off. Where the next documents say the same, it is its
// clock: several in a row that differ by seconds were not posted late.
func (r *registerClock) doubt(gap, recordUS int64) {
	for k := range min(r.n, registerGaps) {
		if d := r.gaps[k] - gap; d > registerDoubtUS || -d > registerDoubtUS {
			r.n = 0
			break
		}
	}
	r.gaps[r.n%registerGaps], r.at[r.n%registerGaps] = gap, recordUS
	r.n++
}

// offset is the least gap of the last hour, and how far the others lie above it at
// most up to their median: a bound of the error. Known from the third document on.
func (r *registerClock) offset(nowUS int64) (offsetUS, spreadUS int64, known bool) {
	if r == nil {
		return 0, 0, false
	}
	n, least, most := 0, int64(0), int64(0)
	for k := range min(r.n, registerGaps) {
		if nowUS-r.at[k] > registerKnownUS {
			continue
		}
		if n == 0 || r.gaps[k] < least {
			least = r.gaps[k]
		}
		if n == 0 || r.gaps[k] > most {
			most = r.gaps[k]
		}
		n++
	}
	return least, min(most-least, registerSpreadMaxUS), n >= registerKnown
}
