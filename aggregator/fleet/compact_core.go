package fleet

import "math/bits"

// pack keeps a number in 16 bits as a small float: exact below 2,048, within
// 0.05 % up to 2^41. History of 4,000 stores over a day is 35 MB this way, the
// byte of packState included.
//
//	bits 15..11 exponent e   bits 10..0 mantissa m
//	e = 0: m      e > 0: (2048 + m) << (e-1)
func pack(v uint64) uint16 {
	if v < 2048 {
		return uint16(v)
	}
	shift := bits.Len64(v) - 12
	if shift > 30 {
		return 0xffff
	}
	return uint16(shift+1)<<11 | uint16(v>>shift&2047)
}

func unpack(p uint16) uint64 {
	e, m := p>>11, uint64(p&2047)
	if e == 0 {
		return m
	}
	return (2048 + m) << (e - 1)
}

// sample is one moment of one store.
type sample struct{ lagDS, backlog uint16 } // tenths of seconds; events

// ring is a bounded row of samples at a fixed distance.
type ring[T any] struct {
	at   []T
	next int
	full bool
}

func (r *ring[T]) push(s T, limit int) {
	if len(r.at) < limit {
		r.at = append(r.at, s)
		return
	}
	r.full = true
	r.at[r.next] = s
	r.next = (r.next + 1) % limit
}

// each visits oldest first; back counts down to 0 for the newest.
func (r *ring[T]) each(fn func(back int, s T)) {
	n := len(r.at)
	for i := range n {
		k := i
		if r.full {
			k = (r.next + i) % n
		}
		fn(n-1-i, r.at[k])
	}
}

// back is the sample that was pushed k before the newest.
func (r *ring[T]) back(k int) (s T, ok bool) {
	n := len(r.at)
	if k < 0 || k >= n {
		return s, false
	}
	i := n - 1 - k
	if r.full {
		i = (r.next + i) % n
	}
	return r.at[i], true
}

// packState keeps a presence and a lag band in one byte: bits 5..3 severity of
// the presence, bits 2..0 band.
func packState(severity, band int) uint8 { return uint8(severity&7)<<3 | uint8(band&7) }
