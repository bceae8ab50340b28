package chaos

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"tillwire/protocol"
)

// Campaign is many seeds.
type Campaign struct {
	First, Seeds uint64        // seeds First to First+Seeds-1; 0 seeds: until the time is over
	For          time.Duration // longest; 0: none
	Workers      int
	Progress     func(*Result) // now and then; nil: nobody looks
}

// Result is what a campaign came to.
type Result struct {
	Seeds     uint64          `json:"seeds"`
	StoreDays uint64          `json:"store_days"`
	TookS     float64         `json:"took_s"`
	Counts    Counts          `json:"counts"`
	Faults    map[string]Fate `json:"faults"`
	HealMS    Recovery        `json:"heal_ms"` // simulated: from the end of all faults until both sides agreed
	Failures  []Failure       `json:"failures"`

	heals []int64
	times map[Fault][]int64
}

// Fate is what one kind of fault came to.
type Fate struct {
	Runs       int      `json:"runs"`  // that had it among their faults
	Blows      int      `json:"blows"` // moments at which it struck; 0: it is always there
	Failed     int      `json:"failed"`
	RecoveryMS Recovery `json:"recovery_ms"` // simulated
}

// Recovery are quantiles of times in milliseconds.
type Recovery struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Failure is a broken promise, shrunk.
type Failure struct {
	Seed    uint64   `json:"seed"`
	Promise string   `json:"promise"`
	What    string   `json:"what"`
	Command string   `json:"command"`
	Trace   []string `json:"trace"`
}

// failuresMax ends a campaign: what is broken is broken.
const failuresMax = 5

// Run runs the seeds on several goroutines; each run is one goroutine's. The
// result does not depend on how many there are.
func (c Campaign) Run(ctx context.Context, codec *protocol.FrameCodec) *Result {
	if c.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.For)
		defer cancel()
	}
	began := time.Now()
	r := &Result{Faults: map[string]Fate{}, times: map[Fault][]int64{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next, told := max(c.First, 1), began
	last := next + c.Seeds - 1
	for range max(c.Workers, 1) {
		wg.Go(func() {
			for {
				mu.Lock()
				seed := next
				if ctx.Err() != nil || (c.Seeds > 0 && seed > last) || len(r.Failures) >= failuresMax {
					mu.Unlock()
					return
				}
				next++
				mu.Unlock()
				o := Run(NewCase(seed), codec, false)
				var small *Outcome
				if o.Broken != nil {
					small = Shrink(o, codec)
				}
				mu.Lock()
				r.take(o, small)
				r.TookS = time.Since(began).Seconds()
				if c.Progress != nil && time.Since(told) > 5*time.Second {
					told = time.Now()
					c.Progress(r)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	r.close()
	r.TookS = time.Since(began).Seconds()
	return r
}

func (r *Result) take(o, small *Outcome) {
	r.Seeds++
	r.StoreDays += uint64(o.Case.StoreDays())
	r.Counts.add(&o.Counts)
	blows := map[Fault]int{}
	for _, b := range o.Case.blows() {
		blows[b.kind]++
	}
	o.Case.Faults.each(func(f Fault) {
		x := r.Faults[f.String()]
		x.Runs++
		x.Blows += blows[f]
		if o.Broken != nil {
			x.Failed++
		}
		r.Faults[f.String()] = x
	})
	for f, us := range o.Times {
		r.times[f] = append(r.times[f], us...)
	}
	if o.Broken == nil {
		r.heals = append(r.heals, o.HealedUS)
		return
	}
	r.Failures = append(r.Failures, Failure{
		Seed: o.Case.Seed, Promise: small.Broken.Promise, What: small.Broken.Error(), Command: small.Case.Command(),
		Trace: small.Trace[max(0, len(small.Trace)-traceMax):],
	})
}

func (r *Result) close() {
	r.HealMS = quantiles(r.heals)
	for f, us := range r.times {
		x := r.Faults[f.String()]
		x.RecoveryMS = quantiles(us)
		r.Faults[f.String()] = x
	}
	slices.SortFunc(r.Failures, func(a, b Failure) int { return int(a.Seed) - int(b.Seed) })
}

func quantiles(us []int64) Recovery {
	n := len(us)
	if n == 0 {
		return Recovery{}
	}
	slices.Sort(us)
	ms := func(i int) float64 { return float64(us[i]) / 1000 }
	return Recovery{N: n, P50: ms((n - 1) / 2), P99: ms((n*99 - 1) / 100), Max: ms(n - 1)}
}

// Broken counts the failures of a promise.
func (r *Result) Broken(promise string) (n uint64) {
	for _, f := range r.Failures {
		if f.Promise == promise {
			n++
		}
	}
	return n
}

// Rate is simulated store-days per second.
func (r *Result) Rate() float64 { return float64(r.StoreDays) / max(r.TookS, 1e-9) }

// Line says it in one line.
func (r *Result) Line() string {
	return fmt.Sprintf("%d seeds, %d store-days (%.0f/s), %d documents acknowledged, %d faults struck, %d promises broken",
		r.Seeds, r.StoreDays, r.Rate(), r.Counts.Acked, r.Counts.Blows, len(r.Failures))
}

// add sums field by field.
func (n *Counts) add(m *Counts) {
	to, from := reflect.ValueOf(n).Elem(), reflect.ValueOf(m).Elem()
	for i := range to.NumField() {
		to.Field(i).SetUint(to.Field(i).Uint() + from.Field(i).Uint())
	}
}
