package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const baskets = 40

// journaled leaves a stopped agent's folder behind with so many baskets.
func journaled(t *testing.T) (Config, func(i int) string) {
	t.Helper()
	c := shop(t)
	basket := func(i int) string { return strings.Replace(sale, "R03-187", fmt.Sprintf("R03-%d", i), 1) }
	a, stop := start(t, c)
	for i := range baskets {
		post(t, a, "/v1/sales", basket(i), http.StatusCreated)
	}
	stop()
	return c, basket
}

func TestCheckAndExport(t *testing.T) {
	c, _ := journaled(t)
	r, err := Check(context.Background(), c)
	if err != nil || r.Events != baskets || r.Tail != 1 || r.Head != baskets || r.Salvaged != "" || r.Chain == "" {
		t.Fatalf("%+v %v", r, err)
	}
	var out bytes.Buffer
	if err := Export(context.Background(), c, 31, &out); err != nil {
		t.Fatal(err)
	}
	dec, n := json.NewDecoder(&out), uint64(30)
	for dec.More() {
		var line struct {
			Seq      uint64         `json:"seq"`
			Document map[string]any `json:"document"`
			Problem  string         `json:"problem"`
		}
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		n++
		if line.Seq != n || line.Document["document_id"] != fmt.Sprintf("R03-%d", n-1) || line.Problem != "" {
			t.Errorf("line %d: %+v", n, line)
		}
	}
	if n != baskets {
		t.Errorf("the export ends at %d, want %d", n, baskets)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Export(ctx, c, 1, &out); err == nil {
		t.Error("an export that is called off says so")
	}
	c.DataDir = t.TempDir()
	if _, err := Check(context.Background(), c); err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("check of an empty folder: %v", err)
	}
	if left, err := os.ReadDir(c.DataDir); err != nil || len(left) != 0 {
		t.Errorf("a check leaves %v behind (%v)", left, err)
	}
}

// damage overwrites one record's bytes where they stand in the file.
func damage(t *testing.T, c Config, document string) {
	t.Helper()
	path := filepath.Join(c.DataDir, JournalFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := bytes.Count(b, []byte(document))
	if n == 0 {
		t.Fatalf("%s is not in the file", document)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(document), []byte(strings.Repeat("#", len(document)))), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A disk that lost a record while the agent stood still: the tills write on, what
// can be read is kept, the damaged file too, and the agent tells.
func TestDamagedJournalIsSalvagedAtStart(t *testing.T) {
	t.Parallel()
	c, basket := journaled(t)
	damage(t, c, "R03-17")
	a, stop := start(t, c)
	post(t, a, "/v1/sales", basket(1000), http.StatusCreated)
	s := a.State()
	if !strings.HasPrefix(s.BootReason, "salvaged") || s.Head != baskets+1 || s.Counters.LostRecords != 1 {
		t.Errorf("boot %q, head %d, lost %d", s.BootReason, s.Head, s.Counters.LostRecords)
	}
	if got := a.counters(); got["lost_records"] != 1 || got["salvaged_records"] != baskets-1 {
		t.Errorf("heartbeats tell %v", got)
	}
	if kept := post(t, a, "/v1/sales", basket(16), http.StatusOK); kept.Seq != 17 {
		t.Errorf("a neighbour of the lost record: %+v", kept)
	}
	if _, body := call(t, a, http.MethodGet, "/v1/status", ""); !strings.Contains(body, `"boot_reason":"salvaged`) {
		t.Errorf("status: %s", body)
	}
	stop()
	aside, err := filepath.Glob(filepath.Join(c.DataDir, "*.corrupt-*"))
	if err != nil || len(aside) != 1 {
		t.Errorf("set aside: %v %v", aside, err)
	}
	var out bytes.Buffer
	if err := Export(context.Background(), c, 1, &out); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines != baskets+1 || strings.Count(out.String(), `"problem"`) != 1 {
		t.Errorf("%d lines:\n%s", lines, &out)
	}
}

// Check on a stopped agent salvages as a start does, and says so.
func TestCheckTellsOfDamage(t *testing.T) {
	t.Parallel()
	c, _ := journaled(t)
	damage(t, c, "R03-17")
	r, err := Check(context.Background(), c)
	if err != nil || r.Salvaged == "" || r.Head != baskets {
		t.Fatalf("%+v %v", r, err)
	}
	r, err = Check(context.Background(), c)
	if err != nil || r.Salvaged != "" || r.Events != baskets {
		t.Errorf("the second check: %+v %v", r, err)
	}
}

func TestConfigurationFileIsReadBack(t *testing.T) {
	c := shop(t)
	c.HTTP.Tokens, c.Link = []string{"a", "b"}, LinkConfig{Broker: "mqtts://b:8883", Token: `q"uote\`}
	b, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "agent.toml")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	back, err := LoadConfig(path, func(k string) (string, bool) { return "60", k == "TILLWIRE_JOURNAL_RETENTION_DAYS" })
	if err != nil || back.Link != c.Link || len(back.HTTP.Tokens) != 2 || back.Store != c.Store || back.Journal.RetentionDays != 60 {
		t.Errorf("%+v %v", back, err)
	}
}
