package safetest

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestALostLedgerComesBack is the promise of safe: copy, trim as far as told, sell
// on, kill, delete, restore. Everything drains, nothing is lost or doubled, and the
// positions are those of a twin that nothing ever happened to.
func TestALostLedgerComesBack(t *testing.T) {
	p, twin := newProgram(t, true), newProgram(t, false)
	var shops []*shop
	for n := range 4 {
		shops = append(shops, newShop(t, fmt.Sprintf("S%d", n+1), p, twin))
	}
	each := func(do func(s *shop)) {
		t.Helper()
		for _, s := range shops {
			do(s)
		}
	}
	each(func(s *shop) { s.sell(330) })
	each(func(s *shop) { s.merged() })
	if out := p.run("backup", "--to", p.backup); !strings.Contains(out, "read back and verified") {
		t.Fatal(out)
	}
	each(func(s *shop) { s.safe(330) })
	each(func(s *shop) {
		if tail := s.trim(); tail != 301 {
			t.Fatalf("%s: tail %d, want the segment that holds what is not safe, 301", s.origin, tail)
		}
	})
	each(func(s *shop) { s.sell(240); s.merged() })
	each(func(s *shop) {
		if tail := s.trim(); tail != 301 {
			t.Fatalf("%s: trimmed to %d: merged is not safe", s.origin, tail)
		}
	})
	each(func(s *shop) { s.sell(10) }) // some of it on its way when the aggregator dies
	out := p.lose(p.backup)
	if !strings.Contains(out, "generation is 2 now") || !strings.Contains(out, "4 agents say hello") {
		t.Errorf("the restore says:\n%s", out)
	}
	each(func(s *shop) { s.sell(25); s.merged() })
	truth := map[string]float64{}
	each(func(s *shop) {
		maps.Copy(truth, s.truth)
		if st := s.journal.State(); st.Generation != 2 || st.Epoch != 1 || st.Safe != 330 {
			t.Errorf("%s: generation %d, epoch %d, safe %d; want 2, 1, 330", s.origin, st.Generation, st.Epoch, st.Safe)
		}
	})
	if d := cmp.Diff(truth, p.onHand()); d != "" {
		t.Errorf("on hand (-truth +chain):\n%s", d)
	}
	a, b := p.get("/v1/availability/certificate"), twin.get("/v1/availability/certificate")
	if a["state_hash"] != b["state_hash"] || a["cells"] != b["cells"] {
		t.Errorf("positions differ from the twin's: %v, %v", a["state_hash"], b["state_hash"])
	}
	if a["generation_header"] != "2" || b["generation_header"] != "1" {
		t.Errorf("generations told: %v, %v", a["generation_header"], b["generation_header"])
	}
	if x := p.get("/v1/exceptions?state=open")["exceptions"]; codes(x) != "" {
		t.Errorf("exceptions: %s", codes(x))
	}
	stores := p.get("/v1/stores")
	if got := codes(stores["incidents"]); got != "cloud_restored" || stores["safe_covered_by"] != "backup" {
		t.Errorf("incidents of the chain: %s, covered by %v", got, stores["safe_covered_by"])
	}
	// a backup of the new generation, and the journals go on being trimmed
	p.run("backup", "--to", p.backup)
	each(func(s *shop) { s.safe(605) })
	each(func(s *shop) {
		if tail := s.trim(); tail != 601 {
			t.Errorf("%s: tail %d, want 601", s.origin, tail)
		}
	})
	p.kill()
	if out := p.run("fsck"); !strings.Contains(out, "0 differ") {
		t.Error(out)
	}
}

// TestTrustingLessThanABackupIsNeverSilent: where merged counts as safe, a journal
// trims what an older copy lacks. After its restore the exact range is an incident
// and an exception, and the rest is right.
func TestTrustingLessThanABackupIsNeverSilent(t *testing.T) {
	p := newProgram(t, false)
	s, whole := newShop(t, "S1", p, nil), newShop(t, "S2", p, nil)
	s.sell(120)
	whole.sell(40)
	s.merged()
	whole.merged()
	copies := t.TempDir()
	p.run("backup", "--to", copies) // a copy, but not one that safe rests on
	lost := maps.Clone(s.truth)
	s.sell(300)
	s.merged()
	s.safe(420)
	if tail := s.trim(); tail != 401 {
		t.Fatalf("tail %d, want 401", tail)
	}
	p.lose(copies)
	s.back(2)
	whole.back(2)
	list := p.get("/v1/exceptions?state=open&code=events_unrecoverable")["exceptions"].([]any)
	if len(list) != 1 {
		t.Fatalf("%d exceptions: %v", len(list), list)
	}
	x := list[0].(map[string]any)
	if why := x["reason"].(string); x["seq"] != 121.0 || !strings.Contains(why, "280 events of S1/server (seq 121 to 400, epoch 1)") {
		t.Errorf("the range is not exact: %s", why)
	}
	wait(t, "the store's incident", func() string {
		got := p.get("/v1/stores/S1")["incidents"]
		if codes(got) == "events_unrecoverable" {
			return ""
		}
		return codes(got)
	})
	if got := p.get("/v1/stores/S2")["incidents"]; codes(got) != "" {
		t.Errorf("S2 lost nothing: %s", codes(got))
	}
	// what the copy held, and what the journal still has, is there
	have := p.onHand()
	sum := func(m map[string]float64, of string) (n float64) {
		for k, v := range m {
			if strings.HasPrefix(k, of) {
				n += v
			}
		}
		return n
	}
	if got, least, most := sum(have, "S1/"), sum(lost, "S1/"), sum(s.truth, "S1/"); got >= least || got <= most {
		t.Errorf("S1 has %v, want between %v (truth) and %v (copy)", got, most, least)
	}
	if d := cmp.Diff(whole.truth, only(have, "S2/")); d != "" {
		t.Errorf("S2 (-truth +chain):\n%s", d)
	}
}

