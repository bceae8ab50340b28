package web

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tillwire/protocol"
)

// What an ERP refused is found first, followed back to the till, and decided on.
func TestPostingFlow(t *testing.T) {
	d := newDemo(20)
	d.flow.held = true
	b := newBrowser(t, serve(t, d))
	b.size(1280, 900, "light")
	b.do("open", chromedp.Navigate(b.base+"/postings"))
	b.until(`document.querySelector("h1").textContent.includes("held") && document.getElementById("live").textContent === "live"`)
	b.shot("postings-held")
	b.act(`[data-act="/ui/postings/resume"]`, "all stores are back", "Posting goes on")
	b.until(`document.querySelector("h1").textContent.startsWith("2 documents wait") && !document.querySelector(".notice")`)
	if first := eval[string](b, `document.querySelector("[data-row]").dataset.row`); first != "PST0000000000001" {
		t.Errorf("%s stands first, not what is parked", first)
	}
	if to := eval[string](b, `document.querySelector('[data-row] a[href^="/ops/"]').pathname`); to != "/ops/product_unknown" {
		t.Error("the remedy leads to", to)
	}
	b.do("open it", chromedp.KeyEvent("j"), chromedp.KeyEvent(kb.Enter))
	b.until(`location.pathname === "/postings/PST0000000000001"`)
	b.do("unfold", chromedp.Click(css("#src-1 summary")))
	b.until(`document.querySelector("#src-1").open`)
	b.do("follow a document", chromedp.Click(css(".sources a")))
	b.until(`location.pathname === "/trace" && document.querySelectorAll(".hop").length === 5`)
	b.do("and back to a posting", chromedp.Click(css(`.hop a[href^="/postings/"]`)))
	b.until(`location.pathname === "/postings/PST0000000000000"`)
	b.do("back to the list", chromedp.Navigate(b.base+"/postings?state=parked"))
	b.act(`[data-row="PST0000000000001"] [data-act$="/retry"]`, "", "It is due again")
	b.act(`[data-row="PST0000000000005"] [data-act$="/discard"]`, "booked by hand", "Settled without tryton")
	b.until(`document.querySelector(".empty") && document.getElementById("n-parked").hidden`)
	b.do("narrow", chromedp.SendKeys(css(`[name="day"]`), "tomorrow"))
	b.until(`location.search.includes("day=tomorrow") && document.querySelector(".empty").textContent.includes("2026-03-31")`)
	b.stale("postings-stale")
	d.did(t, "posting.discard posting.retry posting.resume")
}

// stale cuts the page off, sees that it says so, and that it comes back by itself.
func (b *browser) stale(shot string) {
	b.t.Helper()
	eval[any](b, `(() => { window.wire = fetch; window.fetch = () => Promise.reject(new TypeError("cut")); window.late = performance.now; performance.now = () => window.late.call(performance) + 20000; return 0 })()`)
	b.until(`document.body.classList.contains("stale") && document.getElementById("live").textContent.startsWith("no data")`)
	b.shot(shot)
	eval[any](b, `(() => { window.fetch = window.wire; return 0 })()`)
	b.until(`!document.body.classList.contains("stale")`)
}

// did compares what the trail has, newest first.
func (d *demo) did(t *testing.T, want string) {
	t.Helper()
	var did []string
	for _, e := range d.desk.audit(protocol.AuditFilter{Limit: 99}) {
		did = append(did, e.Action)
	}
	if got := strings.Join(did, " "); got != want {
		t.Errorf("done: %s, want %s", got, want)
	}
}

