package yardstick

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Zstd packs bytes with the settings of the product's frames and adds nothing: no
// header, no checksum, no chain.
type Zstd struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// NewZstd makes one.
func NewZstd() (*Zstd, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(256<<10), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("make zstd encoder: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<20), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("make zstd decoder: %w", err)
	}
	return &Zstd{enc: enc, dec: dec}, nil
}

// Pack compresses raw behind b.
func (z *Zstd) Pack(b, raw []byte) []byte { return z.enc.EncodeAll(raw, b) }

// Unpack decompresses packed behind b.
func (z *Zstd) Unpack(b, packed []byte) ([]byte, error) { return z.dec.DecodeAll(packed, b) }
