package web

import (
	"context"
	"net/http"
)

// route is one row of the table of who may open or press what.
type route struct {
	pattern string
	role    Role // at least
	do      func(*Web, http.ResponseWriter, *http.Request) error
	exists  func(*Options) bool // nil: always
}

// routes lists all that asks for a person. Login, logout and static files do not.
func routes() []route { return append(append(watchRoutes(), flowRoutes()...), deskRoutes()...) }

// watchRoutes are of the pages that are looked at all day.
func watchRoutes() []route {
	var (
		stock  = func(o *Options) bool { return o.Availability != nil }
		parked = func(o *Options) bool { return o.Exceptions != nil && o.Mending != nil }
	)
	return []route{
		{"GET /{$}", Viewer, (*Web).fleetPage, nil},
		{"GET /fleet.csv", Viewer, (*Web).fleetCSV, nil},
		{"GET /find", Viewer, (*Web).find, nil},
		{"GET /ui/find", Viewer, (*Web).findSome, nil},
		{"GET /stores/{id}", Viewer, (*Web).storePage, nil},
		{"GET /operations", Viewer, (*Web).operationsPage, nil},
		{"GET /ops/{$}", Viewer, (*Web).operationsPage, nil},
		{"GET /ops/{section}", Viewer, (*Web).sectionPage, nil},
		{"GET /ui/calls", Viewer, (*Web).callsFragment, nil},
		{"GET /ui/past", Viewer, (*Web).past, nil},
		{"GET /ui/stream", Viewer, (*Web).stream, nil},
		{"GET /ui/bands", Viewer, (*Web).bands, nil},
		{"GET /ui/stores/{id}/panel", Viewer, (*Web).storePanel, nil},
		{"GET /ui/stores/{id}/body", Viewer, (*Web).storeBody, nil},
		{"GET /ui/stores/{id}/history", Viewer, (*Web).storeHistory, nil},
		{"POST /ui/incidents/acknowledge", Ops, (*Web).acknowledge, nil},

		{"GET /availability", Viewer, (*Web).availabilityPage, stock},
		{"GET /availability.csv", Viewer, (*Web).availabilityCSV, stock},
		{"GET /ui/availability/explain", Viewer, (*Web).explainFragment, stock},
		{"GET /ui/availability/skus", Viewer, (*Web).suggest, stock},

		{"GET /exceptions", Viewer, (*Web).exceptionsPage, parked},
		{"GET /exceptions.csv", Viewer, (*Web).exceptionsCSV, parked},
		{"GET /exceptions/{id}", Viewer, (*Web).exceptionPage, parked},
		{"GET /ui/exceptions/preview", Ops, (*Web).previewBulk, parked},
		{"POST /ui/exceptions/bulk", Ops, (*Web).bulk, parked},
		{"POST /ui/exceptions/{id}/edit", Ops, (*Web).edit, parked},
		{"POST /ui/sources/{what}/{source}", Ops, (*Web).turnSource, parked},
		{"POST /ui/exceptions/{id}/retry", Ops, (*Web).retry, parked},
		{"POST /ui/exceptions/{id}/discard", Ops, (*Web).discard, parked},

		{"GET /", Viewer, (*Web).nowhere, nil},
	}
}

