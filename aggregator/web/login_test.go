package web

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tillwire/protocol"
)

// gate lets in: a password that is the name twice, the key "good", and whoever
// comes back from the provider with the code "fine".
type gate struct{ out string }

var errGate = protocol.NewProblem(http.StatusUnauthorized, "login_refused", "", "Name or password is wrong.", "")

func (g *gate) Login(_ context.Context, name, password, _ string) (string, time.Time, error) {
	if name == "" || password != name+name {
		return "", time.Time{}, errGate
	}
	return "s-" + name, time.Now().Add(time.Hour), nil
}

func (g *gate) LoginKey(_ context.Context, key, _ string) (string, time.Time, error) {
	if key != "good" {
		return "", time.Time{}, errGate
	}
	return "s-ops", time.Now().Add(time.Hour), nil
}

func (g *gate) Who(session string) (Person, bool) {
	name, ok := strings.CutPrefix(session, "s-")
	role := roleNamed(name)
	if role == Nobody {
		role = Viewer
	}
	return Person{Name: name, Role: role}, ok && session != g.out
}

func (g *gate) Logout(session string) { g.out = session }

func (g *gate) Begin(_ context.Context, next string) (to, state string, err error) {
	return "https://id.example/authorize?next=" + next, "st", nil
}

func (g *gate) End(_ context.Context, state, cookie, code string) (session string, until time.Time, next string, err error) {
	if state != cookie || code != "fine" {
		return "", until, "", errGate
	}
	return "s-eve", time.Now().Add(time.Hour), "/exceptions", nil
}

func guarded(t *testing.T) (http.Handler, *gate) {
	t.Helper()
	if _, err := New(Options{Fleet: newDemo(3)}); !errors.Is(err, ErrLogin) {
		t.Fatal("a UI without login was made:", err)
	}
	g := &gate{}
	return handler(t, newDemo(3), func(o *Options) { o.Dev, o.People, o.OIDC, o.OIDCName = false, g, g, "Company login" }), g
}

var ownForm = []string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"}

