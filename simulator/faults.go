package simulator

import (
	"math/rand/v2"
	"time"
)

// weather cuts and restores lines while a fleet sells: many drops, some longer
// ones, and where it is told so every now and then a whole region's provider. It
// is a list of dates on the story's clock, so that its state is one slice.
type weather struct {
	lines   []breakable
	regions []string // region of each line
	rng     *rand.Rand
	report  func(string)
	perHour float64       // short cuts per line and hour
	every   time.Duration // between two regions' outages; 0: none
	silent  float64       // share of cuts that hang instead of resetting

	until      []time.Time // per line: when it comes back; zero = up
	last       time.Time
	nextRegion time.Time
}

// breakable is what weather does to a line.
type breakable interface {
	cut(silent bool)
	restore()
}

// Lengths on the story's clock, and how rare long cuts are beside short ones.
const (
	shortCutMin = 20 * time.Second
	shortCutMax = 200 * time.Second
	longCutMin  = 400 * time.Second
	longCutMax  = 30 * time.Minute
	longShare   = 0.13
	regionMin   = 4 * time.Minute
	regionMax   = 10 * time.Minute
)

func newWeather(lines []breakable, regions []string, rng *rand.Rand, report func(string)) *weather {
	return &weather{lines: lines, regions: regions, rng: rng, report: report, until: make([]time.Time, len(lines))}
}

// end brings back what is cut.
func (w *weather) end() {
	for i, l := range w.lines {
		if !w.until[i].IsZero() {
			w.until[i] = time.Time{}
			l.restore()
		}
	}
}

// step restores what is due and draws the next cuts.
func (w *weather) step(now time.Time) {
	if w.last.IsZero() {
		w.last, w.nextRegion = now, now.Add(w.every/6)
	}
	hours := now.Sub(w.last).Hours()
	w.last = now
	for i, l := range w.lines {
		if !w.until[i].IsZero() {
			if now.After(w.until[i]) {
				w.until[i] = time.Time{}
				l.restore()
			}
			continue
		}
		switch r := w.rng.Float64(); {
		case r < w.perHour*hours:
			w.cut(i, now, w.between(shortCutMin, shortCutMax))
		case r < (1+longShare)*w.perHour*hours:
			w.cut(i, now, w.between(longCutMin, longCutMax))
		}
	}
	if w.every > 0 && now.After(w.nextRegion) && len(w.lines) >= len(regions) {
		w.nextRegion = now.Add(w.between(w.every/2, w.every))
		w.regionOutage(now)
	}
}

func (w *weather) regionOutage(now time.Time) {
	name := w.regions[w.rng.IntN(len(w.regions))]
	d := w.between(regionMin, regionMax)
	n := 0
	for i := range w.lines {
		if w.regions[i] == name && w.until[i].IsZero() {
			w.cut(i, now, d)
			n++
		}
	}
	w.report("outage: " + name + " (" + plural(n, "store") + ") is cut off for " + d.Round(time.Second).String() + " of the story")
}

func (w *weather) cut(i int, now time.Time, d time.Duration) {
	w.until[i] = now.Add(d)
	w.lines[i].cut(w.rng.Float64() < w.silent)
}

func (w *weather) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}
