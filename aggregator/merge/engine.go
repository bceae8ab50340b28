package merge

import (
	"bytes"
	"fmt"
	"strings"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Log is what the engine reads of the ledger: entries that are committed.
type Log interface {
	Read(p ledger.Position) (ledger.Entry, error)
	Find(id protocol.EventID) (p ledger.Position, content [8]byte, ok bool, err error)
}

// cell is the folded state of one (location, SKU): 40 bytes. What few cells
// have stands in extras, anchors and flows.
type cell struct {
	onHand   protocol.Quantity
	head     ledger.Position // newest entry that touches the cell
	lastUS   int64           // greatest event time seen
	loc, sku uint32
	mono     ledger.OriginID // the only journal that moved its on hand; mixed when there are more
	dirty    bool
	extra    bool // extras has the cell
	anchored bool // anchors has it: most cells are asked for them with each movement
	wild     bool // a movement was merged well before its own time: refolds walk the whole chain
}

// extra are a cell's rarer numbers.
type extra struct {
	unavailable [protocol.DispositionsUnsellable]protocol.Quantity // damaged, quarantine, unknown
	inTransit   protocol.Quantity
	incoming    protocol.Quantity
}

// mixed marks cells whose on hand is moved by several journals, or by entries
// that stand in the log behind their seq's turn.
const mixed = ^ledger.OriginID(0)

// fullCountsMax bounds what is remembered per location of full counts: statements that
// everything not named in them is zero. Cells that appear later are judged by them too.
const fullCountsMax = 4

// Engine folds. One goroutine uses it.
type Engine struct {
	log Log

	skus     []protocol.SKU
	skuIndex map[protocol.SKU]uint32
	locs     []protocol.StoreID
	locIndex map[protocol.StoreID]uint32
	locCells [][]ledger.CellID // per location

	cells   []cell // by CellID; 0 is unused
	index   index
	anchors map[ledger.CellID][]anchor
	extras  map[ledger.CellID]*extra
	flows   map[ledger.CellID][]flow
	fulls   map[uint32][]anchor // per location, see addFull

	origins     []protocol.Origin // by OriginID; 0 is unused
	originIndex map[protocol.Origin]ledger.OriginID
	lineage     lineage
	turns       []turn                    // per OriginID
	stores      map[protocol.StoreID]bool // locations where agents journal
	asked       struct {
		loc protocol.StoreID
		has bool
	} // the location that HasAgents was asked for last: positions come in runs of one
	last struct {
		loc protocol.StoreID
		li  uint32
	} // the location interned last
	items Items // nil: no master data

	pending map[protocol.EventID]ledger.Position // voids that wait for this event
	voided  map[protocol.EventID]ledger.Position // events that are cancelled, by which void

	head      ledger.Position
	staged    []ledger.Entry // applied, not yet taken
	stagedIDs idTable
	flight    []ledger.Entry // taken, not yet known to be committed
	flightIDs idTable
	newCells  []ledger.Cell
	newOrigin []ledger.Journal
	dirty     []ledger.CellID // since TakeDirty
	chunks    chunkSet        // dirty since the last checkpoint
	meta      bool            // pending, voided or fulls changed since then

	digests  []digest // per chunk, for the certificate
	stale    chunkSet // chunks whose digest is out of date
	walked   uint64   // entries read by refolds, for the figures
	returned returned // quantities taken back per original, for the alarm only

	prepared Prepared       // scratch, for records that nobody prepared
	other    protocol.Event // scratch
	notes    []Note
	sold     []Sold
	seen     Seen
	fx       []Effect
	pieces   []protocol.HoldLine
	touched  []ledger.CellID
	watching bool  // deltas are noted
	day      int32 // business day of what is being folded
	deltas   []Delta
	links    []ledger.Link // of the staged entries, cut off one after the other
}

// New makes an empty engine over a log.
func New(log Log) *Engine {
	return &Engine{
		log: log, skuIndex: map[protocol.SKU]uint32{}, locIndex: map[protocol.StoreID]uint32{},
		cells: make([]cell, 1), anchors: map[ledger.CellID][]anchor{}, extras: map[ledger.CellID]*extra{},
		flows: map[ledger.CellID][]flow{}, fulls: map[uint32][]anchor{}, origins: make([]protocol.Origin, 1), turns: make([]turn, 1),
		originIndex: map[protocol.Origin]ledger.OriginID{}, lineage: newLineage(), stores: map[protocol.StoreID]bool{},
		pending: map[protocol.EventID]ledger.Position{}, voided: map[protocol.EventID]ledger.Position{},
	}
}

// UseItems gives the engine master data. It must answer for every position as it
// did when that entry was merged, and to several goroutines at once.
func (e *Engine) UseItems(items Items) { e.items = items }

// Sold is what the newest sale took from one position.
type Sold struct {
	Cell     ledger.CellID
	Quantity protocol.Quantity
}

// Sold lists what the entry applied last sold; valid until the next Apply.
func (e *Engine) Sold() []Sold { return e.sold }

// Touched lists the positions of the entry applied last; valid until the next
// Apply.
func (e *Engine) Touched() []ledger.CellID { return e.touched }

// Head is the position of the newest entry applied, staged ones included.
func (e *Engine) Head() ledger.Position { return e.head }

// Origin gives the dense number of a journal, making one where it is new.
func (e *Engine) Origin(o protocol.Origin) ledger.OriginID {
	if id, ok := e.originIndex[o]; ok {
		return id
	}
	id := ledger.OriginID(len(e.origins))
	e.addOrigin(id, o)
	e.newOrigin = append(e.newOrigin, ledger.Journal{ID: id, Origin: o})
	return id
}

func (e *Engine) addOrigin(id ledger.OriginID, o protocol.Origin) {
	for len(e.origins) <= int(id) {
		e.origins = append(e.origins, protocol.Origin{})
		e.turns = append(e.turns, turn{})
		e.lineage.clocks = append(e.lineage.clocks, nil)
	}
	e.origins[id] = o
	e.originIndex[o] = id
	if !o.IsFeed() {
		e.asked.loc, e.asked.has = "", false
		e.stores[o.Store] = true
	}
}

// SetForks tells where a journal's epochs part.
func (e *Engine) SetForks(o protocol.Origin, forks []ledger.Fork) {
	e.lineage.forks[e.Origin(o)] = append([]ledger.Fork(nil), forks...)
}

func (e *Engine) internSKU(s protocol.SKU) uint32 {
	if i, ok := e.skuIndex[s]; ok {
		return i
	}
	s = protocol.SKU(strings.Clone(string(s))) // else the whole record stays with it
	i := uint32(len(e.skus))
	e.skus = append(e.skus, s)
	e.skuIndex[s] = i
	return i
}

func (e *Engine) internLoc(l protocol.StoreID) uint32 {
	if l == e.last.loc && l != "" {
		return e.last.li
	}
	if i, ok := e.locIndex[l]; ok {
		e.last.loc, e.last.li = e.locs[i], i
		return i
	}
	l = protocol.StoreID(strings.Clone(string(l)))
	i := uint32(len(e.locs))
	e.locs = append(e.locs, l)
	e.locIndex[l] = i
	e.locCells = append(e.locCells, nil)
	return i
}

// cellOf finds or makes the cell of a (location, SKU).
func (e *Engine) cellOf(loc protocol.StoreID, sku protocol.SKU) ledger.CellID {
	li, si := e.internLoc(loc), e.internSKU(sku)
	if id := e.index.find(e.cells, li, si); id != 0 {
		return id
	}
	id := ledger.CellID(len(e.cells))
	e.addCell(id, li, si)
	e.newCells = append(e.newCells, ledger.Cell{ID: id, Location: e.locs[li], SKU: e.skus[si]})
	for _, a := range e.fulls[li] {
		e.addAnchor(id, a)
	}
	e.touch(id)
	return id
}

func (e *Engine) addCell(id ledger.CellID, li, si uint32) {
	for len(e.cells) <= int(id) {
		e.cells = append(e.cells, cell{})
	}
	e.cells[id] = cell{loc: li, sku: si}
	e.index.put(e.cells, id)
	e.locCells[li] = append(e.locCells[li], id)
}

func (e *Engine) touch(id ledger.CellID) {
	c := &e.cells[id]
	if !c.dirty {
		c.dirty = true
		e.dirty = append(e.dirty, id)
	}
	e.chunks.put(uint32(id) / chunkCells)
	e.stale.put(uint32(id) / chunkCells)
}

// read returns an entry: staged, on its way to the log, or in it.
func (e *Engine) read(p ledger.Position) (ledger.Entry, error) {
	for _, list := range [2][]ledger.Entry{e.staged, e.flight} {
		if n := len(list); n > 0 && p >= list[0].Position {
			i := int(p - list[0].Position)
			if i >= n {
				return ledger.Entry{}, fmt.Errorf("read entry %d: %w", p, ledger.ErrNotFound)
			}
			return list[i], nil
		}
	}
	return e.log.Read(p)
}

// Reached is the newest epoch of which an entry of a journal was merged; 0: none.
func (e *Engine) Reached(o protocol.Origin) uint64 {
	if id, ok := e.originIndex[o]; ok {
		return e.turns[id].epoch
	}
	return 0
}

// Holds tells whether the entry at a position is a record in its very place: of the
// same journal and seq, and not only of the same event.
func (e *Engine) Holds(p ledger.Position, in *Input) (bool, error) {
	en, err := e.read(p)
	if err != nil {
		return false, err
	}
	return en.Origin == in.Origin && en.Seq == in.Seq && bytes.Equal(en.Record, in.Record), nil
}

// find looks an event up among staged ones, those on their way to the log, and
// those in it. What stands behind
// the engine's own head is not there yet: a replay must not see the future.
func (e *Engine) find(id protocol.EventID) (ledger.Position, [8]byte, bool, error) {
	if i, ok := e.stagedIDs.find(e.staged, id); ok {
		return e.staged[i].Position, e.staged[i].Content, true, nil
	}
	if i, ok := e.flightIDs.find(e.flight, id); ok {
		return e.flight[i].Position, e.flight[i].Content, true, nil
	}
	p, content, ok, err := e.log.Find(id)
	if err != nil {
		return 0, content, false, fmt.Errorf("find event %s: %w", id, err)
	}
	return p, content, ok && p <= e.head, nil
}

// TakeStaged hands what was applied since the last call to the caller, who commits
// it and then says Committed; what is applied meanwhile belongs to the next batch.
// One batch at a time is on its way. When its commit fails, the engine must be
// thrown away, and with it what was applied on top.
func (e *Engine) TakeStaged(b *ledger.Batch) {
	b.Entries = e.staged[:len(e.staged):len(e.staged)]
	b.Cells = append(b.Cells, e.newCells...)
	b.Journals = append(b.Journals, e.newOrigin...)
	e.newCells, e.newOrigin = e.newCells[:0], e.newOrigin[:0]
	e.flight, e.staged = e.staged, e.flight[:0] // room of the batch before the last one
	e.flightIDs, e.stagedIDs = e.stagedIDs, e.flightIDs
	e.links = nil // the batch holds them
}

// Committed forgets what TakeStaged gave: the log has it now.
func (e *Engine) Committed() {
	clear(e.flight)
	e.flight = e.flight[:0]
	e.flightIDs.clear()
}

// forget drops what a replay applied: it came from the log.
func (e *Engine) forget() {
	clear(e.staged)
	e.staged = e.staged[:0]
	e.stagedIDs.clear()
	e.newCells, e.newOrigin = e.newCells[:0], e.newOrigin[:0]
	e.links = e.links[:0] // nobody holds those of an entry that was read: a start would allocate a piece for each
}

// Cell is a position as others see it.
type Cell struct {
	ID            ledger.CellID
	Location      protocol.StoreID
	SKU           protocol.SKU
	OnHand        protocol.Quantity
	Unavailable   protocol.Quantity
	UnavailableBy [protocol.DispositionsUnsellable]protocol.Quantity
	InTransit     protocol.Quantity
	Incoming      protocol.Quantity
	Anchored      bool
	CountedUS     int64 // of the anchor; 0 = never counted
	LastUS        int64
}

// Cell returns a position by its number.
func (e *Engine) Cell(id ledger.CellID) Cell {
	c := &e.cells[id]
	out := Cell{ID: id, Location: e.locs[c.loc], SKU: e.skus[c.sku], OnHand: c.onHand, LastUS: c.lastUS}
	if list := e.anchorsOf(id); len(list) > 0 {
		out.Anchored, out.CountedUS = true, list[0].countedUS
	}
	if c.extra {
		x := e.extras[id]
		out.UnavailableBy, out.InTransit, out.Incoming = x.unavailable, x.inTransit, x.incoming
		for _, q := range x.unavailable {
			out.Unavailable += q
		}
	}
	return out
}

// CellAt finds a position; false where nothing ever touched it.
func (e *Engine) CellAt(loc protocol.StoreID, sku protocol.SKU) (Cell, bool) {
	id, ok := e.Lookup(loc, sku)
	if !ok {
		return Cell{Location: loc, SKU: sku}, false
	}
	return e.Cell(id), true
}

// Locations lists every location that has a position.
func (e *Engine) Locations() []protocol.StoreID { return e.locs[:len(e.locs):len(e.locs)] }

// At lists the positions of a location, in order of their numbers.
func (e *Engine) At(loc protocol.StoreID, fn func(Cell)) {
	if li, ok := e.locIndex[loc]; ok {
		for _, id := range e.locCells[li] {
			fn(e.Cell(id))
		}
	}
}

// anchorsOf lists a cell's candidate anchors, greatest first.
func (e *Engine) anchorsOf(id ledger.CellID) []anchor {
	if !e.cells[id].anchored {
		return nil
	}
	return e.anchors[id]
}

func (e *Engine) addAnchor(id ledger.CellID, a anchor) {
	e.cells[id].anchored = true
	e.anchors[id] = addAnchor(e.anchors[id], a)
}

// extraOf makes room for a cell's rarer numbers.
func (e *Engine) extraOf(id ledger.CellID) *extra {
	c := &e.cells[id]
	if !c.extra {
		c.extra = true
		e.extras[id] = &extra{}
	}
	return e.extras[id]
}

// Cells is how many positions there are.
func (e *Engine) Cells() int { return len(e.cells) - 1 }

// FromFeed tells whether a journal is a feed's.
func (e *Engine) FromFeed(o ledger.OriginID) bool { return e.origins[o].IsFeed() }

// HasAgents tells whether an agent journals at a location.
func (e *Engine) HasAgents(loc protocol.StoreID) bool {
	if loc != e.asked.loc {
		e.asked.loc, e.asked.has = loc, e.stores[loc]
	}
	return e.asked.has
}

// Pending is how many voids wait for their originals.
func (e *Engine) Pending() int { return len(e.pending) }

// TakeDirty calls fn for each cell that changed since the last call.
func (e *Engine) TakeDirty(fn func(Cell)) {
	for _, id := range e.dirty {
		e.cells[id].dirty = false
		fn(e.Cell(id))
	}
	e.dirty = e.dirty[:0]
}

// EachDirty calls fn for each cell that changed since TakeDirty.
func (e *Engine) EachDirty(fn func(Cell)) {
	for _, id := range e.dirty {
		fn(e.Cell(id))
	}
}

// Lookup finds a cell without making one.
func (e *Engine) Lookup(loc protocol.StoreID, sku protocol.SKU) (ledger.CellID, bool) {
	li, ok := e.locIndex[loc]
	if !ok {
		return 0, false
	}
	si, ok := e.skuIndex[sku]
	if !ok {
		return 0, false
	}
	id := e.index.find(e.cells, li, si)
	return id, id != 0
}

// SKUOf is the article of a position.
func (e *Engine) SKUOf(id ledger.CellID) protocol.SKU { return e.skus[e.cells[id].sku] }

// OriginOf is a journal by its number.
func (e *Engine) OriginOf(id ledger.OriginID) protocol.Origin { return e.origins[id] }
