package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/policy"
	"tillwire/aggregator/reconcile"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// ErrBusy says that the queue is full: the sender keeps what it has.
var ErrBusy = errors.New("ingest queue is full")

// ErrStopped says that ingest has ended.
var ErrStopped = errors.New("ingest has stopped")

// Traced is what is told of a merged document whose sender follows it.
type Traced struct {
	EventID                        protocol.EventID
	Kind                           protocol.Kind
	DocumentID                     string
	Traceparent                    string
	Origin                         protocol.Origin
	Epoch, Seq                     uint64
	OccurredUS, RecordUS, MergedUS int64 // by the register's clock, the agent's, and ours
}

// Options are what ingest works with. Funcs are called by its own goroutine
// and must not block.
type Options struct {
	Ledger ledger.Ledger
	Codec  *protocol.FrameCodec
	Log    zerolog.Logger
	Now    func() time.Time
	Node   string // this aggregator's name in topics; "0" when alone

	// Send passes a control message down to an agent.
	Send func(o protocol.Origin, ch protocol.Channel, payload []byte) error
	// Cells is told the positions that a commit changed.
	Cells func([]Position)
	// Shown is told the ledger's position that all of a batch is shown up to,
	// before any of its writers is answered.
	Shown func(ledger.Position)
	// World answers what decisions need to know beyond the fold.
	World World
	// PolicyWorld tells what policies' scopes refer to, and Policies is told their
	// table whenever it changes. nil: there are no policies.
	PolicyWorld policy.World
	Policies    func(*policy.Set)
	// Rules are how outer systems' statements are judged.
	Rules reconcile.Rules
	// LocationType is store or dc. nil: all are stores.
	LocationType func(protocol.StoreID) string
	// Zones are those that a store's counts may name; nil func or result: any.
	Zones func(protocol.StoreID) []string
	// Escrow is what a store may sell alone while it is dark, and after how much
	// silence it is (µs; 0: never). nil: nothing.
	Escrow func(protocol.SKU, protocol.StoreID) (units protocol.Quantity, darkUS int64)
	// Kits is told the articles whose kits changed. nil: nobody asks.
	Kits func([]protocol.SKU)
	// Merged is told a journal's new mark after the commit.
	Merged func(o protocol.Origin, m ledger.Mark, n int)
	// Safe is told that a journal's safe mark moved, where Merged is not. nil: nobody asks.
	Safe func(o protocol.Origin, safe uint64)
	// Announced is told how far a journal is known by what its agent announced of
	// it: seq and record time; 0, 0: as far as it is merged. nil: nobody asks.
	Announced func(o protocol.Origin, asOf uint64, asOfUS int64)
	// Copies is told when processes that share an agent's name are quarantined,
	// speak, or one is picked. nil: nobody asks.
	Copies func(protocol.Copies)
	// Refused is told of frames and hellos that were not taken, and why.
	Refused func(o protocol.Origin, reason protocol.NackReason, detail string)
	// CheckpointEvery is how many entries lie between checkpoints of the
	// fold, but no fewer than there are positions; 0 means 250,000.
	CheckpointEvery uint64
	// Backed says that only what Covered tells of is safe to trim in the stores.
	// Else what is merged counts as safe.
	Backed bool
	// Traced is told, after the commit, of a merged document that carries a
	// traceparent. nil: nobody asks.
	Traced func(*Traced)
	// Reread reads a feed's parked document again, and writes into it why it is still
	// refused, if so; it does no I/O. nil: none is parked.
	Reread func(*protocol.Exception) ([]*protocol.Event, *protocol.Problem)
	// Items is told the articles that were stored. nil: nobody asks.
	Items func([]protocol.SKU)
	// Parked is told of each document that is put aside, as it is: not of one that
	// stays so when it is tried again. nil: nobody asks.
	Parked func(o protocol.Origin, code string)
	// Raised is told that the cloud generation rose, and why. nil: nobody asks.
	Raised func(generation uint64, why string)
}

// Position is a cell with what is held of it.
type Position struct {
	merge.Cell
	Reserved  protocol.Quantity
	Allocated protocol.Quantity
	Rate      float32 // demand in base units per hour; 0 where only feeds speak
}

// Stats are counters since start.
type Stats struct {
	Frames, Events, Duplicates, Parked, Commits, Nacks, Busy uint64
	CommitUS                                                 uint64 // sum
	QueueItems                                               int
	Pending                                                  int // voids that wait for their originals
	Cells                                                    int

	Retried, Edited, Discarded, Healed uint64 // exceptions decided; Healed by policies, among Retried

	Digests, DigestsKept, DigestsWrong, DigestsDropped uint64 // announced, as announced, otherwise; not taken
}

