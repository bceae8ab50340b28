package mending

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Decide does one thing to several exceptions in one commit. again is of a policy:
// how long after so many attempts the next one is.
type Decide func(ctx context.Context, ids []string, action, who, note string, again func(attempts int) time.Duration) ([]protocol.Exception, []protocol.ExceptionNote, error)

// Options are what a desk works with.
type Options struct {
	Now      func() time.Time
	Log      zerolog.Logger
	Policies []Policy
	List     func(ledger.Filter) ([]protocol.Exception, error)
	Decide   Decide
	Fact     func(key string) ([]byte, error) // ledger.ErrNotFound: there is none
	Put      func(ctx context.Context, key string, value []byte) error
	Incident func(summary string) // "": nothing is paused
	Every    time.Duration        // between rounds of the policies; 0: 15 s
}

// factPaused holds which sources are paused.
const factPaused = "sources-paused"

// Desk is safe for concurrent use.
type Desk struct {
	o      Options
	wake   chan struct{}
	rounds sync.Mutex // held over a round of the policies

	keeping sync.Mutex // held over a Put: the newest picture is the last

	mu     sync.Mutex // guards what follows
	parked map[string]*window
	paused map[string]protocol.Pause
	kept   bool // the ledger has paused as it is

	arrived map[protocol.SKU]bool // since the last round
}

// Open reads which sources are paused.
func Open(o Options) (*Desk, error) {
	if o.Every == 0 {
		o.Every = healEvery
	}
	for i := range o.Policies {
		if err := o.Policies[i].Check(); err != nil {
			return nil, err
		}
		o.Policies[i] = o.Policies[i].complete()
	}
	d := &Desk{o: o, wake: make(chan struct{}, 1), parked: map[string]*window{}, paused: map[string]protocol.Pause{}, kept: true, arrived: map[protocol.SKU]bool{}}
	raw, err := o.Fact(factPaused)
	if errors.Is(err, ledger.ErrNotFound) {
		return d, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &d.paused)
	}
	if err != nil {
		return nil, fmt.Errorf("read paused sources: %w", err)
	}
	return d, nil
}

// policy is that of a source.
func (d *Desk) policy(source string) *Policy {
	var all *Policy
	for i := range d.o.Policies {
		switch p := &d.o.Policies[i]; p.Source {
		case source:
			return p
		case Any:
			all = p
		}
	}
	return all
}

// Parked takes note of a document that was put aside. It never blocks: the writer
// calls it.
func (d *Desk) Parked(o protocol.Origin, code string) {
	source := ledger.SourceOf(o)
	now := d.o.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.parked[source]
	if w == nil {
		if len(d.parked) >= sourcesMax {
			return
		}
		w = &window{}
		d.parked[source] = w
	}
	n := w.add(now.Unix() / 60)
	p := d.policy(source)
	if _, already := d.paused[source]; already || p == nil || p.StopPerHour == 0 || n <= p.StopPerHour || source == ledger.SourceAgents {
		return
	}
	d.paused[strings.Clone(source)] = protocol.Pause{
		Since: now.UTC(), By: "policy", Reason: fmt.Sprintf("%d documents were parked within an hour, the last one as %s; at most %d are allowed", n, code, p.StopPerHour),
	}
	d.kept = false
	d.nudge()
}

// Arrived says that articles came, or units of them: what waits for one need not
// wait for its time. Of very many at once some do.
func (d *Desk) Arrived(skus []protocol.SKU) {
	d.mu.Lock()
	for _, s := range skus {
		if len(d.arrived) < arrivedMax {
			d.arrived[protocol.SKU(strings.Clone(string(s)))] = true
		}
	}
	d.mu.Unlock()
	d.nudge()
}

func (d *Desk) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Paused says why nothing is taken of a source; nil: it is.
func (d *Desk) Paused(o protocol.Origin) error {
	source := ledger.SourceOf(o)
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.paused[source]
	if !ok {
		return nil
	}
	return protocol.NewProblem(http.StatusServiceUnavailable, "source_paused", "Nothing is taken of this source until a person resumes it",
		fmt.Sprintf("%s is paused since %s by %s: %s", source, p.Since.Format(time.RFC3339), p.By, p.Reason),
		"keep the documents and send them again later; operations resume the source with POST /v1/sources/"+source+"/resume")
}

