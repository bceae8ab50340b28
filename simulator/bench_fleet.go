package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// fleet: a demo as a process of its own, without cuts: from the till's POST to
// the changed answer of the availability API, and what it all takes in memory.
func (b *bench) fleet(ctx context.Context) error {
	stores, dur := 400, 12*time.Second
	if b.quick {
		stores, dur = 40, 5*time.Second
	}
	var p50, p99, peak, rate []float64
	var samples int
	for range b.reps {
		r, err := b.demoProcess(ctx, stores, dur)
		if err != nil {
			return err
		}
		p50, p99 = append(p50, r.EndToEnd.P50MS), append(p99, r.EndToEnd.P99MS)
		peak = append(peak, float64(r.PeakBytes)/(1<<20))
		rate = append(rate, float64(r.Journaled)/r.SoldForS)
		samples += r.EndToEnd.Samples
	}
	name := fmt.Sprintf("sale to availability at %s", plural(stores, "store"))
	note := fmt.Sprintf("%s timed from before the POST to the changed GET, while the fleet journals %s/s in the same process; frames linger up to 100 ms by design",
		plural(samples, "sale"), figure(spread(rate).Median))
	b.row(BenchRow{Name: name + ", p50", Unit: "ms", Ours: spread(p50), Of: "–", Aim: "–", Notes: []string{note}})
	row := BenchRow{Name: name + ", p99", Unit: "ms", Ours: spread(p99), Of: "–"}
	row.aimMost(2000)
	b.row(row)
	b.row(BenchRow{
		Name: fmt.Sprintf("memory of a demo with %s", plural(stores, "store")), Unit: "MB", Ours: spread(peak), Of: "–", Aim: "–",
		Notes: []string{"peak resident memory of one process with the aggregator, its broker and ledger, all agents with their journals mapped, all tills and the oracle"},
	})
	return nil
}

func (b *bench) demoProcess(ctx context.Context, stores int, dur time.Duration) (*DemoResult, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own path: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "demo", "--calm", "--json", "--stores", strconv.Itoa(stores), "--for", dur.String(), "--http", "127.0.0.1:0")
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run demo process: %w: %s", err, msg.String())
	}
	var res result
	if err := json.Unmarshal(out.Bytes(), &res); err != nil || res.Demo == nil {
		return nil, fmt.Errorf("read demo result: %w", err)
	}
	return res.Demo, nil
}

// agent: memory of the idle agent process, and the size of the programs.
func (b *bench) agent(ctx context.Context) error {
	for _, p := range []struct {
		name string
		aim  float64
	}{{"tillwire-agent", 12}, {"tillwire-aggregator", 0}, {"tillwire-simulator", 0}} {
		row := BenchRow{Name: "size of " + p.name, Unit: "MB", Of: "–", Aim: "–"}
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
	row := BenchRow{Name: "memory of an idle agent", Unit: "MB", Of: "–"}
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
	return nil
}

func (b *bench) idleFor() time.Duration {
	if b.quick {
		return time.Second
	}
	return 3 * time.Second
}

// idleAgent starts the real program in a fresh folder and looks at it.
func (b *bench) idleAgent(ctx context.Context) (mb, readyMS float64, err error) {
	path, err := findProgram("tillwire-agent")
	if err != nil {
		return 0, 0, err
	}
	dir, err := b.fresh("idle")
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.CommandContext(ctx, path, "run", "--dev", "--data-dir", dir)
	cmd.Env = append(os.Environ(), "TILLWIRE_STORE=S0042", "TILLWIRE_AGENT=server", "TILLWIRE_HTTP_LISTEN=127.0.0.1:0",
		"TILLWIRE_LINK_BROKER=mqtt://127.0.0.1:1", "TILLWIRE_JOURNAL_BALLAST_MIB=0")
	var msg bytes.Buffer
	cmd.Stderr = &msg
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, fmt.Errorf("start agent: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	defer func() {
		err = errors.Join(err, interrupt(cmd.Process, done))
	}()
	for {
		if _, err := os.Stat(filepath.Join(dir, "addresses.json")); err == nil {
			break
		}
		if time.Since(began) > startMax || !pause(ctx, 2*time.Millisecond) {
			return 0, 0, fmt.Errorf("agent does not answer: %.300s", msg.String())
		}
	}
	readyMS = float64(time.Since(began)) / float64(time.Millisecond)
	if !pause(ctx, b.idleFor()) {
		return 0, 0, ctx.Err()
	}
	now, _, ok := residentOf(strconv.Itoa(cmd.Process.Pid))
	if !ok {
		return 0, 0, errors.New("this system does not tell a process's resident memory in /proc")
	}
	return float64(now) / (1 << 20), readyMS, nil
}

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
