package rival

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func ctxOf(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func orSkip(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, ErrAbsent) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestFindNamesThePackage(t *testing.T) {
	_, err := find("no-such-program-anywhere", "its-package")
	if !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "install its-package") {
		t.Errorf("got %v", err)
	}
}

// What pgbench says it did is in the table afterwards, and durable by default.
func TestPostgresReserves(t *testing.T) {
	p, err := StartPostgres(ctxOf(t), t.TempDir(), 100)
	orSkip(t, err)
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	f, err := p.Reserve(ctxOf(t), 4, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if f.PerS <= 0 || f.Done < 4 || f.P50 <= 0 || f.P99 < f.P50 {
		t.Errorf("figures %+v", f)
	}
	for setting, want := range map[string]string{"synchronous_commit": "on", "fsync": "on", "full_page_writes": "on"} {
		if got, err := p.ask(ctxOf(t), "show "+setting); err != nil || got != want {
			t.Errorf("%s is %q, %v", setting, got, err)
		}
	}
}

func TestRedisHoldsWhatItWasGiven(t *testing.T) {
	s, err := StartRedis(ctxOf(t), t.TempDir(), []string{"a", "b"}, [][]byte{[]byte("one"), []byte("two")})
	orSkip(t, err)
	c, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n")); err != nil {
		t.Fatal(err)
	}
	want := "*2\r\n$3\r\none\r\n$3\r\ntwo\r\n"
	got := make([]byte, len(want))
	if _, err := c.Read(got); err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	_ = c.Close()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", s.Addr); err == nil {
		t.Error("it still answers")
	}
}

func TestServerThatEndsSaysWhy(t *testing.T) {
	dir := t.TempDir()
	s, err := StartMosquitto(ctxOf(t), dir)
	orSkip(t, err)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mosquitto.conf"), []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := start(ctxOf(t), cmdLike(ctxOf(t), s.cmd), s.Addr); err == nil || !strings.Contains(err.Error(), "it ended") {
		t.Errorf("got %v", err)
	}
}

func cmdLike(ctx context.Context, c *exec.Cmd) *exec.Cmd {
	return exec.CommandContext(ctx, c.Path, c.Args[1:]...)
}
