package web

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tillwire/protocol"
)

// act presses a button that asks, answers, and waits for the toast.
func (b *browser) act(selector, note, says string) {
	b.t.Helper()
	b.do("press "+selector, chromedp.Click(css(selector)))
	b.until(`document.getElementById("act").open`)
	if note != "" {
		b.do("say why", chromedp.SendKeys(css("#act-note"), note))
	}
	b.do("do it", chromedp.Click(css("#act-do")))
	b.until(`!document.getElementById("act").open && document.getElementById("toast").textContent.includes(` + quote(says) + `)`)
}

func quote(s string) string { return "`" + strings.ReplaceAll(s, "`", "") + "`" }

// A conflict is found first, released with a reason, and stands in the trail.
func TestReservationFlow(t *testing.T) {
	d := newDemo(20)
	b := newBrowser(t, serve(t, d))
	b.size(1280, 900, "light")
	b.do("open", chromedp.Navigate(b.base+"/reservations"))
	b.until(`document.querySelector("h1").textContent.includes("no longer covered") && document.getElementById("live").textContent === "live"`)
	if first := eval[string](b, `document.querySelector("[data-row]").dataset.row`); first != "web-101" {
		t.Errorf("%s stands first, not the conflict", first)
	}
	b.do("open the dialog", chromedp.Click(css(`[data-act$="/web-101/release"]`)))
	b.until(`document.getElementById("act").open && document.activeElement.id === "act-note"`)
	b.do("without a reason", chromedp.Click(css("#act-do")))
	if !eval[bool](b, `document.getElementById("act").open`) {
		t.Error("released without a reason")
	}
	b.do("cancel", chromedp.KeyEvent(kb.Escape))
	b.until(`!document.getElementById("act").open`)
	b.act(`[data-act$="/web-101/release"]`, "customer called", "web-101 is released")
	b.until(`document.querySelector("h1").textContent.startsWith("Reservations")`)
	b.act(`[data-act$="/web-100/confirm"]`, "", "web-100 is confirmed")
	b.do("next", chromedp.KeyEvent("j"), chromedp.KeyEvent("j"))
	b.until(`document.activeElement.dataset.row === "web-101"`)
	b.do("open it", chromedp.KeyEvent(kb.Enter))
	b.until(`location.pathname === "/reservations/web-101" && document.getElementById("live").textContent === "live" && document.body.textContent.includes("customer called")`)
	b.do("go to the trail", chromedp.KeyEvent("g"), chromedp.KeyEvent("u"))
	b.until(`location.pathname === "/audit" && [...document.querySelectorAll("del")].some((e) => e.textContent === "held")`)
	b.do("narrow", chromedp.SendKeys(css(`[name="object"]`), "web-101"))
	b.until(`location.search === "?object=web-101" && document.querySelectorAll("[data-row]").length === 1`)
	b.do("reload", chromedp.Reload())
	b.until(`document.readyState === "complete" && document.querySelectorAll("[data-row]").length === 1 && document.querySelector('[name="object"]').value === "web-101"`)
	b.shot("audit-narrowed")
}

