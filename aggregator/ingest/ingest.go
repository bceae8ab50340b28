package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/merge"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// ErrBusy says that the queue is full: the sender keeps what it has.
var ErrBusy = errors.New("ingest queue is full")

// ErrStopped says that ingest has ended.
var ErrStopped = errors.New("ingest has stopped")

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
	Cells func([]merge.Cell)
	// Merged is told a journal's new mark after the commit.
	Merged func(o protocol.Origin, m ledger.Mark, n int)
	// Refused is told of frames and hellos that were not taken, and why.
	Refused func(o protocol.Origin, reason protocol.NackReason, detail string)
	// CheckpointEvery is how many entries lie between checkpoints of the
	// fold; 0 means 250,000.
	CheckpointEvery uint64
	// Generation is the cloud generation told in every WELCOME.
	Generation uint64
}

// Stats are counters since start.
type Stats struct {
	Frames, Events, Duplicates, Parked, Commits, Nacks, Busy uint64
	CommitUS                                                 uint64 // sum
	QueueItems                                               int
	Pending                                                  int // voids that wait for their originals
	Cells                                                    int
}

// Ingest is the one writer of the ledger.
type Ingest struct {
	o        Options
	eng      *merge.Engine
	sessions map[protocol.Origin]*session

	queue  chan item
	queued atomic.Int64 // bytes
	done   chan struct{}

	n struct{ frames, events, duplicates, parked, commits, nacks, busy, commitUS, pending, cells atomic.Uint64 }

	// of the open batch
	owed       []*session
	replies    []func(error)
	exceptions []protocol.Exception
	facts      []ledger.Fact
	entries    int
	checkpoint ledger.Position
	lastUS     int64 // merge time of the newest batch
	cells      []merge.Cell
}

// item is one thing to do on ingest's goroutine.
type item struct {
	bytes int
	do    func(i *Ingest, nowUS int64) error // error: the ledger failed
}

// Open loads the fold from the ledger's checkpoint and replays what came after.
func Open(o Options) (*Ingest, error) {
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = checkpointEvents
	}
	if o.Node == "" {
		o.Node = "0"
	}
	i := &Ingest{
		o: o, sessions: map[protocol.Origin]*session{}, queue: make(chan item, queueItemsMax), done: make(chan struct{}),
	}
	eng, marks, err := Load(o.Ledger)
	if err != nil {
		return nil, err
	}
	i.eng = eng
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
		i.sessions[m.Origin] = &session{origin: m.Origin, mark: m, was: m, live: m.Origin.IsFeed()}
	}
	i.n.cells.Store(uint64(eng.Cells()))
	return i, nil
}

// Load rebuilds the fold: the stored checkpoint, then the log behind it.
func Load(l ledger.Ledger) (*merge.Engine, []ledger.Mark, error) {
	eng, marks, err := prepare(l)
	if err != nil {
		return nil, nil, err
	}
	at, err := restore(l, eng)
	if err != nil {
		return nil, nil, err
	}
	if err := l.Scan(at+1, replay(eng)); err != nil {
		return nil, nil, fmt.Errorf("replay log from %d: %w", at+1, err)
	}
	return eng, marks, nil
}

func replay(eng *merge.Engine) func(*ledger.Entry) error {
	return func(en *ledger.Entry) error { return eng.Replay(en, "") }
}

// Rebuild folds the whole log from its first entry, ignoring checkpoints: what
// fsck compares with.
func Rebuild(l ledger.Ledger) (*merge.Engine, error) {
	eng, _, err := prepare(l)
	if err != nil {
		return nil, err
	}
	if err := l.Scan(1, replay(eng)); err != nil {
		return nil, fmt.Errorf("replay log: %w", err)
	}
	return eng, nil
}

func prepare(l ledger.Ledger) (*merge.Engine, []ledger.Mark, error) {
	eng := merge.New(l)
	journals, err := l.Journals()
	if err != nil {
		return nil, nil, fmt.Errorf("read journals: %w", err)
	}
	eng.Register(journals)
	marks, err := l.Marks()
	if err != nil {
		return nil, nil, fmt.Errorf("read marks: %w", err)
	}
	for _, m := range marks {
		if len(m.Forks) > 0 {
			eng.SetForks(m.Origin, m.Forks)
		}
	}
	return eng, marks, nil
}

func restore(l ledger.Ledger, eng *merge.Engine) (ledger.Position, error) {
	var chunks []ledger.Chunk
	at, err := l.Checkpoint(func(c ledger.Chunk) error { chunks = append(chunks, c); return nil })
	if err != nil {
		return 0, fmt.Errorf("read checkpoint: %w", err)
	}
	if at == 0 {
		return 0, nil
	}
	return at, eng.Restore(at, chunks, l.Cells)
}

// Each calls fn with every position. Call it before Run only.
func (i *Ingest) Each(fn func(merge.Cell)) { i.eng.Each(fn) }

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
	return Stats{
		Frames: i.n.frames.Load(), Events: i.n.events.Load(), Duplicates: i.n.duplicates.Load(), Parked: i.n.parked.Load(),
		Commits: i.n.commits.Load(), Nacks: i.n.nacks.Load(), Busy: i.n.busy.Load(), CommitUS: i.n.commitUS.Load(),
		QueueItems: len(i.queue), Pending: int(i.n.pending.Load()), Cells: int(i.n.cells.Load()),
	}
}

