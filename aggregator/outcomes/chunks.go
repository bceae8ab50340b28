package outcomes

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tillwire/protocol"
)

// ErrChunk is a checkpoint chunk that cannot be read.
var ErrChunk = errors.New("chunk of outcomes is damaged")

// Chunks emits what changed since the last call. Numbers are varints, texts stand
// behind their length.
//
//	0 to 63       weeks by number modulo 64, their rows in order of store and channel
//	1024 to 5119  count lines that may still be corrected, by cell modulo 4096, in order of cell
//	5120          the next count line's number; rows dropped
func (b *Book) Chunks(emit func(no uint32, data []byte)) error {
	for _, slot := range slices.Sorted(maps.Keys(b.gone)) {
		if !slices.ContainsFunc(slices.Collect(maps.Values(b.weeks)), func(w *week) bool { return slotOf(w.no) == slot }) {
			emit(slot, []byte{chunkVersion})
		}
	}
	for _, no := range slices.Sorted(maps.Keys(b.weeks)) {
		if w := b.weeks[no]; w.dirty {
			emit(slotOf(no), w.append([]byte{chunkVersion}))
			w.dirty = false
		}
	}
	if len(b.slots) > 0 {
		b.emitCounted(emit)
		b.dirtyBook = true
	}
	if b.dirtyBook {
		emit(bookChunk, binary.AppendUvarint(binary.AppendUvarint([]byte{chunkVersion}, b.next), b.dropped))
	}
	clear(b.gone)
	clear(b.slots)
	b.dirtyBook = false
	return nil
}

func (w *week) append(data []byte) []byte {
	data = binary.AppendVarint(data, w.no)
	names := slices.SortedFunc(maps.Keys(w.rows), func(x, y name) int {
		return cmp.Or(cmp.Compare(x.store, y.store), cmp.Compare(x.channel, y.channel))
	})
	for _, n := range names {
		r := w.rows[n]
		data = text(text(data, string(n.store)), n.channel)
		var has uint64
		for m, v := range r.n {
			if v != 0 {
				has |= 1 << m
			}
		}
		data = binary.AppendUvarint(data, has)
		for _, v := range r.n {
			if v != 0 {
				data = binary.AppendVarint(data, v)
			}
		}
		data = r.window.append(data)
	}
	return data
}

// append writes the buckets in use, each with the distance from the one before.
func (w *window) append(data []byte) []byte {
	if w == nil {
		return binary.AppendUvarint(data, 0)
	}
	used := 0
	for _, n := range w.n {
		if n > 0 {
			used++
		}
	}
	data = binary.AppendVarint(binary.AppendUvarint(data, uint64(used)), w.docs)
	last := 0
	for i, n := range w.n {
		if n > 0 {
			data = binary.AppendUvarint(binary.AppendUvarint(data, uint64(i-last)), uint64(n))
			last = i
		}
	}
	return data
}

func (b *Book) emitCounted(emit func(no uint32, data []byte)) {
	by := map[uint32][]*counted{}
	for s := range b.slots {
		by[s] = nil
	}
	for cell, c := range b.counted {
		if s := cell % countedSlots; b.slots[s] {
			by[s] = append(by[s], c)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(by)) {
		slices.SortFunc(by[s], func(x, y *counted) int { return cmp.Compare(x.cell, y.cell) })
		data := []byte{chunkVersion}
		for _, c := range by[s] {
			first := uint64(0)
			if c.first {
				first = 1
			}
			data = append(binary.AppendUvarint(data, uint64(c.cell)), c.session[:]...)
			data = binary.AppendUvarint(binary.AppendUvarint(data, c.no), first)
			data = binary.AppendVarint(binary.AppendVarint(binary.AppendVarint(data, c.us), c.weekNo), c.unexplained)
			data = text(data, string(c.store))
		}
		emit(countedChunk+s, data)
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
	case no < weekSlots:
		b.restoreWeek(&r, no)
	case no >= countedChunk && no < bookChunk:
		b.restoreCounted(&r, no-countedChunk)
	case no == bookChunk:
		b.next, b.dropped = r.uint(), r.uint()
	default:
		r.bad = true
	}
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("restore chunk %d: %w", no, ErrChunk)
	}
	return nil
}

func (b *Book) restoreWeek(r *reader, slot uint32) {
	if r.b == "" {
		return
	}
	w := &week{no: r.int(), rows: map[name]*row{}}
	if r.bad = r.bad || w.no < 0 || slotOf(w.no) != slot || b.weeks[w.no] != nil; r.bad {
		return
	}
	for len(r.b) > 0 && !r.bad {
		n := name{protocol.StoreID(r.text()), r.text()}
		x := &row{}
		has := r.uint()
		r.bad = r.bad || has >= 1<<measures || w.rows[n] != nil
		for m := range x.n {
			if has&(1<<m) != 0 {
				x.n[m] = r.int()
			}
		}
		x.window = r.window()
		if r.bad {
			return
		}
		w.rows[n] = x
	}
	if r.bad {
		return
	}
	b.weeks[w.no] = w
	b.rows += len(w.rows)
	if b.newest == nil || w.no > b.newest.no {
		b.newest = w
	}
}

func (r *reader) window() *window {
	used := r.uint()
	if used == 0 || used > windowBuckets {
		r.bad = r.bad || used > windowBuckets
		return nil
	}
	w, at := &window{docs: r.int()}, uint64(0)
	for range used {
		at += r.uint()
		n := r.uint()
		if r.bad = r.bad || at >= windowBuckets || n == 0 || n > uint64(^uint32(0)); r.bad {
			return nil
		}
		w.n[at] = uint32(n)
	}
	return w
}

func (b *Book) restoreCounted(r *reader, slot uint32) {
	for len(r.b) > 0 && !r.bad {
		cell := r.uint()
		c := &counted{cell: uint32(cell)}
		copy(c.session[:], r.take(len(c.session)))
		no, first := r.uint(), r.uint()
		c.no = no
		c.first = first == 1
		c.us, c.weekNo, c.unexplained = r.int(), r.int(), r.int()
		c.store = protocol.StoreID(r.text())
		r.bad = r.bad || cell > uint64(^uint32(0)) || c.cell%countedSlots != slot || first > 1 || b.counted[c.cell] != nil
		if r.bad {
			return
		}
		b.counted[c.cell] = c
		b.order, b.unsorted = append(b.order, c), true
	}
}

// reader takes values off a chunk; bad stays where one is missing or impossible.
type reader struct {
	b   string
	bad bool
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint([]byte(r.b[:min(len(r.b), binary.MaxVarintLen64)]))
	if n <= 0 {
		r.bad, r.b = true, ""
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v := r.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (r *reader) take(n int) string {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, ""
		return ""
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) text() string {
	n := r.uint()
	if n > textMax {
		r.bad = true
		return ""
	}
	return strings.Clone(r.take(int(n))) // not the whole chunk with it
}
