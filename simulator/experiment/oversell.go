package experiment

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"

	"tillwire/aggregator/demand"
	"tillwire/protocol"
)

// Policy is how much of what it believes a cloud promises.
type Policy struct {
	Name   string
	Family string // a line of the picture
	Safety int64  // units kept back at every position, always
	Alpha  float64
	Escrow int64 // units that are the store's alone while it is dark
}

// Policies are the ones compared.
func Policies() []Policy {
	list := []Policy{{Name: "no buffer", Family: "fixed safety stock"}}
	for n := int64(1); n <= 3; n++ {
		list = append(list, Policy{Name: fmt.Sprintf("safety stock %d", n), Family: "fixed safety stock", Safety: n})
	}
	for _, a := range []float64{0.5, 0.8, 0.9, 0.95, 0.98, 0.99} {
		list = append(list, Policy{Name: fmt.Sprintf("risk buffer, α %g", a), Family: "risk buffer", Alpha: a})
	}
	for _, a := range []float64{0.8, 0.95, 0.99} {
		list = append(list, Policy{Name: fmt.Sprintf("risk buffer, α %g, escrow 1", a), Family: "risk buffer and escrow", Alpha: a, Escrow: 1})
	}
	return list
}

// OversellOptions size the experiment.
type OversellOptions struct {
	Stores, SKUs, Days, LearnDays int
	Seed                          uint64
}

// OversellRow is what a policy came to, for all orders and for those at stores
// that had been silent for more than a quarter of an hour.
type OversellRow struct {
	Policy Policy `json:"policy"`
	All    Tally  `json:"all"`
	Silent Tally  `json:"silent"`
}

// Tally counts orders.
type Tally struct {
	Orders    int `json:"orders"`
	Accepted  int `json:"accepted"`
	Oversold  int `json:"oversold"` // accepted, and not there when it was picked
	LostSales int `json:"lost"`     // refused, though it would have been there
	Rightly   int `json:"no_stock"` // refused, and rightly so
}

// Per1000 are oversells and lost sales per 1,000 orders.
func (t Tally) Per1000() (oversold, lost float64) {
	n := float64(max(t.Orders, 1)) / 1000
	return float64(t.Oversold) / n, float64(t.LostSales) / n
}

// Oversell runs the same world under each policy.
func Oversell(ctx context.Context, o OversellOptions) ([]OversellRow, error) {
	policies := Policies()
	rows := make([]OversellRow, len(policies))
	for n, p := range policies {
		rows[n].Policy = p
	}
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				no := int(next.Add(1)) - 1
				if no >= o.Stores || ctx.Err() != nil {
					return
				}
				for n, p := range policies {
					r := runShop(o, p, no)
					mu.Lock()
					rows[n].All.add(r.All)
					rows[n].Silent.add(r.Silent)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return rows, ctx.Err()
}

func (t *Tally) add(o Tally) {
	t.Orders += o.Orders
	t.Accepted += o.Accepted
	t.Oversold += o.Oversold
	t.LostSales += o.LostSales
	t.Rightly += o.Rightly
}

// What a day in these shops is like.
const (
	openFrom, openTo = 9, 20       // hours
	restockHour      = 6           // shelves are filled up to their level
	pickAfter        = 90 * minute // an order is picked that long after it was placed
	onlineShare      = 0.12        // orders per unit of walk-in demand
	outagesPerDay    = 0.7         // per store
	outageMedian     = 25 * minute // log-normal, σ 1.6: minutes to a day
	silentAfter      = 15 * minute
	syncLag          = 2 * second
)

// step is one thing that happens in a shop.
type step struct {
	at    int64
	kind  stepKind
	sku   int
	order int
}

type stepKind uint8

const (
	walkIn stepKind = iota
	order
	picking
	restock
	cut
	healed
)

type agenda []step

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(a[i].at, a[j].at), cmp.Compare(a[i].kind, a[j].kind), cmp.Compare(a[i].sku, a[j].sku)) < 0
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(step)) } //nolint:errcheck // an agenda of steps
func (a *agenda) Pop() any     { o := *a; x := o[len(o)-1]; *a = o[:len(o)-1]; return x }

// shop is one store and what the cloud knows of it.
type shop struct {
	o      OversellOptions
	p      Policy
	shelf  []int64 // truth
	level  []int64
	known  []int64 // the cloud's book
	unsent []step  // sales that the cloud has not heard of
	held   []int64 // promised, not picked yet
	orders []pickup
	down   bool
	since  int64 // what is known is whole up to here, while down
	learnt *demand.Learner
	store  protocol.StoreID
	res    OversellRow
}

type pickup struct {
	sku      int
	accepted bool
	silent   bool
}

func runShop(o OversellOptions, p Policy, no int) OversellRow {
	rng := rand.New(rand.NewPCG(o.Seed, uint64(no)))
	s := &shop{
		o: o, p: p, shelf: make([]int64, o.SKUs), level: make([]int64, o.SKUs), known: make([]int64, o.SKUs), held: make([]int64, o.SKUs),
		learnt: demand.New(), store: protocol.StoreID(fmt.Sprintf("S%04d", no)),
	}
	a := s.draw(rng)
	heap.Init(&a)
	for len(a) > 0 {
		x := heap.Pop(&a).(step) //nolint:errcheck // an agenda of steps
		if x.kind == order {
			if follow, ok := s.place(x); ok {
				heap.Push(&a, follow)
			}
			continue
		}
		s.happen(x)
	}
	return s.res
}

