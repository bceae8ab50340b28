package intake

import (
	"cmp"
	"slices"

	"tillwire/protocol"
)

// board is what the aggregator last said of the shop's tasks and holds, and what
// the shop has answered since.
//
//	pending ──accept──▶ accepted ──picked──▶ picked ──collected──▶ collected
//	   └──────reject────────┴──▶ rejected
type board struct {
	rev      uint64
	gen      uint64 // cloud generation of what is known
	tasks    map[string]*protocol.HoldTask
	held     map[protocol.SKU]protocol.Quantity
	parts    map[int]protocol.Holds // of the revision that is coming
	partsRev uint64
	answers  map[string]*given // by hold
	order    []string          // holds answered, the oldest first
}

// given is the furthest answer of a hold, and where each stands in the journal.
type given struct {
	state protocol.ReservationState
	docs  map[string]answered // by action
	// taken is what a collection or a collecting sale took off: until the aggregator
	// says the next revision its holds are that much less.
	taken map[protocol.SKU]protocol.Quantity
	rev   uint64 // of the holds when it was answered
}

type answered struct {
	seq      uint64
	recordUS int64
	id       protocol.EventID
}

func newBoard() *board {
	return &board{tasks: map[string]*protocol.HoldTask{}, held: map[protocol.SKU]protocol.Quantity{}, answers: map[string]*given{}}
}

// take puts one part of a desired state in; it is true when the whole is there and
// newer than what was known. A torn set is never applied: the aggregator sends
// again until a heartbeat says the revision.
func (b *board) take(h *protocol.Holds) bool {
	switch {
	case h.Parts < 1 || h.Parts > holdPartsMax || h.Part < 0 || h.Part >= h.Parts || h.Rev < b.rev || h.Rev < b.partsRev:
		return false
	case h.Rev != b.partsRev || b.parts == nil:
		b.parts, b.partsRev = map[int]protocol.Holds{}, h.Rev
	}
	b.parts[h.Part] = *h
	if len(b.parts) < h.Parts {
		return false
	}
	whole := protocol.Holds{V: h.V, Gen: h.Gen, Rev: h.Rev, Parts: 1}
	for n := range h.Parts {
		whole.Tasks = append(whole.Tasks, b.parts[n].Tasks...)
		whole.Held = append(whole.Held, b.parts[n].Held...)
	}
	b.parts = nil
	b.set(&whole)
	return true
}

func (b *board) set(h *protocol.Holds) {
	b.rev, b.gen = h.Rev, h.Gen
	b.tasks = make(map[string]*protocol.HoldTask, len(h.Tasks))
	for i := range h.Tasks {
		b.tasks[h.Tasks[i].HoldID] = &h.Tasks[i]
	}
	b.held = make(map[protocol.SKU]protocol.Quantity, len(h.Held))
	for _, l := range h.Held {
		b.held[l.SKU] += l.Quantity
	}
}

// whole is the desired state, to be kept.
func (b *board) whole() *protocol.Holds {
	h := &protocol.Holds{V: protocol.Version, Gen: b.gen, Rev: b.rev, Parts: 1}
	for _, t := range b.sorted() {
		h.Tasks = append(h.Tasks, *t)
	}
	for sku, q := range b.held {
		h.Held = append(h.Held, protocol.HoldLine{SKU: sku, Quantity: q})
	}
	slices.SortFunc(h.Held, func(x, y protocol.HoldLine) int { return cmp.Compare(x.SKU, y.SKU) })
	return h
}

// missing lists the tasks of an earlier desired state that a restored aggregator no
// longer knows, each as far as the shop has come with it. What is done here is left
// out: its goods are gone, and the journal says so.
func (b *board) missing(before *protocol.Holds) []protocol.HoldTask {
	if before.Gen == 0 || b.gen <= before.Gen {
		return nil // the same ledger took them back: that is its word
	}
	var out []protocol.HoldTask
	for _, t := range before.Tasks {
		if b.tasks[t.HoldID] != nil {
			continue
		}
		if t.State = b.state(&t); holdRank[t.State] < holdRank[protocol.ReservationCollected] {
			out = append(out, t)
		}
	}
	return out
}

func (b *board) sorted() []*protocol.HoldTask {
	out := make([]*protocol.HoldTask, 0, len(b.tasks))
	for _, t := range b.tasks {
		out = append(out, t)
	}
	slices.SortFunc(out, func(x, y *protocol.HoldTask) int {
		return cmp.Or(cmp.Compare(x.CreatedUS, y.CreatedUS), cmp.Compare(x.HoldID, y.HoldID))
	})
	return out
}

// holdRank is how far a task is.
var holdRank = map[protocol.ReservationState]int{
	protocol.ReservationConfirmed: 1, protocol.ReservationPending: 1, protocol.ReservationAccepted: 2, protocol.ReservationPicked: 3,
	protocol.ReservationCollected: 4, protocol.ReservationRejected: 5,
}

// holdStates are what the answers lead to.
var holdStates = map[string]protocol.ReservationState{
	protocol.HoldAccept: protocol.ReservationAccepted, protocol.HoldReject: protocol.ReservationRejected,
	protocol.HoldPicked: protocol.ReservationPicked, protocol.HoldCollected: protocol.ReservationCollected,
}

// state of a task is the further of what the aggregator knows and what the shop
// has answered.
func (b *board) state(t *protocol.HoldTask) protocol.ReservationState {
	s := t.State
	if g := b.answers[t.HoldID]; g != nil && holdRank[g.state] > holdRank[s] {
		s = g.state
	}
	return s
}

// may tells whether a task in a state can be answered so.
func may(s protocol.ReservationState, action string) bool {
	switch action {
	case protocol.HoldAccept:
		return holdRank[s] == 1
	case protocol.HoldReject:
		return holdRank[s] <= 2
	case protocol.HoldPicked:
		return s == protocol.ReservationAccepted
	case protocol.HoldCollected:
		return s == protocol.ReservationAccepted || s == protocol.ReservationPicked
	}
	return false
}

// observe takes a journaled answer, or a sale that hands a hold out.
func (b *board) observe(e *protocol.Event, seq uint64, recordUS int64) {
	action := e.Action
	if e.Kind == protocol.KindSale {
		action = protocol.HoldCollected
	}
	to, known := holdStates[action]
	if e.HoldID == "" || !known {
		return
	}
	g := b.answers[e.HoldID]
	if g == nil {
		g = &given{docs: map[string]answered{}}
		b.answers[e.HoldID] = g
		if b.order = append(b.order, e.HoldID); len(b.order) > holdAnswersMax {
			delete(b.answers, b.order[0])
			b.order = b.order[1:]
		}
	}
	if e.Kind == protocol.KindHold {
		g.docs[action] = answered{seq, recordUS, e.ID}
	}
	if holdRank[to] > holdRank[g.state] {
		g.state = to
	}
	if action == protocol.HoldCollected && g.taken == nil {
		g.taken, g.rev = map[protocol.SKU]protocol.Quantity{}, b.rev
		t := b.tasks[e.HoldID]
		if t == nil {
			return
		}
		for _, l := range t.Lines {
			g.taken[l.SKU] += l.Quantity
		}
	}
}

// heldNow is what is held of an article, less what was handed out since the
// aggregator last said.
func (b *board) heldNow(sku protocol.SKU) protocol.Quantity {
	q := b.held[sku]
	for id := range b.tasks {
		if g := b.answers[id]; g != nil && g.taken != nil && g.rev >= b.rev {
			q -= g.taken[sku]
		}
	}
	return max(0, q)
}
