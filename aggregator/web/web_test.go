package web

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}`

func handler(t *testing.T, d *demo, edit ...func(*Options)) http.Handler {
	t.Helper()
	o := d.options()
	for _, e := range edit {
		e(&o)
	}
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w.Handler()
}

func get(h http.Handler, path string, head ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func send2(h http.Handler, path, body string, head ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestEveryPageAnswers(t *testing.T) {
	h := handler(t, newDemo(60))
	for _, p := range []string{
		"/", "/?state=stuck&lag=3&q=mainz&region=North&version=1.8.2&incident=store_stuck&store=S0002", "/?lag=99&state=nonsense", "/stores/S0001", "/availability", "/availability?sku=4006381333931&location=S0003",
		"/availability?sku=unknown", "/availability?sku=4006381333932", "/exceptions", "/exceptions?state=discarded", "/exceptions?code=bad_unit&store=S0015", "/exceptions?after=x3", "/exceptions?source=wms&since=2026-03-31", "/exceptions?since=soon", "/exceptions/x0", "/ui/exceptions/preview?do=retry&code=bad_unit", "/operations", "/fleet.csv", "/exceptions.csv",
		"/reservations", "/reservations?state=at_risk", "/reservations?state=held&location=S0003", "/reservations/web-101", "/reservations.csv", "/reconciliation", "/reconciliation?state=adopted&source=erp", "/reconciliation.csv",
		"/stores/S0001/agents/server", "/stores/S0002/agents/server", "/policies", "/policies?q=x", "/items", "/items?from=0400", "/items/4006381333931", "/enrolment", "/enrolment?state=away&q=s00", "/enrolment.csv", "/audit", "/audit?action=account&who=x", "/audit.csv", "/accounts",
		"/postings", "/postings?state=parked&store=S0001&day=2026-03-31&class=sale", "/postings?day=tomorrow", "/postings?event=" + demoEvent, "/postings?event=x", "/postings/PST0000000000001", "/postings.csv",
		"/channels", "/channels?state=trouble", "/channels/vendure", "/channels/marketplace", "/channels.csv", "/subscriptions/sub1", "/trace", "/trace?id=" + demoEvent, "/trace?id=W-7001&store=S0001&kind=sale", "/trace?id=nothing", "/trace.csv?id=W-7001", "/releases", "/releases.csv", "/outcomes", "/outcomes?state=store&store=S0001&from=2026-01-05&to=2026-03-31", "/outcomes?state=channel", "/outcomes?from=x", "/outcomes.csv",
		"/find?q=nothing+like+it", "/find?q=00", "/ui/find?q=S0001", "/availability.csv?sku=4006381333931", "/ui/availability/explain?sku=04006381333931&location=S0001&at=1700000000&known=1",
		"/ui/bands", "/ui/stores/S0001/panel", "/ui/stores/S0001/body", "/ui/stores/S0001/history", "/ui/stores/S0001/history?range=day", "/ui/availability/explain?sku=04006381333931&location=S0001", "/ui/availability/skus?q=4",
		"/static/app.css", "/static/base.js", "/static/vendor/uplot-1.6.32.js", "/static/vendor/inter-5.3.0-latin.woff2",
	} {
		w := get(h, p)
		if w.Code != http.StatusOK {
			t.Errorf("GET %s: %d %s", p, w.Code, w.Body)
			continue
		}
		hd := w.Header()
		if hd.Get("Content-Security-Policy") != csp || hd.Get("X-Content-Type-Options") != "nosniff" || hd.Get("Content-Type") == "" {
			t.Errorf("GET %s: headers %v", p, hd)
		}
		if strings.HasPrefix(hd.Get("Content-Type"), "text/html") {
			checkHTML(t, h, p, w.Body.String())
		}
	}
}

var (
	link    = regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	inlined = regexp.MustCompile(`(?i)\son[a-z]+=|\sstyle=|javascript:|<style`)
)

// checkHTML: nothing inline, no other host, and no link that leads nowhere.
func checkHTML(t *testing.T, h http.Handler, page, body string) {
	t.Helper()
	if m := inlined.FindString(body); m != "" {
		t.Errorf("%s holds %q, which the CSP forbids", page, m)
	}
	if strings.HasPrefix(body, "<!doctype html>") && !strings.Contains(body, "Development mode") {
		t.Errorf("%s does not say that this is development mode", page)
	}
	seen := map[string]bool{}
	for _, m := range link.FindAllStringSubmatch(body, -1) {
		u := strings.ReplaceAll(strings.ReplaceAll(m[1], "&amp;", "&"), "&#43;", "+")
		path, anchor, _ := strings.Cut(u, "#")
		if path == "" || seen[path] || path == "/logout" || len(seen) > 60 {
			continue
		}
		seen[path] = true
		if strings.HasPrefix(path, "/login") || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
			t.Errorf("%s links to %q", page, u)
			continue
		}
		w := get(h, path)
		if w.Code != http.StatusOK {
			t.Errorf("%s has a dead link: %s answers %d", page, u, w.Code)
		}
		if path == "/operations" && anchor != "" && !strings.Contains(w.Body.String(), `id="`+anchor+`"`) {
			t.Errorf("%s links to a section that is not there: %s", page, u)
		}
	}
}

func TestWhatOthersCallThemselvesIsText(t *testing.T) {
	d := newDemo(3)
	d.tiles[0].Name, d.tiles[0].Region, d.tiles[0].Version = evil, evil, evil
	d.tiles[1].Store, d.tiles[1].Codes = evil, []string{evil}
	d.exc[0].Reason, d.exc[0].DocumentID, d.exc[0].Code, d.exc[0].Document, d.exc[0].Note = evil, evil, evil, map[string]any{evil: evil}, evil
	av, ex := d.availability, d.explain
	h := handler(t, d, func(o *Options) {
		o.Availability = func(protocol.SKU) (protocol.Availability, bool) {
			a, _ := av(demoSKU)
			a.SKU, a.Locations[0].Location = evil, evil
			return a, true
		}
		o.Explain = func(ctx context.Context, _ protocol.SKU, l protocol.StoreID, n int, when Moment) (protocol.Explanation, error) {
			e, _ := ex(ctx, demoSKU, l, n, when)
			e.Sum, e.Lines[0].DocumentID, e.Lines[0].Register, e.Lines[0].Flags = evil, evil, evil, []string{evil}
			return e, nil
		}
		o.Search = func(string, int) []protocol.SKU { return []protocol.SKU{evil} }
	})
	q := url.QueryEscape(evil)
	for _, p := range []string{"/", "/?q=" + q, "/?region=" + q + "&version=" + q + "&incident=" + q, "/stores/S0001", "/stores/" + url.PathEscape(evil), "/availability", "/availability?sku=" + q, "/availability?sku=" + q + "&location=" + q, "/exceptions", "/exceptions?code=" + q + "&store=" + q, "/exceptions/x0", "/exceptions?since=" + q, "/ui/stores/S0001/panel", "/ui/availability/explain?sku=" + q + "&location=" + q, "/nowhere/" + url.PathEscape(evil)} {
		body := get(h, p).Body.String()
		if strings.Contains(body, "<script>alert") || strings.Contains(body, "<img src=x") {
			i := max(strings.Index(body, "<script>alert"), strings.Index(body, "<img src=x"))
			t.Errorf("%s lets markup through: …%s…", p, body[max(0, i-80):min(len(body), i+80)])
		}
	}
}

func TestCSVIsNeutralised(t *testing.T) {
	d := newDemo(3)
	d.tiles[0].Name, d.exc[0].Reason = `=HYPERLINK("http://x")`, "@SUM(1)"
	h := handler(t, d)
	w := get(h, "/fleet.csv?state=online")
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(rows) < 2 || rows[0][0] != "store" {
		t.Fatal(rows, err)
	}
	if !strings.Contains(w.Header().Get("Content-Disposition"), "attachment") {
		t.Error(w.Header())
	}
	for _, path := range []string{"/fleet.csv", "/exceptions.csv", "/reservations.csv", "/reconciliation.csv", "/audit.csv", "/enrolment.csv", "/availability.csv?sku=4006381333931"} {
		rows, err = csv.NewReader(get(h, path).Body).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			for _, c := range r {
				if _, err := strconv.ParseFloat(c, 64); err != nil && c != "" && strings.ContainsRune("=+-@", rune(c[0])) {
					t.Errorf("%s: cell %q would be run", path, c)
				}
			}
		}
	}
}

func TestOnlyOurOwnPagesDecide(t *testing.T) {
	d := newDemo(3)
	h := handler(t, d)
	own := []string{"X-Tillwire", "1", "Sec-Fetch-Site", "same-origin", "Origin", "http://example.com"}
	const path, body = "/ui/exceptions/x0/discard", `{"note":"because"}`
	for name, c := range map[string]struct {
		head []string
		body string
		want int
	}{
		"nothing said":    {nil, body, 403},
		"no header":       {own[2:], body, 403},
		"another site":    {[]string{"X-Tillwire", "1", "Sec-Fetch-Site", "cross-site"}, body, 403},
		"same site":       {[]string{"X-Tillwire", "1", "Sec-Fetch-Site", "same-site"}, body, 403},
		"another origin":  {[]string{"X-Tillwire", "1", "Origin", "https://evil.example"}, body, 403},
		"null origin":     {[]string{"X-Tillwire", "1", "Origin", "null"}, body, 403},
		"no reason":       {own, `{"note":"  "}`, 422},
		"no JSON":         {own, `note=x`, 400},
		"too long":        {own, `{"note":"` + strings.Repeat("x", noteBytesMax+1) + `"}`, 422},
		"beyond the body": {own, `{"note":"` + strings.Repeat("x", bodyBytesMax) + `"}`, 400},
	} {
		if w := send2(h, path, c.body, c.head...); w.Code != c.want || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/problem+json") {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, c.want)
		}
	}
	if d.open() != 9 {
		t.Fatal("something was decided")
	}
	if w := send2(h, path, body, own...); w.Code != 200 || d.open() != 8 {
		t.Fatal(w.Code, w.Body)
	}
	if w := send2(h, "/ui/exceptions/none/retry", "", own...); w.Code != 404 {
		t.Fatal(w.Code, w.Body)
	}
	if w := send2(h, "/ui/incidents/acknowledge", `{"id":"events_unrecoverable/S0001/server/1-2"}`, own...); w.Code != 200 || len(d.acked) != 1 {
		t.Fatal(w.Code, w.Body)
	}
	if w := send2(h, "/ui/incidents/acknowledge", `{}`, own...); w.Code != 400 {
		t.Fatal(w.Code)
	}
	h = handler(t, d, func(o *Options) {
		o.Retry = func(context.Context, string, string) error { return errors.New("still unknown") }
	})
	if w := send2(h, "/ui/exceptions/x1/retry", "", own...); w.Code != 409 || !strings.Contains(w.Body.String(), "still unknown") {
		t.Fatal(w.Code, w.Body)
	}
}

func TestMissingThings(t *testing.T) {
	d := newDemo(3)
	h := handler(t, d)
	for p, want := range map[string]int{"/stores/none": 404, "/nowhere": 404, "/ui/stores/none/panel": 404, "/ui/stores/none/history": 404, "/static/none.js": 404, "/exceptions?state=odd": 400, "/exceptions/none": 404, "/ui/exceptions/preview?do=retry": 400, "/ui/exceptions/preview?do=edit&code=x": 400, "/ui/exceptions/preview?do=retry&since=soon": 400, "/ui/availability/explain?sku=": 400} {
		if w := get(h, p); w.Code != want {
			t.Errorf("GET %s: %d, want %d", p, w.Code, want)
		}
	}
	h = handler(t, d, func(o *Options) {
		o.Exceptions = func(ledger.Filter) ([]protocol.Exception, error) { return nil, errors.New("disk") }
	})
	if w := get(h, "/exceptions"); w.Code != 500 || strings.Contains(w.Body.String(), "disk") {
		t.Error("an inner error was shown, or not told", w.Code)
	}
	h = handler(t, d, func(o *Options) { o.Exceptions, o.Availability = nil, nil })
	if w := get(h, "/"); strings.Contains(w.Body.String(), `href="/exceptions"`) || strings.Contains(w.Body.String(), `href="/availability"`) {
		t.Error("the navigation names a page that does not exist")
	}
	empty := get(handler(t, newDemo(0)), "/").Body.String()
	if !strings.Contains(empty, "tillwire-aggregator token") {
		t.Error("an empty fleet does not say what to do")
	}
}

func TestAssets(t *testing.T) {
	h := handler(t, newDemo(1))
	w := get(h, "/static/app.css", "Accept-Encoding", "gzip")
	if w.Header().Get("Content-Encoding") != "gzip" || w.Header().Get("Cache-Control") != "no-cache" {
		t.Fatal(w.Header())
	}
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || !strings.Contains(string(b), "--accent") {
		t.Fatal(err)
	}
	if w = get(h, "/static/app.css", "If-None-Match", w.Header().Get("ETag")); w.Code != 304 {
		t.Fatal(w.Code)
	}
	page := get(h, "/").Body.String()
	m := regexp.MustCompile(`/static/app\.css\?v=[0-9a-f]+`).FindString(page)
	if w = get(h, m); !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
		t.Fatal(m, w.Header())
	}
}

func TestVendoredFilesAreThoseNamed(t *testing.T) {
	md, err := staticFiles.ReadFile("static/vendor/VENDOR.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| (\S+\.(?:js|css|woff2)) \|.*\| ([0-9a-f]{64}) \|$`).FindAllStringSubmatch(string(md), -1)
	if len(rows) != 4 {
		t.Fatal("rows:", len(rows))
	}
	for _, r := range rows {
		b, err := staticFiles.ReadFile("static/vendor/" + r[1])
		if sum := sha256.Sum256(b); err != nil || hex.EncodeToString(sum[:]) != r[2] {
			t.Errorf("%s is not what VENDOR.md names: %v", r[1], err)
		}
	}
}

