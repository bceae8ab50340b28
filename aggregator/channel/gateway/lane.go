package gateway

import (
	"container/heap"

	"tillwire/protocol"
)

// Verdict is what a partner said of one key.
type Verdict int

// The verdicts.
const (
	Again    Verdict = iota // not now: it is owed on, and tried again alone
	Accepted                // it has the value that it was told
	Refused                 // it will not take this value; a newer one is tried
	Apart                   // the call was wrong as a whole: each of its keys is tried in one of its own
)

// Lane is what one account is told through one operation.
type Lane struct {
	Bucket *Bucket
	Owed   *Pending
	Ages   Ages

	limit   Limit
	later   delays
	delayed map[string]*delay
	today   map[string]*item
	day     int64
	out     map[string]Owed // keys of calls that are out

	Accepted, Refused, Retried, Capped uint64
}

// item is what is known of one key beyond what is owed.
type item struct{ calls int }

// delay is a key that is not to be told before a moment.
type delay struct {
	Owed
	dueUS int64
}

// NewLane makes one.
func NewLane(l Limit, nowUS int64) *Lane {
	b := NewBucket(l, nowUS)
	return &Lane{Bucket: b, limit: b.limit, Owed: NewPending(PendingMax), delayed: map[string]*delay{}, today: map[string]*item{}, out: map[string]Owed{}}
}

// Put notes that a key changed. false: there is no room for it.
func (l *Lane) Put(key string, us int64, after uint64) bool {
	if l.delayed[key] != nil { // its newest value is told when it is due
		l.Owed.Coalesced++
		return true
	}
	return l.Owed.Mark(key, us, after, false)
}

// Len counts the keys that are owed, those of calls that are out not among them.
func (l *Lane) Len() int { return l.Owed.Len() + len(l.delayed) }

// Oldest is since when the key is owed that waits longest; false: none is.
func (l *Lane) Oldest() (us int64, ok bool) {
	take := func(o *Owed) {
		if !ok || o.Since < us {
			us, ok = o.Since, true
		}
	}
	for _, o := range l.Owed.m {
		take(o)
	}
	for _, d := range l.delayed {
		take(&d.Owed)
	}
	return us, ok
}

// Lowest is the position behind which something is owed; false: nothing is.
func (l *Lane) Lowest() (after uint64, ok bool) {
	take := func(o *Owed) {
		if !ok || o.After < after {
			after, ok = o.After, true
		}
	}
	for _, o := range l.Owed.m {
		take(o)
	}
	for _, d := range l.delayed {
		take(&d.Owed)
	}
	for _, o := range l.out {
		take(&o)
	}
	return after, ok
}

// Owes tells whether a key waits or is out.
func (l *Lane) Owes(key string) bool {
	_, out := l.out[key]
	return out || l.delayed[key] != nil || l.Owed.Has(key)
}

