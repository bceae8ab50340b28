package web

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Fleet is what the pages need to know of the stores. Its answers are immutable.
type Fleet interface {
	View(since uint64) protocol.FleetView
	Wait() <-chan struct{} // closed at the next revision
	Status(id protocol.StoreID) (protocol.StoreStatus, bool)
	Statuses() []protocol.StoreStatus
	History(id protocol.StoreID, day bool) []protocol.LagPoint
	Bands() []protocol.BandColumn
	Past(atUS int64) (protocol.FleetPast, bool)
	Acknowledge(incident string) bool
}

// Options of the UI. A page whose functions are nil does not exist, and is not
// in the navigation.
type Options struct {
	Now     func() time.Time
	Log     zerolog.Logger
	Dev     bool // no login is asked, and every page says so
	Secure  bool // cookies only over TLS
	Version string
	Manual  []byte // OPERATIONS.md
	Fleet   Fleet

	Availability func(sku protocol.SKU) (protocol.Availability, bool)
	Explain      func(sku protocol.SKU, location protocol.StoreID, limit int) (protocol.Explanation, error)
	Search       func(prefix string, limit int) []protocol.SKU

	Exceptions func(f ledger.Filter) ([]protocol.Exception, error)
	Exception  func(id string) (protocol.Exception, error)
	OpenCount  func() int
	Retry      func(ctx context.Context, id, who string) error
	Discard    func(ctx context.Context, id, who, note string) error

	// Login trades an ops or admin key for a session; Session tells whose it is.
	// Both are demanded unless Dev.
	Login   func(key string) (session string, until time.Time, ok bool)
	Session func(session string) (who string, ok bool)
	Logout  func(session string)
}

// Web is the UI.
type Web struct {
	opts    Options
	tpl     *template.Template
	assets  *assets
	manual  manual
	done    chan struct{}
	closing sync.Once
	streams chan struct{}
	logins  bucket
	delta   deltaCache
	whole   wholeCache
	now     func() time.Time
}

// ErrLogin is New's answer to a UI that nobody would have to log in to.
var ErrLogin = errors.New("make ui: Login and Session are missing and Dev is not set")

// New prepares the pages.
func New(o Options) (*Web, error) {
	if !o.Dev && (o.Login == nil || o.Session == nil) {
		return nil, ErrLogin
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a, err := loadAssets()
	if err != nil {
		return nil, fmt.Errorf("load assets: %w", err)
	}
	w := &Web{opts: o, assets: a, done: make(chan struct{}), streams: make(chan struct{}, StreamsMax), now: o.Now}
	w.logins = bucket{left: loginsPerMinute}
	w.manual = readManual(string(o.Manual))
	if w.tpl, err = parseTemplates(w); err != nil {
		return nil, fmt.Errorf("parse templates: %w", err)
	}
	return w, nil
}

// Close ends the event streams, so that a server can shut down. Give it to
// http.Server.RegisterOnShutdown.
func (w *Web) Close() { w.closing.Do(func() { close(w.done) }) }

// Handler serves the UI from the root; mount it behind the API's routes.
func (w *Web) Handler() http.Handler {
	mux := http.NewServeMux()
	page := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, w.person(h))
	}
	mux.Handle("GET /static/", w.assets)
	mux.HandleFunc("GET /login", w.loginPage)
	mux.HandleFunc("POST /login", w.login)
	mux.HandleFunc("POST /logout", w.logout)
	page("GET /{$}", w.fleetPage)
	page("GET /fleet.csv", w.fleetCSV)
	page("GET /stores/{id}", w.storePage)
	page("GET /operations", w.operationsPage)
	page("GET /ops/{$}", w.operationsPage)
	page("GET /ops/{section}", w.sectionPage)
	page("GET /ui/calls", w.callsFragment)
	page("GET /ui/past", w.past)
	page("GET /ui/stream", w.stream)
	page("GET /ui/bands", w.bands)
	page("GET /ui/stores/{id}/panel", w.storePanel)
	page("GET /ui/stores/{id}/body", w.storeBody)
	page("GET /ui/stores/{id}/history", w.storeHistory)
	page("POST /ui/incidents/acknowledge", w.acknowledge)
	if w.opts.Availability != nil {
		page("GET /availability", w.availabilityPage)
		page("GET /ui/availability/explain", w.explainFragment)
		page("GET /ui/availability/skus", w.suggest)
	}
	if w.opts.Exceptions != nil {
		page("GET /exceptions", w.exceptionsPage)
		page("GET /exceptions.csv", w.exceptionsCSV)
		page("POST /ui/exceptions/{id}/retry", w.retry)
		page("POST /ui/exceptions/{id}/discard", w.discard)
	}
	page("GET /", func(http.ResponseWriter, *http.Request) error { return notFound("There is no such page.") })
	return headers(mux)
}