// Run takes items until ctx ends or the ledger fails. After an error the
// process must start anew: what is on disk is known only by reopening it.
func (i *Ingest) Run(ctx context.Context) error {
	defer close(i.done)
	for {
		select {
		case <-ctx.Done():
			return i.finish()
		case it := <-i.queue:
			if err := i.batch(it); err != nil {
				return err
			}
		}
	}
}

// finish takes what is queued already and writes a checkpoint, so that the next
// start has nothing to replay.
func (i *Ingest) finish() error {
	for {
		select {
		case it := <-i.queue:
			if err := i.batch(it); err != nil {
				return err
			}
			continue
		default:
		}
		if i.eng.Head() == i.checkpoint {
			return nil
		}
		b := &ledger.Batch{}
		i.eng.Checkpoint(b)
		if err := i.o.Ledger.Commit(context.Background(), b); err != nil {
			return fmt.Errorf("commit checkpoint: %w", err)
		}
		i.checkpoint = b.Checkpoint
		return nil
	}
}

// batch does the first item and whatever else waits, commits, and answers.
func (i *Ingest) batch(first item) error {
	nowUS := max(i.o.Now().UnixMicro(), i.lastUS) // entries' merge times never fall: refolds rely on it
	i.lastUS = nowUS
	bytes := 0
	for it, ok := first, true; ok; {
		i.queued.Add(-int64(it.bytes))
		bytes += it.bytes
		if err := it.do(i, nowUS); err != nil {
			i.fail(err)
			return err
		}
		if i.entries >= batchEventsMax || bytes >= batchBytesMax {
			break
		}
		select {
		case it = <-i.queue:
		default:
			ok = false
		}
	}
	if err := i.commit(); err != nil {
		i.fail(err)
		return err
	}
	i.answer()
	return nil
}

// commit makes the batch durable. Crash before: nothing of it happened, agents
// send again. Crash after: agents send again and are told that it is merged.
func (i *Ingest) commit() error {
	b := &ledger.Batch{Exceptions: i.exceptions, Facts: i.facts}
	i.eng.TakeStaged(b)
	for _, s := range i.owed {
		if s.mark.Seq != s.was.Seq || s.mark.Lease != s.was.Lease || s.mark.Epoch != s.was.Epoch {
			b.Marks = append(b.Marks, s.pending())
		}
	}
	if uint64(i.eng.Head()-i.checkpoint) >= i.o.CheckpointEvery {
		i.eng.Checkpoint(b)
	}
	if len(b.Entries)+len(b.Marks)+len(b.Exceptions)+len(b.Facts)+len(b.Journals)+len(b.Chunks) == 0 {
		return nil
	}
	start := i.o.Now()
	if err := i.o.Ledger.Commit(context.Background(), b); err != nil {
		return fmt.Errorf("commit batch of %d events: %w", len(b.Entries), err)
	}
	if b.Checkpoint != 0 {
		i.checkpoint = b.Checkpoint
	}
	i.eng.Committed()
	i.n.commits.Add(1)
	i.n.events.Add(uint64(len(b.Entries)))
	i.n.commitUS.Add(uint64(i.o.Now().Sub(start).Microseconds()))
	i.n.pending.Store(uint64(i.eng.Pending()))
	i.n.cells.Store(uint64(i.eng.Cells()))
	return nil
}

// answer publishes the positions and sends what is owed: the ledger has it all.
func (i *Ingest) answer() {
	i.cells = i.cells[:0]
	i.eng.TakeDirty(func(c merge.Cell) { i.cells = append(i.cells, c) })
	if len(i.cells) > 0 {
		i.o.Cells(i.cells)
	}
	nowUS := i.o.Now().UnixMicro()
	share := credit(len(i.queue), cap(i.queue))
	for _, s := range i.owed {
		i.send(s, share, nowUS)
		if s.merged > 0 || s.welcome != nil {
			i.o.Merged(s.origin, s.mark, s.merged)
		}
		s.settled()
	}
	for _, r := range i.replies {
		r(nil)
	}
	i.clear()
}

func (i *Ingest) send(s *session, share int, nowUS int64) {
	if s.origin.IsFeed() {
		return
	}
	if w := s.welcome; w != nil {
		w.Node, w.Credit, w.Generation, w.ServerUS = i.o.Node, 1, i.o.Generation, nowUS
		w.MergedSeq, w.ChainMerged, w.SafeSeq = s.mark.Seq, s.mark.Chain, s.mark.SafeSeq
		i.down(s.origin, protocol.DnWelcome, w)
	}
	if s.echoUS != 0 || s.nack != protocol.NackNone {
		a := s.ack(share, 0, nowUS)
		i.down(s.origin, protocol.DnAck, &a)
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

func (i *Ingest) clear() {
	i.owed, i.replies, i.exceptions, i.facts, i.entries = i.owed[:0], i.replies[:0], nil, nil, 0
}

// fail tells everyone who waits that nothing is known to be durable.
func (i *Ingest) fail(err error) {
	i.o.Log.Error().Err(err).Msg("ledger failed; ingest stops, the ledger must be reopened")
	for _, r := range i.replies {
		r(err)
	}
	i.clear()
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
		s = &session{origin: o, mark: ledger.Mark{Origin: o}, was: ledger.Mark{Origin: o}, live: o.IsFeed()}
		i.sessions[o] = s
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
	select {
	case i.queue <- it:
		return nil
	default:
		i.queued.Add(-int64(it.bytes))
		i.n.busy.Add(1)
		return ErrBusy
	}
}