func TestHouseFlow(t *testing.T) {
	d := newDemo(20)
	b := newBrowser(t, serve(t, d))
	b.size(1280, 900, "dark")
	b.do("accounts", chromedp.Navigate(b.base+"/accounts"))
	b.until(`document.getElementById("live").textContent === "live"`)
	b.do("too short", chromedp.SendKeys(css("#a-name"), "eve"), chromedp.SendKeys(css("#a-pass"), "tooshort"), chromedp.Click(css("form[data-post] .btn")))
	if n := len(d.desk.Accounts()); n != 2 {
		t.Error("an account with a short password was made")
	}
	b.do("long enough", chromedp.SendKeys(css("#a-pass"), " but not now"), chromedp.Click(css("form[data-post] .btn")))
	b.until(`!!document.querySelector('[data-row="eve"]') && document.getElementById("toast").textContent.includes("eve can log in")`)
	eval[any](b, `(() => { const s = document.querySelector('[data-row="bob"] select'); s.value = "ops"; s.dispatchEvent(new Event("change", { bubbles: true })); return 0 })()`)
	b.until(`document.getElementById("toast").textContent.includes("bob has another role")`)
	b.act(`[data-row="eve"] .danger`, "", "eve is removed")
	b.until(`!document.querySelector('[data-row="eve"]')`)

	b.do("enrolment", chromedp.Navigate(b.base+"/enrolment?store=S0007"))
	b.until(`document.getElementById("e-store").value === "S0007"`)
	b.do("make a token", chromedp.Click(css("form[data-post] .btn")))
	b.until(`document.querySelector(".shown pre").textContent.includes("--token twe1.secret --store S0007")`)
	b.shot("enrolment-token")
	b.act(`[data-row="S0003/server"] .danger`, "stolen", "S0003/server is let in no more")
	b.until(`document.querySelector('[data-row="S0003/server"] .badge').textContent === "revoked"`)

	b.do("an agent", chromedp.Navigate(b.base+"/stores/S0001/agents/server"))
	b.act(`[data-act$="kind=support_bundle"]`, "", "Asked for: support bundle")
	b.until(`[...document.querySelectorAll("[data-row] a")].some((a) => a.textContent.includes("Download"))`)
	b.known = "422 (Unprocessable Entity)" // Chromium logs every answer of 4xx
	b.do("wrong value", chromedp.SendKeys(css(`[name="heartbeat_s"]`), "1"), chromedp.Click(css("form[data-post] .btn")))
	b.until(`document.querySelector(".problem").textContent.includes("from 5 to 30")`)
	b.do("right value", chromedp.SendKeys(css(`[name="heartbeat_s"]`), "0"), chromedp.Click(css("form[data-post] .btn")))
	b.until(`document.getElementById("toast").textContent.includes("Version 1")`)

	b.do("policies", chromedp.Navigate(b.base+"/policies"))
	eval[any](b, `document.querySelector(".fold-form").open = true, 0`)
	b.do("fill", chromedp.SendKeys(css(`[name="policy_id"]`), "fragile"), chromedp.SendKeys(css(`[name="safety_stock"]`), "2"), chromedp.Click(css("form[data-post] .btn")))
	b.until(`document.querySelector('[data-row="fragile"]')?.textContent.includes("safety stock 2")`)

	b.do("reconciliation", chromedp.Navigate(b.base+"/reconciliation?source=erp"))
	b.until(`document.querySelectorAll("[data-row]").length === 1`)
	b.act(`[data-act*="action=adopt"]`, "recounted", "is adopted now")
	b.until(`document.querySelector("h1").textContent.startsWith("1 difference")`)
	var did []string
	for _, e := range d.desk.audit(protocol.AuditFilter{Limit: 99}) {
		did = append(did, e.Action)
	}
	if got := strings.Join(did, " "); got != "reconciliation.adopt policy.put agent.desired agent.command credential.revoke enrolment.issue account.remove account.role account.add" {
		t.Error("done:", got)
	}
}

// A list that is no longer kept up to date looks so, and comes back by itself.
func TestAListThatIsCutOffSaysSo(t *testing.T) {
	b := newBrowser(t, serve(t, newDemo(20)))
	b.size(1280, 900, "light")
	b.do("open", chromedp.Navigate(b.base+"/reservations"))
	b.until(`document.getElementById("live").textContent === "live"`)
	eval[any](b, `(() => { window.wire = fetch; window.fetch = () => Promise.reject(new TypeError("cut")); window.late = performance.now; const t = performance.now(); performance.now = () => window.late.call(performance) + 20000; return 0 })()`)
	b.until(`document.body.classList.contains("stale") && document.getElementById("live").textContent.startsWith("no data")`)
	b.shot("reservations-stale")
	eval[any](b, `(() => { window.fetch = window.wire; return 0 })()`)
	b.until(`!document.body.classList.contains("stale")`)
}

