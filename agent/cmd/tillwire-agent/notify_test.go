package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent"
)

// A real agent tells a real socket that it is ready, lives, and stops.
func TestNotifierTellsTheManager(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Skipf("skipped: no datagram sockets in the file system here: %v", err)
	}
	defer manager.Close()
	env := map[string]string{"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": "60000", "WATCHDOG_PID": fmt.Sprint(os.Getpid())}
	n := newNotifier(func(k string) (string, bool) { v, ok := env[k]; return v, ok }, zerolog.Nop())
	if n.every != 20*time.Millisecond {
		t.Fatalf("signs of life every %v for a watchdog of 60 ms", n.every)
	}
	c := agent.Defaults()
	c.Store, c.DataDir, c.HTTP.Listen, c.Link.Broker, c.Journal.BallastMiB = "S1", dir, "127.0.0.1:0", "", 0
	a, err := agent.New(c, agent.Deps{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runNotified(ctx, a, n) }()
	read := func() string {
		b := make([]byte, 4096)
		_ = manager.SetReadDeadline(time.Now().Add(10 * time.Second))
		k, err := manager.Read(b)
		if err != nil {
			t.Fatalf("nothing told: %v", err)
		}
		return string(b[:k])
	}
	if first := read(); !strings.HasPrefix(first, "READY=1\nWATCHDOG=1\nSTATUS=journal running; 0 events") {
		t.Errorf("first word %q", first)
	}
	for range 3 {
		if sign := read(); !strings.HasPrefix(sign, "WATCHDOG=1\n") {
			t.Errorf("sign of life %q", sign)
		}
	}
	cancel()
	for {
		if word := read(); word == "STOPPING=1" {
			break
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestNotifierOutsideAManager(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want time.Duration // 0: none
	}{
		"terminal":          {nil, 0},
		"no watchdog":       {map[string]string{"NOTIFY_SOCKET": "/n"}, notifyEvery},
		"another's":         {map[string]string{"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, notifyEvery},
		"watchdog":          {map[string]string{"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "30000000"}, 10 * time.Second},
		"watchdog unlikely": {map[string]string{"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "x"}, notifyEvery},
	} {
		n := newNotifier(func(k string) (string, bool) { v, ok := c.env[k]; return v, ok }, zerolog.Nop())
		if (n == nil) != (c.want == 0) || n != nil && n.every != c.want {
			t.Errorf("%s: %+v, want every %v", name, n, c.want)
		}
	}
}

// An agent whose port hangs gives no sign of life.
func TestNoSignOfLifeWhenThePortHangs(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := probe(t.Context(), addr); err == nil {
		t.Error("a port where nobody listens counts as alive")
	}
}
