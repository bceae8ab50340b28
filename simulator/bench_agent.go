package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent"
	"tillwire/protocol"
	"tillwire/store/journal"
)

// startEvents lie in the journal of an agent that is started; a supermarket
// writes them in a year and a half.
const (
	startEvents      = 1_000_000
	startEventsQuick = 100_000
)

// agent: memory of the idle agent process, and the size of the programs.
func (b *bench) agent(ctx context.Context) error {
	for _, p := range []struct {
		name string
		aim  float64
	}{{"tillwire-agent", 12}, {"tillwire-aggregator", 0}, {"tillwire-simulator", 0}} {
		row := BenchRow{Name: "size of " + p.name, Unit: "MB", Of: "–", Aim: "–", Less: true}
		path, err := findProgram(p.name)
		if err != nil {
			row.Notes = []string{"not measured: " + err.Error()}
		} else if st, err := os.Stat(path); err == nil {
			row.Ours = spread([]float64{float64(st.Size()) / (1 << 20)})
			if p.aim > 0 {
				row.aimMost(p.aim)
			}
		}
		b.row(row)
	}
	var rss, ready []float64
	row := BenchRow{Name: "memory of an idle agent", Unit: "MB", Of: "–", Less: true}
	for range b.reps {
		mb, ms, err := b.idleAgent(ctx)
		if err != nil {
			row.Notes = []string{"not measured: " + err.Error()}
			break
		}
		rss, ready = append(rss, mb), append(ready, ms)
	}
	row.Ours = spread(rss)
	if len(rss) > 0 {
		row.aimMost(20)
		row.Notes = []string{fmt.Sprintf("resident memory of `tillwire-agent run --dev` after %s, its link trying in vain; it answered %s ms after its start",
			b.idleFor(), figure(spread(ready).Median))}
	}
	b.row(row)
	return b.started(ctx)
}

func (b *bench) idleFor() time.Duration {
	if b.quick {
		return time.Second
	}
	return 3 * time.Second
}

// idleAgent starts the real program in a fresh folder and looks at it.
func (b *bench) idleAgent(ctx context.Context) (mb, readyMS float64, err error) {
	dir, err := b.fresh("idle")
	if err != nil {
		return 0, 0, err
	}
	p, err := startAgent(ctx, dir)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if !pause(ctx, b.idleFor()) {
		return 0, 0, ctx.Err()
	}
	now, _, ok := residentOf(strconv.Itoa(p.cmd.Process.Pid))
	if !ok {
		return 0, 0, errors.New("this system does not tell a process's resident memory in /proc")
	}
	return float64(now) / (1 << 20), p.readyMS, nil
}

// started is how soon an agent with a long journal takes sales.
func (b *bench) started(ctx context.Context) error {
	events := startEvents
	if b.quick {
		events = startEventsQuick
	}
	row := BenchRow{Name: fmt.Sprintf("agent ready with %s in its journal", plural(events, "event")), Unit: "ms", Of: "–", Less: true}
	if _, err := findProgram("tillwire-agent"); err != nil {
		row.note("not measured: %v", err)
		b.row(row)
		return nil
	}
	dir, err := b.fresh("started")
	if err != nil {
		return err
	}
	if err := fillJournal(ctx, filepath.Join(dir, agent.JournalFile), events); err != nil {
		return err
	}
	var ready, rss []float64
	for range b.reps {
		p, err := startAgent(ctx, dir)
		if err != nil {
			return err
		}
		ready = append(ready, p.readyMS)
		if now, _, ok := residentOf(strconv.Itoa(p.cmd.Process.Pid)); ok {
			rss = append(rss, float64(now)/(1<<20))
		}
		if err := p.stop(); err != nil {
			return err
		}
	}
	row.Ours = spread(ready)
	row.aimMost(500)
	row.note("from the start of `tillwire-agent run` to 200 of /readyz; nothing of it was merged; resident then %s MB, mapped pages included", figure(spread(rss).Median))
	b.row(row)
	return nil
}

// fillJournal writes a journal as the agent finds it after a crash of the power:
// what was acknowledged is there, and no more.
func fillJournal(ctx context.Context, path string, events int) (err error) {
	j, err := journal.Open(journal.Options{Path: path, Log: zerolog.Nop(), BallastBytes: -1, Retention: -1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	batch := make([]*protocol.Event, 0, 1000)
	for n := 0; n < events; {
		batch = batch[:0]
		for len(batch) < cap(batch) && n < events {
			batch = append(batch, sampleEvent(n%4, n))
			n++
		}
		if _, errs := j.AppendAll(ctx, batch); errors.Join(errs...) != nil {
			return errors.Join(errs...)
		}
	}
	return nil
}

// agentProcess is the real program, started by us.
type agentProcess struct {
	cmd     *exec.Cmd
	done    chan error
	readyMS float64
}

// startAgent runs the program on a data folder until it says that it is ready.
func startAgent(ctx context.Context, dir string) (*agentProcess, error) {
	path, err := findProgram("tillwire-agent")
	if err != nil {
		return nil, err
	}
	where := filepath.Join(dir, "addresses.json")
	if err := os.RemoveAll(where); err != nil {
		return nil, fmt.Errorf("forget old addresses: %w", err)
	}
	p := &agentProcess{cmd: exec.CommandContext(ctx, path, "run", "--dev", "--data-dir", dir), done: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), "TILLWIRE_STORE=S0042", "TILLWIRE_AGENT=server", "TILLWIRE_HTTP_LISTEN=127.0.0.1:0",
		"TILLWIRE_LINK_BROKER=mqtt://127.0.0.1:1", "TILLWIRE_JOURNAL_BALLAST_MIB=0")
	var msg bytes.Buffer
	p.cmd.Stderr = &msg
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	for !isReady(ctx, where) {
		if time.Since(began) > startMax || !pause(ctx, 2*time.Millisecond) {
			return nil, errors.Join(fmt.Errorf("agent does not get ready: %.300s", msg.String()), p.stop())
		}
	}
	p.readyMS = float64(time.Since(began)) / float64(time.Millisecond)
	return p, nil
}

// isReady asks a program whose addresses stand in a file.
func isReady(ctx context.Context, file string) bool {
	text, err := os.ReadFile(file)
	var at struct {
		HTTP string `json:"http"`
	}
	if err != nil || json.Unmarshal(text, &at) != nil {
		return false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.HTTP+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := benchClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (p *agentProcess) stop() error { return interrupt(p.cmd.Process, p.done) }

// interrupt asks a program that we started to end, and kills it if it does not.
func interrupt(p *os.Process, done <-chan error) error {
	if err := p.Signal(os.Interrupt); err != nil {
		_ = p.Kill()
	}
	timer := time.NewTimer(stopMax)
	defer timer.Stop()
	select {
	case <-done: //nolint:errcheck // how it ended is not what is measured
		return nil
	case <-timer.C:
		_ = p.Kill()
		<-done //nolint:errcheck // killed
		return errors.New("agent did not end when asked")
	}
}
