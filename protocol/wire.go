package protocol

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// fixLength writes the length of b[at+1:] into the byte kept free at b[at],
// moving the content where one byte is not enough.
func fixLength(b []byte, at int) []byte {
	n := len(b) - at - 1
	if n < 0x80 {
		b[at] = byte(n)
		return b
	}
	size := protowire.SizeVarint(uint64(n))
	for range size - 1 {
		b = append(b, 0)
	}
	copy(b[at+size:], b[at+1:at+1+n])
	protowire.AppendVarint(b[:at], uint64(n))
	return b
}

func appendUint(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func appendSint(b []byte, n protowire.Number, v int64) []byte {
	return appendUint(b, n, protowire.EncodeZigZag(v))
}

func appendString(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

// message says which field numbers of a protobuf message we know: those from 1 to
// last, of which the bits of bytes are length-delimited and all others varints.
// No message of ours has other wire types.
type message struct {
	last  protowire.Number // at most 63
	bytes uint64
}

func bytesFields(ns ...protowire.Number) (set uint64) {
	for _, n := range ns {
		set |= 1 << n
	}
	return set
}

// field is one decoded protobuf field; by its number either num or raw is set.
// Number 0 is a field that the message does not know.
type field struct {
	number protowire.Number
	num    uint64
	raw    []byte
	text   string // raw as part of a string that is there already, see textOf
}

// textOf is what raw says where text is a string of the same bytes as the message,
// or as its end: rest is what follows the field. Without text there is none.
func (f *field) textOf(text string, rest []byte) string {
	if text == "" {
		return ""
	}
	end := len(text) - len(rest)
	return text[end-len(f.raw) : end]
}

// string is raw as a string: a part of the text, else a copy.
func (f *field) string() string {
	if f.text != "" {
		return f.text
	}
	return string(f.raw)
}

// next takes one field off b into f. What the message does not know is skipped,
// whatever its wire type. What it knows must have its own wire type: read as another
// it would be zero, and mean something else.
func (m *message) next(b []byte, f *field) (rest []byte, err error) {
	// Nearly every field has a tag and a number, or length, of one byte each.
	if len(b) >= 2 && b[0] >= 1<<3 && b[0] < 0x80 && b[1] < 0x80 {
		if n := protowire.Number(b[0] >> 3); n <= m.last {
			typ := protowire.Type(b[0] & 7)
			if m.bytes>>n&1 == 0 {
				if typ == protowire.VarintType {
					f.number, f.num, f.raw = n, uint64(b[1]), nil
					return b[2:], nil
				}
			} else if end := 2 + int(b[1]); typ == protowire.BytesType && end <= len(b) {
				f.number, f.num, f.raw = n, 0, b[2:end:end]
				return b[end:], nil
			}
		}
	}
	return m.long(b, f)
}

func (m *message) long(b []byte, f *field) (rest []byte, err error) {
	*f = field{}
	n, typ, k := protowire.ConsumeTag(b)
	if k < 0 {
		return nil, ErrTruncated
	}
	b = b[k:]
	var num uint64
	var raw []byte
	switch typ {
	case protowire.VarintType:
		num, k = protowire.ConsumeVarint(b)
	case protowire.BytesType:
		raw, k = protowire.ConsumeBytes(b)
	default:
		k = protowire.ConsumeFieldValue(n, typ, b)
	}
	switch {
	case k < 0:
		return nil, ErrTruncated
	case n > m.last:
		return b[k:], nil
	}
	want := protowire.VarintType
	if m.bytes>>n&1 != 0 {
		want = protowire.BytesType
	}
	if typ != want {
		return nil, fmt.Errorf("%w: field %d has wire type %d, want %d", ErrMalformed, n, typ, want)
	}
	f.number, f.num, f.raw = n, num, raw
	return b[k:], nil
}
