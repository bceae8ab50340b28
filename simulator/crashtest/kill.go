package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// killAgent kills one agent per worker, again and again, while tills sell: nine
// times out of ten at a random moment of its work, else while it starts.
func killAgent(ctx context.Context, r *Rig, res *Result) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var left atomic.Int64
	left.Store(int64(r.Cycles))
	errs := make(chan error, workersMax)
	for w := range workersMax {
		go func() {
			err := killer{r: r, res: res, left: &left, rng: rand.New(rand.NewPCG(r.Seed, uint64(w)))}.run(ctx, w)
			if err != nil {
				cancel()
			}
			errs <- err
		}()
	}
	var err error
	for range workersMax {
		err = errors.Join(err, <-errs)
	}
	res.Note = strings.TrimSpace(res.Note + " " + fmt.Sprintf("%d agents at a time, %d tills each; killed while starting every tenth time", workersMax, tills))
	return err
}

type killer struct {
	r    *Rig
	res  *Result
	left *atomic.Int64
	rng  *rand.Rand
}

// run works in one folder per generationMax kills.
func (k killer) run(ctx context.Context, worker int) error {
	for generation := 0; k.left.Load() > 0 && ctx.Err() == nil; generation++ {
		dir, err := k.r.sub(fmt.Sprintf("agent-%d-%d", worker, generation))
		if err != nil {
			return err
		}
		addr, err := freePort()
		if err != nil {
			return err
		}
		plan := agentPlan{program: k.r.Agent, dir: dir, addr: addr}
		c, l := newCrew(addr), newLedger(dir)
		for n := 0; n < generationMax && k.left.Add(-1) >= 0; n++ {
			if err := k.cycle(ctx, plan, c, l); err != nil {
				return fmt.Errorf("seed %d, worker %d, generation %d, kill %d: %w", k.r.Seed, worker, generation, n, err)
			}
		}
		whole := newLedger(dir)
		if err := whole.look(ctx); err != nil || whole.twice > 0 || whole.at != l.at {
			return fmt.Errorf("the whole journal after all kills: %d twice, head %d of %d: %w", whole.twice, whole.at, l.at, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (k killer) cycle(ctx context.Context, plan agentPlan, c *crew, l *ledger) error {
	p, err := plan.start()
	if err != nil {
		return err
	}
	defer p.kill() //nolint:errcheck // it is dead already, but for errors on the way
	after := time.Duration(k.rng.Int64N(int64(killWithin)))
	selling, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); c.sell(selling) }()
	if k.rng.IntN(10) > 0 {
		ready, err := p.awaitReady(ctx)
		if err != nil {
			return err
		}
		k.res.recovered(ready)
	}
	timer := time.NewTimer(after)
	defer timer.Stop()
	<-timer.C
	err = p.kill()
	stop()
	<-done
	if err != nil {
		return err
	}
	k.res.mu.Lock()
	k.res.Cycles++
	k.res.mu.Unlock()
	if _, err := os.Stat(l.path); errors.Is(err, os.ErrNotExist) && l.at == 0 && len(c.acked) == 0 {
		return nil // killed before the journal was made
	}
	return l.judge(ctx, c, k.res)
}

// killBoth kills agent and aggregator, alone and together, while tills sell and
// frames are under way; then lets the rest through. Agent and chain must agree:
// each document is one piece, so the stock says what was merged, and how often.
func killBoth(ctx context.Context, r *Rig, res *Result) error {
	b, err := newBoth(r)
	if err != nil {
		return err
	}
	defer b.stop()
	rng := rand.New(rand.NewPCG(r.Seed, 7))
	c, l := newCrew(b.plan.addr), newLedger(b.plan.dir)
	for n := range r.Cycles {
		if err := b.cycle(ctx, rng, c, res); err != nil {
			return fmt.Errorf("seed %d, kill %d: %w", r.Seed, n, err)
		}
		res.Cycles++
		if !b.agent.alive() {
			if err := l.judge(ctx, c, res); err != nil {
				return err
			}
		}
	}
	if err := b.revive(ctx, res); err != nil {
		return err
	}
	if err := l.judge(ctx, c, res); err != nil {
		return err
	}
	return b.agree(ctx, l, res)
}

type both struct {
	r           *Rig
	plan        agentPlan
	chainConf   string
	chainAddr   string
	agent, head *process
}

func newBoth(r *Rig) (*both, error) {
	var addrs [3]string
	for i := range addrs {
		var err error
		if addrs[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	dir, err := r.sub("agent")
	if err != nil {
		return nil, err
	}
	chain, err := r.sub("chain")
	if err != nil {
		return nil, err
	}
	b := &both{r: r, chainAddr: addrs[0], chainConf: filepath.Join(r.Dir, "chain.toml")}
	b.plan = agentPlan{program: r.Agent, dir: dir, addr: addrs[2], broker: "mqtt://" + addrs[1]}
	text := fmt.Sprintf("data_dir = %q\ndev = true\n[http]\nlisten = %q\n[mqtt]\nlisten = %q\n", chain, addrs[0], addrs[1])
	return b, os.WriteFile(b.chainConf, []byte(text), 0o600)
}

func (b *both) stop() {
	for _, p := range []*process{b.agent, b.head} {
		_ = p.kill() // best effort at the end
	}
}

// revive starts what is dead and waits until both serve.
func (b *both) revive(ctx context.Context, res *Result) error {
	var err error
	if b.head == nil || !b.head.alive() {
		if b.head, err = launch(b.chainAddr, nil, b.r.Aggregator, "run", "--config", b.chainConf); err != nil {
			return err
		}
		if _, err := b.head.awaitReady(ctx); err != nil {
			return fmt.Errorf("aggregator: %w", err)
		}
	}
	if b.agent == nil || !b.agent.alive() {
		if b.agent, err = b.plan.start(); err != nil {
			return err
		}
		took, err := b.agent.awaitReady(ctx)
		if err != nil {
			return fmt.Errorf("agent: %w", err)
		}
		res.recovered(took)
	}
	return nil
}

func (b *both) cycle(ctx context.Context, rng *rand.Rand, c *crew, res *Result) error {
	if err := b.revive(ctx, res); err != nil {
		return err
	}
	selling, stop := context.WithTimeout(ctx, time.Duration(50+rng.Int64N(250))*time.Millisecond)
	defer stop()
	c.sell(selling)
	which := rng.IntN(3)
	if which != 0 {
		if err := b.agent.kill(); err != nil {
			return err
		}
	}
	if which != 1 {
		return b.head.kill()
	}
	return nil
}

// agree waits until the chain has what the journal has, and compares the stock.
func (b *both) agree(ctx context.Context, l *ledger, res *Result) error {
	client := &http.Client{Timeout: answerMax}
	var stock struct {
		Locations []struct {
			OnHand float64 `json:"on_hand"`
		} `json:"locations"`
	}
	want, got := len(l.docs), 0
	err := await(ctx, drainMax, "the chain has what the journal has", func() bool {
		resp, err := client.Get("http://" + b.chainAddr + "/v1/availability/04006381333931?location=" + store)
		if err != nil {
			return false
		}
		defer resp.Body.Close() //nolint:errcheck // read
		stock.Locations = nil
		if json.NewDecoder(resp.Body).Decode(&stock) != nil || len(stock.Locations) != 1 {
			return false
		}
		got = int(-stock.Locations[0].OnHand)
		return got >= want
	})
	switch {
	case got < want:
		res.Lost += uint64(want - got)
	case got > want:
		res.Duplicated += uint64(got - want)
	}
	res.Note = fmt.Sprintf("journal and chain: %d and %d pieces sold", want, got)
	var timeout net.Error
	if errors.As(err, &timeout) || res.Err() != nil {
		return res.Err()
	}
	return err
}
