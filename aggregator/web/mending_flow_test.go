package web

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tillwire/store/ledger"
)

// many decides all that the page shows, and waits for how it ended.
func (b *browser) many(what, note, asks, says string) {
	b.t.Helper()
	b.do("count", chromedp.Click(css(`[data-many^="do=`+what+`"]`)))
	b.until(`document.getElementById("many").open && document.getElementById("many-ask").textContent.includes(` + quote(asks) + `)`)
	if note != "" {
		b.do("say why", chromedp.SendKeys(css("#many-note"), note))
	}
	b.do("go", chromedp.Click(css("#many-do")))
	b.until(`document.getElementById("many-stop").textContent === "Close" && document.getElementById("many-say").textContent === ` + quote(says))
	b.do("close", chromedp.Click(css("#many-stop")))
	b.until(`!document.getElementById("many").open`)
}

// Many are counted, decided in steps with a reason, and nothing that nobody saw counted.
func TestManyFlow(t *testing.T) {
	d := newDemo(60)
	b := newBrowser(t, serve(t, d))
	b.size(1280, 900, "light")
	b.do("open", chromedp.Navigate(b.base+"/exceptions"))
	b.until(`document.querySelectorAll(".exception").length === 9 && !document.querySelector("[data-many]")`)
	b.do("by source", chromedp.SendKeys(css(`[name="source"]`), "agents"))
	b.until(`location.search.includes("source=agents") && !!document.querySelector("[data-many]")`)
	b.do("a cause", chromedp.Click(css(`.causes a[href*="code=bad_unit"]`)))
	b.until(`location.search.includes("code=bad_unit") && document.querySelectorAll(".exception").length === 3 && document.getElementById("live").textContent === "live"`)
	b.do("count", chromedp.Click(css(`[data-many^="do=discard"]`)))
	b.until(`document.getElementById("many").open && document.getElementById("many-ask").textContent === "Discard: 3 exceptions of cause bad unit in 3 stores" && document.activeElement.id === "many-note"`)
	b.shot("exceptions-many")
	b.do("without a reason", chromedp.KeyEvent(kb.Enter))
	if d.open() != 9 {
		t.Error("discarded without a reason")
	}
	b.do("away", chromedp.KeyEvent(kb.Escape))
	b.until(`!document.getElementById("many").open`)
	b.many("discard", "training mode", "3 exceptions", "3 of 3: 3 are discarded, 0 stay open.")
	b.until(`document.getElementById("n-open").textContent === "6" && !document.querySelector(".exception")`)
	if got, err := d.exceptions(ledger.Filter{State: "discarded"}); err != nil || len(got) != 3 || got[0].Note != "training mode" {
		t.Errorf("discarded: %+v, %v", got, err)
	}
}

// A document is corrected where it is wrong; what was done to it is told.
func TestEditFlow(t *testing.T) {
	d := newDemo(60)
	b := newBrowser(t, serve(t, d))
	b.size(1280, 900, "dark")
	b.do("open", chromedp.Navigate(b.base+"/exceptions"))
	b.until(`document.querySelectorAll(".exception").length === 9 && document.getElementById("live").textContent === "live"`)
	b.do("by keys", chromedp.KeyEvent("j"))
	b.until(`document.activeElement.dataset.row === "x0"`)
	b.do("open it", chromedp.KeyEvent(kb.Enter))
	b.until(`location.pathname === "/exceptions/x0" && document.readyState === "complete" && document.getElementById("live").textContent === "live"`)
	write := func(text string) {
		eval[any](b, `(() => { const a = document.getElementById("x-doc"); a.value = `+strconv.Quote(text)+`; a.dispatchEvent(new Event("input", { bubbles: true })); return 0 })()`)
	}
	b.do("why", chromedp.SendKeys(css("#x-why"), "counted twice"))
	write(`{"lines": [`)
	b.do("no JSON", chromedp.Click(css(".editor .btn")))
	b.until(`document.querySelector(".editor .problem").textContent.includes("is no JSON")`)
	write("{\n  \"kind\": \"sale\",\n  \"lines\": [{ \"sku\": \"a, \\\"b\\\" {\", \"quantity\": 0 }]\n}")
	b.known = "422 (Unprocessable Entity)" // Chromium logs every answer of 4xx
	b.do("refused", chromedp.Click(css(".editor .btn")))
	b.until(`document.querySelector(".editor .problem button")?.textContent === "/lines/0/quantity is 0" && document.getElementById("x-doc").getAttribute("aria-invalid") === "true"`)
	if got := eval[string](b, `(() => { const a = document.getElementById("x-doc"); return document.activeElement === a ? a.value.slice(a.selectionStart, a.selectionEnd) + "|" + a.value.slice(a.selectionStart - 12, a.selectionStart) : "" })()`); got != `0|"quantity": ` {
		t.Errorf("the error is shown at %q", got)
	}
	b.shot("exception-refused")
	b.readable("exception with an error")
	b.size(375, 1100, "dark")
	b.fitsNarrow("exception with an error")
	write(`{"kind": "sale", "lines": [{"sku": "a", "quantity": 1}]}`)
	b.do("correct it", chromedp.Click(css(".editor .btn")))
	b.until(`document.readyState === "complete" && document.querySelector("h1").textContent.includes("took effect") && !document.getElementById("x-doc")`)
	if got := eval[string](b, `document.querySelector(".history li").textContent`); !strings.Contains(got, "dev corrected it: counted twice") || !strings.Contains(got, "/lines/0/quantity 2 → 1") {
		t.Errorf("its history is %q", got)
	}
	if !eval[bool](b, `[...document.querySelectorAll("summary")].some((s) => s.textContent.startsWith("As it came"))`) {
		t.Error("the original is not shown")
	}
	b.fitsNarrow("exception, corrected")
	b.shot("exception-corrected")
}

