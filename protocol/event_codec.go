package protocol

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of message Event in tillwire.proto.
const (
	fID protowire.Number = iota + 1
	fKind
	fStore
	fDocumentID
	fRegister
	fEventUS
	fEventOffset
	fBusinessDate
	fTraceparent
	fLine
	fOrderID
	fHoldID
	fOriginalDocument
	fOriginalStore
	fVoids
	fVoidsKind
	fSource
	fAdviceID
	fTransferID
	fCounterparty
	fDirection
	fScope
	fSession
	fZone
	fReason
	fComplete
	fAction
	fFlags
	fExpectedUS
	fExpectedOffset
	fClockOffsetUS
	fClockErrorUS
	fAck
	fBody
)

// Field numbers of message Line.
const (
	lLine protowire.Number = iota + 1
	lSKU
	lQuantity
	lUOM
	lDisposition
	lFrom
	lTo
	lCountedUS
	lCountedOffset
	lCut
	lZone
	lRawCode
	lSiblingCut
	lStance
	lCutsFollow
)

var (
	eventMessage = message{fBody, bytesFields(
		fID, fStore, fDocumentID, fRegister, fBusinessDate, fTraceparent, fLine, fOrderID, fHoldID, fOriginalDocument, fOriginalStore,
		fVoids, fSource, fAdviceID, fTransferID, fCounterparty, fSession, fZone, fReason, fAction, fAck, fBody)}
	lineMessage = message{lCutsFollow, bytesFields(lSKU, lUOM, lZone, lRawCode, lSiblingCut)}
)

// AppendEvent appends e in protobuf wire format, fields in ascending order and
// zero values left out: equal events have equal bytes.
func AppendEvent(b []byte, e *Event) []byte {
	b = protowire.AppendTag(b, fID, protowire.BytesType)
	b = protowire.AppendBytes(b, e.ID[:])
	b = appendUint(b, fKind, uint64(e.Kind))
	b = appendString(b, fStore, string(e.Store))
	b = appendString(b, fDocumentID, e.DocumentID)
	b = appendString(b, fRegister, e.Register)
	b = appendSint(b, fEventUS, e.EventTime.US)
	b = appendSint(b, fEventOffset, int64(e.EventTime.OffsetMin))
	b = appendString(b, fBusinessDate, e.BusinessDate)
	b = appendString(b, fTraceparent, e.Traceparent)
	for i := range e.Lines {
		b = protowire.AppendTag(b, fLine, protowire.BytesType)
		at := len(b)
		b = append(b, 0) // most lines are under 128 bytes: one length byte, widened below if not
		b = appendLine(b, &e.Lines[i], before(e.Lines, i))
		b = fixLength(b, at)
	}
	b = appendString(b, fOrderID, e.OrderID)
	b = appendString(b, fHoldID, e.HoldID)
	b = appendString(b, fOriginalDocument, e.OriginalDocument)
	b = appendString(b, fOriginalStore, string(e.OriginalStore))
	b = appendString(b, fVoids, e.Voids)
	b = appendUint(b, fVoidsKind, uint64(e.VoidsKind))
	b = appendString(b, fSource, e.Source)
	b = appendString(b, fAdviceID, e.AdviceID)
	b = appendString(b, fTransferID, e.TransferID)
	b = appendString(b, fCounterparty, string(e.Counterparty))
	b = appendUint(b, fDirection, uint64(e.Direction))
	b = appendUint(b, fScope, uint64(e.Scope))
	b = appendString(b, fSession, e.Session)
	b = appendString(b, fZone, e.Zone)
	b = appendString(b, fReason, e.Reason)
	if e.Complete {
		b = appendUint(b, fComplete, 1)
	}
	b = appendString(b, fAction, e.Action)
	b = appendUint(b, fFlags, uint64(e.Flags))
	b = appendSint(b, fExpectedUS, e.ExpectedAt.US)
	b = appendSint(b, fExpectedOffset, int64(e.ExpectedAt.OffsetMin))
	b = appendSint(b, fClockOffsetUS, e.ClockOffsetUS)
	b = appendSint(b, fClockErrorUS, e.ClockErrorUS)
	for i := range e.Acks {
		b = appendAck(b, &e.Acks[i])
	}
	if len(e.Body) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, fBody, protowire.BytesType), e.Body)
	}
	return b
}

// before is what the line before line i says of sibling journals.
func before(lines []Line, i int) []SiblingCut {
	if i == 0 {
		return nil
	}
	return lines[i-1].Cuts
}

