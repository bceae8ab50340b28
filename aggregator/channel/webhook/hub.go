package webhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/channel"
	"tillwire/aggregator/channel/gateway"
	"tillwire/protocol"
)

// Availability is the read model.
type Availability interface {
	Cursor() uint64
	Changed(cursor uint64, limit int) (skus []protocol.SKU, next uint64, ok bool)
	Wait() <-chan struct{}
	AppliedPosition() uint64
	GetFor(sku protocol.SKU, at []protocol.StoreID, channel string) (protocol.Availability, bool)
}

// Options are what the hub works with.
type Options struct {
	Now          func() time.Time
	Log          zerolog.Logger
	Availability Availability
	// Thresholds calls emit with what passed between in, low and out, until ctx ends;
	// reset: what passed before is not told.
	Thresholds func(ctx context.Context, channel string, locations []protocol.StoreID, emit func(reset bool, events []protocol.StateChange) error) error
	// State tells where an article stands now.
	State func(sku protocol.SKU, loc protocol.StoreID, channel string) (protocol.StateChange, bool)
	// Touched calls fn with the articles that the log's entries behind a position are
	// about; all: any may be.
	Touched func(ctx context.Context, after uint64, fn func(pos uint64, mergedUS int64, skus []protocol.SKU, all bool) error) error
	// Everything lists the articles behind one, in order.
	Everything func(after protocol.SKU, limit int) []protocol.SKU
	// PositionAt is the last position merged before a moment.
	PositionAt func(at time.Time) (uint64, error)
	Facts      channel.Facts
	Secret     func(id string, version int) []byte
	Source     string // of CloudEvents
	Guard      channel.Guard
	AllowHTTP  bool
	Client     *http.Client // nil: one behind the guard
}

// Hub keeps the subscriptions and serves them.
type Hub struct {
	o       Options
	client  *http.Client
	owedMax int           // keys that one subscription may owe
	reached atomic.Uint64 // position up to which all changes were marked
	came    chan struct{} // a subscription
	settled atomic.Uint64 // the same a while ago: passages up to here were heard, too
	mu      sync.Mutex    // guards what follows
	subs    map[string]*subscriber

	run sync.Mutex      // guards what follows
	ctx context.Context //nolint:containedctx // of Run, for workers of subscriptions that come later
	wg  sync.WaitGroup
}

const (
	factSubscriptions = "webhook/subscriptions"
	factPositions     = "webhook/positions"
	factDead          = "webhook/dead/"
)

// Open reads the subscriptions.
func Open(o Options) (*Hub, error) {
	h := &Hub{o: o, client: o.Client, owedMax: gateway.PendingMax, came: make(chan struct{}, 1), subs: map[string]*subscriber{}}
	if h.client == nil {
		h.client = o.Guard.Client(channel.CallTimeout)
	}
	var kept []record
	positions := map[string]uint64{}
	if err := errors.Join(o.Facts.Load(factSubscriptions, &kept), o.Facts.Load(factPositions, &positions)); err != nil {
		return nil, err
	}
	for i := range kept {
		s, err := h.subscriber(kept[i])
		if err != nil {
			return nil, err
		}
		if p, ok := positions[s.rec.ID]; ok {
			s.low = p
		}
		h.subs[s.rec.ID] = s
	}
	return h, nil
}

// Run follows the changes and serves every subscription until ctx ends; then it
// keeps how far each is.
func (h *Hub) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	err := h.follow(ctx)
	stop()
	h.run.Lock()
	h.ctx = nil
	h.run.Unlock()
	h.wg.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), channel.CallTimeout)
	defer cancel()
	h.keep(last)
	return err
}

// serve starts a subscription's goroutines, where Run runs: it hears what is behind a
// position. The caller holds h.run.
func (h *Hub) serve(s *subscriber, from uint64) {
	if h.ctx == nil || s.served { // Run does, or did
		return
	}
	s.served = true
	ctx, cancel := context.WithCancel(h.ctx)
	s.stop = cancel
	h.wg.Go(func() { s.work(ctx) })
	if s.wants(protocol.EventThresholdCrossed) {
		h.wg.Go(func() { s.followStates(ctx, from) })
	}
}

