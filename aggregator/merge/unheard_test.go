package merge

import (
	"fmt"
	"testing"

	"tillwire/protocol"
)

// TestUnheard holds what counts as having left a position while nobody heard of its
// store: of the silence that has just ended, by whichever till, and nothing before it.
func TestUnheard(t *testing.T) {
	const hour = 3600 * sec
	a, b, f := newJournal("S1", "till-1"), newJournal("S1", "till-2"), newJournal("S1", "feed:wms")
	says := func(j *journal, at, merged int64, kind protocol.Kind, units int64) rec {
		r := j.add(kind, fmt.Sprint(j.origin.Agent, len(j.recs)), at, at, line("X", units))
		r.trueUS = merged
		return *r
	}
	for _, c := range []struct {
		name string
		most int
		recs func() []rec
		want protocol.Quantity
	}{
		{"a store that is heard", 100, func() []rec {
			return []rec{says(a, hour, hour+sec, protocol.KindSale, 2), says(a, hour+sec, hour+2*sec, protocol.KindSale, 3)}
		}, 0},
		{"a silence, with its last moments, less what came back", 100, func() []rec {
			return []rec{
				says(a, hour, hour+sec, protocol.KindSale, 2), // heard
				says(a, 2*hour, 5*hour, protocol.KindSale, 3), says(a, 3*hour, 5*hour, protocol.KindReturn, 1), says(a, 5*hour-sec, 5*hour, protocol.KindSale, 4),
			}
		}, protocol.Units(6)},
		{"it ended long ago", 100, func() []rec {
			return []rec{says(a, hour, 5*hour, protocol.KindSale, 2), says(a, 6*hour, 6*hour+sec, protocol.KindSale, 3), says(a, 6*hour+100*sec, 6*hour+101*sec, protocol.KindSale, 1)}
		}, 0},
		{"one till of two is silent; a feed has no silence", 100, func() []rec {
			return []rec{
				says(b, hour, hour+sec, protocol.KindSale, 9), says(f, hour, 5*hour, protocol.KindReceipt, 50),
				says(a, 2*hour, 5*hour, protocol.KindSale, 3), says(b, 5*hour, 5*hour+sec, protocol.KindSale, 2), says(a, 4*hour, 5*hour+sec, protocol.KindSale, 1),
			}
		}, protocol.Units(4)},
		{"as far as it reads", 2, func() []rec {
			return []rec{says(a, hour, 5*hour, protocol.KindSale, 1), says(a, hour+sec, 5*hour, protocol.KindSale, 2), says(a, hour+2*sec, 5*hour, protocol.KindSale, 3)}
		}, protocol.Units(5)},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b, f = newJournal("S1", "till-1"), newJournal("S1", "till-2"), newJournal("S1", "feed:wms")
			w := newWorld()
			for _, r := range c.recs() {
				w.apply(t, r)
			}
			id, _ := w.eng.Lookup("S1", "X")
			if got, err := w.eng.Unheard(id, 600*sec, c.most); err != nil || got != c.want { // of what is not committed yet
				t.Errorf("%s, %v; not %s", got, err, c.want)
			}
			w.commit()
			if got, err := w.eng.Unheard(id, 600*sec, c.most); err != nil || got != c.want {
				t.Errorf("committed: %s, %v; not %s", got, err, c.want)
			}
		})
	}
}