// Pause stops a source, by a person's word.
func (d *Desk) Pause(ctx context.Context, source, who, reason string) error {
	if source == ledger.SourceAgents {
		return protocol.NewProblem(http.StatusConflict, "agents_never_pause", "Stores' journals are never paused", "agents is the source of all stores", "pause a feed; quarantine or revoke an agent that must not write")
	}
	d.mu.Lock()
	if _, already := d.paused[source]; !already {
		d.paused[source], d.kept = protocol.Pause{Since: d.o.Now().UTC(), By: who, Reason: reason}, false
	}
	d.mu.Unlock()
	return d.keep(ctx)
}

// Resume takes documents of a source again; what it parked before counts no more.
func (d *Desk) Resume(ctx context.Context, source string) error {
	d.mu.Lock()
	_, was := d.paused[source]
	if was {
		delete(d.paused, source)
		delete(d.parked, source)
		d.kept = false
	}
	d.mu.Unlock()
	if !was {
		return protocol.NewProblem(http.StatusConflict, "not_paused", "The source is not paused", source, "GET /v1/sources tells which are")
	}
	return d.keep(ctx)
}

// keep writes down which sources are paused, where that is not written yet, and
// words the incident. Crash before: a source that its policy had stopped goes on
// until it has parked too much once more.
func (d *Desk) keep(ctx context.Context) error {
	d.keeping.Lock()
	defer d.keeping.Unlock()
	d.mu.Lock()
	kept, now := d.kept, maps.Clone(d.paused)
	d.kept = true
	d.mu.Unlock()
	d.o.Incident(inWords(now))
	if kept {
		return nil
	}
	raw, err := json.Marshal(now)
	if err == nil {
		err = d.o.Put(ctx, factPaused, raw)
	}
	if err != nil {
		d.mu.Lock()
		d.kept = false
		d.mu.Unlock()
		return fmt.Errorf("keep paused sources: %w", err)
	}
	return nil
}

func inWords(paused map[string]protocol.Pause) string {
	if len(paused) == 0 {
		return ""
	}
	var says []string
	for _, s := range slices.Sorted(maps.Keys(paused)) {
		p := paused[s]
		says = append(says, fmt.Sprintf("%s is paused by %s: %s", s, p.By, p.Reason))
	}
	return strings.Join(says, ". ") + "."
}

// Sources tells how each source that has a policy, is paused, or parked something
// stands.
func (d *Desk) Sources() ([]protocol.SourceStanding, error) {
	open := map[string]int{}
	more, err := d.each(ledger.Filter{State: "open"}, func(x *protocol.Exception) { open[ledger.SourceOf(x.Origin)]++ })
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	names := map[string]bool{}
	for i := range d.o.Policies {
		names[d.o.Policies[i].Source] = true
	}
	for _, list := range []map[string]bool{keys(open), keys(d.parked), keys(d.paused)} {
		maps.Copy(names, list)
	}
	out := []protocol.SourceStanding{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		s := protocol.SourceStanding{Source: name, Retry: []string{}, Open: open[name], OpenMore: more}
		if p := d.policy(name); p != nil {
			s.Retry, s.FirstS, s.MostS, s.Attempts = append(s.Retry, p.Retry...), int64(p.First/time.Second), int64(p.Most/time.Second), p.Attempts
			if name != ledger.SourceAgents {
				s.StopPerHour = p.StopPerHour
			}
		}
		if w := d.parked[name]; w != nil {
			w.at(d.o.Now().Unix() / 60)
			s.ParkedInHour = w.sum()
		}
		if p, ok := d.paused[name]; ok {
			s.Paused = &p
		}
		out = append(out, s)
	}
	return out, nil
}

func keys[V any](m map[string]V) map[string]bool {
	out := map[string]bool{}
	for k := range m {
		out[k] = true
	}
	return out
}

// PausedCount is how many sources are paused.
func (d *Desk) PausedCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.paused)
}
