package web

import (
	"net/http"
	"strconv"
	"strings"
)

// navGroup is a part of the navigation, with what its pages have in common.
type navGroup struct {
	Name  string // "": the first, which needs none
	Items []navItem
}

type navItem struct {
	Name, Href, Page string
	Count            int // that wait for a person
	ID               string
}

// nav lists the pages that exist and that this person may open.
func (w *Web) nav(r *http.Request) []navGroup {
	o, role := &w.opts, person(r).Role
	var out []navGroup
	add := func(group string, there bool, least Role, item navItem) {
		if !there || role < least {
			return
		}
		if len(out) == 0 || out[len(out)-1].Name != group {
			out = append(out, navGroup{Name: group})
		}
		g := &out[len(out)-1]
		g.Items = append(g.Items, item)
	}
	add("", true, Viewer, navItem{Name: "Fleet", Href: "/", Page: "fleet"})
	add("", o.Availability != nil, Viewer, navItem{Name: "Availability", Href: "/availability", Page: "availability"})
	add("", o.Reservations != nil, Viewer, navItem{Name: "Reservations", Href: "/reservations", Page: "reservations"})
	add("To decide", o.Exceptions != nil, Viewer, navItem{Name: "Exceptions", Href: "/exceptions", Page: "exceptions", Count: w.openCount(), ID: "n-open"})
	add("To decide", o.Reconciliations != nil, Viewer, navItem{Name: "Reconciliation", Href: "/reconciliation", Page: "reconciliation", Count: count(o.OpenDrift), ID: "n-drift"})
	add("To decide", o.Postings != nil, Viewer, navItem{Name: "Postings", Href: "/postings", Page: "postings", Count: count(o.Parked), ID: "n-parked"})
	add("To follow", o.Connectors != nil, Viewer, navItem{Name: "Feeds and channels", Href: "/channels", Page: "channels"})
	add("To follow", o.Trace != nil, Viewer, navItem{Name: "Trace", Href: "/trace", Page: "trace"})
	add("To follow", o.Outcomes != nil, Viewer, navItem{Name: "Outcomes", Href: "/outcomes", Page: "outcomes"})
	add("Rules", o.Policies != nil, Viewer, navItem{Name: "Policies", Href: "/policies", Page: "policies"})
	add("Rules", o.Items != nil, Viewer, navItem{Name: "Items", Href: "/items", Page: "items"})
	add("House", o.Releases != nil, Viewer, navItem{Name: "Releases", Href: "/releases", Page: "releases"})
	add("House", o.Enrolment != nil, Admin, navItem{Name: "Enrolment", Href: "/enrolment", Page: "enrolment"})
	add("House", o.Audit != nil, Ops, navItem{Name: "Audit", Href: "/audit", Page: "audit"})
	add("House", o.Accounts != nil, Admin, navItem{Name: "Accounts", Href: "/accounts", Page: "accounts"})
	add("House", true, Viewer, navItem{Name: "Operations manual", Href: "/ops/", Page: "operations"})
	return out
}

func count(of func() int) int {
	if of == nil {
		return 0
	}
	return of()
}

// counts are the numbers of the navigation, as a header: id=number, …
func (w *Web) counts(r *http.Request) string {
	var out []string
	for _, g := range w.nav(r) {
		for _, it := range g.Items {
			if it.ID != "" {
				out = append(out, it.ID+"="+strconv.Itoa(it.Count))
			}
		}
	}
	return strings.Join(out, ",")
}
