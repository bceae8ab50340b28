package merge

import (
	"fmt"

	"pgregory.net/rapid"

	"tillwire/protocol"
)

// history draws the journals of a store with two tills, a store with a server,
// and a warehouse, as they come to be on one true clock: each machine has its
// own, told or not.
type history struct {
	t    *rapid.T
	js   []*journal
	now  int64 // true time
	docs int
}

var skus = []string{"X", "Y", "Z"}

func drawHistory(t *rapid.T) []*journal {
	h := &history{t: t, js: []*journal{newJournal("S1", "till-1"), newJournal("S1", "till-2"), newJournal("S2", "server"), newJournal("DC1", "feed:wms")}, now: 1_000_000 * sec}
	for _, j := range h.js[:3] {
		j.offset = rapid.SampledFrom([]int64{0, 0, 30 * sec, -120 * sec, 90_000 * sec}).Draw(t, "offset")
		if rapid.Bool().Draw(t, "clock told") {
			r := j.add(protocol.KindClock, "clock-"+string(j.origin.Agent), h.now-j.offset, h.now-j.offset)
			r.ev.ClockOffsetUS, r.ev.ClockErrorUS = j.offset, 1000
		}
	}
	for range rapid.IntRange(0, 40).Draw(t, "events") {
		if j := h.js[rapid.IntRange(0, len(h.js)-1).Draw(t, "clock")]; rapid.IntRange(0, 9).Draw(t, "set") == 0 && !j.origin.IsFeed() {
			h.setClock(j)
		}
		h.now += rapid.SampledFrom([]int64{1, 7, 40, 90, 700, 2000}).Draw(t, "gap") * sec
		h.event(h.js[rapid.IntRange(0, len(h.js)-1).Draw(t, "journal")])
	}
	return h.js
}

// setClock lets a journal's clock jump, which the journal may be told.
func (h *history) setClock(j *journal) {
	j.offset += rapid.SampledFrom([]int64{-7000, -90, -2, 2, 90, 7000}).Draw(h.t, "jump") * sec
	if rapid.Bool().Draw(h.t, "jump told") {
		h.docs++
		r := j.add(protocol.KindClock, fmt.Sprintf("jump%d", h.docs), h.now-j.offset, h.now-j.offset)
		r.ev.ClockOffsetUS, r.ev.ClockErrorUS = j.offset, 1000
	}
}

func (h *history) line() protocol.Line {
	return line(rapid.SampledFrom(skus).Draw(h.t, "sku"), rapid.Int64Range(0, 9).Draw(h.t, "qty"))
}

func (h *history) disposition() protocol.Disposition {
	return protocol.Disposition(rapid.IntRange(0, 4).Draw(h.t, "disposition"))
}

// add journals a document, now and then posted late and with what is known of
// its register's clock.
func (h *history) add(j *journal, kind protocol.Kind, lines ...protocol.Line) *rec {
	h.docs++
	now := h.now - j.offset
	event := now
	if rapid.IntRange(0, 4).Draw(h.t, "late") == 0 {
		event -= rapid.Int64Range(0, 400).Draw(h.t, "by") * sec
	}
	r := j.add(kind, fmt.Sprintf("d%d", h.docs), event, now, lines...)
	if event < now-60*sec && rapid.Bool().Draw(h.t, "register known") {
		r.ev.ClockOffsetUS, r.ev.ClockErrorUS = rapid.SampledFrom([]int64{-30, 0, 30}).Draw(h.t, "register off")*sec, sec
	}
	return r
}

