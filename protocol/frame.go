package protocol

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
)

// FrameMagic opens every frame: "TWF" and the format version.
const FrameMagic = "TWF1"

// Frame carries consecutive records of one journal. On the wire:
//
//	"TWF1" | uvarint header length | header | payload | CRC32C (4 bytes, little endian)
//
// The header is a protobuf message (FrameHeader in tillwire.proto), the payload
// zstd of the records, each with a uvarint length before it. The checksum
// covers everything before it.
type Frame struct {
	Flags         uint64 // low 16 bits: optional; a higher bit that is not known is refused
	Epoch         uint64
	Lease         uint64
	FirstSeq      uint64
	PrevChain     Chain // at FirstSeq-1
	LastChain     Chain // at the last record
	SentUS        int64 // agent wall clock
	UptimeUS      int64 // agent monotonic clock
	ClockOffsetUS int64 // aggregator − agent, as the agent estimates
	ClockErrorUS  int64
	Traceparent   string
	Records       [][]byte
}

// LastSeq is the seq of the last record.
func (f *Frame) LastSeq() uint64 { return f.FirstSeq + uint64(len(f.Records)) - 1 }

// Field numbers of message FrameHeader.
const (
	hFlags protowire.Number = iota + 1
	hEpoch
	hLease
	hFirstSeq
	hCount
	hPrevChain
	hLastChain
	hRawLen
	hSentUS
	hUptimeUS
	hClockOffset
	hClockError
	hTraceparent
	hDictID
)

var headerMessage = message{hDictID, bytesFields(hPrevChain, hLastChain, hTraceparent)}

const requiredFlags = ^uint64(0xffff)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC32C used by frames and journals.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// FrameCodec encodes and decodes frames. It holds the zstd coders, which are
// bounded to one thread and FrameRawBytesMax; it is safe for concurrent use.
type FrameCodec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// NewFrameCodec makes a codec; only impossible zstd options could fail.
func NewFrameCodec() (*FrameCodec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(256<<10), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("make zstd encoder: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(4<<20),
		zstd.WithDecoderMaxWindow(1<<20), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true)) // the header says how much there is: not a byte more is unpacked
	if err != nil {
		return nil, fmt.Errorf("make zstd decoder: %w", err)
	}
	return &FrameCodec{enc: enc, dec: dec}, nil
}

// Append encodes f behind b. The caller keeps to the limits; a frame beyond
// them is an error, never a truncation.
func (c *FrameCodec) Append(b []byte, f *Frame) ([]byte, error) {
	if len(f.Records) == 0 || len(f.Records) > FrameEventsMax {
		return b, fmt.Errorf("encode frame: %w: %d records", ErrMalformed, len(f.Records))
	}
	if f.FirstSeq == 0 || f.UptimeUS < 0 || f.ClockErrorUS < 0 || len(f.Traceparent) > traceparentMaxByte {
		return b, fmt.Errorf("encode frame: %w: first seq %d, uptime %d, clock error %d, traceparent of %d bytes",
			ErrMalformed, f.FirstSeq, f.UptimeUS, f.ClockErrorUS, len(f.Traceparent))
	}
	size := 0
	for i, r := range f.Records {
		if len(r) == 0 || len(r) > RecordBytesMax {
			return b, fmt.Errorf("encode frame: %w: record %d has %d bytes", ErrMalformed, i, len(r))
		}
		size += protowire.SizeBytes(len(r))
	}
	if size > FrameRawBytesMax {
		return b, &SizeError{What: "frame payload", Got: size, Max: FrameRawBytesMax}
	}
	raw := make([]byte, 0, size)
	for _, r := range f.Records {
		raw = protowire.AppendBytes(raw, r)
	}
	start := len(b)
	h := f.appendHeader(make([]byte, 0, 128), len(raw))
	b = append(b, FrameMagic...)
	b = protowire.AppendBytes(b, h)
	b = c.enc.EncodeAll(raw, b)
	return binary.LittleEndian.AppendUint32(b, Checksum(b[start:])), nil
}

func (f *Frame) appendHeader(b []byte, rawLen int) []byte {
	b = appendUint(b, hFlags, f.Flags)
	b = appendUint(b, hEpoch, f.Epoch)
	b = appendUint(b, hLease, f.Lease)
	b = appendUint(b, hFirstSeq, f.FirstSeq)
	b = appendUint(b, hCount, uint64(len(f.Records)))
	b = protowire.AppendBytes(protowire.AppendTag(b, hPrevChain, protowire.BytesType), f.PrevChain[:])
	b = protowire.AppendBytes(protowire.AppendTag(b, hLastChain, protowire.BytesType), f.LastChain[:])
	b = appendUint(b, hRawLen, uint64(rawLen))
	b = appendSint(b, hSentUS, f.SentUS)
	b = appendUint(b, hUptimeUS, uint64(f.UptimeUS))
	b = appendSint(b, hClockOffset, f.ClockOffsetUS)
	b = appendUint(b, hClockError, uint64(f.ClockErrorUS))
	return appendString(b, hTraceparent, f.Traceparent)
}

