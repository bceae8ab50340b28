package reserve

import (
	"encoding/binary"

	"tillwire/protocol"
)

// A chunk is
//
//	version │ record │ record │ …          in order of id
//
// and a record, every number a varint and every text behind its length,
//
//	id hash channel order mode fulfilment group sourcing created updated
//	expires elsewhere │ lines │ line …
//	line: request flags state sku quantity location short reason rejected
//	      │ parts │ sku quantity …

// states by their number on disk: append only.
var states = [...]protocol.ReservationState{
	protocol.ReservationHeld, protocol.ReservationConfirmed, protocol.ReservationPending, protocol.ReservationAccepted, protocol.ReservationPicked,
	protocol.ReservationCollected, protocol.ReservationShipped, protocol.ReservationReleased, protocol.ReservationExpired, protocol.ReservationRejected,
}

const (
	flagRisk = 1 << iota
	flagReplaced
)

func appendText[T ~string](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendRecord(b []byte, r *Record) []byte {
	b = appendText(b, r.ID)
	b = binary.BigEndian.AppendUint64(b, r.Hash)
	for _, s := range [...]string{r.Channel, r.Order, r.Mode, r.Fulfilment, r.Group, r.Sourcing} {
		b = appendText(b, s)
	}
	b = binary.AppendVarint(b, r.CreatedUS)
	b = binary.AppendVarint(b, r.UpdatedUS-r.CreatedUS)
	b = binary.AppendVarint(b, r.ExpiresUS)
	b = appendText(b, r.Elsewhere)
	b = binary.AppendUvarint(b, uint64(len(r.Lines)))
	for i := range r.Lines {
		b = appendLine(b, &r.Lines[i])
	}
	return b
}

func appendLine(b []byte, l *Line) []byte {
	flags, state := byte(0), byte(0)
	if l.Risk {
		flags |= flagRisk
	}
	if l.Replaced {
		flags |= flagReplaced
	}
	for i, s := range states {
		if s == l.State {
			state = byte(i)
		}
	}
	b = binary.AppendUvarint(b, uint64(max(l.Request, 0)))
	b = append(b, flags, state)
	b = appendText(b, l.SKU)
	b = binary.AppendVarint(b, int64(l.Quantity))
	b = appendText(b, l.Location)
	b = binary.AppendVarint(b, int64(l.Short))
	b = appendText(b, l.Reason)
	b = binary.AppendVarint(b, l.RejectedUS)
	b = binary.AppendUvarint(b, uint64(len(l.Parts)))
	for _, p := range l.Parts {
		b = appendText(b, p.SKU)
		b = binary.AppendVarint(b, int64(p.Quantity))
	}
	return b
}

// reader takes a chunk apart. After the first failure everything is empty.
type reader struct {
	b   []byte
	bad bool
}

func (d *reader) fail() {
	d.b, d.bad = nil, true
}

func (d *reader) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *reader) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *reader) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *reader) text() string { return string(d.bytes(d.uvarint())) }

func (d *reader) byte() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// count reads how many of something follow, each of at least size bytes.
func (d *reader) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/size) {
		d.fail()
		return 0
	}
	return int(n) //nolint:gosec // bounded by the chunk's length
}

func (d *reader) record(r *Record) {
	r.ID = d.text()
	if h := d.bytes(8); h != nil {
		r.Hash = binary.BigEndian.Uint64(h)
	}
	for _, s := range [...]*string{&r.Channel, &r.Order, &r.Mode, &r.Fulfilment, &r.Group, &r.Sourcing} {
		*s = usual(d.bytes(d.uvarint()))
	}
	r.CreatedUS = d.varint()
	r.UpdatedUS = r.CreatedUS + d.varint()
	r.ExpiresUS = d.varint()
	r.Elsewhere = protocol.StoreID(d.text())
	n := d.count(10)
	r.Lines = make([]Line, n)
	for i := range r.Lines {
		d.line(&r.Lines[i])
	}
}

func (d *reader) line(l *Line) {
	if l.Request = int32(min(d.uvarint(), 1<<31-1)); d.bad { //nolint:gosec // bounded before
		return
	}
	flags := d.byte()
	l.Risk, l.Replaced = flags&flagRisk != 0, flags&flagReplaced != 0
	if s := d.byte(); int(s) < len(states) && flags < flagReplaced<<1 {
		l.State = states[s]
	} else {
		d.fail()
	}
	l.SKU = protocol.SKU(d.text())
	l.Quantity = protocol.Quantity(d.varint())
	l.Location = protocol.StoreID(d.text())
	l.Short = protocol.Quantity(d.varint())
	l.Reason = d.text()
	l.RejectedUS = d.varint()
	if n := d.count(2); n > 0 {
		l.Parts = make([]protocol.KitComponent, n)
		for i := range l.Parts {
			l.Parts[i] = protocol.KitComponent{SKU: protocol.SKU(d.text()), Quantity: protocol.Quantity(d.varint())}
		}
	}
}

// usual spares a copy of the words that most reservations share.
func usual(b []byte) string {
	switch string(b) {
	case protocol.ModeAllOrNothing:
		return protocol.ModeAllOrNothing
	case protocol.ModePartial:
		return protocol.ModePartial
	case protocol.FulfilmentPickup:
		return protocol.FulfilmentPickup
	case protocol.FulfilmentShip:
		return protocol.FulfilmentShip
	case protocol.FulfilmentDelivery:
		return protocol.FulfilmentDelivery
	}
	return string(b)
}
