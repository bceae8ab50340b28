//go:build dist

package packagetest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// till sells without a pause, repeats what got no answer, and remembers what was
// acknowledged.
type till struct {
	d       *debian
	stop    chan struct{}
	done    sync.WaitGroup
	mu      sync.Mutex
	acked   []string
	refused int
}

func (d *debian) till(name string) *till {
	s := &till{d: d, stop: make(chan struct{})}
	s.done.Add(1)
	go func() {
		defer s.done.Done()
		for n := 0; ; n++ {
			id := fmt.Sprintf("%s-%d", name, n)
			for !d.sell(id) {
				s.mu.Lock()
				s.refused++
				s.mu.Unlock()
				select {
				case <-s.stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
			s.mu.Lock()
			s.acked = append(s.acked, id)
			s.mu.Unlock()
			select {
			case <-s.stop:
				return
			default:
			}
		}
	}()
	return s
}

// sell is true where the agent has the document on disk.
func (d *debian) sell(id string) bool {
	body := fmt.Sprintf(`{"document_id":%q,"register":"R03","occurred_at":"2026-11-23T10:15:02Z","lines":[{"sku":"4006381333931","quantity":2}]}`, id)
	out, err := d.try("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json", "-d", body, "http://127.0.0.1:7410/v1/sales")
	return err == nil && (out == "201" || out == "200")
}

func (s *till) end() (acked []string, refused int) {
	close(s.stop)
	s.done.Wait()
	return s.acked, s.refused
}

// status is what the agent says of itself.
func (d *debian) status(t *testing.T) (s struct {
	Version string `json:"agent_version"`
	Link    struct{ State string }
	Journal struct {
		Head    uint64 `json:"head_seq"`
		Merged  uint64 `json:"merged_seq"`
		Backlog uint64 `json:"backlog_events"`
	}
},
) {
	t.Helper()
	out, err := d.command("tillwire-agent", "status", "--json").Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		t.Fatalf("status: %v %s", err, out)
	}
	return s
}

// A Debian boots; both packages are installed, enrolled, started, killed, hung,
// upgraded and set back under a till that sells, removed and purged.
func TestLifeInDebian(t *testing.T) {
	old, newer := release(t, "1.0.0", here), release(t, "1.1.0", here)
	d := bootDebian(t)
	oldDeb, newDeb := d.bring(t, one(t, old, "tillwire-agent_*.deb")), d.bring(t, one(t, newer, "tillwire-agent_*.deb"))
	d.do(t, "dpkg", "-i", d.bring(t, one(t, old, "tillwire-aggregator_*.deb")), oldDeb)
	if got := d.property(t, "ActiveState") + " " + d.property(t, "ConditionResult") + " " + d.property(t, "UnitFileState"); got != "inactive no enabled" {
		t.Errorf("before it is enrolled the agent is %s", got)
	}
	until(t, 10*time.Second, "aggregator", func() bool {
		_, err := d.try("curl", "-sf", "http://127.0.0.1:7400/readyz")
		return err == nil
	})
	d.do(t, "sh", "-ec", `token=$(runuser -u tillwire-aggregator -- tillwire-aggregator token --enroll --store S0042 2>/dev/null)
		echo "$token" | tillwire-agent enroll --aggregator http://127.0.0.1:7400 --token - --store S0042
		tillwire-agent start`)
	if got := d.property(t, "ActiveState") + " " + d.property(t, "Type") + " " + d.property(t, "WatchdogUSec") + " " + d.property(t, "User"); got != "active notify 30s tillwire-agent" {
		t.Fatalf("started: %s", got)
	}
	if text := d.property(t, "StatusText"); !strings.HasPrefix(text, "journal running;") {
		t.Errorf("systemd was told %q", text)
	}
	if mode := strings.TrimSpace(d.do(t, "stat", "-c", "%U %a", "/var/lib/tillwire-agent", "/etc/tillwire/agent.toml")); mode != "tillwire-agent 700\nroot 600" {
		t.Errorf("folder and configuration: %s", mode)
	}

	s := d.till("A")
	t.Run("killed", func(t *testing.T) {
		d.do(t, "systemctl", "kill", "-s", "KILL", "tillwire-agent")
		until(t, 10*time.Second, "started again", func() bool { return d.property(t, "NRestarts") == "1" && d.property(t, "ActiveState") == "active" })
	})
	t.Run("hung", func(t *testing.T) {
		d.do(t, "systemctl", "kill", "-s", "STOP", "tillwire-agent")
		until(t, time.Minute, "replaced by the watchdog", func() bool { return d.property(t, "NRestarts") == "2" && d.property(t, "ActiveState") == "active" })
		if log := d.do(t, "journalctl", "-u", "tillwire-agent", "--no-pager"); !strings.Contains(log, "Watchdog timeout") {
			t.Errorf("another reason: %s", log)
		}
	})
	t.Run("upgraded and set back", func(t *testing.T) {
		d.do(t, "sh", "-ec", "echo TILLWIRE_LOG_LEVEL=debug >>/etc/tillwire/agent.env")
		for _, step := range []struct{ deb, version string }{{newDeb, "1.1.0"}, {oldDeb, "1.0.0"}, {newDeb, "1.1.0"}} {
			d.do(t, "dpkg", "-i", step.deb)
			if v := d.status(t).Version; v != step.version {
				t.Errorf("%s runs after %s", v, step.deb)
			}
			time.Sleep(time.Second)
		}
		if env := d.do(t, "cat", "/etc/tillwire/agent.env"); !strings.HasSuffix(env, "LEVEL=debug\n") {
			t.Errorf("the changed conffile became %q", env)
		}
	})
	acked, refused := s.end()
	t.Logf("%d sales acknowledged, %d attempts without an answer", len(acked), refused)
	d.allThere(t, acked)
	until(t, 20*time.Second, "merged", func() bool { return d.status(t).Journal.Backlog == 0 })

	t.Run("removed and purged", func(t *testing.T) { d.removeAndPurge(t, newDeb) })
}

// allThere compares the journal with what the till was told.
func (d *debian) allThere(t *testing.T, acked []string) {
	t.Helper()
	out, err := d.command("tillwire-agent", "export", "--verify").Output()
	if err != nil {
		t.Fatalf("export: %v", err)
	}
	if len(acked) < 20 {
		t.Errorf("only %d sales acknowledged", len(acked))
	}
	for _, id := range acked {
		if n := strings.Count(string(out), `"document_id":"`+id+`"`); n != 1 {
			t.Errorf("%s stands %d times in the journal", id, n)
		}
	}
}

func (d *debian) removeAndPurge(t *testing.T, deb string) {
	if out := d.do(t, "tillwire-agent", "install"); !strings.Contains(out, "the package's unit") {
		t.Errorf("install beside the package: %s", out)
	}
	journal := filepath.Join(d.root, "var/lib/tillwire-agent/journal.db")
	there := func(want bool) {
		t.Helper()
		if _, err := os.Stat(journal); (err == nil) != want {
			t.Errorf("the journal is there: %v, want %v", err == nil, want)
		}
	}
	d.do(t, "apt-get", "-qq", "-y", "remove", "tillwire-agent")
	there(true)
	if out, err := d.try("systemctl", "is-active", "tillwire-agent"); err == nil {
		t.Errorf("removed, but %s", out)
	}
	before := strings.Count(d.do(t, "journalctl", "-u", "tillwire-agent", "--no-pager"), "agent ready")
	d.do(t, "dpkg", "-i", deb) // comes back with what it had
	if s := d.status(t); s.Journal.Head == 0 {
		t.Error("installed again, the journal is empty")
	}
	if after := strings.Count(d.do(t, "journalctl", "-u", "tillwire-agent", "--no-pager"), "agent ready"); after != before+1 {
		t.Errorf("ready %d times more", after-before)
	}
	d.do(t, "apt-get", "-qq", "-y", "purge", "tillwire-agent")
	there(true) // nobody said otherwise
	if _, err := os.Stat(filepath.Join(d.root, "etc/tillwire/agent.toml")); err == nil {
		t.Error("purged, but the configuration and its secret stay")
	}
	d.do(t, "dpkg", "-i", deb)
	d.do(t, "sh", "-ec", "echo tillwire-agent tillwire-agent/purge-journal boolean true | debconf-set-selections")
	d.do(t, "apt-get", "-qq", "-y", "purge", "tillwire-agent")
	there(false)
}

// The program alone, installed by itself, gives way to the package without losing
// its journal; then the rpm's scripts do the same once more.
func TestByHandThenByPackageThenByRPM(t *testing.T) {
	old := release(t, "1.0.0", here)
	d := bootDebian(t)
	to := t.TempDir()
	must(t, to, nil, "tar", "-xzf", one(t, old, "tillwire-1.0.0-linux-amd64.tar.gz"), "--strip-components=1")
	program := d.bring(t, filepath.Join(to, "tillwire-agent"))
	d.do(t, "mkdir", "-p", "/etc/tillwire", "/opt/by hand")
	d.do(t, "mv", program, "/opt/by hand/tillwire-agent")
	if err := os.WriteFile(filepath.Join(d.root, "etc/tillwire/agent.toml"), []byte("store = 'S0042'\n[link]\nbroker = ''\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.do(t, "/opt/by hand/tillwire-agent", "install")
	d.do(t, "/opt/by hand/tillwire-agent", "install") // a rollout that runs twice
	d.do(t, "/opt/by hand/tillwire-agent", "start")
	if !d.sell("by-hand") {
		t.Fatal("the agent that was installed by hand takes no sale")
	}
	if got := d.property(t, "FragmentPath") + " " + d.property(t, "User"); got != "/etc/systemd/system/tillwire-agent.service tillwire-agent" {
		t.Errorf("unit of the installation by hand: %s", got)
	}
	d.do(t, "dpkg", "-i", d.bring(t, one(t, old, "tillwire-agent_*.deb")))
	until(t, 10*time.Second, "the package's program", func() bool { return strings.Contains(d.property(t, "ExecStart"), "path=/usr/bin/tillwire-agent") })
	if s := d.status(t); s.Journal.Head != 1 {
		t.Errorf("under the package the journal has %d events", s.Journal.Head)
	}
	d.do(t, "dpkg", "-r", "tillwire-agent")

	d.do(t, "rpm", "-i", "--nodeps", d.bring(t, one(t, old, "tillwire-agent-*.rpm")))
	if !d.sell("by-rpm") || d.property(t, "UnitFileState") != "enabled" {
		t.Error("the rpm's agent takes no sale, or does not start with the machine")
	}
	d.do(t, "rpm", "-U", "--nodeps", d.bring(t, one(t, release(t, "1.1.0", here), "tillwire-agent-*.rpm")))
	if s := d.status(t); s.Version != "1.1.0" || s.Journal.Head != 2 {
		t.Errorf("upgraded by rpm: %+v", s)
	}
	d.do(t, "rpm", "-U", "--oldpackage", "--nodeps", "/"+filepath.Base(one(t, old, "tillwire-agent-*.rpm")))
	if s := d.status(t); s.Version != "1.0.0" || s.Journal.Head != 2 {
		t.Errorf("set back by rpm: %+v", s)
	}
	d.do(t, "rpm", "-e", "tillwire-agent")
	if _, err := os.Stat(filepath.Join(d.root, "var/lib/tillwire-agent/journal.db")); err != nil {
		t.Errorf("removed by rpm: %v", err)
	}
	if out, err := d.try("systemctl", "is-active", "tillwire-agent"); err == nil {
		t.Errorf("removed by rpm, but %s", out)
	}
}
