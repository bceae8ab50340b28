package linktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// site is a network of its own with one program in it.
type site struct {
	t    *testing.T
	name string
	bin  string
	dir  string
	env  []string
	cmd  *exec.Cmd
	http *http.Client
	base string
}

// TestRealLinkFaults puts the real agent and the real aggregator into networks of
// their own, joined by a cable that loses, goes deaf one way or the other, and is
// cut while one side believes that it stands. A till sells all the while. What it
// was answered 201 is counted once.
func TestRealLinkFaults(t *testing.T) {
	needNetns(t)
	cloud, store := twoSites(t)
	cloud.start()
	store.env = append(store.env, "TILLWIRE_LINK_TOKEN="+cloud.output("token", "--store", "S1", "--agent", "server"))
	key := cloud.output("token", "--role", "ops", "--name", "test")
	store.start()

	var acked, failed atomic.Int64
	stop := make(chan struct{})
	sold := make(chan struct{})
	go func() {
		defer close(sold)
		for n := 1; ; n++ {
			body := fmt.Sprintf(`{"document_id":"D%d","register":"1","occurred_at":"2026-11-23T10:15:02+01:00","lines":[{"sku":"ART-1","quantity":1,"uom":"EA"}]}`, n)
			if code, _ := store.call(http.MethodPost, "/v1/sales", "", body); code == http.StatusCreated {
				acked.Add(1)
			} else {
				failed.Add(1)
			}
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	merged := func() int64 {
		code, b := cloud.call(http.MethodGet, "/v1/availability/ART-1", key, "")
		var v struct {
			Locations []struct {
				OnHand json.Number `json:"on_hand"`
			} `json:"locations"`
		}
		if code != http.StatusOK || json.Unmarshal([]byte(b), &v) != nil || len(v.Locations) != 1 {
			return 0
		}
		n, _ := v.Locations[0].OnHand.Int64()
		return -n
	}
	reaches := func(what string, n int64, most time.Duration) {
		t.Helper()
		began := time.Now()
		for merged() < n {
			if time.Since(began) > most {
				_, b := store.call(http.MethodGet, "/v1/status", "", "")
				t.Fatalf("%s: %d of %d merged after %s\n%.2000s", what, merged(), n, most, b)
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("%s: %d merged after %s", what, n, time.Since(began).Round(10*time.Millisecond))
	}
	stands := func(what string) { // nothing comes through while it lasts
		t.Helper()
		time.Sleep(500 * time.Millisecond) // what is under way
		before := merged()
		time.Sleep(2500 * time.Millisecond)
		if after := merged(); after != before {
			t.Errorf("%s: %d merged, then %d: the fault did nothing", what, before, after)
		}
		if back := acked.Load() - before; back < 50 {
			t.Errorf("%s: only %d wait: the till was held up", what, back)
		}
	}
	reaches("a sound line", 20, 15*time.Second)

	const mqtt = "tcp dport 7483"
	cloud.nft("add rule inet t in "+mqtt+" numgen random mod 100 < 30 drop", "add rule inet t out tcp sport 7483 numgen random mod 100 < 30 drop")
	reaches("30 % loss both ways", acked.Load()+300, 20*time.Second)
	cloud.nft("flush table inet t")

	cloud.nft("add rule inet t in " + mqtt + " drop") // the store is not heard, but hears
	stands("deaf upwards")
	cloud.nft("flush table inet t")
	reaches("heard again", acked.Load(), 15*time.Second)

	store.nft("add rule inet t in tcp sport 7483 drop") // frames arrive, acks do not
	time.Sleep(3 * time.Second)
	store.nft("flush table inet t")
	reaches("acks again", acked.Load(), 15*time.Second)

	store.nft("add rule inet t in tcp sport 7483 drop", "add rule inet t out "+mqtt+" drop")
	cloud.kill() // its connection is gone, the store does not know
	time.Sleep(time.Second)
	cloud.start()
	stands("half-open")
	store.nft("flush table inet t")
	reaches("a new line after a half-open one", acked.Load(), 25*time.Second)

	cloud.kill()
	time.Sleep(500 * time.Millisecond)
	cloud.start()
	reaches("broker killed", acked.Load(), 25*time.Second)
	close(stop)
	<-sold
	reaches("the end", acked.Load(), 15*time.Second)
	if got := merged(); got != acked.Load() || failed.Load() != 0 {
		t.Errorf("%d merged, the till was answered 201 %d times, and not %d times", got, acked.Load(), failed.Load())
	}
}

func needNetns(t *testing.T) {
	t.Helper()
	why := ""
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			why = tool + " is not installed: apt-get install iproute2 nftables"
		}
	}
	if os.Getuid() != 0 {
		why = "networks can be made by root only"
	}
	if why == "" {
		if err := tryNetns(); err != nil {
			t.Skipf("this machine lets nobody make networks: %v", err) // nothing to install would mend it
		}
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal(why + "; in CI this test may not be skipped")
	}
	t.Skip(why)
}

// tryNetns finds out what a container may forbid even to root.
func tryNetns() error {
	a, b := fmt.Sprintf("tw%dp", os.Getpid()), fmt.Sprintf("tw%dq", os.Getpid())
	run := func(name string, args ...string) error {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %.200s", name, strings.Join(args, " "), err, out)
		}
		return nil
	}
	if err := run("ip", "netns", "add", a); err != nil {
		return err
	}
	defer run("ip", "netns", "del", a) //nolint:errcheck // with it goes the link
	if err := run("ip", "link", "add", a, "netns", a, "type", "veth", "peer", "name", b, "netns", a); err != nil {
		return err
	}
	return run("ip", "netns", "exec", a, "nft", "add", "table", "inet", "t")
}

func twoSites(t *testing.T) (cloud, store *site) {
	t.Helper()
	id := fmt.Sprintf("tw%d", os.Getpid())
	found := func(which, room string) *site {
		s := &site{t: t, name: id + which, dir: t.TempDir(), bin: filepath.Join(t.TempDir(), room)}
		program, _, _ := strings.Cut(strings.TrimPrefix(room, "tillwire-"), "-")
		must(t, "go", "build", "-o", s.bin, "tillwire/"+program+"/cmd/"+room)
		must(t, "ip", "netns", "add", s.name)
		t.Cleanup(func() { must(t, "ip", "netns", "del", s.name) })
		t.Cleanup(s.kill)
		s.ip("link", "set", "lo", "up")
		s.nft("add table inet t", "add chain inet t in { type filter hook input priority 0; }", "add chain inet t out { type filter hook output priority 0; }")
		s.http = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: s.dial}}
		return s
	}
	cloud, store = found("a", "tillwire-aggregator"), found("b", "tillwire-agent")
	must(t, "ip", "link", "add", id+"x", "netns", cloud.name, "type", "veth", "peer", "name", id+"y", "netns", store.name)
	cloud.ip("addr", "add", "10.77.3.1/24", "dev", id+"x")
	cloud.ip("link", "set", id+"x", "up")
	store.ip("addr", "add", "10.77.3.2/24", "dev", id+"y")
	store.ip("link", "set", id+"y", "up")
	cloud.env = append(os.Environ(), "TILLWIRE_DATA_DIR="+cloud.dir, "TILLWIRE_HTTP_LISTEN=127.0.0.1:0", "TILLWIRE_LOG_LEVEL=error", "TILLWIRE_MQTT_LISTEN=10.77.3.1:7483")
	store.env = append(os.Environ(), "TILLWIRE_DATA_DIR="+store.dir, "TILLWIRE_HTTP_LISTEN=127.0.0.1:0", "TILLWIRE_LOG_LEVEL=error", "TILLWIRE_STORE=S1", "TILLWIRE_AGENT=server",
		"TILLWIRE_LINK_BROKER=mqtt://10.77.3.1:7483", "TILLWIRE_JOURNAL_BALLAST_MIB=0")
	return cloud, store
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func (s *site) ip(args ...string) {
	s.t.Helper()
	must(s.t, "ip", append([]string{"-n", s.name}, args...)...)
}

