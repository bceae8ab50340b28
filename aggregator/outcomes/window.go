package outcomes

import "math/bits"

// window is a histogram of milliseconds with two buckets to each doubling: a
// quantile is told within a quarter.
type window struct {
	n    [windowBuckets]uint32
	docs int64
}

// windowBuckets reach to 18 days; what is slower counts there.
const windowBuckets = 62

func bucketOf(ms int64) int {
	if ms < 1 {
		return 0
	}
	octave := bits.Len64(uint64(ms)) - 1 // 2^octave ≤ ms
	half := 0
	if octave > 0 {
		half = int(ms>>(octave-1)) & 1
	}
	return min(1+2*octave+half, windowBuckets-1)
}

// bounds are the milliseconds that a bucket holds, the upper one not included.
func bounds(bucket int) (from, to int64) {
	if bucket == 0 {
		return 0, 1
	}
	octave, half := (bucket-1)/2, int64(bucket-1)%2
	if octave == 0 {
		return 1, 2
	}
	step := int64(1) << (octave - 1)
	from = 2*step + half*step
	return from, from + step
}

func (w *window) add(us int64) {
	b := bucketOf(us / 1000)
	if w.n[b] != ^uint32(0) {
		w.n[b]++
	}
	w.docs++
}

func (w *window) join(o *window) {
	for i, n := range o.n {
		w.n[i] = uint32(min(uint64(w.n[i])+uint64(n), uint64(^uint32(0))))
	}
	w.docs += o.docs
}

// quantile is where q of the documents were in, even within a bucket.
func (w *window) quantile(q float64) int64 {
	var all uint64
	for _, n := range w.n {
		all += uint64(n)
	}
	want := max(uint64(q*float64(all)+0.5), 1)
	var seen uint64
	for i, n := range w.n {
		if n == 0 || seen+uint64(n) < want {
			seen += uint64(n)
			continue
		}
		from, to := bounds(i)
		return from + int64(float64(to-from)*float64(want-seen)/float64(n))
	}
	return 0
}

// most is the upper end of the slowest bucket.
func (w *window) most() int64 {
	for i := windowBuckets - 1; i >= 0; i-- {
		if w.n[i] > 0 {
			_, to := bounds(i)
			return to
		}
	}
	return 0
}
