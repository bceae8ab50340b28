package simulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent"
	"tillwire/agent/link"
	"tillwire/aggregator"
	"tillwire/protocol"
)

// A shop with an agent per till, whose clocks are 40 minutes apart and whose
// second till has no line while the first counts. Sales of the second till just
// before and just after the count fall on their sides of it all the same, since
// the counting agent asked it over the shop's LAN.
func TestCountCutsTheOtherTillOverTheLAN(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 3)
	programs := 0
	run := func(p program) {
		t.Helper()
		programs++
		go func() { ended <- p.Run(ctx) }()
		select {
		case <-p.Ready():
		case err := <-ended:
			t.Fatalf("ended before it was ready: %v", err)
		}
	}
	defer func() {
		cancel()
		for range programs {
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	}()
	c := aggregator.Defaults()
	c.DataDir, c.Dev, c.MQTT.Listen, c.HTTP.Listen = t.TempDir(), true, "127.0.0.1:0", "127.0.0.1:0"
	head, err := aggregator.New(c, aggregator.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	run(head)
	tillAt := func(name string, skew time.Duration, lan agent.LANConfig, l *line) (*agent.Agent, *chain) {
		c := agent.Defaults()
		c.Store, c.Agent, c.DataDir, c.Dev, c.Journal.BallastMiB = "S1", name, filepath.Join(t.TempDir(), name), true, 0
		c.HTTP.Listen, c.Link.Broker, c.Link.Token = "127.0.0.1:0", "mqtt://"+head.MQTTAddr(), "any"
		lan.Secret = "known to both tills"
		c.LAN = lan
		a, err := agent.New(c, agent.Deps{
			Log: zerolog.Nop(), Dial: l.Dial, Timing: link.Timing{ReconnectMin: 5 * time.Millisecond, ReconnectCap: 50 * time.Millisecond, AckTimeout: time.Second, LongOutageSpread: 50 * time.Millisecond}, Now: func() time.Time { return time.Now().Add(skew) },
		})
		if err != nil {
			t.Fatal(err)
		}
		run(a)
		return a, newChain(a.HTTPAddr())
	}
	second := newLine(nil)
	b, tillB := tillAt("till-02", 40*time.Minute, agent.LANConfig{Listen: "127.0.0.1:0"}, second)
	host, port, _ := net.SplitHostPort(b.LANAddr())
	_, tillA := tillAt("till-01", 0, agent.LANConfig{Siblings: []string{"till-02=" + net.JoinHostPort(host, port)}}, newLine(nil))
	second.cut(false)

	post := func(at *chain, path, id string, skew time.Duration, q int) {
		t.Helper()
		body := fmt.Sprintf(`{"document_id":%q,"register":"R","occurred_at":%q,"lines":[{"sku":"A","quantity":%d}]}`, id, time.Now().Add(skew).Format(time.RFC3339Nano), q)
		if err := at.do(ctx, http.MethodPost, path, []byte(body), &protocol.WriteResult{}); err != nil {
			t.Fatal(err)
		}
	}
	post(tillB, "/v1/sales", "before", 40*time.Minute, 3)
	post(tillA, "/v1/counts", "count", 0, 10)
	post(tillB, "/v1/sales", "after", 40*time.Minute, 1)
	second.restore()

	ch := newChain(head.HTTPAddr())
	var x *protocol.Explanation
	for deadline := time.Now().Add(30 * time.Second); ; {
		if x, err = ch.explain(ctx, "A", "S1"); err == nil && len(x.Lines) == 2 {
			break
		}
		if time.Now().After(deadline) || !pause(ctx, 50*time.Millisecond) {
			t.Fatalf("both sales are not merged: %+v, %v", x, err)
		}
	}
	if x.OnHand != protocol.Units(9) {
		t.Errorf("on hand is %s, want 10 counted less 1 sold since", x.OnHand)
	}
	for _, l := range x.Lines {
		if inside := l.DocumentID == "before"; l.InsideCut != inside || len(l.Flags) > 0 {
			t.Errorf("sale %q: inside the cut %t, want %t; flags %v, want none", l.DocumentID, l.InsideCut, inside, l.Flags)
		}
	}
	if x.Variance == nil || x.Variance.LateSales != 1 {
		t.Errorf("variance %+v, want one late movement", x.Variance)
	}
	var st struct {
		Siblings []struct {
			Agent     string
			LastError string `json:"last_error"`
		}
	}
	if err := tillA.do(ctx, http.MethodGet, "/v1/status", nil, &st); err != nil || len(st.Siblings) != 1 || st.Siblings[0].LastError != "" {
		t.Errorf("status of till-01: %+v, %v", st, err)
	}
}
