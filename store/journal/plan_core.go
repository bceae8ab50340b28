package journal

import (
	"encoding/binary"
	"sort"

	"tillwire/protocol"
)

// Receipt tells where an event stands in the journal. RecordUS is the agent's
// clock in microseconds. Duplicate means that it stood there before the call.
type Receipt struct {
	EventID   protocol.EventID
	Seq       uint64
	RecordUS  int64
	Duplicate bool
}

// pending is one event on its way into the journal. buf has room for the
// value's head and the record time in front of the event's bytes, so that an
// event is encoded once, by the caller's goroutine, and never copied. Counts
// are encoded when their seq and so their cuts are known.
type pending struct {
	id       protocol.EventID
	content  [8]byte
	register string
	buf      []byte
	count    *protocol.Event // own copy; nil for all other kinds

	receipt Receipt
	err     error
}

const pendingRoom = valueHead + timeMax

// newPending encodes e. It keeps no reference to e or its lines.
func newPending(e *protocol.Event) (*pending, error) {
	if e.ID == (protocol.EventID{}) {
		return nil, errNoID
	}
	p := &pending{id: e.ID, content: e.ContentHash(), register: e.Register}
	if e.Kind == protocol.KindClock {
		p.register = noRegister
	}
	b := make([]byte, pendingRoom, pendingRoom+64+len(e.DocumentID)+64*(1+len(e.Lines)))
	p.buf = protocol.AppendEvent(b, e)
	size := len(p.buf) - valueHead
	if e.Kind == protocol.KindCount {
		c := *e
		c.Lines = append([]protocol.Line(nil), e.Lines...)
		p.count = &c
		size += len(e.Lines) * (1 + timeMax + 2) // a cut and a longer length prefix each
	}
	if size > protocol.RecordBytesMax {
		return nil, &protocol.SizeError{What: "record", Got: size, Max: protocol.RecordBytesMax}
	}
	return p, nil
}

// entry is what the idempotency index knows of an event id.
type entry struct {
	seq     uint64
	content [8]byte
}

// planned is a record ready to be put.
type planned struct {
	before tip // the journal in front of it
	after  tip
	value  []byte
	item   *pending
}

// world is what planning may ask about records that are already journaled.
type world struct {
	find  func(protocol.EventID) (entry, bool)
	cutAt func(us int64) uint64 // highest seq with record time ≤ us
	usOf  func(seq uint64) int64
}

// plan gives each event of a group its place, its time and its receipt, in
// order of arrival. Duplicates, of the journal or within the group, get the
// receipt of the first and no place; an id with another content gets an
// *IDReusedError. It sets receipt and err of each item.
//
// A duplicate's receipt is only true once the group is committed: it may point
// at a record of this very group. The committer answers after the commit.
func plan(nowUS int64, head tip, group []*pending, w world) []planned {
	rows := make([]planned, 0, len(group))
	var inGroup map[protocol.EventID]int
	if len(group) > 1 {
		inGroup = make(map[protocol.EventID]int, len(group))
	}
	at := head
	for _, p := range group {
		p.receipt, p.err = Receipt{EventID: p.id}, nil
		if i, ok := inGroup[p.id]; ok {
			p.repeat(entry{rows[i].after.seq, rows[i].item.content}, rows[i].after.us)
			continue
		}
		if e, ok := w.find(p.id); ok {
			p.repeat(e, 0)
			if p.err == nil {
				p.receipt.RecordUS = w.usOf(e.seq)
			}
			continue
		}
		row := place(nowUS, at, p, func(us int64) uint64 {
			i := sort.Search(len(rows), func(i int) bool { return rows[i].after.us > us })
			if i > 0 {
				return rows[i-1].after.seq
			}
			return w.cutAt(us)
		})
		p.receipt.Seq, p.receipt.RecordUS = row.after.seq, row.after.us
		if inGroup != nil {
			inGroup[p.id] = len(rows)
		}
		rows = append(rows, row)
		at = row.after
	}
	return rows
}

// repeat answers an id that is already known.
func (p *pending) repeat(first entry, us int64) {
	if first.content != p.content {
		p.err = &IDReusedError{ID: p.id, Seq: first.seq}
		return
	}
	p.receipt.Seq, p.receipt.RecordUS, p.receipt.Duplicate = first.seq, us, true
}

// place builds the record behind at. cutAt never answers beyond at.seq, so a
// count is never inside its own cut.
func place(nowUS int64, at tip, p *pending, cutAt func(int64) uint64) planned {
	if p.count != nil {
		for i := range p.count.Lines {
			l := &p.count.Lines[i]
			when := l.CountedAt
			if when.IsZero() {
				when = p.count.EventTime
			}
			l.Cut = cutAt(when.US)
		}
		p.buf = protocol.AppendEvent(p.buf[:pendingRoom], p.count)
	}
	us := max(nowUS, at.us+1)
	var t [timeMax]byte
	n := binary.PutUvarint(t[:], uint64(us))
	v := p.buf[timeMax-n:]
	copy(v[valueHead:], t[:n])
	record := v[valueHead:]
	after := tip{seq: at.seq + 1, us: us, total: at.total + uint64(len(record)), chain: at.chain.Next(record)}
	sealValue(v, after.seq, after.total, after.chain)
	return planned{before: at, after: after, value: v, item: p}
}