// Ingest is the one writer of the ledger.
type Ingest struct {
	o        Options
	eng      *Fold
	sessions map[protocol.Origin]*session
	stores   map[protocol.StoreID][]*session // agents' sessions per store

	queue  *queue
	queued atomic.Int64 // bytes in it
	done   chan struct{}
	hand   bool // worked by its caller's goroutine, see Turn

	n struct{ frames, events, duplicates, parked, commits, nacks, busy, commitUS, pending, cells, retried, edited, discarded, healed, digests, digestsKept, digestsWrong, digestsDropped atomic.Uint64 }

	generation atomic.Uint64 // cloud generation, told in every WELCOME; the writer alone raises it
	raises     int           // by what agents said
	turns      turns
	others     atomic.Pointer[map[speaks]protocol.Origin]

	flight  *flight // the batch that is on its way; nil: none
	commits chan *flight
	landed  chan error

	// of the open batch
	owed       []*session
	ordered    []protocol.Origin // agents whose orders changed
	letters    []letter
	replies    []func(error)
	exceptions []protocol.Exception
	facts      []ledger.Fact
	entries    int
	checkpoint ledger.Position
	lastUS     int64 // merge time of the newest batch
	cells      []Position
	again      bool           // what is folded was parked before
	prepared   merge.Prepared // scratch, for records that nobody prepared
	rejected   []string       // reservations that a store rejected
	held       []reserve.Key  // positions whose holds changed
	laned      []reserve.Key  // positions of which something else is announced
	lanes      int            // announced stretches that are draining
	telling    telling
	expiry     *time.Timer
	set        *policy.Set
}

// item is one thing to do on ingest's goroutine.
type item struct {
	bytes  int
	bulk   bool                               // waits its turn behind other stores' bulk
	alone  bool                               // ends its batch, and nothing is folded until that is durable
	ticket uint64                             // in the order of arrival
	frame  *framed                            // what do needs read; nil: no frame
	do     func(i *Ingest, nowUS int64) error // error: the ledger failed
}

// Open loads the fold from the ledger's checkpoint and replays what came after.
func Open(o Options) (*Ingest, error) {
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = checkpointEvents
	}
	if o.Node == "" {
		o.Node = "0"
	}
	if o.LocationType == nil {
		o.LocationType = func(protocol.StoreID) string { return "store" }
	}
	if o.Shown == nil {
		o.Shown = func(ledger.Position) {}
	}
	i := &Ingest{
		o: o, sessions: map[protocol.Origin]*session{}, stores: map[protocol.StoreID][]*session{}, queue: newQueue(), done: make(chan struct{}),
		commits: make(chan *flight, 1), landed: make(chan error, 1),
		telling: telling{stores: map[protocol.StoreID]*storeTold{}},
	}
	eng, marks, err := Load(o.Ledger, o.Rules)
	if err != nil {
		return nil, err
	}
	i.eng = eng
	eng.Book.TakeCalm() // their exceptions were closed when it happened
	if i.checkpoint, err = o.Ledger.Checkpoint(func(ledger.Chunk) error { return nil }); err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	if h := o.Ledger.Head(); h > 0 {
		en, err := o.Ledger.Read(h)
		if err != nil {
			return nil, fmt.Errorf("read newest entry: %w", err)
		}
		i.lastUS = en.MergedUS
	}
	for _, m := range marks {
		s := i.session(m.Origin)
		s.mark, s.was = m, m
	}
	if err := i.openSafe(); err != nil {
		return nil, err
	}
	if err := i.openCopies(); err != nil {
		return nil, err
	}
	i.eng.Book.Advance(i.lastUS)
	i.eng.Book.Settle(max(o.Now().UnixMicro(), i.lastUS))
	i.compile(o.Now().UnixMicro())
	i.n.cells.Store(uint64(eng.Cells()))
	return i, nil
}

// Each calls fn with every position. Call it before Run only.
func (i *Ingest) Each(fn func(Position)) {
	i.eng.Each(func(c merge.Cell) { fn(i.position(c)) })
}

func (i *Ingest) position(c merge.Cell) Position {
	p := Position{Cell: i.now(c)}
	if i.eng.Book.Len() > 0 {
		p.Reserved, p.Allocated = i.eng.Book.Held(reserve.Key{Location: c.Location, SKU: c.SKU}, i.lastUS)
	}
	if i.eng.HasAgents(c.Location) { // a feed that says nothing has nothing to say
		p.Rate = i.eng.Demand.Rate(uint32(c.ID), c.Location, i.lastUS)
	}
	return p
}

