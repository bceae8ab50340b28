package simulator

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"tillwire/simulator/scenario"
)

// The real programs live through an outage and an upgrade beside agents of this
// process: same verdict.
func TestFleetOfRealPrograms(t *testing.T) {
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "tillwire/agent/cmd/tillwire-agent", "tillwire/aggregator/cmd/tillwire-aggregator").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := brief(t, "saturday")
	at := func(share float64) scenario.Duration { return scenario.Duration(share * float64(s.Lasts)) }
	s.Faults = []scenario.Fault{
		{Kind: "outage", Name: "no line", At: at(0.1), Lasts: at(0.3), Stores: "all"},
		{Kind: "upgrade", Name: "new agents", At: at(0.5), Lasts: at(0.2), Stores: "all", Version: "2"},
	}
	r, text := rehearse(t, RehearsalOptions{Story: s, Stores: 3, Process: 2, Alone: true, Programs: bin})
	if !r.OK() || r.Cuts != 3 || len(r.Happened) != 2 || r.Happened[0].Backlog == 0 {
		t.Errorf("verdict:\n%s", text)
	}
}

func TestLinesHaveAShape(t *testing.T) {
	for _, c := range []struct {
		s    shape
		n    int
		want time.Duration
	}{{shape{}, 1000, 0}, {shape{Delay: time.Second}, 1000, time.Second}, {shape{KBits: 64}, 8000, time.Second}, {shape{Delay: time.Second, KBits: 8}, 1000, 2 * time.Second}} {
		if got := c.s.cost(c.n); got != c.want {
			t.Errorf("%+v: %d bytes take %s, want %s", c.s, c.n, got, c.want)
		}
	}
	l := newLine(echoNet(t))
	p, err := newLineProxy(l, "ignored:1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	c, err := net.Dial("tcp", p.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	echo := func() (time.Duration, error) {
		began := time.Now()
		if _, err := c.Write([]byte("x")); err != nil {
			return 0, err
		}
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err := c.Read(make([]byte, 1))
		return time.Since(began), err
	}
	if _, err := echo(); err != nil {
		t.Fatal(err)
	}
	l.reshape(shape{Delay: 150 * time.Millisecond})
	if took, err := echo(); err != nil || took < 150*time.Millisecond {
		t.Errorf("over a slow line an echo took %s, %v", took, err)
	}
	l.cut(false)
	if _, err := echo(); err == nil {
		t.Error("a connection outlives its line")
	}
}
