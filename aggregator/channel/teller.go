package channel

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/channel/gateway"
	"tillwire/protocol"
)

// Teller tells one partner through one operation: what changed waits in its lane, calls
// begin as the lane allows, and how far the partner was told is kept. It stops at what is
// told and how: that is the connector's.
//
//	source ─▶ Mark ─Put─▶ lane ─▶ Tell (a goroutine per call) ─▶ Done
//	   ▲ all again, where keys had no room ◀─┘
type Teller struct {
	Name   string // of the connector
	Source Source
	Facts  Facts
	Log    zerolog.Logger
	Now    func() time.Time
	// Mark puts what changed of articles in line; us and after are when, and behind which
	// position. It takes Mu.
	Mark func(skus []protocol.SKU, us int64, after uint64)
	// Tell makes one call, and ends with Done.
	Tell func(ctx context.Context, batch []gateway.Owed)
	// Mu is the connector's: whether a key is owed and what it knows of it go together.
	Mu *sync.Mutex

	wake  chan struct{}
	calls sync.WaitGroup

	// Mu guards what follows.
	Lane     *gateway.Lane
	progress Progress // as kept
	reached  uint64
	lost     bool // keys had no room: all are looked at again
	retries  uint64
}

const factProgress = "channel/progress/"

// Open makes the lane, and reads how far the partner was told.
func (t *Teller) Open(l gateway.Limit) error {
	t.wake, t.Lane = make(chan struct{}, 1), gateway.NewLane(l, t.Now().UnixMicro())
	return t.Facts.Load(factProgress+t.Name, &t.progress)
}

// Run follows the changes and tells them, until ctx ends. Calls that are out are waited
// for.
func (t *Teller) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	followed := make(chan error, 1)
	wg.Go(func() {
		followed <- t.Source.Follow(ctx, t.progress, t.Mark, func(pos uint64) {
			t.Mu.Lock()
			t.reached = pos
			t.Mu.Unlock()
		})
		stop()
	})
	t.dispatch(ctx)
	stop()
	wg.Wait()
	t.calls.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), CallTimeout)
	defer cancel()
	t.keep(last)
	return <-followed
}

// dispatch begins calls as the lane allows, and keeps how far it is.
func (t *Teller) dispatch(ctx context.Context) {
	keep := time.NewTicker(keepEvery)
	defer keep.Stop()
	timer := time.NewTimer(idleWait)
	defer timer.Stop()
	for ctx.Err() == nil {
		t.Mu.Lock()
		batch, waitUS := t.Lane.Next(t.Now().UnixMicro())
		again := t.lost && t.Lane.Len() == 0 && len(batch) == 0
		t.lost = t.lost && !again
		from := t.progress.Position
		t.Mu.Unlock()
		if again {
			t.Source.All(t.Now().UnixMicro(), from, t.Mark)
			continue
		}
		if len(batch) > 0 {
			t.calls.Go(func() { t.Tell(ctx, batch) })
			continue
		}
		wait := idleWait
		if waitUS >= 0 {
			wait = min(wait, time.Duration(waitUS)*time.Microsecond)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.wake:
		case <-keep.C:
			t.keep(ctx)
		}
	}
}

// keep writes how far the partner was told, where that moved. What is owed after a
// crash is told again.
func (t *Teller) keep(ctx context.Context) {
	t.Mu.Lock()
	low, owed := t.Lane.Lowest()
	was := t.progress
	next, moved := was.Next(t.reached, low, owed, t.lost)
	t.Mu.Unlock()
	if !moved {
		return
	}
	if err := t.Facts.Save(ctx, factProgress+t.Name, next); err != nil {
		if ctx.Err() == nil {
			t.Log.Warn().Err(err).Str("connector", t.Name).Msg("progress not kept; it is told again after a crash")
		}
		return
	}
	t.Mu.Lock()
	t.progress = next
	t.Mu.Unlock()
}

// Put notes that a key changed. Where there is no room for it, all are looked at again
// once the lane is empty. The caller holds Mu.
func (t *Teller) Put(key string, us int64, after uint64) {
	t.lost = !t.Lane.Put(key, us, after) || t.lost
	t.ring()
}

// Again puts a key in line of which nothing has changed: somebody asked, or it is shown
// wrongly. An error says that there is no room. The caller holds Mu.
func (t *Teller) Again(key string) error {
	if !t.Lane.Put(key, t.Now().UnixMicro(), t.reached) {
		return fmt.Errorf("tell %s again: %d keys wait already", t.Name, t.Lane.Len())
	}
	t.ring()
	return nil
}

// Done takes what a call came to; failed: it is to be made again. The caller holds Mu.
func (t *Teller) Done(batch []gateway.Owed, r gateway.Reply, verdicts map[string]gateway.Verdict, failed bool) {
	if failed {
		t.retries++
	}
	t.Lane.Done(batch, r, verdicts, t.Now().UnixMicro())
	t.ring()
}

func (t *Teller) ring() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Reached is the position up to which all changes were marked. The caller holds Mu.
func (t *Teller) Reached() uint64 { return t.reached }

// Fill writes what the lane knows into a status; account and operation name its rate,
// targetS is the age within which a change should be accepted. The caller holds Mu.
func (t *Teller) Fill(c *protocol.Connector, account, operation string, targetS float64) {
	now := t.Now()
	rate := t.Lane.Rate(now.UnixMicro())
	rate.Account, rate.Operation = account, operation
	c.Rates, c.SLA = []protocol.ConnectorRate{rate}, t.Lane.Ages.SLA(targetS)
	c.Pending, c.Out, c.Coalesced, c.Retries = t.Lane.Len(), t.Lane.Accepted, t.Lane.Owed.Coalesced, t.retries
	c.Throttled, c.Refused = t.Lane.Bucket.Throttled, t.Lane.Refused
	if us, ok := t.Lane.Oldest(); ok {
		c.LagS = max(0, now.Sub(time.UnixMicro(us)).Seconds())
	}
}
