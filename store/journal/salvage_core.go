package journal

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"tillwire/protocol"
)

// find is a record met in a leaf page anywhere in a damaged file, live or
// stale: its checksum covers its seq, so what decodes is what was written.
type find struct {
	seq   uint64
	off   int64 // of the value in the file
	size  int
	chain protocol.Chain
}

// note is a value of the meta bucket as it was found.
type note struct {
	update uint64
	raw    []byte
}

// finds is what a sweep over all pages brought to light.
type finds struct {
	records []find
	headers map[uint64]tip  // by first seq of a segment
	marks   marks           // the newest
	setBack map[string]note // the newest of each key
	tail    uint64          // of the live segments; 0 = root page unreadable
}

// sweepPage collects from one page; base is its offset in the file.
func (f *finds) sweepPage(page []byte, base int64) { f.sweepLeaf(page, base, false) }

// sweepLeaf looks into inline buckets too; those hold none themselves.
func (f *finds) sweepLeaf(page []byte, base int64, inline bool) {
	if len(page) < pageHead {
		return
	}
	flags, count, _ := pageKind(page)
	if flags != pageLeaf {
		return
	}
	for i := range count {
		e, ok := parseElement(page, true, i)
		switch {
		case !ok:
		case e.bucket:
			if !inline && len(e.value) > inlineHead && binary.LittleEndian.Uint64(e.value) == 0 {
				f.sweepLeaf(e.value[inlineHead:], base+int64(e.at)+inlineHead, true)
			}
		case bytes.Equal(e.key, keyMarks):
			var m marks
			if decodeMeta("marks", e.value, &m) == nil && m.Update >= f.marks.Update {
				f.marks = m
			}
		case bytes.HasPrefix(e.key, keySetBack):
			f.sweepSetBack(e)
		case len(e.key) == 8:
			f.sweepRecord(page, base, i, e)
		}
	}
}

func (f *finds) sweepSetBack(e element) {
	var v struct {
		Update uint64 `json:"update"`
	}
	if decodeMeta("set-back", e.value, &v) != nil || v.Update < f.setBack[string(e.key)].update {
		return
	}
	if f.setBack == nil {
		f.setBack = make(map[string]note)
	}
	f.setBack[string(e.key)] = note{v.Update, bytes.Clone(e.value)}
}

func (f *finds) sweepRecord(page []byte, base int64, i int, e element) {
	seq := keySeq(e.key)
	if seq == 0 {
		next, ok := parseElement(page, true, i+1)
		if !ok || len(next.key) != 8 || keySeq(next.key) == 0 {
			return
		}
		first := keySeq(next.key)
		if before, err := decodeHeader(first, e.value); err == nil {
			f.headers[first] = before
		}
		return
	}
	if r, err := decodeValue(seq, e.value); err == nil {
		f.records = append(f.records, find{seq: seq, off: base + int64(e.at), size: len(e.value), chain: r.chain})
	}
}

// choose picks one find per seq, newest first, so that each is the one that the
// next was chained to; what else claims the same seq (a commit that failed and
// was retried) is returned as rest. Finds below low are stale pages of trimmed
// segments. value reads a find's bytes again.
func (f *finds) choose(value func(find) (row, error)) (chosen, rest []find) {
	slices.SortFunc(f.records, func(a, b find) int {
		return cmp.Or(cmp.Compare(b.seq, a.seq), bytes.Compare(a.chain[:], b.chain[:]))
	})
	f.records = slices.CompactFunc(f.records, func(a, b find) bool { return a.seq == b.seq && a.chain == b.chain })
	low := f.low()
	for start := 0; start < len(f.records); {
		end := start + 1
		for end < len(f.records) && f.records[end].seq == f.records[start].seq {
			end++
		}
		same := f.records[start:end]
		start = end
		if same[0].seq < low {
			break
		}
		pick := 0
		if len(same) > 1 && len(chosen) > 0 {
			next := chosen[len(chosen)-1]
			if r, err := value(next); err == nil && next.seq == same[0].seq+1 {
				pick = max(0, slices.IndexFunc(same, func(c find) bool { return c.chain.Next(r.record) == next.chain }))
			}
		}
		chosen = append(chosen, same[pick])
		rest = append(append(rest, same[:pick]...), same[pick+1:]...)
	}
	slices.Reverse(chosen)
	slices.Reverse(rest)
	return f.bounded(chosen), rest
}

// low is the first seq worth keeping: the live tail, or, where that cannot be
// read, what the aggregator has not merged.
func (f *finds) low() uint64 {
	if f.tail != 0 {
		return f.tail
	}
	return f.marks.Merged + 1
}

// bounded drops the oldest finds where the gaps between all of them are more
// than a salvage may fill.
func (f *finds) bounded(chosen []find) []find {
	gaps := uint64(0)
	for i := len(chosen) - 1; i > 0; i-- {
		if gaps += chosen[i].seq - chosen[i-1].seq - 1; gaps > salvageFillMax {
			return chosen[i:]
		}
	}
	return chosen
}

// lostMarker stands as event bytes in the place of a record that could not be
// read. It is no event: the aggregator parks it under its seq, so that a person
// is told exactly which records were lost, and the numbering stays whole.
var lostMarker = []byte("\x00lost record")

// rebuilt makes a row behind at of event bytes. Where the record fits the chain
// it comes out as it was.
func rebuilt(at tip, us int64, event []byte, item *pending) planned {
	us = max(us, at.us+1)
	record := binary.AppendUvarint(make([]byte, 0, timeMax+len(event)), uint64(us))
	record = append(record, event...)
	after := tip{seq: at.seq + 1, us: us, total: at.total + uint64(len(record)), chain: at.chain.Next(record)}
	return planned{before: at, after: after, value: newValue(after.seq, after.total, after.chain, record), item: item}
}