// csp: nothing from anywhere but here, nothing inline; the one Trusted Types
// policy is that of base.js, for fragments that this package rendered.
const csp = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; " +
	"object-src 'none'; frame-src 'none'; worker-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types tillwire"

func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", csp)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
		next.ServeHTTP(w, r)
	})
}

// wholeCache keeps the fleet of one revision: 50 viewers ask for it at once.
type wholeCache struct {
	mu sync.Mutex // guards v
	v  protocol.FleetView
}

type whoKey struct{}

func who(r *http.Request) string {
	s, _ := r.Context().Value(whoKey{}).(string)
	return s
}

// person lets people in, and nobody through who comes from another site.
func (w *Web) person(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		name := "dev"
		if !w.opts.Dev {
			c, err := r.Cookie(sessionCookie)
			ok := err == nil
			if ok {
				name, ok = w.opts.Session(c.Value)
			}
			if !ok {
				w.turnAway(rw, r)
				return
			}
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if !ownOrigin(r) || r.Header.Get("X-Tillwire") == "" {
				w.fail(rw, r, &pageError{http.StatusForbidden, "cross_origin", "This request did not come from a page of this aggregator."})
				return
			}
			r.Body = http.MaxBytesReader(rw, r.Body, bodyBytesMax)
		}
		rw.Header().Set("Cache-Control", "no-store")
		if err := h(rw, r.WithContext(context.WithValue(r.Context(), whoKey{}, name))); err != nil {
			w.fail(rw, r, err)
		}
	}
}

// ownOrigin tells whether a browser says that the request is from our own page.
func ownOrigin(r *http.Request) bool {
	if s := r.Header.Get("Sec-Fetch-Site"); s != "" && s != "same-origin" {
		return false
	}
	if o := r.Header.Get("Origin"); o != "" {
		_, host, ok := strings.Cut(o, "://")
		return ok && host == r.Host
	}
	return r.Header.Get("Sec-Fetch-Site") == "same-origin"
}

// pageError is an error with something to say to a person.
type pageError struct {
	status int
	code   string
	text   string
}

func (e *pageError) Error() string { return e.code + ": " + e.text }

func notFound(text string) error { return &pageError{http.StatusNotFound, "not_found", text} }

func badRequest(text string) error { return &pageError{http.StatusBadRequest, "bad_request", text} }

func (w *Web) fail(rw http.ResponseWriter, r *http.Request, err error) {
	pe := &pageError{http.StatusInternalServerError, "internal", "Something failed here; the aggregator's log says what."}
	if !errors.As(err, &pe) {
		w.opts.Log.Error().Err(err).Str("path", r.URL.Path).Msg("page failed")
	}
	if strings.HasPrefix(r.URL.Path, "/ui/") {
		writeProblem(rw, pe)
		return
	}
	d := w.frame(r, "", http.StatusText(pe.status))
	d.Error = pe.text
	rw.Header().Del("ETag")
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.WriteHeader(pe.status)
	if err := w.tpl.ExecuteTemplate(rw, "error.html", d); err != nil {
		w.opts.Log.Warn().Err(err).Msg("error page not sent")
	}
}