// A channel in trouble is found, its dead letter judged; a receiver is subscribed,
// tested, given another secret and let go.
func TestChannelsFlow(t *testing.T) {
	d := newDemo(20)
	b := newBrowser(t, serve(t, d))
	b.size(1280, 900, "dark")
	b.do("open", chromedp.Navigate(b.base+"/channels?state=trouble"))
	b.until(`document.querySelector("h1").textContent.startsWith("2 of 5 connections") && document.querySelectorAll("[data-row]").length === 2`)
	if body := eval[string](b, `document.documentElement.outerHTML`); strings.Contains(body, "verysecret") {
		t.Error("the token in a receiver's address is shown")
	}
	b.do("the channel", chromedp.Click(css(`[data-row="c-vendure"] a`)))
	b.until(`location.pathname === "/channels/vendure" && !!document.querySelector(".letters li")`)
	b.known = "409 (Conflict)" // Chromium logs every answer of 4xx
	b.act(`[data-act$="/letters/v1/retry"]`, "", "No location is mapped")
	b.act(`[data-act$="/letters/v1/discard"]`, "", "It is forgotten")
	b.until(`!document.querySelector(".letters") && document.body.textContent.includes("connector letter discard")`)

	b.do("a feed", chromedp.Navigate(b.base+"/channels/wms"))
	b.until(`document.getElementById("live").textContent === "live"`)
	eval[any](b, `document.getElementById("x-from").value = "2026-03-31T08:00", 0`)
	b.do("read again", chromedp.Click(css(`form[data-post$="/replay"] .btn`)))
	b.until(`document.getElementById("toast").textContent.includes("3 files are read again")`)
	b.do("all", chromedp.Navigate(b.base+"/channels"))
	b.until(`document.getElementById("live").textContent === "live"`)
	eval[any](b, `document.querySelector(".fold-form").open = true, 0`)
	b.do("subscribe", chromedp.SendKeys(css(`[name="url"]`), "https://new.example/hook"), chromedp.SendKeys(css(`[name="locations"]`), "S0001, S0002"), chromedp.Click(css("form[data-post] .btn")))
	b.until(`document.querySelector(".shown pre").textContent === "whsec_fresh" && !!document.querySelector('[data-row="h-sub9"]')`)
	b.shot("channels-subscribed")
	if s, _ := (demoHooks{d.flow}).Get("sub9"); len(s.Locations) != 2 || len(s.Events) != 1 {
		t.Errorf("subscribed %+v", s.SubscriptionRequest)
	}
	b.do("open it", chromedp.Navigate(b.base+"/subscriptions/sub9"))
	b.act(`[data-act$="/test"]`, "", "answered 204")
	b.do("another secret", chromedp.Click(css(`form[data-post$="/rotate"] .btn`)))
	b.until(`document.querySelector(".shown pre").textContent === "whsec_next"`)
	eval[any](b, `document.getElementById("x-from").value = "2026-03-31T08:00", 0`)
	b.do("send again", chromedp.Click(css(`form[data-post$="/replay"] .btn`)))
	b.until(`document.getElementById("toast").textContent.includes("sent again")`)
	eval[any](b, `document.querySelector('[data-act$="/delete"]').click(), 0`)
	b.until(`document.getElementById("act").open`)
	b.do("do it", chromedp.Click(css("#act-do")))
	b.until(`location.pathname === "/channels" && document.readyState === "complete" && !document.querySelector('[data-row="h-sub9"]')`)
	d.did(t, "subscription.delete subscription.replay subscription.rotate subscription.test subscription.create feed.replay connector.letter_discard")
}

// Any id leads to a trace, by the search too; one that is nowhere says so.
func TestTraceFlow(t *testing.T) {
	b := newBrowser(t, serve(t, newDemo(20)))
	b.size(1280, 900, "light")
	b.do("search", chromedp.Navigate(b.base+"/find?q=W-7001"))
	b.until(`location.pathname === "/find" || location.pathname === "/trace"`)
	b.do("go", chromedp.Navigate(b.base+"/trace"))
	b.until(`document.activeElement.id === "t-id"`)
	b.do("ask", chromedp.SendKeys(css("#t-id"), "W-7001"), chromedp.KeyEvent(kb.Enter))
	b.until(`location.search.includes("id=W-7001") && document.querySelectorAll(".traced").length === 2`)
	if slow := eval[string](b, `document.querySelector(".hop.slow h3").textContent`); slow != "posting" {
		t.Error("the hop that took longest is", slow)
	}
	for _, to := range []string{"/postings/PST0000000000000", "/reservations/web-103", "/exceptions"} {
		if !eval[bool](b, `[...document.querySelectorAll(".hop a")].some((a) => a.pathname === `+quote(to)+`)`) {
			t.Error("no hop leads to", to)
		}
	}
	b.do("nowhere", chromedp.Navigate(b.base+"/trace?id=nothing-like-it"))
	b.until(`document.querySelector(".empty").textContent.includes("name its store and kind")`)
}

