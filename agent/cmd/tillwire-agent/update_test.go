package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tillwire/protocol/release"
)

// vendor signs and serves releases, slowly enough to be killed in between.
type vendor struct {
	key  ed25519.PrivateKey
	mu   sync.Mutex // guards the fields below
	seq  uint64
	now  []byte // the offer
	prog []byte
}

func (v *vendor) release(t *testing.T, version string, program []byte) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seq++
	sum := sha256.Sum256(program)
	e, err := release.SealManifest(&release.Manifest{
		V: 1, Product: release.Product, Version: version, Sequence: v.seq, IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
		Artifacts: []release.Artifact{{OS: runtime.GOOS, Arch: runtime.GOARCH, Size: int64(len(program)), SHA256: hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.SignManifest(v.key)
	if v.now, err = json.Marshal(release.Offer{Release: *e}); err != nil {
		t.Fatal(err)
	}
	v.prog = program
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	offer, program := v.now, v.prog
	v.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/offer") {
		_, _ = w.Write(offer)
		return
	}
	for len(program) > 0 {
		n := min(len(program), 1<<20)
		if _, err := w.Write(program[:n]); err != nil {
			return
		}
		program = program[n:]
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		time.Sleep(3 * time.Millisecond)
	}
}

// host is a machine with the agent installed.
type host struct {
	dir, program, config string
	cmd                  *exec.Cmd
	log                  *os.File
}

func newHost(t *testing.T, program string, v *vendor) *host {
	t.Helper()
	srv := httptest.NewServer(v)
	t.Cleanup(srv.Close)
	h := &host{dir: t.TempDir(), program: program}
	h.config = filepath.Join(h.dir, "agent.toml")
	text := fmt.Sprintf("store = \"S1\"\ndata_dir = %q\n[http]\nlisten = \"127.0.0.1:0\"\n[link]\nbroker = \"\"\n[journal]\nballast_mib = 0\n[update]\nurl = %q\nkeys = [%q]\n",
		h.dir, srv.URL, release.PublicName(v.key))
	if err := os.WriteFile(h.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.log, err = os.Create(filepath.Join(h.dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.kill(); _ = h.log.Close() })
	return h
}

// want writes the desired state as the aggregator's would have been kept.
func (h *host) want(t *testing.T, n int, version string) {
	t.Helper()
	kept := fmt.Sprintf(`{"version":%d,"settings":{"agent_version":%q}}`, n, version)
	if err := os.WriteFile(filepath.Join(h.dir, "orders.json"), []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (h *host) start(t *testing.T) {
	t.Helper()
	_ = os.Remove(filepath.Join(h.dir, "addresses.json"))
	h.cmd = exec.Command(h.program, "run", "--config", h.config)
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (h *host) kill() {
	if h.cmd != nil {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
		h.cmd = nil
	}
}

// version waits until the host runs a version that is wanted, or any.
func (h *host) version(t *testing.T, want string) string {
	t.Helper()
	var got struct {
		AgentVersion string `json:"agent_version"`
	}
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var at struct{ HTTP string }
		b, err := os.ReadFile(filepath.Join(h.dir, "addresses.json"))
		if err != nil || json.Unmarshal(b, &at) != nil {
			continue
		}
		resp, err := (&http.Client{Timeout: time.Second}).Get("http://" + at.HTTP + "/v1/status")
		if err != nil {
			continue
		}
		b, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil && json.Unmarshal(b, &got) == nil && (want == "" || got.AgentVersion == want) {
			return got.AgentVersion
		}
	}
	b, _ := os.ReadFile(h.log.Name())
	t.Fatalf("the host runs %q, want %q; its log ends:\n%s", got.AgentVersion, want, b[max(0, len(b)-3000):])
	return ""
}

func buildVersions(t *testing.T, versions ...string) map[string]string {
	t.Helper()
	dir, out := t.TempDir(), map[string]string{}
	for _, v := range versions {
		out[v] = filepath.Join(dir, v)
		cmd := exec.Command("go", "build", "-ldflags", "-s -w -X main.version="+v, "-o", out[v], ".")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v: %s", v, err, b)
		}
	}
	return out
}

func killsWanted(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("TILLWIRE_UPDATE_KILLS"))
	if err != nil {
		return 100
	}
	return n
}

// TestKilledWhileItUpdates kills the real program at a hundred moments of an
// update: while it fetches, stages, hands over, proves itself. After each, the
// machine must start something that takes sales; at the end, undisturbed, the
// version that is wanted.
func TestKilledWhileItUpdates(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: kills a process by its id, which Windows keeps for the installed program")
	}
	built := buildVersions(t, "v1", "v2", "v3")
	program := map[string][]byte{}
	for v, path := range built {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		program[v] = b
	}
	v := &vendor{key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	h := newHost(t, built["v1"], v)
	seen, n := map[string]int{}, killsWanted(t)
	for k := range n {
		next := []string{"v2", "v3"}[k%2]
		v.release(t, next, append(program[next], byte(k), byte(k>>8))) // other bytes each time: each is a release of its own
		h.want(t, k+1, next)
		h.start(t)
		time.Sleep(rand.N(400 * time.Millisecond))
		h.kill()
		if k%10 == 9 { // without anything new: whoever is there must come up
			h.start(t)
			seen[h.version(t, "")]++
			h.kill()
		}
	}
	v.release(t, "v3", append(program["v3"], 'z'))
	h.want(t, n+1, "v3")
	h.start(t)
	h.version(t, "v3")
	t.Logf("%d kills; came up as %v, and at the end as v3", n, seen)
}

// A program that cannot run, signed by mistake, is tried and given up; the one
// before takes sales again.
func TestAProgramThatDiesAtOnce(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: the stand-in is a shell script")
	}
	built := buildVersions(t, "v1")
	v := &vendor{key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	v.release(t, "v2", []byte("#!/bin/sh\nexit 1\n"))
	h := newHost(t, built["v1"], v)
	h.want(t, 1, "v2")
	for range 4 { // the service manager starts it again
		h.start(t)
		if h.ended(500 * time.Millisecond) {
			continue
		}
		break
	}
	h.kill()
	h.start(t)
	if got := h.version(t, "v1"); got != "v1" {
		t.Errorf("runs %s", got)
	}
	b, err := os.ReadFile(filepath.Join(h.dir, "update", "state.json"))
	if err != nil || !strings.Contains(string(b), "did not prove itself") {
		t.Errorf("%s %v", b, err)
	}
}

// ended waits whether the program ends by itself.
func (h *host) ended(within time.Duration) bool {
	done := make(chan struct{})
	go func() { _ = h.cmd.Wait(); close(done) }()
	select {
	case <-done:
		h.cmd = nil
		return true
	case <-time.After(within):
		_ = h.cmd.Process.Kill()
		<-done
		h.cmd = nil
		return false
	}
}
