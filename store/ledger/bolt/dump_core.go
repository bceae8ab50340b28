package bolt

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// A dump is part of a backup: values as they stand in the file, each with its own
// checksum, so that what is read back is checked against what was once written.
//
//	magic ‖ { part 1 ‖ uv length ‖ key ‖ uv length ‖ value } … ‖ 0 ‖ uv pairs
//
// Derived buckets are left out: the list of exceptions and the index of event ids
// are made again. A state dump has all parts, with the log's unfinished segment; a
// segment dump has log blocks only.
const dumpMagic = "tillwire ledger dump 1\n"

// Parts of a dump.
const (
	partMeta      = 'm' // head, checkpoint
	partJournal   = 'j'
	partCell      = 'c'
	partMark      = 'k'
	partFact      = 'f'
	partException = 'x'
	partChunk     = 'p'
	partBlock     = 'l'
)

// partBuckets in the order in which a dump has them.
var partBuckets = []struct {
	part   byte
	bucket []byte
}{
	{partJournal, bucketJournals},
	{partCell, bucketCells},
	{partMark, bucketMarks},
	{partFact, bucketFacts},
	{partException, bucketExceptions},
	{partChunk, bucketChunks},
}

// dumper writes a dump.
type dumper struct {
	w io.Writer
	b []byte
	n uint64
}

func newDumper(w io.Writer) (*dumper, error) {
	_, err := io.WriteString(w, dumpMagic)
	return &dumper{w: w}, err
}

func (d *dumper) put(part byte, key, value []byte) error {
	d.b = append(d.b[:0], part)
	d.b = append(binary.AppendUvarint(d.b, uint64(len(key))), key...)
	d.b = binary.AppendUvarint(d.b, uint64(len(value)))
	d.n++
	if _, err := d.w.Write(d.b); err != nil {
		return err
	}
	_, err := d.w.Write(value)
	return err
}

func (d *dumper) end() error {
	_, err := d.w.Write(binary.AppendUvarint([]byte{0}, d.n))
	return err
}

// readDump calls fn for each pair; key and value are good until it returns.
// A dump that is cut short is ledger.ErrCorrupt.
func readDump(from io.Reader, fn func(part byte, key, value []byte) error) error {
	r := bufio.NewReaderSize(from, 256<<10)
	magic := make([]byte, len(dumpMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != dumpMagic {
		return fmt.Errorf("%w: it begins with %q, want %q", ledger.ErrCorrupt, magic, dumpMagic)
	}
	var key, value []byte
	for n := uint64(0); ; n++ {
		part, err := r.ReadByte()
		if err != nil {
			return cutShort(n, err)
		}
		if part == 0 {
			return dumpEnd(r, n)
		}
		if key, err = readField(r, key, dumpKeyMax); err != nil {
			return cutShort(n, err)
		}
		if value, err = readField(r, value, dumpValueMax); err != nil {
			return cutShort(n, err)
		}
		if err := fn(part, key, value); err != nil {
			return err
		}
	}
}

func cutShort(n uint64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: dump is cut short after %d pairs", ledger.ErrCorrupt, n)
	}
	return fmt.Errorf("read pair %d: %w", n+1, err)
}

func dumpEnd(r *bufio.Reader, n uint64) error {
	want, err := binary.ReadUvarint(r)
	if err != nil {
		return cutShort(n, err)
	}
	if _, err := r.ReadByte(); want != n || !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: dump has %d pairs, says %d, and ends with %w", ledger.ErrCorrupt, n, want, err)
	}
	return nil
}

// readField reads a length and its bytes into room.
func readField(r *bufio.Reader, room []byte, most uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return room, err
	}
	if n > most {
		return room, fmt.Errorf("%w: field of %d bytes, at most %d", ledger.ErrCorrupt, n, most)
	}
	if uint64(cap(room)) < n {
		room = make([]byte, n)
	}
	room = room[:n]
	_, err = io.ReadFull(r, room)
	return room, err
}

// DumpInfo is what a verified dump holds.
type DumpInfo struct {
	First, Last ledger.Position // of its log entries; 0: none
	Tip         Tip             // of Last
	Journals    uint64
	Cells       uint64
	Exceptions  uint64
	Chunks      uint64
	Head        ledger.Position // state dumps: where the ledger ended
	Checkpoint  ledger.Position
	Marks       []ledger.Mark
	Facts       map[string][]byte

	// Highest is the highest seq of each journal's entries in its newest epoch, by
	// number: no mark may be below it.
	Highest map[ledger.OriginID]EpochSeq
	origins []protocol.Origin
}

// EpochSeq orders a journal's entries.
type EpochSeq struct{ Epoch, Seq uint64 }

