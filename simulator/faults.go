package simulator

import (
	"context"
	"math/rand/v2"
	"time"
)

// weather cuts and restores lines while a fleet sells: many drops of seconds,
// some of minutes, and every now and then one region's provider. It is a list
// of dates, worked off once a second, so that its state is one slice.
type weather struct {
	lines   []*line
	regions []string // region of each line
	rng     *rand.Rand
	report  func(string)

	until      []time.Time // per line: when it comes back; zero = up
	nextRegion time.Time
}

// Shares of the fleet and lengths that the weather aims at.
const (
	shortCutsPerStoreHour = 6.0
	longCutsPerStoreHour  = 0.8
	shortCutMin           = 2 * time.Second
	shortCutMax           = 20 * time.Second
	longCutMin            = 40 * time.Second
	longCutMax            = 3 * time.Minute
	regionEvery           = 2 * time.Minute
	regionFirst           = 20 * time.Second
	regionMin             = 25 * time.Second
	regionMax             = 60 * time.Second
	silentShare           = 0.25 // of cuts that hang instead of resetting
)

func newWeather(lines []*line, regions []string, rng *rand.Rand, report func(string)) *weather {
	return &weather{lines: lines, regions: regions, rng: rng, report: report, until: make([]time.Time, len(lines))}
}

// run works until ctx ends, then restores every line.
func (w *weather) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	w.nextRegion = time.Now().Add(regionFirst)
	for {
		select {
		case <-ctx.Done():
			for _, l := range w.lines {
				l.restore()
			}
			return
		case now := <-tick.C:
			w.step(now, time.Second)
		}
	}
}

// step restores what is due and draws the next cuts.
func (w *weather) step(now time.Time, dt time.Duration) {
	for i, l := range w.lines {
		if !w.until[i].IsZero() {
			if now.After(w.until[i]) {
				w.until[i] = time.Time{}
				l.restore()
			}
			continue
		}
		switch r := w.rng.Float64(); {
		case r < shortCutsPerStoreHour*dt.Hours():
			w.cut(i, now, w.between(shortCutMin, shortCutMax))
		case r < (shortCutsPerStoreHour+longCutsPerStoreHour)*dt.Hours():
			w.cut(i, now, w.between(longCutMin, longCutMax))
		}
	}
	if now.After(w.nextRegion) && len(w.lines) >= len(regions) {
		w.nextRegion = now.Add(w.between(regionEvery/2, regionEvery))
		w.regionOutage(now)
	}
}

func (w *weather) regionOutage(now time.Time) {
	name := w.regions[w.rng.IntN(len(w.regions))]
	d := w.between(regionMin, regionMax)
	n := 0
	for i := range w.lines {
		if w.regions[i] == name {
			w.cut(i, now, d)
			n++
		}
	}
	w.report("outage: " + name + " (" + plural(n, "store") + ") is cut off for " + d.Round(time.Second).String())
}

func (w *weather) cut(i int, now time.Time, d time.Duration) {
	w.until[i] = now.Add(d)
	w.lines[i].cut(w.rng.Float64() < silentShare)
}

func (w *weather) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}