func (h *Hub) list() []*subscriber {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.subs), func(a, b *subscriber) int { return a.rec.CreatedAt.Compare(b.rec.CreatedAt) })
}

// follow marks what changes. Positions are read before the changes are: what was
// shown up to one has been seen when the changes read after it are marked.
func (h *Hub) follow(ctx context.Context) error {
	a := h.o.Availability
	cursor, head := a.Cursor(), a.AppliedPosition()
	for _, s := range h.list() {
		s.resume(ctx, head)
	}
	h.reached.Store(head)
	h.settled.Store(head)
	was := head
	h.run.Lock()
	h.ctx = ctx
	for _, s := range h.list() {
		h.serve(s, head)
	}
	h.run.Unlock()
	keep := time.NewTicker(keepEvery)
	defer keep.Stop()
	for {
		if pos := a.AppliedPosition(); len(h.list()) == 0 { // nobody listens: nobody's time is taken
			cursor = a.Cursor()
			h.reached.Store(max(pos, h.reached.Load()))
			select {
			case <-ctx.Done():
				return nil
			case <-h.came:
			case <-keep.C:
				h.settled.Store(was)
				was = h.reached.Load()
			}
			continue
		}
		bell, pos := a.Wait(), a.AppliedPosition()
		skus, next, ok := a.Changed(cursor, batchLook)
		if !ok { // fell behind the ring: the log has it all
			cursor = a.Cursor()
			from := h.reached.Load()
			for _, s := range h.list() {
				s.scan(ctx, from, false)
			}
			continue
		}
		cursor = next
		if len(skus) > 0 {
			h.mark(skus)
			if len(skus) >= batchLook {
				continue
			}
		}
		h.reached.Store(max(pos, h.reached.Load()))
		select {
		case <-ctx.Done():
			return nil
		case <-bell:
		case <-keep.C:
			h.keep(ctx)
			h.settled.Store(was)
			was = h.reached.Load()
		}
	}
}

func (h *Hub) mark(skus []protocol.SKU) {
	us, after := h.o.Now().UnixMicro(), h.reached.Load()
	for _, s := range h.list() {
		s.changed(skus, us, after, false)
	}
}

// keep writes how far each subscription is, where that moved. After a crash what is
// behind the kept position is told again.
func (h *Hub) keep(ctx context.Context) {
	at, moved := map[string]uint64{}, false
	for _, s := range h.list() {
		p := s.lowest()
		at[s.rec.ID] = p
		s.mu.Lock()
		moved = moved || p != s.kept
		s.kept = p
		s.mu.Unlock()
	}
	if !moved {
		return
	}
	if err := h.o.Facts.Save(ctx, factPositions, at); err != nil && ctx.Err() == nil {
		h.o.Log.Warn().Err(err).Msg("positions of webhooks not kept; they are told again after a crash")
	}
}

// records is what is kept of the subscriptions. The caller holds h.mu.
func (h *Hub) records() []record {
	out := make([]record, 0, len(h.subs))
	for _, s := range h.subs {
		s.mu.Lock()
		out = append(out, s.rec)
		s.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b record) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return out
}

// change edits the table and keeps it; what cannot be kept is undone by edit's undo.
func (h *Hub) change(ctx context.Context, edit func() (undo func(), err error)) error {
	h.mu.Lock()
	undo, err := edit()
	if err != nil {
		h.mu.Unlock()
		return err
	}
	all := h.records()
	h.mu.Unlock()
	if err := h.o.Facts.Save(ctx, factSubscriptions, all); err != nil {
		h.mu.Lock()
		undo()
		h.mu.Unlock()
		return fmt.Errorf("keep subscriptions: %w", err)
	}
	return nil
}