// draw draws the whole month: it is the same under every policy.
func (s *shop) draw(rng *rand.Rand) agenda {
	var a agenda
	end := dayStart + int64(s.o.Days)*24*hour
	for i := range s.o.SKUs {
		daily := 6 / math.Pow(float64(1+rng.IntN(s.o.SKUs)), 0.55) // most sell a few a month
		s.level[i] = max(1, int64(math.Ceil(daily*(1.2+1.6*rng.Float64()))))
		s.shelf[i], s.known[i] = s.level[i], s.level[i]
		for t := dayStart; ; {
			t += int64(rng.ExpFloat64() / daily * float64(24*hour))
			if t >= end {
				break
			}
			a = append(a, step{at: intoOpening(t, rng), kind: walkIn, sku: i})
		}
		for t := dayStart + int64(s.o.LearnDays)*24*hour; ; {
			t += int64(rng.ExpFloat64() / (daily * onlineShare) * float64(24*hour))
			if t >= end-24*hour {
				break
			}
			a = append(a, step{at: intoOpening(t, rng), kind: order, sku: i})
		}
	}
	for day := range s.o.Days {
		a = append(a, step{at: dayStart + int64(day)*24*hour + restockHour*hour, kind: restock})
	}
	for t := dayStart; ; {
		t += int64(rng.ExpFloat64() / outagesPerDay * float64(24*hour))
		length := int64(float64(outageMedian) * math.Exp(1.6*rng.NormFloat64()))
		length = min(max(length, minute), 24*hour)
		if t >= end {
			break
		}
		a = append(a, step{at: t, kind: cut}, step{at: t + length, kind: healed})
		t += length
	}
	return a
}

// intoOpening moves a moment of its day into the opening hours, with a peak in the
// late afternoon.
func intoOpening(t int64, rng *rand.Rand) int64 {
	day := t - (t-dayStart)%(24*hour)
	h := openFrom + (openTo-openFrom)*math.Max(rng.Float64(), 0.6*rng.Float64()+0.3*rng.Float64())
	return day + int64(h*float64(hour)) + rng.Int64N(second)
}

func (s *shop) happen(x step) {
	switch x.kind {
	case walkIn:
		if s.shelf[x.sku] > 0 {
			s.shelf[x.sku]--
			s.sold(x)
		}
	case restock:
		for i := range s.shelf { // the store orders up to its level, and the cloud hears of it like of a sale
			if n := s.level[i] - s.shelf[i]; n > 0 {
				s.shelf[i] += n
				s.tell(step{at: x.at, kind: restock, sku: i, order: int(n)})
			}
		}
	case cut:
		if !s.down {
			s.down, s.since = true, x.at
		}
	case healed:
		s.down = false
		for _, u := range s.unsent {
			s.hear(u)
		}
		s.unsent = s.unsent[:0]
	case picking:
		s.pick(x)
	case order:
	}
}

func (s *shop) sold(x step) { s.tell(step{at: x.at, kind: walkIn, sku: x.sku}) }

func (s *shop) tell(x step) {
	if s.down {
		s.unsent = append(s.unsent, x)
		return
	}
	s.hear(x)
}

func (s *shop) hear(x step) {
	s.learnt.Advance(x.at)
	if x.kind == restock {
		s.known[x.sku] += int64(x.order)
		return
	}
	s.known[x.sku]--
	s.learnt.Observe(uint32(x.sku)+1, s.store, protocol.Units(1), protocol.Stamp{US: x.at})
}

// place decides on an order as the cloud would.
func (s *shop) place(x step) (step, bool) {
	from, silent := x.at-syncLag, false
	if s.down {
		from = s.since
		silent = x.at-s.since > silentAfter
	}
	buffer := s.p.Safety
	if s.p.Alpha > 0 {
		rate := s.learnt.Rate(uint32(x.sku)+1, s.store, from)
		buffer += int64(demand.Buffer(rate, s.learnt.Profile(s.store), 0, from, x.at, s.p.Alpha, 0)) / 1000
	}
	if silent {
		buffer = max(buffer, s.p.Escrow)
	}
	o := pickup{sku: x.sku, silent: silent, accepted: s.known[x.sku]-s.held[x.sku]-buffer >= 1}
	if o.accepted {
		s.held[x.sku]++
	}
	s.orders = append(s.orders, o)
	return step{at: x.at + pickAfter, kind: picking, sku: x.sku, order: len(s.orders) - 1}, true
}

// pick is the moment of truth, for orders that were refused as well.
func (s *shop) pick(x step) {
	o := &s.orders[x.order]
	there := s.shelf[o.sku] > 0
	for _, t := range []*Tally{&s.res.All, &s.res.Silent} {
		if t == &s.res.Silent && !o.silent {
			continue
		}
		t.Orders++
		switch {
		case o.accepted && there:
			t.Accepted++
		case o.accepted:
			t.Accepted++
			t.Oversold++
		case there:
			t.LostSales++
		default:
			t.Rightly++
		}
	}
	if o.accepted {
		s.held[o.sku]--
		if there {
			s.shelf[o.sku]--
			s.sold(x)
		}
	}
}
