package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// tasks guards the board; keep writes the desired state to disk.
type tasks struct {
	mu    sync.Mutex // guards board
	board *board
	keep  func([]byte) error
}

// TakeHolds takes what the aggregator says of this store's tasks and holds, a part
// at a time. The whole is kept on disk before HoldsRev says that it is there.
func (in *Intake) TakeHolds(h *protocol.Holds) error {
	in.tasks.mu.Lock()
	defer in.tasks.mu.Unlock()
	before := in.tasks.board.whole()
	if !in.tasks.board.take(h) {
		return nil
	}
	err := in.recall(in.tasks.board.missing(before))
	if err == nil && in.tasks.keep != nil {
		var b []byte
		if b, err = json.Marshal(in.tasks.board.whole()); err == nil {
			err = in.tasks.keep(b)
		}
	}
	if err != nil {
		in.tasks.board.set(before) // it comes again until we say that we have it
		return fmt.Errorf("keep holds: %w", err)
	}
	return nil
}

// recall journals tasks that a restored aggregator no longer knows, before they are
// forgotten here: it makes them again of what the shop tells. A crash between the
// two, and they are journaled again under the same ids. tasks.mu is held.
func (in *Intake) recall(lost []protocol.HoldTask) error {
	if len(lost) == 0 {
		return nil
	}
	events := make([]*protocol.Event, 0, len(lost))
	for i := range lost {
		t := &lost[i]
		body, err := json.Marshal(t)
		if err != nil {
			return fmt.Errorf("recall hold %s: %w", t.HoldID, err)
		}
		e := &protocol.Event{
			Kind: protocol.KindHold, Store: in.o.Store, DocumentID: fmt.Sprintf("%s:r%d", t.HoldID, in.tasks.board.gen),
			EventTime: protocol.StampOf(in.o.Now()), HoldID: t.HoldID, OrderID: t.OrderID, Action: protocol.HoldRecalled, Body: body,
		}
		e.ID = protocol.MakeEventID(e.Store, e.Kind, e.DocumentID)
		in.tellSetBack(e, in.o.Now().UnixMicro())
		events = append(events, e)
	}
	ctx, cancel := context.WithTimeout(context.Background(), recallWait)
	defer cancel()
	_, errs := in.o.Journal.AppendAll(ctx, events)
	for n, err := range errs {
		if err != nil && !errors.Is(err, journal.ErrIDReused) { // reused: told before, in a state of then; the first word stands
			return fmt.Errorf("recall hold %s: %w", events[n].HoldID, err)
		}
	}
	in.o.Log.Warn().Int("tasks", len(events)).Uint64("generation", in.tasks.board.gen).Msg("tasks that the restored aggregator does not know are told to it")
	return nil
}

// HoldsRev is the revision of what is kept, for heartbeats.
func (in *Intake) HoldsRev() uint64 {
	in.tasks.mu.Lock()
	defer in.tasks.mu.Unlock()
	return in.tasks.board.rev
}

// Task is work for the shop, as GET /v1/holds tells it.
type Task struct {
	HoldID     string                    `json:"hold_id"`
	State      protocol.ReservationState `json:"state"`
	Fulfilment string                    `json:"fulfilment"`
	Channel    string                    `json:"channel"`
	OrderID    string                    `json:"order_id,omitempty"`
	CreatedAt  time.Time                 `json:"created_at"`
	AgeS       float64                   `json:"age_s"`
	Known      bool                      `json:"known_to_aggregator"` // our last answer has reached it
	Actions    []string                  `json:"actions"`             // that can be answered now
	Lines      []protocol.HoldLine       `json:"lines"`
}

// Tasks lists the shop's work, oldest first.
func (in *Intake) Tasks() []Task {
	in.tasks.mu.Lock()
	defer in.tasks.mu.Unlock()
	now := in.o.Now()
	out := []Task{}
	b := in.tasks.board
	for _, t := range b.sorted() {
		s := b.state(t)
		if holdRank[s] >= holdRank[protocol.ReservationCollected] {
			continue // done here; it leaves the list when the aggregator has heard of it
		}
		created := time.UnixMicro(t.CreatedUS).UTC()
		x := Task{
			HoldID: t.HoldID, State: s, Fulfilment: t.Fulfilment, Channel: t.Channel, OrderID: t.OrderID, CreatedAt: created,
			AgeS: max(0, now.Sub(created).Seconds()), Known: s == t.State, Actions: []string{}, Lines: t.Lines,
		}
		for _, a := range holdActions {
			if may(s, a) {
				x.Actions = append(x.Actions, a)
			}
		}
		out = append(out, x)
	}
	return out
}

