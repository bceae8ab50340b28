package demand

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"tillwire/protocol"
)

// ErrChunk is a checkpoint chunk that cannot be read.
var ErrChunk = errors.New("demand chunk is damaged")

// Chunks emits what changed since the last call. Numbers are little-endian.
//
//	0              chain: version · origin 4 · newest 8 · 168 × float64
//	1 to 4095      16 locations, in order of their first sale: version · per location
//	               length 1 · name · origin 4 · offset 2 · newest 8 · 168 × float32
//	4096 + n       positions from 1024 n: version · origin 4 · float32 of each · 2 bytes of each
func (l *Learner) Chunks(emit func(no uint32, data []byte)) error {
	le := binary.LittleEndian
	if c := &l.chain; c.dirty {
		b := le.AppendUint64(le.AppendUint32([]byte{chunkVersion}, uint32(c.origin)), uint64(c.newestUS))
		for _, x := range c.lines {
			b = le.AppendUint64(b, math.Float64bits(x))
		}
		emit(0, b)
		c.dirty = false
	}
	for g, dirty := range l.dirty {
		if !dirty {
			continue
		}
		b := []byte{chunkVersion}
		for _, w := range l.weeks[g*locationsChunk : min((g+1)*locationsChunk, len(l.weeks))] {
			b = append(append(b, byte(len(w.name))), w.name...)
			b = le.AppendUint16(le.AppendUint32(b, uint32(w.origin)), uint16(w.offset))
			b = le.AppendUint64(b, uint64(w.newestUS))
			for _, x := range w.lines {
				b = le.AppendUint32(b, math.Float32bits(x))
			}
		}
		emit(uint32(1+g), b)
	}
	clear(l.dirty)
	for no := range l.shards {
		s := &l.shards[no]
		if !s.dirty {
			continue
		}
		b := le.AppendUint32([]byte{chunkVersion}, uint32(s.origin))
		for _, x := range s.units {
			b = le.AppendUint32(b, math.Float32bits(x))
		}
		for _, x := range s.first {
			b = le.AppendUint16(b, x)
		}
		emit(uint32(cellChunk+no), b)
		s.dirty = false
	}
	return nil
}

// Restore reads one chunk back into a new learner; those of locations in order.
func (l *Learner) Restore(no uint32, data []byte) error {
	if len(data) == 0 || data[0] != chunkVersion {
		return fmt.Errorf("restore chunk %d: %w: unknown version", no, ErrChunk)
	}
	r := reader{b: data[1:]}
	switch {
	case no == 0:
		l.restoreChain(&r)
	case no < cellChunk:
		l.restoreWeeks(&r, int(no-1))
	case no < cellChunk+cellsMax/shardCells:
		l.restoreShard(&r, int(no-cellChunk))
	default:
		r.bad = true
	}
	if r.bad || len(r.b) != 0 {
		return fmt.Errorf("restore chunk %d: %w", no, ErrChunk)
	}
	return nil
}

func (l *Learner) restoreChain(r *reader) {
	c := l.chain
	c.origin, c.newestUS = r.origin(), r.time()
	for h := range c.lines {
		c.lines[h] = math.Float64frombits(r.uint(8))
		r.bad = r.bad || !(c.lines[h] >= 0 && c.lines[h] < math.MaxFloat32)
	}
	if !r.bad {
		l.chain = c
	}
}

func (l *Learner) restoreWeeks(r *reader, group int) {
	if len(l.weeks) != group*locationsChunk {
		r.bad = true
		return
	}
	for n := 0; len(r.b) > 0 && !r.bad; n++ {
		w := &week{name: protocol.StoreID(r.take(int(r.uint(1)))), origin: r.origin(), offset: int16(r.uint(2)), newestUS: r.time()}
		for h := range w.lines {
			w.lines[h] = r.float()
		}
		if _, twice := l.byName[w.name]; r.bad || twice || n == locationsChunk {
			r.bad = true
			return
		}
		l.byName[w.name] = len(l.weeks)
		l.weeks = append(l.weeks, w)
	}
}

func (l *Learner) restoreShard(r *reader, no int) {
	s := shardAt{shard: &shard{}, origin: r.origin()}
	for i := range s.units {
		s.units[i] = r.float()
	}
	for i := range s.first {
		s.first[i] = uint16(r.uint(2))
	}
	if r.bad {
		return
	}
	for len(l.shards) <= no {
		l.shards = append(l.shards, shardAt{})
	}
	l.shards[no] = s
}

// reader takes numbers off a chunk; bad stays where one is missing or impossible.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return make([]byte, min(n, 8))
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) uint(n int) (v uint64) {
	for i, x := range r.take(n) {
		v |= uint64(x) << (8 * i)
	}
	return v
}

func (r *reader) origin() int32 {
	v := r.uint(4)
	r.bad = r.bad || v > originMax
	return int32(v)
}

func (r *reader) time() int64 {
	v := r.uint(8)
	r.bad = r.bad || v > eventMaxUS
	return int64(v)
}

func (r *reader) float() float32 {
	v := math.Float32frombits(uint32(r.uint(4)))
	r.bad = r.bad || !(v >= 0 && v <= math.MaxFloat32)
	return v
}