// Origin names a journal of a state dump.
func (i *DumpInfo) Origin(id ledger.OriginID) protocol.Origin {
	if id == 0 || int(id) > len(i.origins) {
		return protocol.Origin{}
	}
	return i.origins[id-1]
}

// Tip tells two logs apart: the entry at one position.
type Tip struct {
	Position ledger.Position  `json:"position"`
	MergedUS int64            `json:"merged_us"`
	EventID  protocol.EventID `json:"event_id"`
	Content  string           `json:"content"` // hex
}

func tipOf(e *ledger.Entry) Tip {
	return Tip{Position: e.Position, MergedUS: e.MergedUS, EventID: e.EventID, Content: fmt.Sprintf("%x", e.Content)}
}

// CheckDump reads a dump to its end and verifies every value's checksum, the order
// of the log, and that the log does not pass the head.
func CheckDump(r io.Reader) (*DumpInfo, error) {
	c := &checker{info: &DumpInfo{Facts: map[string][]byte{}, Highest: map[ledger.OriginID]EpochSeq{}}}
	if err := readDump(r, c.pair); err != nil {
		return nil, fmt.Errorf("check dump: %w", err)
	}
	return c.info, nil
}

type checker struct {
	info  *DumpInfo
	links []ledger.Link
}

func (c *checker) pair(part byte, key, value []byte) error {
	i := c.info
	if part == partBlock {
		return c.block(key, value)
	}
	payload, err := unseal(string(rune(part)), key, value)
	if err != nil {
		return err
	}
	switch part {
	case partMeta:
		return c.meta(key, payload)
	case partJournal:
		i.Journals++
		store, agent, _ := bytes.Cut(payload, []byte{0})
		i.origins = append(i.origins, protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)})
		return wantNumber("journal", key, i.Journals)
	case partCell:
		i.Cells++
		return wantNumber("cell", key, i.Cells)
	case partMark:
		store, agent, _ := bytes.Cut(key, []byte{0})
		m, err := decodeMark(protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)}, payload)
		i.Marks = append(i.Marks, m)
		return err
	case partFact:
		i.Facts[string(key)] = bytes.Clone(payload)
	case partException:
		i.Exceptions++
		_, err := decodeException(key, value)
		return err
	case partChunk:
		i.Chunks++
	default:
		return fmt.Errorf("%w: part %q is not known", ledger.ErrCorrupt, part)
	}
	return nil
}

func wantNumber(what string, key []byte, want uint64) error {
	if len(key) != 4 || uint64(binary.BigEndian.Uint32(key)) != want {
		return fmt.Errorf("%w: %s has key %x, want number %d", ledger.ErrCorrupt, what, key, want)
	}
	return nil
}

func (c *checker) meta(key, payload []byte) error {
	if len(payload) != 8 {
		return fmt.Errorf("%w: meta %s has %d bytes, want 8", ledger.ErrCorrupt, key, len(payload))
	}
	n := ledger.Position(binary.BigEndian.Uint64(payload))
	switch string(key) {
	case string(metaHead):
		c.info.Head = n
	case string(metaCheckpoint):
		c.info.Checkpoint = n
	default:
		return fmt.Errorf("%w: meta %s is not known", ledger.ErrCorrupt, key)
	}
	return nil
}

// block verifies every entry of a block of the log.
func (c *checker) block(key, block []byte) error {
	i := c.info
	if len(key) != 8 {
		return fmt.Errorf("%w: block has key %x, want 8 bytes", ledger.ErrCorrupt, key)
	}
	p := ledger.Position(binary.BigEndian.Uint64(key))
	if i.First == 0 {
		i.First = p
	} else if p != i.Last+1 {
		return fmt.Errorf("%w: block of entry %d follows entry %d", ledger.ErrCorrupt, p, i.Last)
	}
	var e ledger.Entry
	for len(block) > 0 {
		value, rest, ok := cutFrame(block)
		if !ok {
			return fmt.Errorf("%w: entry %d is cut short", ledger.ErrCorrupt, p)
		}
		own := key64(uint64(p))
		links, err := decodeEntry(p, own[:], value, &e, c.links[:0])
		if err != nil {
			return err
		}
		c.links = links
		if h := i.Highest[e.Origin]; e.Epoch > h.Epoch || e.Epoch == h.Epoch && e.Seq > h.Seq {
			i.Highest[e.Origin] = EpochSeq{e.Epoch, e.Seq}
		}
		i.Last = p
		block = rest
		p++
	}
	if e.Position == 0 {
		return fmt.Errorf("%w: block of entry %d is empty", ledger.ErrCorrupt, p)
	}
	i.Tip = tipOf(&e)
	return nil
}
