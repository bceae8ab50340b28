package merge

import (
	"bytes"
	"crypto/sha256"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// anchorsMax is how many candidate anchors a cell keeps. Only the greatest
// counts; the others wait for further parts of their session, which may come in
// any order. A fifth concurrent count session of one SKU evicts the oldest.
const anchorsMax = 4

// cut is the highest seq of one journal that an anchor has seen.
type cut struct {
	origin     ledger.OriginID
	epoch, seq uint64
}

// anchor is a count line (or the lines of one session, added up), or a system's
// statement, with its vector cut: what had left the shelf by then, per journal.
type anchor struct {
	group     [16]byte // session, or the event's own id
	id        protocol.EventID
	keyUS     int64 // min(counted, recorded) on the aggregator's clock: orders anchors in step with their cuts
	countedUS int64 // on the counter's clock
	offsetUS  int64 // of that clock; errorUS 0 = not known
	errorUS   int64
	stopUS    int64 // what was merged before it is inside; 0 = not known
	origin    ledger.OriginID
	own       cut   // origin 0: none
	siblings  []cut // journals that were seen by other means
	firstSeq  uint64
	firstUS   int64 // earliest part of the session: between it and the cut sales are ambiguous
	qty       protocol.Quantity
	pos       ledger.Position // entry of the representative part
	parts     uint32
	stated    bool // a system's statement: what it does not acknowledge is judged by its own clock
}

// cutOf is the cut over one journal, where the counter saw it.
func (a *anchor) cutOf(o ledger.OriginID) *cut {
	if a.own.origin == o && o != 0 {
		return &a.own
	}
	for i := range a.siblings {
		if a.siblings[i].origin == o {
			return &a.siblings[i]
		}
	}
	return nil
}

// less orders anchors totally. Within one journal the cut is a monotone
// function of keyUS (record times strictly increase), so this order agrees with
// dominance of cuts; between journals it is time, then id.
func (a *anchor) less(b *anchor) bool {
	if a.keyUS != b.keyUS {
		return a.keyUS < b.keyUS
	}
	return bytes.Compare(a.id[:], b.id[:]) < 0
}

// comparable tells that one anchor's cut dominates the other's: they need no
// clock to be ordered.
func (a *anchor) comparable(b *anchor) bool {
	return a.origin == b.origin || a.cutOf(b.origin) != nil && b.cutOf(a.origin) != nil
}

// addAnchor puts a part into the list (kept greatest first) and tells whether
// the winner or its value changed.
func addAnchor(list []anchor, a anchor) ([]anchor, bool) {
	for i := range list {
		o := &list[i]
		if o.group != a.group {
			continue
		}
		qty, parts := o.qty+a.qty, o.parts+a.parts
		firstSeq, firstUS := min(o.firstSeq, a.firstSeq), min(o.firstUS, a.firstUS)
		if o.less(&a) {
			*o = a
		}
		o.qty, o.parts, o.firstSeq, o.firstUS = qty, parts, firstSeq, firstUS
		won := i == 0
		for ; i > 0 && list[i-1].less(&list[i]); i-- {
			list[i-1], list[i] = list[i], list[i-1]
		}
		return list, won || i == 0
	}
	i := len(list)
	list = append(list, a)
	for ; i > 0 && list[i-1].less(&list[i]); i-- {
		list[i-1], list[i] = list[i], list[i-1]
	}
	if len(list) > anchorsMax {
		list = list[:anchorsMax]
	}
	return list, i == 0
}

// groupOf names the session that a count line belongs to: lines of one session
// add up, also over documents and zones.
func groupOf(e *protocol.Event) [16]byte {
	if e.Session == "" {
		return e.ID
	}
	sum := sha256.Sum256([]byte("session\x00" + string(e.Store) + "\x00" + e.Session))
	return [16]byte(sum[:16])
}

// between tells that a movement fell between the zone cuts of one session: which
// shelf it came from nobody can say. It counts as seen by the last cut.
func (a *anchor) between(p *place, in bool) bool {
	if !in || a.parts < 2 {
		return false
	}
	if p.origin == a.origin && !p.late() {
		return p.seq > a.firstSeq
	}
	return p.eventUS > a.firstUS
}

// covers compares seqs of one journal across its epochs. Records up to a
// fork's After are the same records in both epochs.
func covers(c *cut, epoch, seq uint64, forks []ledger.Fork) bool {
	lo, hi := min(epoch, c.epoch), max(epoch, c.epoch)
	shared := ^uint64(0)
	for _, f := range forks {
		if f.Epoch > lo && f.Epoch <= hi {
			shared = min(shared, f.After)
		}
	}
	switch {
	case epoch <= c.epoch && seq > shared:
		return true // left behind on a lineage that ended before this count
	case epoch > c.epoch && seq > shared:
		return false // written after the fork, so after this count
	}
	return seq <= c.seq
}
