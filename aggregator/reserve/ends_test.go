package reserve

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

// A reservation is calm when none of its lines is at risk any more, whatever became of
// them, and is told once.
func TestTakeCalm(t *testing.T) {
	b, us := New(), int64(0)
	after := func(want []string, risks ...bool) {
		t.Helper()
		us++
		r := Record{ID: "r", Channel: "web", CreatedUS: 1, UpdatedUS: us}
		for _, risk := range risks {
			r.Lines = append(r.Lines, Line{SKU: "X", Quantity: 1000, Location: "S1", State: protocol.ReservationConfirmed, Risk: risk})
		}
		b.Apply(&Change{"x", r})
		if d := cmp.Diff(want, b.TakeCalm()); d != "" {
			t.Errorf("after %v: %s", risks, d)
		}
	}
	after(nil, false, false)
	after(nil, true, false)
	after(nil, true, true)
	after(nil, false, true)
	after([]string{"r"}, false, false)
	after(nil, false, false)
}

// Each way in which a line ends is told once, with what was promised to whom.
func TestEnds(t *testing.T) {
	firm := Line{SKU: "X", Quantity: 1000, Location: "S1", State: protocol.ReservationConfirmed}
	of := func(change func(*Line)) Line { l := firm; change(&l); return l }
	for name, x := range map[string]struct {
		was, now Line
		want     []Ending
	}{
		"collected":       {firm, of(func(l *Line) { l.State = protocol.ReservationCollected }), []Ending{Kept}},
		"partly taken":    {firm, of(func(l *Line) { l.State, l.Reason = protocol.ReservationCollected, "0.5 of 1 taken" }), []Ending{Short}},
		"shipped":         {firm, of(func(l *Line) { l.State = protocol.ReservationShipped }), []Ending{Kept}},
		"rejected":        {firm, of(func(l *Line) { l.State, l.Reason = protocol.ReservationRejected, "broken" }), []Ending{Rejected}},
		"moved":           {firm, of(func(l *Line) { l.State, l.Replaced = protocol.ReservationRejected, true }), []Ending{Moved}},
		"cancelled":       {firm, of(func(l *Line) { l.State = protocol.ReservationReleased }), []Ending{Cancelled}},
		"split off":       {firm, of(func(l *Line) { l.State, l.Quantity = protocol.ReservationReleased, 0 }), nil},
		"at risk":         {firm, of(func(l *Line) { l.Risk = true }), []Ending{AtRisk}},
		"safe again":      {of(func(l *Line) { l.Risk = true }), firm, nil},
		"accepted":        {firm, of(func(l *Line) { l.State = protocol.ReservationAccepted }), nil},
		"a hold released": {of(func(l *Line) { l.State = protocol.ReservationHeld }), of(func(l *Line) { l.State = protocol.ReservationReleased }), nil},
		"late collection": {of(func(l *Line) { l.State = protocol.ReservationRejected }), of(func(l *Line) { l.State = protocol.ReservationCollected }), nil},
	} {
		b := New()
		for n, l := range []Line{x.was, x.now, x.now} { // the last tells nothing new
			r := Record{ID: "r", Channel: "web", CreatedUS: 1, UpdatedUS: int64(1 + n), Lines: []Line{l}}
			if r.reserving() {
				r.ExpiresUS = 1e12
			}
			b.Apply(&Change{"x", r})
		}
		var got []Ending
		b.TakeEnds(func(e End) {
			got = append(got, e.How)
			if e.US != 2 || e.Location != "S1" || e.Channel != "web" {
				t.Errorf("%s: told as %+v", name, e)
			}
		})
		if d := cmp.Diff(x.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
