package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// Pictures are kept where TILLWIRE_PICTURES says (`make pictures`), else nowhere.
const pictureBytesMax = 150 << 10

// untilMax is how long a page may take to show what it should: a store counts as
// offline after some 45 s of silence.
const untilMax = 75 * time.Second

// shopfront is a small chain that sells, with troubles planted, and a browser that
// looks at its ops UI.
type shopfront struct {
	t     *testing.T
	fleet *fleet
	base  string
	ctx   context.Context

	mu    sync.Mutex // guards what follows
	hosts []string   // that pages may ask
	wrong []string
}

func openShopfront(t *testing.T, stores int) *shopfront {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not installed, and CI=true demands the browser tests")
		}
		t.Skip("skipped: chromium is not installed (apt-get install chromium)")
	}
	ctx := testContext(t, 200*time.Second)
	ps := places(stores)
	f, err := startFleet(ctx, fleetPlan{Places: ps, Dir: t.TempDir(), HTTP: "127.0.0.1:0", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	s := &shopfront{t: t, fleet: f, base: "http://" + f.Aggregator, hosts: []string{"http://" + f.Aggregator, f.Tills[1].base}}
	crew := newCrew(newOracle(), ps, f.Tills, 3, 40, zerolog.Nop())
	selling, closeShops := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- crew.work(ctx, selling) }()
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	for _, x := range []string{"disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync", "hide-scrollbars"} {
		flags = append(flags, chromedp.Flag(x, true))
	}
	alloc, stop := chromedp.NewExecAllocator(ctx, flags...)
	b, cancel := chromedp.NewContext(alloc)
	s.ctx = b
	t.Cleanup(func() {
		_ = chromedp.Cancel(b)
		cancel()
		stop()
		closeShops()
		for _, l := range f.Lines {
			l.restore()
		}
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Error("sell:", err)
		}
		if err := f.stop(); err != nil {
			t.Error(err)
		}
		for _, w := range s.wrong {
			t.Error("browser:", w)
		}
	})
	if err := chromedp.Listen(b, s.watch); err != nil {
		t.Fatal("start chromium:", err)
	}
	for _, err := range []error{call(b, log.Enable, cdp.Empty{}), call(b, network.Enable, network.EnableParams{}), call(b, runtime.Enable, cdp.Empty{})} {
		if err != nil {
			t.Fatal("listen to chromium:", err)
		}
	}
	return s
}

func call[P, R any](ctx context.Context, c cdp.Command[P, R], p P) error {
	_, err := chromedp.Call(ctx, c, p)
	return err
}

// watch keeps what the browser complains about: violations of the content policy,
// errors of scripts, requests to anybody else.
func (s *shopfront) watch(ev any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := ev.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Source == log.EntrySourceSecurity {
			s.wrong = append(s.wrong, "log: "+e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		s.wrong = append(s.wrong, "exception: "+fmt.Sprint(e.ExceptionDetails))
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !slices.ContainsFunc(s.hosts, func(h string) bool { return strings.HasPrefix(u, h+"/") }) && !strings.HasPrefix(u, "data:") && !strings.HasPrefix(u, "about:") {
			s.wrong = append(s.wrong, "request to another host: "+u)
		}
	}
}

// look opens a page and waits until it shows what it should.
func (s *shopfront) look(path string, w, h int64, scheme, until string) {
	s.t.Helper()
	size := emulation.SetDeviceMetricsOverrideParams{Width: w, Height: h, DeviceScaleFactor: 1, Mobile: w < 500}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}
	for _, err := range []error{call(s.ctx, emulation.SetDeviceMetricsOverride, size), call(s.ctx, emulation.SetEmulatedMedia, media), chromedp.Do(s.ctx, chromedp.Navigate(s.base+path))} {
		if err != nil {
			s.t.Fatal(path, err)
		}
	}
	s.until(path, until)
}

