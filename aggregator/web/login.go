package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tillwire/protocol"
)

// Cookies. Lax lets a colleague open a link from a mail; nothing changes by GET,
// and what changes something asks for our own origin and header besides.
const (
	sessionCookie = "tillwire_session"
	stateCookie   = "tillwire_login"
	callbackPath  = "/login/oidc/callback"
	stateLasts    = 10 * time.Minute
)

func (w *Web) turnAway(rw http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || strings.HasPrefix(r.URL.Path, "/ui/") {
		writeProblem(rw, &pageError{http.StatusUnauthorized, "login_needed", "Log in first."})
		return
	}
	http.Redirect(rw, r, "/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
}

// next is where to go after the login: a path of ours, never another host.
func next(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || strings.Contains(s, `\`) {
		return "/"
	}
	return s
}

type loginData struct {
	Next string
	Name string
	OIDC string // its button's words; "": there is none
	Key  bool   // the form for API keys is open
}

func (w *Web) loginPage(rw http.ResponseWriter, r *http.Request) {
	if w.opts.Dev {
		http.Redirect(rw, r, "/", http.StatusSeeOther)
		return
	}
	w.showLogin(rw, r, http.StatusOK, "")
}

func (w *Web) showLogin(rw http.ResponseWriter, r *http.Request, status int, problem string) {
	d := &loginData{Next: next(r.FormValue("next")), Name: r.PostFormValue("name"), Key: r.PostFormValue("key") != ""}
	if w.opts.OIDC != nil {
		d.OIDC = w.opts.OIDCName
	}
	f := w.frame(r, "", "Log in")
	f.Nav, f.Error, f.Data, f.Body = nil, problem, d, "bare"
	rw.Header().Set("Cache-Control", "no-store")
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.WriteHeader(status)
	if err := w.tpl.ExecuteTemplate(rw, "login.html", f); err != nil {
		w.opts.Log.Warn().Err(err).Msg("login page not sent")
	}
}

func (w *Web) login(rw http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(rw, r.Body, bodyBytesMax)
	switch {
	case w.opts.Dev:
		http.Redirect(rw, r, "/", http.StatusSeeOther)
		return
	case !ownOrigin(r):
		w.showLogin(rw, r, http.StatusForbidden, "This did not come from our own page.")
		return
	}
	var session string
	var until time.Time
	var err error
	if key := r.PostFormValue("key"); key != "" {
		session, until, err = w.opts.People.LoginKey(r.Context(), strings.TrimSpace(key), r.RemoteAddr)
	} else {
		session, until, err = w.opts.People.Login(r.Context(), strings.TrimSpace(r.PostFormValue("name")), r.PostFormValue("password"), r.RemoteAddr)
	}
	if err != nil {
		w.refuseLogin(rw, r, err)
		return
	}
	w.letIn(rw, r, session, until)
	http.Redirect(rw, r, next(r.PostFormValue("next")), http.StatusSeeOther) //nolint:gosec // next lets only our own paths through
}

func (w *Web) refuseLogin(rw http.ResponseWriter, r *http.Request, err error) {
	var p *protocol.Problem
	if !errors.As(err, &p) {
		w.opts.Log.Error().Err(err).Msg("login failed")
		w.showLogin(rw, r, http.StatusInternalServerError, "Something failed here; the aggregator's log says what.")
		return
	}
	w.opts.Log.Warn().Str("from", r.RemoteAddr).Str("code", p.Code).Msg("login refused")
	w.showLogin(rw, r, p.Status, p.Detail)
}

func (w *Web) letIn(rw http.ResponseWriter, r *http.Request, session string, until time.Time) {
	http.SetCookie(rw, &http.Cookie{
		Name: sessionCookie, Value: session, Path: "/", Expires: until, HttpOnly: true,
		Secure: w.opts.Secure || r.TLS != nil, SameSite: http.SameSiteLaxMode,
	})
}

// beginOIDC sends the browser to whoever vouches for people. The cookie binds the
// login to this browser: nobody else's code is taken from it.
func (w *Web) beginOIDC(rw http.ResponseWriter, r *http.Request) {
	if w.opts.OIDC == nil || w.opts.Dev {
		http.Redirect(rw, r, "/login", http.StatusSeeOther)
		return
	}
	to, state, err := w.opts.OIDC.Begin(r.Context(), next(r.FormValue("next")))
	if err != nil {
		w.refuseLogin(rw, r, err)
		return
	}
	http.SetCookie(rw, &http.Cookie{
		Name: stateCookie, Value: state, Path: callbackPath, MaxAge: int(stateLasts.Seconds()), HttpOnly: true,
		Secure: w.opts.Secure || r.TLS != nil, SameSite: http.SameSiteLaxMode,
	})
	http.Redirect(rw, r, to, http.StatusSeeOther) //nolint:gosec // the configured provider's own address
}

func (w *Web) endOIDC(rw http.ResponseWriter, r *http.Request) {
	c, err := r.Cookie(stateCookie)
	if w.opts.OIDC == nil || w.opts.Dev || err != nil {
		http.Redirect(rw, r, "/login", http.StatusSeeOther)
		return
	}
	http.SetCookie(rw, &http.Cookie{Name: stateCookie, Path: callbackPath, MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	q := r.URL.Query()
	session, until, to, err := w.opts.OIDC.End(r.Context(), q.Get("state"), c.Value, q.Get("code"))
	if err != nil {
		w.refuseLogin(rw, r, err)
		return
	}
	w.letIn(rw, r, session, until)
	http.Redirect(rw, r, next(to), http.StatusSeeOther) //nolint:gosec // next lets only our own paths through
}

func (w *Web) logout(rw http.ResponseWriter, r *http.Request) {
	if !ownOrigin(r) {
		http.Error(rw, "not from our own page", http.StatusForbidden)
		return
	}
	if c, err := r.Cookie(sessionCookie); err == nil && w.opts.People != nil {
		w.opts.People.Logout(c.Value)
	}
	http.SetCookie(rw, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(rw, r, "/login", http.StatusSeeOther)
}
