package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"tillwire/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const sale = `{"document_id":"R03-187","register":"R03","occurred_at":"2026-11-23T10:15:02Z","lines":[{"sku":"4006381333931","quantity":2}]}`

// shop is a configuration without broker on a folder of the test.
func shop(t *testing.T) Config {
	t.Helper()
	c := Defaults()
	c.Store, c.DataDir, c.HTTP.Listen, c.Link.Broker, c.Journal.BallastMiB = "S0042", t.TempDir(), "127.0.0.1:0", "", 0
	return c
}

// start runs an agent; the function it returns stops it and waits.
func start(t *testing.T, c Config) (a *Agent, stop func()) {
	t.Helper()
	a, err := New(c, Deps{Log: zerolog.Nop(), Version: "v-test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	<-a.Ready()
	done := false
	stop = func() {
		if done {
			return
		}
		done = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the agent did not end within 10 s")
		}
		http.DefaultClient.CloseIdleConnections()
	}
	t.Cleanup(stop)
	return a, stop
}

func call(t *testing.T, a *Agent, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+a.HTTPAddr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func post(t *testing.T, a *Agent, path, body string, status int) protocol.WriteResult {
	t.Helper()
	code, answer := call(t, a, http.MethodPost, path, body)
	var w protocol.WriteResult
	if err := json.Unmarshal([]byte(answer), &w); err != nil || code != status {
		t.Fatalf("POST %s: %d %s, want %d", path, code, answer, status)
	}
	return w
}

// eventually waits for something that other goroutines bring about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestSaleIsKeptThroughRestart(t *testing.T) {
	c := shop(t)
	a, stop := start(t, c)
	var picked map[string]string
	b, err := os.ReadFile(filepath.Join(c.DataDir, "addresses.json"))
	if err != nil || json.Unmarshal(b, &picked) != nil || picked["http"] != a.HTTPAddr() {
		t.Errorf("addresses.json: %s %v, want %s", b, err, a.HTTPAddr())
	}
	first := post(t, a, "/v1/sales", sale, http.StatusCreated)
	again := post(t, a, "/v1/sales", sale, http.StatusOK)
	if first.Seq != 1 || first.Duplicate || !again.Duplicate || again.EventID != first.EventID {
		t.Errorf("first %+v, again %+v", first, again)
	}
	code, page := call(t, a, http.MethodGet, "/", "")
	if code != http.StatusOK || !strings.Contains(page, "S0042") || !strings.Contains(page, "No connection to the chain is set up") {
		t.Errorf("status page: %d %s", code, page)
	}
	if code, body := call(t, a, http.MethodGet, "/v1/stock/04006381333931", ""); code != http.StatusOK || !strings.Contains(body, "-2") {
		t.Errorf("local stock: %d %s", code, body)
	}
	stop()
	a, _ = start(t, c)
	if kept := post(t, a, "/v1/sales", sale, http.StatusOK); kept.EventID != first.EventID || kept.Seq != 1 {
		t.Errorf("after the restart %+v, before %+v", kept, first)
	}
	if s := a.State(); s.Head != 1 || s.BootReason != "reopened" {
		t.Errorf("head %d, boot %q", s.Head, s.BootReason)
	}
}

// A broker that is not there costs the tills nothing.
func TestSellsWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	c := shop(t)
	c.Link.Broker = "mqtt://127.0.0.1:1"
	a, _ := start(t, c)
	post(t, a, "/v1/sales", sale, http.StatusCreated)
	eventually(t, "the status names the link's error", func() bool {
		_, body := call(t, a, http.MethodGet, "/v1/status", "")
		return strings.Contains(body, `"state":"connecting"`) && strings.Contains(body, "refused") && strings.Contains(body, `"backlog_events":1`)
	})
}

func TestOneAgentPerFolder(t *testing.T) {
	t.Parallel()
	c := shop(t)
	a, _ := start(t, c)
	_, err := New(c, Deps{Log: zerolog.Nop()})
	if err == nil || !strings.Contains(err.Error(), "open journal") || !strings.Contains(err.Error(), "another") {
		t.Errorf("second agent: %v", err)
	}
	if r, err := Check(context.Background(), c); err != nil || !r.Running || r.Damaged {
		t.Errorf("check beside the agent: %+v %v", r, err)
	}
	if _, err := Repair(c); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("repair beside the agent: %v", err)
	}
	other := c
	other.DataDir, other.HTTP.Listen = t.TempDir(), a.HTTPAddr()
	if _, err := New(other, Deps{Log: zerolog.Nop()}); err == nil || !strings.Contains(err.Error(), "http.listen") {
		t.Errorf("second agent on the port: %v", err)
	}
	post(t, a, "/v1/sales", sale, http.StatusCreated)
}

