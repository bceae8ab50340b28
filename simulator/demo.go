package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/rs/zerolog"
)

// DemoOptions say what to show.
type DemoOptions struct {
	Stores  int
	Speed   float64       // sales and the profile's clock, beside real life
	For     time.Duration // 0 = until interrupted
	DataDir string        // "" = temporary, removed at the end
	HTTP    string        // address of the UI
	Seed    uint64
	Calm    bool   // no link is cut
	AtLeast uint64 // documents to journal before For ends the sales; 0 = any number
	Log     zerolog.Logger
	Out     io.Writer
}

// Demo runs a fleet until ctx ends or the time is over, drains it, and proves
// what arrived. abort ends even the draining.
func Demo(ctx, abort context.Context, o DemoOptions) (*DemoResult, error) {
	if o.Stores < 1 || o.Stores > StoresMax {
		return nil, usageError{fmt.Sprintf("--stores %d is not between 1 and %d", o.Stores, StoresMax)}
	}
	if o.Speed <= 0 || o.Speed > 1000 {
		return nil, usageError{fmt.Sprintf("--speed %g is not above 0 and at most 1000", o.Speed)}
	}
	dir, temporary, err := freshDir(o.DataDir, "demo")
	if err != nil {
		return nil, err
	}
	if temporary {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	d := &demo{DemoOptions: o, oracle: newOracle(), places: places(o.Stores)}
	d.say("starting an aggregator and %s, data in %s", plural(o.Stores, "agent"), dir)
	began := time.Now()
	d.fleet, err = startFleet(abort, fleetPlan{Places: d.places, Dir: dir, HTTP: o.HTTP, Log: o.Log})
	if err != nil {
		return nil, err
	}
	d.say("all %s answer after %s", plural(o.Stores, "agent"), time.Since(began).Round(10*time.Millisecond))
	d.say("UI: http://%s/   (Ctrl-C ends the demo and proves the result)", d.fleet.Aggregator)
	res, err := d.run(ctx, abort)
	return res, errors.Join(err, d.fleet.stop())
}

// DemoResult is what a demo proved.
type DemoResult struct {
	Verdict
	Stores    int               `json:"stores"`
	Lines     uint64            `json:"lines"`
	Kinds     map[string]uint64 `json:"kinds"`
	Poison    uint64            `json:"poison_refused"`
	Cuts      int               `json:"link_cuts"`
	EndToEnd  EndToEnd          `json:"sale_to_availability"`
	SoldForS  float64           `json:"sold_for_s"`
	DrainS    float64           `json:"drain_s"`
	RSSBytes  int64             `json:"rss_bytes"`      // of the whole process, at the end
	FileBytes int64             `json:"rss_file_bytes"` // of it, mapped journals and the program itself
	PeakBytes int64             `json:"rss_peak_bytes"`
}

type demo struct {
	DemoOptions
	oracle *oracle
	places []place
	fleet  *fleet
	crew   *crew
	probes *probes
}

func (d *demo) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.Out, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// run sells, drains and judges.
func (d *demo) run(ctx, abort context.Context) (*DemoResult, error) {
	selling, stopSelling := context.WithCancel(ctx)
	defer stopSelling()
	if d.For > 0 {
		go d.closeShop(selling, stopSelling)
	}
	d.crew = newCrew(d.oracle, d.places, d.fleet.Tills, d.Seed, d.Speed, d.Log)
	began := time.Now()
	weatherDone := make(chan struct{})
	go func() {
		defer close(weatherDone)
		d.makeWeather(selling)
	}()
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		d.progress(selling)
	}()
	d.probes = &probes{fleet: d.fleet, oracle: d.oracle, places: d.places}
	probed := make(chan struct{})
	go func() {
		defer close(probed)
		d.probes.run(abort, selling, d.Seed)
	}()
	workErr := make(chan error, 1)
	go func() { workErr <- d.crew.work(abort, selling) }()
	var err error
	select {
	case err = <-workErr:
	case <-d.fleet.failed:
		stopSelling()
		err = errors.Join(d.fleet.err(), <-workErr)
	}
	sold := time.Since(began)
	stopSelling()
	<-weatherDone
	<-reported
	<-probed
	if err != nil {
		return nil, err
	}
	return d.settle(abort, sold)
}

