package channel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/aggregator/channel"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

var errBroken = errors.New("the process dies here")

// house is the real book of reservations and facts, which outlive a process that dies
// at the call of a number: before it takes effect, or after it, before it is answered.
type house struct {
	book  *reserve.Book
	facts map[string][]byte
	stock map[reserve.Key]protocol.Quantity
	sent  protocol.Quantity
	calls int
	dies  int // 0: never; even: before call dies/2 takes effect, odd: after
}

func (h *house) step(effect func() error) error {
	h.calls++
	if h.dies > 0 && h.calls == (h.dies+1)/2 && h.dies%2 == 1 {
		return errBroken
	}
	err := effect()
	if err == nil && h.dies > 0 && h.calls == h.dies/2 && h.dies%2 == 0 {
		return errBroken
	}
	return err
}

func (h *house) Free(k reserve.Key, _ string) protocol.Quantity      { return h.stock[k] }
func (h *house) OnHand(k reserve.Key) protocol.Quantity              { return h.stock[k] }
func (h *house) Explode(protocol.SKU) []protocol.KitComponent        { return nil }
func (h *house) Sourcing(protocol.SKU) string                        { return "" }
func (h *house) Candidates(protocol.SKU, string) []reserve.Candidate { return nil }
func (h *house) Resource(reserve.Key) bool                           { return false }

func (h *house) desk() *channel.Desk {
	do := func(f func() (reserve.Result, *protocol.Problem)) (r protocol.Reservation, err error) {
		err = h.step(func() error {
			res, p := f()
			if p != nil {
				return p
			}
			if res.Change != nil {
				h.book.Apply(res.Change)
			}
			for _, m := range res.Moves {
				for _, l := range m.Lines {
					h.stock[reserve.Key{Location: m.Location, SKU: l.SKU}] -= l.Quantity
					h.sent += l.Quantity
				}
			}
			r = res.Answer
			return nil
		})
		return r, err
	}
	by := func(f func(id string) (reserve.Result, *protocol.Problem)) func(context.Context, string) (protocol.Reservation, error) {
		return func(_ context.Context, id string) (protocol.Reservation, error) {
			return do(func() (reserve.Result, *protocol.Problem) { return f(id) })
		}
	}
	return &channel.Desk{
		Name: "shop", Channel: "web", Fulfilment: protocol.FulfilmentDelivery,
		Facts: channel.Facts{
			Read: func(key string) ([]byte, error) {
				if b, ok := h.facts[key]; ok {
					return b, nil
				}
				return nil, ledger.ErrNotFound
			},
			Put: func(_ context.Context, key string, v []byte) error {
				return h.step(func() error {
					if h.facts[key] = v; v == nil {
						delete(h.facts, key)
					}
					return nil
				})
			},
		},
		Book: channel.Reservations{
			Reserve: func(_ context.Context, q *protocol.ReservationRequest) (r protocol.Reservation, created bool, err error) {
				r, err = do(func() (reserve.Result, *protocol.Problem) { return h.book.Reserve(q, h, 1) })
				return r, true, err
			},
			Confirm: by(func(id string) (reserve.Result, *protocol.Problem) { return h.book.Confirm(id, h, 2) }),
			Release: by(func(id string) (reserve.Result, *protocol.Problem) { return h.book.Release(id, 3) }),
			Fulfil:  by(func(id string) (reserve.Result, *protocol.Problem) { return h.book.Fulfil(id, h, 4) }),
			Split: func(_ context.Context, id, part string, lines []protocol.HoldLine) (r protocol.Reservation, err error) {
				err = h.step(func() error {
					changes, a, p := h.book.Split(id, part, lines, 3)
					if p != nil {
						return p
					}
					for _, c := range changes {
						h.book.Apply(c)
					}
					r = a
					return nil
				})
				return r, err
			},
			Get: func(_ context.Context, id string) (protocol.Reservation, bool, error) {
				r, ok := h.book.Get(id, 5)
				return r, ok, nil
			},
		},
	}
}

func newHouse(dies int) *house {
	return &house{
		book: reserve.New(), facts: map[string][]byte{}, dies: dies,
		stock: map[reserve.Key]protocol.Quantity{{Location: "S1", SKU: "A"}: 10_000, {Location: "S1", SKU: "B"}: 5_000},
	}
}

