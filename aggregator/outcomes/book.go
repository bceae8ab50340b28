package outcomes

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"tillwire/protocol"
)

// Measure is what is counted in a row. Numbers are on disk.
type Measure byte

// Measures. Those from kept on are of firm promises and carry a channel.
const (
	lines Measure = iota
	differing
	unexplained // thousandths
	opened
	BelowZero
	EscrowBreach
	Decision // by a person
	AtRisk
	Kept
	Short
	Rejected
	Moved
	Cancelled
	measures
)

// name is what a row of a week is of. A channel stands beside the store that its
// promise was of.
type name struct {
	store   protocol.StoreID
	channel string
}

type row struct {
	n      [measures]int64
	window *window
}

type week struct {
	no    int64
	rows  map[name]*row
	dirty bool
}

// counted is a count line that late movements may still correct.
type counted struct {
	cell        uint32
	session     [16]byte
	no          uint64 // of the line, in order
	us          int64
	weekNo      int64
	store       protocol.StoreID
	unexplained int64 // signed
	first       bool
}

// Book holds the weeks. One goroutine uses it; times that it is told hardly fall,
// since they are those of the merge.
type Book struct {
	weeks   map[int64]*week
	newest  *week
	last    *row // the row told last, as documents come in runs of one store
	lastOf  name
	rows    int
	dropped uint64 // rows

	counted map[uint32]*counted // by cell: its newest count
	order   []*counted          // oldest first; those replaced stay until they are due
	next    uint64              // number of the next count line

	unsorted bool // order, after a restore

	slots     map[uint32]bool // of counted that changed
	gone      map[uint32]bool // weeks' slots that are empty now
	dirtyBook bool
}

// New makes an empty book.
func New() *Book {
	return &Book{weeks: map[int64]*week{}, counted: map[uint32]*counted{}, slots: map[uint32]bool{}, gone: map[uint32]bool{}}
}

func weekOf(us int64) int64 {
	n := (us - mondayUS) / weekUS
	if (us-mondayUS)%weekUS < 0 {
		n--
	}
	return n
}

// week finds the week of a moment; nil where it is no longer kept.
func (b *Book) week(no int64) *week {
	if b.newest != nil && b.newest.no == no {
		return b.newest
	}
	if w := b.weeks[no]; w != nil {
		return w
	}
	if b.newest != nil && no <= b.newest.no-weeksKept || no < 0 {
		return nil
	}
	w := &week{no: no, rows: map[name]*row{}}
	b.weeks[no] = w
	if b.newest == nil || no > b.newest.no {
		b.newest, b.last = w, nil
	}
	for _, old := range slices.Sorted(maps.Keys(b.weeks)) {
		if old <= b.newest.no-weeksKept {
			b.drop(old)
		}
	}
	return w
}

func (b *Book) drop(no int64) {
	w := b.weeks[no]
	b.rows -= len(w.rows)
	b.gone[slotOf(no)] = true
	b.last = nil
	delete(b.weeks, no)
}

func slotOf(no int64) uint32 { return uint32(no % weekSlots) }

// row finds the row of a name in a week, or makes it. Where there are too many,
// the oldest week goes; where one week alone has too many, they share one.
func (b *Book) row(w *week, n name) *row {
	w.dirty = true
	if w == b.newest && b.last != nil && b.lastOf == n {
		return b.last
	}
	r := w.rows[n]
	if r == nil {
		if len(w.rows) >= weekRowsMax && n != (name{}) {
			b.dropped++
			b.dirtyBook = true
			return b.row(w, name{})
		}
		r = &row{}
		n = name{protocol.StoreID(strings.Clone(string(n.store))), strings.Clone(n.channel)} // not the whole frame with them
		w.rows[n] = r
		b.rows++
		for b.rows > rowsMax && len(b.weeks) > 1 {
			b.shrink(w.no)
		}
	}
	if w == b.newest {
		b.last, b.lastOf = r, n
	}
	return r
}

// shrink drops the oldest week but the one that is being told of.
func (b *Book) shrink(but int64) {
	for _, no := range slices.Sorted(maps.Keys(b.weeks)) {
		if no != but {
			b.dropped += uint64(len(b.weeks[no].rows))
			b.dirtyBook = true
			b.drop(no)
			return
		}
	}
}

// Add counts one of a measure.
func (b *Book) Add(us int64, store protocol.StoreID, channel string, m Measure) {
	if w := b.week(weekOf(us)); w != nil {
		b.row(w, name{store, channel}).n[m]++
	}
}

// Synced takes how long a store's document took to the ledger. A clock that runs
// ahead makes it nothing.
func (b *Book) Synced(mergedUS, recordUS int64, store protocol.StoreID) {
	w := b.week(weekOf(mergedUS))
	if w == nil {
		return
	}
	r := b.row(w, name{store: store})
	if r.window == nil {
		r.window = &window{}
	}
	r.window.add(max(mergedUS-recordUS, 0))
}

// Counted takes a count line: what the book had, and what it has with the count.
// Further parts of one session are the same line.
func (b *Book) Counted(us int64, cell uint32, session [16]byte, store protocol.StoreID, before, after int64, first bool) {
	b.expire(us)
	if c := b.counted[cell]; c != nil && c.session == session {
		b.correct(c, after-before)
		return
	}
	w := b.week(weekOf(us))
	if w == nil || before == 0 && after == 0 && !first { // a full count zeroes what had nothing
		return
	}
	r := b.row(w, name{store: store})
	c := &counted{cell: cell, session: session, no: b.next, us: us, weekNo: w.no, store: protocol.StoreID(strings.Clone(string(store))), first: first}
	b.next++
	if first {
		r.n[opened]++
	} else {
		r.n[lines]++
	}
	b.counted[cell] = c
	if b.order = append(b.order, c); len(b.order) > 2*countedMax { // many of cells counted again
		b.order = slices.DeleteFunc(b.order, func(o *counted) bool { return b.counted[o.cell] != o })
	}
	b.slots[cell%countedSlots] = true
	b.correct(c, after-before)
	for len(b.counted) > countedMax {
		b.forget()
	}
}

// Late takes a movement that came after the count that had seen it.
func (b *Book) Late(us int64, cell uint32, session [16]byte, onHand int64) {
	b.expire(us)
	if c := b.counted[cell]; c != nil && c.session == session {
		b.correct(c, -onHand)
	}
}

// correct changes what is unexplained of a count line by so much.
func (b *Book) correct(c *counted, by int64) {
	was := c.unexplained
	c.unexplained += by
	b.slots[c.cell%countedSlots] = true
	w := b.weeks[c.weekNo]
	if by == 0 || c.first || w == nil {
		return
	}
	r := b.row(w, name{store: c.store})
	r.n[unexplained] += abs(c.unexplained) - abs(was)
	switch {
	case was == 0 && c.unexplained != 0:
		r.n[differing]++
	case was != 0 && c.unexplained == 0:
		r.n[differing]--
	}
}

func abs(n int64) int64 { return max(n, -n) }

// expire forgets count lines that are too old to be corrected.
func (b *Book) expire(us int64) {
	if b.unsorted {
		slices.SortFunc(b.order, func(x, y *counted) int { return cmp.Compare(x.no, y.no) })
		b.unsorted = false
	}
	for len(b.order) > 0 && b.order[0].us < us-countedForUS {
		b.forget()
	}
}

// forget drops the oldest count line.
func (b *Book) forget() {
	c := b.order[0]
	b.order[0] = nil
	if b.order = b.order[1:]; b.counted[c.cell] == c {
		delete(b.counted, c.cell)
		b.slots[c.cell%countedSlots] = true
	}
}