// closeShop ends the sales after For, or later, once AtLeast is reached: on a
// busy machine a time alone promises little.
func (d *demo) closeShop(selling context.Context, stop context.CancelFunc) {
	defer stop()
	t := time.NewTimer(d.For)
	defer t.Stop()
	for {
		select {
		case <-selling.Done():
			return
		case <-t.C:
		}
		if d.oracle.total().Documents >= d.AtLeast {
			return
		}
		t.Reset(100 * time.Millisecond)
	}
}

func (d *demo) makeWeather(selling context.Context) {
	if d.Calm {
		<-selling.Done()
		return
	}
	names := make([]string, len(d.places))
	for i, p := range d.places {
		names[i] = p.Region
	}
	rng := rand.New(rand.NewPCG(d.Seed, 0x77656174686572))
	newWeather(d.fleet.Lines, names, rng, func(s string) { d.say("%s", s) }).run(selling)
}

// settle waits for the journals to drain, then compares.
func (d *demo) settle(abort context.Context, sold time.Duration) (*DemoResult, error) {
	d.fleet.restore()
	d.say("sales have ended, links are back; waiting at most %s until every journal is merged", settleMax)
	began := time.Now()
	drained, err := settle(abort, d.oracle, d.fleet.Chain, settleMax, func(left uint64, stores int) {
		d.say("  %s of %s still to come", plural(int(left), "event"), plural(stores, "store"))
	})
	if err != nil {
		return nil, err
	}
	if abort.Err() != nil {
		return nil, errors.New("interrupted a second time: nothing was proved")
	}
	drain := time.Since(began)
	v, err := judge(abort, d.oracle, d.fleet.Chain, nil)
	if err != nil {
		return nil, err
	}
	v.Drained = drained
	v.Faults = d.crew.firstFault
	_, cuts := d.fleet.down()
	now, peak := residentBytes()
	return &DemoResult{
		Verdict: *v, Stores: len(d.places), Lines: d.crew.lines.Load(), Kinds: d.oracle.kinds(),
		Poison: d.crew.poison.Load() - d.crew.swallowed.Load(), Cuts: cuts, EndToEnd: d.probes.result(),
		SoldForS: sold.Seconds(), DrainS: drain.Seconds(), RSSBytes: now, FileBytes: mappedBytes(), PeakBytes: peak,
	}, nil
}

// Print writes the summary.
func (r *DemoResult) Print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "\n%s sold for %s; links were cut %s; drained in %.1f s\n",
		plural(r.Stores, "store"), (time.Duration(r.SoldForS) * time.Second), plural(r.Cuts, "time"), r.DrainS)
	_, _ = fmt.Fprintf(w, "%s in lines of %s sales, %s returns, %s voids, %s counts, %s receipts, %s adjustments, %s transfers; %s refused\n\n",
		grouped(r.Lines), grouped(r.Kinds[kindSale]), grouped(r.Kinds[kindReturn]), grouped(r.Kinds[kindVoid]), grouped(r.Kinds[kindCount]),
		grouped(r.Kinds[kindReceipt]), grouped(r.Kinds[kindAdjustment]), grouped(r.Kinds[kindTransfer]), plural(int(r.Poison), "bad document"))
	r.print(w)
	_, _ = fmt.Fprintf(w, "  sale to availability: p50 %.0f ms, p99 %.0f ms of %s over links that were up\n",
		r.EndToEnd.P50MS, r.EndToEnd.P99MS, plural(r.EndToEnd.Samples, "probe"))
	_, _ = fmt.Fprintf(w, "  memory of everything: %s, peak %s; %s of it are mapped files (%s per store: agent, link, tills, journal)\n",
		bytesWord(r.RSSBytes), bytesWord(r.PeakBytes), bytesWord(r.FileBytes), bytesWord(r.PeakBytes/int64(max(r.Stores, 1))))
}
