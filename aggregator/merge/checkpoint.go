package merge

import (
	"errors"
	"fmt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// A checkpoint is the folded state cut into chunks, so that only what changed
// since the last one is written again. Chunk 0 holds what belongs to no cell;
// chunk 1+n the cells from n×chunkCells on. All numbers are varints.
const (
	chunkCells    = 1024
	chunkVersion  = 2
	anchorMinSize = 16 + 16 + 8 // a decoder's bound on counts before allocating
)

// Checkpoint adds the chunks that changed since the last checkpoint to a batch.
// The batch must also carry all staged entries.
func (e *Engine) Checkpoint(b *ledger.Batch) {
	b.Checkpoint = e.head
	b.Chunks = append(b.Chunks, ledger.Chunk{No: 0, Data: e.encodeMeta()})
	for no := range e.chunks.all() {
		b.Chunks = append(b.Chunks, ledger.Chunk{No: no + 1, Data: e.encodeCells(no)})
	}
	e.chunks.clear()
	e.meta = false
}

func (e *Engine) encodeCells(no uint32) []byte {
	from, to := int(no)*chunkCells, min(int(no+1)*chunkCells, len(e.cells))
	w := writer{b: []byte{chunkVersion}}
	w.uint(uint64(to - from))
	for id := from; id < to; id++ {
		c := &e.cells[id]
		w.int(int64(c.onHand))
		w.uint(uint64(c.head))
		w.int(c.lastUS)
		w.uint(uint64(c.mono))
		w.bool(c.wild)
		w.bool(c.extra)
		if c.extra {
			w.extra(e.extras[ledger.CellID(id)], e.flows[ledger.CellID(id)])
		}
		list := e.anchorsOf(ledger.CellID(id))
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
			w.anchor(&e.fulls[li][i])
		}
	}
	w.uint(uint64(len(e.turns)))
	for i, t := range e.turns {
		w.uint(t.epoch)
		w.uint(t.seq)
		clocks := e.lineage.clocks[i]
		w.uint(uint64(len(clocks)))
		for _, c := range clocks {
			w.uint(c.epoch)
			w.uint(c.seq)
			w.int(c.offsetUS)
			w.int(c.errorUS)
		}
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
		c.head = ledger.Position(r.uint())
		c.lastUS = r.int()
		c.mono = ledger.OriginID(r.uint())
		c.wild = r.bool()
		if r.bool() {
			if f := r.extra(e.extraOf(ledger.CellID(id))); len(f) > 0 {
				e.flows[ledger.CellID(id)] = f
			}
		}
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
			e.anchors[ledger.CellID(id)], c.anchored = list, true
		}
	}
}

func (e *Engine) decodeMeta(r *reader) {
	r.ids(e.pending)
	r.ids(e.voided)
	for n := r.uint(); n > 0 && !r.bad; n-- {
		li := e.internLoc(protocol.StoreID(r.bytes()))
		var a anchor
		r.anchor(&a)
		e.fulls[li] = append(e.fulls[li], a)
	}
	for i, n := uint64(0), r.uint(); i < n && !r.bad; i++ {
		t := turn{epoch: r.uint(), seq: r.uint()}
		clocks := r.clocks()
		if i < uint64(len(e.turns)) {
			e.turns[i], e.lineage.clocks[i] = t, clocks
		}
	}
}

// Each calls fn for every position in order of its number.
func (e *Engine) Each(fn func(Cell)) {
	for id := 1; id < len(e.cells); id++ {
		fn(e.Cell(ledger.CellID(id)))
	}
}
