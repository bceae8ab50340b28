package chaos

import (
	"container/heap"
	"fmt"
	"math/rand/v2"

	"tillwire/protocol"
)

// world is one run: a heap of what is to happen, and those it happens to.
type world struct {
	c     *Case
	now   int64
	queue agenda
	order uint64
	steps int
	codec *protocol.FrameCodec

	cloud  *cloud
	hosts  []*host // by blow.agent; clones behind
	shops  []*shop
	net    network
	rng    *rand.Rand // latencies, and whatever no blow decides
	healed bool

	broken *Violation
	trace  trace
	n      Counts
	healAt int64
	times  map[Fault][]int64 // recovery per kind of fault, microseconds
}

// Counts are what a run did.
type Counts struct {
	Documents, Acked, Repeats, Reused  uint64
	Frames, Messages, Lost, Duplicated uint64
	Commits, FailedCommits, Trims      uint64
	Crashes, CloudCrashes, Restores    uint64
	Rebases, Salvages, Refed           uint64
	Parked, Blows, Steps               uint64
}

// Violation is a broken promise. Promise is the letter of the invariant.
type Violation struct {
	Promise string // A lost, B twice, D differs, E unbounded, F stuck, P a rule of the protocol
	What    string
	AtUS    int64
}

func (v *Violation) Error() string {
	return fmt.Sprintf("%s at %s: %s", v.Promise, clock(v.AtUS), v.What)
}

// happening is something due. Equal times keep the order in which they were planned.
type happening struct {
	at    int64
	order uint64
	do    func()
}

type agenda []happening

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(happening)) } //nolint:forcetypeassert // heap's only caller is after
func (a *agenda) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	(*a)[last].do = nil
	*a = (*a)[:last]
	return x
}

// after plans fn.
func (w *world) after(us int64, fn func()) {
	w.order++
	heap.Push(&w.queue, happening{w.now + max(us, 0), w.order, fn})
}

// violate ends the run; the first violation counts.
func (w *world) violate(promise, format string, args ...any) {
	if w.broken == nil {
		w.broken = &Violation{promise, fmt.Sprintf(format, args...), w.now}
		w.log("VIOLATION %s: %s", promise, w.broken.What)
	}
}

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// about draws a time around us: never twice the same, never more than five times.
func (w *world) about(us int64) int64 {
	return 1 + int64(min(w.rng.ExpFloat64(), 5)*float64(us))
}

// has tells whether a continuous fault works now.
func (w *world) has(f Fault) bool { return !w.healed && w.c.Faults.Has(f) }

// run works the agenda until nothing is left before the time, or a promise broke.
func (w *world) run(until int64) {
	for len(w.queue) > 0 && w.broken == nil && w.queue[0].at <= until {
		h, _ := heap.Pop(&w.queue).(happening)
		w.now = h.at
		if w.steps++; w.steps > stepsMax {
			w.violate("E", "the run takes more than %d steps: something goes round in circles", stepsMax)
			return
		}
		h.do()
	}
	w.now = max(w.now, until)
}

// trace keeps the newest lines for a person.
type trace struct {
	on    bool
	lines []string
}

func (w *world) log(format string, args ...any) {
	if !w.trace.on {
		return
	}
	w.trace.lines = append(w.trace.lines, clock(w.now)+"  "+fmt.Sprintf(format, args...))
}

// clock writes a simulated time.
func clock(us int64) string {
	us -= epochUS
	return fmt.Sprintf("d%d %02d:%02d:%02d.%03d", us/day, us/hour%24, us/minute%60, us/second%60, us/1000%1000)
}
