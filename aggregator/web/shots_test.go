package web

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a real Chromium that remembers everything it complained about.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu    sync.Mutex // guards all below
	wrong []string
	known string // part of a complaint that the test means to cause
}

// browserMax ends a browser that hangs.
const browserMax = 150 * time.Second

// chromium is one browser for all tests, with a profile of its own: starting ten
// took a third of their time. Each test has a context of its own in it, without the
// others' cookies and cache.
var chromium struct {
	once sync.Once
	ctx  context.Context
	stop func()
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.stop != nil {
		chromium.stop()
	}
	os.Exit(code)
}

func startChromium(path string) {
	dir, err := os.MkdirTemp("", "tillwire-chromium-")
	if err != nil {
		chromium.err = err
		return
	}
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(dir))
	for _, f := range []string{"disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"} {
		flags = append(flags, chromedp.Flag(f, true))
	}
	alloc, stop := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, cancel := chromedp.NewContext(alloc)
	chromium.ctx, chromium.err = ctx, chromedp.Do(ctx)
	chromium.stop = func() { _ = chromedp.Cancel(ctx); cancel(); stop(); _ = os.RemoveAll(dir) }
}

// newBrowser opens a fresh context in Chromium. Where there is none the test is
// skipped, except in CI.
func newBrowser(t *testing.T, base string) *browser {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped: needs a browser, and -short was given")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed, and CI=true demands the browser tests")
		}
		t.Skip("skipped: chromium is not installed (apt-get install chromium)")
	}
	chromium.once.Do(func() { startChromium(path) })
	if chromium.err != nil {
		t.Fatal("start chromium:", chromium.err)
	}
	ctx, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext())
	ctx, timeout := context.WithTimeout(ctx, browserMax)
	b := &browser{t: t, ctx: ctx, base: base}
	t.Cleanup(func() {
		timeout()
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, w := range b.wrong {
			if b.known == "" || !strings.Contains(w, b.known) {
				t.Error("browser:", w)
			}
		}
	})
	if err := chromedp.Listen(ctx, b.watch); err != nil {
		t.Fatal("start chromium:", err)
	}
	for _, enable := range []func() error{
		func() error { _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); return err },
		func() error { _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); return err },
		func() error { _, err := chromedp.Call(ctx, runtime.Enable, cdp.Empty{}); return err },
	} {
		if err := enable(); err != nil {
			t.Fatal("listen to chromium:", err)
		}
	}
	return b
}

func (b *browser) watch(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := ev.(type) {
	case *log.EventEntryAdded: // CSP violations appear here
		if e.Entry.Level == log.EntryLevelError || e.Entry.Source == log.EntrySourceSecurity {
			b.wrong = append(b.wrong, "log: "+e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			b.wrong = append(b.wrong, fmt.Sprintf("console: %s", e.Args[0].Value))
		}
	case *runtime.EventExceptionThrown:
		b.wrong = append(b.wrong, "exception: "+fmt.Sprint(e.ExceptionDetails))
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, b.base) && !strings.HasPrefix(u, "data:") && !strings.HasPrefix(u, "about:") {
			b.wrong = append(b.wrong, "request to another host: "+u)
		}
	}
}

func (b *browser) do(what string, a ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	err := chromedp.Do(b.ctx, a...)
	if err != nil && strings.Contains(err.Error(), "Could not find node") {
		err = chromedp.Do(b.ctx, a...) // the page brought itself up to date between finding and using it
	}
	if err != nil {
		b.shot("failed")
		b.t.Fatalf("%s: %v", what, err)
	}
}

// eval runs JavaScript in the page.
func eval[T any](b *browser, expr string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expr))
	if err != nil {
		b.shot("failed")
		b.t.Fatalf("evaluate %s: %v", expr, err)
	}
	return v
}

// until waits for a JavaScript expression to be true. A page that is just being left
// cannot be asked: the next one is.
func (b *browser) until(expr string) {
	b.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		is, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`!!(document.body && (`+expr+`))`))
		if err == nil && is {
			return
		}
		if time.Now().After(end) {
			b.shot("failed")
			b.t.Fatalf("not within 10 s: %s (%v)", expr, err)
		}
	}
}

func (b *browser) size(w, h int64, scheme string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: w, Height: h, DeviceScaleFactor: 1, Mobile: w < 500})
	if err == nil {
		_, err = chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	}
	if err != nil {
		b.t.Fatal("set size:", err)
	}
}

