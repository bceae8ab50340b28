package web

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const sessionCookie = "tillwire_session"

// bucket bounds how often keys can be tried, over all callers: keys are long,
// so this protects the machine and not the keys.
type bucket struct {
	mu   sync.Mutex // guards all below
	left float64
	at   time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.at.IsZero() {
		b.left = min(loginsPerMinute, b.left+now.Sub(b.at).Minutes()*loginsPerMinute)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

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

func (w *Web) loginPage(rw http.ResponseWriter, r *http.Request) {
	if w.opts.Dev {
		http.Redirect(rw, r, "/", http.StatusSeeOther)
		return
	}
	w.showLogin(rw, r, http.StatusOK, "")
}

func (w *Web) showLogin(rw http.ResponseWriter, r *http.Request, status int, problem string) {
	f := w.frame(r, "", "Log in")
	f.Nav, f.More, f.Error, f.Data = nil, nil, problem, next(r.FormValue("next"))
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
	case !w.logins.take(w.now()):
		w.showLogin(rw, r, http.StatusTooManyRequests, "Too many tries. Wait a minute.")
		return
	}
	session, until, ok := w.opts.Login(r.PostFormValue("key"))
	if !ok {
		w.opts.Log.Warn().Str("from", r.RemoteAddr).Msg("login refused")
		w.showLogin(rw, r, http.StatusUnauthorized, "No such key, or it has neither the role ops nor admin.")
		return
	}
	http.SetCookie(rw, &http.Cookie{
		Name: sessionCookie, Value: session, Path: "/", Expires: until, HttpOnly: true,
		Secure: w.opts.Secure || r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
	http.Redirect(rw, r, next(r.PostFormValue("next")), http.StatusSeeOther) //nolint:gosec // next lets only our own paths through
}

func (w *Web) logout(rw http.ResponseWriter, r *http.Request) {
	if !ownOrigin(r) {
		http.Error(rw, "not from our own page", http.StatusForbidden)
		return
	}
	if c, err := r.Cookie(sessionCookie); err == nil && w.opts.Logout != nil {
		w.opts.Logout(c.Value)
	}
	http.SetCookie(rw, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(rw, r, "/login", http.StatusSeeOther)
}
