package deploy_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// block is a piece of shell in the drills, also where it is indented in a list.
var block = regexp.MustCompile("(?ms)^ *```sh\n(.*?)^ *```$")

// systemctl stands where systemd is not: it starts, stops and restarts the one
// service by its process id, as a drill's words ask.
const systemctl = `#!/bin/bash
set -eu
stop() { if [ -e "$PIDFILE" ]; then kill "$(cat "$PIDFILE")" 2>/dev/null || true
  for _ in $(seq 200); do kill -0 "$(cat "$PIDFILE")" 2>/dev/null || break; sleep 0.05; done; rm -f "$PIDFILE"; fi; }
start() { "$BIN/tillwire-aggregator" run --config "$CONFIG" >>"$LOG" 2>&1 & echo $! >"$PIDFILE"; }
[ "$2" = tillwire-aggregator ]
case $1 in start) start ;; stop) stop ;; restart) stop; start ;; *) exit 2 ;; esac
`

// drill returns the shell of the drills' head and of one section.
func drill(t *testing.T, section string) string {
	t.Helper()
	b, err := os.ReadFile("DRILLS.md")
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(b), "\n## ")
	for part := range strings.SplitSeq(rest, "\n## ") {
		if !strings.HasPrefix(part, section+"\n") {
			continue
		}
		var sh strings.Builder
		for _, m := range block.FindAllStringSubmatch(head+"\n"+part, -1) {
			sh.WriteString(m[1])
		}
		return sh.String()
	}
	t.Fatalf("DRILLS.md has no section %q", section)
	return ""
}

// freePort finds a port below those that systems give out by themselves: a drill
// stops its program and starts it again on the same one.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.N(10000))
		if ln, err := net.Listen("tcp", addr); err == nil {
			_ = ln.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// program is the aggregator, built once for all tests.
func program(t *testing.T) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "tillwire-aggregator")
}

var (
	buildDir string // "": nothing was built
	built    = sync.OnceValues(func() (string, error) {
		var err error
		if buildDir, err = os.MkdirTemp("", "tillwire-deploy-"); err != nil {
			return "", err
		}
		return buildDir, build(filepath.Join(buildDir, "tillwire-aggregator"), "v1")
	})
)

func TestMain(m *testing.M) {
	code := m.Run()
	if buildDir != "" {
		_ = os.RemoveAll(buildDir)
	}
	os.Exit(code)
}

func build(path, version string) error {
	cmd := exec.Command("go", "build", "-ldflags", "-X main.version="+version, "-o", path, "tillwire/aggregator/cmd/tillwire-aggregator")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the aggregator: %w: %s", err, out)
	}
	return nil
}

// site is a machine with an aggregator in service and stock in its ledger.
type site struct {
	dir string
	env []string
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir()}
	for _, d := range []string{"bin", "data", "copies", "shim"} {
		if err := os.Mkdir(s.path(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(program(t), s.path("bin/tillwire-aggregator")); err != nil {
		t.Fatal(err)
	}
	addr := freePort(t)
	conf := fmt.Sprintf("data_dir = %q\n[http]\nlisten = %q\n[mqtt]\nlisten = \"127.0.0.1:0\"\n", s.path("data"), addr)
	for name, text := range map[string]string{"aggregator.toml": conf, "shim/systemctl": systemctl} {
		if err := os.WriteFile(s.path(name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.env = append(os.Environ(), "BIN="+s.path("bin"), "DATA="+s.path("data"), "COPIES="+s.path("copies"), "URL=http://"+addr,
		"NEW="+s.path("new"), "PIDFILE="+s.path("pid"), "CONFIG="+s.path("aggregator.toml"), "LOG="+s.path("log"),
		"PATH="+s.path("shim")+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Cleanup(func() {
		_, _ = s.shell(t, "systemctl stop tillwire-aggregator")
		if b, err := os.ReadFile(s.path("log")); err == nil && t.Failed() {
			t.Logf("the aggregator's log:\n%s", b)
		}
	})
	return s
}

// shell runs what a person would type.
func (s *site) shell(t *testing.T, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-eu", "-o", "pipefail", "-c", script)
	cmd.Env = s.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (s *site) must(t *testing.T, script string) string {
	t.Helper()
	out, err := s.shell(t, script)
	if err != nil {
		t.Fatalf("%v\n%s\nin:\n%s", err, out, script)
	}
	return out
}

// stocked starts the service and has a warehouse receive goods.
func (s *site) stocked(t *testing.T) {
	t.Helper()
	s.must(t, "systemctl start tillwire-aggregator\n"+head(t)+`ready
FEED=$($BIN/tillwire-aggregator token --data-dir "$DATA" --role feed --name wms)
curl -fsS -H "Authorization: Bearer $FEED" -H 'Content-Type: application/json' "$URL/v1/feeds/wms/events" -d '{"events":[
 {"kind":"receipt","document_id":"R1","location":"DC1","occurred_at":"2026-11-23T10:00:00Z","lines":[{"sku":"ART-1","quantity":12}]}]}'`)
}

func head(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("DRILLS.md")
	if err != nil {
		t.Fatal(err)
	}
	return block.FindStringSubmatch(string(b))[1]
}

func TestDrillUpgradeAndBack(t *testing.T) {
	s := newSite(t)
	if err := build(s.path("new"), "v2"); err != nil {
		t.Fatal(err)
	}
	s.stocked(t)
	out := s.must(t, drill(t, "Upgrade, and back"))
	if v := regexp.MustCompile(`v[12]\b`).FindAllString(out, -1); len(v) < 2 || v[len(v)-2] != "v2" || v[len(v)-1] != "v1" {
		t.Errorf("versions seen %v, want the new one and then the old one again:\n%s", v, out)
	}
	if got := s.must(t, head(t)+"ask /v1/availability/ART-1"); !strings.Contains(got, `"on_hand":12`) {
		t.Errorf("after the drill: %s", got)
	}
}

func TestDrillLedgerLost(t *testing.T) {
	s := newSite(t)
	s.stocked(t)
	before := s.must(t, head(t)+`$BIN/tillwire-aggregator backup --data-dir "$DATA" --to "$COPIES" >/dev/null; ask /v1/availability/certificate`)
	s.must(t, `systemctl stop tillwire-aggregator; rm "$DATA/ledger.db"`)
	out := s.must(t, drill(t, "The ledger is lost"))
	hash := regexp.MustCompile(`"state_hash":"[^"]+"`)
	if want := hash.FindString(before); want == "" || !strings.Contains(out, want) {
		t.Errorf("the certificate was %q before, and now:\n%s", want, out)
	}
	for _, want := range []string{"every checksum right; restored for a trial", "The cloud generation is 2 now", "0 differ"} {
		if !strings.Contains(out, want) {
			t.Errorf("the drill does not say %q:\n%s", want, out)
		}
	}
	if got := s.must(t, head(t)+"ask /v1/availability/ART-1"); !strings.Contains(got, `"on_hand":12`) {
		t.Errorf("after the drill: %s", got)
	}
}
