package ingest

import (
	"encoding/json"
	"testing"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// TestLeasesOnlyRise: a restored ledger, whose mark has forgotten the leases given
// since its backup, must not give one of them again.
func TestLeasesOnlyRise(t *testing.T) {
	s := &session{mark: ledger.Mark{Epoch: 1, Lease: 3, InstallID: "i"}}
	h := &protocol.Hello{V: 1, BootID: "b", InstallID: "i", Epoch: 1, Tail: 1, Lease: 9}
	if w, _ := s.greet(h, 1); w.Lease != 10 {
		t.Errorf("lease %d after an agent had 9", w.Lease)
	}
	last := uint64(0)
	for _, g := range []uint64{0, 1, 2, 3, 1 << 40, ^uint64(0)} {
		f := leaseFloor(g)
		if f < last || f > numberMax {
			t.Errorf("floor of generation %d is %d, before it was %d", g, f, last)
		}
		last = f
	}
	if leaseFloor(1) != 0 || leaseFloor(2) != 1<<32 {
		t.Errorf("floors %d, %d", leaseFloor(1), leaseFloor(2))
	}
}

// FuzzHello: whatever a HELLO says, it is refused with a reason, or what it opens
// is a session whose numbers can still be counted up.
func FuzzHello(f *testing.F) {
	good, _ := json.Marshal(protocol.Hello{V: 1, BootID: "b", InstallID: "i", Tail: 3, Head: 9, Epoch: 2, Lease: 4, MergedSeq: 5})
	for _, b := range []string{string(good), "{", "", `{"v":1}`, `{"v":2}`, `{"v":1,"boot_id":"\u0000","install_id":"i","tail":1}`, `{"v":1,"boot_id":"b","install_id":"i","tail":18446744073709551615,"head":18446744073709551615}`} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h protocol.Hello
		if readHello(b, &h) != "" {
			return
		}
		for _, m := range []ledger.Mark{{}, {Epoch: 1, Lease: 1, Seq: 7, InstallID: "i", HeadSeen: 9}, {Epoch: numberMax, Lease: numberMax, Seq: 5, InstallID: h.InstallID}} {
			s := &session{mark: m}
			w, gone := s.greet(&h, 1)
			if w.Lease <= m.Lease || w.Lease <= h.Lease || w.Epoch == 0 || w.Epoch < m.Epoch || w.MergedSeq > h.Head || s.mark.SafeSeq > s.mark.Seq {
				t.Errorf("%+v of %+v and %+v", w, m, h)
			}
			if gone != nil && (gone.from == 0 || gone.to < gone.from) {
				t.Errorf("lost %+v of %+v and %+v", gone, m, h)
			}
		}
	})
}
