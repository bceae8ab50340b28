package web

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"tillwire/protocol"
)

// door is a listener that can be shut: what is open is cut off, and nobody is let in.
type door struct {
	net.Listener
	mu    sync.Mutex // guards all below
	shut  bool
	conns map[net.Conn]bool
}

func (g *door) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		shut := g.shut
		if !shut {
			g.conns[c] = true
		}
		g.mu.Unlock()
		if !shut {
			return c, nil
		}
		_ = c.Close()
	}
}

func (g *door) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	for c := range g.conns {
		_ = c.Close()
	}
	clear(g.conns)
}

// livePages are those that follow something: all of the navigation, and those behind them.
var livePages = []string{
	"/", "/?tv=1", "/stores/S0001", "/stores/S0001/agents/server", "/exceptions", "/exceptions/x0", "/reservations", "/reservations/web-100", "/reconciliation", "/postings", "/postings/PST0000000000001",
	"/channels", "/channels/vendure", "/subscriptions/sub1", "/outcomes", "/policies", "/items", "/releases", "/enrolment", "/audit", "/accounts",
}

// stillPages follow nothing, and say of when they are.
var stillPages = []string{"/availability", "/availability?sku=04006381333931", "/trace", "/trace?id=W-7001", "/find?q=00", "/ops/", "/ops/store_stuck", "/policies/p1", "/items/4006381333931"}

// Each page of the navigation is one or the other.
func TestEveryPageFollowsOrSaysOfWhenItIs(t *testing.T) {
	d := newDemo(20)
	d.desk.policies = []protocol.Policy{{PolicyID: "p1", Version: 1}}
	h := handler(t, d)
	known := map[string]bool{}
	for _, p := range append(append([]string{}, livePages...), stillPages...) {
		path, _, _ := strings.Cut(p, "?")
		known[path] = true
	}
	for _, m := range link.FindAllStringSubmatch(get(h, "/audit").Body.String(), -1) {
		if strings.HasPrefix(m[1], "/") && !strings.HasPrefix(m[1], "/static/") && !strings.Contains(m[1], ".csv") && m[1] != "/find" && !known[m[1]] {
			t.Errorf("%s is in the navigation, and no test cuts it off", m[1])
		}
	}
	for _, p := range livePages {
		if body := get(h, p).Body.String(); strings.Count(body, `id="live"`) != 1 || strings.Contains(body, `class="soft asof"`) {
			t.Errorf("%s does not say in one place whether it follows", p)
		}
	}
	for _, p := range stillPages {
		body := get(h, p).Body.String()
		_, asof, there := strings.Cut(body, `asof">As of `)
		if !there || !strings.HasPrefix(asof, "<time datetime=") && !strings.HasPrefix(asof, "version 0.1.0") || strings.Contains(body, `id="live"`) {
			t.Errorf("%s does not say of when it is", p)
		}
	}
}

// grey tells how much of what a page shows is marked as old; "" is all of it.
const grey = `(() => {
  const marked = (e) => { for (let a = e; a; a = a.parentElement) if (getComputedStyle(a).filter.includes("grayscale") && (e.matches(".badge") || +getComputedStyle(a).opacity < .85)) return true; };
  return [...document.querySelectorAll("main td, main dd, main .tiles, main canvas, main .call, main .uplot, main .spark, main .badge")].filter((e) => e.checkVisibility() && !marked(e)).map((e) => e.outerHTML.slice(0, 60)).slice(0, 3).join(" ");
})()`

// Every page that follows something is cut off, says so with its age where a screen
// reader hears it, marks what it shows as old, and comes back by itself, not loaded anew.
func TestEveryLivePageSaysWhenItIsCutOff(t *testing.T) {
	const lanes, tabs = 2, 3 // waits of several pages are one wait
	for lane := range lanes {
		scheme := []string{"light", "dark"}[lane]
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			d := newDemo(20)
			d.tiles[0].Codes = []string{"store_stuck"}
			g := &door{conns: map[net.Conn]bool{}}
			base := serveBehind(t, d, func(ln net.Listener) net.Listener { g.Listener = ln; return g })
			var all [tabs]*browser
			for i := range all {
				all[i] = newBrowser(t, base)
				all[i].known = "Failed to load resource" // Chromium logs every answer that does not come, or is no good one
				all[i].size(1280, 900, scheme)
			}
			for at := lane * tabs; at < len(livePages); at += lanes * tabs {
				cutOff(all[:], livePages[at:min(at+tabs, len(livePages))], g)
			}
			if lane == 0 {
				all[0].heldAndRefused(d)
			}
		})
	}
}

