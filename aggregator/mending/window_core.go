package mending

// window counts what happened in the last hour, minute by minute.
type window struct {
	n   [60]uint32
	min int64 // the newest minute
}

// at moves on to a minute; what is older than an hour is forgotten. A clock that is
// set back counts into the newest minute.
func (w *window) at(minute int64) {
	for ; w.min < minute; w.min++ {
		if minute-w.min > 60 {
			*w = window{min: minute}
			return
		}
		w.n[(w.min+1)%60] = 0
	}
}

func (w *window) add(minute int64) int {
	w.at(minute)
	w.n[w.min%60]++
	return w.sum()
}

func (w *window) sum() (n int) {
	for _, x := range w.n {
		n += int(x)
	}
	return n
}