// nft changes the site's packet filter: all of the lines, or none. Flushing a table
// keeps its chains.
func (s *site) nft(lines ...string) {
	s.t.Helper()
	must(s.t, "ip", "netns", "exec", s.name, "nft", strings.Join(lines, "; "))
}

func (s *site) output(args ...string) string {
	s.t.Helper()
	c := exec.Command(s.bin, args...)
	c.Env = s.env
	out, err := c.Output()
	if err != nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

func (s *site) start() {
	s.t.Helper()
	addresses := filepath.Join(s.dir, "addresses.json")
	_ = os.Remove(addresses)
	s.cmd = exec.Command("ip", "netns", "exec", s.name, s.bin, "run")
	s.cmd.Env, s.cmd.Stderr = s.env, os.Stderr
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	wait(s.t, s.bin, func() string {
		var a struct{ HTTP string }
		b, err := os.ReadFile(addresses)
		if err == nil {
			err = json.Unmarshal(b, &a)
		}
		if err != nil {
			return err.Error()
		}
		s.base = "http://" + a.HTTP
		if code, b := s.call(http.MethodGet, "/readyz", "", ""); code != http.StatusOK {
			return b
		}
		return ""
	})
}

func (s *site) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// dial opens a connection inside the site's network. The thread that has been there
// is not used again.
func (s *site) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	type result struct {
		c   net.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		f, err := os.Open("/var/run/netns/" + s.name)
		if err == nil {
			err = errors.Join(unix.Setns(int(f.Fd()), unix.CLONE_NEWNET), f.Close())
		}
		var c net.Conn
		if err == nil {
			c, err = new(net.Dialer).DialContext(ctx, network, addr)
		}
		done <- result{c, err}
	}()
	r := <-done
	return r.c, r.err
}

func (s *site) call(method, path, key, body string) (int, string) {
	req, err := http.NewRequest(method, s.base+path, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := s.http.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close() //nolint:errcheck // read below
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}