// Next hands out what to call about, or how long to wait for it (µs; -1: until
// something is put). Keys of a call that is out are not told in another: their order
// would not be known.
func (l *Lane) Next(nowUS int64) (batch []Owed, waitUS int64) {
	l.newDay(nowUS)
	for len(l.later) > 0 && l.later[0].dueUS <= nowUS {
		d := heap.Pop(&l.later).(*delay) //nolint:forcetypeassert // its own kind
		delete(l.delayed, d.Key)
		l.Owed.Mark(d.Key, d.Since, d.After, d.Force)
		if o := l.Owed.m[d.Key]; o != nil {
			o.Since, o.After, o.Tries, o.Alone = min(o.Since, d.Since), min(o.After, d.After), d.Tries, d.Alone
		}
	}
	if l.Owed.Len() == 0 {
		if len(l.later) == 0 {
			return nil, -1
		}
		return nil, max(l.later[0].dueUS-nowUS, 1)
	}
	if wait := l.Bucket.Wait(nowUS); wait > 0 {
		return nil, wait
	}
	var busy []Owed
	for full := false; !full && len(batch) < l.limit.BatchMax; {
		list := l.Owed.Take(1)
		if len(list) == 0 {
			break
		}
		o := list[0]
		switch {
		case l.isOut(o.Key):
			busy = append(busy, o)
		case l.limit.DailyPerItem > 0 && l.calls(o.Key) >= l.limit.DailyPerItem:
			l.Capped++
			l.delay(o, (nowUS/usPerDay+1)*usPerDay)
		case o.Alone && len(batch) > 0:
			o.Tries--
			l.Owed.Back([]Owed{o})
			full = true
		default:
			batch = append(batch, o)
			full = o.Alone
		}
	}
	for i := range busy {
		busy[i].Tries--
	}
	l.Owed.Back(busy)
	if len(batch) == 0 {
		if len(l.later) > 0 {
			return nil, max(l.later[0].dueUS-nowUS, 1)
		}
		return nil, -1
	}
	l.Bucket.Sent(nowUS)
	for _, o := range batch {
		l.out[o.Key] = o
		l.count(o.Key)
	}
	return batch, 0
}

func (l *Lane) isOut(key string) bool { _, ok := l.out[key]; return ok }

func (l *Lane) newDay(nowUS int64) {
	if d := nowUS / usPerDay; d != l.day {
		l.day = d
		clear(l.today)
	}
}

func (l *Lane) calls(key string) int {
	if it := l.today[key]; it != nil {
		return it.calls
	}
	return 0
}

func (l *Lane) count(key string) {
	if l.limit.DailyPerItem == 0 {
		return
	}
	it := l.today[key]
	if it == nil {
		if len(l.today) >= itemsMax {
			return
		}
		it = &item{}
		l.today[key] = it
	}
	it.calls++
}

// Done takes what a call came to. Keys that verdicts does not name are owed on.
func (l *Lane) Done(batch []Owed, r Reply, verdicts map[string]Verdict, nowUS int64) {
	l.Bucket.Answered(r, nowUS)
	for _, o := range batch {
		delete(l.out, o.Key)
		switch verdicts[o.Key] {
		case Accepted:
			l.Accepted++
			l.Ages.Add(nowUS - o.Since)
		case Refused:
			l.Refused++
		case Again, Apart:
			l.Retried++
			o.Tries++
			o.Alone = verdicts[o.Key] == Apart
			if r.Throttled || r.Lost { // the bucket's matter, not the key's
				o.Tries--
				l.Owed.Back([]Owed{o})
				if x := l.Owed.m[o.Key]; x != nil {
					x.Tries = o.Tries
				}
				continue
			}
			if newer := l.Owed.m[o.Key]; newer != nil {
				o.Force = o.Force || newer.Force
				l.Owed.Drop(o.Key)
			}
			l.delay(o, nowUS+doubled(backoffUS, o.Tries))
		}
	}
}

func (l *Lane) delay(o Owed, dueUS int64) {
	d := &delay{Owed: o, dueUS: dueUS}
	l.delayed[o.Key] = d
	heap.Push(&l.later, d)
}

// Rate tells what may be called how often.
func (l *Lane) Rate(nowUS int64) protocol.ConnectorRate {
	rate, burst, learnt, level := l.Bucket.State(nowUS)
	return protocol.ConnectorRate{PerS: rate, Burst: burst, Learnt: learnt, Left: level}
}

// delays is a heap by due time.
type delays []*delay

func (d delays) Len() int           { return len(d) }
func (d delays) Less(i, j int) bool { return d[i].dueUS < d[j].dueUS }
func (d delays) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }

// Push and Pop are heap's.
func (d *delays) Push(x any) { *d = append(*d, x.(*delay)) } //nolint:forcetypeassert // its own kind

// Pop removes the last.
func (d *delays) Pop() any {
	old := *d
	x := old[len(old)-1]
	*d = old[:len(old)-1]
	return x
}
