package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// ReplayOptions say what to play and how roughly.
type ReplayOptions struct {
	Files      []string // each FILE or NAME=FILE
	Source     string   // auto, completejourney, uci, ncr
	Speed      float64  // file time beside real time; 0 = as fast as it goes
	Outages    int      // link cuts spread over the replay
	Duplicates float64  // share of documents that are sent again
	Late       string   // how late documents arrive, as parseLateness reads it; "": at once
	Order      string   // in which a store's documents arrive; "" = arrival
	Limit      int      // documents; 0 = all
	Stores     int      // only the first N stores of the file; 0 = all
	DataDir    string
	HTTP       string
	Seed       uint64
	Log        zerolog.Logger
	Out        io.Writer // progress; nil = none
}

// ReplayResult compares the chain's stock with the plain sum of the file.
type ReplayResult struct {
	Verdict
	File       string    `json:"file"`
	Source     string    `json:"source"`
	Stores     int       `json:"stores"`
	Documents  int       `json:"documents"`
	Lines      int       `json:"lines"`       // of the file
	PlainLines int       `json:"plain_lines"` // as the plain reader counted them
	Cuts       int       `json:"link_cuts"`
	PlayS      float64   `json:"play_s"`
	DrainS     float64   `json:"drain_s"`
	Arrival    tardiness `json:"arrival"`
	ChainSum   string    `json:"chain_units"` // Σ of all stock, as the chain shows it
	PlainSum   string    `json:"file_units"`  // Σ of all stock by the plain sum
}

