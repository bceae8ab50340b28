package merge

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// A checkpoint is the folded state cut into chunks, so that only what changed
// since the last one is written again. Chunk 0 holds what belongs to no cell;
// chunk 1+n the cells from n×chunkCells on. All numbers are varints.
const (
	chunkCells    = 1024
	chunkVersion  = 1
	anchorMinSize = 16 + 16 + 8 // a decoder's bound on counts before allocating
)

// Checkpoint adds the chunks that changed since the last checkpoint to a batch.
// The batch must also carry all staged entries.
func (e *Engine) Checkpoint(b *ledger.Batch) {
	b.Checkpoint = e.head
	b.Chunks = append(b.Chunks, ledger.Chunk{No: 0, Data: e.encodeMeta()})
	nos := make([]uint32, 0, len(e.chunks))
	for no := range e.chunks {
		nos = append(nos, no)
	}
	slices.Sort(nos)
	for _, no := range nos {
		b.Chunks = append(b.Chunks, ledger.Chunk{No: no + 1, Data: e.encodeCells(no)})
	}
	clear(e.chunks)
	e.meta = false
}

func (e *Engine) encodeCells(no uint32) []byte {
	from, to := int(no)*chunkCells, min(int(no+1)*chunkCells, len(e.cells))
	w := writer{b: []byte{chunkVersion}}
	w.uint(uint64(to - from))
	for id := from; id < to; id++ {
		c := &e.cells[id]
		w.int(int64(c.onHand))
		w.int(int64(c.unavailable))
		w.int(int64(c.inTransit))
		w.uint(uint64(c.head))
		w.int(c.lastUS)
		w.uint(uint64(c.mono))
		list := e.anchors[ledger.CellID(id)]
		w.uint(uint64(len(list)))
		for i := range list {
			w.anchor(&list[i])
		}
	}
	return w.b
}

func (e *Engine) encodeMeta() []byte {
	w := writer{b: []byte{chunkVersion}}
	w.uint(uint64(len(e.cells)))
	w.ids(e.pending)
	w.ids(e.voided)
	n := 0
	for _, f := range e.fulls {
		n += len(f)
	}
	w.uint(uint64(n))
	for li := range uint32(len(e.locs)) {
		for i := range e.fulls[li] {
			w.bytes([]byte(e.locs[li]))
			w.anchor(&e.fulls[li][i].a)
		}
	}
	w.uint(uint64(len(e.turns)))
	for _, t := range e.turns {
		w.uint(t.epoch)
		w.uint(t.seq)
	}
	return w.b
}

// Restore reads a checkpoint back: chunks in order of their numbers, and the
// ledger's cells, of which those that the checkpoint knew are made. Journals
// must be registered.
func (e *Engine) Restore(at ledger.Position, chunks []ledger.Chunk, cells func(func(ledger.Cell) error) error) error {
	for _, c := range chunks {
		r := reader{b: c.Data}
		if v := r.byte(); v != chunkVersion {
			return fmt.Errorf("restore chunk %d: %w: version %d", c.No, ledger.ErrCorrupt, v)
		}
		if c.No == 0 {
			if err := e.makeCells(r.uint(), cells); err != nil {
				return err
			}
			e.decodeMeta(&r)
		} else {
			e.decodeCells(&r, int(c.No-1)*chunkCells)
		}
		if r.bad || len(r.b) != 0 {
			return fmt.Errorf("restore chunk %d: %w: %d bytes left over", c.No, ledger.ErrCorrupt, len(r.b))
		}
	}
	e.head = at
	return nil
}

var errEnough = errors.New("enough")

