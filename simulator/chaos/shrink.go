package chaos

import (
	"slices"
	"time"

	"tillwire/protocol"
)

// Shrink looks for a smaller case that breaks the same promise: fewer stores, days,
// kinds of fault and blows. It returns the smallest one found, run with its trace.
func Shrink(o *Outcome, codec *protocol.FrameCodec) *Outcome {
	best, runs, until := o, 0, time.Now().Add(shrinkFor)
	try := func(c *Case) bool {
		if runs++; runs > shrinkRuns || time.Now().After(until) {
			return false
		}
		got := Run(c, codec, false)
		if got.Broken == nil || got.Broken.Promise != o.Broken.Promise {
			return false
		}
		best = got
		return true
	}
	for again := true; again; {
		again = shrinkScale(&best, try)
		again = shrinkFaults(&best, try) || again
		again = shrinkBlows(&best, try) || again
	}
	return Run(best.Case, codec, true)
}

// with is a case that differs in scale or kinds. The blows that are kept keep
// being named by what they are.
func (c *Case) with(stores, days int, faults Fault) *Case {
	kept := c.blows()
	d := &Case{Seed: c.Seed, Stores: stores, Days: days, Faults: faults}
	d.settle()
	if c.Only != nil {
		d.Only = []int{}
		for _, b := range d.all {
			if slices.ContainsFunc(kept, func(k blow) bool { return k.at == b.at && k.kind == b.kind && k.agent == b.agent }) {
				d.Only = append(d.Only, b.no)
			}
		}
	}
	return d
}

func shrinkScale(best **Outcome, try func(*Case) bool) (smaller bool) {
	for (*best).Case.Stores > 1 && try((*best).Case.with((*best).Case.Stores-1, (*best).Case.Days, (*best).Case.Faults)) {
		smaller = true
	}
	for (*best).Case.Days > 1 && try((*best).Case.with((*best).Case.Stores, (*best).Case.Days-1, (*best).Case.Faults)) {
		smaller = true
	}
	return smaller
}

func shrinkFaults(best **Outcome, try func(*Case) bool) (smaller bool) {
	(*best).Case.Faults.each(func(f Fault) {
		c := (*best).Case
		if try(c.with(c.Stores, c.Days, c.Faults&^f)) {
			smaller = true
		}
	})
	return smaller
}

// shrinkBlows takes blows away, halves first.
func shrinkBlows(best **Outcome, try func(*Case) bool) (smaller bool) {
	for size := len((*best).Case.blows()); size > 0; size /= 2 {
		for from := 0; ; {
			c := (*best).Case
			blows := c.blows()
			if from >= len(blows) {
				break
			}
			d := &Case{Seed: c.Seed, Stores: c.Stores, Days: c.Days, Faults: c.Faults, Only: []int{}}
			d.settle()
			for i, b := range blows {
				if i < from || i >= from+size {
					d.Only = append(d.Only, b.no)
				}
			}
			if try(d) {
				smaller = true
			} else {
				from += size
			}
		}
	}
	return smaller
}