// A feed is paused with a reason, stands on top with it, and goes on.
func TestSourcesFlow(t *testing.T) {
	d := newDemo(20)
	b := newBrowser(t, serve(t, d))
	b.size(375, 1100, "light")
	b.do("open", chromedp.Navigate(b.base+"/exceptions"))
	b.until(`document.readyState === "complete" && document.getElementById("live").textContent === "live"`)
	b.do("unfold", chromedp.Click(css("#sources summary")))
	b.act(`[data-act="/ui/sources/pause/wms"]`, "sends last year's prices", "wms is paused")
	b.until(`document.querySelector(".paused")?.textContent.includes("last year's prices") && document.querySelector(".paused").textContent.includes("By dev since") && document.getElementById("sources").open`)
	b.fitsNarrow("exceptions with a paused source")
	b.shot("exceptions-paused")
	b.act(`.paused [data-act]`, "mended", "taken again")
	b.until(`!document.querySelector(".paused")`)
}

func TestMendingRefuses(t *testing.T) {
	d := newDemo(3)
	d.exc[1].Media, d.exc[2].Counted = "application/json", true
	h := handler(t, d)
	own := []string{"Sec-Fetch-Site", "same-origin", "X-Tillwire", "1"}
	const until = "&until=2100-01-01T00:00:00Z"
	for path, c := range map[string]struct {
		body string
		want int
	}{
		"/ui/exceptions/bulk?do=retry" + until:                 {`{"note":""}`, 400},
		"/ui/exceptions/bulk?do=retry&code=bad_unit":           {`{"note":""}`, 400},
		"/ui/exceptions/bulk?do=discard&code=bad_unit" + until: {`{"note":""}`, 422},
		"/ui/exceptions/x0/edit":                               {`{"document":"{}","note":" "}`, 422},
		"/ui/exceptions/none/edit":                             {`{"document":"{}","note":"x"}`, 404},
		"/ui/sources/pause/wms":                                {`{"note":""}`, 422},
		"/ui/sources/resume/wms":                               {`{"note":"x"}`, 409},
		"/ui/sources/eat/wms":                                  {`{"note":"x"}`, 404},
	} {
		if w := send2(h, path, c.body, own...); w.Code != c.want || !strings.Contains(w.Body.String(), `"detail"`) {
			t.Errorf("%s %s: %d %s, want %d", path, c.body, w.Code, w.Body, c.want)
		}
	}
	if w := send2(h, "/ui/exceptions/x0/edit", `{"document":"{}","note":"x"}`, own...); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), `"pointer":"/lines/0/quantity"`) {
		t.Error(w.Code, w.Body)
	}
	for id, there := range map[string]bool{"x0": true, "x1": false, "x2": false} {
		if got := strings.Contains(get(h, "/exceptions/"+id).Body.String(), `id="x-doc"`); got != there {
			t.Errorf("%s can be corrected: %v", id, got)
		}
	}
	if d.open() != 9 {
		t.Error("something was decided")
	}
}
