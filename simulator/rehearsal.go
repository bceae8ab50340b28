package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/simulator/scenario"
)

// RehearsalOptions say which story a fleet lives through, and how.
type RehearsalOptions struct {
	Story   *scenario.Scenario
	Stores  int           // 0 = the story's
	For     time.Duration // real; ends the sales before the story does; 0 = the story's end
	AtLeast uint64        // documents to journal before For ends the sales
	Speed   float64       // 0 = the story's
	Virtual bool          // as fast as the machine keeps up
	Machine bool          // documents carry the machine's time though everything runs in this process

	Process   int        // agents that run as the real program
	Alone     bool       // the aggregator runs as a process of its own
	Programs  string     // folder of the real programs, e.g. another release's; "" = beside this one
	Elsewhere *elsewhere // an aggregator that runs already
	Prefix    string     // of store names; "" = S

	DataDir string // "" = temporary, removed at the end
	HTTP    string // address of the UI
	Seed    uint64
	Log     zerolog.Logger
	Out     io.Writer // lines of what happens
	Screen  *screen   // the terminal view; nil = lines
	Command string    // how to repeat it, for the report

	sabotage func(context.Context, *rehearsal) // tests break something before the proof
}

// settleMaxFor is how long a fleet may drain at the end.
func settleMaxFor(stores int) time.Duration {
	return settleMax + time.Duration(stores)*settlePerStore
}

// rehearsal is one story being lived through.
type rehearsal struct {
	o      RehearsalOptions
	story  *scenario.Scenario
	clock  *runClock
	oracle *oracle
	pledge *pledges
	places []place
	skews  []*atomic.Int64
	fleet  *fleet
	crew   *crew
	probes *probes
	season *season
	gauge  *gauge
	began  time.Time // real
	ends   time.Time // in the story

	saying sync.Mutex // one line after the other

	mu     sync.Mutex
	errors []string  // of questions that failed on the way
	toldAt time.Time // when progress was told last
	failed int
}

