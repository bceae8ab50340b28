package crashtest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent"
	"tillwire/protocol"
	"tillwire/store/journal"
)

// restart kills an agent that holds many events, and measures how long after its
// start it takes sales again.
func restart(ctx context.Context, r *Rig, res *Result) error {
	events := uint64(200_000)
	if r.Cycles >= 20 {
		events = 1_000_000
	}
	plan, err := r.plan("agent")
	if err != nil {
		return err
	}
	if err := fill(ctx, plan.dir, events); err != nil {
		return err
	}
	c, l := newCrew(plan.addr), newLedger(plan.dir)
	for range r.Cycles {
		p, err := plan.start()
		if err != nil {
			return err
		}
		ready, err := p.awaitReady(ctx)
		if err != nil {
			return errors.Join(err, p.kill())
		}
		res.recovered(ready)
		selling, stop := context.WithTimeout(ctx, 300*time.Millisecond)
		c.sell(selling)
		stop()
		if err := p.kill(); err != nil {
			return err
		}
		if err := l.judge(ctx, c, res); err != nil {
			return err
		}
		res.Cycles++
	}
	res.Note = fmt.Sprintf("%d events in the journal; recovery is from the start of the process to ready", events)
	return nil
}

// fill makes a journal of so many events.
func fill(ctx context.Context, dir string, events uint64) error {
	j, err := journal.Open(journal.Options{Path: filepath.Join(dir, agent.JournalFile), Log: zerolog.Nop(), BallastBytes: -1})
	if err != nil {
		return err
	}
	for seq := uint64(0); seq < events && err == nil; {
		var batch []*protocol.Event
		for range 1000 {
			seq++
			batch = append(batch, recordedEvent(seq))
		}
		_, errs := j.AppendAll(ctx, batch)
		err = errors.Join(errs...)
	}
	return errors.Join(err, j.Close())
}
