package simulator

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"tillwire/aggregator"
)

// headProcess is the real program as a process of its own: its memory is its own,
// and can be told from that of the fleet which it serves.
type headProcess struct {
	program, conf string
	ready         chan struct{}
	http, mqtt    string // valid once ready
	pid           atomic.Int64
}

// aggregatorBeside is the aggregator's program beside this one.
func aggregatorBeside() (string, error) { return programBeside("tillwire-aggregator") }

func newHeadProcess(program, dir string, stores []aggregator.StoreConfig) (*headProcess, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "data_dir = %q\ndev = true\n[http]\nlisten = \"127.0.0.1:0\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"info\"\n", filepath.Join(dir, "aggregator"))
	for _, s := range stores {
		fmt.Fprintf(&b, "[[stores]]\nstore = %q\nname = %q\nregion = %q\ntype = %q\n", s.Store, s.Name, s.Region, s.Type)
	}
	p := &headProcess{program: program, conf: filepath.Join(dir, "aggregator.toml"), ready: make(chan struct{})}
	return p, os.WriteFile(p.conf, []byte(b.String()), 0o600)
}

func (p *headProcess) Ready() <-chan struct{} { return p.ready }
func (p *headProcess) HTTPAddr() string       { return p.http }
func (p *headProcess) MQTTAddr() string       { return p.mqtt }

// Run starts the process, and stops it when ctx ends.
func (p *headProcess) Run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, p.program, "run", "--config", p.conf) //nolint:gosec // our own program
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopMax
	words, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start aggregator: %w", err)
	}
	p.pid.Store(int64(cmd.Process.Pid))
	last := p.listen(words)
	if err := cmd.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %s", err, last)
	}
	return ctx.Err()
}

// listen reads the log until its end: it tells the addresses, and the last words.
func (p *headProcess) listen(r io.Reader) (last string) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		last = lines.Text()
		var said struct{ Message, HTTP, MQTT string }
		if p.http == "" && json.Unmarshal(lines.Bytes(), &said) == nil && said.Message == "aggregator ready" {
			p.http, p.mqtt = said.HTTP, said.MQTT
			close(p.ready)
		}
	}
	return last
}

// resident is the process's memory at its peak.
func (p *headProcess) resident() int64 {
	_, peak, _ := residentOf(strconv.FormatInt(p.pid.Load(), 10))
	return peak
}

// metric reads one value of the aggregator's /metrics.
func (c *chain) metric(ctx context.Context, name string) (float64, error) {
	text, err := c.text(ctx, "GET", "/metrics", nil)
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut("\n"+string(text), "\n"+name+" ")
	if !ok {
		return 0, errors.New("the aggregator tells no " + name)
	}
	v, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseFloat(v, 64)
}
