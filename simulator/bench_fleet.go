package simulator

import (
	"bytes"
	"context"
	"encoding/json"
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
	b.row(BenchRow{Name: name + ", p50", Unit: "ms", Ours: spread(p50), Of: "–", Aim: "–", Less: true, Notes: []string{note}})
	row := BenchRow{Name: name + ", p99", Unit: "ms", Ours: spread(p99), Of: "–", Less: true}
	row.aimMost(2000)
	b.row(row)
	b.row(BenchRow{
		Name: fmt.Sprintf("memory of a demo with %s", plural(stores, "store")), Unit: "MB", Ours: spread(peak), Of: "–", Aim: "–", Less: true,
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

// drained: a chain whose stores were all cut off for a day comes back at once. The
// aggregator is a process of its own; agents, tills and oracle share another. It is
// not proved unless nothing was lost, doubled or wrong.
func (b *bench) drained(ctx context.Context) error {
	stores, documents := 400, 2000
	if b.quick {
		stores, documents = 40, 400
	}
	row := BenchRow{Name: fmt.Sprintf("%s drained, %s documents each", plural(stores, "store"), grouped(documents)), Unit: "s", Of: "–", Less: true}
	if _, err := findProgram("tillwire-aggregator"); err != nil {
		row.note("not measured: %v", err)
		b.row(row)
		return nil
	}
	self, err := simulatorProgram()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "experiment", "drain", "--process", "--stores", strconv.Itoa(stores), "--documents", strconv.Itoa(documents), "--out", b.dir)
	cmd.Env = append(os.Environ(), "TMPDIR="+b.dir)
	var msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &msg, &msg
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run drain process: %w: %s", err, msg.String())
	}
	text, err := os.ReadFile(filepath.Join(b.dir, fmt.Sprintf("drain-%d-process.json", stores)))
	if err != nil {
		return fmt.Errorf("read drain result: %w", err)
	}
	var r DrainResult
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("read drain result: %w", err)
	}
	row.Ours = spread([]float64{r.AllS})
	row.aimMost(30)
	row.note("from the lines' return to the last merged event, %s events/s; the last store was reconnected after %s s; the aggregator's heap peaked at %s",
		figure(r.EventsPerS), figure(r.ReconnectS.Max), bytesWord(int64(r.HeadHeap)))
	right := BenchRow{Name: "a store's availability right after its return, p99", Unit: "s", Ours: spread([]float64{r.RightP99S}), Of: "–", Aim: "–", Less: true}
	right.note("digests run ahead of the backlog: half of the stores are right after %s s", figure(r.RightS.Median))
	b.row(row)
	b.row(right)
	return nil
}