func TestReleasesFlow(t *testing.T) {
	d := newDemo(20)
	d.tiles[3].Codes = []string{"update_failed"}
	b := newBrowser(t, serve(t, d))
	b.size(1280, 900, "light")
	b.do("open", chromedp.Navigate(b.base+"/releases"))
	b.until(`document.querySelector("h1").textContent.startsWith("1.9.0 runs on 22 of 40") && document.querySelector('[data-row="S0004/server"]').textContent.includes("did not answer")`)
	b.act(`[data-act="/ui/releases/pause"]`, "tills of the coast print nothing", "Paused")
	b.until(`document.querySelector(".notice").textContent.includes("print nothing")`)
	b.shot("releases-paused")
	b.act(`[data-act="/ui/releases/go-on"]`, "", "goes on")
	b.until(`!document.querySelector(".notice")`)
	b.known = "(" // Chromium logs every answer of 4xx
	for _, c := range []struct{ stores, says string }{{"S9999", "no store S9999"}, {"S0001, S0002", ""}} {
		eval[any](b, `(() => { const f = document.querySelector("form[data-post]"); f.percent.value = 50; f.stores.value = `+quote(c.stores)+`; return 0 })()`)
		b.do("set", chromedp.Click(css("form[data-post] .btn")))
		if c.says != "" {
			b.until(`document.querySelector(".problem").textContent.includes(` + quote(c.says) + `)`)
		}
	}
	b.until(`document.getElementById("h-progress").textContent === "50 % of North and S0001, S0002"`)
	if r := d.flow.rollout; r.Percent != 50 || len(r.Stores) != 2 || !slices.Equal(r.Regions, []string{"North"}) {
		t.Errorf("the rollout is %+v", r)
	}
	d.did(t, "release.rollout release.rollout release.rollout")
}

// What the aggregator cannot answer now is said, not shown as an empty list.
func TestFlowPagesSayWhatFails(t *testing.T) {
	d := newDemo(3)
	d.flow.broken = errors.New("the writer is busy")
	h := handler(t, d)
	for _, p := range []string{"/postings", "/releases"} {
		if w := get(h, p); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "the writer is busy") {
			t.Errorf("%s: %d", p, w.Code)
		}
	}
	d.flow.broken = nil
	for path, want := range map[string]int{"/postings/none": 404, "/channels/none": 404, "/subscriptions/none": 404} {
		if w := get(h, path); w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	own := []string{"Sec-Fetch-Site", "same-origin", "X-Tillwire", "1"}
	for path, c := range map[string]struct {
		body string
		want int
	}{
		"/ui/postings/PST0000000000001/discard": {`{"note":""}`, 422}, "/ui/postings/resume": {`{"note":" "}`, 422}, "/ui/postings/PST0000000000000/retry": {`{"note":""}`, 409},
		"/ui/channels/vendure/letters/v1/eat": {`{"note":""}`, 400}, "/ui/subscriptions": {`{"url":""}`, 422}, "/ui/subscriptions/sub0/rotate": {`{"hours":"999"}`, 400},
		"/ui/subscriptions/sub0/replay": {`{"from":"yesterday"}`, 400}, "/ui/subscriptions/sub1/test": {`{}`, 502}, "/ui/releases/rollout": {`{"version":"1.9.0","percent":"half"}`, 400}, "/ui/releases/pause": {`{"note":""}`, 422},
	} {
		if w := send2(h, path, c.body, own...); w.Code != c.want || !strings.Contains(w.Body.String(), `"detail"`) {
			t.Errorf("%s %s: %d %s, want %d", path, c.body, w.Code, w.Body, c.want)
		}
	}
}

// Outcomes are told apart by week, store and channel; the address has which.
func TestOutcomesFlow(t *testing.T) {
	b := newBrowser(t, serve(t, newDemo(20)))
	b.size(1280, 900, "light")
	b.do("open", chromedp.Navigate(b.base+"/outcomes"))
	b.until(`document.querySelector("h1").textContent.startsWith("78 oversells") && document.querySelectorAll(".trend").length === 5 && document.querySelectorAll("[data-row]").length === 13`)
	b.do("by store", chromedp.Click(css(`.tabs a[href*="store"]`)))
	b.until(`location.search === "?state=store" && !!document.querySelector('[data-row="S0003"] a[href="/stores/S0003"]')`)
	b.do("narrow", chromedp.SendKeys(css(`[name="from"]`), "soon"))
	b.until(`document.querySelector(".empty")?.textContent.includes("2026-01-05")`)
}