func (s *shopfront) until(what, expr string) {
	s.t.Helper()
	for end := time.Now().Add(untilMax); ; time.Sleep(100 * time.Millisecond) {
		v, err := chromedp.Run(s.ctx, chromedp.Evaluate[bool](`!!(document.readyState === "complete" && (`+expr+`))`))
		if err == nil && v {
			return
		}
		if time.Now().After(end) {
			s.picture("failed")
			s.t.Fatalf("%s: not within %s: %s (%v)", what, untilMax, expr, err)
		}
	}
}

// do runs JavaScript that leads to another page.
func (s *shopfront) do(what, expr string) {
	s.t.Helper()
	if _, err := chromedp.Run(s.ctx, chromedp.Evaluate[any](expr+", 0")); err != nil {
		s.t.Fatal(what, err)
	}
}

// picture keeps what the page shows, as WebP: a tenth of a PNG.
func (s *shopfront) picture(name string) {
	s.t.Helper()
	shot, err := chromedp.Call(s.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: "webp", Quality: new(int64(82))})
	if err != nil {
		s.t.Fatal("take picture:", err)
	}
	dir := os.Getenv("TILLWIRE_PICTURES")
	if dir == "" {
		dir = s.t.TempDir()
	}
	if len(shot.Data) > pictureBytesMax {
		s.t.Errorf("the picture %s has %d bytes, at most %d are kept", name, len(shot.Data), pictureBytesMax)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".webp"), shot.Data, 0o644); err != nil {
		s.t.Fatal("keep picture:", err)
	}
}

