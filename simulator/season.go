package simulator

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"tillwire/protocol"
	"tillwire/simulator/scenario"
)

// season lets a story's faults happen: each begins and ends on the story's clock.
type season struct {
	rehearsal *rehearsal
	rng       *rand.Rand
	cuts      []*cutting // per line: what holds it down
	weather   []*weather // that is going on

	mu       sync.Mutex // guards what happened, for the gauge
	happened []*Happening
}

// Happening is one fault of a run, for the report.
type Happening struct {
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	Stores  int       `json:"stores"`
	From    time.Time `json:"from"` // in the story
	Until   time.Time `json:"until"`
	FromS   float64   `json:"from_s"` // real, since the story began
	UntilS  float64   `json:"until_s"`
	Backlog uint64    `json:"backlog_events"` // of these stores when it ended
	DrainS  float64   `json:"drain_s"`        // real, from its end until these stores were merged; -1: not by the end of the sales

	on     bool
	struck []int
	heads  []uint64 // of the struck stores at its end: what must be merged
}

// cutting counts what holds one line down: two faults may overlap.
type cutting struct {
	line *line

	mu sync.Mutex
	n  int
}

func (c *cutting) cut(silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	c.line.cut(silent)
}

func (c *cutting) restore() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 {
		c.line.restore()
	}
}

func newSeason(r *rehearsal) *season {
	s := &season{rehearsal: r, rng: rand.New(rand.NewPCG(r.o.Seed, 0x736561736f6e))}
	for _, l := range r.fleet.Lines {
		s.cuts = append(s.cuts, &cutting{line: l})
	}
	return s
}

// step is something that happens at a moment of the story.
type step struct {
	at    time.Time
	do    func(ctx context.Context)
	takes bool // time: it must not hold up what comes after
}

// run lets everything happen until selling ends, and ends what is going on.
func (s *season) run(hard, selling context.Context) {
	steps := s.plan()
	var long sync.WaitGroup
	defer long.Wait()
	for {
		now := s.rehearsal.clock.story()
		for len(steps) > 0 && !steps[0].at.After(now) {
			x := steps[0]
			steps = steps[1:]
			if x.takes {
				long.Go(func() { x.do(hard) })
			} else {
				x.do(hard)
			}
		}
		s.mu.Lock()
		going := slices.Clone(s.weather)
		s.mu.Unlock()
		for _, w := range going {
			w.step(now)
		}
		if !pause(selling, 200*time.Millisecond) {
			s.endAll()
			return
		}
	}
}

// plan draws who is struck by what, and when.
func (s *season) plan() []step {
	var out []step
	starts := time.Time(s.rehearsal.story.Starts)
	for i := range s.rehearsal.story.Faults {
		f := &s.rehearsal.story.Faults[i]
		h := &Happening{Kind: f.Kind, Name: cmp.Or(f.Name, f.Kind), struck: s.struck(f), DrainS: -1}
		h.Stores = len(h.struck)
		from := starts.Add(f.At.D())
		until := from.Add(f.Lasts.D())
		out = append(out, step{at: from, do: func(context.Context) { s.begin(h) }})
		out = append(out, step{at: until, do: s.lastLook}) // before the parts end, which lets the backlog drain
		out = append(out, s.parts(f, h, from, until)...)
		out = append(out, step{at: until, do: func(context.Context) { s.end(h) }})
	}
	slices.SortStableFunc(out, func(a, b step) int { return a.at.Compare(b.at) })
	return out
}

// parts are what a kind does while it lasts.
func (s *season) parts(f *scenario.Fault, h *Happening, from, until time.Time) (out []step) {
	each := func(at time.Time, do func(i int)) {
		out = append(out, step{at: at, do: func(context.Context) {
			for _, i := range h.struck {
				do(i)
			}
		}})
	}
	crew, fleet := s.rehearsal.crew, s.rehearsal.fleet
	switch f.Kind {
	case "outage":
		each(from, func(i int) { s.cuts[i].cut(s.roll() < f.Silent) })
		each(until, func(i int) { s.cuts[i].restore() })
	case "brownout":
		each(from, func(i int) { fleet.Lines[i].reshape(shape{Delay: f.Delay.D(), KBits: f.KBits}) })
		each(until, func(i int) { fleet.Lines[i].reshape(shape{}) })
		out = append(out, s.weatherOver(f, h, from, until)...)
	case "weather":
		out = append(out, s.weatherOver(f, h, from, until)...)
	case "clock":
		every := cmp.Or(f.Every.D(), f.Lasts.D())
		for at := from; at.Before(until) && every > 0; at = at.Add(every) {
			each(at, func(i int) {
				d := time.Duration((2*s.roll() - 1) * float64(f.Shift.D()))
				crew.shops[i].skewNext.Store(&d)
			})
		}
		each(until, func(i int) { crew.shops[i].skewNext.Store(new(time.Duration)) })
	case "late":
		each(from, func(i int) { crew.shops[i].late.Store(int64(s.ofDocuments(f.Every.D()))) })
		each(until, func(i int) { crew.shops[i].late.Store(0) })
	case "poison":
		each(from, func(i int) { crew.shops[i].bad.Store(int64(1000 * f.Share)) })
		each(until, func(i int) { crew.shops[i].bad.Store(0) })
	case "stocktake", "upgrade":
		for n, i := range h.struck {
			at := from.Add(time.Duration(n) * f.Lasts.D() / time.Duration(len(h.struck)))
			out = append(out, step{at, func(ctx context.Context) { s.visit(ctx, f, i) }, true})
		}
	}
	return out
}

