package aggregator_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"tillwire/aggregator"
	"tillwire/protocol"
)

const housePassword = "correct horse battery"

// visitor is a browser's cookies, without its pictures.
type visitor struct {
	*http.Client
	r *running
}

func (r *running) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return &visitor{&http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, r}
}

// send posts as our own pages do, and returns the status and body.
func (v *visitor) send(path, kind, body string) (int, string) {
	v.r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+v.r.agg.HTTPAddr()+path, strings.NewReader(body))
	if err != nil {
		v.r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("X-Tillwire", "1")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return v.take(req)
}

func (v *visitor) get(path string) (int, string) {
	v.r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+v.r.agg.HTTPAddr()+path, nil)
	if err != nil {
		v.r.t.Fatal(err)
	}
	return v.take(req)
}

func (v *visitor) take(req *http.Request) (int, string) {
	v.r.t.Helper()
	res, err := v.Do(req)
	if err != nil {
		v.r.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		v.r.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func (v *visitor) login(name, password string) int {
	v.r.t.Helper()
	code, _ := v.send("/login", "application/x-www-form-urlencoded", url.Values{"name": {name}, "password": {password}}.Encode())
	return code
}

// People are let in, decide, and are found in the trail; all over a restart.
func TestPeopleDecideAndAreFoundInTheTrail(t *testing.T) {
	r := start(t, false)
	people, err := aggregator.OpenPeople(r.cfg) // another program: the command line
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range [][2]string{{"vera", "viewer"}, {"otto", "ops"}, {"ann", "admin"}} { // who knows ann knows them all
		if err := people.Add(p[0], p[1], housePassword); err != nil {
			t.Fatal(err)
		}
	}
	ann, otto, vera := r.visitor(), r.visitor(), r.visitor()
	wait(t, "the accounts of the command line count", func() bool { return ann.login("ann", housePassword) == http.StatusSeeOther })
	if a, b, c := otto.login("otto", housePassword), vera.login("vera", housePassword), r.visitor().login("vera", "wrong password"); a != 303 || b != 303 || c != 401 {
		t.Fatal("logins:", a, b, c)
	}
	admin, err := aggregator.IssueKey(r.cfg, "admin", "script", 0)
	if err != nil {
		t.Fatal(err)
	}
	r.key = admin
	r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "4006381333931", 5)+","+receipt("r1", "4006381333931", 6)+`]}`)
	id := r.do("GET /v1/exceptions", "/v1/exceptions", "").field(t, "exceptions").([]any)[0].(map[string]any)["id"].(string)

	if code, body := vera.send("/ui/exceptions/"+id+"/discard", "application/json", `{"note":"training"}`); code != 403 || !strings.Contains(body, "role viewer") {
		t.Errorf("a viewer decides: %d %s", code, body)
	}
	if code, body := otto.send("/ui/exceptions/"+id+"/discard", "application/json", `{"note":"training"}`); code != 200 {
		t.Errorf("ops cannot decide: %d %s", code, body)
	}
	if code, body := otto.send("/ui/accounts/add", "application/json", `{"name":"eve","role":"admin","password":"`+housePassword+`"}`); code != 403 {
		t.Errorf("ops lets somebody in: %d %s", code, body)
	}
	if code, body := ann.send("/ui/accounts/vera/role", "application/json", `{"role":"ops"}`); code != 200 {
		t.Errorf("the role is not changed: %d %s", code, body)
	}
	if code, _ := vera.get("/exceptions"); code != 303 {
		t.Error("vera's session outlived her role:", code)
	}
	r.do("POST /v1/reservations", "/v1/reservations", `{"reservation_id":"w1","channel":"web","lines":[{"sku":"04006381333931","quantity":1,"location":"DC1"}]}`)
	if code, body := otto.send("/ui/reservations/w1/release", "application/json", `{"note":""}`); code != 422 {
		t.Errorf("released without a reason: %d %s", code, body)
	}
	if code, body := otto.send("/ui/reservations/w1/release", "application/json", `{"note":"customer called"}`); code != 200 {
		t.Errorf("not released: %d %s", code, body)
	}
	r.do("PUT /v1/policies/{id}", "/v1/policies/keep", `{"policy_id":"keep","scope":{"sku":"04006381333931"},"values":{"safety_stock":1}}`, func(q *http.Request) { q.Header.Set("Content-Type", "application/json") })
	if code, body := ann.send("/ui/enrolment/revoke?name=key/script", "application/json", `{"note":"leaked"}`); code != 200 {
		t.Errorf("not revoked: %d %s", code, body)
	}
	if got := r.do("GET /v1/audit", "/v1/audit", ""); got.status != http.StatusUnauthorized {
		t.Errorf("a revoked key still reads: %d", got.status)
	}
	if r.key, err = aggregator.IssueKey(r.cfg, "ops", "reader", 0); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ann ui credential.revoke key/script leaked", "script api policy.put keep ", "otto ui reservation.release w1 customer called",
		"ann ui account.role vera ", "otto ui exception.discard " + id + " training",
	}
	r.trail("before a restart", want)
	if code, body := otto.get("/audit?action=reservation"); code != 200 || !strings.Contains(body, "customer called") || !strings.Contains(body, "<del>held</del> → <ins>released</ins>") {
		t.Errorf("the page: %d %s", code, body)
	}
	r.stop()
	r.open()
	r.trail("after a restart", want)
	if code, _ := otto.get("/audit"); code != 200 {
		t.Error("otto's session did not outlive a restart:", code)
	}
	if err := people.Remove("otto"); err != nil {
		t.Fatal(err)
	}
	wait(t, "otto is out", func() bool { code, _ := otto.get("/audit"); return code == 303 })
	wait(t, "the trail has what the command line did", func() bool {
		got := r.do("GET /v1/audit", "/v1/audit?action=account.remove&object=otto", "")
		list := got.field(t, "entries").([]any)
		return len(list) == 1 && list[0].(map[string]any)["via"] == protocol.ViaCommandLine
	})
}

