package reconcile

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"tillwire/protocol"
)

// ErrChunk is a checkpoint chunk that cannot be read.
var ErrChunk = errors.New("reconciliation chunk is damaged")

// Chunks emits what changed since the last call. Numbers are varints, texts stand
// behind their length.
//
//	0 to 16383      rows by hash, in order of source, location and SKU
//	16384 to 16639  locations by hash, in order of their names
//	16640 to 16703  what was decided of residues, by hash, in order of their ids
//	16704           how many rows were dropped
func (b *Book) Chunks(emit func(no uint32, data []byte)) error {
	for _, s := range slices.Sorted(maps.Keys(b.dirtyRows)) {
		emit(uint32(s), b.appendRows(s))
	}
	b.emitPlaces(emit)
	b.emitDecided(emit)
	if b.dirtyBook {
		data := []byte{chunkVersion}
		for _, n := range b.drops.all() {
			data = binary.AppendUvarint(data, *n)
		}
		emit(bookChunk, data)
	}
	clear(b.dirtyRows)
	clear(b.dirtyPlaces)
	clear(b.dirtyResidues)
	b.dirtyBook = false
	return nil
}

func (d *Dropped) all() []*uint64 {
	return []*uint64{&d.Agreeing, &d.Dismissed, &d.Open, &d.Decided}
}

func (b *Book) appendRows(s uint16) []byte {
	var list []*row
	for r := b.heads[s]; r != nil; r = r.next {
		list = append(list, r)
	}
	slices.SortFunc(list, func(x, y *row) int { return cmp.Or(comparePairs(x.pair, y.pair), cmp.Compare(x.sku, y.sku)) })
	data := []byte{chunkVersion}
	for _, r := range list {
		data = text(text(text(data, r.pair.source), string(r.pair.location)), string(r.sku))
		data = append(data, byte(r.kind), byte(r.state), byte(r.cut), byte(r.why))
		for _, n := range []int64{r.stated, r.book, r.asOfUS, r.firstUS, r.lastUS, int64(r.cycles)} {
			data = binary.AppendVarint(data, n)
		}
		data = text(data, r.snapshot)
		if r.whole != nil {
			data = binary.AppendVarint(binary.AppendVarint(data, r.whole.zeroed), r.whole.nonZero)
			data = binary.AppendUvarint(data, uint64(len(r.whole.exceptions)))
			for _, id := range r.whole.exceptions {
				data = text(data, id)
			}
		}
		if r.decision == nil {
			data = append(data, 0)
			continue
		}
		data = appendDecision(append(data, 1), r.decision)
	}
	return data
}

func appendDecision(data []byte, d *decision) []byte {
	return text(text(binary.AppendVarint(data, d.us), d.who), d.note)
}

