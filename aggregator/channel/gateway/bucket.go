package gateway

import "math"

// Limit is what a partner allows an account for one operation.
type Limit struct {
	Rate          float64 // calls per second
	Burst         int     // calls at once after a pause
	MinIntervalUS int64   // between the end of a call and the next
	DailyPerItem  int     // calls about one key in a UTC day; 0: any
	BatchMax      int     // keys in one call
}

// Bucket is the partner's token bucket as seen from here. Ours holds never more than
// theirs, whatever time calls take:
//
//	theirs(t) ≥ ours(t) + calls that are on their way
//
// holds at first (ours is empty), when a call is sent (ours − 1), when it arrives
// (theirs − 1), and while both fill: where theirs is full and cannot, ours stops at
// burst − calls that are not answered.
type Bucket struct {
	limit    Limit
	learnt   bool
	rate     float64 // in force: what was learnt, less after refusals
	top      float64 // what it grows back to
	level    float64
	atUS     int64   // of level
	flying   int     // sent and not answered
	ghosts   []int64 // without an answer; they count as flying until then
	freeUS   int64   // no call before
	refusals int     // in a row
	failures int     // in a row

	Throttled uint64
}

// NewBucket begins empty: who called a moment ago is not known.
func NewBucket(l Limit, nowUS int64) *Bucket {
	l.Burst, l.BatchMax = max(l.Burst, 1), max(l.BatchMax, 1)
	l.Rate = max(l.Rate, rateFloor)
	return &Bucket{limit: l, rate: l.Rate, top: l.Rate, atUS: nowUS}
}

// fill brings the level to now.
func (b *Bucket) fill(nowUS int64) {
	for len(b.ghosts) > 0 && b.ghosts[0] <= nowUS {
		b.ghosts = b.ghosts[1:]
		b.flying--
	}
	if nowUS <= b.atUS {
		return
	}
	room := float64(b.limit.Burst - b.flying)
	if b.level < room {
		b.level = math.Min(room, b.level+float64(nowUS-b.atUS)/usPerS*b.rate)
	}
	b.atUS = nowUS
}

// Wait is how long no call may be made, in µs; 0: one may now.
func (b *Bucket) Wait(nowUS int64) int64 {
	b.fill(nowUS)
	wait := max(b.freeUS-nowUS, 0)
	most := min(b.limit.Burst, flightMax)
	if b.limit.MinIntervalUS > 0 {
		most = 1
	}
	if b.flying >= most {
		next := int64(usPerS)
		if len(b.ghosts) > 0 {
			next = max(b.ghosts[0]-nowUS, 1)
		}
		return max(wait, next) // the answer wakes who waits, if it comes first
	}
	if lack := 1 - b.level; lack > 0 {
		wait = max(wait, int64(math.Ceil(lack/b.rate*usPerS)))
	}
	return wait
}

// Sent notes that a call goes out. Wait must have said 0.
func (b *Bucket) Sent(nowUS int64) {
	b.fill(nowUS)
	b.level--
	b.flying++
}

// Reply is what a call came to.
type Reply struct {
	Lost         bool    // nobody knows whether it arrived
	Throttled    bool    // 429, or what the partner says instead
	Failed       bool    // the partner could not, whatever was asked
	RetryAfterUS int64   // 0: it did not say
	Rate         float64 // calls per second, as the partner says; 0: it did not say
}

// Answered notes the end of a call.
func (b *Bucket) Answered(r Reply, nowUS int64) {
	b.fill(nowUS)
	if r.Lost {
		b.ghosts = append(b.ghosts, nowUS+ghostUS)
	} else {
		b.flying--
	}
	b.freeUS = max(b.freeUS, nowUS+b.limit.MinIntervalUS)
	if r.Rate > 0 && !math.IsInf(r.Rate, 0) && !math.IsNaN(r.Rate) {
		b.top, b.learnt = max(r.Rate, rateFloor), true
		b.rate = math.Min(b.rate, b.top)
		if !r.Throttled && b.refusals == 0 {
			b.rate = b.top
		}
	}
	switch {
	case r.Throttled:
		b.Throttled++
		b.refusals++
		b.level = math.Min(b.level, 0)
		pause := r.RetryAfterUS
		if pause == 0 {
			pause = doubled(backoffUS, b.refusals)
		}
		b.freeUS = max(b.freeUS, nowUS+pause)
		if r.Rate == 0 {
			b.rate = max(b.rate*0.7, rateFloor)
		}
	case r.Failed || r.Lost:
		b.failures++
		b.freeUS = max(b.freeUS, nowUS+max(min(doubled(failureUS, b.failures), failureMaxUS), r.RetryAfterUS))
	default:
		b.refusals, b.failures = 0, 0
		b.rate = math.Min(b.rate*1.005, b.top)
	}
}

// doubled is a pause that doubles with each try.
func doubled(first int64, tries int) int64 {
	if tries > 20 {
		return backoffMaxUS
	}
	return min(first<<max(tries-1, 0), backoffMaxUS)
}

// State tells what holds now.
func (b *Bucket) State(nowUS int64) (rate float64, burst int, learnt bool, level float64) {
	b.fill(nowUS)
	return b.rate, b.limit.Burst, b.learnt, max(b.level, 0)
}
