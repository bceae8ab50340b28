package web

import (
	"cmp"
	"html"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// fleetData is the fleet page: a sentence, four figures, a histogram, tiles.
type fleetData struct {
	View      protocol.FleetView
	AtMS      int64
	Late      int // more than 5 minutes behind, and not offline
	States    [6]int
	Regions   []regionData
	Versions  []string
	Codes     []string
	Filter    filter
	Filtered  int // tiles that match, -1 where nothing is filtered
	Dense     bool
	Panel     *panelData
	Calls     *callsData
	TV        bool
	Past      bool
	WorstName string
	Noun      string // stores; locations where a warehouse is among them
}

type regionData struct {
	Name   string
	Tiles  []tileData
	Folded bool
	Bands  [8]int
	Needy  int // need a person
}

type tileData struct {
	protocol.Tile
	No          int // presence
	Band        int
	WatermarkMS int64 // -1: has no lag of its own
	Off         bool
	hard        bool // off by what the page itself cannot judge: region, version, incident
	lag         int64
}

// filter is what stands in the address bar.
type filter struct {
	State   protocol.Presence
	Band    int // -1: all
	Region  string
	Version string
	Code    string
	Query   string
}

func filterOf(r *http.Request) filter {
	f := filter{Band: -1, Region: query(r, "region"), Version: query(r, "version"), Code: query(r, "incident"), Query: query(r, "q")}
	if n, err := strconv.Atoi(query(r, "lag")); err == nil && n >= 0 && n < len(protocol.BandNames) {
		f.Band = n
	}
	if p := protocol.Presence(query(r, "state")); slices.Contains(presences[:], p) {
		f.State = p
	}
	return f
}

// query is the filter as it stands in an address, without "?".
func (f filter) query() string {
	v := url.Values{}
	put := func(k, s string) {
		if s != "" {
			v.Set(k, s)
		}
	}
	put("region", f.Region)
	put("version", f.Version)
	put("incident", f.Code)
	put("state", string(f.State))
	put("q", f.Query)
	if f.Band >= 0 {
		v.Set("lag", strconv.Itoa(f.Band))
	}
	return v.Encode()
}

func (f filter) empty() bool { return f == filter{Band: -1} }

// hard tells a tile that the page cannot bring back without asking us.
func (f filter) hard(t *tileData) bool {
	return f.Region != "" && t.Region != f.Region || f.Version != "" && t.Version != f.Version ||
		f.Code != "" && !slices.Contains(t.Codes, f.Code)
}

func (f filter) match(t *tileData) bool {
	if f.hard(t) || f.State != "" && t.Presence != f.State || f.Band >= 0 && t.Band != f.Band {
		return false
	}
	return f.Query == "" || strings.Contains(strings.ToLower(string(t.Store)+" "+t.Name+" "+t.Region), strings.ToLower(f.Query))
}

func makeTile(t *protocol.Tile, atUS int64) tileData {
	d := tileData{Tile: *t, No: presenceNo(t.Presence), WatermarkMS: t.WatermarkUS / 1000}
	d.lag = max(atUS-t.WatermarkUS, 0)
	if t.Source {
		d.lag, d.WatermarkMS = 0, -1
	}
	d.Band = protocol.Band(t.Presence, d.lag)
	if d.Region == "" {
		d.Region = "No region"
	}
	return d
}

// byTrouble puts the store to call first; calm stores keep their places.
func byTrouble(a, b tileData) int {
	calm := func(t *tileData) bool { return t.No == 0 && t.Band == 0 }
	if calm(&a) && calm(&b) {
		return cmp.Compare(a.Index, b.Index)
	}
	return cmp.Or(cmp.Compare(b.No, a.No), cmp.Compare(b.lag, a.lag), cmp.Compare(a.Index, b.Index))
}

func (w *Web) fleetData(f filter) *fleetData {
	v := w.view()
	d := &fleetData{View: v, AtMS: v.AtUS / 1000, States: v.Totals.ByPresence, Filter: f, Filtered: -1, Noun: "stores", Dense: len(v.Tiles) > denseFrom}
	for _, n := range v.Bands[3:7] {
		d.Late += n
	}
	at := map[string]int{}
	versions, codes := map[string]bool{}, map[string]bool{}
	matched := 0
	for i := range v.Tiles {
		t := makeTile(&v.Tiles[i], v.AtUS)
		t.hard = f.hard(&t)
		if t.Off = !f.match(&t); !t.Off {
			matched++
		}
		k, ok := at[t.Region]
		if !ok {
			k = len(d.Regions)
			at[t.Region] = k
			d.Regions = append(d.Regions, regionData{Name: t.Region})
		}
		rg := &d.Regions[k]
		rg.Tiles = append(rg.Tiles, t)
		rg.Bands[t.Band]++
		if t.Urgency > 0 {
			rg.Needy++
		}
		if t.Version != "" {
			versions[t.Version] = true
		}
		for _, c := range t.Codes {
			codes[c] = true
		}
		if t.Type != "store" {
			d.Noun = "locations"
		}
		if t.Store == v.Totals.WorstStore {
			d.WorstName = t.Name
		}
	}
	if !f.empty() {
		d.Filtered = matched
	}
	for i := range d.Regions {
		slices.SortFunc(d.Regions[i].Tiles, byTrouble)
	}
	slices.SortStableFunc(d.Regions, func(a, b regionData) int { return cmp.Compare(len(b.Tiles), len(a.Tiles)) })
	d.Versions, d.Codes = sorted(versions), sorted(codes)
	return d
}

func sorted(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func (w *Web) fleetPage(rw http.ResponseWriter, r *http.Request) error {
	d := w.fleetData(filterOf(r))
	d.TV = r.URL.Query().Has("tv")
	folded := strings.Split(query(r, "fold"), "|")
	for i := range d.Regions {
		d.Regions[i].Folded = !d.TV && slices.Contains(folded, d.Regions[i].Name)
	}
	d.Calls = w.calls(d.Filter, d.View.Tiles, d.View.AtUS, callsWanted(r))
	pick := protocol.StoreID(query(r, "store"))
	if pick == "" && len(d.Regions) > 0 {
		pick = d.View.Totals.WorstStore
		if len(d.Calls.Calls) > 0 {
			pick = d.Calls.Calls[0].Tile.Store
		}
		if pick == "" {
			pick = d.Regions[0].Tiles[0].Store
		}
	}
	if s, ok := w.opts.Fleet.Status(pick); ok {
		d.Panel = &panelData{Status: s, At: w.now()}
	}
	f := w.frame(r, "fleet", "Fleet")
	f.Data, f.Filters = d, true
	if d.TV {
		f.Body += " tv"
	}
	return w.render(rw, r, "fleet.html", f)
}

// panelData is one store, beside the tiles.
type panelData struct {
	Status protocol.StoreStatus
	At     time.Time
}

func (w *Web) storePanel(rw http.ResponseWriter, r *http.Request) error {
	s, ok := w.opts.Fleet.Status(protocol.StoreID(r.PathValue("id")))
	if !ok {
		return notFound("Nobody knows this store.")
	}
	return w.render(rw, r, "panel", &panelData{Status: s, At: w.now()})
}

func (w *Web) bands(rw http.ResponseWriter, r *http.Request) error {
	return writeJSON(rw, r, w.opts.Fleet.Bands())
}

// tilesHTML writes tiles by hand: 5,000 of them cost a template 60 ms. Every
// text is escaped here; the rest are numbers.
func tilesHTML(tiles []tileData) template.HTML {
	b := make([]byte, 0, len(tiles)*170)
	num := func(name string, n int64) {
		b = append(b, name...)
		b = strconv.AppendInt(b, n, 10)
	}
	for i := range tiles {
		t := &tiles[i]
		id := html.EscapeString(string(t.Store))
		num(`<a class="s l`, int64(t.Band))
		num(` p`, int64(t.No))
		if t.Off {
			b = append(b, ` off`...)
		}
		b = append(b, `" href="/stores/`...)
		b = append(b, html.EscapeString(url.PathEscape(string(t.Store)))...)
		num(`" data-i="`, int64(t.Index))
		num(`" data-w="`, t.WatermarkMS)
		num(`" data-b="`, int64(min(t.Backlog, 1<<62)))
		num(`" data-c="`, int64(len(t.Codes)))
		if t.hard {
			b = append(b, `" data-x="1`...)
		}
		b = append(b, `" tabindex="-1" title="`...)
		b = append(b, id...)
		b = append(b, ' ')
		b = append(b, html.EscapeString(t.Name)...)
		b = append(b, " · "...)
		b = append(b, presenceWord(t.Presence)...)
		b = append(b, `">`...)
		b = append(b, id...)
		b = append(b, `</a>`...)
	}
	return template.HTML(b) //nolint:gosec // texts are escaped above
}
