package protocol

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// A record is what a journal keeps, chains and sends for one event:
//
//	record = uvarint(record_time_us) event-bytes
//
// record_time is the agent's clock, made strictly increasing within a journal.

// AppendRecord appends a record of e.
func AppendRecord(b []byte, recordUS int64, e *Event) []byte {
	return AppendEvent(protowire.AppendVarint(b, uint64(recordUS)), e)
}

// SplitRecord takes a record apart without copying.
func SplitRecord(rec []byte) (recordUS int64, event []byte, err error) {
	if len(rec) > RecordBytesMax {
		return 0, nil, &SizeError{What: "record", Got: len(rec), Max: RecordBytesMax}
	}
	v, n := protowire.ConsumeVarint(rec)
	if n < 0 || int64(v) < 0 {
		return 0, nil, fmt.Errorf("split record: %w", ErrTruncated)
	}
	return int64(v), rec[n:], nil
}

// DecodeRecord reads a record whole.
func DecodeRecord(rec []byte, e *Event) (recordUS int64, err error) {
	us, ev, err := SplitRecord(rec)
	if err != nil {
		return 0, err
	}
	return us, DecodeEvent(ev, e)
}

// DecodeRecordText is DecodeRecord without a copy of each string: they become parts
// of text, a string of the record's bytes. Who keeps one for long keeps all of that,
// and does well to clone it.
func DecodeRecordText(rec []byte, text string, e *Event) (recordUS int64, err error) {
	us, ev, err := SplitRecord(rec)
	if err != nil {
		return 0, err
	}
	return us, decodeEvent(ev, text[len(text)-len(ev):], e)
}