func TestConfigurationErrorsSayTheRemedy(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"open port":      {func(c *Config) { c.HTTP.Listen = "0.0.0.0:7410" }, []string{"http.listen", "http.tokens"}},
		"all addresses":  {func(c *Config) { c.HTTP.Listen = ":7410" }, []string{"http.tokens"}},
		"open dev":       {func(c *Config) { c.HTTP.Listen, c.Dev = "10.0.0.1:1", true }, []string{"loopback only"}},
		"no port":        {func(c *Config) { c.HTTP.Listen = "127.0.0.1" }, []string{"http.listen", "host:port"}},
		"broker scheme":  {func(c *Config) { c.Link.Broker = "tcp://x:1" }, []string{"link.broker", "mqtt://host:port"}},
		"broker port":    {func(c *Config) { c.Link.Broker = "mqtts://x" }, []string{"link.broker", "8883"}},
		"no store":       {func(c *Config) { c.Store = "" }, []string{"store", "TILLWIRE_STORE"}},
		"store name":     {func(c *Config) { c.Store = "S/42" }, []string{`store "S/42"`}},
		"agent name":     {func(c *Config) { c.Agent = "a b" }, []string{`agent "a b"`, `"server"`}},
		"no folder":      {func(c *Config) { c.DataDir = "" }, []string{"data_dir"}},
		"no retention":   {func(c *Config) { c.Journal.RetentionDays = 0 }, []string{"journal.retention_days"}},
		"zone":           {func(c *Config) { c.Inbox.Zone = "Mars/Base" }, []string{"inbox.zone", "Europe/Berlin"}},
		"authority":      {func(c *Config) { c.Link.Broker, c.Link.CAFile = "mqtts://x:1", "no.pem" }, []string{"link.ca_file", "no.pem"}},
		"lost mapping":   {func(c *Config) { c.Inbox.Dir, c.Inbox.Mapping = c.DataDir+"/in", "no.toml" }, []string{"inbox.mapping", "no.toml"}},
		"broken mapping": {func(c *Config) { c.Inbox.Dir, c.Inbox.Mapping = c.DataDir+"/in", mapping(t, "delimter = ';'") }, []string{"inbox.mapping", "delimiter"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := shop(t)
			c.change(&cfg)
			_, err := New(cfg, Deps{Log: zerolog.Nop()})
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func mapping(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mapping.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A legacy till drops a file; the shop's stock knows it, and the file says so.
func TestFileDropReachesTheJournal(t *testing.T) {
	t.Parallel()
	c := shop(t)
	c.Inbox = InboxConfig{
		Dir: filepath.Join(c.DataDir, "drop"), Zone: "UTC",
		Mapping: mapping(t, "delimiter = ';'\ndecimal_comma = true\nkind = 'sale'\ntime_layout = '02.01.2006 15:04'\n[columns]\nBon = 'document_id'\nZeit = 'occurred_at'\nArtikel = 'sku'\nMenge = 'quantity'\n"),
	}
	a, _ := start(t, c)
	file := "Bon;Zeit;Artikel;Menge\nK1-1;23.11.2026 10:15;4006381333931;2\nK1-1;23.11.2026 10:15;2100045;0,455\nK1-2;23.11.2026 10:16;4006381333931;1\n"
	for name, text := range map[string]string{"good.csv": file, "bad.csv": strings.ReplaceAll(strings.Replace(file, "0,455", "much", 1), "K1-", "K2-")} {
		tmp := filepath.Join(c.DataDir, name)
		if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(c.Inbox.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	there := func(path ...string) func() bool {
		return func() bool {
			_, err := os.Stat(filepath.Join(append([]string{c.Inbox.Dir}, path...)...))
			return err == nil
		}
	}
	eventually(t, "the good file is done", there("done", "good.csv"))
	eventually(t, "the bad file has its reasons", there("failed", "bad.csv.reason.json"))
	if s := a.State(); s.Head != 3 { // K1-1, K1-2 and K2-2; K2-1 is refused whole
		t.Errorf("%d documents journaled, want 3", s.Head)
	}
	if code, body := call(t, a, http.MethodGet, "/v1/stock/04006381333931", ""); code != http.StatusOK || !strings.Contains(body, "-4") {
		t.Errorf("local stock: %d %s", code, body)
	}
}

func TestCountersOfHeartbeats(t *testing.T) {
	a, _ := start(t, shop(t))
	post(t, a, "/v1/sales", sale, http.StatusCreated)
	if code, body := call(t, a, http.MethodPost, "/v1/sales", strings.Replace(sale, ":2}", ":3}", 1)); code != http.StatusConflict || !strings.Contains(body, "id_reused") {
		t.Fatalf("%d %s", code, body)
	}
	if got := a.counters(); got["id_reused"] != 1 || got["commit_errors"] != 0 {
		t.Errorf("counters %v", got)
	}
	for name := range a.counters() {
		if strings.ToLower(name) != name || strings.ContainsAny(name, " {}\"") {
			t.Errorf("counter %q is no plain name", name)
		}
	}
}

func TestListenFailureClosesTheJournal(t *testing.T) {
	c := shop(t)
	c.HTTP.Listen = "127.0.0.1:99999"
	if _, err := New(c, Deps{Log: zerolog.Nop()}); err == nil {
		t.Fatal("accepted")
	}
	c.HTTP.Listen = "127.0.0.1:0"
	a, err := New(c, Deps{Log: zerolog.Nop()}) // the file is free again
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // and a run that is ended before it began ends
	if err := a.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