// Marks returns the marks as loaded. Call it before Run only.
func (i *Ingest) Marks() []ledger.Mark {
	out := make([]ledger.Mark, 0, len(i.sessions))
	for _, s := range i.sessions {
		out = append(out, s.mark)
	}
	return out
}

// Stats returns the counters.
func (i *Ingest) Stats() Stats {
	small, bulk := i.queue.waits()
	return Stats{
		Frames: i.n.frames.Load(), Events: i.n.events.Load(), Duplicates: i.n.duplicates.Load(), Parked: i.n.parked.Load(),
		Commits: i.n.commits.Load(), Nacks: i.n.nacks.Load(), Busy: i.n.busy.Load(), CommitUS: i.n.commitUS.Load(),
		QueueItems: small + bulk, Pending: int(i.n.pending.Load()), Cells: int(i.n.cells.Load()),
		Retried: i.n.retried.Load(), Edited: i.n.edited.Load(), Discarded: i.n.discarded.Load(), Healed: i.n.healed.Load(),
		Digests: i.n.digests.Load(), DigestsKept: i.n.digestsKept.Load(), DigestsWrong: i.n.digestsWrong.Load(), DigestsDropped: i.n.digestsDropped.Load(),
	}
}

// Run takes items until ctx ends or the ledger fails. After an error the
// process must start anew: what is on disk is known only by reopening it.
func (i *Ingest) Run(ctx context.Context) error {
	defer close(i.done)
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	var readers sync.WaitGroup
	for range preparers() {
		readers.Go(func() { i.queue.readAhead(reading) })
	}
	readers.Go(i.commitAll)
	defer func() {
		stop()
		close(i.commits)
		readers.Wait()
	}()
	i.expiry = time.NewTimer(time.Hour)
	defer i.expiry.Stop()
	i.rearm()
	for {
		var err error
		select {
		case <-ctx.Done():
			return i.finish()
		case <-i.expiry.C: // for those who look; decisions see an expiry by themselves
			err = i.batch(item{do: func(*Ingest, int64) error { return nil }})
		case err = <-i.landed:
			if err = i.arrived(err); err != nil {
				i.fail(err)
			}
		case <-i.queue.wake:
		}
		for err == nil && ctx.Err() == nil { // whatever woke us: next takes wakes too
			it, ok := i.queue.take()
			if !ok {
				break
			}
			err = i.batch(it)
		}
		if err != nil {
			return err
		}
	}
}

// finish takes what is queued already and writes a checkpoint, so that the next
// start has nothing to replay.
func (i *Ingest) finish() error {
	for {
		if it, ok := i.queue.take(); ok {
			if err := i.batch(it); err != nil {
				return err
			}
			continue
		}
		if err := i.land(); err != nil {
			i.fail(err)
			return err
		}
		if i.eng.Head() == i.checkpoint {
			return nil
		}
		b := &ledger.Batch{}
		if err := i.eng.checkpoint(b); err != nil {
			return err
		}
		if err := i.o.Ledger.Commit(context.Background(), b); err != nil {
			return fmt.Errorf("commit checkpoint: %w", err)
		}
		i.checkpoint = b.Checkpoint
		return nil
	}
}

// batch does the first item and whatever else waits, while the batch before is on
// its way to the disk, and sends its own after it.
func (i *Ingest) batch(first item) error {
	nowUS, alone, err := i.fold(first)
	if err == nil {
		err = i.settle(nowUS)
	}
	if err == nil {
		err = i.land()
	}
	if err == nil {
		err = i.calm(nowUS)
	}
	var f *flight
	if err == nil {
		f, err = i.seal(nowUS)
	}
	if err == nil {
		err = i.launch(f)
	}
	if err == nil && alone {
		err = i.land()
	}
	if err != nil {
		i.fail(err)
		return err
	}
	i.rearm()
	return nil
}

// fold does items until a batch is full. While the disk is busy with the batch
// before, it waits for more: nothing can be written anyway.
func (i *Ingest) fold(first item) (nowUS int64, alone bool, err error) {
	nowUS = i.tick()
	bytes := 0
	for it, n := first, 1; ; n++ {
		i.queued.Add(-int64(it.bytes))
		bytes += it.bytes
		if err := it.do(i, nowUS); err != nil {
			return nowUS, false, err
		}
		if it.alone || i.entries >= batchEventsMax || bytes >= batchBytesMax || n >= i.itemsMax() {
			return nowUS, it.alone, nil
		}
		var ok, waited bool
		if it, ok, waited, err = i.next(); !ok {
			return nowUS, false, err
		}
		if waited {
			nowUS = i.tick()
		}
	}
}

