package chaos

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Case is everything that a run follows from.
type Case struct {
	Seed   uint64
	Stores int
	Days   int
	Faults Fault
	Only   []int // numbers of the blows that are kept; nil: all

	all []blow
}

// blow is one moment at which something breaks.
type blow struct {
	no    int
	at    int64 // after the run's begin
	kind  Fault
	agent int
	long  int64 // how long it lasts, where it does
	roll  uint64
}

// blowKinds are the faults that strike at moments; the others are always there.
const blowKinds = Outage | OneWay | HalfOpen | KillAgent | PowerCut | DiskError | DiskFull | Rot | Clock | Rollback | Reinstall |
	Clone | KillCloud | CloudError | CloudRestore | CloudRollback | Late | Replay

// perDay is how often a blow of each kind falls, per agent or cloud and day; 4
// where it is not named.
var perDay = map[Fault]float64{
	Rollback: 0.7, Reinstall: 0.4, Clone: 0.3, CloudRestore: 0.5, CloudRollback: 0.5, Rot: 1, Replay: 0.5, Late: 2, Outage: 3, DiskFull: 1, Clock: 2,
}

// NewCase draws the mix of a seed: each kind of fault with probability 1/3, so that
// every pair of kinds meets and none always hides another.
func NewCase(seed uint64) *Case {
	r := stream(seed, "mix")
	c := &Case{Seed: seed, Stores: 1 + r.IntN(storesMax), Days: 1 + r.IntN(daysMax)}
	for i := range faultNames {
		if r.IntN(3) == 0 {
			c.Faults |= 1 << i
		}
	}
	if c.Faults&(Rollback|Reinstall|Clone) != 0 {
		// Left out: a journal that lost its newest records has lost the times that its
		// clock could not go behind, too. With a clock that is years late, its counts
		// stand before those that were merged from the history that it lost, and the
		// merge does not tell them apart.
		c.Faults &^= Clock
	}
	return c.settle()
}

// settle draws the blows. Each kind has a stream of its own: taking one away
// leaves the others where they were.
func (c *Case) settle() *Case {
	c.all = nil
	(c.Faults & blowKinds).each(func(f Fault) {
		r := stream(c.Seed, "blow/"+f.String())
		rate, ok := perDay[f]
		if !ok {
			rate = 4
		}
		span := int64(c.Days) * day
		for agent := range c.Stores {
			if f&(KillCloud|CloudError|CloudRestore|CloudRollback) != 0 && agent > 0 {
				break
			}
			for at := int64(0); ; {
				if at += int64(r.ExpFloat64() / rate * float64(day)); at >= span {
					break
				}
				c.all = append(c.all, blow{at: at, kind: f, agent: agent, long: lasting(r, f), roll: r.Uint64()})
			}
		}
	})
	slices.SortStableFunc(c.all, func(a, b blow) int { return int(a.at - b.at) })
	for i := range c.all {
		c.all[i].no = i
	}
	return c
}

func lasting(r *rand.Rand, f Fault) int64 {
	switch f { //nolint:exhaustive // the others are over at once
	case Outage, Late:
		return int64(r.ExpFloat64() * float64(hour))
	case OneWay, HalfOpen:
		return int64(r.ExpFloat64() * float64(5*minute))
	case KillAgent, PowerCut, KillCloud, CloudRestore, CloudRollback, Rollback, Reinstall:
		return second + int64(r.ExpFloat64()*float64(minute))
	case DiskFull, Clock:
		return int64(r.ExpFloat64() * float64(30*minute))
	}
	return 0
}

// blows are those that fall.
func (c *Case) blows() []blow {
	if c.Only == nil {
		return c.all
	}
	var kept []blow
	for _, b := range c.all {
		if slices.Contains(c.Only, b.no) {
			kept = append(kept, b)
		}
	}
	return kept
}

// StoreDays is the simulated time of all stores.
func (c *Case) StoreDays() int { return c.Stores * c.Days }

// Command repeats the case.
func (c *Case) Command() string {
	s := fmt.Sprintf("tillwire-simulator chaos --seed %d", c.Seed)
	d := NewCase(c.Seed)
	if d.Stores != c.Stores {
		s += fmt.Sprintf(" --stores %d", c.Stores)
	}
	if d.Days != c.Days {
		s += fmt.Sprintf(" --days %d", c.Days)
	}
	if d.Faults != c.Faults {
		s += " --faults " + c.Faults.String()
	}
	if c.Only != nil {
		var n []string
		for _, no := range c.Only {
			n = append(n, strconv.Itoa(no))
		}
		if n == nil {
			n = []string{"none"}
		}
		s += " --only " + strings.Join(n, ",")
	}
	return s
}

// stream is a source of random numbers of its own for each purpose of a seed.
func stream(seed uint64, purpose string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(purpose))
	return rand.New(rand.NewPCG(seed, h.Sum64())) //nolint:gosec // a simulation that must repeat
}
