package fleet

import (
	"testing"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

func TestPastIsWhatWasThen(t *testing.T) {
	w := newWorld(t, StoreInfo{Store: "S1"})
	began := w.us
	w.live(o1)
	w.us += 40_000_000
	w.beat(o1, 100, 100, 0)
	w.pass(20 * time.Second)
	online := w.us
	w.pass(time.Minute)
	w.Connected(o1, false, w.us)
	for range 10 {
		w.pass(time.Minute)
	}
	w.is(t, protocol.PresenceOffline)

	for _, c := range []struct {
		name string
		at   int64
		want uint8
	}{
		{"while it was online", online, packState(0, 0)},
		{"when it had been offline", w.us, packState(5, 7)},
		{"within the same minute", w.us + 59_000_000, packState(5, 7)},
	} {
		p, ok := w.Past(c.at)
		if !ok || len(p.States) != 1 || p.States[0] != c.want {
			t.Errorf("%s: %+v %v, want state %d", c.name, p, ok, c.want)
		}
	}
	for name, at := range map[string]int64{"before it began": began - 120_000_000, "later than now": w.us + 120_000_000} {
		if p, ok := w.Past(at); ok {
			t.Errorf("%s: answered %+v", name, p)
		}
	}

	w.Merged(protocol.Origin{Store: "S2", Agent: "server"}, ledger.Mark{Origin: protocol.Origin{Store: "S2", Agent: "server"}, Epoch: 1, Lease: 1, Seq: 1}, w.us, 1)
	w.pass(time.Minute)
	if p, ok := w.Past(online); !ok || p.States[1] != protocol.PastUnknown {
		t.Errorf("a store that joined later: %+v %v, want unknown", p, ok)
	}
	for range coarseSamples + 5 { // a day and more
		w.pass(time.Minute)
	}
	if n := len(w.byID["S1"].past.at); n != coarseSamples {
		t.Errorf("%d minutes are kept, want %d", n, coarseSamples)
	}
	if _, ok := w.Past(online); ok {
		t.Error("what is older than a day was answered")
	}
}
