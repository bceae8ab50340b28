package reservetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	clients   = 8
	positions = 40
)

// operations is 10,000 in a usual run; TILLWIRE_RESERVE_OPS asks for more.
func operations(t *testing.T) int {
	s := os.Getenv("TILLWIRE_RESERVE_OPS")
	if s == "" {
		return 10_000
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("TILLWIRE_RESERVE_OPS=%s: %v", s, err)
	}
	return n
}

// program is the real aggregator, restarted at will.
type program struct {
	t    *testing.T
	bin  string
	dir  string
	cmd  *exec.Cmd
	base atomic.Pointer[string]
}

func build(t *testing.T) *program {
	p := &program{t: t, dir: t.TempDir()}
	p.bin = filepath.Join(t.TempDir(), "tillwire-aggregator")
	out, err := exec.Command("go", "build", "-o", p.bin, "tillwire/aggregator/cmd/tillwire-aggregator").CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *program) start() {
	p.t.Helper()
	addresses := filepath.Join(p.dir, "addresses.json")
	_ = os.Remove(addresses)
	p.cmd = exec.Command(p.bin, "run", "--dev", "--data-dir", p.dir)
	p.cmd.Env = append(os.Environ(), "TILLWIRE_HTTP_LISTEN=127.0.0.1:0", "TILLWIRE_MQTT_LISTEN=127.0.0.1:0", "TILLWIRE_LOG_LEVEL=error")
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		var a struct{ HTTP string }
		b, err := os.ReadFile(addresses)
		if err == nil {
			err = json.Unmarshal(b, &a)
		}
		if err == nil {
			base := "http://" + a.HTTP
			if r, err := http.Get(base + "/readyz"); err == nil {
				_ = r.Body.Close()
				if r.StatusCode == http.StatusOK {
					p.base.Store(&base)
					return
				}
			}
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the aggregator was not ready in 30 s: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *program) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

// ask repeats a request until it is answered: what a crash leaves open, the id
// settles.
func (p *program) ask(method, path, body string) map[string]any {
	for {
		m, err := p.once(method, path, body)
		if err == nil {
			return m
		}
		time.Sleep(3 * time.Millisecond)
	}
}

var errBusy = errors.New("busy")

func (p *program) once(method, path, body string) (map[string]any, error) {
	req, err := http.NewRequest(method, *p.base.Load()+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		return nil, errBusy
	}
	var m map[string]any
	return m, json.Unmarshal(b, &m)
}

func (p *program) stock() {
	var lines []map[string]any
	for i := range positions {
		lines = append(lines, map[string]any{"sku": sku(i), "quantity": stock})
	}
	b, err := json.Marshal(map[string]any{"snapshot_id": "first", "location": "DC1", "as_of": time.Now().UTC().Format(time.RFC3339Nano), "lines": lines})
	if err != nil {
		p.t.Fatal(err)
	}
	p.ask(http.MethodPost, "/v1/feeds/wms/snapshot", string(b))
}

func sku(i int) string { return fmt.Sprintf("ART-%d", i) }

// client asks at random and notes when, what, and what came back.
type client struct {
	p    *program
	no   int
	rng  *rand.Rand
	ids  []op // reservations that were held
	next int
	note func(o op, g got, call, back int64)
	now  func() int64
}

func (c *client) step() {
	o := op{what: "read", sku: sku(c.rng.IntN(positions))}
	mine := func() bool {
		if len(c.ids) == 0 {
			return false
		}
		i, last := c.rng.IntN(len(c.ids)), len(c.ids)-1
		c.ids[i], c.ids[last] = c.ids[last], c.ids[i]
		o.id, o.sku = c.ids[last].id, c.ids[last].sku
		return true
	}
	drop := func() { c.ids = c.ids[:len(c.ids)-1] }
	call := c.now()
	switch k := c.rng.IntN(100); {
	case k < 40:
		c.next++
		o.what, o.id, o.qty = "reserve", fmt.Sprintf("c%d-%d", c.no, c.next), 1+c.rng.IntN(6)
		body := fmt.Sprintf(`{"reservation_id":%q,"channel":"web","ttl_s":3600,"lines":[{"sku":%q,"quantity":%d,"location":"DC1"}]}`, o.id, o.sku, o.qty)
		g := verdict(c.p.ask(http.MethodPost, "/v1/reservations", body))
		c.note(o, g, call, c.now())
		if g.code == "held" {
			c.ids = append(c.ids, o)
		}
		return
	case k < 55 && mine():
		o.what = "release"
		drop()
		c.note(o, verdict(c.p.ask(http.MethodDelete, "/v1/reservations/"+o.id, "")), call, c.now())
		return
	case k < 60 && mine():
		o.what = "confirm"
		c.note(o, verdict(c.p.ask(http.MethodPost, "/v1/reservations/"+o.id+"/confirm", "")), call, c.now())
		return
	case k < 63 && mine():
		o.what = "fulfil"
		drop()
		c.note(o, verdict(c.p.ask(http.MethodPost, "/v1/reservations/"+o.id+"/fulfil", "")), call, c.now())
		return
	case k < 65:
		c.next++
		o.what, o.qty = "sell", 1
		body := fmt.Sprintf(`{"events":[{"kind":"sale","document_id":"s%d-%d","location":"DC1","occurred_at":%q,"lines":[{"sku":%q,"quantity":1}]}]}`,
			c.no, c.next, time.Now().UTC().Format(time.RFC3339Nano), o.sku)
		c.p.ask(http.MethodPost, "/v1/feeds/wms/events", body)
		c.note(o, got{}, call, c.now())
		return
	}
	m := c.p.ask(http.MethodGet, "/v1/availability/"+o.sku+"?location=DC1", "")
	l := m["locations"].([]any)[0].(map[string]any)
	c.note(o, got{onHand: int(l["on_hand"].(float64)), available: int(l["available"].(float64))}, call, c.now())
}

func verdict(m map[string]any) got {
	if s, ok := m["state"].(string); ok {
		return got{code: s}
	}
	s, _ := m["code"].(string)
	return got{code: s}
}

// TestReservationsAreLinearisable runs 10,000 operations of eight clients on
// forty positions of 40 units, with the process killed again and again.
func TestReservationsAreLinearisable(t *testing.T) {
	total := operations(t)
	p := build(t)
	p.stock()
	var (
		mu      sync.Mutex
		history []porcupine.Operation
		done    atomic.Int64
		wg      sync.WaitGroup
		begin   = time.Now()
	)
	seed := uint64(begin.UnixNano())
	now := func() int64 { return time.Since(begin).Nanoseconds() }
	for i := range clients {
		c := &client{p: p, no: i, rng: rand.New(rand.NewPCG(seed, uint64(i))), now: now}
		c.note = func(o op, g got, call, back int64) {
			mu.Lock()
			defer mu.Unlock()
			history = append(history, porcupine.Operation{ClientId: i, Input: o, Output: g, Call: call, Return: back})
		}
		wg.Go(func() {
			for done.Add(1) <= int64(total) {
				c.step()
			}
		})
	}
	kills := 0
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	for alive := true; alive; {
		select {
		case <-finished:
			alive = false
		case <-time.After(time.Duration(50+rand.IntN(250)) * time.Millisecond):
			p.kill()
			p.start()
			kills++
		}
	}
	res, info := porcupine.CheckOperationsVerbose(model, history, 2*time.Minute)
	t.Logf("%d operations, %d kills, %s, seed %d: %s", len(history), kills, time.Since(begin).Round(time.Millisecond), seed, res)
	if res != porcupine.Ok {
		path := filepath.Join(os.TempDir(), "tillwire-reservations.html")
		_ = porcupine.VisualizePath(model, info, path)
		t.Fatalf("the history is not linearisable; see %s", path)
	}
	if kills < 3 {
		t.Errorf("only %d kills: the run was too short to prove anything", kills)
	}
}