func (b *Book) emitPlaces(emit func(no uint32, data []byte)) {
	by := map[uint16][]*place{}
	for loc, p := range b.places {
		if s := hash(placeShards, string(loc)); b.dirtyPlaces[s] {
			by[s] = append(by[s], p)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(by)) {
		slices.SortFunc(by[s], func(x, y *place) int { return cmp.Compare(x.location, y.location) })
		data := []byte{chunkVersion}
		for _, p := range by[s] {
			data = text(text(text(data, string(p.location)), p.kind), p.first)
			agents := byte(0)
			if p.agents {
				agents = 1
			}
			data = append(data, agents)
			pairs := slices.SortedFunc(slices.Values(p.pairs), comparePairs)
			data = binary.AppendUvarint(data, uint64(len(pairs)))
			for _, x := range pairs {
				data = binary.AppendVarint(text(data, x.source), x.adoptedUS)
			}
		}
		emit(placeChunk+uint32(s), data)
	}
}

func (b *Book) emitDecided(emit func(no uint32, data []byte)) {
	by := map[uint16][]string{}
	for s := range b.dirtyResidues {
		by[s] = nil
	}
	for id := range b.decided {
		if s := hash(residueShards, id); b.dirtyResidues[s] {
			by[s] = append(by[s], id)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(by)) {
		slices.Sort(by[s])
		data := []byte{chunkVersion}
		for _, id := range by[s] {
			d := b.decided[id]
			data = binary.AppendVarint(append(text(data, id), byte(d.state)), d.quantity)
			data = appendDecision(data, &d.decision)
		}
		emit(residueChunk+uint32(s), data)
	}
}

func text(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }

// Restore reads one chunk back into a new book, in any order.
func (b *Book) Restore(no uint32, data []byte) error {
	if len(data) == 0 || data[0] != chunkVersion {
		return fmt.Errorf("restore chunk %d: %w: unknown version", no, ErrChunk)
	}
	r := reader{b: string(data[1:])}
	switch {
	case no < placeChunk:
		b.restoreRows(&r, uint16(no))
	case no < residueChunk:
		b.restorePlaces(&r, uint16(no-placeChunk))
	case no < bookChunk:
		b.restoreDecided(&r, uint16(no-residueChunk))
	case no == bookChunk:
		for _, n := range b.drops.all() {
			*n = r.uint()
		}
	default:
		r.bad = true
	}
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("restore chunk %d: %w", no, ErrChunk)
	}
	return nil
}

func (b *Book) restoreRows(r *reader, no uint16) {
	for len(r.b) > 0 && !r.bad {
		source, loc, sku := r.name(), protocol.StoreID(r.name()), protocol.SKU(r.text(protocol.SKUBytesMax))
		x := &row{sku: sku, kind: kind(r.byte(byte(kindMax))), state: state(r.byte(byte(stateMax))), cut: cut(r.byte(byte(cutMax))), why: why(r.byte(byte(whyMax)))}
		for _, n := range []*int64{&x.stated, &x.book, &x.asOfUS, &x.firstUS, &x.lastUS} {
			*n = r.int()
		}
		cycles := r.int()
		x.cycles, x.snapshot = uint32(cycles), r.text(snapshotIDBytesMax)
		if x.kind == kindZeroing {
			x.whole = &whole{zeroed: r.int(), nonZero: r.int()}
			for range r.count(exceptionsMax) {
				x.whole.exceptions = append(x.whole.exceptions, r.text(protocol.IDBytesMax))
			}
		}
		if r.byte(2) == 1 {
			x.decision = r.decision()
		}
		r.bad = r.bad || cycles < 0 || cycles > cyclesMax || (x.kind == kindZeroing) != (sku == "") || hash(rowShards, source, string(loc), string(sku)) != no
		if r.bad {
			return
		}
		if x.pair = b.pair(source, loc); x.pair.rows[sku] != nil {
			r.bad = true
			return
		}
		b.insert(x)
	}
}

func (b *Book) restorePlaces(r *reader, no uint16) {
	for len(r.b) > 0 && !r.bad {
		loc, kind, first := protocol.StoreID(r.name()), r.text(protocol.NameBytesMax), r.text(protocol.NameBytesMax)
		agents := r.byte(2) == 1
		if r.bad = r.bad || hash(placeShards, string(loc)) != no; r.bad {
			return
		}
		p := b.place(loc)
		p.kind, p.first, p.agents = kind, first, agents
		for range r.count(len(r.b)) {
			source, us := r.name(), r.int()
			if r.bad {
				return
			}
			b.pair(source, loc).adoptedUS = us
		}
	}
}

func (b *Book) restoreDecided(r *reader, no uint16) {
	for len(r.b) > 0 && !r.bad {
		id := r.text(residueIDBytesMax)
		d := &residueDecision{state: state(r.byte(byte(stateMax))), quantity: r.int()}
		if x := r.decision(); x != nil {
			d.decision = *x
		}
		if r.bad = r.bad || !isResidue(id) || hash(residueShards, id) != no || b.decided[id] != nil; !r.bad {
			b.decided[id] = d
		}
	}
}

// reader takes values off a chunk; bad stays where one is missing or impossible.
// Texts share the chunk's memory.
type reader struct {
	b   string
	bad bool
}

func (r *reader) uint() uint64 {
	var v uint64
	for i := 0; i < len(r.b) && i < binary.MaxVarintLen64; i++ {
		v |= uint64(r.b[i]&0x7f) << (7 * i)
		if r.b[i] < 0x80 {
			r.b = r.b[i+1:]
			return v
		}
	}
	r.bad = true
	return 0
}

func (r *reader) int() int64 {
	u := r.uint()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads a number of things, each of at least one byte.
func (r *reader) count(most int) int {
	n := r.uint()
	if r.bad || n > uint64(most) || n > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *reader) text(most int) string {
	n := r.count(most)
	if r.bad {
		return ""
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) name() string {
	s := r.text(protocol.NameBytesMax)
	r.bad = r.bad || s == ""
	return s
}

func (r *reader) byte(below byte) byte {
	if r.bad || r.b == "" || r.b[0] >= below {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) decision() *decision {
	d := &decision{us: r.int(), who: r.text(whoBytesMax), note: r.text(noteBytesMax)}
	if r.bad {
		return nil
	}
	return d
}