// trail asks the API for actions, newest first, logins left out.
func (r *running) trail(when string, want []string) {
	r.t.Helper()
	var got []string
	for _, x := range r.do("GET /v1/audit", "/v1/audit?limit=50", "").field(r.t, "entries").([]any) {
		e := x.(map[string]any)
		note, _ := e["note"].(string)
		if s := strings.Join([]string{e["who"].(string), e["via"].(string), e["action"].(string), e["object"].(string), note}, " "); !strings.Contains(s, "session.begin") && e["via"] != protocol.ViaCommandLine {
			got = append(got, s)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.t.Errorf("%s the trail is\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 10 s:", what)
		}
	}
}

func TestAuditRefusesOddParameters(t *testing.T) {
	r := start(t, true)
	for _, q := range []string{"before=0", "before=x", "limit=0", "limit=9999", "color=red"} {
		r.refused(q, r.do("GET /v1/audit", "/v1/audit?"+q, ""), http.StatusUnprocessableEntity, "invalid_field", "/"+strings.SplitN(q, "=", 2)[0])
	}
}

func TestOIDCConfigSaysWhatIsWrong(t *testing.T) {
	good := aggregator.OIDCConfig{Issuer: "https://login.example", ClientID: "tillwire", PublicURL: "https://stock.example", RoleClaim: "groups", Ops: []string{"stock"}}
	for name, c := range map[string]struct {
		edit func(*aggregator.OIDCConfig)
		want string
	}{
		"good":         {func(*aggregator.OIDCConfig) {}, ""},
		"none":         {func(c *aggregator.OIDCConfig) { *c = aggregator.OIDCConfig{} }, ""},
		"issuer":       {func(c *aggregator.OIDCConfig) { c.Issuer = "login" }, `oidc.issuer "login" is not a URL`},
		"public URL":   {func(c *aggregator.OIDCConfig) { c.PublicURL = "" }, "oidc.public_url"},
		"client":       {func(c *aggregator.OIDCConfig) { c.ClientID = "" }, "oidc.client_id"},
		"nobody":       {func(c *aggregator.OIDCConfig) { c.Ops = nil }, "nobody could log in"},
		"no role said": {func(c *aggregator.OIDCConfig) { c.RoleClaim = "" }, "oidc.role_claim"},
	} {
		conf := aggregator.Defaults()
		conf.DataDir, conf.OIDC = t.TempDir(), good
		c.edit(&conf.OIDC)
		err := conf.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