// flowRoutes are of the pages that follow goods to and from other systems.
func flowRoutes() []route {
	var (
		posted   = func(o *Options) bool { return o.Postings != nil }
		partners = func(o *Options) bool { return o.Connectors != nil && o.Subscriptions != nil }
		traced   = func(o *Options) bool { return o.Trace != nil }
		released = func(o *Options) bool { return o.Releases != nil }
		summed   = func(o *Options) bool { return o.Outcomes != nil }
		drawn    = func(o *Options) bool { return o.Flow != nil }
	)
	return []route{
		{"GET /postings", Viewer, (*Web).postingsPage, posted},
		{"GET /postings.csv", Viewer, (*Web).postingsCSV, posted},
		{"GET /postings/{id}", Viewer, (*Web).postingPage, posted},
		{"POST /ui/postings/resume", Ops, (*Web).resumePostings, posted},
		{"POST /ui/postings/{id}/retry", Ops, (*Web).retryPosting, posted},
		{"POST /ui/postings/{id}/discard", Ops, (*Web).discardPosting, posted},

		{"GET /channels", Viewer, (*Web).channelsPage, partners},
		{"GET /channels.csv", Viewer, (*Web).channelsCSV, partners},
		{"GET /channels/{name}", Viewer, (*Web).connectorPage, partners},
		{"POST /ui/channels/{name}/letters/{letter}/{what}", Ops, (*Web).decideLetter, partners},
		{"POST /ui/channels/{name}/replay", Ops, (*Web).replayFeed, partners},
		{"GET /ui/flow", Viewer, (*Web).flowHistory, drawn},
		{"GET /subscriptions/{id}", Viewer, (*Web).subscriptionPage, partners},
		{"POST /ui/subscriptions", Admin, (*Web).subscribe, partners},
		{"POST /ui/subscriptions/{id}/test", Admin, (*Web).testSubscription, partners},
		{"POST /ui/subscriptions/{id}/rotate", Admin, (*Web).rotateSubscription, partners},
		{"POST /ui/subscriptions/{id}/resume", Admin, (*Web).resumeSubscription, partners},
		{"POST /ui/subscriptions/{id}/replay", Admin, (*Web).replaySubscription, partners},
		{"POST /ui/subscriptions/{id}/delete", Admin, (*Web).unsubscribe, partners},
		{"POST /ui/subscriptions/{id}/letters/{letter}/{what}", Ops, (*Web).decideDeadLetter, partners},

		{"GET /trace", Viewer, (*Web).tracePage, traced},
		{"GET /trace.csv", Viewer, (*Web).traceCSV, traced},

		{"GET /outcomes", Viewer, (*Web).outcomesPage, summed},
		{"GET /outcomes.csv", Viewer, (*Web).outcomesCSV, summed},

		{"GET /releases", Viewer, (*Web).releasesPage, released},
		{"GET /releases.csv", Viewer, (*Web).releasesCSV, released},
		{"POST /ui/releases/rollout", Admin, (*Web).setRollout, released},
		{"POST /ui/releases/pause", Admin, (*Web).pauseRollout, released},
		{"POST /ui/releases/go-on", Admin, (*Web).goOnRollout, released},
	}
}

