package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Every value in the file starts with a checksum over its key and itself:
//
//	value = crc32c(key ‖ payload), 4 bytes little endian ‖ payload
//
// so that a value that is damaged, or stands under a key that is not its own,
// is found when it is read. bbolt itself checks its two meta pages only.
const crcBytes = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, payload []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, payload)
}

// seal sets the checksum of b[at:], whose first four bytes are kept free.
func seal(key, b []byte, at int) []byte {
	binary.LittleEndian.PutUint32(b[at:], checksum(key, b[at+crcBytes:]))
	return b
}

// sealed makes a value of a payload.
func sealed(key, payload []byte) []byte {
	b := make([]byte, crcBytes, crcBytes+len(payload))
	return seal(key, append(b, payload...), 0)
}

// unseal checks a value and returns its payload, which is part of v.
func unseal(what string, key, v []byte) ([]byte, error) {
	if len(v) < crcBytes {
		return nil, fmt.Errorf("read %s %x: %w: value of %d bytes, want at least %d", what, string(key), ledger.ErrCorrupt, len(v), crcBytes)
	}
	want, got := binary.LittleEndian.Uint32(v), checksum(key, v[crcBytes:])
	if got != want {
		// The key is copied for the message only, so that it need not escape.
		return nil, fmt.Errorf("read %s %x: %w: checksum is %08x, want %08x", what, string(key), ledger.ErrCorrupt, got, want)
	}
	return v[crcBytes:], nil
}

func key64(v uint64) [8]byte {
	var k [8]byte
	binary.BigEndian.PutUint64(k[:], v)
	return k
}

func key32(v uint32) [4]byte {
	var k [4]byte
	binary.BigEndian.PutUint32(k[:], v)
	return k
}

// An entry's payload; numbers are uvarints unless said otherwise:
//
//	flags (1 byte) origin epoch seq zigzag(merged_us)
//	[position − ref]          where entryRef
//	[event id, 16 bytes]      where entryID: it is not the one at the record's head
//	[content, 8 bytes]        where entryContent
//	links { zigzag(cell − cell before) position − prev, or 0 } × links
//	record, to the end
const (
	entryRef = 1 << iota
	entryID
	entryContent
	entryFlags = entryRef | entryID | entryContent
)

// The event bytes of a record start with field 1, the id: tag, length, bytes.
const idTag, idLen = 0x0a, 0x10

// recordID is the event id at a record's head.
func recordID(rec []byte) (id protocol.EventID, ok bool) {
	_, n := binary.Uvarint(rec)
	if n <= 0 || len(rec) < n+2+len(id) || rec[n] != idTag || rec[n+1] != idLen {
		return id, false
	}
	return protocol.EventID(rec[n+2:]), true
}

// checkEntry refuses what could not be read back as it was.
func checkEntry(e *ledger.Entry) error {
	switch {
	case len(e.Record) > recordBytesMax:
		return fmt.Errorf("check entry %d: record has %d bytes, at most %d fit", e.Position, len(e.Record), recordBytesMax)
	case len(e.Links) > entryLinksMax:
		return fmt.Errorf("check entry %d: it has %d links, at most %d fit", e.Position, len(e.Links), entryLinksMax)
	case e.Ref >= e.Position:
		return fmt.Errorf("check entry %d: ref %d is not before it", e.Position, e.Ref)
	}
	for i := range e.Links {
		if e.Links[i].Prev >= e.Position {
			return fmt.Errorf("check entry %d: link %d to cell %d points at %d, which is not before it", e.Position, i, e.Links[i].Cell, e.Links[i].Prev)
		}
	}
	return nil
}

