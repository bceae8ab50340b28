package safetest

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

// till is the real agent program.
type till struct {
	t    *testing.T
	base string
}

func newTill(t *testing.T, p *program, store string) *till {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "tillwire-agent")
	if out, err := exec.Command("go", "build", "-o", bin, "tillwire/agent/cmd/tillwire-agent").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir := t.TempDir()
	cmd := exec.Command(bin, "run", "--dev", "--data-dir", dir)
	cmd.Env = append(os.Environ(), "TILLWIRE_STORE="+store, "TILLWIRE_HTTP_LISTEN=127.0.0.1:0", "TILLWIRE_LINK_BROKER=mqtt://"+p.mqtt, "TILLWIRE_LOG_LEVEL=error", "TILLWIRE_JOURNAL_BALLAST_MIB=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	})
	a := &till{t: t}
	wait(t, "the agent is ready", func() string {
		var x struct{ HTTP string }
		b, err := os.ReadFile(filepath.Join(dir, "addresses.json"))
		if err != nil || json.Unmarshal(b, &x) != nil {
			return "no address yet"
		}
		a.base = "http://" + x.HTTP
		if status, _ := a.do(http.MethodGet, "/readyz", ""); status != http.StatusOK {
			return fmt.Sprint(status)
		}
		return ""
	})
	return a
}

func (a *till) do(method, path, body string) (int, string) {
	a.t.Helper()
	req, err := http.NewRequest(method, a.base+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: 10 * time.Second}
	r, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// TestTasksComeBackFromTheStore loses a ledger with reservations made since its
// copy. The one that is a task comes back from its store, as far as the store had
// come with it; the one that only the aggregator knew is gone, and the channel can
// see by the generation that it must ask.
func TestTasksComeBackFromTheStore(t *testing.T) {
	p := newProgram(t, true)
	a := newTill(t, p, "S1")
	if code, body := a.do(http.MethodPost, "/v1/receipts", `{"document_id":"r1","occurred_at":"`+time.Now().UTC().Format(time.RFC3339)+`","lines":[{"sku":"ART-1","quantity":9}]}`); code != http.StatusCreated {
		t.Fatal(body)
	}
	stock := func(want string) {
		t.Helper()
		wait(t, "the chain has "+want, func() string {
			_, m := p.ask(http.MethodGet, "/v1/availability/ART-1?location=S1", "")
			list, _ := m["locations"].([]any)
			if len(list) != 1 {
				return fmt.Sprint(m)
			}
			l := list[0].(map[string]any)
			if got := fmt.Sprint(l["on_hand"], " ", l["reserved"], " ", l["allocated"]); got != want {
				return got
			}
			return ""
		})
	}
	post := func(path, body string, want int) {
		t.Helper()
		if code, m := p.ask(http.MethodPost, path, body); code != want {
			t.Fatalf("POST %s: %d %v", path, code, m)
		}
	}
	reserve := `{"reservation_id":"%s","channel":"web","order_id":"o-%s","fulfilment":"pickup","lines":[{"sku":"ART-1","quantity":%d,"location":"S1"}]}`
	stock("9 0 0")
	post("/v1/reservations", fmt.Sprintf(reserve, "early", "early", 1), 201) // held in the copy, confirmed after it
	p.run("backup", "--to", p.backup)
	post("/v1/reservations/early/confirm", "", 200)
	for _, r := range []struct {
		id string
		n  int
	}{{"task", 2}, {"held", 3}} {
		post("/v1/reservations", fmt.Sprintf(reserve, r.id, r.id, r.n), 201)
	}
	post("/v1/reservations/task/confirm", "", 200)
	stock("9 3 3")
	wait(t, "the tasks have come down", func() string {
		if _, got := a.do(http.MethodGet, "/v1/holds", ""); !strings.Contains(got, `"hold_id":"task"`) || !strings.Contains(got, `"hold_id":"early"`) {
			return got
		}
		return ""
	})
	for _, action := range []string{"accept", "picked"} {
		if code, body := a.do(http.MethodPost, "/v1/holds/task/"+action, ""); code != http.StatusCreated {
			t.Fatal(body)
		}
	}
	p.lose(p.backup)
	stock("9 0 3")
	for id, want := range map[string]string{"task": "picked", "early": "confirmed pending"} {
		wait(t, id+" is "+want, func() string {
			code, m := p.ask(http.MethodGet, "/v1/reservations/"+id, "")
			if code != http.StatusOK || !strings.Contains(want, m["state"].(string)) || m["generation_header"] != "2" {
				return fmt.Sprint(code, " ", m)
			}
			return ""
		})
	}
	if code, _ := p.ask(http.MethodGet, "/v1/reservations/held", ""); code != http.StatusNotFound {
		t.Errorf("a reservation that no store knew: %d", code)
	}
	post("/v1/reservations", fmt.Sprintf(reserve, "held", "held", 3), 201) // the channel asks again, under the same id
	post("/v1/reservations", fmt.Sprintf(reserve, "task", "task", 2), 200)
	stock("9 3 3")
	if code, body := a.do(http.MethodPost, "/v1/sales", `{"document_id":"s1","occurred_at":"`+time.Now().UTC().Format(time.RFC3339)+`","hold_id":"task","lines":[{"sku":"ART-1","quantity":2}]}`); code != http.StatusCreated {
		t.Fatal(body)
	}
	stock("7 3 1")
}
