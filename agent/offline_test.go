package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
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
	if err != nil || r.Records != baskets || r.Tail != 1 || r.Head != baskets || r.Damaged || r.Running || r.Failed() || r.Chain == "" {
		t.Fatalf("%+v %v", r, err)
	}
	var out bytes.Buffer
	if x, err := Export(context.Background(), c, 31, true, &out); err != nil || x.Records != 10 || x.Tail != 31 || x.Head != baskets || x.Chain != r.Chain {
		t.Fatalf("%+v %v", x, err)
	}
	path := filepath.Join(t.TempDir(), "part.jsonl")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := VerifyExport(context.Background(), path); err != nil || f.Records != 10 || f.Tail != 31 || f.Head != baskets || f.Store != c.Store {
		t.Fatalf("%+v %v", f, err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, line := range lines[1 : len(lines)-1] {
		var rec exportRecord
		if err := json.Unmarshal([]byte(line), &rec); err != nil || rec.Seq != uint64(31+i) || rec.Document["document_id"] != fmt.Sprintf("R03-%d", 30+i) || rec.Problem != "" {
			t.Errorf("line %d: %+v %v", i, rec, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Export(ctx, c, 1, false, &out); err == nil {
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

// A journal moved by export and import is the same to the last byte of its chain,
// and an export of the copy is the export of the original.
func TestRestoredJournalIsTheSame(t *testing.T) {
	c, basket := journaled(t)
	var first, second bytes.Buffer
	if _, err := Export(context.Background(), c, 1, true, &first); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "j.jsonl")
	if err := os.WriteFile(path, first.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := VerifyExport(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	copied := shop(t)
	if err := RestoreJournal(context.Background(), copied, f); err != nil {
		t.Fatal(err)
	}
	if err := RestoreJournal(context.Background(), copied, f); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second restore: %v", err)
	}
	if _, err := Export(context.Background(), copied, 1, true, &second); err != nil {
		t.Fatal(err)
	}
	_, a, _ := strings.Cut(first.String(), "\n")
	_, b, _ := strings.Cut(second.String(), "\n")
	if a != b {
		t.Errorf("records differ:\n%.500s\n%.500s", a, b)
	}
	run, stop := start(t, copied)
	if again := post(t, run, "/v1/sales", basket(7), http.StatusOK); again.Seq != 8 {
		t.Errorf("a document of before: %+v", again)
	}
	stop()
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

// damageInPlace does so under an agent that has the file open and mapped.
func damageInPlace(t *testing.T, c Config, document string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(c.DataDir, JournalFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // the write was checked
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	for at, found := 0, 0; ; found++ {
		k := bytes.Index(b[at:], []byte(document))
		if k < 0 && found > 0 {
			return
		}
		if k < 0 {
			t.Fatalf("%s is not in the file", document)
		}
		at += k
		if _, err := f.WriteAt([]byte("#"), int64(at)); err != nil {
			t.Fatal(err)
		}
		at++
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
	if _, err := Export(context.Background(), c, 1, true, &out); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines != baskets+3 || strings.Count(out.String(), `"problem"`) != 1 {
		t.Errorf("%d lines:\n%s", lines, &out)
	}
}

// A record that rots while nobody reads it is found by the scrub, and the journal
// salvages itself under the running agent.
func TestScrubFindsRot(t *testing.T) {
	t.Parallel()
	c, _ := journaled(t)
	a, err := New(c, Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.close() }()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	if n, err := a.scrubOnce(ctx, time.Microsecond); err != nil || n != baskets {
		t.Fatalf("a sound journal: %d, %v", n, err)
	}
	damageInPlace(t, c, "R03-17")
	go func() { ended <- a.scrub(ctx, time.Millisecond, time.Microsecond) }()
	deadline := time.Now().Add(10 * time.Second)
	for !strings.HasPrefix(a.State().BootReason, "salvaged") || a.State().Phase != "running" {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", a.State())
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := a.State(); got.Head != baskets || got.Counters.LostRecords != 1 || !strings.Contains(got.BootReason, "39 records kept, 1 lost") {
		t.Errorf("%+v", got)
	}
}

// Check tells of damage and its remedy and touches nothing; Repair salvages.
func TestCheckTellsOfDamage(t *testing.T) {
	t.Parallel()
	c, _ := journaled(t)
	damage(t, c, "R03-17")
	path := filepath.Join(c.DataDir, JournalFile)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := Check(context.Background(), c)
		if err != nil || !r.Damaged || !r.Failed() || r.Records != 17 {
			t.Fatalf("%+v %v", r, err)
		}
	}
	var out bytes.Buffer
	if _, err := Export(context.Background(), c, 1, true, &out); err == nil || out.Len() != 0 {
		t.Errorf("a verified export of a damaged journal: %v, %d bytes", err, out.Len())
	}
	if _, err := Export(context.Background(), c, 1, false, &out); err == nil || strings.Count(out.String(), "\n") != 1+17 {
		t.Errorf("an export up to the damage: %v\n%s", err, &out)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a check changed the journal: %v", err)
	}
	if what, err := Repair(c); err != nil || !strings.Contains(what, "39 records kept, 1 lost") {
		t.Errorf("%q %v", what, err)
	}
	r, err := Check(context.Background(), c)
	if err != nil || r.Damaged || r.Failed() || r.Records != baskets {
		t.Fatalf("the check after the repair: %+v %v", r, err)
	}
	words := fmt.Sprint(r.Items)
	for _, want := range []string{"1 events were lost", "1 damaged journals"} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not told: %s", want, words)
		}
	}
	if what, err := Repair(c); err != nil || what != "" {
		t.Errorf("a second repair: %q %v", what, err)
	}
}

// An agent that is stopped in the middle of an import goes on with it.
func TestImportGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	c, _ := journaled(t)
	var out bytes.Buffer
	if _, err := Export(context.Background(), c, 1, false, &out); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "j.jsonl")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := VerifyExport(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	other := shop(t)
	state, err := LayImport(other, f)
	if err != nil {
		t.Fatal(err)
	}
	half, err := json.Marshal(ImportState{Store: c.Store, Seq: 25, Accepted: 25})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state, half, 0o600); err != nil {
		t.Fatal(err)
	}
	a, stop := start(t, other)
	var s *ImportState
	for deadline := time.Now().Add(10 * time.Second); s == nil || !s.Done; time.Sleep(10 * time.Millisecond) {
		if s, err = ReadImportState(state); err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v %v", s, err)
		}
	}
	if s.Accepted != baskets || s.Seq != baskets || s.Error != "" || a.State().Head != baskets-25 {
		t.Errorf("%+v, head %d", s, a.State().Head)
	}
	stop()
	if left, _ := filepath.Glob(filepath.Join(other.DataDir, importDir, "*.jsonl")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
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