func appendLine(b []byte, l *Line, before []SiblingCut) []byte {
	b = appendUint(b, lLine, uint64(l.Line))
	b = appendString(b, lSKU, string(l.SKU))
	b = appendSint(b, lQuantity, int64(l.Quantity))
	b = appendString(b, lUOM, l.UOM)
	b = appendUint(b, lDisposition, uint64(l.Disposition))
	b = appendUint(b, lFrom, uint64(l.From))
	b = appendUint(b, lTo, uint64(l.To))
	b = appendSint(b, lCountedUS, l.CountedAt.US)
	b = appendSint(b, lCountedOffset, int64(l.CountedAt.OffsetMin))
	b = appendUint(b, lCut, l.Cut)
	b = appendString(b, lZone, l.Zone)
	b = appendString(b, lRawCode, l.RawCode)
	follow := cutsFollow(l.Cuts, before)
	for i := range l.Cuts {
		if follow == 0 || l.Cuts[i] != before[i] {
			b = appendCut(b, &l.Cuts[i])
		}
	}
	b = appendUint(b, lStance, uint64(l.Stance))
	return appendUint(b, lCutsFollow, follow)
}

// DecodeEvent reads event bytes. Strings are copied out of b. Unknown fields
// are skipped; unknown kinds are an error, since their effect is unknown, and
// so are numbers that do not fit and known fields of another wire type: cut to
// size, or read as zero, they would mean something else.
func DecodeEvent(b []byte, e *Event) error { return decodeEvent(b, "", e) }

// decodeEvent takes strings from text, which has the same bytes as b; without it
// they are copied.
func decodeEvent(b []byte, text string, e *Event) error {
	*e = Event{Lines: e.Lines[:0]}
	var f field
	for len(b) > 0 {
		rest, err := eventMessage.next(b, &f)
		if err != nil {
			return fmt.Errorf("decode event: %w", err)
		}
		b, f.text = rest, f.textOf(text, rest)
		if err := e.setField(&f); err != nil {
			return fmt.Errorf("decode event field %d: %w", f.number, err)
		}
	}
	if !e.Kind.Valid() {
		return fmt.Errorf("decode event: %w: kind %d is not known", ErrMalformed, e.Kind)
	}
	if e.ID == (EventID{}) || e.Store == "" || e.DocumentID == "" {
		return fmt.Errorf("decode event: %w: id, store or document id is missing", ErrMalformed)
	}
	return nil
}

func (e *Event) setField(f *field) error {
	switch f.number {
	case fID:
		if len(f.raw) != len(e.ID) {
			return ErrMalformed
		}
		copy(e.ID[:], f.raw)
	case fKind:
		return narrow(&e.Kind, f.num)
	case fEventUS:
		e.EventTime.US = protowire.DecodeZigZag(f.num)
	case fEventOffset:
		return offset(&e.EventTime, f.num)
	case fLine:
		if len(e.Lines) >= DocumentLinesMax {
			return fmt.Errorf("%w: more than %d lines", ErrMalformed, DocumentLinesMax)
		}
		e.Lines = append(e.Lines, Line{})
		last := len(e.Lines) - 1
		return e.Lines[last].decode(f.raw, f.text, before(e.Lines, last))
	case fVoidsKind:
		return narrow(&e.VoidsKind, f.num)
	case fDirection:
		return narrow(&e.Direction, f.num)
	case fScope:
		return narrow(&e.Scope, f.num)
	case fComplete:
		e.Complete = f.num != 0
	case fFlags:
		return narrow(&e.Flags, f.num)
	case fExpectedUS:
		e.ExpectedAt.US = protowire.DecodeZigZag(f.num)
	case fExpectedOffset:
		return offset(&e.ExpectedAt, f.num)
	case fClockOffsetUS:
		e.ClockOffsetUS = protowire.DecodeZigZag(f.num)
	case fClockErrorUS:
		if e.ClockErrorUS = protowire.DecodeZigZag(f.num); e.ClockErrorUS < 0 {
			return fmt.Errorf("%w: a clock error below zero", ErrMalformed)
		}
	case fAck:
		return e.decodeAck(f.raw)
	case fBody:
		e.Body = append([]byte(nil), f.raw...)
	default:
		if p := e.stringField(f.number); p != nil {
			*p = f.string()
		}
	}
	return nil
}

// narrow stores v where it fits.
func narrow[T ~uint8 | ~uint32](dst *T, v uint64) error {
	if *dst = T(v); uint64(*dst) != v {
		return fmt.Errorf("%w: %d is out of range", ErrMalformed, v)
	}
	return nil
}

// offset stores a zone offset in minutes, zigzag encoded.
func offset(dst *Stamp, zigzag uint64) error {
	v := protowire.DecodeZigZag(zigzag)
	if dst.OffsetMin = int16(v); int64(dst.OffsetMin) != v {
		return fmt.Errorf("%w: zone offset of %d minutes", ErrMalformed, v)
	}
	return nil
}

