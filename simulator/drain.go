package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// DrainOptions say which herd comes back.
type DrainOptions struct {
	Stores    int
	Documents int // of each store's backlog; a supermarket writes about 2,000 a day
	Seed      uint64
	DataDir   string
	Process   bool      // the aggregator is a process of its own, the program beside this one
	Out       io.Writer // progress; nil = none
}

// DrainResult tells how a chain came back whose stores were all cut off. Times
// are seconds; right and drained count from each store's own reconnection.
type DrainResult struct {
	Verdict
	Stores     int     `json:"stores"`
	Documents  int     `json:"documents_per_store"`
	FillS      float64 `json:"fill_s"`
	ReconnectS Spread  `json:"reconnected_s"` // from the line's return; Max: the last store
	RightS     Spread  `json:"right_s"`       // until every probe shows the truth; N stores
	RightP99S  float64 `json:"right_p99_s"`
	DrainedS   Spread  `json:"drained_s"`
	AllS       float64 `json:"all_drained_s"` // from the lines' return to the last merged event
	EventsPerS float64 `json:"events_per_s"`
	HeapPeak   uint64  `json:"heap_peak_bytes"` // of everything: aggregator, broker, all agents, tills, oracle; without the aggregator where it is a process
	RSSPeak    int64   `json:"rss_peak_bytes"`
	HeadHeap   uint64  `json:"aggregator_heap_peak_bytes,omitempty"` // in use, of the aggregator's process alone; 0: it had none
	HeadRSS    int64   `json:"aggregator_rss_peak_bytes,omitempty"`
	Digests    string  `json:"digests"` // announced, kept, wrong, dropped
}

// drainProbes are articles that every store carries; asked for again and again
// while the herd comes back.
const drainProbes = 6

// Drain cuts a whole chain off, lets every store sell on, and brings all lines back
// at once.
func Drain(ctx context.Context, o DrainOptions) (*DrainResult, error) {
	if o.Stores < 1 || o.Stores > StoresMax || o.Documents < 1 {
		return nil, usageError{fmt.Sprintf("--stores %d and --documents %d: between 1 and %d stores, and at least one document", o.Stores, o.Documents, StoresMax)}
	}
	dir, temporary, err := freshDir(o.DataDir, "drain")
	if err != nil {
		return nil, err
	}
	if temporary {
		defer os.RemoveAll(dir) //nolint:errcheck // of our own making
	}
	ps := places(o.Stores)
	plan := fleetPlan{Places: ps, Dir: dir, Log: zerolog.Nop(), startMany: 32}
	if o.Process {
		if plan.Program, err = aggregatorBeside(); err != nil {
			return nil, err
		}
	}
	f, err := startFleet(ctx, plan)
	if err != nil {
		return nil, err
	}
	h := &herd{o: o, fleet: f, oracle: newOracle(), res: &DrainResult{Stores: o.Stores, Documents: o.Documents}}
	err = h.run(ctx, ps)
	return h.res, errors.Join(err, f.stop())
}

type herd struct {
	o      DrainOptions
	fleet  *fleet
	oracle *oracle
	res    *DrainResult
	probes []protocol.SKU
}

func (h *herd) say(format string, args ...any) {
	if h.o.Out != nil {
		_, _ = fmt.Fprintf(h.o.Out, format+"\n", args...)
	}
}

func (h *herd) run(ctx context.Context, ps []place) error {
	all := articles(60)
	for _, a := range all[:drainProbes] {
		h.probes = append(h.probes, a.SKU)
	}
	shops := make([]*shop, len(ps))
	for i, p := range ps {
		rng := rand.New(rand.NewPCG(h.o.Seed, uint64(i))) //nolint:gosec // a simulation
		shops[i] = newShop(p, newAssortment(all, 40, rng), rng, nil)
	}
	began := time.Now()
	if err := h.each(func(i int) error { return h.tell(ctx, i, []*document{shops[i].open(time.Now())}) }); err != nil {
		return err
	}
	if ok, err := settle(ctx, h.oracle, h.fleet.Chain, settleMax, func(uint64, int) {}); err != nil || !ok {
		return errors.Join(errors.New("first deliveries are not merged"), err)
	}
	for _, l := range h.fleet.Lines {
		l.cut(false)
	}
	h.say("%s cut off; each writes %d documents", plural(len(ps), "store"), h.o.Documents)
	if err := h.each(func(i int) error { return h.sell(ctx, i, shops[i]) }); err != nil {
		return err
	}
	h.res.FillS = time.Since(began).Seconds()
	return h.comeBack(ctx)
}

