package chaos

import (
	"fmt"

	"tillwire/aggregator/ingest"
	"tillwire/aggregator/reconcile"
	"tillwire/protocol"
)

// Outcome is what became of a run.
type Outcome struct {
	Case     *Case
	Broken   *Violation // nil: every promise was kept
	Counts   Counts
	HealedUS int64             // from the end of all faults until both sides agreed
	Times    map[Fault][]int64 // recoveries, microseconds
	Trace    []string
}

// Run runs a case.
func Run(c *Case, codec *protocol.FrameCodec, traced bool) *Outcome {
	w := &world{c: c, now: epochUS, codec: codec, rng: stream(c.Seed, "world"), times: map[Fault][]int64{}}
	w.trace.on = traced
	w.net = newNetwork(w)
	w.cloud = newCloud(w)
	for n := range c.Stores {
		h := newHost(w, protocol.Origin{Store: protocol.StoreID(fmt.Sprintf("S%d", n+1)), Agent: "server"}, fmt.Sprintf("S%d", n+1))
		w.hosts = append(w.hosts, h)
		w.shops = append(w.shops, newShop(w, n, h))
	}
	w.cloud.start()
	w.after(w.cloud.everUS, w.cloud.back)
	for i, h := range w.hosts {
		h.start()
		w.after(w.about(6*hour), h.snapshot)
		w.shops[i].live()
	}
	for _, b := range c.blows() {
		w.after(b.at, func() { w.strike(b) })
	}
	w.run(epochUS + int64(c.Days)*day)
	if w.broken == nil {
		w.heal()
	}
	if w.broken == nil {
		w.judge()
	}
	w.n.Steps = uint64(w.steps)
	o := &Outcome{Case: c, Broken: w.broken, Counts: w.n, Times: w.times, Trace: w.trace.lines, HealedUS: w.now - w.healAt}
	return o
}

// strike has a blow fall.
func (w *world) strike(b blow) {
	w.n.Blows++
	w.log("blow %d: %s on %s", b.no, b.kind, w.hosts[b.agent])
	c := w.cloud
	switch b.kind { //nolint:exhaustive // the others fall on hosts
	case KillCloud:
		if b.roll&1 == 0 {
			c.stop("killed", b.long)
		} else {
			c.dead = c.up // dies with what it does next
			c.plan()
		}
	case CloudError:
		c.fail = append(c.fail, []fate{fateNever, fateHidden}[b.roll&1])
	case CloudRestore, CloudRollback:
		if c.backup != nil {
			c.restore(b.kind == CloudRestore, b.long)
		}
	case Late:
		s := w.shops[b.agent]
		s.tills[b.roll&1].cut = w.now + 90*second + b.long
	default:
		w.hosts[b.agent].blow(b)
	}
}

// heal ends all faults and waits until everything that was ever acknowledged is
// where it belongs.
func (w *world) heal() {
	w.healed, w.healAt = true, w.now
	w.log("all faults end")
	for _, s := range w.shops {
		s.closed = true
		for i := range s.tills {
			s.tills[i].cut = 0
			for _, d := range s.tills[i].queue {
				d.till = i // what is still on paper is typed in
			}
			s.ask(i)
		}
	}
	for _, h := range w.hosts {
		h.offset, h.outageUntil = 0, 0
		h.disk.full, h.disk.fail = false, 0
		if h.line != nil {
			h.line.up, h.line.down = true, true
		}
		if !h.running {
			h.start()
			continue
		}
		h.beat(h.generation)
	}
	if !w.cloud.up {
		w.cloud.start()
	}
	for until := w.now + healWithin; w.broken == nil; {
		w.run(w.now + 5*second)
		why := w.unsettled()
		if why == "" {
			return
		}
		if w.now > until {
			w.violate("F", "%s, %d minutes after the last fault", why, healWithin/minute)
		}
	}
}

// unsettled says what is not where it belongs yet.
func (w *world) unsettled() string {
	for _, s := range w.shops {
		for i := range s.tills {
			if len(s.tills[i].queue) > 0 {
				return fmt.Sprintf("%d documents wait at till %d of %s", len(s.tills[i].queue), i+1, s.origin)
			}
		}
		for _, d := range s.docs {
			if d.lost || !d.acked {
				return fmt.Sprintf("%s of %s is to be posted again", d.ev.DocumentID, s.origin)
			}
		}
	}
	if !w.cloud.up {
		return "the aggregator is down"
	}
	for _, h := range w.hosts {
		if h.off {
			continue
		}
		if !h.running || h.journal.Phase() != "running" {
			return fmt.Sprintf("%s does not run", h)
		}
		st := h.journal.State()
		if st.Merged != st.Head || len(h.waiting) > 0 || h.busy {
			return fmt.Sprintf("%s is merged to %d of %d (session %s: %s)", h, st.Merged, st.Head, h.link.Status().Session, h.link.Status().LastError)
		}
		if m := w.cloud.markOf(h.origin, st.ChainHead); m.Seq != st.Head {
			return fmt.Sprintf("the ledger has %s up to %d of %d", h, m.Seq, st.Head)
		}
	}
	return ""
}

