package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// FleetResult is what a rehearsal measured and proved.
type FleetResult struct {
	Verdict
	Scenario  string            `json:"scenario"`
	Title     string            `json:"title"`
	About     string            `json:"about"`
	Command   string            `json:"command,omitempty"`
	Seed      uint64            `json:"seed"`
	Speed     float64           `json:"speed"` // mean, of the story beside real time
	Clock     string            `json:"clock"`
	Machine   string            `json:"machine"`
	At        time.Time         `json:"at"`
	Starts    time.Time         `json:"story_starts"`
	Stores    int               `json:"stores"`
	Lines     uint64            `json:"lines"`
	Kinds     map[string]uint64 `json:"kinds"`
	Poison    uint64            `json:"poison_refused"`
	Cuts      int               `json:"link_cuts"`
	EndToEnd  EndToEnd          `json:"sale_to_availability"`
	Web       Orders            `json:"web"`
	SoldForS  float64           `json:"sold_for_s"`
	StoryS    float64           `json:"story_s"`
	DrainS    float64           `json:"drain_s"`
	CPUS      float64           `json:"cpu_s"`          // of the whole process until the proof, all cores
	RSSBytes  int64             `json:"rss_bytes"`      // of the whole process, at the end
	FileBytes int64             `json:"rss_file_bytes"` // of it, mapped journals and the program itself
	PeakBytes int64             `json:"rss_peak_bytes"`
	HeapBytes uint64            `json:"heap_peak_bytes"` // in use
	Happened  []Happening       `json:"happened,omitempty"`
	Series    []Sample          `json:"series,omitempty"`
	Failed    int               `json:"questions_failed"`
	Errors    []string          `json:"errors,omitempty"`
}

// DemoResult is a demonstration's, which is a rehearsal like any other.
type DemoResult = FleetResult

// prove waits for the journals to drain, then compares.
func (r *rehearsal) prove(abort context.Context, sold time.Duration) (*FleetResult, error) {
	story := r.clock.story().Sub(time.Time(r.story.Starts))
	r.fleet.restore()
	if r.o.sabotage != nil {
		r.o.sabotage(abort, r)
	}
	most := settleMaxFor(r.o.Stores)
	r.tell(fmt.Sprintf("sales have ended, links are back; waiting at most %s until every journal is merged", most))
	began := time.Now()
	draining, stop := context.WithCancel(abort)
	watched := make(chan struct{})
	r.gauge.draining = true
	go func() {
		defer close(watched)
		r.gauge.run(draining)
	}()
	drained, err := settle(abort, r.oracle, r.fleet.Chain, most, func(left uint64, stores int) {
		r.tell(fmt.Sprintf("  %s of %s still to come", plural(int(left), "event"), plural(stores, "store")))
	})
	drain := time.Since(began)
	stop()
	<-watched
	r.gauge.look(abort)
	if err != nil {
		return nil, err
	}
	if abort.Err() != nil {
		return nil, errors.New("interrupted a second time: nothing was proved")
	}
	cpu := cpuSeconds()
	v, err := r.judge(abort)
	if err != nil {
		return nil, err
	}
	v.Drained = drained
	return r.result(v, sold, story, drain, cpu), nil
}

// judge compares everything, of our stores alone where the aggregator has others.
func (r *rehearsal) judge(ctx context.Context) (*Verdict, error) {
	c := r.fleet.Chain
	if r.o.Elsewhere != nil {
		c.only = map[string]bool{}
		for _, s := range r.oracle.names() {
			c.only[string(s)] = true
		}
	}
	v, err := judge(ctx, r.oracle, c, nil)
	if err != nil {
		return nil, err
	}
	if r.story.Web.Orders > 0 {
		err = v.judgeOrders(ctx, r.pledge, c)
	}
	v.Faults = r.crew.broken()
	return v, err
}