func only(m map[string]float64, of string) map[string]float64 {
	out := map[string]float64{}
	for k, v := range m {
		if strings.HasPrefix(k, of) {
			out[k] = v
		}
	}
	return out
}

// TestALedgerSetBackSilently: nobody restored anything; the disk is simply older,
// as a virtual machine's snapshot makes it. The stores give it away, and bring it
// up to date.
func TestALedgerSetBackSilently(t *testing.T) {
	p := newProgram(t, true)
	s := newShop(t, "S1", p, nil)
	s.sell(100)
	s.merged()
	p.kill()
	path := filepath.Join(p.dir, "ledger.db")
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p.start()
	s.sell(150)
	s.merged()
	p.kill()
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	s.sell(5)
	s.back(2)
	if d := cmp.Diff(s.truth, p.onHand()); d != "" {
		t.Errorf("on hand (-truth +chain):\n%s", d)
	}
	wait(t, "the chain's incident", func() string {
		got := codes(p.get("/v1/stores")["incidents"])
		if strings.Contains(got, "cloud_rolled_back") {
			return ""
		}
		return got
	})
}

// TestKilledWhileCopying kills the aggregator in the midst of copies: what is
// listed is whole at any moment, and the last one that counted is still safe.
func TestKilledWhileCopying(t *testing.T) {
	p := newProgram(t, true)
	s := newShop(t, "S1", p, nil)
	listed := 0
	for n := range 5 {
		s.sell(1500)
		s.merged()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = p.ask(http.MethodPost, "/v1/backups", "{}") // its answer dies with it
		}()
		time.Sleep(time.Duration(n) * 12 * time.Millisecond)
		p.kill()
		<-done
		manifests, err := filepath.Glob(filepath.Join(p.backup, "copies", "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range manifests {
			if out := p.run("backup", "--verify", m); !strings.Contains(out, "every checksum right") {
				t.Fatal(out)
			}
		}
		listed = max(listed, len(manifests))
		p.start()
		s.sell(1)
		s.merged()
	}
	t.Logf("%d copies listed at most, after 5 kills", listed)
	p.run("backup", "--to", p.backup)
	s.safe(s.journal.State().Head)
	if left, _ := filepath.Glob(filepath.Join(p.dir, "backup-spool", "*")); len(left) != 0 {
		t.Errorf("left in the spool: %v", left)
	}
	p.lose(p.backup)
	s.back(2)
	if d := cmp.Diff(s.truth, p.onHand()); d != "" {
		t.Errorf("on hand (-truth +chain):\n%s", d)
	}
}

// TestTheFirstBackupTakesSafeBack: what was called safe while nothing was copied is
// not, once somebody asks for backups; the journals believe it, keep what they
// have, and a folder that is not there is an incident.
func TestTheFirstBackupTakesSafeBack(t *testing.T) {
	p := newProgram(t, false)
	s := newShop(t, "S1", p, nil)
	s.sell(90)
	s.merged()
	s.safe(90)
	p.kill()
	p.backup = filepath.Join(t.TempDir(), "mount")
	p.start()
	s.safe(0)
	s.sell(120)
	s.merged()
	if tail := s.trim(); tail != 1 {
		t.Errorf("tail %d: it trimmed what no backup holds", tail)
	}
	wait(t, "the incident", func() string {
		m := p.get("/v1/stores")
		if got := codes(m["incidents"]); got != "backup_failed" || m["safe_covered_by"] != "backup" {
			return got
		}
		return ""
	})
	if err := os.Mkdir(p.backup, 0o700); err != nil {
		t.Fatal(err)
	}
	p.run("backup", "--to", p.backup)
	s.safe(210)
	if tail := s.trim(); tail != 201 {
		t.Errorf("tail %d, want 201", tail)
	}
	wait(t, "the incident closes", func() string { return codes(p.get("/v1/stores")["incidents"]) })
}