// next gives the next item of the open batch. None is left where nothing waits and
// the disk is idle.
func (i *Ingest) next() (it item, ok, waited bool, err error) {
	for {
		select {
		case err := <-i.landed:
			if err := i.arrived(err); err != nil {
				return it, false, waited, err
			}
		default:
		}
		if it, ok = i.queue.take(); ok || i.flight == nil || i.hand {
			return it, ok, waited, nil
		}
		waited = true
		select {
		case <-i.queue.wake:
		case err := <-i.landed:
			if err := i.arrived(err); err != nil {
				return it, false, waited, err
			}
		}
	}
}

// itemsMax is how many items a batch has at most. By hand it is few, so that folds
// run ahead of commits in simulations too.
func (i *Ingest) itemsMax() int {
	if i.hand {
		return batchItemsHand
	}
	return batchItemsMax
}

// tick sets the time at which what follows is merged.
func (i *Ingest) tick() int64 {
	nowUS := max(i.o.Now().UnixMicro(), i.lastUS) // entries' merge times never fall: refolds rely on it
	i.lastUS = nowUS
	i.eng.Book.Advance(nowUS)
	if s := i.set; s != nil && s.UntilUS != 0 && nowUS >= s.UntilUS {
		i.compile(nowUS)
	}
	return nowUS
}

// rearm wakes the writer when the next hold expires, or a store is to be told.
func (i *Ingest) rearm() {
	wait := time.Hour
	if us, ok := i.eng.Book.NextExpiry(); ok {
		wait = i.until(us, wait)
	}
	if i.set != nil && i.set.UntilUS != 0 {
		wait = i.until(i.set.UntilUS, wait)
	}
	if due := i.telling.dueUS; due != 0 {
		wait = i.until(due, wait)
	}
	i.expiry.Reset(wait)
}

// until is the shorter of most and the time from now to us.
func (i *Ingest) until(us int64, most time.Duration) time.Duration {
	return min(most, max(time.Duration(us-i.o.Now().UnixMicro())*time.Microsecond, time.Millisecond))
}

// send writes what a session is owed.
func (i *Ingest) send(s *session, nowUS int64) {
	if s.origin.IsFeed() {
		return
	}
	if w := s.welcome; w != nil {
		w.Node, w.Credit, w.Generation, w.ServerUS = i.o.Node, 1, i.generation.Load(), nowUS
		w.MergedSeq, w.ChainMerged, w.SafeSeq = s.mark.Seq, s.mark.Chain, s.mark.SafeSeq
		i.later(s.address(), protocol.DnWelcome, w)
		i.tell(s.address(), nowUS)
		i.order(s.address(), true, nowUS)
	}
	if s.echoUS != 0 || s.nack != protocol.NackNone {
		credit, pace := i.turns.share(s)
		a := s.ack(credit, pace, nowUS)
		i.later(s.address(), protocol.DnAck, &a)
	}
}

// down sends a control message; an agent that has gone will say HELLO again.
func (i *Ingest) down(o protocol.Origin, ch protocol.Channel, m any) {
	b, err := protocol.EncodeControl(m)
	if err == nil {
		err = i.o.Send(o, ch, b)
	}
	if err != nil {
		i.o.Log.Debug().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Str("channel", string(ch)).Err(err).Msg("control message not sent")
	}
}

// fail tells everyone who waits that nothing is known to be durable.
func (i *Ingest) fail(err error) {
	i.o.Log.Error().Err(err).Msg("ledger failed; ingest stops, the ledger must be reopened")
	replies := i.replies
	if f := i.flight; f != nil {
		replies = append(f.replies, replies...)
	}
	for _, r := range replies {
		r(err)
	}
	i.replies = nil
}

// owe notes that a session must be told something after the commit.
func (i *Ingest) owe(s *session) {
	if !s.listed {
		s.listed = true
		i.owed = append(i.owed, s)
	}
}

func (i *Ingest) session(o protocol.Origin) *session {
	s := i.sessions[o]
	if s == nil {
		s = &session{origin: o, mark: ledger.Mark{Origin: o}, was: ledger.Mark{Origin: o}, live: o.IsFeed(), backed: i.o.Backed}
		i.sessions[o] = s
		if !o.IsFeed() {
			i.stores[o.Store] = append(i.stores[o.Store], s)
		}
	}
	return s
}

// enqueue hands an item to the writer without ever waiting.
func (i *Ingest) enqueue(it item) error {
	if i.queued.Load()+int64(it.bytes) > queueBytesMax {
		i.n.busy.Add(1)
		return ErrBusy
	}
	select {
	case <-i.done:
		return ErrStopped
	default:
	}
	i.queued.Add(int64(it.bytes))
	if !i.queue.put(it) {
		i.queued.Add(-int64(it.bytes))
		i.n.busy.Add(1)
		return ErrBusy
	}
	return nil
}
