package link

import (
	"encoding/json"
	"testing"
	"time"

	"tillwire/protocol"
)

// FuzzAggregator gives a session whatever bytes come for WELCOMEs and Acks, of a
// journal of ten records. Whatever they say: what is marked merged is within the
// journal, under its own chain, and safe is never beyond it.
func FuzzAggregator(f *testing.F) {
	for _, v := range []any{
		protocol.Welcome{V: 1, BootID: "boot", Epoch: 3, Lease: 1, MergedSeq: 4, ChainMerged: protocol.Chain{4}, SafeSeq: 99, Generation: 7, Credit: -5, StartAfterMS: -1},
		protocol.Welcome{V: 1, BootID: "boot", Epoch: 3, Lease: 9, MergedSeq: 12, Generation: 8},
		protocol.Welcome{V: 1, BootID: "boot", Epoch: 3, Lease: 9, Generation: 6},
		protocol.Welcome{V: 2, BootID: "boot", Refused: "no"},
		protocol.Ack{V: 1, Epoch: 3, Lease: 1, MergedSeq: 9, ChainMerged: protocol.Chain{9}, SafeSeq: 1 << 63, Credit: 1 << 30, PaceMS: 1 << 62},
		protocol.Ack{V: 1, Epoch: 3, Lease: 1, MergedSeq: 11},
		protocol.Ack{V: 1, Nack: "gap", Expected: 1 << 63},
		protocol.Ack{V: 1, Nack: "whatever", Epoch: 3, Lease: 1},
	} {
		b, _ := json.Marshal(v)
		f.Add(b, b)
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		j := Facts{InstallID: "i", Epoch: 3, Generation: 7, Tail: 3, Head: 10, Merged: 4, BacklogBytes: 600}
		own := func(seq uint64) (protocol.Chain, bool) { return protocol.Chain{byte(seq)}, seq >= 2 && seq <= 10 }
		var timing Timing
		timing.setDefaults()
		s := newSession("boot", timing)
		now := int64(0)
		step := func(in Input) {
			in.Journal = j
			now += 1_000_000
			for _, e := range append([]Effect(nil), s.Step(now, in)...) {
				switch e.Do {
				case SetMark:
					m := e.Mark
					chain, known := own(m.Merged)
					if m.Merged > j.Head || m.Safe > m.Merged || m.Generation < j.Generation || m.Epoch == 0 || !known || chain != (protocol.Chain{byte(m.Merged)}) {
						t.Fatalf("marked %+v", m)
					}
				case SendFrame:
					if e.Seq < j.Tail || e.Seq > j.Head {
						t.Fatalf("sends seq %d of %d to %d", e.Seq, j.Tail, j.Head)
					}
					s.Step(now, Input{Kind: onSent, First: e.Seq, Last: j.Head, Journal: j})
				case SayHello, Announce, Drop, Note:
				}
			}
		}
		step(Input{Kind: onConnected})
		for _, b := range [][]byte{one, two, one} {
			var w protocol.Welcome
			if protocol.DecodeControl(b, &w) == nil {
				chain, known := own(w.MergedSeq)
				step(Input{Kind: onWelcome, Welcome: &w, Own: chain, Known: known})
			}
			var a protocol.Ack
			if protocol.DecodeControl(b, &a) == nil {
				chain, known := own(a.MergedSeq)
				step(Input{Kind: onAck, Ack: &a, Own: chain, Known: known})
			}
			step(Input{Kind: onTick})
		}
		if at := s.deadline(j.Head); at < 0 || s.phase == resting && s.until > now+(restMax+time.Second).Microseconds() {
			t.Fatalf("waits until %d, rests until %d, at %d", at, s.until, now)
		}
	})
}