// each runs fn for every store, a few at a time.
func (h *herd) each(fn func(i int) error) error {
	errs := make([]error, len(h.fleet.Tills))
	slots := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for i := range errs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = fn(i)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (h *herd) sell(ctx context.Context, i int, s *shop) error {
	var docs []*document
	for n := 0; n < h.o.Documents; {
		d := s.next(time.Now())
		if d == nil || s.isWithheld(d) {
			continue
		}
		n++
		if docs = append(docs, d); len(docs) == bulkDocsMax || d.kind == kindCount || n == h.o.Documents { // a count's moment is now
			if err := h.tell(ctx, i, docs); err != nil {
				return err
			}
			docs = docs[:0]
		}
	}
	return h.tell(ctx, i, docs)
}

func (h *herd) tell(ctx context.Context, i int, docs []*document) error {
	if len(docs) == 0 {
		return nil
	}
	acks, err := h.fleet.Tills[i].postMany(ctx, docs)
	if err != nil {
		return err
	}
	for k, a := range acks {
		h.oracle.record(h.fleet.Tills[i].store, docs[k], a.Seq)
	}
	return nil
}

// comeBack restores all lines and watches until everything is merged.
func (h *herd) comeBack(ctx context.Context) error {
	truth := map[protocol.StoreID]map[protocol.SKU]protocol.Quantity{}
	for _, s := range h.oracle.shelves() {
		if slices.Contains(h.probes, s.SKU) {
			if truth[s.Store] == nil {
				truth[s.Store] = map[protocol.SKU]protocol.Quantity{}
			}
			truth[s.Store][s.SKU] = s.OnHand
		}
	}
	events := h.oracle.total().Documents
	w := &watch{herd: h, truth: truth, right: map[protocol.StoreID]time.Time{}, drained: map[protocol.StoreID]time.Time{}}
	w.back = time.Now()
	h.fleet.restore()
	h.say("all lines are back; %s wait", grouped(events))
	for deadline := time.Now().Add(10 * time.Minute); len(w.drained) < h.o.Stores || len(w.right) < h.o.Stores; {
		if err := w.look(ctx); err != nil {
			return err
		}
		if time.Now().After(deadline) || !pause(ctx, 200*time.Millisecond) {
			break
		}
	}
	w.conclude(events)
	v, err := judge(ctx, h.oracle, h.fleet.Chain, nil)
	if err != nil {
		return err
	}
	h.res.Verdict = *v
	h.res.Drained = len(w.drained) == h.o.Stores
	h.res.Digests, err = h.digests(ctx)
	return err
}

// watch notes when each store was right, and when it was drained.
type watch struct {
	*herd

	back           time.Time
	truth          map[protocol.StoreID]map[protocol.SKU]protocol.Quantity
	right, drained map[protocol.StoreID]time.Time
}

func (w *watch) look(ctx context.Context) error {
	got, err := w.fleet.Chain.onHand(ctx, w.probes)
	if err != nil {
		return err
	}
	seen := time.Now()
	marks, err := w.fleet.Chain.stores(ctx)
	if err != nil {
		return err
	}
	merged := time.Now()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	w.res.HeapPeak = max(w.res.HeapPeak, mem.HeapInuse)
	if w.o.Process {
		inUse, err := w.fleet.Chain.metric(ctx, "go_memstats_heap_inuse_bytes")
		if err != nil {
			return err
		}
		w.res.HeadHeap = max(w.res.HeadHeap, uint64(inUse))
	}
	for _, t := range w.fleet.Tills {
		s := t.store
		if _, done := w.right[s]; !done && w.isRight(got[s], w.truth[s]) {
			w.right[s] = seen
		}
		if _, done := w.drained[s]; !done && marks[s].MergedSeq >= w.oracle.tally(s).Head {
			w.drained[s] = merged
		}
	}
	w.say("%6.1f s: %d of %d stores right, %d drained", time.Since(w.back).Seconds(), len(w.right), w.o.Stores, len(w.drained))
	return nil
}

func (w *watch) isRight(got, want map[protocol.SKU]protocol.Quantity) bool {
	for sku, q := range want {
		if got[sku] != q {
			return false
		}
	}
	return true
}

func (w *watch) conclude(events uint64) {
	var back, right, drained []float64
	last := w.back
	for i, t := range w.fleet.Tills {
		up := w.fleet.Lines[i].upSince()
		if up.IsZero() {
			continue
		}
		back = append(back, up.Sub(w.back).Seconds())
		if at, ok := w.right[t.store]; ok {
			right = append(right, at.Sub(up).Seconds())
		}
		if at, ok := w.drained[t.store]; ok {
			drained = append(drained, at.Sub(up).Seconds())
			last = time.UnixMicro(max(last.UnixMicro(), at.UnixMicro()))
		}
	}
	w.res.ReconnectS, w.res.RightS, w.res.DrainedS = spread(back), spread(right), spread(drained)
	slices.Sort(right)
	if n := len(right); n > 0 {
		w.res.RightP99S = right[min(n-1, n*99/100)]
	}
	w.res.AllS = last.Sub(w.back).Seconds()
	w.res.EventsPerS = float64(events) / max(w.res.AllS, 1e-3)
	_, w.res.RSSPeak = residentBytes()
	if p, ok := w.fleet.program.(*headProcess); ok {
		w.res.HeadRSS = p.resident()
	}
}

// digests reads the aggregator's counters.
func (h *herd) digests(ctx context.Context) (string, error) {
	var out []string
	for _, name := range []string{"total", "kept_total", "wrong_total", "dropped_total"} {
		n, err := h.fleet.Chain.metric(ctx, "tillwire_ingest_digests_"+name)
		if err != nil {
			return "", err
		}
		out = append(out, grouped(uint64(n))+" "+strings.TrimSuffix(strings.Replace(name, "total", "announced", 1), "_announced"))
	}
	return strings.Join(out, ", "), nil
}

// Markdown is the result as a table, with the command that repeats it.
func (r *DrainResult) Markdown(seed uint64) string {
	var b strings.Builder
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	p("# A chain comes back\n")
	alone, flag := "aggregator, broker, agents, tills and oracle in one process", ""
	if r.HeadHeap > 0 {
		alone, flag = "the aggregator with its broker is a process, agents, tills and oracle another", " --process"
	}
	p("%s, each with a backlog of %s documents, all lines back at once; %s on this machine.", plural(r.Stores, "store"), grouped(r.Documents), alone)
	p("Repeat it: `tillwire-simulator experiment drain --stores %d --documents %d --seed %d%s`\n", r.Stores, r.Documents, seed, flag)
	p("| what | median | worst |\n|---|---|---|")
	p("| reconnected after the lines' return, s | %.1f | %.1f |", r.ReconnectS.Median, r.ReconnectS.Max)
	p("| availability right after the store's reconnection, s | %.1f (p99 %.1f) | %.1f |", r.RightS.Median, r.RightP99S, r.RightS.Max)
	p("| drained after the store's reconnection, s | %.1f | %.1f |", r.DrainedS.Median, r.DrainedS.Max)
	p("\nAll drained %.1f s after the lines' return: %s events/s. Digests: %s. Heap of the simulator's process at most %d MiB, resident %d MiB.",
		r.AllS, figure(r.EventsPerS), r.Digests, r.HeapPeak>>20, r.RSSPeak>>20)
	if r.HeadHeap > 0 {
		p("Heap of the aggregator alone at most %d MiB, resident with its mapped ledger %d MiB.", r.HeadHeap>>20, r.HeadRSS>>20)
	}
	p("\n```")
	r.print(&b)
	p("```")
	return b.String()
}