// state is what came of an order.
func (h *house) state() string {
	var w strings.Builder
	for _, k := range []reserve.Key{{Location: "S1", SKU: "A"}, {Location: "S1", SKU: "B"}} {
		r, a := h.book.Held(k, 6)
		fmt.Fprintf(&w, "%s: %s there, %s held; ", k.SKU, h.stock[k], r+a)
	}
	fmt.Fprintf(&w, "%s sent, %d facts", h.sent, len(h.facts))
	return w.String()
}

var story = []channel.Order{
	{ID: "1", Lines: []channel.OrderLine{{ID: "a", SKU: "A", Quantity: 3000, Location: "S1"}, {ID: "b", SKU: "B", Quantity: 2000, Location: "S1"}}},
	{ID: "1", Parcels: []channel.Parcel{{ID: "f1", Lines: map[string]protocol.Quantity{"a": 2000, "b": 1000}}}},
	{ID: "1", Parcels: []channel.Parcel{{ID: "c", Cancelled: true, Total: true, Lines: map[string]protocol.Quantity{"a": 1000}}}},
	{ID: "1", Parcels: []channel.Parcel{{ID: "f1", Lines: map[string]protocol.Quantity{"a": 2000, "b": 1000}}, {ID: "f2", Lines: map[string]protocol.Quantity{"b": 1000}}}},
}

// TestEveryStepOnce kills the process at each step of an order's life, before it
// takes effect and after it. Whoever tells of the order tells again, all of it.
func TestEveryStepOnce(t *testing.T) {
	want := []string{
		"A: 10 there, 3 held; B: 5 there, 2 held; 0 sent, 1 facts",
		"A: 8 there, 1 held; B: 4 there, 1 held; 3 sent, 1 facts",
		"A: 8 there, 0 held; B: 4 there, 1 held; 3 sent, 1 facts",
		"A: 8 there, 0 held; B: 3 there, 0 held; 4 sent, 0 facts",
	}
	for dies := 0; ; dies++ {
		h := newHouse(dies)
		died := false
		var got []string
		for i := range story {
			o := story[i]
			_, err := h.desk().Take(context.Background(), &o)
			if errors.Is(err, errBroken) {
				died = true
				h.dies = 0
				for j := range story[:i+1] { // from the first, as a channel may
					again := story[j]
					if _, err := h.desk().Take(context.Background(), &again); err != nil {
						t.Fatalf("dies %d, step %d again: %v", dies, j, err)
					}
				}
			} else if err != nil {
				t.Fatalf("dies %d, step %d: %v", dies, i, err)
			}
			got = append(got, h.state())
		}
		for i := range story { // late repeats change nothing
			o := story[i]
			if _, err := h.desk().Take(context.Background(), &o); err != nil {
				t.Fatalf("dies %d, late %d: %v", dies, i, err)
			}
		}
		if d := cmp.Diff(want, got); d != "" || h.state() != want[3] {
			t.Fatalf("dies %d: %s%s", dies, d, h.state())
		}
		if dies > 0 && !died {
			if dies < 30 {
				t.Errorf("only %d steps were broken", dies)
			}
			return
		}
	}
}

func TestDeskTellsWhatIsNotThere(t *testing.T) {
	h := newHouse(0)
	out, err := h.desk().Take(context.Background(), &channel.Order{ID: "2", Lines: []channel.OrderLine{{ID: "a", SKU: "A", Quantity: 12_000, Location: "S1"}}})
	if err != nil || len(out.Problems) != 1 || !strings.Contains(out.Problems[0], "2 of A could not be held") {
		t.Errorf("sold too much: %v %v", out, err)
	}
	out, err = h.desk().Take(context.Background(), &channel.Order{ID: "2", Parcels: []channel.Parcel{{ID: "f", Lines: map[string]protocol.Quantity{"a": 12_000}}}})
	if err != nil || len(out.Problems) != 1 || !strings.Contains(out.Problems[0], "2 of A went out that were not held") {
		t.Errorf("sent too much: %v %v", out, err)
	}
	out, err = h.desk().Take(context.Background(), &channel.Order{ID: "3", Lines: []channel.OrderLine{{ID: "a", SKU: "Z", Quantity: 1000, Location: "S1"}}})
	if err != nil || len(out.Problems) != 1 || !strings.Contains(out.Problems[0], "nothing of the order") {
		t.Errorf("nothing there: %v %v", out, err)
	}
	if _, err := h.desk().Take(context.Background(), &channel.Order{ID: "4", Parcels: []channel.Parcel{{ID: "f"}}}); !errors.Is(err, channel.ErrUnknownOrder) {
		t.Errorf("unknown: %v", err)
	}
}
