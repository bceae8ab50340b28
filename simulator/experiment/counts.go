package experiment

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"tillwire/protocol"
)

// Scenario is a day on which a store counts while it sells.
type Scenario struct {
	Name    string
	Offline float64 // share of registers that are cut off from their store for ½ to 4 hours
	SkewS   float64 // register clocks are off by up to so much
	WANDown bool    // the store reaches the cloud only after the day; its tills reach the store
}

// Scenarios are those of the inventory model.
var Scenarios = []Scenario{
	{"all online", 0, 0, false},
	{"5 % of registers offline, 30 s skew", 0.05, 30, false},
	{"25 % of registers offline, 120 s skew", 0.25, 120, false},
	{"store's WAN down, 120 s skew", 0, 120, true},
}

// Rule is a way to read a count.
type Rule int

// The rules, by who uses them.
const (
	Overwrite  Rule = iota // the count replaces on hand when it arrives: most systems
	Difference             // the difference to the book at count time is kept: some
	EventTime              // event time per line, by the registers' clocks: the best shipped
	Ours                   // cuts over the journals: the real merge
	ruleCount
)

var ruleNames = [ruleCount]string{"overwrite on arrival", "difference against the book at count time", "event time per line, register clocks", "cuts over the journals (the real merge)"}

// CountsOptions size the experiment.
type CountsOptions struct {
	Stores, SKUs, Registers int
	Seed                    uint64
}

// CountsRow is what one scenario came to, in SKU-stores.
type CountsRow struct {
	Scenario  string         `json:"scenario"`
	Layout    string         `json:"layout"` // one agent per store | one agent per till
	Positions int            `json:"positions"`
	Wrong     [ruleCount]int `json:"wrong"`
	Asked     int            `json:"asked"`     // of ours: explanations read, one article in ten and all that are wrong
	Flagged   int            `json:"flagged"`   // … that say that clocks decided
	Unflagged int            `json:"unflagged"` // of ours: wrong, and the explanation does not say so
}

