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
	keyUS     int64 // min(counted, recorded) on the aggregator's clock
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

// less orders anchors totally: by time on the aggregator's clock, then by id. It
// ranks what no journal's order tells; see rank.
func (a *anchor) less(b *anchor) bool {
	if a.keyUS != b.keyUS {
		return a.keyUS < b.keyUS
	}
	return bytes.Compare(a.id[:], b.id[:]) < 0
}

// supersedes tells that both were counted over one journal, and a when more of it had
// left the shelf. That order needs no clock: where the clock was set, or became known
// between two counts, keyUS may say otherwise.
func (a *anchor) supersedes(b *anchor) bool {
	if a.own.origin == 0 || a.own.origin != b.own.origin {
		return false
	}
	if a.own.epoch != b.own.epoch {
		return a.own.epoch > b.own.epoch
	}
	if a.own.seq != b.own.seq {
		return a.own.seq > b.own.seq
	}
	return a.keyUS-a.offsetUS > b.keyUS-b.offsetUS
}

// rank sorts anchors, greatest first: the one by less of those that nothing
// supersedes, and each superseded one behind whatever supersedes it. The outcome
// depends on which anchors there are, not on how they came.
func rank(list []anchor) {
	var room [anchorsMax + 1]int64
	keys := room[:len(list)]
	for i := range list {
		keys[i] = list[i].keyUS
	}
	for range list { // a chain of superseded ones is as long as the list at most
		for i := range list {
			for j := range list {
				if list[j].supersedes(&list[i]) {
					keys[i] = min(keys[i], keys[j]-1)
				}
			}
		}
	}
	for i := 1; i < len(list); i++ {
		for k := i; k > 0 && (keys[k-1] < keys[k] || keys[k-1] == keys[k] && bytes.Compare(list[k-1].id[:], list[k].id[:]) < 0); k-- {
			list[k-1], list[k] = list[k], list[k-1]
			keys[k-1], keys[k] = keys[k], keys[k-1]
		}
	}
}

// comparable tells that one anchor's cut dominates the other's: they need no
// clock to be ordered.
func (a *anchor) comparable(b *anchor) bool {
	return a.origin == b.origin || a.cutOf(b.origin) != nil && b.cutOf(a.origin) != nil
}

// addAnchor puts a part into the list and keeps it ranked.
func addAnchor(list []anchor, a anchor) []anchor {
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
		rank(list)
		return list
	}
	list = append(list, a)
	rank(list)
	return list[:min(len(list), anchorsMax)]
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
	if p.origin == a.origin && !p.late {
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
