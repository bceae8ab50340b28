package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"tillwire/protocol"
)

// A record's value in its segment bucket:
//
//	0        4                12               28
//	┌────────┬────────────────┬────────────────┬──────────────────────────────┐
//	│ crc32c │ total (u64 BE) │ chain [16]     │ record: uvarint time ‖ event │
//	└────────┴────────────────┴────────────────┴──────────────────────────────┘
//
// crc32c runs over the seq (u64 BE, the key) and everything behind the crc, so
// that a value under a wrong key is as visible as a flipped bit. total counts
// the record bytes from seq 1 up to this record: the backlog's size is a
// subtraction. chain is h(n) = SHA-256(h(n-1) ‖ record)[:16].
const (
	valueCRC   = 4
	valueTotal = 8
	valueHead  = valueCRC + valueTotal + len(protocol.Chain{})
	timeMax    = binary.MaxVarintLen64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// row is a value taken apart; record aliases the value.
type row struct {
	total  uint64
	chain  protocol.Chain
	record []byte
}

// tip is the end of a journal or of a part of it: everything the next record
// is built on.
type tip struct {
	seq   uint64
	us    int64 // record time
	total uint64
	chain protocol.Chain
}

// key is the big-endian form of seq.
func key(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func valueSum(seq uint64, body []byte) uint32 {
	var k [8]byte
	binary.BigEndian.PutUint64(k[:], seq)
	return crc32.Update(crc32.Checksum(k[:], castagnoli), castagnoli, body)
}

// sealValue writes the head of v, whose record is already in place.
func sealValue(v []byte, seq, total uint64, chain protocol.Chain) {
	binary.BigEndian.PutUint64(v[valueCRC:], total)
	copy(v[valueCRC+valueTotal:], chain[:])
	binary.BigEndian.PutUint32(v, valueSum(seq, v[valueCRC:]))
}

// newValue builds the value of a record.
func newValue(seq, total uint64, chain protocol.Chain, record []byte) []byte {
	v := make([]byte, valueHead, valueHead+len(record))
	v = append(v, record...)
	sealValue(v, seq, total, chain)
	return v
}

// decodeValue verifies v against its key and takes it apart.
func decodeValue(seq uint64, v []byte) (row, error) {
	if len(v) <= valueHead || len(v) > valueHead+protocol.RecordBytesMax {
		return row{}, &CorruptError{
			What: fmt.Sprintf("size of record %d", seq), Got: fmt.Sprint(len(v)),
			Want: fmt.Sprintf("%d to %d", valueHead+1, valueHead+protocol.RecordBytesMax),
		}
	}
	got, want := valueSum(seq, v[valueCRC:]), binary.BigEndian.Uint32(v)
	if got != want {
		return row{}, &CorruptError{
			What: fmt.Sprintf("checksum of record %d", seq),
			Got:  fmt.Sprintf("%08x", got), Want: fmt.Sprintf("%08x", want),
		}
	}
	r := row{total: binary.BigEndian.Uint64(v[valueCRC:]), record: v[valueHead:]}
	copy(r.chain[:], v[valueCRC+valueTotal:])
	return r, nil
}

// recordTime reads the record time of a decoded row.
func (r row) recordTime() (int64, error) {
	us, _, err := protocol.SplitRecord(r.record)
	return us, err
}

// follow verifies that r is the record after t and returns the tip behind it.
func (t tip) follow(r row) (tip, error) {
	seq := t.seq + 1
	us, err := r.recordTime()
	if err != nil {
		return tip{}, &CorruptError{What: fmt.Sprintf("time of record %d", seq), Got: err.Error(), Want: "a varint"}
	}
	next := tip{seq: seq, us: us, total: t.total + uint64(len(r.record)), chain: t.chain.Next(r.record)}
	switch {
	case next.chain != r.chain:
		return tip{}, &CorruptError{What: fmt.Sprintf("chain at record %d", seq), Got: r.chain.String(), Want: next.chain.String()}
	case next.total != r.total:
		return tip{}, &CorruptError{What: fmt.Sprintf("byte count at record %d", seq), Got: fmt.Sprint(r.total), Want: fmt.Sprint(next.total)}
	case us <= t.us:
		return tip{}, &CorruptError{What: fmt.Sprintf("time of record %d", seq), Got: fmt.Sprint(us), Want: fmt.Sprintf("more than %d", t.us)}
	}
	return next, nil
}

// A segment's header stands under key 0 and is a value too, sealed with the
// seq before the segment's first: its record is only that seq's time. It lets a
// segment be read and verified when those before it are trimmed.

func headerValue(before tip) []byte {
	return newValue(before.seq, before.total, before.chain, binary.AppendUvarint(nil, uint64(before.us)))
}

func decodeHeader(first uint64, v []byte) (tip, error) {
	r, err := decodeValue(first-1, v)
	if err != nil {
		return tip{}, fmt.Errorf("read header of segment %d: %w", first, err)
	}
	us, err := r.recordTime()
	if err != nil {
		return tip{}, &CorruptError{What: fmt.Sprintf("header of segment %d", first), Got: err.Error(), Want: "a time"}
	}
	return tip{seq: first - 1, us: us, total: r.total, chain: r.chain}, nil
}
