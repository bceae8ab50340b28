package update

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tillwire/protocol/release"
)

var (
	now    = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	signer = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	keys   = release.Keys{Version: 1, Threshold: 1, Public: []string{release.PublicName(signer)}}
)

func clock() time.Time { return now }

// mirror serves a release, and misbehaves as it is told.
type mirror struct {
	program []byte
	offer   []byte
	serve   http.HandlerFunc // instead of the program
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/v1/releases/offer"):
		_, _ = w.Write(m.offer)
	case m.serve != nil:
		m.serve(w, r)
	default:
		_, _ = w.Write(m.program)
	}
}

func publish(t *testing.T, version string, sequence uint64, program []byte) *mirror {
	t.Helper()
	sum := sha256.Sum256(program)
	e, err := release.SealManifest(&release.Manifest{
		V: 1, Product: release.Product, Version: version, Sequence: sequence, IssuedAt: now, ExpiresAt: now.Add(time.Hour),
		Artifacts: []release.Artifact{{OS: runtime.GOOS, Arch: runtime.GOARCH, Size: int64(len(program)), SHA256: hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.SignManifest(signer)
	b, err := json.Marshal(release.Offer{Release: *e})
	if err != nil {
		t.Fatal(err)
	}
	return &mirror{program: program, offer: b}
}

func updater(t *testing.T, dir, version string, m http.Handler) *Updater {
	t.Helper()
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	u, err := New(Options{DataDir: dir, Version: version, URL: srv.URL + "/prefix", Keys: keys, Log: zerolog.Nop(), Now: clock, Healthy: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// fetched is a folder in which v2 was staged by v1.
func fetched(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	u := updater(t, dir, "v1", publish(t, "v2", 1, []byte("program two")))
	u.Want("v2")
	if staged, err := u.look(t.Context()); !staged || err != nil {
		t.Fatal(staged, err)
	}
	return dir
}

func known(t *testing.T, dir string) *state {
	t.Helper()
	s, err := in(dir).load(keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func starts(t *testing.T, dir, base, want string) {
	t.Helper()
	if got, err := in(dir).choose(base, keys, now); got != want || err != nil {
		t.Fatalf("the next start runs %q (%v), want %q", got, err, want)
	}
}

// A release is fetched, tried, confirmed, and followed by the next one in the other slot.
func TestTwoReleases(t *testing.T) {
	dir := fetched(t)
	starts(t, dir, "v1", slotA)
	if b, _ := os.ReadFile(in(dir).program(slotA)); string(b) != "program two" {
		t.Errorf("the slot holds %q", b)
	}
	t.Setenv(slotVar, slotA)
	two := updater(t, dir, "v2", publish(t, "v3", 2, []byte("program three")))
	if err := two.prove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := known(t, dir); s.Active != slotA || s.Trial != "" || s.Starts != 0 {
		t.Fatalf("not confirmed: %+v", s)
	}
	two.Want("v3")
	if staged, err := two.look(t.Context()); !staged || err != nil {
		t.Fatal(staged, err)
	}
	if s := known(t, dir); s.Active != slotA || s.Trial != slotB || s.Trust.Sequence != 2 {
		t.Errorf("%+v", s)
	}
	for range trialStartsMax {
		starts(t, dir, "v1", slotB)
	}
	starts(t, dir, "v1", slotA) // v3 never proved itself
	if _, err := two.look(t.Context()); err == nil || !strings.Contains(err.Error(), "tried again at") {
		t.Errorf("what failed was fetched again at once: %v", err)
	}
}

func TestWhatIsNotStaged(t *testing.T) {
	program := bytes.Repeat([]byte("x"), 1<<20)
	for name, c := range map[string]struct {
		wanted string
		spoil  func(m *mirror)
		want   string
	}{
		"another version is released": {"v9", func(*mirror) {}, "version v9 is wanted, but v2 is released"},
		"no offer":                    {"v2", func(m *mirror) { m.offer = nil }, "read offer"},
		"endless offer":               {"v2", func(m *mirror) { m.offer = make([]byte, 2*release.OfferBytesMax) }, "at most"},
		"another program":             {"v2", func(m *mirror) { m.program = append([]byte("y"), program[1:]...) }, "digest"},
		"half a program":              {"v2", func(m *mirror) { m.program = program[:1000] }, "it has 1000 bytes"},
		"more than a program":         {"v2", func(m *mirror) { m.program = append(program, 'x') }, "must have 1048576"},
		"endless program":             {"v2", func(m *mirror) { m.serve = endless(program) }, "must have 1048576"},
		"gone":                        {"v2", func(m *mirror) { m.serve = http.NotFound }, "404"},
		"trickles":                    {"v2", func(m *mirror) { m.serve = trickle }, "only"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := publish(t, "v2", 1, program)
			c.spoil(m)
			u := updater(t, dir, "v1", m)
			u.source.stall = 100 * time.Millisecond
			u.Want(c.wanted)
			staged, err := u.look(t.Context())
			if staged || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v does not say %q", err, c.want)
			}
			starts(t, dir, "v1", "")
			if left, _ := filepath.Glob(filepath.Join(dir, "update", "*", "*")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func endless(program []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for range 4096 {
			if _, err := w.Write(program); err != nil {
				return
			}
		}
	}
}

// trickle sends a byte now and then, for ever.
func trickle(w http.ResponseWriter, r *http.Request) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		_, err := w.Write([]byte{'x'})
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-t.C:
		case <-r.Context().Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func TestStatesOfASlot(t *testing.T) {
	two := slot{Version: "v2", Sequence: 1, SHA256: "aa"}
	trial := func(starts int) *state {
		s := &state{Base: "v1"}
		s.stage(slotA, two)
		s.Starts = starts
		return s
	}
	active := func() *state { s := trial(1); s.confirm(); return s }
	for name, c := range map[string]struct {
		s    *state
		base string
		want string
		then func(s *state) bool
	}{
		"nothing was fetched":    {&state{Base: "v1"}, "v1", "", func(s *state) bool { return s.Trial == "" }},
		"a trial's start counts": {trial(0), "v1", slotA, func(s *state) bool { return s.Starts == 1 }},
		"confirmed":              {active(), "v1", slotA, func(s *state) bool { return s.Starts == 0 }},
		"a package came since":   {active(), "v5", "", func(s *state) bool { return s.Base == "v5" && s.Active == "" }},
		"a package ends a trial": {trial(0), "v5", "", func(s *state) bool { return s.Trial == "" }},
		"two starts are enough":  {trial(2), "v1", "", func(s *state) bool { return len(s.Failed) == 1 && s.Failed[0].Tries == 1 }},
	} {
		if got := c.s.begin(c.base, now); got != c.want || !c.then(c.s) {
			t.Errorf("%s: runs %q, want %q: %+v", name, got, c.want, c.s)
		}
	}
	s := active()
	if s.spare() != slotB {
		t.Error("the next program would go over the one that runs")
	}
	for n := range triesMax {
		s.stage(slotB, slot{Version: "v3", SHA256: "bb"})
		s.fail("it died", now.Add(time.Duration(n)*tryAgainAfter))
	}
	if why := s.refuses("bb", now.Add(1000*time.Hour)); !strings.Contains(why, "three times") {
		t.Errorf("tried for ever: %q", why)
	}
	if s.refuses("cc", now) != "" || s.Active != slotA {
		t.Errorf("%+v", s)
	}
	want := []failure{{SHA256: "bb", Version: "v3", Reason: "it died", At: now.Add(2 * tryAgainAfter), Tries: 3}}
	if d := cmp.Diff(want, s.Failed); d != "" {
		t.Error(d)
	}
}

// A program that a dying disk changed is not started; the one before is.
func TestARottenSlot(t *testing.T) {
	dir := fetched(t)
	s := known(t, dir)
	s.confirm()
	if err := in(dir).save(s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in(dir).program(slotA), []byte("program twO"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	starts(t, dir, "v1", "")
	if s := known(t, dir); s.Active != "" || len(s.Failed) != 1 || !strings.Contains(s.Failed[0].Reason, "digest") {
		t.Errorf("%+v", s)
	}
}

// A stop while a program is on trial is no verdict on it.
func TestAStopIsNoVerdict(t *testing.T) {
	dir := fetched(t)
	t.Setenv(slotVar, slotA)
	sick := updater(t, dir, "v2", http.NotFoundHandler())
	sick.o.Healthy = func() bool { return false }
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := sick.prove(ctx); err != nil {
		t.Errorf("%v", err)
	}
	if s := known(t, dir); s.Trial != slotA || len(s.Failed) != 0 {
		t.Errorf("%+v", s)
	}
}

// Whatever is wrong with the folder of updates, the agent goes on: it says so, and no more.
func TestABrokenStateEndsNobody(t *testing.T) {
	dir := t.TempDir()
	if err := in(dir).write("state.json", []byte("{")); err != nil {
		t.Fatal(err)
	}
	u := updater(t, dir, "v1", publish(t, "v2", 1, []byte("program two")))
	u.Want("v2")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	for end := time.Now().Add(20 * time.Second); u.Status().State != StateFailed && time.Now().Before(end); {
		select {
		case err := <-done:
			t.Fatalf("updates ended the agent: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	if s := u.Status(); s.State != StateFailed || !strings.Contains(s.Reason, "delete") {
		t.Errorf("%+v", s)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if u, err := New(Options{DataDir: t.TempDir()}); err != nil || u.Status().State != StateOff {
		t.Errorf("without keys: %v", err)
	}
	for want, o := range map[string]Options{
		"update.url":  {Keys: keys, URL: "ftp://x"},
		"update.keys": {Keys: release.Keys{Threshold: 2}, URL: "https://x"},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	dir := t.TempDir()
	if err := in(dir).write("state.json", []byte("{")); err != nil {
		t.Fatal(err)
	}
	if Boot(t.Context(), dir, "v1", keys, clock, zerolog.Nop()) {
		t.Error("handed over on a state that cannot be read")
	}
	if _, err := in(dir).load(keys); err == nil || !strings.Contains(err.Error(), "delete") {
		t.Errorf("%v", err)
	}
}