// Counts runs every scenario in both layouts.
func Counts(ctx context.Context, o CountsOptions) ([]CountsRow, error) {
	var rows []CountsRow
	for _, perTill := range []bool{false, true} {
		for n, sc := range Scenarios {
			row, err := countScenario(ctx, o, sc, perTill, o.Seed+uint64(n)*1_000_003)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func countScenario(ctx context.Context, o CountsOptions, sc Scenario, perTill bool, seed uint64) (CountsRow, error) {
	row := CountsRow{Scenario: sc.Name, Layout: map[bool]string{false: "one agent per store", true: "one agent per till"}[perTill]}
	var (
		mu    sync.Mutex
		first error
		next  atomic.Int64
		wg    sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= o.Stores || ctx.Err() != nil {
					return
				}
				d := drawDay(o, sc, n, seed)
				wrong, asked, flagged, unflagged, err := d.judge(perTill)
				mu.Lock()
				for r := range wrong {
					row.Wrong[r] += wrong[r]
				}
				row.Positions += o.SKUs
				row.Asked += asked
				row.Flagged += flagged
				row.Unflagged += unflagged
				if err != nil && first == nil {
					first = fmt.Errorf("store %d: %w", n, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return row, cmp.Or(first, ctx.Err())
}

// All times are microseconds of the true clock from an arbitrary Monday on.
const (
	second   = int64(1_000_000)
	minute   = 60 * second
	hour     = 60 * minute
	dayStart = int64(1_795_392_000) * second
	dayHours = 10
	// A basket every minute and a half per register, two articles each.
	basketsPerRegisterHour = 40
	linesPerBasket         = 2
)

// sale is one article over a register's counter.
type sale struct {
	at       int64 // goods leave the shelf
	posted   int64 // the store's agent has it
	register int
	sku      int
	told     int64 // what the register's clock said
	doc      int
}

// line is one counted article: error-free, so it is what is on the shelf.
type line struct {
	at  int64
	qty int64
}

// day is a store's day, with its truth.
type day struct {
	o       CountsOptions
	sc      Scenario
	no      int
	initial []int64
	truth   []int64
	sales   []sale // in order of at
	count   []line // per SKU
	counted int64  // the document is posted
	skew    []int64
	dark    [][2]int64 // per register: cut off from, to
	wanBack int64
}

func drawDay(o CountsOptions, sc Scenario, no int, seed uint64) *day {
	rng := rand.New(rand.NewPCG(seed, uint64(no)))
	d := &day{o: o, sc: sc, no: no, initial: make([]int64, o.SKUs), count: make([]line, o.SKUs), skew: make([]int64, o.Registers), dark: make([][2]int64, o.Registers)}
	weights := make([]float64, o.SKUs)
	sum := 0.0
	for i := range weights { // a few articles sell most
		weights[i] = 1 / math.Pow(float64(i+1), 0.8)
		sum += weights[i]
		d.initial[i] = 20 + rng.Int64N(180)
	}
	order := rng.Perm(o.SKUs) // which article has which weight, and where it stands
	begin := dayStart + 3*hour + rng.Int64N(3*hour)
	for i, sku := range rng.Perm(o.SKUs) {
		d.count[sku].at = begin + int64(i)*90*minute/int64(o.SKUs) + second/2
	}
	d.counted = begin + 90*minute + minute
	for r := range d.skew {
		if sc.SkewS > 0 {
			d.skew[r] = int64((2*rng.Float64() - 1) * sc.SkewS * float64(second))
		}
		if rng.Float64() < sc.Offline { // around the count, so that it matters
			length := 30*minute + rng.Int64N(210*minute)
			from := begin - rng.Int64N(length) + rng.Int64N(60*minute)
			d.dark[r] = [2]int64{from, from + length}
		}
	}
	if sc.WANDown {
		d.wanBack = dayStart + (dayHours+1)*hour
	}
	doc := 0
	for r := range o.Registers {
		for t := dayStart; ; {
			t += int64(rng.ExpFloat64() / basketsPerRegisterHour * float64(hour))
			if t >= dayStart+dayHours*hour {
				break
			}
			posted := t
			if w := d.dark[r]; t >= w[0] && t < w[1] {
				posted = w[1] + int64(doc)%1000 // in a burst, in order
			}
			doc++
			for range linesPerBasket {
				d.sales = append(d.sales, sale{at: t, posted: posted, register: r, sku: order[pick(rng, weights, sum)], told: t + d.skew[r], doc: doc})
			}
		}
	}
	slices.SortStableFunc(d.sales, func(a, b sale) int { return cmp.Compare(a.at, b.at) })
	d.walk()
	return d
}

func pick(rng *rand.Rand, weights []float64, sum float64) int {
	u := rng.Float64() * sum
	for i, w := range weights {
		if u -= w; u < 0 {
			return i
		}
	}
	return len(weights) - 1
}

// walk takes the goods off the shelf, and lets the counter see what is there.
func (d *day) walk() {
	d.truth = slices.Clone(d.initial)
	seen := make([]bool, d.o.SKUs)
	for _, s := range d.sales {
		if l := &d.count[s.sku]; !seen[s.sku] && s.at > l.at {
			l.qty, seen[s.sku] = d.truth[s.sku], true
		}
		d.truth[s.sku]--
	}
	for i := range d.count {
		if !seen[i] {
			d.count[i].qty = d.truth[i]
		}
	}
}

// arrives is when the cloud hears of what the store has since at.
func (d *day) arrives(at int64) int64 { return max(at, d.wanBack) }

// judge reads the day by each rule and compares with the shelf.
func (d *day) judge(perTill bool) (wrong [ruleCount]int, asked, flagged, unflagged int, err error) {
	ours, told, err := d.merge(perTill)
	if err != nil {
		return wrong, 0, 0, 0, err
	}
	perSKU := make([][]sale, d.o.SKUs)
	for _, s := range d.sales {
		perSKU[s.sku] = append(perSKU[s.sku], s)
	}
	for sku, list := range perSKU {
		c, arrival := d.count[sku], d.arrives(d.counted)
		overwrite, difference, eventTime := c.qty, d.initial[sku]-int64(len(list)), c.qty
		known := d.initial[sku] // the book when the line was counted
		for _, s := range list {
			if d.arrives(s.posted) > arrival {
				overwrite--
			}
			if d.arrives(s.posted) <= c.at {
				known--
			}
			if s.told > c.at {
				eventTime--
			}
		}
		difference += c.qty - known
		truth := d.truth[sku]
		for r, got := range [ruleCount]int64{overwrite, difference, eventTime, ours[sku]} {
			if got != truth {
				wrong[r]++
			}
		}
		if told[sku].asked {
			asked++
		}
		if told[sku].flagged {
			flagged++
		}
		if ours[sku] != truth && !told[sku].flagged {
			unflagged++
		}
	}
	return wrong, asked, flagged, unflagged, nil
}

func article(i int) protocol.SKU { return protocol.SKU(fmt.Sprintf("ART-%d", i)) }