func (h *history) event(j *journal) {
	feed := j.origin.IsFeed()
	switch k := rapid.IntRange(0, 15).Draw(h.t, "kind"); {
	case k <= 4:
		h.add(j, protocol.KindSale, h.line(), h.line())
	case k == 5:
		r := h.add(j, protocol.KindReceipt, h.line())
		r.ev.Lines[0].Disposition = h.disposition()
		if rapid.Bool().Draw(h.t, "advised") {
			r.ev.AdviceID = "A1"
		}
	case k == 6:
		h.transfer(j)
	case k == 7 && !feed:
		h.count(j)
	case k == 8 && feed:
		r := h.add(j, protocol.KindSnapshot, h.line())
		r.ev.Complete = rapid.Bool().Draw(h.t, "complete")
		r.ev.Lines[0].Stance = rapid.SampledFrom([]protocol.Stance{protocol.StanceAnchor, protocol.StanceDrift}).Draw(h.t, "stance")
		if rapid.Bool().Draw(h.t, "acknowledges") {
			r.ev.Acks = []protocol.JournalAck{{Origin: j.origin, Seq: rapid.Uint64Range(0, r.seq).Draw(h.t, "seq")}}
		}
	case k == 9 && feed:
		if len(j.recs) == 0 || !h.advised(j) {
			r := j.add(protocol.KindAdvice, "A1", h.now, h.now, h.line())
			r.ev.ExpectedAt = protocol.Stamp{US: h.now + 86_400*sec}
		}
	case k == 10:
		r := h.add(j, protocol.KindReturn, h.line())
		r.ev.Lines[0].Disposition = h.disposition()
		if rapid.Bool().Draw(h.t, "receipt shown") {
			r.ev.OriginalDocument = "elsewhere"
		}
	case k == 11:
		r := h.add(j, protocol.KindStatusChange, h.line())
		r.ev.Lines[0].From, r.ev.Lines[0].To = h.disposition(), h.disposition()
	case k == 12 && !feed:
		h.hold(j)
	default:
		h.void(j)
	}
}

func (h *history) advised(j *journal) bool {
	for i := range j.recs {
		if j.recs[i].ev.Kind == protocol.KindAdvice {
			return true
		}
	}
	return false
}

func (h *history) transfer(j *journal) {
	r := h.add(j, protocol.KindTransfer, h.line())
	r.ev.Direction, r.ev.TransferID, r.ev.Counterparty = protocol.DirectionOut, rapid.SampledFrom([]string{"T1", "T2"}).Draw(h.t, "transfer"), "S2"
	if j.origin.Store == "S2" {
		r.ev.Counterparty = "S1"
	}
	if rapid.Bool().Draw(h.t, "in") {
		r.ev.Direction = protocol.DirectionIn
	}
}

// count counts one or two lines, in a session or not, with the sibling's cut
// seen over the store LAN or not.
func (h *history) count(j *journal) {
	r := h.add(j, protocol.KindCount, h.line(), h.line())
	if rapid.Bool().Draw(h.t, "session") {
		r.ev.Session = rapid.SampledFrom([]string{"a", "b"}).Draw(h.t, "name")
	}
	if rapid.IntRange(0, 3).Draw(h.t, "full") == 0 {
		r.ev.Scope = protocol.ScopeFull
	}
	if j.origin.Store != "S1" || rapid.Bool().Draw(h.t, "alone") {
		return
	}
	sibling := h.js[0]
	if j == sibling {
		sibling = h.js[1]
	}
	counted, seq := r.ev.EventTime.US+j.offset, uint64(0)
	for i := range sibling.recs {
		if sibling.recs[i].trueUS <= counted {
			seq = sibling.recs[i].seq
		}
	}
	seen := []protocol.SiblingCut{{Agent: sibling.origin.Agent, Epoch: 1, Seq: seq}}
	for i := range r.ev.Lines {
		r.ev.Lines[i].Cuts = seen
	}
}

// hold lets a store hand out a reservation, or a till sell it, or both.
func (h *history) hold(j *journal) {
	if j.origin.Store != "S1" {
		return
	}
	id := rapid.SampledFrom([]string{"r1", "r2"}).Draw(h.t, "reservation")
	if rapid.Bool().Draw(h.t, "till sells") {
		h.add(j, protocol.KindSale, h.line()).ev.HoldID = id
		return
	}
	doc := protocol.HoldDocumentID(id, protocol.HoldCollected)
	for _, o := range h.js {
		for i := range o.recs {
			if o.recs[i].ev.DocumentID == doc {
				return
			}
		}
	}
	r := j.add(protocol.KindHold, doc, h.now-j.offset, h.now-j.offset, h.line())
	r.ev.HoldID, r.ev.Action = id, protocol.HoldCollected
}

// void cancels one of the store's documents, each at most once.
func (h *history) void(j *journal) {
	var docs []string
	for _, o := range h.js {
		for _, r := range o.recs {
			if r.origin.Store == j.origin.Store && contains(Voidable, r.ev.Kind) && !h.voided(r.ev.DocumentID) {
				docs = append(docs, r.ev.DocumentID)
			}
		}
	}
	if len(docs) > 0 {
		doc := rapid.SampledFrom(docs).Draw(h.t, "void")
		h.add(j, protocol.KindVoid).ev.Voids = doc
	}
}

func (h *history) voided(doc string) bool {
	for _, j := range h.js {
		for _, r := range j.recs {
			if r.ev.Voids == doc {
				return true
			}
		}
	}
	return false
}