func TestStream(t *testing.T) {
	d := newDemo(20)
	base := serve(t, d)
	read := func(path string, n int) []string {
		t.Helper()
		res, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		var out []string
		for s := bufio.NewScanner(res.Body); len(out) < n && s.Scan(); {
			if x, ok := strings.CutPrefix(s.Text(), "data: "); ok {
				out = append(out, x)
			} else if strings.HasPrefix(s.Text(), "event: reload") {
				out = append(out, "reload")
			}
		}
		return out
	}
	var m message
	got := read("/ui/stream?boot=demo&since=0", 2)
	if err := json.Unmarshal([]byte(got[0]), &m); err != nil || len(m.Changed) != 20 {
		t.Fatalf("first event: %v %s", err, got)
	}
	if err := json.Unmarshal([]byte(got[1]), &m); err != nil || len(m.Changed) >= 20 {
		t.Fatalf("second event is not a delta: %s", got[1])
	}
	if got = read("/ui/stream?boot=earlier&since=0", 1); got[0] != "reload" {
		t.Fatal("a page of an earlier process was not told to reload:", got)
	}
	if got = read(fmt.Sprintf("/ui/stream?boot=demo&since=%d", 1<<40), 1); got[0] != "reload" {
		t.Fatal(got)
	}
}

func TestManualRendersSafely(t *testing.T) {
	h, sections := renderManual("# T\n\n## a_b\n<script>x</script> **bold `c<d`** [in](/x) [out](javascript:1) [far](//x)\n\n1. one\n2. two\n   more\n\n- x\n\n```\n<pre>\n```\n")
	s := string(h)
	for _, want := range []string{`<h2 id="a_b">`, "&lt;script&gt;", "<strong>bold <code>c&lt;d</code></strong>", `<a href="/x">in</a>`, "[out](javascript:1)", "[far](//x)", "<ol><li>one</li><li>two more</li></ol>", "<ul><li>x</li></ul>", "&lt;pre&gt;"} {
		if !strings.Contains(s, want) {
			t.Errorf("lacks %q:\n%s", want, s)
		}
	}
	if !sections["a_b"] {
		t.Error(sections)
	}
	if _, sections = renderManual(string(demoManual())); !sections["store_offline"] {
		t.Error("the manual's own sections are not found:", sections)
	}
}

func FuzzManual(f *testing.F) {
	f.Add("# a\n[x](/y) `z` **b**\n")
	f.Fuzz(func(t *testing.T, s string) {
		h, _ := renderManual(s)
		for _, m := range regexp.MustCompile(`<[a-zA-Z/][^>]*>`).FindAllString(string(h), -1) {
			if !regexp.MustCompile(`^</?(h[1-4]|p|ul|ol|li|pre|code|strong|a)( (id|href|tabindex)="[^"<>]*")*>$`).MatchString(m) {
				t.Fatalf("%q came through", m)
			}
		}
	})
}
