package protocol

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// DigestMagic opens every part of a digest: "TWD" and the format version. On the
// wire:
//
//	"TWD1" | uvarint raw length | zstd of a Digest message | CRC32C (4 bytes, little endian)
const DigestMagic = "TWD1"

// Field numbers of messages Digest and DigestRow in tillwire.proto.
const (
	dEpoch protowire.Number = iota + 1
	dLease
	dAfter
	dAsOf
	dAsOfUS
	dChain
	dPart
	dParts
	dOpen
	dCancelled
	dRow
)

const (
	rSKU protowire.Number = iota + 1
	rUOM
	rNet
	rUnavailable
	rCountSeq
	rCountCut
	rCountedUS
	rCountQuantity
	rCountSince
	rCountBefore
)

var (
	digestMessage    = message{dRow, bytesFields(dChain, dCancelled, dRow)}
	digestRowMessage = message{rCountBefore, bytesFields(rSKU, rUOM)}
)

// digestSumMax bounds what a row may come to: DigestStretchMax records of the
// largest quantity would be beyond it, a chain's real stock never is.
const digestSumMax = 1e15

// SplitDigest cuts a digest into parts that fit into messages. Every part says
// the whole of the head.
func SplitDigest(d *Digest) []*Digest {
	var parts []*Digest
	cut := func() *Digest {
		p := *d
		p.Part, p.Cancelled, p.Rows = len(parts), nil, nil
		parts = append(parts, &p)
		return &p
	}
	p, size := cut(), 0
	room := func(n int) {
		if size += n; size > digestPartBytes {
			p, size = cut(), n
		}
	}
	for _, id := range d.Cancelled {
		room(len(id) + 2)
		p.Cancelled = append(p.Cancelled, id)
	}
	var scratch []byte
	for i := range d.Rows {
		scratch = appendDigestRow(scratch[:0], &d.Rows[i])
		room(len(scratch) + 4)
		p.Rows = append(p.Rows, d.Rows[i])
	}
	for _, p := range parts {
		p.Parts = len(parts)
	}
	return parts
}

// AppendDigest encodes one part behind b.
func (c *FrameCodec) AppendDigest(b []byte, d *Digest) ([]byte, error) {
	raw := appendUint(nil, dEpoch, d.Epoch)
	raw = appendUint(raw, dLease, d.Lease)
	raw = appendUint(raw, dAfter, d.After)
	raw = appendUint(raw, dAsOf, d.AsOf)
	raw = appendSint(raw, dAsOfUS, d.AsOfUS)
	raw = protowire.AppendBytes(protowire.AppendTag(raw, dChain, protowire.BytesType), d.Chain[:])
	raw = appendUint(raw, dPart, uint64(d.Part))
	raw = appendUint(raw, dParts, uint64(d.Parts))
	raw = appendUint(raw, dOpen, d.Open)
	for i := range d.Cancelled {
		raw = protowire.AppendBytes(protowire.AppendTag(raw, dCancelled, protowire.BytesType), d.Cancelled[i][:])
	}
	var row []byte
	for i := range d.Rows {
		row = appendDigestRow(row[:0], &d.Rows[i])
		raw = protowire.AppendBytes(protowire.AppendTag(raw, dRow, protowire.BytesType), row)
	}
	if len(raw) > FrameRawBytesMax {
		return b, &SizeError{What: "digest part", Got: len(raw), Max: FrameRawBytesMax}
	}
	start := len(b)
	b = append(b, DigestMagic...)
	b = protowire.AppendVarint(b, uint64(len(raw)))
	b = c.enc.EncodeAll(raw, b)
	return binary.LittleEndian.AppendUint32(b, Checksum(b[start:])), nil
}

func appendDigestRow(b []byte, r *DigestRow) []byte {
	b = appendString(b, rSKU, string(r.SKU))
	b = appendString(b, rUOM, r.UOM)
	b = appendSint(b, rNet, int64(r.Net))
	b = appendSint(b, rUnavailable, int64(r.Unavailable))
	if c := r.Count; c != nil {
		b = appendUint(b, rCountSeq, c.Seq)
		b = appendUint(b, rCountCut, c.Cut)
		b = appendSint(b, rCountedUS, c.CountedUS)
		b = appendSint(b, rCountQuantity, int64(c.Quantity))
		b = appendSint(b, rCountSince, int64(c.Since))
		b = appendSint(b, rCountBefore, int64(c.Before))
	}
	return b
}