// later lets time pass for the page.
const later = `(() => { const now = performance.now; performance.now = () => now.call(performance) + %d; return 0 })()`

// cutOff cuts pages off, one in each tab, and lets them come back.
func cutOff(tabs []*browser, pages []string, g *door) {
	each := func(do func(b *browser, p string)) {
		for i, p := range pages {
			tabs[i].t.Helper()
			do(tabs[i], p)
		}
	}
	each(func(b *browser, p string) {
		b.do("open "+p, chromedp.Navigate(b.base+p))
		b.until(`document.readyState === "complete" && document.getElementById("live").textContent === "live" /* ` + p + ` */`)
	})
	g.set(true)
	each(func(b *browser, _ string) {
		eval[any](b, `window.mark = 1, 0`)
		eval[any](b, fmt.Sprintf(later, 200_000))
	})
	each((*browser).isCutOff)
	g.set(false)
	each(func(b *browser, _ string) { eval[any](b, fmt.Sprintf(later, 3000)) })
	each(func(b *browser, p string) {
		b.until(`!document.body.classList.contains("stale") && document.getElementById("live").textContent === "live" /* ` + p + ` */`)
		if eval[int](b, `window.mark ?? 0`) != 1 {
			b.t.Errorf("%s was loaded anew", p)
		}
	})
}

// isCutOff holds a page that hears nothing to what it must say.
func (b *browser) isCutOff(p string) {
	b.t.Helper()
	b.until(`document.body.classList.contains("stale") && document.getElementById("live").textContent.startsWith("no data for 3 min") /* ` + p + ` */`)
	if role := eval[string](b, `(() => { const e = document.getElementById("live"); return (e.checkVisibility() ? "" : "hidden ") + e.getAttribute("role") + " " + e.querySelector("span").getAttribute("aria-live") })()`); role != "status off" {
		b.t.Errorf("%s: who does not see hears of it by %q", p, role)
	}
	if bad := eval[string](b, grey); bad != "" {
		b.t.Errorf("%s: these look as fresh as before: %s", p, bad)
	}
	if said := eval[string](b, `getComputedStyle(document.querySelector("header.bar"), "::after").content`); !strings.Contains(said, "What you see is as of") && !strings.Contains(p, "tv") { // nobody scrolls the wall
		b.t.Errorf("%s: whoever scrolled down is not told: %s", p, said)
	}
	if bad := eval[string](b, contrast); bad != "" {
		b.t.Errorf("%s: contrast too low where it is old: %s", p, bad)
	}
	if p == "/" || p == "/channels" || p == "/stores/S0001" {
		b.shot("cut" + strings.ReplaceAll(p, "/", "-"))
	}
}

// heldAndRefused: whoever writes in a field is told that nothing moves under their hand,
// and an aggregator that answers with an error is not called fresh.
func (b *browser) heldAndRefused(d *demo) {
	b.t.Helper()
	b.do("open", chromedp.Navigate(b.base+"/postings"), chromedp.Focus(css(`[name="store"]`)))
	eval[any](b, fmt.Sprintf(later, 20_000))
	b.until(`document.getElementById("live").textContent.startsWith("held while you read, 2") && !document.body.classList.contains("stale")`)
	d.flow.mu.Lock()
	d.flow.broken = errors.New("the disk is gone")
	d.flow.mu.Unlock()
	eval[any](b, `document.activeElement.blur(), 0`)
	eval[any](b, fmt.Sprintf(later, 20_000))
	b.until(`document.body.classList.contains("stale") && document.getElementById("live").textContent.endsWith(": the aggregator answered 409")`)
	d.flow.mu.Lock()
	d.flow.broken = nil
	d.flow.mu.Unlock()
	b.until(`document.getElementById("live").textContent === "live"`)
}