func (e *Engine) makeCells(n uint64, cells func(func(ledger.Cell) error) error) error {
	err := cells(func(c ledger.Cell) error {
		if uint64(len(e.cells)) >= n {
			return errEnough
		}
		if int(c.ID) != len(e.cells) {
			return fmt.Errorf("cell %d: %w: want %d", c.ID, ledger.ErrCorrupt, len(e.cells))
		}
		e.addCell(c.ID, e.internLoc(c.Location), e.internSKU(c.SKU))
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("restore cells: %w", err)
	}
	if uint64(len(e.cells)) != n {
		return fmt.Errorf("restore cells: %w: got %d, want %d", ledger.ErrCorrupt, len(e.cells), n)
	}
	return nil
}

func (e *Engine) decodeCells(r *reader, from int) {
	n := int(r.uint())
	if from+n > len(e.cells) {
		r.bad = true
		return
	}
	for id := from; id < from+n && !r.bad; id++ {
		c := &e.cells[id]
		c.onHand = protocol.Quantity(r.int())
		c.unavailable = protocol.Quantity(r.int())
		c.inTransit = protocol.Quantity(r.int())
		c.head = ledger.Position(r.uint())
		c.lastUS = r.int()
		c.mono = ledger.OriginID(r.uint())
		k := r.uint()
		if k > anchorsMax {
			r.bad = true
			return
		}
		if k > 0 {
			list := make([]anchor, k)
			for i := range list {
				r.anchor(&list[i])
			}
			e.anchors[ledger.CellID(id)] = list
		}
	}
}

func (e *Engine) decodeMeta(r *reader) {
	r.ids(e.pending)
	r.ids(e.voided)
	for n := r.uint(); n > 0 && !r.bad; n-- {
		li := e.internLoc(protocol.StoreID(r.bytes()))
		f := fullCount{loc: li}
		r.anchor(&f.a)
		e.fulls[li] = append(e.fulls[li], f)
	}
	for i, n := uint64(0), r.uint(); i < n && !r.bad; i++ {
		t := turn{epoch: r.uint(), seq: r.uint()}
		if i < uint64(len(e.turns)) {
			e.turns[i] = t
		}
	}
}

// Each calls fn for every position in order of its number.
func (e *Engine) Each(fn func(Cell)) {
	for id := 1; id < len(e.cells); id++ {
		fn(e.Cell(ledger.CellID(id)))
	}
}

type writer struct{ b []byte }

func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *writer) bytes(v []byte) {
	w.uint(uint64(len(v)))
	w.b = append(w.b, v...)
}

func (w *writer) anchor(a *anchor) {
	w.b = append(w.b, a.group[:]...)
	w.b = append(w.b, a.id[:]...)
	w.int(a.keyUS)
	w.int(a.countedUS)
	w.uint(uint64(a.origin))
	w.uint(a.epoch)
	w.uint(a.cut)
	w.int(int64(a.qty))
	w.uint(uint64(a.pos))
	w.uint(uint64(a.parts))
}

// ids writes a map in the order of its keys: equal states have equal chunks.
func (w *writer) ids(m map[protocol.EventID]ledger.Position) {
	keys := make([]protocol.EventID, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b protocol.EventID) int { return cmp.Compare(string(a[:]), string(b[:])) })
	w.uint(uint64(len(keys)))
	for _, k := range keys {
		w.b = append(w.b, k[:]...)
		w.uint(uint64(m[k]))
	}
}

// reader takes varints off b; bad is set where there is nothing left.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	return r.take(int(n))
}

func (r *reader) anchor(a *anchor) {
	if len(r.b) < anchorMinSize {
		r.bad = true
		return
	}
	copy(a.group[:], r.take(16))
	copy(a.id[:], r.take(16))
	a.keyUS = r.int()
	a.countedUS = r.int()
	a.origin = ledger.OriginID(r.uint())
	a.epoch = r.uint()
	a.cut = r.uint()
	a.qty = protocol.Quantity(r.int())
	a.pos = ledger.Position(r.uint())
	a.parts = uint32(r.uint())
}

func (r *reader) ids(m map[protocol.EventID]ledger.Position) {
	for n := r.uint(); n > 0 && !r.bad; n-- {
		var id protocol.EventID
		copy(id[:], r.take(len(id)))
		p := r.uint()
		if !r.bad {
			m[id] = ledger.Position(p)
		}
	}
}