// shot keeps a picture in $TILLWIRE_SHOTS, or in the test's own folder.
func (b *browser) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("TILLWIRE_SHOTS")
	if dir == "" {
		dir = b.t.TempDir()
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Log("take picture:", err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		b.t.Log("keep picture:", err)
	}
}

func (b *browser) fitsNarrow(page string) {
	b.t.Helper()
	over := eval[string](b, `document.documentElement.scrollWidth > innerWidth ? [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, pre, nav, .skip")).slice(0, 4).map(e => e.tagName + "." + e.className + "#" + e.id).join(" ") || "page" : ""`)
	if over != "" {
		b.t.Errorf("%s is wider than 375 px: %s", page, over)
	}
}

func TestPagesInARealBrowser(t *testing.T) {
	d := newDemo(400)
	d.tiles[11].Codes, d.tiles[390].Source, d.tiles[390].Store = []string{"update_failed"}, true, "wms"
	b := newBrowser(t, serve(t, d))
	pages := []struct{ name, path, ready string }{
		{"fleet", "/", `document.getElementById("live").textContent === "live" && !!document.querySelector(".side .uplot")`},
		{"store", "/stores/" + string(d.View(0).Totals.WorstStore), `document.querySelectorAll(".uplot").length === 2`},
		{"availability", "/availability?sku=04006381333931&location=S0002", `!!document.querySelector(".sum")`},
		{"availability-empty", "/availability?sku=nothing", `true`},
		{"exceptions", "/exceptions", `document.querySelectorAll(".exception").length === 9`},
		{"exception", "/exceptions/x0", `!!document.getElementById("x-doc")`},
		{"operations", "/ops/store_stuck", `!!document.querySelector("h2#store_stuck")`},
		{"reservations", "/reservations", `document.querySelectorAll("[data-row]").length === 4`},
		{"reservation", "/reservations/web-100", `!!document.querySelector("[data-act]")`},
		{"reconciliation", "/reconciliation", `document.querySelectorAll("[data-row]").length === 2`},
		{"agent", "/stores/S0001/agents/server", `!!document.querySelector("[data-act]")`},
		{"copies", "/stores/S0002/agents/server", `!!document.querySelector("#h-copies")`},
		{"policies", "/policies", `true`},
		{"items", "/items", `!!document.querySelector("[data-row]")`},
		{"enrolment", "/enrolment", `!!document.querySelector("[data-row]")`},
		{"audit", "/audit", `true`},
		{"accounts", "/accounts", `!!document.querySelector("[data-row]")`},
		{"postings", "/postings", `document.querySelectorAll("[data-row]").length === 6`},
		{"posting", "/postings/PST0000000000001", `!!document.querySelector("details")`},
		{"channels", "/channels", `document.querySelectorAll("[data-row]").length >= 4`},
		{"connector", "/channels/vendure", `!!document.querySelector(".letters li")`},
		{"marketplace", "/channels/marketplace", `!!document.querySelector(".meter")`},
		{"subscription", "/subscriptions/sub1", `!!document.querySelector(".pair")`},
		{"trace", "/trace?id=W-7001", `document.querySelectorAll(".traced").length === 2`},
		{"trace-empty", "/trace", `document.activeElement.id === "t-id"`},
		{"releases", "/releases", `!!document.querySelector(".rollout")`},
		{"outcomes", "/outcomes", `document.querySelectorAll(".trend").length === 5`},
		{"find", "/find?q=00", `!!document.querySelector("main li")`},
		{"tv", "/?tv=1", `document.getElementById("live").textContent === "live"`},
	}
	for _, v := range []struct {
		name, scheme string
		w, h         int64
	}{{"light", "light", 1480, 1060}, {"dark", "dark", 1480, 1060}, {"narrow", "light", 375, 1100}} {
		b.size(v.w, v.h, v.scheme)
		for _, p := range pages {
			b.do(p.name, chromedp.Navigate(b.base+p.path))
			b.until(`document.readyState === "complete" && (` + p.ready + `)`)
			b.shot(p.name + "-" + v.name)
			if v.w > 500 {
				b.readable(p.name + " in " + v.name)
			}
			if v.w < 500 {
				b.fitsNarrow(p.name)
			}
		}
	}
}