func (r *rehearsal) result(v *Verdict, sold, story, drain time.Duration, cpu float64) *FleetResult {
	_, cuts := r.fleet.down()
	now, peak := residentBytes()
	failed, errs := r.complaints()
	series, heap := r.gauge.result()
	return &FleetResult{
		Verdict: *v, Scenario: r.story.Name, Title: r.story.Title, About: r.story.About, Command: r.o.Command, Seed: r.o.Seed,
		Speed: story.Seconds() / max(sold.Seconds(), 1e-3), Clock: r.clockWords(),
		Machine: fmt.Sprintf("%s, %s", plural(runtime.NumCPU(), "core"), runtime.GOOS+"/"+runtime.GOARCH),
		At:      time.Now().UTC().Truncate(time.Second), Starts: time.Time(r.story.Starts),
		Stores: len(r.places), Lines: r.crew.lines.Load(), Kinds: r.oracle.kinds(),
		Poison: r.crew.poison.Load() - r.crew.swallowed.Load(), Cuts: cuts, EndToEnd: r.probes.result(), Web: r.pledge.result(),
		SoldForS: sold.Seconds(), StoryS: story.Seconds(), DrainS: drain.Seconds(), CPUS: cpu,
		RSSBytes: now, FileBytes: mappedBytes(), PeakBytes: peak, HeapBytes: heap,
		Happened: r.season.list(), Series: series, Failed: failed, Errors: errs,
	}
}

// Print writes the summary.
func (r *FleetResult) Print(w io.Writer) {
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	p("\n%s: %s sold for %s (%s of the story); links were cut %s; drained in %.1f s", r.Title, plural(r.Stores, "store"),
		time.Duration(r.SoldForS)*time.Second, time.Duration(r.StoryS)*time.Second, plural(r.Cuts, "time"), r.DrainS)
	p("%s in lines of %s sales, %s returns, %s voids, %s counts, %s receipts, %s adjustments, %s transfers; %s refused",
		grouped(r.Lines), grouped(r.Kinds[kindSale]), grouped(r.Kinds[kindReturn]), grouped(r.Kinds[kindVoid]), grouped(r.Kinds[kindCount]),
		grouped(r.Kinds[kindReceipt]), grouped(r.Kinds[kindAdjustment]), grouped(r.Kinds[kindTransfer]), plural(int(r.Poison), "bad document"))
	if o := r.Web; o.Asked > 0 {
		p("%s: %s promised, %s refused for want of stock, %s paid, %s collected; %s oversold",
			plural(o.Asked, "web order"), grouped(o.Promised), grouped(o.Refused), grouped(o.Paid), grouped(o.Collected), grouped(o.Oversold))
	}
	for _, h := range r.Happened {
		p("  %s: %s for %s of the story%s", h.Name, plural(h.Stores, "store"), h.Until.Sub(h.From).Round(time.Minute), h.drainWords())
	}
	for _, e := range r.Errors {
		p("  a question failed (%d in all): %s", r.Failed, e)
	}
	p("")
	r.print(w)
	p("  sale to availability: p50 %.0f ms, p99 %.0f ms of %s over links that were up",
		r.EndToEnd.P50MS, r.EndToEnd.P99MS, plural(r.EndToEnd.Samples, "probe"))
	p("  memory of everything: %s, peak %s; %s of it are mapped files (%s per store: agent, link, tills, journal)",
		bytesWord(r.RSSBytes), bytesWord(r.PeakBytes), bytesWord(r.FileBytes), bytesWord(r.PeakBytes/int64(max(r.Stores, 1))))
	if r.CPUS > 0 {
		p("  processor: %.1f s over %.1f s", r.CPUS, r.SoldForS+r.DrainS)
	}
}

func (h *Happening) drainWords() string {
	if h.DrainS < 0 || h.Backlog == 0 {
		return ""
	}
	return fmt.Sprintf("; %s waited at its end, merged after %.1f s", plural(int(h.Backlog), "event"), h.DrainS)
}
