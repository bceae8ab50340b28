package aggregator

import (
	"testing"

	"tillwire/protocol"
)

func TestRefusalsAreCountedByReason(t *testing.T) {
	var r refusals
	for n, why := range []protocol.NackReason{protocol.NackGap, protocol.NackGap, protocol.NackQuarantined, "a word of tomorrow", protocol.NackNone} {
		r.add(why)
		total := uint64(0)
		r.each(func(_ protocol.NackReason, k uint64) { total += k })
		if total != uint64(n)+1 {
			t.Errorf("%d of %d counted", total, n+1)
		}
	}
	r.each(func(why protocol.NackReason, n uint64) {
		if want := map[protocol.NackReason]uint64{protocol.NackGap: 2, protocol.NackQuarantined: 1, "other": 2}[why]; n != want {
			t.Errorf("%s: %d, want %d", why, n, want)
		}
	})
}