// DecodeDigest reads one part and checks that it can be true: rows in order, sums
// and counts within the stretch.
func (c *FrameCodec) DecodeDigest(b []byte) (*Digest, error) {
	body, err := unseal(b, "digest", DigestMagic)
	if err != nil {
		return nil, err
	}
	rawLen, n := protowire.ConsumeVarint(body)
	if n < 0 || rawLen == 0 || rawLen > FrameRawBytesMax {
		return nil, fmt.Errorf("decode digest: %w: %d raw bytes", ErrMalformed, rawLen)
	}
	raw, err := c.dec.DecodeAll(body[n:], make([]byte, 0, rawLen))
	if err != nil {
		return nil, fmt.Errorf("decode digest: %w: %w", ErrMalformed, err)
	}
	if uint64(len(raw)) != rawLen {
		return nil, fmt.Errorf("decode digest: %w: %d bytes, %d announced", ErrMalformed, len(raw), rawLen)
	}
	d := &Digest{}
	if err := d.decode(raw); err != nil {
		return nil, fmt.Errorf("decode digest: %w", err)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("decode digest: %w", err)
	}
	return d, nil
}

func (d *Digest) decode(b []byte) error {
	var f field
	for len(b) > 0 {
		rest, err := digestMessage.next(b, &f)
		if err != nil {
			return err
		}
		b = rest
		switch f.number {
		case dEpoch:
			d.Epoch = f.num
		case dLease:
			d.Lease = f.num
		case dAfter:
			d.After = f.num
		case dAsOf:
			d.AsOf = f.num
		case dAsOfUS:
			d.AsOfUS = protowire.DecodeZigZag(f.num)
		case dChain:
			err = setChain(&d.Chain, f.raw)
		case dPart, dParts:
			if f.num > DigestPartsMax {
				return fmt.Errorf("%w: part %d", ErrMalformed, f.num)
			}
			if f.number == dPart {
				d.Part = int(f.num)
			} else {
				d.Parts = int(f.num)
			}
		case dOpen:
			d.Open = f.num
		case dCancelled:
			if len(f.raw) != len(EventID{}) {
				return fmt.Errorf("%w: an event id of %d bytes", ErrMalformed, len(f.raw))
			}
			d.Cancelled = append(d.Cancelled, EventID(f.raw))
		case dRow:
			var r DigestRow
			if r, err = decodeDigestRow(f.raw); err == nil {
				d.Rows = append(d.Rows, r)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func decodeDigestRow(b []byte) (r DigestRow, err error) {
	var c DigestCount
	var f field
	for len(b) > 0 {
		if b, err = digestRowMessage.next(b, &f); err != nil {
			return r, err
		}
		switch f.number {
		case rSKU:
			r.SKU = SKU(f.raw)
		case rUOM:
			r.UOM = string(f.raw)
		case rNet:
			r.Net = Quantity(protowire.DecodeZigZag(f.num))
		case rUnavailable:
			r.Unavailable = Quantity(protowire.DecodeZigZag(f.num))
		case rCountSeq:
			c.Seq = f.num
		case rCountCut:
			c.Cut = f.num
		case rCountedUS:
			c.CountedUS = protowire.DecodeZigZag(f.num)
		case rCountQuantity:
			c.Quantity = Quantity(protowire.DecodeZigZag(f.num))
		case rCountSince:
			c.Since = Quantity(protowire.DecodeZigZag(f.num))
		case rCountBefore:
			c.Before = Quantity(protowire.DecodeZigZag(f.num))
		}
	}
	if c.Seq != 0 {
		r.Count = &c
	}
	return r, nil
}

func (d *Digest) check() error {
	switch {
	case d.AsOf <= d.After || d.AsOf-d.After > DigestStretchMax:
		return fmt.Errorf("%w: the stretch goes from %d to %d", ErrMalformed, d.After, d.AsOf)
	case d.Parts < 1 || d.Part < 0 || d.Part >= d.Parts:
		return fmt.Errorf("%w: part %d of %d", ErrMalformed, d.Part, d.Parts)
	}
	for i := range d.Rows {
		r := &d.Rows[i]
		sums := []Quantity{r.Net, r.Unavailable}
		if c := r.Count; c != nil {
			if c.Seq <= d.After || c.Seq > d.AsOf || c.Cut >= c.Seq {
				return fmt.Errorf("%w: a count of %.64q at seq %d, cut at %d", ErrMalformed, r.SKU, c.Seq, c.Cut)
			}
			sums = append(sums, c.Quantity, c.Since, c.Before)
		}
		for _, q := range sums {
			if q > digestSumMax || q < -digestSumMax {
				return fmt.Errorf("%w: %.64q comes to %d", ErrMalformed, r.SKU, q)
			}
		}
		if r.SKU == "" || len(r.SKU) > SKUBytesMax || len(r.UOM) > NameBytesMax || i > 0 && cmpRow(&d.Rows[i-1], r) >= 0 {
			return fmt.Errorf("%w: row %d of %.64q", ErrMalformed, i, r.SKU)
		}
	}
	return nil
}