// holdActions are the store's answers to a task.
var holdActions = []string{protocol.HoldAccept, protocol.HoldReject, protocol.HoldPicked, protocol.HoldCollected}

func (in *Intake) holds(w http.ResponseWriter, r *http.Request) {
	in.fresh(r)
	answerJSON(w, http.StatusOK, map[string]any{"holds": in.Tasks()})
}

// holdAnswer is the optional body of an answer.
type holdAnswer struct {
	Register   string    `json:"register"`
	OccurredAt time.Time `json:"occurred_at"`
	Reason     string    `json:"reason"`
}

// answerHold journals an answer to a task. Asked again it is answered as before.
func (in *Intake) answerHold(action string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		in.fresh(r) // what was journaled just now counts
		id := r.PathValue("id")
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, holdBodyMax))
		req := holdAnswer{}
		if err == nil && len(body) > 0 {
			if p := protocol.DecodeStrict(body, &req); p != nil {
				refuse(w, p)
				return
			}
		}
		if err != nil || len(req.Register) > protocol.NameBytesMax || len(req.Reason) > holdReasonMax || protocol.FindPAN(req.Reason, true) {
			refuse(w, protocol.NewProblem(http.StatusUnprocessableEntity, protocol.CodeInvalidField, "The answer cannot be read", "register, occurred_at and reason are all that it may say",
				fmt.Sprintf("Keep the reason under %d bytes and free of card numbers.", holdReasonMax)))
			return
		}
		e, done, p := in.answerOf(id, action, &req)
		if p != nil {
			refuse(w, p)
			return
		}
		if done != nil {
			var room [320]byte
			answer(w, http.StatusOK, "application/json", append(appendResult(room[:0], done, nil), '\n'))
			return
		}
		rec, err := in.o.Journal.Append(r.Context(), e)
		if err != nil {
			in.refuseJournal(w, protocol.KindHold, err)
			return
		}
		in.count.journaled(e, rec.Duplicate)
		in.tasks.mu.Lock()
		in.tasks.board.observe(e, rec.Seq, rec.RecordUS)
		in.tasks.mu.Unlock()
		var room [320]byte
		answer(w, statusOf(&rec), "application/json", append(appendResult(room[:0], &rec, nil), '\n'))
	}
}

// answerOf makes the document of an answer; a receipt where it was given before.
func (in *Intake) answerOf(id, action string, req *holdAnswer) (*protocol.Event, *journal.Receipt, *protocol.Problem) {
	in.tasks.mu.Lock()
	defer in.tasks.mu.Unlock()
	b := in.tasks.board
	if g := b.answers[id]; g != nil {
		if a, given := g.docs[action]; given {
			return nil, &journal.Receipt{EventID: a.id, Seq: a.seq, RecordUS: a.recordUS, Duplicate: true}, nil
		}
	}
	t := b.tasks[id]
	if t == nil {
		return nil, nil, protocol.NewProblem(http.StatusNotFound, "unknown_hold", "There is no such hold here", id, "GET /v1/holds lists the holds of this store.")
	}
	if s := b.state(t); !may(s, action) {
		return nil, nil, protocol.NewProblem(http.StatusConflict, "hold_state", "The task cannot be answered so now",
			fmt.Sprintf("hold %s is %s", id, s), "GET /v1/holds tells which actions a task allows: accept before picked, picked or accepted before collected.")
	}
	at := req.OccurredAt
	if at.IsZero() {
		at = in.o.Now()
	}
	e := &protocol.Event{
		Kind: protocol.KindHold, Store: in.o.Store, DocumentID: protocol.HoldDocumentID(id, action), Register: req.Register,
		EventTime: protocol.StampOf(at), HoldID: id, OrderID: t.OrderID, Action: action, Reason: req.Reason,
	}
	for n, l := range t.Lines {
		e.Lines = append(e.Lines, protocol.Line{Line: n + 1, SKU: l.SKU, Quantity: l.Quantity})
	}
	e.ID = protocol.MakeEventID(e.Store, e.Kind, e.DocumentID)
	in.tellSetBack(e, in.o.Now().UnixMicro())
	return e, nil, nil
}
