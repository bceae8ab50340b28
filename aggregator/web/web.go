package web

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"

	"tillwire/protocol"
)

// Web is the UI.
type Web struct {
	opts    Options
	tpl     *template.Template
	assets  *assets
	manual  manual
	done    chan struct{}
	closing sync.Once
	streams chan struct{}
	delta   deltaCache
	whole   wholeCache
	sources standingCache
	sparks  sparkCache
	now     func() time.Time
}

// ErrLogin is New's answer to a UI that nobody would have to log in to.
var ErrLogin = errors.New("make ui: People is missing and Dev is not set")

// New prepares the pages.
func New(o Options) (*Web, error) {
	if !o.Dev && o.People == nil {
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
	w.manual = readManual(string(o.Manual))
	if w.tpl, err = parseTemplates(w); err != nil {
		return nil, fmt.Errorf("parse templates: %w", err)
	}
	return w, nil
}

// Close ends the event streams, so that a server can shut down. Give it to
// http.Server.RegisterOnShutdown.
func (w *Web) Close() { w.closing.Do(func() { close(w.done) }) }

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

// fieldsError says besides where in what was sent the trouble is.
type fieldsError struct {
	*pageError
	fields []protocol.FieldError
}

func (e *fieldsError) Unwrap() error { return e.pageError }

func notFound(text string) error { return &pageError{http.StatusNotFound, "not_found", text} }

func badRequest(text string) error {
	return &pageError{http.StatusBadRequest, "bad_request", text}
}

func (w *Web) fail(rw http.ResponseWriter, r *http.Request, err error) {
	pe := &pageError{http.StatusInternalServerError, "internal", "Something failed here; the aggregator's log says what."}
	if !errors.As(err, &pe) {
		w.opts.Log.Error().Err(err).Str("path", r.URL.Path).Msg("page failed")
	}
	if strings.HasPrefix(r.URL.Path, "/ui/") {
		var fe *fieldsError
		if errors.As(err, &fe) {
			writeProblem(rw, pe, fe.fields...)
			return
		}
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
