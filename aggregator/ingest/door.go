package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tillwire/aggregator/merge"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Hello takes an agent's HELLO. It never blocks; ErrBusy makes the agent try
// again.
func (i *Ingest) Hello(o protocol.Origin, payload []byte) error {
	var h protocol.Hello
	if why := readHello(payload, &h); why != "" {
		reason := protocol.NackMalformed
		if h.V != protocol.Version && h.V != 0 {
			reason = protocol.NackUpgrade
		}
		i.o.Refused(o, reason, "hello: "+why)
		i.down(o, protocol.DnWelcome, &protocol.Welcome{V: protocol.Version, BootID: h.BootID, Refused: why})
		return nil
	}
	return i.enqueue(item{bytes: len(payload), do: func(i *Ingest, nowUS int64) error {
		i.hello(o, &h, nowUS)
		return nil
	}})
}

// readHello decodes a HELLO and says why it cannot be answered, if so.
func readHello(payload []byte, h *protocol.Hello) string {
	err := protocol.DecodeControl(payload, h)
	if err == nil {
		err = checkHello(h)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func (i *Ingest) hello(o protocol.Origin, h *protocol.Hello, nowUS int64) {
	s, why := i.speaker(o, h, nowUS)
	if why != "" {
		i.o.Refused(o, protocol.NackQuarantined, why)
		i.down(o, protocol.DnWelcome, &protocol.Welcome{V: protocol.Version, BootID: h.BootID, Refused: why})
		return
	}
	was := s.mark
	i.drop(s)
	i.follow(s, h)
	s.mark.Lease = max(s.mark.Lease, leaseFloor(i.generation.Load()))
	s.bare = i.eng.Reached(s.origin) < s.mark.Epoch
	w, gone := s.greet(h, nowUS)
	if h.Head-min(h.Head, s.mark.Seq) > drainBacklog {
		w.StartAfterMS = int64(min(drainStaggerMax, drainStaggerMS*i.drains()))
	}
	s.welcome = &w
	i.owe(s)
	s.forked(was, &w, h, nowUS)
	o = s.origin
	i.eng.SetForks(o, s.mark.Forks)
	if gone != nil {
		i.exceptions = append(i.exceptions, protocol.Exception{
			ID:    exceptionID(o, gone.epoch, gone.from) + "-lost",
			State: "open", Code: "events_unrecoverable", Origin: o, Epoch: gone.epoch, Seq: gone.from, At: time.UnixMicro(nowUS).UTC(),
			Reason: fmt.Sprintf("at least %d events of %s (seq %d to %d, epoch %d) cannot be recovered: %s. Recount the store, or have the POS send them again.",
				gone.to-gone.from+1, o, gone.from, gone.to, gone.epoch, gone.why),
		})
	}
	i.o.Log.Info().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Uint64("epoch", s.mark.Epoch).
		Uint64("lease", s.mark.Lease).Uint64("merged", s.mark.Seq).Uint64("head", h.Head).Bool("rebase", w.Rebase).Msg("session opened")
}

// drains counts the sessions that are far behind their heads.
func (i *Ingest) drains() int {
	n := 0
	for _, s := range i.sessions {
		if s.live && s.mark.HeadSeen > s.mark.Seq+drainBacklog {
			n++
		}
	}
	return n
}

// Frame takes a frame as it came from the broker. Decoding, with its checksum and
// chain, happens on the caller's goroutine, reading its records on a preparer's;
// what depends on other frames on the writer's.
func (i *Ingest) Frame(o protocol.Origin, payload []byte, recvUS int64) error {
	f, err := i.o.Codec.Decode(payload)
	if err != nil {
		reason := protocol.NackMalformed
		if errors.Is(err, protocol.ErrUpgrade) || errors.Is(err, protocol.ErrMagic) {
			reason = protocol.NackUpgrade
		}
		i.o.Refused(o, reason, err.Error())
		return i.enqueue(item{do: func(i *Ingest, _ int64) error { i.nack(i.session(o), reason); return nil }})
	}
	raw := 0
	for _, r := range f.Records {
		raw += len(r)
	}
	w := &framed{f: f}
	return i.enqueue(item{bytes: raw, bulk: true, frame: w, do: func(i *Ingest, nowUS int64) error {
		defer w.done()
		return i.frame(o, w, recvUS, nowUS)
	}})
}

func (i *Ingest) frame(o protocol.Origin, w *framed, recvUS, nowUS int64) error {
	f := w.f
	s := i.speaking(o, f.Epoch, f.Lease)
	o = s.origin
	s.recvUS = recvUS
	skip, refuse := s.judge(f)
	if refuse != protocol.NackNone {
		i.nack(s, refuse)
		i.o.Refused(o, refuse, fmt.Sprintf("frame seq %d to %d, epoch %d, lease %d; the session stands at seq %d, epoch %d, lease %d",
			f.FirstSeq, f.LastSeq(), f.Epoch, f.Lease, s.mark.Seq, s.mark.Epoch, s.mark.Lease))
		return nil
	}
	i.n.frames.Add(1)
	origin, ready := i.eng.Origin(o), w.records()
	var lastUS int64
	for k := skip; k < len(f.Records); k++ {
		in := merge.Input{Origin: origin, Epoch: f.Epoch, Seq: f.FirstSeq + uint64(k), MergedUS: nowUS, Record: f.Records[k], Prepared: &ready[k]}
		out, _, err := i.apply(in, o)
		if err != nil {
			return err
		}
		lastUS = max(lastUS, out.RecordUS)
		if out.Verdict == merge.Duplicate && len(s.mark.Forks) > 0 {
			same, err := i.eng.Holds(out.Position, &in)
			if err != nil {
				return fmt.Errorf("merge %s seq %d: %w", o, in.Seq, err)
			}
			if same && s.extend(in.Seq) {
				i.eng.SetForks(o, s.mark.Forks)
			}
		}
		if s.lane != nil && out.Event != nil {
			s.lane.take(out.Event, in.Seq, out.RecordUS)
		}
		if out.Verdict == merge.Merged && out.Event.Kind.OfAgent() {
			s.mark.Own++
		}
	}
	i.n.duplicates.Add(uint64(skip))
	s.take(f, skip, lastUS, nowUS)
	i.advance(s, nowUS)
	i.owe(s)
	return nil
}

// apply folds one record; what cannot take effect is parked by itself, and what
// is odd about it is noted where ops sees it.
func (i *Ingest) apply(in merge.Input, o protocol.Origin) (merge.Outcome, string, error) {
	if p := in.Prepared; p == nil {
		in.Prepared = &i.prepared
		merge.Prepare(in.Record, in.Prepared)
	}
	in.HoldID = i.eng.hold(in.Prepared.Event(), in.MergedUS)
	out, err := i.eng.Apply(in)
	if err != nil {
		return out, "", fmt.Errorf("merge %s seq %d: %w", o, in.Seq, err)
	}
	i.entries++
	switch out.Verdict {
	case merge.Duplicate:
		i.n.duplicates.Add(1)
	case merge.Parked:
		if out.Code == "id_reused" {
			known, err := i.corrects(out.Event)
			if err != nil {
				return out, "", err
			}
			if known {
				out.Verdict = merge.Duplicate
				i.n.duplicates.Add(1)
				return out, "", nil
			}
		}
		return out, i.park(in, o, &out), nil
	case merge.Merged:
		i.eng.tally(out.Event, in.MergedUS, o.IsFeed())
		if out.Event.Kind == protocol.KindCommand {
			return out, "", i.obeyed(o, out.Event, in.MergedUS)
		}
		i.eng.owe(out.Event, in.Origin, out.Position, in.MergedUS)
		if id := i.eng.observe(out.Event, in.MergedUS, o.IsFeed()); id != "" {
			i.rejected = append(i.rejected, id)
		}
		for _, n := range out.Notes {
			i.noteOdd(n, in, o, out.Event)
		}
		if i.o.Traced != nil && out.Event.Traceparent != "" {
			i.traced(in, o, &out)
		}
		if out.Event.Kind == protocol.KindCount && i.o.Zones != nil {
			i.noteZones(in, o, out.Event)
		}
	}
	return out, "", nil
}

// traced tells of a document whose sender follows it, after the commit.
func (i *Ingest) traced(in merge.Input, o protocol.Origin, out *merge.Outcome) {
	ev := out.Event
	t := Traced{
		EventID: ev.ID, Kind: ev.Kind, DocumentID: strings.Clone(ev.DocumentID), Traceparent: strings.Clone(ev.Traceparent), // not the whole frame with them
		Origin: o, Epoch: in.Epoch, Seq: in.Seq, OccurredUS: ev.EventTime.US, RecordUS: out.RecordUS, MergedUS: in.MergedUS,
	}
	i.replies = append(i.replies, func(err error) {
		if err == nil {
			i.o.Traced(&t)
		}
	})
}

// noteZones shows a count of a zone that the store is not known to have. It
// counts: the goods were seen, wherever that is.
func (i *Ingest) noteZones(in merge.Input, o protocol.Origin, ev *protocol.Event) {
	zones := i.o.Zones(ev.Store)
	if len(zones) == 0 {
		return
	}
	seen := map[string]bool{"": true}
	look := func(z string) {
		if seen[z] {
			return
		}
		seen[z] = true
		if !slices.Contains(zones, z) {
			i.noteOdd(merge.Note{Code: "zone_unknown", Key: string(ev.Store) + "/" + z, Reason: fmt.Sprintf("count %s names zone %q, which %s does not have (%s); it counts all the same", ev.DocumentID, z, ev.Store, strings.Join(zones, ", "))}, in, o, ev)
		}
	}
	look(ev.Zone)
	for n := range ev.Lines {
		look(ev.Lines[n].Zone)
	}
}

// noteOdd opens an exception for a document that took effect all the same: one
// per cause, which the newest document stands for.
func (i *Ingest) noteOdd(n merge.Note, in merge.Input, o protocol.Origin, ev *protocol.Event) {
	sum := sha256.Sum256([]byte(n.Code + "\x00" + n.Key))
	x := protocol.Exception{
		ID: n.Code + "-" + hex.EncodeToString(sum[:8]), State: "open", Code: n.Code, Reason: n.Reason, Counted: true, About: n.Key, Origin: o,
		Epoch: in.Epoch, Seq: in.Seq, At: time.UnixMicro(in.MergedUS).UTC(), EventID: ev.ID, Kind: ev.Kind, DocumentID: ev.DocumentID,
		Document: protocol.ViewDocument(ev),
	}
	if n.Over {
		x.State, x.DecidedAt = "retried", x.At
	}
	i.exceptions = append(i.exceptions, x)
}

func (i *Ingest) park(in merge.Input, o protocol.Origin, out *merge.Outcome) string {
	if !i.again {
		i.n.parked.Add(1)
	}
	x := protocol.Exception{
		ID: exceptionID(o, in.Epoch, in.Seq), State: "open", Code: out.Code, Reason: out.Reason, Origin: o,
		Epoch: in.Epoch, Seq: in.Seq, At: time.UnixMicro(in.MergedUS).UTC(), Raw: append([]byte(nil), in.Record...),
	}
	if ev := out.Event; ev != nil && ev.Kind.Valid() {
		x.EventID, x.Kind, x.DocumentID = ev.ID, ev.Kind, ev.DocumentID
		x.Document = protocol.ViewDocument(ev)
	}
	i.exceptions = append(i.exceptions, x)
	if i.o.Parked != nil && !i.again {
		i.o.Parked(o, out.Code)
	}
	i.o.Log.Warn().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Uint64("seq", in.Seq).Str("code", out.Code).Msg("event parked")
	return x.ID
}

func exceptionID(o protocol.Origin, epoch, seq uint64) string {
	return strings.ReplaceAll(fmt.Sprintf("%s-%s-%d-%d", o.Store, o.Agent, epoch, seq), ":", "-")
}

func (i *Ingest) nack(s *session, reason protocol.NackReason) {
	i.n.nacks.Add(1)
	s.nack = reason
	if s.echoUS == 0 {
		s.echoUS = -1 // an answer is owed though nothing was taken
	}
	i.owe(s)
}

// Accept merges the documents of a feed into the feed's own journal and answers
// each after the commit. A document seen before is a duplicate.
func (i *Ingest) Accept(ctx context.Context, o protocol.Origin, events []*protocol.Event) ([]protocol.FeedResult, error) {
	return i.AcceptWith(ctx, o, events, nil)
}

func (i *Ingest) feed(o protocol.Origin, events []*protocol.Event, results []protocol.FeedResult, nowUS int64) error {
	s := i.session(o)
	if s.mark.Epoch == 0 {
		s.mark.Epoch, s.mark.Lease = 1, 1
	}
	for k := 0; k < len(events); {
		n := k + 1
		if events[k].Kind == protocol.KindSnapshot {
			for n < len(events) && events[n].Kind == protocol.KindSnapshot && events[n].Session != "" && events[n].Session == events[k].Session {
				n++
			}
			if err := i.statement(o, events[k:n], results[k:n], nowUS); err != nil {
				return err
			}
			k = n
			continue
		}
		out, id, err := i.append(o, events[k], nowUS)
		if err != nil {
			return err
		}
		results[k] = result(events[k], &out, id)
		k = n
	}
	i.owe(s)
	return nil
}

// call runs do on the writer's goroutine, before the frames that wait, and returns
// when its batch is committed.
func (i *Ingest) call(ctx context.Context, do func(i *Ingest, nowUS int64) error) error {
	return i.wait(ctx, false, do)
}

func (i *Ingest) wait(ctx context.Context, bulk bool, do func(i *Ingest, nowUS int64) error) error {
	done := make(chan error, 1)
	err := i.enqueue(item{bulk: bulk, do: func(i *Ingest, nowUS int64) error {
		i.replies = append(i.replies, func(err error) { done <- err })
		return do(i, nowUS)
	}})
	if err != nil {
		return err
	}
	if i.hand {
		i.Turn() //nolint:errcheck // done is told too
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-i.done:
		return ErrStopped
	}
}

// Explain tells why a position is what it is, or was.
func (i *Ingest) Explain(ctx context.Context, sku protocol.SKU, loc protocol.StoreID, q merge.Question) (*protocol.Explanation, error) {
	v, err := i.viewOf(ctx, sku, loc, q.AtUS == 0 && q.KnownUS == 0)
	if errors.Is(err, errNoCell) {
		return nil, ledger.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	x, err := merge.Explain(v.view, i.o.Ledger.Read, q)
	if err != nil {
		return nil, err
	}
	for _, d := range v.way {
		x.OnHand += d.OnHand
		x.Unavailable += d.Unavailable
		x.UnavailableBy.Unknown += d.Unavailable
		x.Sum += d.Words()
	}
	x.OnTheWay = v.way
	return x, nil
}

// SpendFact stores a small value durably where its key is not there yet,
// and tells whether it did: a code can be spent once.
func (i *Ingest) SpendFact(ctx context.Context, key string, value []byte) (bool, error) {
	spent := false
	err := i.call(ctx, func(i *Ingest, _ int64) error {
		if err := i.land(); err != nil { // it may be on its way
			return err
		}
		_, err := i.o.Ledger.Fact(key)
		if !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		for _, f := range i.facts {
			if f.Key == key {
				return nil
			}
		}
		spent = true
		i.facts = append(i.facts, ledger.Fact{Key: key, Value: value})
		return nil
	})
	return spent, err
}

// PutFact stores a small value durably, over what its key held.
func (i *Ingest) PutFact(ctx context.Context, key string, value []byte) error {
	return i.call(ctx, func(i *Ingest, _ int64) error {
		i.facts = append(i.facts, ledger.Fact{Key: key, Value: value})
		return nil
	})
}

// PutFacts stores small values durably, all or none; a nil value deletes.
func (i *Ingest) PutFacts(ctx context.Context, facts ...ledger.Fact) error {
	return i.call(ctx, func(i *Ingest, _ int64) error {
		i.facts = append(i.facts, facts...)
		return nil
	})
}

// weigh looks how full the queue is, and now and then who is how far behind.
func (i *Ingest) weigh(nowUS int64) {
	_, bulk := i.queue.waits()
	i.turns.weigh(bulk, queueItemsMax, i.queued.Load(), queueBytesMax)
	if !i.turns.due(nowUS) {
		return
	}
	behind := make([]int64, 0, len(i.sessions))
	for _, s := range i.sessions {
		if s.drains() {
			behind = append(behind, s.mark.RecordUS)
		}
	}
	i.turns.divide(behind, nowUS)
}