// Replay plays a file of real sales through real agents, and proves that the
// chain's stock is the plain sum of the file.
func Replay(ctx context.Context, o ReplayOptions) (*ReplayResult, error) {
	if o.Duplicates < 0 || o.Duplicates > 1 {
		return nil, usageError{fmt.Sprintf("--duplicates %g is not between 0 and 1", o.Duplicates)}
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	late, err := parseLateness(o.Late)
	if err != nil {
		return nil, usageError{"--late " + err.Error()}
	}
	switch o.Order {
	case "":
		o.Order = orderArrival
	case orderArrival, orderReverse, orderShuffle:
	default:
		return nil, usageError{fmt.Sprintf("--order %q is not arrival, reverse or shuffle", o.Order)}
	}
	r, err := readReel(o.Files, o.Source)
	if err != nil {
		return nil, err
	}
	return replayReel(ctx, o, r, late)
}

func replayReel(ctx context.Context, o ReplayOptions, r *reel, late *lateness) (*ReplayResult, error) {
	whole := r.narrow(o.Stores, o.Limit)
	if len(r.Stores) == 0 || len(r.Stores) > StoresMax {
		return nil, fmt.Errorf("%s: %s; between 1 and %d can be simulated", strings.Join(o.Files, ", "), plural(len(r.Stores), "store"), StoresMax)
	}
	dir, temporary, err := freshDir(o.DataDir, "replay")
	if err != nil {
		return nil, err
	}
	if temporary {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	f, err := startFleet(ctx, fleetPlan{Places: r.places(), Dir: dir, HTTP: o.HTTP, Log: o.Log})
	if err != nil {
		return nil, err
	}
	p := &player{ReplayOptions: o, reel: r, late: late, fleet: f, oracle: newOracle()}
	p.say("%s of %s, %s in %s; UI: http://%s/", plural(r.Lines, "line"), r.format(), plural(len(r.Docs), "document"), plural(len(r.Stores), "store"), f.Aggregator)
	var truth []shelf
	if whole {
		truth = r.plain.shelves()
	}
	res, err := p.run(ctx, truth)
	if res != nil {
		res.PlainLines = r.plain.Lines
	}
	return res, errors.Join(err, f.stop())
}

// shelves turns plain sums into the truth to compare with. Articles are folded
// to the form that the chain answers with: the file's spelling may be another.
func (p *plainSums) shelves() []shelf {
	type key struct{ store, sku string }
	sums := map[key]int64{}
	for store, cells := range p.Sums {
		for code, q := range cells {
			sums[key{store, chainSpelling(code)}] += q
		}
	}
	out := make([]shelf, 0, len(sums))
	for k, q := range sums {
		out = append(out, shelf{Store: protocol.StoreID(k.store), SKU: protocol.SKU(k.sku), OnHand: protocol.Quantity(q)})
	}
	return out
}

// chainSpelling folds a code as the contract says; a code with a wrong check
// digit is kept as it is (POSLog is a legacy door).
func chainSpelling(code string) string {
	if sku, err := protocol.NormalizeSKU(code); err == nil {
		return string(sku)
	}
	return code
}

type player struct {
	ReplayOptions
	reel   *reel
	late   *lateness
	fleet  *fleet
	oracle *oracle

	mu      sync.Mutex
	arrived arrivals
}

func (p *player) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.Out, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// run plays, drains, compares.
func (p *player) run(ctx context.Context, truth []shelf) (*ReplayResult, error) {
	began := time.Now()
	trouble, calm := context.WithCancel(ctx)
	defer calm()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.outages(trouble)
	}()
	err := p.play(ctx)
	played := time.Since(began)
	if err != nil {
		calm()
	}
	<-done // outages that are left hit the draining
	if err != nil {
		return nil, err
	}
	p.fleet.restore()
	p.say("all documents were journaled after %s; waiting at most %s for the rest of the way", played.Round(10*time.Millisecond), settleMax)
	began = time.Now()
	drained, err := settle(ctx, p.oracle, p.fleet.Chain, settleMax, func(left uint64, stores int) {
		p.say("  %s of %s still to come", plural(int(left), "event"), plural(stores, "store"))
	})
	if err != nil {
		return nil, err
	}
	drain := time.Since(began)
	if truth == nil {
		truth = p.oracle.shelves()
		for i := range truth {
			truth[i].SKU = protocol.SKU(chainSpelling(string(truth[i].SKU)))
		}
		truth = append(foldShelves(truth), p.reel.rawShelves()...)
	}
	v, err := judge(ctx, p.oracle, p.fleet.Chain, truth)
	if err != nil {
		return nil, err
	}
	v.Drained = drained
	return p.result(v, truth, played, drain), nil
}

// foldShelves adds rows of one cell up: two spellings may be one article.
func foldShelves(rows []shelf) []shelf {
	type key struct {
		store protocol.StoreID
		sku   protocol.SKU
	}
	at := map[key]int{}
	out := rows[:0]
	for _, r := range rows {
		k := key{r.Store, r.SKU}
		if i, ok := at[k]; ok {
			out[i].OnHand += r.OnHand
			continue
		}
		at[k] = len(out)
		out = append(out, r)
	}
	return out
}

func (p *player) result(v *Verdict, truth []shelf, played, drain time.Duration) *ReplayResult {
	var sum protocol.Quantity
	for _, s := range truth {
		sum += s.OnHand
	}
	_, cuts := p.fleet.down()
	return &ReplayResult{
		Verdict: *v, File: strings.Join(p.Files, " "), Source: p.reel.format(), Stores: len(p.reel.Stores),
		Documents: int(v.Journaled), Lines: p.reel.Lines, Cuts: cuts, Arrival: p.arrived.conclude(),
		PlayS: played.Seconds(), DrainS: drain.Seconds(), PlainSum: sum.String(), ChainSum: (sum + v.off).String(),
	}
}

// outages cuts random lines, Outages times, a few each second, while documents
// are played and drained; then every line is back.
func (p *player) outages(ctx context.Context) {
	rng := rand.New(rand.NewPCG(p.Seed, 0x6f757461676573))
	defer p.fleet.restore()
	for n := range p.Outages {
		l := p.fleet.Lines[rng.IntN(len(p.fleet.Lines))]
		l.cut(n%4 == 3)
		if !pause(ctx, time.Duration(100+rng.IntN(400))*time.Millisecond) {
			return
		}
		if n%3 != 2 { // every third stays down until a later one, or the end
			l.restore()
		}
	}
}

// Print writes the result as a table.
func (r *ReplayResult) Print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "\n%s (%s): %s, %s, %s; played in %.1f s, drained in %.1f s; links were cut %s\n\n", r.File, r.Source,
		plural(r.Lines, "line"), plural(r.Documents, "document"), plural(r.Stores, "store"), r.PlayS, r.DrainS, plural(r.Cuts, "time"))
	if a := r.Arrival; a.Late > 0 || a.Overtook > 0 || a.Copies > 0 {
		_, _ = fmt.Fprintf(w, "%s came late: half of them by more than %s, one in a hundred by more than %s, the last by %s; %s behind a younger one; %s came again by themselves\n\n",
			plural(a.Late, "document"), secondsWord(a.P50S), secondsWord(a.P99S), secondsWord(a.MaxS), grouped(a.Overtook), grouped(a.Copies))
	}
	_, _ = fmt.Fprintf(w, "  %-22s %14s  %s\n  %-22s %14s  %s\n", "plain sum of the file", r.PlainSum, "units over all SKU-stores",
		"the chain's stock", r.ChainSum, "")
	r.print(w)
}

func secondsWord(s float64) string {
	return (time.Duration(s) * time.Second).String()
}

// JSON writes a result for machines.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