// visit is what upgrade and stocktake do to one store after the other.
func (s *season) visit(ctx context.Context, f *scenario.Fault, i int) {
	if f.Kind == "stocktake" {
		s.rehearsal.crew.shops[i].countAll.Store(true)
		return
	}
	if err := s.rehearsal.fleet.restart(ctx, i, f.Version); err != nil && ctx.Err() == nil {
		s.rehearsal.crew.fault(fmt.Sprintf("agent of %s did not come back as %s: %v", s.rehearsal.places[i].Store, f.Version, err))
	}
}

// ofDocuments turns a span of the story into one of the documents' clock.
func (s *season) ofDocuments(d time.Duration) time.Duration {
	if !s.rehearsal.clock.machine {
		return d
	}
	return max(s.rehearsal.clock.real(d), cutOffMin)
}

func (s *season) roll() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.Float64()
}

func (s *season) weatherOver(f *scenario.Fault, h *Happening, from, until time.Time) []step {
	if f.PerHour == 0 {
		return nil
	}
	var lines []breakable
	var names []string
	for _, i := range h.struck {
		lines = append(lines, s.cuts[i])
		names = append(names, s.rehearsal.places[i].Region)
	}
	w := newWeather(lines, names, rand.New(rand.NewPCG(s.rehearsal.o.Seed, uint64(from.UnixNano()))), s.rehearsal.tell)
	w.perHour, w.silent, w.every = f.PerHour, f.Silent, f.Every.D()
	return []step{
		{at: from, do: func(context.Context) { s.mu.Lock(); s.weather = append(s.weather, w); s.mu.Unlock() }},
		{at: until, do: func(context.Context) {
			s.mu.Lock()
			s.weather = slices.DeleteFunc(s.weather, func(x *weather) bool { return x == w })
			s.mu.Unlock()
			w.end()
		}},
	}
}

// struck draws whom a fault strikes.
func (s *season) struck(f *scenario.Fault) []int {
	var out []int
	if f.Region != "" {
		for i, p := range s.rehearsal.places {
			if p.Region == f.Region {
				out = append(out, i)
			}
		}
		return out
	}
	n, err := f.Struck(len(s.rehearsal.places))
	if err != nil {
		return nil // Check has read it before
	}
	out = s.rng.Perm(len(s.rehearsal.places))[:n]
	slices.Sort(out)
	return out
}

func (s *season) begin(h *Happening) {
	s.rehearsal.tell(fmt.Sprintf("%s begins: %s", h.Name, plural(h.Stores, "store")))
	s.mu.Lock()
	defer s.mu.Unlock()
	h.on, h.From, h.FromS = true, s.rehearsal.clock.story(), s.rehearsal.elapsed()
	s.happened = append(s.happened, h)
}

func (s *season) end(h *Happening) {
	s.mu.Lock()
	was := h.on
	s.over(h)
	s.mu.Unlock()
	if was {
		s.rehearsal.tell(h.Name + " ends")
	}
}

// over notes a fault's end; mu is held.
func (s *season) over(h *Happening) {
	h.on, h.Until, h.UntilS = false, s.rehearsal.clock.story(), s.rehearsal.elapsed()
	for _, i := range h.struck {
		h.heads = append(h.heads, s.rehearsal.oracle.tally(s.rehearsal.places[i].Store).Head)
	}
}

// endAll notes that the sales end before the faults do; the lines are restored by
// whoever settles.
func (s *season) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.happened {
		if h.on {
			s.over(h)
		}
	}
	s.weather = nil
	for _, l := range s.rehearsal.fleet.Lines {
		l.reshape(shape{})
	}
}

// going names the faults of this moment.
func (s *season) going() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, h := range s.happened {
		if h.on {
			out = append(out, h.Name)
		}
	}
	return out
}

// watch notes how much waits in stores that a fault strikes, and when they are merged
// again.
func (s *season) watch(o *oracle, marks map[protocol.StoreID]protocol.StoreStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.happened {
		if h.DrainS >= 0 {
			continue
		}
		var left uint64
		for n, i := range h.struck {
			store := s.rehearsal.places[i].Store
			head := o.tally(store).Head
			if !h.on {
				head = h.heads[n] // what is sold since is no affair of the fault
			}
			left += head - min(head, marks[store].MergedSeq)
		}
		switch {
		case h.on:
			h.Backlog = left // the newest word before its end stays
		case left == 0:
			h.DrainS = s.rehearsal.elapsed() - h.UntilS
		}
	}
}

// lastLook takes the marks anew: a fault may be shorter than the gauge's rest. Where the
// aggregator does not answer, the gauge's last look holds.
func (s *season) lastLook(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastLookMax)
	defer cancel()
	if marks, err := s.rehearsal.fleet.Chain.stores(ctx); err == nil {
		s.watch(s.rehearsal.oracle, marks)
	}
}

func (s *season) list() []Happening {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Happening, len(s.happened))
	for i, h := range s.happened {
		out[i] = *h
	}
	return out
}
