package reservetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// till is a real agent, restarted at will.
type till struct {
	t    *testing.T
	bin  string
	dir  string
	mqtt string
	cmd  *exec.Cmd
	base string
}

func (p *program) mqtt() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "addresses.json"))
	var a struct{ MQTT string }
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return "mqtt://" + a.MQTT
}

func newTill(t *testing.T, p *program) *till {
	a := &till{t: t, dir: t.TempDir(), mqtt: p.mqtt()}
	a.bin = filepath.Join(t.TempDir(), "tillwire-agent")
	if out, err := exec.Command("go", "build", "-o", a.bin, "tillwire/agent/cmd/tillwire-agent").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	a.start()
	t.Cleanup(a.kill)
	return a
}

func (a *till) start() {
	a.t.Helper()
	addresses := filepath.Join(a.dir, "addresses.json")
	_ = os.Remove(addresses)
	a.cmd = exec.Command(a.bin, "run", "--dev", "--data-dir", a.dir)
	a.cmd.Env = append(os.Environ(), "TILLWIRE_STORE=S1", "TILLWIRE_HTTP_LISTEN=127.0.0.1:0", "TILLWIRE_LINK_BROKER="+a.mqtt, "TILLWIRE_LOG_LEVEL=error", "TILLWIRE_JOURNAL_BALLAST_MIB=0")
	a.cmd.Stderr = os.Stderr
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	eventually(a.t, "the agent is ready", func() error {
		var x struct{ HTTP string }
		b, err := os.ReadFile(addresses)
		if err == nil {
			err = json.Unmarshal(b, &x)
		}
		if err != nil {
			return err
		}
		a.base = "http://" + x.HTTP
		r, err := http.Get(a.base + "/readyz")
		if err != nil {
			return err
		}
		_ = r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("ready: %s", r.Status)
		}
		return nil
	})
}

func (a *till) kill() {
	_ = a.cmd.Process.Signal(syscall.SIGKILL)
	_ = a.cmd.Wait()
}

func (a *till) do(method, path, body string) (int, string) {
	a.t.Helper()
	req, err := http.NewRequest(method, a.base+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for until := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s: not within 40 s: %v", what, err)
		}
	}
}

// TestPickupComesDownAndBack sends a click-and-collect order to a shop through
// restarts of both sides and an outage, and sells it once.
func TestPickupComesDownAndBack(t *testing.T) {
	p := build(t)
	a := newTill(t, p)
	today := time.Now().UTC().Format(time.RFC3339)
	a.do(http.MethodPost, "/v1/receipts", `{"document_id":"r1","occurred_at":"`+today+`","lines":[{"sku":"ART-1","quantity":5}]}`)
	chain := func(want string) func() error {
		return func() error {
			m, err := p.once(http.MethodGet, "/v1/availability/ART-1?location=S1", "")
			if err != nil {
				return err
			}
			list, _ := m["locations"].([]any)
			if len(list) != 1 {
				return fmt.Errorf("%v", m)
			}
			l := list[0].(map[string]any)
			if got := fmt.Sprint(l["on_hand"], " ", l["reserved"], " ", l["allocated"]); got != want {
				return fmt.Errorf("the chain has %s, want %s", got, want)
			}
			return nil
		}
	}
	state := func(want string) func() error {
		return func() error {
			m, err := p.once(http.MethodGet, "/v1/reservations/web-1", "")
			if err == nil && m["state"] != want {
				err = fmt.Errorf("state %v, want %s", m["state"], want)
			}
			return err
		}
	}
	shop := func(want string) func() error {
		return func() error {
			_, got := a.do(http.MethodGet, "/v1/holds", "")
			if !strings.Contains(got, want) {
				return fmt.Errorf("the shop has %s, want %s", got, want)
			}
			return nil
		}
	}
	eventually(t, "received", chain("5 0 0"))
	p.ask(http.MethodPost, "/v1/reservations", `{"reservation_id":"web-1","channel":"web","order_id":"o-1","fulfilment":"pickup","lines":[{"sku":"ART-1","quantity":2,"location":"S1"}]}`)
	p.ask(http.MethodPost, "/v1/reservations/web-1/confirm", "")
	eventually(t, "allocated", chain("5 0 2"))
	eventually(t, "the task has come down", shop(`"hold_id":"web-1"`))
	p.kill() // the shop is alone, and is switched off and on
	a.kill()
	a.start()
	eventually(t, "the task has survived", shop(`"hold_id":"web-1"`))
	if code, body := a.do(http.MethodPost, "/v1/holds/web-1/picked", ""); code != http.StatusConflict {
		t.Errorf("picked before accepted: %d %s", code, body)
	}
	for _, want := range []int{http.StatusCreated, http.StatusOK} {
		if code, body := a.do(http.MethodPost, "/v1/holds/web-1/accept", `{"register":"R1"}`); code != want {
			t.Errorf("accept: %d %s", code, body)
		}
	}
	a.do(http.MethodPost, "/v1/holds/web-1/picked", "")
	_, stock := a.do(http.MethodGet, "/v1/stock/ART-1", "")
	if !strings.Contains(stock, `"on_hand":5,"held":2`) {
		t.Errorf("the shop's own stock: %s", stock)
	}
	p.start()
	a.kill() // its broker listens elsewhere now
	a.mqtt = p.mqtt()
	a.start()
	eventually(t, "the answers have come up", state("picked"))
	eventually(t, "still allocated", chain("5 0 2"))
	for range 2 {
		a.do(http.MethodPost, "/v1/sales", `{"document_id":"s1","occurred_at":"`+today+`","hold_id":"web-1","lines":[{"sku":"ART-1","quantity":2}]}`)
	}
	a.do(http.MethodPost, "/v1/holds/web-1/collected", "")
	eventually(t, "sold once, and handed out", chain("3 0 0"))
	eventually(t, "collected", state("collected"))
	eventually(t, "nothing left to do", func() error { return shop(`{"holds":[]}`)() })
}
