package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tillwire/protocol"
)

// call is one row of whom to call: a store, or one cause that took several at
// once and wants one call instead of many.
type call struct {
	Tile   protocol.Tile
	Status protocol.StoreStatus // of a single store, where it is shown
	Do     string               // what to do first
	More   int                  // incidents of this store beside the first

	Stores int // of a cause in common: how many; 0 = a single store
	Of     int // stores of the region
	SpanS  int64
	All    string // query that shows them
	Names  string // the first few
}

type callsData struct {
	Calls  []call
	Need   int // stores that need a person
	Hidden int // rows not shown
	Stores int // all, filtered
	Heal   int // behind, and catching up by themselves
	Filter string
	Noun   string
}

// together are the causes that strike many stores at once, and whose trouble it
// then is.
var together = map[string]string{
	"store_offline":    "Call the provider, or look at our own network, before any shop: they went down together.",
	"store_stuck":      "Look at the aggregator first: its disk, its log. Restarting shops helps nobody while it does not merge.",
	"pos_silent":       "Ask whether the POS was rolled out or a holiday is kept there; then call one shop, not all.",
	"agent_never_seen": "Install and enrol the agents, or take these stores out of the configuration.",
	"clock_skew":       "Look at the time source that these shops share.",
}

// calls lists whom to call, most urgent first.
func (w *Web) calls(f filter, tiles []protocol.Tile, atUS int64, show int) *callsData {
	d := &callsData{Noun: "stores", Filter: f.query()}
	size := map[string]int{}
	groups := map[[2]string][]protocol.Tile{}
	for i := range tiles {
		t := makeTile(&tiles[i], atUS)
		size[t.Region]++
		if !f.match(&t) {
			continue
		}
		d.Stores++
		if t.Type != "store" {
			d.Noun = "locations"
		}
		if t.Urgency == 0 {
			if t.No == presenceNo(protocol.PresenceDraining) || t.No == presenceNo(protocol.PresenceRebuilding) {
				d.Heal++
			}
			continue
		}
		d.Need++
		k := [2]string{t.Region, t.Urgent}
		if t.Urgent == "agent_never_seen" {
			k[0] = ""
		}
		groups[k] = append(groups[k], t.Tile)
	}
	for k, g := range groups {
		d.Calls = append(d.Calls, gather(k[0], k[1], g, size[k[0]])...)
	}
	slices.SortFunc(d.Calls, func(a, b call) int {
		return cmp.Or(cmp.Compare(b.Tile.Urgency, a.Tile.Urgency), cmp.Compare(b.Stores, a.Stores), cmp.Compare(a.Tile.SinceUS, b.Tile.SinceUS), cmp.Compare(a.Tile.Index, b.Tile.Index))
	})
	if len(d.Calls) > show {
		d.Hidden = len(d.Calls) - show
		d.Calls = d.Calls[:show]
	}
	for i := range d.Calls {
		w.word(&d.Calls[i])
	}
	return d
}

// gather makes one row of stores that one cause took within a short time, and a
// row each of the others.
func gather(region, code string, g []protocol.Tile, of int) (out []call) {
	slices.SortFunc(g, func(a, b protocol.Tile) int {
		return cmp.Or(cmp.Compare(a.SinceUS, b.SinceUS), cmp.Compare(a.Index, b.Index))
	})
	from, to := 0, 0 // the fullest window
	if together[code] != "" {
		for i, j := 0, 0; j < len(g); j++ {
			for region != "" && g[j].SinceUS-g[i].SinceUS > togetherWithin.Microseconds() {
				i++
			}
			if j+1-i > to-from {
				from, to = i, j+1
			}
		}
	}
	if to-from < togetherMin {
		from, to = 0, 0
	}
	for i := range g {
		if i < from || i >= to {
			out = append(out, call{Tile: g[i]})
		}
	}
	if n := to - from; n > 0 {
		c := call{Tile: g[from], Stores: n, Of: of, SpanS: (g[to-1].SinceUS - g[from].SinceUS) / 1e6, Do: together[code]}
		names := make([]string, 0, togetherNames)
		for _, t := range g[from:min(from+togetherNames, to)] {
			names = append(names, string(t.Store))
		}
		c.Names = strings.Join(names, ", ")
		if n > togetherNames {
			c.Names += fmt.Sprintf(" and %d more", n-togetherNames)
		}
		c.All = filter{Band: -1, Region: region, Code: code}.query()
		out = append(out, c)
	}
	return out
}

// word adds the reason and the remedy of a single store.
func (w *Web) word(c *call) {
	if c.Stores > 0 {
		return
	}
	s, ok := w.opts.Fleet.Status(c.Tile.Store)
	if !ok {
		return
	}
	c.Status, c.More = s, len(s.Incidents)-1
	for i := range s.Incidents {
		if s.Incidents[i].Code == c.Tile.Urgent {
			c.Status.Reason, c.Do = s.Incidents[i].Summary, s.Incidents[i].Remedy
			return
		}
	}
}

// Since is when the row's trouble began, as far as is known.
func (c *call) Since() time.Time {
	if c.Stores == 0 {
		for i := range c.Status.Incidents {
			if x := &c.Status.Incidents[i]; x.Code == c.Tile.Urgent {
				return x.Since
			}
		}
	}
	return time.UnixMicro(c.Tile.SinceUS).UTC()
}

// What says what happened to several at once.
func (c *call) What() string {
	did := map[string]string{
		"store_offline": "went offline", "store_stuck": "stopped being merged", "pos_silent": "fell silent at the tills",
		"agent_never_seen": "were never heard of", "clock_skew": "have a wrong clock",
	}[c.Tile.Urgent]
	if c.Tile.Urgent == "agent_never_seen" {
		return fmt.Sprintf("%d stores %s", c.Stores, did)
	}
	within := "within a minute"
	if c.SpanS >= 60 {
		within = "within " + ago(c.SpanS)
	}
	return fmt.Sprintf("%d of %d stores %s %s", c.Stores, c.Of, did, within)
}

func (w *Web) callsFragment(rw http.ResponseWriter, r *http.Request) error {
	v := w.view()
	return w.render(rw, r, "calls", w.calls(filterOf(r), v.Tiles, v.AtUS, callsWanted(r)))
}

func callsWanted(r *http.Request) int {
	if query(r, "calls") == "all" {
		return callsMax
	}
	return callsShown
}

// view is the whole fleet, made once per revision for all who look.
func (w *Web) view() protocol.FleetView {
	rev := w.opts.Fleet.View(1<<63 - 1).Rev
	w.whole.mu.Lock()
	defer w.whole.mu.Unlock()
	if w.whole.v.Boot == "" || w.whole.v.Rev != rev {
		w.whole.v = w.opts.Fleet.View(0)
	}
	return w.whole.v
}