func TestSearchFlow(t *testing.T) {
	b := newBrowser(t, serve(t, newDemo(60)))
	b.size(1280, 900, "light")
	b.do("open", chromedp.Navigate(b.base+"/exceptions"))
	b.until(`document.readyState === "complete" && !!document.querySelector("[data-find]")`)
	b.do("search", chromedp.KeyEvent("/"))
	b.until(`document.activeElement.id === "q"`)
	eval[any](b, `document.getElementById("q").value = "", 0`)
	b.do("type", chromedp.KeyEvent("S0017"))
	b.until(`document.querySelectorAll("#found li").length > 0 && document.getElementById("q").getAttribute("aria-expanded") === "true"`)
	b.do("pick", chromedp.KeyEvent(kb.ArrowDown))
	b.until(`document.getElementById("q").getAttribute("aria-activedescendant") === "found-0"`)
	b.shot("search")
	b.do("go", chromedp.KeyEvent(kb.Enter))
	b.until(`location.pathname === "/stores/S0017"`)
	b.do("an order", chromedp.Navigate(b.base+"/find?q=web-102"))
	b.until(`location.pathname === "/reservations/web-102"`)

	b.size(375, 800, "light")
	b.do("narrow", chromedp.Navigate(b.base+"/exceptions"))
	b.until(`!document.getElementById("menu").hidden && getComputedStyle(document.getElementById("rail")).visibility === "hidden"`)
	b.do("menu", chromedp.Click(css("#menu")))
	b.until(`document.getElementById("menu").getAttribute("aria-expanded") === "true" && document.getElementById("rail").contains(document.activeElement)`)
	b.do("close", chromedp.KeyEvent(kb.Escape))
	b.until(`document.activeElement.id === "menu" && !document.body.classList.contains("drawer")`)
}

// The keys of the fleet page, and its wall screen, which fits whatever it shows.
func TestFleetKeysAndWall(t *testing.T) {
	b := newBrowser(t, serve(t, newDemo(400)))
	b.size(1480, 1060, "light")
	b.do("open", chromedp.Navigate(b.base+"/"))
	b.until(`document.getElementById("live").textContent === "live"`)
	b.do("fold", chromedp.KeyEvent("f"))
	b.until(`!document.querySelector(".region:not(.folded)") && location.search.includes("fold=")`)
	b.do("unfold", chromedp.KeyEvent("f"))
	b.until(`!document.querySelector(".folded")`)
	b.do("an hour back, twice", chromedp.KeyEvent("["), chromedp.KeyEvent("["))
	b.until(`document.getElementById("travel").value === "1320" && document.body.classList.contains("past")`)
	b.do("forth", chromedp.KeyEvent("]"), chromedp.KeyEvent("]"))
	b.until(`document.getElementById("when").textContent === "now" && !document.body.classList.contains("past")`)
	b.do("wall", chromedp.KeyEvent("t"))
	b.until(`location.search.includes("tv") && document.body.classList.contains("tv") && document.getElementById("live")?.textContent === "live"`)
	for _, s := range [][2]int64{{1480, 1060}, {1920, 1080}, {1280, 720}} {
		b.size(s[0], s[1], "dark")
		b.until(`document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth`)
		if n := eval[int](b, `[...document.querySelectorAll(".s")].filter((t) => { const r = t.getBoundingClientRect(); return r.width < 4 || r.bottom > innerHeight || r.right > innerWidth }).length`); n > 0 {
			t.Errorf("%d tiles are off the wall of %d × %d", n, s[0], s[1])
		}
		b.shot("wall-" + itoa(int(s[0])))
	}
	b.do("back", chromedp.KeyEvent("t"))
	b.until(`!location.search.includes("tv") && document.readyState === "complete"`)
}
