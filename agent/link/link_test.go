package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// still is a journal that nobody writes to; a link that never connects asks for
// no more.
type still struct{ Journal }

func (still) State() journal.State { return journal.State{Lease: 7} }

func stillOptions(t *testing.T) Options {
	t.Helper()
	codec, err := protocol.NewFrameCodec()
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Origin: protocol.Origin{Store: "S1", Agent: "server"}, Broker: "mqtt://aggregator.example:1883", Token: "secret-token",
		Journal: still{}, Codec: codec, Log: zerolog.Nop(),
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string // in the error; empty: accepted
	}{
		{"as they should be", func(*Options) {}, ""},
		{"TLS", func(o *Options) { o.Broker = "mqtts://a:8883" }, ""},
		{"no scheme", func(o *Options) { o.Broker = "127.0.0.1:1883" }, "mqtt://host:port"},
		{"web address", func(o *Options) { o.Broker = "https://a:1" }, "mqtt://host:port"},
		{"no port", func(o *Options) { o.Broker = "mqtt://a" }, "mqtt://host:port"},
		{"no host", func(o *Options) { o.Broker = "mqtt://:1883" }, "mqtt://host:port"},
		{"store with a slash", func(o *Options) { o.Origin.Store = "S/1" }, "store and agent"},
		{"agent that is a feed", func(o *Options) { o.Origin.Agent = "feed:wms" }, "store and agent"},
		{"no journal", func(o *Options) { o.Journal = nil }, "Journal"},
		{"no codec", func(o *Options) { o.Codec = nil }, "Codec"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := stillOptions(t)
			c.change(&o)
			_, err := New(o)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestLogOfAnOutage: a day without a line is told once, another reason once
// more, and the token never.
func TestLogOfAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		o := stillOptions(t)
		o.Log = zerolog.New(&out).Level(zerolog.WarnLevel)
		dials := 0
		o.Dial = func(context.Context, string, string) (net.Conn, error) {
			if dials++; dials > 100 {
				return nil, errors.New("no such host")
			}
			return nil, errors.New("network is unreachable")
		}
		l, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		if err := l.Run(ctx); err != nil {
			t.Fatal(err)
		}
		var told []string
		for line := range strings.Lines(out.String()) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			told = append(told, fmt.Sprint(m["level"], " ", m["message"]))
			if strings.Contains(line, o.Token) {
				t.Error("the token is logged")
			}
		}
		const down = "warn link is down; journaling goes on"
		if d := cmp.Diff(told, []string{down, down}); d != "" {
			t.Errorf("told (-), want (+):\n%s", d)
		}
		s := l.Status()
		if s.Connected || !strings.Contains(s.LastError, "no such host") || s.DialErrors != uint64(dials) {
			t.Errorf("%+v after %d dials", s, dials)
		}
		// Full jitter below 120 s: some 1,400 dials a day, neither a storm nor silence.
		if dials < 1000 || dials > 2500 {
			t.Errorf("%d dials in a day", dials)
		}
	})
}

// TestRunEndsInTheMiddleOfADial: what hangs in the network does not keep the
// agent from ending.
func TestRunEndsInTheMiddleOfADial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := stillOptions(t)
		var dialing atomic.Bool
		o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			dialing.Store(true)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		l, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		synctest.Wait()
		if !dialing.Load() {
			t.Fatal("no dial")
		}
		began := time.Now()
		cancel()
		if err := <-ended; err != nil || time.Since(began) > time.Second {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
	})
}

// TestBrokerThatSaysNothing: a listener that accepts and never answers costs
// ConnectTimeout, not for ever.
func TestBrokerThatSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := stillOptions(t)
		var ends []net.Conn
		o.Dial = func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			ends = append(ends, there)
			go func() { _, _ = there.Read(make([]byte, 4096)) }() // takes the CONNECT
			return here, nil
		}
		l, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := l.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(ends) < 20 || l.Status().Connected {
			t.Fatalf("%d connections in an hour, %+v", len(ends), l.Status())
		}
		for _, c := range ends {
			_ = c.Close()
		}
	})
}
