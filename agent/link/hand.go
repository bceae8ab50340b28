package link

import (
	"context"
	"errors"
	"math"

	"tillwire/protocol"
)

// Hand is a link without network, goroutines and clock of its own: who works it
// says what arrives and when, and carries what is said. All between a message and
// the session's effects is the code of a Link that runs. Simulations use it. One
// goroutine does.
type Hand struct {
	l *Link
	c *connection // nil: none
}

// Said is one message on its way up.
type Said struct {
	Channel protocol.Channel
	Topic   string
	Payload []byte
}

// handOutMax is far beyond what one step says: a hello, a digest, a window.
const handOutMax = 256

// NewHand makes a link to be worked by hand. now is in microseconds and never
// goes back; Options.BootID is required, the broker is not dialled.
func NewHand(o Options, now func() int64) (*Hand, error) {
	if o.BootID == "" {
		return nil, errors.New("new link: BootID is required")
	}
	o.Broker = "mqtt://by.hand:1"
	l, err := New(o)
	if err != nil {
		return nil, err
	}
	l.mono = now
	return &Hand{l: l}, nil
}

// Connected begins a connection.
func (h *Hand) Connected() []Said {
	h.c = &connection{lost: make(chan struct{}), out: make(chan outgoing, handOutMax), quit: make(chan struct{})}
	return h.do(func(ctx context.Context) error { return h.l.step(ctx, h.c, Input{Kind: onConnected}) })
}

// Lost ends it.
func (h *Hand) Lost() {
	if h.c == nil {
		return
	}
	c := h.c
	h.c = nil
	_ = h.l.step(context.Background(), c, Input{Kind: onLost}) // has no effect that could fail
}

// Up tells whether there is a connection: the link itself gives up those that are
// not answered.
func (h *Hand) Up() bool { return h.c != nil }

// Hear takes a control message.
func (h *Hand) Hear(ch protocol.Channel, payload []byte) []Said {
	return h.do(func(ctx context.Context) error {
		return h.l.hear(ctx, h.c, message{from: h.c, channel: ch, payload: payload, gotUS: h.l.o.Now().UnixMicro()})
	})
}

// Tick says that time passed, or that the journal grew.
func (h *Hand) Tick() []Said {
	return h.do(func(ctx context.Context) error { return h.l.step(ctx, h.c, Input{Kind: onTick}) })
}

// Replay asks for the journal again from a seq, as the command does.
func (h *Hand) Replay(from uint64) []Said {
	return h.do(func(ctx context.Context) error { return h.l.step(ctx, h.c, Input{Kind: onReplay, First: max(from, 1)}) })
}

// Beat sends a heartbeat.
func (h *Hand) Beat() []Said {
	return h.do(func(ctx context.Context) error { h.l.beat(ctx, h.c); return nil })
}

// Deadline is when Tick is wanted by; math.MaxInt64: not before something else
// happens.
func (h *Hand) Deadline() int64 {
	if h.c == nil {
		return math.MaxInt64
	}
	return h.l.core.deadline(h.l.o.Journal.State().Head)
}

// Status is the link's.
func (h *Hand) Status() Status { return h.l.Status() }

// InFlight is how many frames are on their way, and how many may be.
func (h *Hand) InFlight() (frames, credit int) { return len(h.l.core.flights), h.l.core.credit }

// do runs one step and takes what it said. An error is the link's wish to give the
// connection up.
func (h *Hand) do(step func(context.Context) error) []Said {
	if h.c == nil {
		return nil
	}
	c := h.c
	err := step(context.Background())
	var said []Said
	for len(c.out) > 0 {
		m := <-c.out
		_, ch, _, _ := protocol.ParseTopic(m.topic)
		said = append(said, Said{ch, m.topic, m.payload})
	}
	if err != nil {
		h.Lost()
	}
	return said
}
