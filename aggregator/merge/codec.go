package merge

import (
	"cmp"
	"encoding/binary"
	"slices"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// The checkpoint's numbers and strings: varints, and bytes behind their length.

type writer struct{ b []byte }

func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *writer) bool(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	w.b = append(w.b, b)
}

func (w *writer) bytes(v []byte) {
	w.uint(uint64(len(v)))
	w.b = append(w.b, v...)
}

func (w *writer) anchor(a *anchor) {
	w.b = append(w.b, a.group[:]...)
	w.b = append(w.b, a.id[:]...)
	w.int(a.keyUS)
	w.int(a.countedUS)
	w.int(a.offsetUS)
	w.int(a.errorUS)
	w.int(a.stopUS)
	w.uint(uint64(a.origin))
	w.cut(a.own)
	w.uint(uint64(len(a.siblings)))
	for _, c := range a.siblings {
		w.cut(c)
	}
	w.uint(a.firstSeq)
	w.int(a.firstUS)
	w.int(int64(a.qty))
	w.uint(uint64(a.pos))
	w.uint(uint64(a.parts))
	w.bool(a.stated)
}

func (w *writer) cut(c cut) {
	w.uint(uint64(c.origin))
	w.uint(c.epoch)
	w.uint(c.seq)
}

func (w *writer) extra(x *extra, flows []flow) {
	for _, q := range x.unavailable {
		w.int(int64(q))
	}
	w.int(int64(x.inTransit))
	w.int(int64(x.incoming))
	w.uint(uint64(len(flows)))
	for i := range flows {
		f := &flows[i]
		w.b = append(w.b, byte(f.kind))
		w.bytes([]byte(f.name))
		w.int(int64(f.open))
		w.int(f.sinceUS)
		w.int(f.dueUS)
	}
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
	a.offsetUS = r.int()
	a.errorUS = r.int()
	a.stopUS = r.int()
	a.origin = ledger.OriginID(r.uint())
	a.own = r.cut()
	for n := r.uint(); n > 0 && !r.bad; n-- {
		a.siblings = append(a.siblings, r.cut())
	}
	a.firstSeq = r.uint()
	a.firstUS = r.int()
	a.qty = protocol.Quantity(r.int())
	a.pos = ledger.Position(r.uint())
	a.parts = uint32(r.uint())
	a.stated = r.bool()
}

func (r *reader) bool() bool { return r.byte() != 0 }

func (r *reader) cut() cut {
	return cut{ledger.OriginID(r.uint()), r.uint(), r.uint()}
}

func (r *reader) clocks() (out []clockStep) {
	for n := r.uint(); n > 0 && !r.bad; n-- {
		out = append(out, clockStep{r.uint(), r.uint(), r.int(), r.int()})
	}
	return out
}

func (r *reader) extra(x *extra) (flows []flow) {
	for i := range x.unavailable {
		x.unavailable[i] = protocol.Quantity(r.int())
	}
	x.inTransit, x.incoming = protocol.Quantity(r.int()), protocol.Quantity(r.int())
	for n := r.uint(); n > 0 && !r.bad; n-- {
		f := flow{kind: flowKind(r.byte()), name: string(r.bytes())}
		if f.kind != flowTransit && f.kind != flowAdvice {
			r.bad = true
		}
		f.id = flowID(f.name)
		f.open, f.sinceUS, f.dueUS = protocol.Quantity(r.int()), r.int(), r.int()
		flows = append(flows, f)
	}
	return flows
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
