package safetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent/link"
	"tillwire/protocol"
	"tillwire/store/journal"
)

const waitMax = 40 * time.Second

// program is the real aggregator, killed and started at will.
type program struct {
	t      *testing.T
	bin    string
	dir    string
	backup string // folder of its copies; "": none configured
	mqtt   string // the same after a restart
	http   string
	cmd    *exec.Cmd
}

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "safetest-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "tillwire-aggregator")
	if out, err := exec.Command("go", "build", "-o", bin, "tillwire/aggregator/cmd/tillwire-aggregator").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

func newProgram(t *testing.T, backed bool) *program {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, bin: bin, dir: t.TempDir(), mqtt: "127.0.0.1:0"}
	if backed {
		p.backup = t.TempDir()
	}
	p.start()
	t.Cleanup(p.kill)
	return p
}

func (p *program) start() {
	p.t.Helper()
	addresses := filepath.Join(p.dir, "addresses.json")
	_ = os.Remove(addresses)
	p.cmd = exec.Command(p.bin, "run", "--dev", "--data-dir", p.dir)
	p.cmd.Env = append(os.Environ(), "TILLWIRE_HTTP_LISTEN=127.0.0.1:0", "TILLWIRE_MQTT_LISTEN="+p.mqtt, "TILLWIRE_LOG_LEVEL=fatal", "TILLWIRE_BACKUP_TO="+p.backup)
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	wait(p.t, "the aggregator is ready", func() string {
		var a struct{ HTTP, MQTT string }
		b, err := os.ReadFile(addresses)
		if err != nil || json.Unmarshal(b, &a) != nil {
			return "no addresses yet"
		}
		p.http, p.mqtt = "http://"+a.HTTP, a.MQTT
		status, _ := p.ask(http.MethodGet, "/readyz", "")
		if status != http.StatusOK {
			return fmt.Sprint(status)
		}
		return ""
	})
}

func (p *program) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