// Rehearse lets a fleet live through a story until its end, ctx's, or the time's;
// drains it, and proves what arrived. abort ends even the draining.
func Rehearse(ctx, abort context.Context, o RehearsalOptions) (*FleetResult, error) {
	r := &rehearsal{o: o, story: o.Story, pledge: newPledges(), oracle: newOracle()}
	if err := r.settleOptions(); err != nil {
		return nil, err
	}
	dir, temporary, err := freshDir(o.DataDir, "fleet")
	if err != nil {
		return nil, err
	}
	if temporary {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	plan, err := r.plan(dir)
	if err != nil {
		return nil, err
	}
	r.tell(fmt.Sprintf("starting an aggregator and %s, data in %s", plural(r.o.Stores, "agent"), dir))
	began := time.Now()
	if r.fleet, err = startFleet(abort, plan); err != nil {
		return nil, err
	}
	r.tell(fmt.Sprintf("all %s answer after %s", plural(r.o.Stores, "agent"), time.Since(began).Round(10*time.Millisecond)))
	r.tell(fmt.Sprintf("UI: http://%s/   (Ctrl-C ends the sales and proves the result)", r.fleet.Aggregator))
	res, err := r.run(ctx, abort)
	if r.o.Screen != nil {
		r.o.Screen.end()
	}
	return res, errors.Join(err, r.fleet.stop())
}

// settleOptions fills in what the story says, and refuses what cannot be.
func (r *rehearsal) settleOptions() error {
	o := &r.o
	if o.Stores == 0 {
		o.Stores = r.story.Stores
	}
	if o.Speed == 0 {
		o.Speed = r.story.Speed
	}
	if o.Stores < 1 || o.Stores > StoresMax {
		return usageError{fmt.Sprintf("--stores %d is not between 1 and %d", o.Stores, StoresMax)}
	}
	if o.Speed < 0 || o.Speed > SpeedMax {
		return usageError{fmt.Sprintf("--speed %g is not above 0 and at most %d", o.Speed, SpeedMax)}
	}
	if o.Process < 0 || o.Process > o.Stores {
		return usageError{fmt.Sprintf("--process %d is not between 0 and the %s", o.Process, plural(o.Stores, "store"))}
	}
	machine := o.Machine || o.Process > 0 || o.Alone || o.Elsewhere != nil
	if machine && o.Virtual {
		return usageError{"--virtual needs all programs in this process, since others know the machine's clock only; leave --process, --own-process and --aggregator out, or give a --speed"}
	}
	rate := o.Speed
	if o.Virtual {
		rate = min(virtualStart, SpeedMax)
	}
	r.clock = newRunClock(time.Time(r.story.Starts), 1, machine)
	r.o.Speed = rate
	r.ends = time.Time(r.story.Starts).Add(r.story.Lasts.D())
	if !machine {
		r.oracle.horizon += time.Duration(float64(truthReal) * r.warp())
	}
	r.places = placesNamed(o.Prefix, o.Stores)
	return nil
}

// warp is how fast the story's clock runs at most.
func (r *rehearsal) warp() float64 {
	if r.o.Virtual {
		return SpeedMax
	}
	return max(1, r.o.Speed)
}

// heartbeatFor lets small fleets speak up more often in compressed time, so that
// who is away is noticed within seconds; all fleets together cost the same.
func heartbeatFor(stores int) time.Duration {
	return min(max(time.Duration(stores)*heartbeatPerStore, time.Second), protocol.HeartbeatEvery)
}

func (r *rehearsal) plan(dir string) (fleetPlan, error) {
	p := fleetPlan{
		Places: r.places, Dir: dir, HTTP: r.o.HTTP, Log: r.o.Log, startMany: 16, Elsewhere: r.o.Elsewhere,
		Warehouse: r.story.Warehouse.Every > 0, Timing: timingAt(r.o.Speed),
	}
	for range r.places {
		r.skews = append(r.skews, new(atomic.Int64))
	}
	p.NowAt = func(i int) time.Time { return r.clock.stamp().Add(time.Duration(r.skews[i].Load())) }
	if !r.clock.machine {
		p.Timing.Heartbeat = heartbeatFor(r.o.Stores)
		p.Now, p.Warp = r.clock.stamp, r.warp()*p.Timing.Heartbeat.Seconds()/protocol.HeartbeatEvery.Seconds()
	}
	var err error
	if r.o.Alone {
		if p.Program, err = programIn(r.o.Programs, "tillwire-aggregator"); err != nil {
			return p, err
		}
	}
	if r.o.Process > 0 {
		if p.Agent, err = programIn(r.o.Programs, "tillwire-agent"); err != nil {
			return p, err
		}
		p.Sample = map[int]bool{}
		for k := range r.o.Process {
			p.Sample[k*r.o.Stores/r.o.Process] = true
		}
	}
	return p, nil
}

// tell says one line, with the time.
func (r *rehearsal) tell(s string) {
	if r.o.Screen != nil {
		r.o.Screen.note(s)
		return
	}
	r.saying.Lock()
	defer r.saying.Unlock()
	_, _ = fmt.Fprintf(r.o.Out, "%s %s\n", time.Now().Format("15:04:05"), s)
}

// complain notes a question that failed: it spoils no verdict, but is shown.
func (r *rehearsal) complain(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed++
	if len(r.errors) < diffsShown {
		r.errors = append(r.errors, s)
	}
}

func (r *rehearsal) complaints() (int, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed, append([]string(nil), r.errors...)
}

// elapsed is real seconds since the story began.
func (r *rehearsal) elapsed() float64 { return time.Since(r.began).Seconds() }

// run stocks the shelves, lets the story happen, and proves.
func (r *rehearsal) run(ctx, abort context.Context) (*FleetResult, error) {
	if err := r.refuseStrangers(abort); err != nil {
		return nil, err
	}
	r.crew = hire(crewPlan{
		Oracle: r.oracle, Pledge: r.pledge, Places: r.places, Tills: r.fleet.Tills, Story: r.story, Clock: r.clock, Skews: r.skews,
		Seed: r.o.Seed, Log: r.o.Log,
	})
	if err := r.crew.stock(abort); err != nil {
		return nil, err
	}
	if ok, err := settle(abort, r.oracle, r.fleet.Chain, settleMaxFor(r.o.Stores), func(uint64, int) {}); err != nil || !ok {
		return nil, errors.Join(errors.New("the first deliveries were not merged in time"), err)
	}
	r.tell(fmt.Sprintf("shelves are stocked; %q begins, %s of it at %g× (%s)", r.story.Title, r.story.Lasts, r.o.Speed, r.clockWords()))
	selling, stopSelling := context.WithCancel(ctx)
	defer stopSelling()
	r.began = time.Now()
	r.clock.skipTo(time.Time(r.story.Starts))
	r.clock.setRate(r.o.Speed)
	err := r.live(abort, selling, stopSelling)
	sold := time.Since(r.began)
	r.clock.setRate(1)
	if err != nil {
		return nil, err
	}
	return r.prove(abort, sold)
}

func (r *rehearsal) clockWords() string {
	switch {
	case r.o.Virtual:
		return "as fast as the machine keeps up; documents carry the story's time"
	case r.clock.machine:
		return "documents carry the machine's time"
	default:
		return "documents carry the story's time"
	}
}

// live runs everything that happens side by side until the sales end.
func (r *rehearsal) live(abort, selling context.Context, stopSelling context.CancelFunc) error {
	seed := r.o.Seed
	r.season = newSeason(r)
	r.probes = &probes{fleet: r.fleet, oracle: r.oracle, crew: r.crew}
	r.gauge = &gauge{r: r}
	web := &shoppers{crew: r.crew, chain: r.fleet.Chain, places: r.places, report: r.complain}
	wms := &warehouse{crew: r.crew, chain: r.fleet.Chain, report: r.complain, rng: rand.New(rand.NewPCG(seed, 0x776d73))}
	var wg sync.WaitGroup
	wg.Go(func() { r.closeShop(selling, stopSelling) })
	wg.Go(func() { r.season.run(abort, selling) })
	wg.Go(func() { r.gauge.run(selling) })
	wg.Go(func() { r.probes.run(abort, selling, seed) })
	wg.Go(func() { web.run(abort, selling, seed) })
	wg.Go(func() { wms.run(abort, selling) })
	if r.o.Virtual {
		wg.Go(func() { r.keepPace(selling) })
	}
	done := make(chan error, 1)
	go func() { done <- r.crew.work(abort, selling) }()
	var err error
	select {
	case err = <-done:
	case <-r.fleet.failed:
		stopSelling()
		err = errors.Join(r.fleet.err(), <-done)
	}
	stopSelling()
	wg.Wait()
	return err
}

// keepPace drives the story as fast as tills and live lines keep up.
func (r *rehearsal) keepPace(selling context.Context) {
	p := pacer{clock: r.clock, most: SpeedMax, cruise: r.o.Speed}
	for pause(selling, paceEvery) {
		p.step(r.crew.late(), r.gauge.behindS())
	}
}

// closeShop ends the sales with the story, or after For; later, once AtLeast is
// reached: on a busy machine a time alone promises little.
func (r *rehearsal) closeShop(selling context.Context, stop context.CancelFunc) {
	defer stop()
	for pause(selling, 50*time.Millisecond) {
		over := !r.clock.story().Before(r.ends) || r.o.For > 0 && time.Since(r.began) >= r.o.For
		if over && r.oracle.total().Documents >= r.o.AtLeast {
			return
		}
	}
}

// refuseStrangers: a ledger elsewhere that knows events of our stores would be
// judged by a truth that does not.
func (r *rehearsal) refuseStrangers(ctx context.Context) error {
	if r.o.Elsewhere == nil {
		return nil
	}
	marks, err := r.fleet.Chain.stores(ctx)
	if err != nil {
		return err
	}
	for _, p := range r.places {
		if m := marks[p.Store]; m.MergedEvents > m.OwnEvents {
			return usageError{fmt.Sprintf("the aggregator at %s has %d events of %s already, which this run knows nothing of; name other stores with --prefix", r.o.Elsewhere.HTTP, m.MergedEvents, p.Store)}
		}
	}
	return nil
}