func (s *shopfront) post(path string, body any) {
	s.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	client := http.Client{Timeout: time.Minute}
	res, err := client.Post(s.base+path, "application/json", bytes.NewReader(raw))
	if err != nil {
		s.t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode/100 != 2 {
		s.t.Fatalf("%s: %s", path, res.Status)
	}
}

// plant makes the troubles that the pages are to show: shops that went dark
// together and one alone, a promise that was sold offline, a statement that
// disagrees, documents that could not take effect.
func (s *shopfront) plant() (alone protocol.StoreID, sku string) {
	s.t.Helper()
	sku = string(articles(1)[0].SKU)
	for i, t := range s.fleet.Tills {
		if pl := places(len(s.fleet.Tills))[i]; pl.Region == "Coast" {
			s.fleet.Lines[i].cut(false)
		} else if i == 4 {
			alone = t.store
			s.fleet.Lines[i].cut(false)
		}
	}
	for i := range 6 {
		s.post("/v1/reservations", map[string]any{"reservation_id": fmt.Sprintf("web-%d", 100230+i), "channel": "web", "order_id": fmt.Sprintf("W-%d", 88410+i), "fulfilment": "pickup", "ttl_s": 900, "lines": []any{map[string]any{"sku": sku, "quantity": i%2 + 1, "location": "S0002"}}})
	}
	s.post("/v1/reservations/web-100231/confirm", map[string]any{})
	s.post("/v1/feeds/erp/snapshot", map[string]any{"snapshot_id": "n1", "location": "S0002", "as_of": time.Now().UTC().Format(time.RFC3339), "complete": false, "lines": []any{map[string]any{"sku": sku, "quantity": 40}, map[string]any{"sku": string(articles(2)[1].SKU), "quantity": 7}}})
	s.post("/v1/feeds/wms/events", map[string]any{"events": []any{
		map[string]any{"kind": "receipt", "document_id": "r1", "location": "DC1", "occurred_at": time.Now().UTC().Format(time.RFC3339), "lines": []any{map[string]any{"sku": sku, "quantity": 5}}},
		map[string]any{"kind": "receipt", "document_id": "r1", "location": "DC1", "occurred_at": time.Now().UTC().Format(time.RFC3339), "lines": []any{map[string]any{"sku": sku, "quantity": 6}}},
	}})
	s.post("/v1/stores/S0002/agents/server/commands", map[string]any{"kind": "support_bundle"})
	return alone, sku
}

// A running chain of real agents, with trouble planted: the faulty store stands on
// the first screen, with whom to call and what to do, and every page shows what the
// aggregator knows. The same walk takes the pictures of the manuals.
func TestTheFaceOfARunningChain(t *testing.T) {
	s := openShopfront(t, 48)
	s.look("/", 1480, 1000, "light", `document.getElementById("live")?.textContent === "live" && document.querySelectorAll(".s").length === 48`)
	s.until("sales are merged", `+document.getElementById("merged").textContent.replace(/,/g, "") > 300`)
	alone, sku := s.plant()
	s.look("/availability?sku="+sku+"&location=S0002#explain", 1280, 1180, "light", `/counted|received/.test(document.querySelector(".sum")?.textContent) && !document.getElementById("through").hidden && document.body.textContent.includes("web-100231")`)
	s.picture("explain")
	s.do("follow a sale", `(document.querySelector('.moves a[href*="kind=sale"]') ?? document.querySelector('.moves a[href^="/trace"]')).click()`)
	s.until("its way", `location.pathname === "/trace" && document.querySelectorAll(".hop").length >= 3 && document.querySelector(".h-merged")`)
	s.picture("trace")
	for _, p := range []string{"/postings", "/channels", "/releases"} {
		s.look(p, 1280, 820, "light", `document.getElementById("live")?.textContent === "live"`)
	}
	s.look("/reservations", 1280, 820, "light", `document.querySelectorAll("[data-row]").length === 6`)
	s.picture("reservations")
	s.look("/reservations", 375, 780, "dark", `document.querySelectorAll("[data-row]").length === 6`)
	s.picture("phone")
	s.look("/reconciliation", 1280, 820, "dark", `document.querySelectorAll("[data-row]").length === 2`)
	s.look("/exceptions", 1280, 820, "light", `document.querySelectorAll(".exception").length >= 1`)
	s.look("/stores/S0002/agents/server", 1280, 820, "light", `[...document.querySelectorAll("[data-row]")].some((r) => r.textContent.includes("done") && r.textContent.includes("Download"))`)
	s.picture("agent-commands")
	s.look("/enrolment", 1280, 820, "light", `document.querySelectorAll("[data-row]").length === 48`)
	s.look("/audit", 1280, 820, "dark", `[...document.querySelectorAll("[data-row]")].some((r) => r.textContent.includes("agent command"))`)
	// by now the stores that were cut off have been silent for longer than links drop
	s.look("/", 1480, 1000, "light", `document.getElementById("live")?.textContent === "live"`)
	first := `[...document.querySelectorAll("#calls .call")].filter((c) => { const r = c.getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight })`
	s.until("the faulty store is on the first screen", first+`.some((c) => c.textContent.includes("`+string(alone)+`") && c.textContent.includes("Offline") && c.querySelector('a[href="/ops/store_offline"]'))`)
	s.until("shops that went dark together are one call", first+`.some((c) => c.textContent.includes("Coast") && /went offline/.test(c.textContent))`)
	s.look("/", 1480, 1000, "light", `document.getElementById("live")?.textContent === "live" && !!document.querySelector(".side .uplot")`)
	s.picture("fleet")
	s.look("/?tv=1", 1920, 1080, "dark", `document.getElementById("live")?.textContent === "live" && document.documentElement.scrollHeight <= innerHeight`)
	s.picture("wall")
	s.look("/stores/"+string(alone), 1280, 900, "dark", `document.body.textContent.includes("Offline for")`)
	for i := range s.fleet.Lines {
		s.fleet.Lines[i].restore()
	}
	s.look("/", 1480, 1000, "light", `[...document.querySelectorAll("#calls .call")].every((c) => !c.textContent.includes("Offline"))`)
	// the page in the shop
	s.base = s.fleet.Tills[1].base
	s.look("/", 1000, 720, "light", `document.querySelector("h1")?.textContent.length > 3`)
	s.picture("shop")
}
