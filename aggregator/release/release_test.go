package release

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/protocol/release"
)

var (
	now    = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	signer = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	keys   = release.Keys{Version: 1, Threshold: 1, Public: []string{release.PublicName(signer)}}
)

// made is an offer of one program, and the program's file.
func made(t *testing.T, version string, sequence uint64) (offer []byte, program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("program "+version), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := Describe(program, "linux", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	e, err := release.SealManifest(&release.Manifest{
		V: 1, Product: release.Product, Version: version, Sequence: sequence, IssuedAt: now, ExpiresAt: now.Add(time.Hour), Artifacts: []release.Artifact{a},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.SignManifest(signer)
	b, err := json.Marshal(release.Offer{Release: *e})
	if err != nil {
		t.Fatal(err)
	}
	return b, program
}

func TestPublish(t *testing.T) {
	f := Folder(t.TempDir())
	if _, err := f.Offer(); !errors.Is(err, ErrNone) {
		t.Fatal(err)
	}
	one, p1 := made(t, "v1", 1)
	two, p2 := made(t, "v2", 2)
	if _, err := f.Publish(two, keys, []string{p1}, now); err == nil || !strings.Contains(err.Error(), "no file was given") {
		t.Fatalf("published without its program: %v", err)
	}
	if m, err := f.Publish(two, keys, []string{p1, p2}, now); err != nil || m.Version != "v2" {
		t.Fatal(m, err)
	}
	if _, err := f.Publish(one, keys, []string{p1}, now); err == nil || !strings.Contains(err.Error(), "older one") {
		t.Errorf("an older release was published: %v", err)
	}
	other := ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), 1))
	if _, err := f.Publish(two, release.Keys{Version: 1, Threshold: 1, Public: []string{release.PublicName(other)}}, nil, now); err == nil {
		t.Error("published under keys that did not sign it")
	}
	three, p3 := made(t, "v3", 3)
	if _, err := f.Publish(three, keys, []string{p3}, now); err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(string(f)); len(files) != 2 {
		t.Errorf("earlier programs are kept: %v", files)
	}
	r := rollouts(t, f, nil)
	w := httptest.NewRecorder()
	if err := r.ServeOffer(w, nil); err != nil || w.Body.String() != string(three) {
		t.Errorf("%s %v", w.Body, err)
	}
	m, _ := f.Current()
	for sha, want := range map[string]string{m.Artifacts[0].SHA256: "program v3", strings.Repeat("0", 64): "", "../offer.json": ""} {
		req, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
		req.SetPathValue("sha256", sha)
		if err := r.ServeProgram(w, req); (err == nil) != (want != "") || want != "" && w.Body.String() != want {
			t.Errorf("%s: %q %v", sha, w.Body, err)
		}
	}
}

// chain is what a rollout sees of agents.
type chain struct {
	agents []Agent
	raised []string
	kept   []byte
}

func rollouts(t *testing.T, f Folder, c *chain) *Rollouts {
	t.Helper()
	if c == nil {
		c = &chain{}
	}
	r, err := New(Options{
		Folder: f, Log: zerolog.Nop(), Now: func() time.Time { return now }, Kept: c.kept,
		Keep:   func(_ context.Context, b []byte) error { c.kept = b; return nil },
		Agents: func(context.Context) ([]Agent, error) { return c.agents, nil },
		Ask: func(_ context.Context, o protocol.Origin, version, _ string) error {
			for i := range c.agents {
				if c.agents[i].Origin == o {
					c.agents[i].Asked = version
				}
			}
			return nil
		},
		Raise: func(s string) { c.raised = append(c.raised, s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func shops(n int) []Agent {
	all := make([]Agent, n)
	for k := range all {
		all[k] = Agent{Origin: protocol.Origin{Store: protocol.StoreID(fmt.Sprintf("S%04d", k)), Agent: "server"}, Version: "v1", Region: []string{"North", "South"}[k%2]}
	}
	return all
}

func TestARolloutGoesInSteps(t *testing.T) {
	f := Folder(t.TempDir())
	offer, program := made(t, "v2", 1)
	c := &chain{agents: shops(400)}
	r := rollouts(t, f, c)
	if _, err := r.Set(t.Context(), protocol.Rollout{Version: "v2", Percent: 10}, "ann"); err == nil || !strings.Contains(err.Error(), "Nothing is released") {
		t.Fatalf("%v", err)
	}
	if _, err := f.Publish(offer, keys, []string{program}, now); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []protocol.Rollout{{Percent: 1}, {Version: "v3", Percent: 1}, {Version: "v2", Percent: 101}} {
		if _, err := r.Set(t.Context(), bad, "ann"); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if _, err := r.Set(t.Context(), protocol.Rollout{Version: "v2", Percent: 10}, "ann"); err != nil {
		t.Fatal(err)
	}
	first := map[protocol.Origin]bool{}
	for range 20 { // nobody runs it yet: at most underWayMax are asked
		if err := r.tick(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range c.agents {
		if a := &c.agents[i]; a.Asked == "v2" {
			first[a.Origin], a.Version = true, "v2"
		}
	}
	if n := len(first); n < 20 || n > underWayMax {
		t.Errorf("%d of 400 were asked at 10 percent", n)
	}
	if _, err := r.Set(t.Context(), protocol.Rollout{Version: "v2", Percent: 50, Regions: []string{"North"}}, "ann"); err != nil {
		t.Fatal(err)
	}
	r = rollouts(t, f, c) // a restart goes on where it was
	for range 20 {
		if err := r.tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range c.agents {
			if a := &c.agents[i]; a.Asked == "v2" {
				a.Version = "v2"
				if !first[a.Origin] && a.Region != "North" {
					t.Fatalf("%s is not in scope", a.Origin)
				}
			}
		}
	}
	v, err := r.View()
	if err != nil || v.Progress.InScope != 200 || v.Progress.Running < 70 || v.Progress.Running > 130 || v.Progress.Waiting != 0 || v.Released.Version != "v2" {
		t.Errorf("%+v %v", v, err)
	}
}

func TestARolloutThatGoesWrongStops(t *testing.T) {
	f := Folder(t.TempDir())
	offer, program := made(t, "v2", 1)
	if _, err := f.Publish(offer, keys, []string{program}, now); err != nil {
		t.Fatal(err)
	}
	c := &chain{agents: shops(400)}
	r := rollouts(t, f, c)
	if _, err := r.Set(t.Context(), protocol.Rollout{Version: "v2", Percent: 100}, "ann"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := r.tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range c.agents {
			if a := &c.agents[i]; a.Asked == "v2" {
				a.Failed = "it died"
			}
		}
	}
	v, _ := r.View()
	if v.Rollout.Paused == "" || v.Progress.Failed > stepMax {
		t.Errorf("%d shops were broken before it stopped: %+v", v.Progress.Failed, v.Rollout)
	}
	if d := cmp.Diff([]string{"", fmt.Sprintf("The rollout of version v2 stopped: %d of the %d agents that tried version v2 failed.", stepMax, stepMax)}, c.raised); d != "" {
		t.Error(d)
	}
	if _, err := r.Set(t.Context(), protocol.Rollout{Version: "v2", Percent: 0}, "ann"); err != nil || c.raised[len(c.raised)-1] != "" {
		t.Errorf("a new decision does not close the incident: %v %q", err, c.raised)
	}
}