// deskRoutes are of the pages on which people decide about the chain and the house.
func deskRoutes() []route {
	var (
		held     = func(o *Options) bool { return o.Reservations != nil }
		drift    = func(o *Options) bool { return o.Reconciliations != nil }
		orders   = func(o *Options) bool { return o.Orders != nil }
		policies = func(o *Options) bool { return o.Policies != nil }
		items    = func(o *Options) bool { return o.Items != nil }
		enrol    = func(o *Options) bool { return o.Enrolment != nil }
		trail    = func(o *Options) bool { return o.Audit != nil }
		accounts = func(o *Options) bool { return o.Accounts != nil }
	)
	return []route{
		{"GET /reservations", Viewer, (*Web).reservationsPage, held},
		{"GET /reservations.csv", Viewer, (*Web).reservationsCSV, held},
		{"GET /reservations/{id}", Viewer, (*Web).reservationPage, held},
		{"POST /ui/reservations/{id}/{command}", Ops, (*Web).decideReservation, held},

		{"GET /reconciliation", Viewer, (*Web).reconciliationPage, drift},
		{"GET /reconciliation.csv", Viewer, (*Web).reconciliationCSV, drift},
		{"POST /ui/reconciliation/decide", Ops, (*Web).decideDrift, drift},

		{"GET /stores/{id}/agents/{agent}", Viewer, (*Web).agentPage, orders},
		{"GET /stores/{id}/agents/{agent}/bundles/{command}", Ops, (*Web).bundle, orders},
		{"POST /ui/stores/{id}/agents/{agent}/command", Ops, (*Web).issueCommand, orders},
		{"POST /ui/stores/{id}/agents/{agent}/desired", Ops, (*Web).setDesired, orders},
		{"POST /ui/stores/{id}/agents/{agent}/pick", Ops, (*Web).pickCopy, orders},

		{"GET /policies", Viewer, (*Web).policiesPage, policies},
		{"GET /policies/{id}", Viewer, (*Web).policyPage, policies},
		{"POST /ui/policies/put", Ops, (*Web).putPolicy, policies},
		{"POST /ui/policies/{id}/delete", Ops, (*Web).deletePolicy, policies},
		{"GET /items", Viewer, (*Web).itemsPage, items},
		{"GET /items/{sku}", Viewer, (*Web).itemPage, items},

		{"GET /enrolment", Admin, (*Web).enrolmentPage, enrol},
		{"GET /enrolment.csv", Admin, (*Web).enrolmentCSV, enrol},
		{"POST /ui/enrolment/issue", Admin, (*Web).issueToken, enrol},
		{"POST /ui/enrolment/revoke", Admin, (*Web).revoke, enrol},
		{"GET /audit", Ops, (*Web).auditPage, trail},
		{"GET /audit.csv", Ops, (*Web).auditCSV, trail},
		{"GET /accounts", Admin, (*Web).accountsPage, accounts},
		{"POST /ui/accounts/add", Admin, (*Web).addAccount, accounts},
		{"POST /ui/accounts/{name}/password", Admin, (*Web).setPassword, accounts},
		{"POST /ui/accounts/{name}/role", Admin, (*Web).setRole, accounts},
		{"POST /ui/accounts/{name}/remove", Admin, (*Web).removeAccount, accounts},
	}
}

// Handler serves the UI from the root; mount it behind the API's routes.
func (w *Web) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /static/", w.assets)
	mux.HandleFunc("GET /login", w.loginPage)
	mux.HandleFunc("POST /login", w.login)
	mux.HandleFunc("GET /login/oidc", w.beginOIDC)
	mux.HandleFunc("GET "+callbackPath, w.endOIDC)
	mux.HandleFunc("POST /logout", w.logout)
	for _, r := range routes() {
		if r.exists == nil || r.exists(&w.opts) {
			mux.HandleFunc(r.pattern, w.guarded(r))
		}
	}
	return headers(mux)
}

func (w *Web) nowhere(http.ResponseWriter, *http.Request) error {
	return notFound("There is no such page.")
}

type personKey struct{}

func person(r *http.Request) Person {
	p, _ := r.Context().Value(personKey{}).(Person)
	return p
}

func who(r *http.Request) string { return person(r).Name }

// guarded lets through who may, and nobody who comes from another site.
func (w *Web) guarded(x route) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		p := Person{Name: "dev", Role: Admin}
		if !w.opts.Dev {
			c, err := r.Cookie(sessionCookie)
			ok := err == nil
			if ok {
				p, ok = w.opts.People.Who(c.Value)
			}
			if !ok {
				w.turnAway(rw, r)
				return
			}
		}
		r = r.WithContext(context.WithValue(r.Context(), personKey{}, p))
		rw.Header().Set("Cache-Control", "no-store")
		if err := w.pass(rw, r, &x, p); err != nil {
			w.fail(rw, r, err)
		}
	}
}

func (w *Web) pass(rw http.ResponseWriter, r *http.Request, x *route, p Person) error {
	if p.Role < x.role {
		return &pageError{http.StatusForbidden, "forbidden", "You are logged in as " + p.Name + " with the role " + p.Role.String() + "; this needs the role " + x.role.String() + ". An admin can change it on the page Accounts."}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if !ownOrigin(r) || r.Header.Get("X-Tillwire") == "" {
			return &pageError{http.StatusForbidden, "cross_origin", "This request did not come from a page of this aggregator."}
		}
		r.Body = http.MaxBytesReader(rw, r.Body, bodyBytesMax)
	}
	return x.do(w, rw, r)
}
