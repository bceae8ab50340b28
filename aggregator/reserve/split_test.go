package reserve

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
)

// TestSplitLosesNothing divides reservations at random: what is held of a position is
// the same after each, the parts end by themselves, and a repeat changes nothing.
func TestSplitLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := New()
		k := Key{"S1", "A"}
		total := protocol.Quantity(rapid.Int64Range(1, 20).Draw(t, "ordered") * 1000)
		rec := Record{ID: "o", Channel: "web", Mode: protocol.ModeAllOrNothing, Fulfilment: protocol.FulfilmentDelivery, CreatedUS: 1, UpdatedUS: 1, Lines: []Line{
			{SKU: "A", Quantity: total, Location: "S1", State: protocol.ReservationConfirmed},
		}}
		b.Apply(change("confirm", rec))
		left, ended := total, protocol.Quantity(0)
		for n := range rapid.IntRange(1, 6).Draw(t, "parts") {
			want := protocol.Quantity(rapid.Int64Range(1, 8).Draw(t, "part") * 1000)
			id := "o." + string(rune('a'+n))
			changes, _, p := b.Split("o", id, []protocol.HoldLine{{SKU: "A", Quantity: want}}, int64(n+2))
			if want > left {
				if p == nil || p.Code != "reservation_state" {
					t.Fatalf("split %s of %s: %v", want, left, p)
				}
				continue
			}
			if p != nil {
				t.Fatal(p)
			}
			for _, c := range changes {
				b.Apply(c)
			}
			left -= want
			if _, a := b.Held(k, int64(n+2)); a != total-ended {
				t.Fatalf("%s held after a split, want %s", a, total-ended)
			}
			again, answer, p := b.Split("o", id, []protocol.HoldLine{{SKU: "A", Quantity: want}}, int64(n+2))
			if p != nil || len(again) > 0 || answer.Lines[0].Quantity != want {
				t.Fatalf("again: %v %v %v", again, answer, p)
			}
			res, p := b.Release(id, int64(n+2))
			if p != nil {
				t.Fatal(p)
			}
			b.Apply(res.Change)
			ended += want
		}
		if d := cmp.Diff(total-ended, func() protocol.Quantity { _, a := b.Held(k, 99); return a }()); d != "" {
			t.Error(d)
		}
	})
}
