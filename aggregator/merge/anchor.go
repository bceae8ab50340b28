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

// linksPiece is how many links are allocated at once.
const linksPiece = 4096

// anchor is a count line (or the lines of one session, added up), with its cut:
// what had left the shelf when it was counted.
type anchor struct {
	group     [16]byte // session, or the event's own id
	id        protocol.EventID
	keyUS     int64 // min(counted, recorded): orders anchors in step with their cuts
	countedUS int64
	origin    ledger.OriginID
	epoch     uint64
	cut       uint64
	qty       protocol.Quantity
	pos       ledger.Position // entry of the representative part
	parts     uint32
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

// addAnchor puts a part into the list (kept greatest first) and tells whether
// the winner or its value changed.
func addAnchor(list []anchor, a anchor) ([]anchor, bool) {
	for i := range list {
		o := &list[i]
		if o.group != a.group {
			continue
		}
		qty, parts := o.qty+a.qty, o.parts+a.parts
		if o.less(&a) {
			*o = a
		}
		o.qty, o.parts = qty, parts
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

// place is where and when a movement stands.
type place struct {
	origin   ledger.OriginID
	epoch    uint64
	seq      uint64
	recordUS int64
	eventUS  int64
}

// inside tells whether a movement was off the shelf when the anchor was
// counted. byTime says that clocks had to decide: for journals whose cut the
// counter could not see, and for documents posted late.
func (a *anchor) inside(p place, forks []ledger.Fork) (in, byTime bool) {
	late := p.recordUS-p.eventUS > protocol.LateToleranceUS
	if p.origin != a.origin || a.cut == cutUnknown || late {
		return p.eventUS <= a.countedUS, true
	}
	return a.covers(p.epoch, p.seq, forks), false
}

// cutUnknown marks anchors that carry no cut: statements of outer systems.
const cutUnknown = ^uint64(0)

// covers compares seqs of one journal across its epochs. Records up to a
// fork's After are the same records in both epochs.
func (a *anchor) covers(epoch, seq uint64, forks []ledger.Fork) bool {
	lo, hi := min(epoch, a.epoch), max(epoch, a.epoch)
	shared := ^uint64(0)
	for _, f := range forks {
		if f.Epoch > lo && f.Epoch <= hi {
			shared = min(shared, f.After)
		}
	}
	switch {
	case epoch <= a.epoch && seq > shared:
		return true // left behind on a lineage that ended before this count
	case epoch > a.epoch && seq > shared:
		return false // written after the fork, so after this count
	}
	return seq <= a.cut
}
