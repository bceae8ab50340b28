package simulator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/simulator/scenario"
)

// crew drives all shops of a fleet against their agents and tells the oracle
// what was acknowledged.
type crew struct {
	oracle *oracle
	pledge *pledges
	shops  []*worker
	by     map[protocol.StoreID]*worker
	clock  *runClock
	story  *scenario.Scenario
	starts time.Time // of the story
	log    zerolog.Logger

	posted    atomic.Uint64 // documents acknowledged the first time
	lines     atomic.Uint64
	repeats   atomic.Uint64 // re-posts on purpose
	poison    atomic.Uint64 // bad documents sent
	swallowed atomic.Uint64 // bad documents that an agent took: a fault
	refused   atomic.Uint64 // good documents that an agent refused: a fault
	wrongSeq  atomic.Uint64 // re-posts answered with another seq: a fault
	lateNS    atomic.Int64  // sum of how late tills were, in the story, since asked
	lateN     atomic.Int64

	mu         sync.Mutex
	firstFault string
}

const (
	parcelsMax = 16
	lookEvery  = time.Second      // how often a quiet shop looks around
	drawStep   = 15 * time.Minute // of the story: the longest wait drawn at once, so that waits follow the rhythm
)

// crewPlan says who works where.
type crewPlan struct {
	Oracle *oracle
	Pledge *pledges
	Places []place
	Tills  []*till
	Story  *scenario.Scenario
	Clock  *runClock
	Skews  []*atomic.Int64 // of the shops' clocks; nil: all are right
	Seed   uint64
	Log    zerolog.Logger
}

// newCrew hires one worker per till for an ordinary day in real time.
func newCrew(o *oracle, ps []place, tills []*till, seed uint64, speed float64, log zerolog.Logger) *crew {
	story := scenario.Default()
	return hire(crewPlan{
		Oracle: o, Pledge: newPledges(), Places: ps, Tills: tills, Story: &story,
		Clock: newRunClock(time.Time(story.Starts), speed, true), Seed: seed, Log: log,
	})
}

// hire makes one worker per till. Everything random follows the seed.
func hire(p crewPlan) *crew {
	c := &crew{
		oracle: p.Oracle, pledge: p.Pledge, clock: p.Clock, story: p.Story, starts: time.Time(p.Story.Starts), log: p.Log,
		by: make(map[protocol.StoreID]*worker, len(p.Places)),
	}
	all := articles(4 * p.Story.Shop.Articles)
	fame := newPopularity(p.Story.Shop.Articles, p.Story.Shop.Zipf)
	weights := shares(len(p.Places))
	for i, pl := range p.Places {
		rng := rand.New(rand.NewPCG(p.Seed, uint64(i)+1))
		var peers []protocol.StoreID
		for k := 1; k <= 3 && k < len(p.Places); k++ {
			peers = append(peers, p.Places[(i+k)%len(p.Places)].Store)
		}
		w := &worker{
			shop: newShop(pl, newAssortmentOf(all, fame, rng), rng, peers), till: p.Tills[i], share: weights[i],
			parcels: make(chan parcel, parcelsMax), crew: c, rng: rng, jobs: map[string]*job{},
			skew: new(atomic.Int64),
		}
		if p.Skews != nil {
			w.skew = p.Skews[i]
		}
		w.shop.habits = p.Story.Shop
		if p.Story.Shop.EvenStores {
			w.share = 1
		}
		c.shops = append(c.shops, w)
		c.by[pl.Store] = w
	}
	return c
}

// stock puts the first goods on every shelf.
func (c *crew) stock(hard context.Context) error {
	return c.all(16, func(w *worker) error { return w.tell(hard, w.shop.open(w.now())) })
}

// all runs fn for every shop, some at a time.
func (c *crew) all(atOnce int, fn func(*worker) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, len(c.shops))
	slots := make(chan struct{}, atOnce)
	for _, w := range c.shops {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := fn(w); err != nil {
				errs <- fmt.Errorf("store %s: %w", w.shop.Store, err)
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// work opens every shop and sells until selling ends; then every till posts
// what it still holds. hard ends everything at once.
func (c *crew) work(hard, selling context.Context) error {
	return c.all(len(c.shops), func(w *worker) error { return w.run(hard, selling) })
}

// rate is documents per hour of the story of one worker, and the rush it is in.
func (c *crew) rate(share float64, at time.Time) (perHour float64, r rush) {
	if open, _ := c.story.Shop.Open(at); !open {
		return 0, r
	}
	perHour = share * c.story.Shop.Baskets * rhythm(at)
	since := at.Sub(c.starts)
	for _, x := range c.story.Rushes {
		if since < x.At.D() || since >= (x.At+x.Lasts).D() {
			continue
		}
		perHour *= x.Times
		if x.Articles > 0 && x.Times > 1 {
			r = rush{share: 1 - 1/x.Times, articles: x.Articles}
		}
	}
	return perHour, r
}

// late is how late tills were on the mean, in the story, since it was asked last.
func (c *crew) late() time.Duration {
	sum, n := c.lateNS.Swap(0), c.lateN.Swap(0)
	if n == 0 {
		return 0
	}
	return time.Duration(sum / n)
}

// ship hands a parcel to its receiver; a full lorry leaves it in transit.
func (c *crew) ship(p parcel, to protocol.StoreID) {
	if w := c.by[to]; w != nil {
		select {
		case w.parcels <- p:
		default:
		}
	}
}

// fault keeps the first thing that went wrong, in words.
func (c *crew) fault(what string) {
	c.log.Error().Str("fault", what).Msg("a promise was broken")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.firstFault == "" {
		c.firstFault = what
	}
}

func (c *crew) broken() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.firstFault
}
