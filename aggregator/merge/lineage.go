package merge

import (
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// refoldMarginUS is by how much a movement's own time may run ahead of the
// aggregator's clock when it is merged. Cells with a movement beyond it are wild
// and refolded whole.
const refoldMarginUS = 600_000_000

// setMarginUS is by how much more a clock may have been set ahead unnoticed where a
// count saw other journals by the store's LAN: their movements are judged by seq, so
// that a wrong moment of counting must not end a refold before them.
const setMarginUS = 86_400_000_000

// clockStepsMax bounds what is remembered of one journal's clock.
const clockStepsMax = 256

// lineage is what is known of the journals besides their records: where their
// epochs part, and how their clocks stood.
type lineage struct {
	forks  map[ledger.OriginID][]ledger.Fork
	clocks [][]clockStep // per OriginID; each in order of (epoch, seq), only ever appended to
}

// clockStep says that from a seq on a journal's clock stood off the aggregator's.
type clockStep struct {
	epoch, seq uint64
	offsetUS   int64 // aggregator − agent
	errorUS    int64 // bound, at least 1
}

func newLineage() lineage {
	return lineage{forks: map[ledger.OriginID][]ledger.Fork{}, clocks: make([][]clockStep, 1)}
}

// view copies what other goroutines may read while the engine goes on.
func (l *lineage) view() lineage {
	v := lineage{forks: make(map[ledger.OriginID][]ledger.Fork, len(l.forks)), clocks: append([][]clockStep(nil), l.clocks...)}
	for k, f := range l.forks {
		v.forks[k] = f
	}
	return v
}

// tell notes a journaled estimate of a clock. Within a journal records come in
// order, so that a movement's clock is known before the movement.
func (l *lineage) tell(p *place, ev *protocol.Event) {
	if ev.ClockErrorUS <= 0 {
		return
	}
	list := l.clocks[p.origin]
	if n := len(list); n > 0 && (list[n-1].epoch > p.epoch || list[n-1].epoch == p.epoch && list[n-1].seq >= p.seq) {
		return // retried behind its turn: what came after it was judged without
	}
	if len(list) == clockStepsMax {
		list = append([]clockStep(nil), list[clockStepsMax/2:]...)
	}
	l.clocks[p.origin] = append(list, clockStep{p.epoch, p.seq, ev.ClockOffsetUS, ev.ClockErrorUS})
}

// clockAt is how a journal's clock stood at a seq; errorUS 0 means not known.
func (l *lineage) clockAt(o ledger.OriginID, epoch, seq uint64) (offsetUS, errorUS int64) {
	list := l.clocks[o]
	for i := len(list) - 1; i >= 0; i-- {
		if s := &list[i]; s.epoch < epoch || s.epoch == epoch && s.seq <= seq {
			return s.offsetUS, s.errorUS
		}
	}
	return 0, 0
}

// place is where and when a movement stands.
type place struct {
	origin   ledger.OriginID
	epoch    uint64
	seq      uint64
	recordUS int64
	eventUS  int64 // corrected by what the agent knew of the register's clock
	late     bool  // its register could not post in time: that its seq is beyond a cut says nothing
	setBack  bool  // recordUS only continues earlier ones: the agent's clock was set back
}

func placeOf(en *ledger.Entry, recordUS int64, ev *protocol.Event) place {
	return place{
		origin: en.Origin, epoch: en.Epoch, seq: en.Seq, recordUS: recordUS, eventUS: ev.OccurredUS(),
		late: ev.PostedLate(recordUS), setBack: ev.Flags&protocol.FlagClockSetBack != 0,
	}
}

// judged says what decided whether a movement is inside a cut.
type judged uint8

const (
	bySeq       judged = iota // exact: order within a journal
	byOwnClock                // one system told movement and statement, by one clock
	byClock                   // journals' clocks, further apart than their errors
	byEventTime               // clocks alone, or too close to call: flagged
)

// inside tells whether a movement was off the shelf when the anchor was counted.
//
//	the counting journal itself → seq ≤ cut; posted late: or event time ≤ counted_at
//	a sibling seen by the LAN   → seq ≤ its cut; posted late: or by event time
//	a sibling, clocks known     → record time against counted_at
//	else                        → event time against counted_at
//
// Times of one journal are compared as they stand: what is known of its clock
// changes between two records when it is learnt, not when the clock was set. Times of
// two are compared on the aggregator's clock; a clock that nobody knows is taken at
// its word.
func (l *lineage) inside(a *anchor, p *place) (bool, judged) {
	if seen := a.cutOf(p.origin); seen != nil {
		in := covers(seen, p.epoch, p.seq, l.forks[p.origin])
		switch {
		case in || a.stated || !p.late:
			return in, bySeq
		case seen == &a.own && seen.epoch == p.epoch:
			return p.eventUS <= a.countedUS, byEventTime
		}
	}
	offset, wrong := l.clockAt(p.origin, p.epoch, p.seq)
	counted := a.countedUS + a.offsetUS
	switch {
	case a.stated && p.origin == a.origin:
		return p.eventUS <= a.countedUS, byOwnClock
	case a.stated, wrong == 0, a.errorUS == 0, p.late:
		return p.eventUS+offset <= counted, byEventTime
	}
	at := p.recordUS + offset
	if p.setBack {
		at = p.eventUS + offset
	}
	if gap := at - counted; gap > wrong+a.errorUS || -gap > wrong+a.errorUS {
		return at <= counted, byClock
	}
	return at <= counted, byEventTime
}

// ahead tells that a movement's own time lies beyond the moment of its merging.
func (l *lineage) ahead(p *place, mergedUS int64) bool {
	offset, _ := l.clockAt(p.origin, p.epoch, p.seq)
	return max(p.recordUS, p.eventUS, p.recordUS+offset, p.eventUS+offset) > mergedUS+refoldMarginUS
}