// judge compares the ledger with the truth.
func (w *world) judge() {
	w.everything()
	w.quantities()
	w.again()
}

// everything: each acknowledged document stands in the ledger, once.
func (w *world) everything() {
	seen := map[protocol.EventID]int{}
	for i := range w.cloud.img.entries {
		if e := &w.cloud.img.entries[i]; e.Ref == 0 {
			seen[e.EventID]++
		}
	}
	parked := map[protocol.EventID]bool{}
	for _, x := range w.cloud.img.exceptions {
		if x.State == "open" && !x.Counted {
			parked[x.EventID] = true
			w.n.Parked++
		}
	}
	for _, s := range w.shops {
		for _, d := range s.docs {
			switch n := seen[d.ev.ID]; {
			case n == 0:
				w.violate("A", "%s of %s was acknowledged at %s and is not in the ledger", d.ev.DocumentID, s.origin, clock(d.ackedAt))
			case n > 1:
				w.violate("B", "%s of %s stands in the ledger %d times", d.ev.DocumentID, s.origin, n)
			}
		}
		for _, id := range s.poisoned {
			if seen[id] > 0 {
				w.violate("D", "a poisoned record of %s took effect", s.origin)
			}
			if !parked[id] && w.c.Faults&(Rollback|Reinstall|Rot|CloudRestore|CloudRollback) == 0 {
				w.violate("A", "a poisoned record of %s is nowhere to be seen", s.origin)
			}
		}
	}
}

// truth is what is on the shelf of one article, counted from the shop's papers: the
// last count, and what moved after it.
func (s *shop) truth(sku protocol.SKU) (n int64, known bool) {
	counted := int64(-1)
	for _, d := range s.docs {
		if q, ok := d.count[sku]; ok && d.at > counted {
			counted, n, known = d.at, q, true
		}
	}
	for _, d := range s.docs {
		if delta, ok := d.delta[sku]; ok && d.at > counted {
			n += delta
			known = true
		}
	}
	return n, known
}

// quantities: what the running aggregator shows is what lies there.
func (w *world) quantities() {
	shown := w.cloud.positions()
	for _, s := range w.shops {
		for _, sku := range s.skus {
			want, _ := s.truth(sku)
			if got := shown[string(s.origin.Store)+"/"+string(sku)]; got != protocol.Units(want) {
				w.violate("D", "%s of %s: the ledger says %s, on the shelf are %d", sku, s.origin, got, want)
				w.tell(s, sku)
				return
			}
		}
	}
	if len(shown) > len(w.shops)*skusPerAgent {
		w.violate("D", "there are %d positions of %d articles", len(shown), len(w.shops)*skusPerAgent)
	}
}

// tell writes an article's papers into the trace.
func (w *world) tell(s *shop, sku protocol.SKU) {
	if !w.trace.on {
		return
	}
	at := map[protocol.EventID]string{}
	for i := range w.cloud.img.entries {
		e := &w.cloud.img.entries[i]
		if e.Ref == 0 {
			at[e.EventID] = fmt.Sprintf("entry %d: epoch %d seq %d", e.Position, e.Epoch, e.Seq)
		}
	}
	for _, d := range s.docs {
		what := fmt.Sprintf("moved %+d", d.delta[sku])
		if q, ok := d.count[sku]; ok {
			what = fmt.Sprintf("counted %d", q)
		} else if _, ok := d.delta[sku]; !ok {
			continue
		}
		w.trace.lines = append(w.trace.lines, fmt.Sprintf("  %s %-22s %-12s acknowledged %s, fed again %d times, %s", clock(d.at), d.ev.DocumentID, what, clock(d.ackedAt), d.refed, at[d.ev.ID]))
	}
}

// again: a fold from the checkpoint, and one from the first entry, come to what is
// shown.
func (w *world) again() {
	shown := w.cloud.positions()
	for _, name := range []string{"from its checkpoint", "from its first entry"} {
		var f *ingest.Fold
		var err error
		if name == "from its checkpoint" {
			f, _, err = ingest.Load(w.cloud.ledger, reconcile.DefaultRules())
		} else {
			f, err = ingest.Rebuild(w.cloud.ledger, reconcile.DefaultRules())
		}
		if err != nil {
			w.violate("D", "the ledger cannot be folded %s: %v", name, err)
			return
		}
		for _, s := range w.shops {
			for _, sku := range s.skus {
				if got, want := w.cloud.onHand(f, s.origin.Store, sku), shown[string(s.origin.Store)+"/"+string(sku)]; got != want {
					w.violate("D", "folded %s, %s of %s is %s; shown is %s", name, sku, s.origin, got, want)
					return
				}
			}
		}
	}
}
