package linktest

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent"
	"tillwire/aggregator"
	"tillwire/protocol"
	"tillwire/protocol/release"
)

// A rollout reaches a whole agent through its desired state: it fetches the program,
// stages it, and asks for a new start.
func TestARolloutReachesAnAgent(t *testing.T) {
	dir := t.TempDir()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	cfg := aggregator.Defaults()
	cfg.DataDir, cfg.Dev, cfg.HTTP.Listen, cfg.MQTT.Listen = t.TempDir(), true, "127.0.0.1:0", "127.0.0.1:0"
	cfg.Releases.Keys = []string{release.PublicName(key)}
	publishTo(t, cfg, key, filepath.Join(dir, "program"))
	a, err := aggregator.New(cfg, aggregator.Deps{Log: zerolog.Nop(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer running(t, a.Run)()
	<-a.Ready()
	p := &pair{t: t, base: "http://" + a.HTTPAddr()}

	c := agent.Defaults()
	c.Store, c.DataDir, c.HTTP.Listen, c.Link.Broker, c.Journal.BallastMiB = "S1", dir, "127.0.0.1:0", "mqtt://"+a.MQTTAddr(), 0
	c.Update.URL, c.Update.Keys = p.base, cfg.Releases.Keys
	shop, err := agent.New(c, agent.Deps{Log: zerolog.Nop(), Version: "1.0", Timing: quick})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	go func() { ended <- shop.Run(ctx) }()
	<-shop.Ready()
	var known protocol.AgentStatus
	for known.AgentVersion != "1.0" { // a heartbeat told
		p.call(http.MethodGet, p.base+"/v1/stores/S1/agents/server", "", &known)
		time.Sleep(20 * time.Millisecond)
	}
	var got protocol.Releases
	if code := p.call(http.MethodPut, p.base+"/v1/releases/rollout", `{"version":"2.0","percent":100}`, &got); code != http.StatusOK || got.Released.Version != "2.0" {
		t.Fatal(code, got)
	}
	if err := <-ended; !errors.Is(err, agent.ErrRestart) {
		t.Fatalf("the agent ended with %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "update", "state.json"))
	if err != nil || !strings.Contains(string(b), `"trial": "a"`) {
		t.Errorf("%s %v", b, err)
	}
	if program, err := os.ReadFile(filepath.Join(dir, "update", "a", release.Product)); err != nil || string(program) != "the program" {
		t.Errorf("%q %v", program, err)
	}
}

func publishTo(t *testing.T, cfg aggregator.Config, key ed25519.PrivateKey, program string) {
	t.Helper()
	if err := os.WriteFile(program, []byte("the program"), 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := aggregator.DescribeProgram(program, runtime.GOOS, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	e, err := release.SealManifest(&release.Manifest{
		V: 1, Product: release.Product, Version: "2.0", Sequence: 1, IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour), Artifacts: []release.Artifact{x},
	})
	if err != nil {
		t.Fatal(err)
	}
	e.SignManifest(key)
	offer, err := json.Marshal(release.Offer{Release: *e})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := aggregator.PublishRelease(cfg, offer, []string{program}); err != nil {
		t.Fatal(err)
	}
}
