package web

import (
	"cmp"
	"net/http"
	"slices"

	"tillwire/protocol"
)

type availabilityData struct {
	Input    string
	Problem  string
	SKU      protocol.SKU
	Found    bool
	Answer   protocol.Availability
	Names    map[protocol.StoreID]string
	Location protocol.StoreID
	Explain  *explainData
	Some     []protocol.SKU // to try
	Parked   bool           // there is a page of exceptions
	Stale    int            // locations whose knowledge is older than 5 min
}

func (w *Web) names() map[protocol.StoreID]string {
	v := w.view()
	m := make(map[protocol.StoreID]string, len(v.Tiles))
	for i := range v.Tiles {
		m[v.Tiles[i].Store] = v.Tiles[i].Name
	}
	return m
}

func (w *Web) availabilityPage(rw http.ResponseWriter, r *http.Request) error {
	d := &availabilityData{Input: query(r, "sku"), Location: protocol.StoreID(query(r, "location")), Parked: w.opts.Exceptions != nil}
	if d.Input != "" {
		sku, err := protocol.NormalizeSKU(d.Input)
		if err != nil {
			d.Problem = "This SKU " + err.Error() + "."
			sku = protocol.SKU(d.Input) // a till may have sold it under its raw code
		}
		d.SKU = sku
		d.Answer, d.Found = w.opts.Availability(sku)
		if d.Found {
			d.Names, d.Problem = w.names(), ""
			for _, l := range d.Answer.Locations {
				if l.LagS > 300 {
					d.Stale++
				}
			}
			slices.SortStableFunc(d.Answer.Locations, func(a, b protocol.AvailabilityLocation) int {
				return cmp.Or(cmp.Compare(b.Available, a.Available), cmp.Compare(b.OnHand, a.OnHand), cmp.Compare(a.Location, b.Location))
			})
			if d.Location != "" {
				when, err := moment(r)
				if err != nil {
					return err
				}
				d.Explain = w.explain(r, sku, d.Location, when)
			}
		}
	}
	if !d.Found && w.opts.Search != nil {
		d.Some = w.opts.Search("", suggestionsMax)
	}
	title := "Availability"
	if d.Input != "" {
		title = d.Input + " · Availability"
	}
	f := w.frame(r, "availability", title)
	f.Data = d
	return w.render(rw, r, "availability.html", f)
}

func (w *Web) explainFragment(rw http.ResponseWriter, r *http.Request) error {
	sku, loc := protocol.SKU(query(r, "sku")), protocol.StoreID(query(r, "location"))
	if sku == "" || loc == "" {
		return badRequest("sku and location are both needed.")
	}
	when, err := moment(r)
	if err != nil {
		return err
	}
	e := w.explain(r, sku, loc, when)
	if e == nil {
		return notFound("This aggregator has no explanations.")
	}
	return w.render(rw, r, "explain", e)
}

func (w *Web) suggest(rw http.ResponseWriter, r *http.Request) error {
	out := []protocol.SKU{}
	if w.opts.Search != nil {
		out = append(out, w.opts.Search(query(r, "q"), suggestionsMax)...)
	}
	return writeJSON(rw, r, out)
}