// appendEntry appends the value of a checked entry, checksum included.
func appendEntry(b, key []byte, e *ledger.Entry) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0)
	flags := byte(0)
	b = binary.AppendUvarint(b, uint64(e.Origin))
	b = binary.AppendUvarint(b, e.Epoch)
	b = binary.AppendUvarint(b, e.Seq)
	b = binary.AppendVarint(b, e.MergedUS)
	if e.Ref != 0 {
		flags |= entryRef
		b = binary.AppendUvarint(b, uint64(e.Position-e.Ref))
	}
	if id, ok := recordID(e.Record); !ok && e.EventID != (protocol.EventID{}) || ok && id != e.EventID {
		flags |= entryID
		b = append(b, e.EventID[:]...)
	}
	if e.Content != [8]byte{} {
		flags |= entryContent
		b = append(b, e.Content[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Links)))
	cell := int64(0)
	for _, l := range e.Links {
		b = binary.AppendVarint(b, int64(l.Cell)-cell)
		cell = int64(l.Cell)
		back := uint64(0)
		if l.Prev != 0 {
			back = uint64(e.Position - l.Prev)
		}
		b = binary.AppendUvarint(b, back)
	}
	b = append(b, e.Record...)
	b[at+crcBytes] = flags
	return seal(key, b, at)
}

// A block is the value of one key of the log: entries in order of position,
// the first being the key's, each framed by its length. A key for each entry
// would cost bbolt more than the entry's bytes do.
//
//	block = { length of value, 4 bytes little endian ‖ value }
const frameBytes = 4

func appendFramed(b []byte, e *ledger.Entry) []byte {
	at := len(b)
	key := key64(uint64(e.Position))
	b = appendEntry(append(b, 0, 0, 0, 0), key[:], e)
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-frameBytes))
	return b
}

// cutFrame takes the first value off a block.
func cutFrame(block []byte) (value, rest []byte, ok bool) {
	if len(block) < frameBytes {
		return nil, nil, false
	}
	n := binary.LittleEndian.Uint32(block)
	if uint64(n) > uint64(len(block)-frameBytes) {
		return nil, nil, false
	}
	end := frameBytes + int(n)
	return block[frameBytes:end:end], block[end:], true
}

// countFrames tells how many values a block holds.
func countFrames(block []byte) (n int, ok bool) {
	for len(block) > 0 {
		if _, block, ok = cutFrame(block); !ok {
			return n, false
		}
		n++
	}
	return n, n > 0
}

// decodeEntry reads a value. The record is part of v; links are appended to
// arena, whose extension is the entry's.
func decodeEntry(p ledger.Position, key, v []byte, e *ledger.Entry, arena []ledger.Link) ([]ledger.Link, error) {
	payload, err := unseal("entry", key, v)
	if err != nil {
		return arena, err
	}
	d := decoder{b: payload}
	*e = ledger.Entry{Position: p}
	flags := d.byte()
	e.Origin = ledger.OriginID(d.uint())
	e.Epoch = d.uint()
	e.Seq = d.uint()
	e.MergedUS = d.int()
	if flags&entryRef != 0 {
		e.Ref = p - ledger.Position(d.uint())
	}
	if flags&entryID != 0 {
		copy(e.EventID[:], d.take(len(e.EventID)))
	}
	if flags&entryContent != 0 {
		copy(e.Content[:], d.take(len(e.Content)))
	}
	n := d.uint()
	if d.bad || n > entryLinksMax || flags&^byte(entryFlags) != 0 {
		return arena, fmt.Errorf("decode entry %d: %w: flags %02x, %d links, %d bytes", p, ledger.ErrCorrupt, flags, n, len(payload))
	}
	from, cell := len(arena), int64(0)
	for range n {
		cell += d.int()
		l := ledger.Link{Cell: ledger.CellID(cell)}
		if back := d.uint(); back != 0 {
			l.Prev = p - ledger.Position(back)
		}
		arena = append(arena, l)
	}
	if d.bad {
		return arena[:from], fmt.Errorf("decode entry %d: %w: links are cut short", p, ledger.ErrCorrupt)
	}
	if n > 0 {
		e.Links = arena[from:len(arena):len(arena)]
	}
	if len(d.b) > 0 {
		e.Record = d.b[:len(d.b):len(d.b)]
	}
	if flags&entryID == 0 {
		e.EventID, _ = recordID(e.Record)
	}
	return arena, nil
}

// decoder takes numbers off b; bad is set where there is nothing left.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}
