package orders

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// Options are what orders work with. All funcs are required but Log's.
type Options struct {
	Origin protocol.Origin
	Log    zerolog.Logger
	Now    func() time.Time // of the aggregator, as far as it is known
	Kept   []byte           // what Keep was given last; nil: nothing
	Keep   func([]byte) error
	// Append journals an event and returns when it is on disk. One with an id that
	// is there already is no error.
	Append func(ctx context.Context, e *protocol.Event) error
	// Apply makes settings hold. It is called at the start too.
	Apply  func(Settings)
	Replay func(ctx context.Context, from uint64) (said string, err error)
	Bundle func(ctx context.Context, command string) (said string, err error)
}

// Orders is safe for concurrent use. Run works the commands.
type Orders struct {
	o     Options
	queue chan protocol.Command

	mu      sync.Mutex // guards all below
	kept    kept
	refused string // why a newer desired state is not applied
	counts  Counts
	waiting map[string]bool
}

// New reads what was kept. What cannot be read is as if nothing had been: desired
// state comes again, and results are in the journal.
func New(o Options) *Orders {
	x := &Orders{o: o, queue: make(chan protocol.Command, queueMax), waiting: map[string]bool{}}
	if len(o.Kept) > 0 {
		if err := json.Unmarshal(o.Kept, &x.kept); err != nil {
			x.kept = kept{}
			o.Log.Warn().Err(err).Msg("kept orders cannot be read; they are asked for again")
		}
	}
	if x.kept.Version != 0 {
		o.Apply(x.kept.Settings)
	}
	return x
}

// State tells which desired state is applied, and why a newer one is not.
func (x *Orders) State() (version uint64, refused string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.kept.Version, x.refused
}

// Counts are what was not done since the process started.
type Counts struct{ DesiredRefused, CommandsRefused, CommandsExpired, CommandsFailed uint64 }

// Counts tells them.
func (x *Orders) Counts() Counts {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.counts
}

// Desired applies a desired state, or refuses it. It is kept before it is applied:
// what a heartbeat says is applied survives a restart.
func (x *Orders) Desired(d *protocol.Desired) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if d.Version <= x.kept.Version {
		return
	}
	s, why := parse(d)
	if d.V != protocol.Version {
		why = fmt.Sprintf("version %d: protocol %d is not known", d.Version, d.V)
	}
	if why == "" {
		was := x.kept
		x.kept.Version, x.kept.Settings = d.Version, s
		if err := x.keep(); err != nil {
			x.kept, why = was, err.Error()
		}
	}
	if x.refused = why; why != "" {
		x.counts.DesiredRefused++
		x.o.Log.Warn().Uint64("version", d.Version).Str("why", why).Msg("desired state refused; the one before holds")
		return
	}
	x.o.Apply(s)
	x.o.Log.Info().Uint64("version", d.Version).Msg("desired state applied")
}

func (x *Orders) keep() error {
	b, err := json.Marshal(&x.kept)
	if err == nil {
		err = x.o.Keep(b)
	}
	if err != nil {
		return fmt.Errorf("keep orders: %w", err)
	}
	return nil
}

// Command takes a command. It never waits: one that does not fit comes again.
func (x *Orders) Command(c *protocol.Command) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if protocol.CheckName(c.CommandID) != nil {
		x.counts.CommandsRefused++
		x.o.Log.Warn().Uint64("command_seq", c.CommandSeq).Msg("command without a usable id refused")
		return
	}
	if x.waiting[c.CommandID] {
		return
	}
	select {
	case x.queue <- *c:
		x.waiting[c.CommandID] = true
	default:
	}
}

// Run works commands, one at a time, until ctx ends.
func (x *Orders) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-x.queue:
			if err := x.obey(ctx, &c); err != nil && ctx.Err() == nil {
				x.o.Log.Warn().Str("command", c.CommandID).Err(err).Msg("command not answered; it comes again")
			}
			x.mu.Lock()
			delete(x.waiting, c.CommandID)
			x.mu.Unlock()
		}
	}
}

// obey carries one command out.
//
//	accepted is journaled ▸ it is done ▸ its result is kept ▸ … and journaled
//
// Crash before the first: nothing happened, it comes again. Before the third: it is
// done again, which both kinds of commands allow: a replay's events and a bundle's
// parts count once. After it: told again, the same result is journaled, and that
// counts once.
func (x *Orders) obey(ctx context.Context, c *protocol.Command) error {
	x.mu.Lock()
	e := x.kept.find(c.CommandID)
	x.mu.Unlock()
	if e != nil {
		return x.tell(ctx, c.CommandID, e.State, e.Reason)
	}
	state, said := refuse(c, x.o.Now().UnixMicro())
	if state == "" {
		if err := x.tell(ctx, c.CommandID, protocol.CommandAccepted, ""); err != nil {
			return err
		}
		state, said = x.do(ctx, c)
		if ctx.Err() != nil {
			return ctx.Err() // a stop is no result
		}
	}
	said = strings.ToValidUTF8(said[:min(len(said), reasonBytes)], "")
	x.mu.Lock()
	x.kept.end(ended{c.CommandID, state, said})
	x.counts.add(state)
	err := x.keep()
	x.mu.Unlock()
	if err != nil {
		return err
	}
	x.o.Log.Info().Str("command", c.CommandID).Str("kind", c.Kind).Str("state", state).Str("why", said).Msg("command answered")
	return x.tell(ctx, c.CommandID, state, said)
}

func (n *Counts) add(state string) {
	switch state {
	case protocol.CommandRefused:
		n.CommandsRefused++
	case protocol.CommandExpired:
		n.CommandsExpired++
	case protocol.CommandFailed:
		n.CommandsFailed++
	}
}

func (x *Orders) do(ctx context.Context, c *protocol.Command) (state, said string) {
	ctx, cancel := context.WithTimeout(ctx, doMax)
	defer cancel()
	var err error
	if c.Kind == protocol.CommandReplay {
		said, err = x.o.Replay(ctx, c.FromSeq)
	} else {
		said, err = x.o.Bundle(ctx, c.CommandID)
	}
	if err != nil {
		return protocol.CommandFailed, err.Error()
	}
	return protocol.CommandDone, said
}

func (x *Orders) tell(ctx context.Context, id, state, reason string) error {
	return x.o.Append(ctx, event(x.o.Origin, id, state, reason, protocol.StampOf(x.o.Now())))
}