// run runs a command of the program on its data folder.
func (p *program) run(args ...string) string {
	p.t.Helper()
	out, err := exec.Command(p.bin, append(args, "--data-dir", p.dir)...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// lose kills the aggregator, deletes its ledger, and restores a copy.
func (p *program) lose(from string) string {
	p.t.Helper()
	p.kill()
	if err := os.Remove(filepath.Join(p.dir, "ledger.db")); err != nil {
		p.t.Fatal(err)
	}
	out := p.run("restore", "--from", from)
	p.start()
	return out
}

func (p *program) ask(method, path, body string) (int, map[string]any) {
	client := http.Client{Timeout: 30 * time.Second}
	req, err := http.NewRequest(method, p.http+path, bytes.NewReader([]byte(body)))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	m := map[string]any{}
	_ = json.Unmarshal(b, &m)
	m["generation_header"] = resp.Header.Get("Tillwire-Generation")
	return resp.StatusCode, m
}

func (p *program) get(path string) map[string]any {
	p.t.Helper()
	status, m := p.ask(http.MethodGet, path, "")
	if status != http.StatusOK {
		p.t.Fatalf("GET %s: %d %v", path, status, m)
	}
	return m
}

// onHand is what the chain believes.
func (p *program) onHand() map[string]float64 {
	p.t.Helper()
	out := map[string]float64{}
	for n := range articles {
		status, m := p.ask(http.MethodGet, fmt.Sprintf("/v1/availability/ART-%d", n), "")
		if status != http.StatusOK {
			continue
		}
		for _, l := range m["locations"].([]any) {
			x := l.(map[string]any)
			out[fmt.Sprintf("%s/ART-%d", x["location"], n)] = x["on_hand"].(float64)
		}
	}
	return out
}

const articles = 7

// shop is a real journal with real links: to the aggregator that is going to be
// lost, and to a twin that never is.
type shop struct {
	t       *testing.T
	origin  protocol.Origin
	journal *journal.Journal
	twin    *second // nil: none
	codec   *protocol.FrameCodec
	docs    int
	truth   map[string]float64
	rng     *rand.Rand
}

func newShop(t *testing.T, name string, p, twin *program) *shop {
	t.Helper()
	codec, err := protocol.NewFrameCodec()
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(journal.Options{
		Path: filepath.Join(t.TempDir(), "journal.db"), Log: zerolog.Nop(), BallastBytes: -1, SegmentEvents: 50, Retention: time.Nanosecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	s := &shop{
		t: t, origin: protocol.Origin{Store: protocol.StoreID(name), Agent: "server"}, journal: j, codec: codec, truth: map[string]float64{},
		rng: rand.New(rand.NewPCG(uint64(len(name)), uint64(name[len(name)-1]))),
	}
	s.connect(p, j)
	if twin != nil {
		s.twin = &second{Journal: j, appended: make(chan struct{}, 1)}
		s.connect(twin, s.twin)
	}
	return s
}

func (s *shop) connect(p *program, j link.Journal) {
	s.t.Helper()
	l, err := link.New(link.Options{
		Origin: s.origin, Broker: "mqtt://" + p.mqtt, Journal: j, Codec: s.codec, Log: zerolog.Nop(), Version: "test",
		Timing: link.Timing{
			ReconnectMin: 5 * time.Millisecond, ReconnectCap: 40 * time.Millisecond, Heartbeat: 50 * time.Millisecond,
			AckTimeout: 500 * time.Millisecond, Linger: 5 * time.Millisecond, ConnectTimeout: 3 * time.Second,
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
}

// second lets another aggregator read the same journal: it has marks of its own.
type second struct {
	*journal.Journal
	appended chan struct{}

	mu    sync.Mutex // guards marks
	marks journal.State
}

func (s *second) State() journal.State {
	st := s.Journal.State()
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.marks
	st.Epoch, st.Lease, st.Generation, st.Merged, st.Safe = m.Epoch, m.Lease, m.Generation, m.Merged, m.Safe
	st.ChainMerged, _ = s.ChainAt(m.Merged)
	st.BacklogEvents = st.Head - m.Merged
	return st
}

func (s *second) SetMerged(epoch, merged, safe, generation uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks.Epoch, s.marks.Merged, s.marks.Safe, s.marks.Generation = epoch, merged, safe, generation
	return nil
}

func (s *second) SetLease(lease uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks.Lease = lease
}

func (s *second) Appended() <-chan struct{} { return s.appended }

// sell journals n baskets, and remembers the truth.
func (s *shop) sell(n int) {
	s.t.Helper()
	events := make([]*protocol.Event, 0, n)
	for range n {
		s.docs++
		id := fmt.Sprintf("T-%d", s.docs)
		e := &protocol.Event{
			ID: protocol.MakeEventID(s.origin.Store, protocol.KindSale, id), Kind: protocol.KindSale, Store: s.origin.Store, DocumentID: id,
			EventTime: protocol.StampOf(time.Now()), Register: "1",
		}
		for l := range 1 + s.rng.IntN(3) {
			art, q := s.rng.IntN(articles), 1+s.rng.Int64N(4)
			e.Lines = append(e.Lines, protocol.Line{Line: l + 1, SKU: protocol.SKU(fmt.Sprintf("ART-%d", art)), Quantity: protocol.Units(q)})
			s.truth[fmt.Sprintf("%s/ART-%d", s.origin.Store, art)] -= float64(q)
		}
		events = append(events, e)
	}
	_, errs := s.journal.AppendAll(context.Background(), events)
	for _, err := range errs {
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if s.twin != nil {
		select {
		case s.twin.appended <- struct{}{}:
		default:
		}
	}
}

// merged waits until both aggregators have everything.
func (s *shop) merged() {
	s.t.Helper()
	wait(s.t, s.origin.String()+" is merged", func() string {
		st := s.journal.State()
		if st.Merged != st.Head {
			return fmt.Sprintf("%d of %d", st.Merged, st.Head)
		}
		if s.twin != nil && s.twin.State().Merged != st.Head {
			return fmt.Sprintf("twin: %d of %d", s.twin.State().Merged, st.Head)
		}
		return ""
	})
}

// back waits until the journal has heard of a new generation, and is merged in it.
func (s *shop) back(generation uint64) {
	s.t.Helper()
	wait(s.t, s.origin.String()+" is back", func() string {
		if g := s.journal.State().Generation; g != generation {
			return fmt.Sprintf("generation %d, want %d", g, generation)
		}
		return ""
	})
	s.merged()
}

// safe waits until the journal is told that so much is safe.
func (s *shop) safe(want uint64) {
	s.t.Helper()
	wait(s.t, s.origin.String()+" is safe", func() string {
		if st := s.journal.State(); st.Safe != want {
			return fmt.Sprintf("safe %d of %d merged, want %d", st.Safe, st.Merged, want)
		}
		return ""
	})
}

// trim trims all that may go and returns the tail.
func (s *shop) trim() uint64 {
	s.t.Helper()
	time.Sleep(2 * time.Millisecond) // older than the retention
	if _, err := s.journal.Trim(time.Now()); err != nil {
		s.t.Fatal(err)
	}
	return s.journal.State().Tail
}

func wait(t *testing.T, what string, why func() string) {
	t.Helper()
	for until := time.Now().Add(waitMax); ; time.Sleep(5 * time.Millisecond) {
		w := why()
		if w == "" {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s: not within %s: %s", what, waitMax, w)
		}
	}
}

func codes(list any) string {
	var out []string
	for _, x := range list.([]any) {
		out = append(out, x.(map[string]any)["code"].(string))
	}
	return strings.Join(out, " ")
}
