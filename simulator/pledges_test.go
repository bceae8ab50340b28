package simulator

import (
	"slices"
	"testing"

	"tillwire/protocol"
)

func TestOrdersEndOnlyAsTheirLastWordAllows(t *testing.T) {
	for last, c := range map[protocol.ReservationState]struct{ may, never []protocol.ReservationState }{
		protocol.ReservationHeld:      {[]protocol.ReservationState{"held", "expired"}, []protocol.ReservationState{"confirmed", "released", "collected"}},
		protocol.ReservationConfirmed: {[]protocol.ReservationState{"confirmed", "pending"}, []protocol.ReservationState{"expired", "released", "accepted"}},
		protocol.ReservationAccepted:  {[]protocol.ReservationState{"accepted"}, []protocol.ReservationState{"pending", "picked"}},
		protocol.ReservationPicked:    {[]protocol.ReservationState{"picked"}, []protocol.ReservationState{"accepted", "collected"}},
		protocol.ReservationCollected: {[]protocol.ReservationState{"collected", "shipped"}, []protocol.ReservationState{"picked", "released"}},
		protocol.ReservationReleased:  {[]protocol.ReservationState{"released"}, []protocol.ReservationState{"held", "expired"}},
		protocol.ReservationRejected:  {[]protocol.ReservationState{"rejected", "pending"}, []protocol.ReservationState{"accepted", "released"}},
	} {
		p := newPledges()
		p.note("A", protocol.ReservationHeld, func(o *Orders) { o.Promised++ })
		p.note("A", last, func(*Orders) {})
		got := p.orders["A"].may()
		for _, s := range c.may {
			if !slices.Contains(got, s) {
				t.Errorf("after %s: %s must be allowed, only %v is", last, s, got)
			}
		}
		for _, s := range c.never {
			if slices.Contains(got, s) {
				t.Errorf("after %s: %s is allowed", last, s)
			}
		}
		if n := p.result().Promised; n != 1 {
			t.Errorf("%d promised", n)
		}
	}
}