func TestLogin(t *testing.T) {
	h, g := guarded(t)
	if w := get(h, "/stores/S0001?x=1"); w.Code != 303 || w.Header().Get("Location") != "/login?next=%2Fstores%2FS0001%3Fx%3D1" {
		t.Fatal(w.Code, w.Header())
	}
	if w := get(h, "/ui/bands"); w.Code != 401 {
		t.Fatal(w.Code)
	}
	if w := get(h, "/login?next=//evil.example/x"); w.Code != 200 || strings.Contains(w.Body.String(), "evil") || strings.Contains(w.Body.String(), "Development mode") || !strings.Contains(w.Body.String(), "Company login") {
		t.Fatal(w.Code, w.Body)
	}
	for name, c := range map[string]struct {
		body string
		head []string
		want int
	}{
		"wrong":               {"name=ann&password=x", ownForm, 401},
		"wrong key":           {"key=bad", ownForm, 401},
		"from another site":   {"name=ann&password=annann", ownForm[:2], 403},
		"right":               {"name=ann&password=annann&next=/exceptions", ownForm, 303},
		"key":                 {"key=+good+&next=/exceptions", ownForm, 303},
		"to another host":     {"name=ann&password=annann&next=//evil.example", ownForm, 303},
		"a body beyond bound": {"name=" + strings.Repeat("x", bodyBytesMax), ownForm, 401},
	} {
		w := send2(h, "/login", c.body, c.head...)
		cookie := w.Header().Get("Set-Cookie")
		if w.Code != c.want || (w.Code == 303) != (cookie != "") || w.Code == 303 && (!strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax")) {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
		if to := w.Header().Get("Location"); w.Code == 303 && to != "/exceptions" && to != "/" {
			t.Errorf("%s leads to %s", name, to)
		}
	}
	if w := get(h, "/", "Cookie", "tillwire_session=s-ann"); w.Code != 200 || !strings.Contains(w.Body.String(), ">ann<") {
		t.Fatal(w.Code)
	}
	if w := send2(h, "/logout", "", append(ownForm, "Cookie", "tillwire_session=s-ann")...); w.Code != 303 || g.out != "s-ann" {
		t.Fatal(w.Code, g.out)
	}
	if w := get(h, "/", "Cookie", "tillwire_session=s-ann"); w.Code != 303 {
		t.Fatal("still in after logging out", w.Code)
	}
}

func TestLoginElsewhere(t *testing.T) {
	h, _ := guarded(t)
	w := get(h, "/login/oidc?next=/exceptions")
	if w.Code != 303 || w.Header().Get("Location") != "https://id.example/authorize?next=/exceptions" || !strings.Contains(w.Header().Get("Set-Cookie"), "tillwire_login=st; Path=/login/oidc/callback") {
		t.Fatal(w.Code, w.Header())
	}
	if w = get(h, "/login/oidc?next=//evil.example"); strings.Contains(w.Header().Get("Location"), "evil") {
		t.Error("leads away:", w.Header())
	}
	for name, c := range map[string]struct {
		path, cookie string
		want         int
	}{
		"right":           {callbackPath + "?state=st&code=fine", "tillwire_login=st", 303},
		"another browser": {callbackPath + "?state=st&code=fine", "tillwire_login=other", 401},
		"refused there":   {callbackPath + "?state=st&error=access_denied", "tillwire_login=st", 401},
		"no cookie":       {callbackPath + "?state=st&code=fine", "x=y", 303},
	} {
		w := get(h, c.path, "Cookie", c.cookie)
		in := strings.Contains(strings.Join(w.Header().Values("Set-Cookie"), ";"), "tillwire_session=s-eve")
		if w.Code != c.want || in != (name == "right") {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
}

// Every route of the UI, by every role and by nobody.
func TestWhoMayWhat(t *testing.T) {
	h, _ := guarded(t)
	values := strings.NewReplacer("{id}", "web-100", "{agent}", "server", "{command}", "confirm", "{sku}", string(demoSKU), "{section}", "store_offline", "{name}", "bob", "{$}", "", "{letter}", "d1", "{what}", "retry", "{source}", "wms")
	ids := map[string]string{"postings": "PST0000000000001", "subscriptions": "sub1", "channels": "vendure"}
	for _, x := range routes() {
		for area, id := range ids { // each names something else by {id}
			if strings.Contains(x.pattern, "/"+area+"/{") {
				x.pattern = strings.NewReplacer("{id}", id, "{name}", id).Replace(x.pattern)
			}
		}
		method, path, _ := strings.Cut(x.pattern, " ")
		if path = values.Replace(path); path == "/ui/stream" {
			path += "?boot=other" // ends at once
		}
		for _, role := range []Role{Nobody, Viewer, Ops, Admin} {
			r := httptest.NewRequest(method, path, strings.NewReader("nonsense"))
			r.Header.Set("X-Tillwire", "1")
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			if role != Nobody {
				r.AddCookie(&http.Cookie{Name: sessionCookie, Value: "s-" + role.String()})
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			turned := w.Code == http.StatusUnauthorized || w.Code == http.StatusSeeOther && strings.HasPrefix(w.Header().Get("Location"), "/login")
			switch {
			case role == Nobody && !turned:
				t.Errorf("%s lets nobody in: %d", x.pattern, w.Code)
			case role != Nobody && role < x.role && w.Code != http.StatusForbidden:
				t.Errorf("%s lets a %s do it: %d", x.pattern, role, w.Code)
			case role >= x.role && role != Nobody && (turned || w.Code == http.StatusForbidden):
				t.Errorf("%s refuses a %s: %d %s", x.pattern, role, w.Code, w.Body)
			}
		}
	}
	page := func(role Role) string {
		return get(h, "/", "Cookie", "tillwire_session=s-"+role.String()).Body.String()
	}
	for _, c := range []struct {
		href string
		role Role
	}{{"/reservations", Viewer}, {"/postings", Viewer}, {"/channels", Viewer}, {"/trace", Viewer}, {"/releases", Viewer}, {"/audit", Ops}, {"/accounts", Admin}, {"/enrolment", Admin}} {
		for _, role := range []Role{Viewer, Ops, Admin} {
			if there := strings.Contains(page(role), `href="`+c.href+`"`); there != (role >= c.role) {
				t.Errorf("the navigation of a %s: %s is there: %v", role, c.href, there)
			}
		}
	}
	viewer := get(h, "/reservations", "Cookie", "tillwire_session=s-viewer").Body.String()
	if strings.Contains(viewer, "data-act") {
		t.Error("a viewer is offered what a viewer may not do")
	}
}
