package simulator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// lateness is how long documents lie somewhere before their agent hears of them: a
// till that was cut off, a file that comes in the evening.
type lateness struct {
	text  string
	share float64 // of documents that are late at all
	draw  func(rng *rand.Rand) time.Duration
}

// lateMax bounds what a heavy tail draws.
const lateMax = 31 * 24 * time.Hour

const lateWords = "like fixed:30m, uniform:0s,4h, exp:2h (mean), lognormal:1h,1.2 (median, sigma) or pareto:10m,1.5 (least, alpha), each also with @SHARE: exp:2h@0.1"

// parseLateness reads --late; "" is none.
func parseLateness(s string) (*lateness, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // nothing is late
	}
	bad := func(why string) error { return fmt.Errorf("%q %s; it must be %s", s, why, lateWords) }
	l := &lateness{text: s, share: 1}
	body, share, shared := strings.Cut(s, "@")
	if shared {
		var err error
		if l.share, err = strconv.ParseFloat(share, 64); err != nil || !(l.share > 0 && l.share <= 1) {
			return nil, bad("has a share that is not above 0 and at most 1")
		}
	}
	kind, args, _ := strings.Cut(body, ":")
	first, second, two := strings.Cut(args, ",")
	d, err := time.ParseDuration(first)
	if err != nil || d < 0 || d > lateMax {
		return nil, bad("has no duration between 0s and 744h")
	}
	if want := map[string]bool{"fixed": false, "exp": false, "uniform": true, "lognormal": true, "pareto": true}; true {
		needed, known := want[kind]
		switch {
		case !known:
			return nil, bad("names no distribution that is known")
		case needed != two:
			return nil, bad("has a number of parameters that does not fit")
		}
	}
	if l.draw, err = drawer(kind, d, second); err != nil {
		return nil, bad(err.Error())
	}
	return l, nil
}

func drawer(kind string, d time.Duration, second string) (func(*rand.Rand) time.Duration, error) {
	scale := float64(d)
	switch kind {
	case "fixed":
		return func(*rand.Rand) time.Duration { return d }, nil
	case "exp":
		return func(rng *rand.Rand) time.Duration { return bounded(scale * rng.ExpFloat64()) }, nil
	case "uniform":
		most, err := time.ParseDuration(second)
		if err != nil || most < d || most > lateMax {
			return nil, fmt.Errorf("has an end that is no duration from %s to 744h", d)
		}
		return func(rng *rand.Rand) time.Duration { return bounded(scale + rng.Float64()*float64(most-d)) }, nil
	}
	shape, err := strconv.ParseFloat(second, 64)
	if err != nil || !(shape > 0 && shape <= 100) {
		return nil, fmt.Errorf("has a shape that is not above 0 and at most 100")
	}
	if kind == "lognormal" {
		return func(rng *rand.Rand) time.Duration { return bounded(scale * math.Exp(shape*rng.NormFloat64())) }, nil
	}
	return func(rng *rand.Rand) time.Duration { return bounded(scale * math.Pow(1-rng.Float64(), -1/shape)) }, nil
}

// bounded keeps a draw within lateMax; beyond the range of a duration it is that.
func bounded(ns float64) time.Duration {
	if !(ns < float64(lateMax)) {
		return lateMax
	}
	return time.Duration(ns)
}

// Orders in which a store's documents arrive.
const (
	orderArrival = "arrival" // by the time of each, and by how late it is
	orderReverse = "reverse" // the youngest first
	orderShuffle = "shuffle"
)

// arrival is one document on its way to its agent; a copy comes again.
type arrival struct {
	doc  *document
	at   time.Time
	copy bool
}

// tardiness is what a schedule came to.
type tardiness struct {
	Late     int     `json:"late"`     // documents that were held back
	Copies   int     `json:"copies"`   // that come again by themselves, later or earlier
	Overtook int     `json:"overtook"` // documents that arrive behind a younger one
	P50S     float64 `json:"late_p50_s"`
	P99S     float64 `json:"late_p99_s"`
	MaxS     float64 `json:"late_max_s"`
}

// arrivals gathers what the schedules of all stores came to.
type arrivals struct {
	tardiness

	lates []time.Duration
}

// schedule puts a store's documents in the order of their arrival. copies is the
// share that arrives once more, as late as it happens to be. Documents of equal
// time keep the file's order.
func schedule(docs []*document, late *lateness, order string, copies float64, rng *rand.Rand, t *arrivals) []arrival {
	out := make([]arrival, 0, len(docs))
	hold := func() time.Duration {
		if late == nil || rng.Float64() >= late.share {
			return 0
		}
		return late.draw(rng)
	}
	for _, d := range docs {
		by := hold()
		if by > 0 {
			t.lates = append(t.lates, by)
		}
		out = append(out, arrival{doc: d, at: d.at.Add(by)})
		if copies > 0 && rng.Float64() < copies {
			out = append(out, arrival{doc: d, at: d.at.Add(by + hold()), copy: true})
			t.Copies++
		}
	}
	switch {
	case order == orderShuffle:
		rng.Shuffle(len(out), func(a, b int) { out[a], out[b] = out[b], out[a] })
	case order == orderReverse:
		slices.Reverse(out)
	case late != nil:
		slices.SortStableFunc(out, func(a, b arrival) int { return a.at.Compare(b.at) })
	}
	youngest := time.Time{}
	for _, a := range out {
		if a.doc.at.Before(youngest) {
			t.Overtook++
		} else {
			youngest = a.doc.at
		}
	}
	return out
}

// add puts another store's to it.
func (t *arrivals) add(o *arrivals) {
	t.Copies += o.Copies
	t.Overtook += o.Overtook
	t.lates = append(t.lates, o.lates...)
}

// conclude is the figures.
func (t *arrivals) conclude() tardiness {
	if t.Late = len(t.lates); t.Late > 0 {
		slices.Sort(t.lates)
		t.P50S, t.P99S, t.MaxS = t.lates[t.Late/2].Seconds(), t.lates[t.Late*99/100].Seconds(), t.lates[t.Late-1].Seconds()
	}
	return t.tardiness
}