func (e *Event) stringField(n protowire.Number) *string {
	switch n {
	case fStore:
		return (*string)(&e.Store)
	case fDocumentID:
		return &e.DocumentID
	case fRegister:
		return &e.Register
	case fBusinessDate:
		return &e.BusinessDate
	case fTraceparent:
		return &e.Traceparent
	case fOrderID:
		return &e.OrderID
	case fHoldID:
		return &e.HoldID
	case fOriginalDocument:
		return &e.OriginalDocument
	case fOriginalStore:
		return (*string)(&e.OriginalStore)
	case fVoids:
		return &e.Voids
	case fSource:
		return &e.Source
	case fAdviceID:
		return &e.AdviceID
	case fTransferID:
		return &e.TransferID
	case fCounterparty:
		return (*string)(&e.Counterparty)
	case fSession:
		return &e.Session
	case fZone:
		return &e.Zone
	case fReason:
		return &e.Reason
	case fAction:
		return &e.Action
	}
	return nil
}

func (l *Line) decode(b []byte, text string, before []SiblingCut) error {
	follow := false
	var f field
	for len(b) > 0 {
		rest, err := lineMessage.next(b, &f)
		if err != nil {
			return err
		}
		b, f.text = rest, f.textOf(text, rest)
		if f.number == lCutsFollow {
			if follow = f.num == 1; f.num > 1 {
				return fmt.Errorf("line field %d: %w: %d is no boolean of ours", f.number, ErrMalformed, f.num)
			}
			continue
		}
		if err := l.setField(&f); err != nil {
			return fmt.Errorf("line field %d: %w", f.number, err)
		}
	}
	if follow {
		if err := l.followCuts(before); err != nil {
			return err
		}
	}
	if l.SKU == "" || len(l.SKU) > SKUBytesMax || l.Quantity > QuantityMax || l.Quantity < -QuantityMax {
		return fmt.Errorf("%w: line %d has no SKU or an impossible quantity", ErrMalformed, l.Line)
	}
	return nil
}

func (l *Line) setField(f *field) error {
	switch f.number {
	case lLine:
		if f.num > lineOnWireMax {
			return fmt.Errorf("%w: line number %d", ErrMalformed, f.num)
		}
		l.Line = int(f.num)
	case lSKU:
		l.SKU = SKU(f.string())
	case lQuantity:
		l.Quantity = Quantity(protowire.DecodeZigZag(f.num))
	case lUOM:
		if l.UOM = "EA"; string(f.raw) != "EA" { // nearly always: spare the copy
			l.UOM = f.string()
		}
	case lDisposition:
		return narrow(&l.Disposition, f.num)
	case lFrom:
		return narrow(&l.From, f.num)
	case lTo:
		return narrow(&l.To, f.num)
	case lCountedUS:
		l.CountedAt.US = protowire.DecodeZigZag(f.num)
	case lCountedOffset:
		return offset(&l.CountedAt, f.num)
	case lCut:
		l.Cut = f.num
	case lZone:
		l.Zone = f.string()
	case lRawCode:
		l.RawCode = f.string()
	case lSiblingCut:
		return l.decodeCut(f.raw)
	case lStance:
		return narrow(&l.Stance, f.num)
	}
	return nil
}

// ContentHash tells two different documents with one id apart. What the agent or
// the aggregator adds is left out, since a retry would get another: cuts, the
// register's clock, how the agent's own stood, the stance of a statement's lines. Traceparent is left out
// too: a retry may carry a new one.
func (e *Event) ContentHash() [8]byte {
	c := *e
	c.Traceparent = ""
	c.Flags &^= FlagClockSetBack
	if e.Kind != KindClock {
		c.ClockOffsetUS, c.ClockErrorUS = 0, 0
	}
	if e.Kind == KindCount || e.Kind == KindSnapshot {
		c.Lines = append([]Line(nil), e.Lines...)
		for i := range c.Lines {
			c.Lines[i].Cut, c.Lines[i].Cuts, c.Lines[i].Stance = 0, nil, StanceAnchor
		}
	}
	sum := sha256.Sum256(AppendEvent(make([]byte, 0, 512), &c))
	return [8]byte(sum[:8])
}

// HashesWhole tells that ContentHash is the hash of the event's own bytes, so
// that who has them need not write them again.
func (e *Event) HashesWhole() bool {
	if e.Traceparent != "" || e.Flags&FlagClockSetBack != 0 || e.Kind == KindCount || e.Kind == KindSnapshot {
		return false
	}
	return e.Kind == KindClock || e.ClockOffsetUS == 0 && e.ClockErrorUS == 0
}
