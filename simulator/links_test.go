package simulator

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// echoNet answers every byte; each dial is a pipe to one echo.
func echoNet(t *testing.T) dialFunc {
	return func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(there, there)
			_ = there.Close()
		}()
		t.Cleanup(func() { _ = here.Close(); <-done })
		return here, nil
	}
}

func echoes(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

func TestLineCutsResetsAndComesBack(t *testing.T) {
	l := newLine(echoNet(t))
	c, err := l.Dial(t.Context(), "tcp", "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := echoes(c); err != nil {
		t.Fatalf("line is up: %v", err)
	}
	l.cut(false)
	if err := echoes(c); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after a cut: %v", err)
	}
	if _, err := l.Dial(t.Context(), "tcp", "x"); !errors.Is(err, errLinkDown) {
		t.Errorf("dial over a cut line: %v", err)
	}
	l.restore()
	if c, err = l.Dial(t.Context(), "tcp", "x"); err != nil || echoes(c) != nil {
		t.Errorf("line does not come back: %v", err)
	}
	if l.cutCount() != 1 {
		t.Errorf("%d cuts", l.cutCount())
	}
}

func TestSilentLineHangsUntilRestored(t *testing.T) {
	l := newLine(echoNet(t))
	c, err := l.Dial(t.Context(), "tcp", "x")
	if err != nil {
		t.Fatal(err)
	}
	l.cut(true)
	var timeout net.Error
	if err := echoes(c); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a silent line must neither answer nor fail: %v", err)
	}
	l.restore()
	if err := echoes(c); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a connection that lost bytes lives on: %v", err)
	}
}

func TestWeatherBreaksAndHeals(t *testing.T) {
	ps := places(40)
	var lines []*line
	var breakables []breakable
	var names []string
	for _, p := range ps {
		lines = append(lines, newLine(echoNet(t)))
		breakables = append(breakables, lines[len(lines)-1])
		names = append(names, p.Region)
	}
	var said []string
	w := newWeather(breakables, names, rand.New(rand.NewPCG(1, 2)), func(s string) { said = append(said, s) })
	w.perHour, w.every, w.silent = 0.6, 20*time.Minute, 0.25
	now := time.Unix(1_000_000, 0)
	most, cuts := 0, 0
	for range 1800 {
		now = now.Add(10 * time.Second)
		w.step(now)
		down := 0
		for _, l := range lines {
			if l.isDown() {
				down++
			}
		}
		most = max(most, down)
	}
	for _, l := range lines {
		cuts += l.cutCount()
	}
	if cuts < 100 || cuts > 400 || most < 5 || most == len(lines) {
		t.Errorf("in five hours %d cuts, at most %d of 40 at once", cuts, most)
	}
	if len(said) < 5 || !strings.Contains(said[0], "5 stores") {
		t.Errorf("regions' outages: %q", said)
	}
	w.end()
	for i, l := range lines {
		if l.isDown() {
			t.Errorf("line %d is still down after the end", i)
		}
	}
}

func TestLoadAsksAndMeasures(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("a", 300))
	}))
	defer srv.Close()
	j := loadJob{URL: srv.URL, Paths: []string{"/a", "/b"}, Connections: 4, For: 100 * time.Millisecond, Warm: 10 * time.Millisecond}
	r, err := j.run(t.Context())
	if err != nil || r.Requests == 0 || r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 {
		t.Errorf("%+v, %v", r, err)
	}
	j.Paths = []string{"/missing"}
	if _, err := j.run(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a failing answer counts as a read: %v", err)
	}
	for _, bad := range []loadJob{{URL: "nowhere", Paths: []string{"/"}, Connections: 1, For: 1}, {URL: srv.URL}, {URL: "ftp://x", Paths: []string{"/"}, Connections: 1, For: 1}} {
		if _, err := bad.run(t.Context()); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestReadRESP(t *testing.T) {
	for _, c := range []struct {
		in string
		ok bool
	}{{"$3\r\nabc\r\n", true}, {"$-1\r\n", false}, {"-ERR no\r\n", false}, {"$3\r\nab", false}} {
		if err := readRESP(bufio.NewReader(strings.NewReader(c.in))); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.in, err)
		}
	}
}