// Decode reads a frame. It verifies magic, checksum, declared sizes, record
// count and the hash chain from PrevChain to LastChain, so that what it returns
// is exactly what the journal holds. Records share one fresh buffer.
func (c *FrameCodec) Decode(b []byte) (*Frame, error) {
	body, err := unseal(b, "frame", FrameMagic)
	if err != nil {
		return nil, err
	}
	head, n := protowire.ConsumeBytes(body)
	if n < 0 {
		return nil, fmt.Errorf("decode frame header: %w", ErrTruncated)
	}
	if len(head) > FrameHeaderBytesMax {
		return nil, &SizeError{What: "frame header", Got: len(head), Max: FrameHeaderBytesMax}
	}
	f := &Frame{}
	count, rawLen, err := f.decodeHeader(head)
	if err != nil {
		return nil, fmt.Errorf("decode frame header: %w", err)
	}
	raw, err := c.dec.DecodeAll(body[n:], make([]byte, 0, rawLen))
	if err != nil {
		return nil, fmt.Errorf("decode frame payload: %w: %w", ErrMalformed, err)
	}
	if len(raw) != rawLen {
		return nil, fmt.Errorf("decode frame payload: %w: %d bytes, header says %d", ErrMalformed, len(raw), rawLen)
	}
	if err := f.splitRecords(raw, count); err != nil {
		return nil, err
	}
	return f, nil
}

// unseal checks what frames and digests have in common, size, magic and checksum,
// and gives what lies between.
func unseal(b []byte, what, magic string) ([]byte, error) {
	if len(b) > FrameBytesMax {
		return nil, &SizeError{What: what, Got: len(b), Max: FrameBytesMax}
	}
	if len(b) < len(magic)+5 {
		return nil, fmt.Errorf("decode %s: %w", what, ErrTruncated)
	}
	if string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("decode %s: %w", what, ErrMagic)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if got := Checksum(body); got != sum {
		return nil, fmt.Errorf("decode %s: %w: got %08x, want %08x", what, ErrChecksum, got, sum)
	}
	return body[len(magic):], nil
}

func (f *Frame) splitRecords(raw []byte, count int) error {
	f.Records = make([][]byte, 0, count)
	chain := f.PrevChain
	for len(raw) > 0 {
		r, n := protowire.ConsumeBytes(raw)
		if n < 0 || len(r) == 0 || len(f.Records) == count {
			return fmt.Errorf("split frame: %w: records do not fill the payload", ErrMalformed)
		}
		f.Records = append(f.Records, r)
		chain = chain.Next(r)
		raw = raw[n:]
	}
	if len(f.Records) != count {
		return fmt.Errorf("split frame: %w: %d records, header says %d", ErrMalformed, len(f.Records), count)
	}
	if chain != f.LastChain {
		return fmt.Errorf("verify frame: %w: chain is %s, header says %s", ErrChecksum, chain, f.LastChain)
	}
	return nil
}

func (f *Frame) decodeHeader(b []byte) (count, rawLen int, err error) {
	var n, raw uint64
	var fd field
	for len(b) > 0 {
		rest, err := headerMessage.next(b, &fd)
		if err != nil {
			return 0, 0, err
		}
		b = rest
		switch fd.number {
		case hFlags:
			f.Flags = fd.num
		case hEpoch:
			f.Epoch = fd.num
		case hLease:
			f.Lease = fd.num
		case hFirstSeq:
			f.FirstSeq = fd.num
		case hCount:
			n = fd.num
		case hPrevChain:
			err = setChain(&f.PrevChain, fd.raw)
		case hLastChain:
			err = setChain(&f.LastChain, fd.raw)
		case hRawLen:
			raw = fd.num
		case hSentUS:
			f.SentUS = protowire.DecodeZigZag(fd.num)
		case hUptimeUS:
			f.UptimeUS = int64(fd.num)
		case hClockOffset:
			f.ClockOffsetUS = protowire.DecodeZigZag(fd.num)
		case hClockError:
			f.ClockErrorUS = int64(fd.num)
		case hTraceparent:
			if len(fd.raw) <= traceparentMaxByte {
				f.Traceparent = string(fd.raw)
			}
		case hDictID:
			if fd.num != 0 {
				err = ErrUpgrade
			}
		}
		if err != nil {
			return 0, 0, err
		}
	}
	switch {
	case f.Flags&requiredFlags != 0:
		return 0, 0, ErrUpgrade
	case n == 0 || n > FrameEventsMax || raw == 0 || raw > FrameRawBytesMax:
		return 0, 0, fmt.Errorf("%w: %d records, %d raw bytes", ErrMalformed, n, raw)
	case f.FirstSeq == 0 || f.FirstSeq+n < f.FirstSeq:
		return 0, 0, fmt.Errorf("%w: first seq %d", ErrMalformed, f.FirstSeq)
	case f.UptimeUS < 0 || f.ClockErrorUS < 0:
		return 0, 0, fmt.Errorf("%w: uptime or clock error beyond 63 bits", ErrMalformed)
	}
	return int(n), int(raw), nil
}

func setChain(dst *Chain, raw []byte) error {
	if len(raw) != len(dst) {
		return fmt.Errorf("%w: chain of %d bytes", ErrMalformed, len(raw))
	}
	*dst = Chain(raw)
	return nil
}
