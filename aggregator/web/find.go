package web

import (
	"net/http"
	"net/url"
	"strings"

	"tillwire/protocol"
)

// found is one thing that a search may mean.
type found struct {
	Kind string `json:"kind"` // store, article, page, reservation, trace
	Name string `json:"name"`
	Hint string `json:"hint"`
	Href string `json:"href"`
}

// look finds stores, articles, pages and a reservation by what was typed, the
// likeliest first; the way of a document of such an id is offered last.
func (w *Web) look(r *http.Request, q string) (out []found) {
	low := strings.ToLower(q)
	add := func(list *[]found, f found) {
		if len(*list) < foundPerKind {
			*list = append(*list, f)
		}
	}
	var exact, stores, pages, articles []found
	v := w.view()
	for i := range v.Tiles {
		t := &v.Tiles[i]
		f := found{"store", string(t.Store) + " " + t.Name, presenceWord(t.Presence), "/stores/" + url.PathEscape(string(t.Store))}
		switch {
		case strings.EqualFold(string(t.Store), q):
			exact = append(exact, f)
		case strings.Contains(strings.ToLower(string(t.Store)+" "+t.Name+" "+t.Region), low):
			add(&stores, f)
		}
	}
	for _, g := range w.nav(r) {
		for _, p := range g.Items {
			if strings.Contains(strings.ToLower(p.Name), low) {
				add(&pages, found{"page", p.Name, "", p.Href})
			}
		}
	}
	if w.opts.Reservations != nil {
		if x, ok, err := w.opts.Reservations.Reservation(r.Context(), q); err == nil && ok {
			exact = append(exact, found{"reservation", x.ReservationID, string(x.State), "/reservations/" + url.PathEscape(q)})
		}
	}
	var ways []found
	if w.opts.Trace != nil && len(q) >= traceIDMin && !strings.Contains(q, " ") {
		ways = []found{{"trace", q, "follow a document, order or hold of this id", "/trace?id=" + url.QueryEscape(q)}}
	}
	if w.opts.Search != nil {
		prefix := q
		if sku, err := protocol.NormalizeSKU(q); err == nil {
			prefix = string(sku)
		}
		for _, s := range w.opts.Search(prefix, foundPerKind) {
			if f := (found{"article", string(s), "", "/availability?sku=" + url.QueryEscape(string(s))}); string(s) == prefix {
				exact = append(exact, f)
			} else {
				add(&articles, f)
			}
		}
	}
	out = append(exact, stores...)
	out = append(out, pages...)
	return append(append(out, articles...), ways...)
}

func (w *Web) findSome(rw http.ResponseWriter, r *http.Request) error {
	out := []found{}
	if q := query(r, "q"); q != "" {
		out = append(out, w.look(r, q)...)
	}
	return writeJSON(rw, r, out)
}

type findData struct {
	Input string
	Found []found
}

// find goes where only one thing is meant, and lists what may be otherwise.
func (w *Web) find(rw http.ResponseWriter, r *http.Request) error {
	d := &findData{Input: query(r, "q")}
	if d.Input != "" {
		d.Found = w.look(r, d.Input)
	}
	n := len(d.Found)
	if n > 1 && d.Found[n-1].Kind == "trace" { // always offered, seldom meant
		n--
	}
	if n == 1 || len(d.Found) > 0 && strings.EqualFold(strings.Fields(d.Found[0].Name)[0], d.Input) {
		http.Redirect(rw, r, d.Found[0].Href, http.StatusSeeOther)
		return nil
	}
	return w.show(rw, r, "find", "Search", d)
}
